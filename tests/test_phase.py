"""Figures of free running draw what they were given."""
import matplotlib
matplotlib.use("agg")
import numpy as np
import pytest

from vocalsynth_utils import phase

ROWS = [{"remedy": name, "seed": seed, "loss": 0.1 * seed + i} for i, name in enumerate(("none", "noise")) for seed in range(3)]


def test_an_attractor_is_a_signal_against_itself_later():
    y = np.sin(0.3 * np.arange(200))
    ax = phase.attractor(y, 0.5 * y, lag=5)
    x, later = ax.lines[1].get_data()
    assert np.allclose(x, 0.5 * y[:-5]) and np.allclose(later, 0.5 * y[5:])
    with pytest.raises(ValueError, match="lag=5"):
        phase.attractor(y, y[:5], lag=5)


def test_remedies_are_drawn_as_mean_and_standard_deviation_over_seeds():
    ax, = phase.remedies(ROWS, {"loss": "loss"})
    bars = ax.containers[0]
    assert np.allclose(np.asarray(bars.lines[0].get_xdata(), float), [0.1, 1.1])
    assert np.allclose([np.ptp(np.asarray(s, float)[:, 0]) for s in bars.lines[2][0].get_segments()], 0.2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["none", "noise"]
    with pytest.raises(ValueError, match="rows is empty"):
        phase.remedies([], {"loss": "loss"})


def test_recurrence_is_nothing_for_constants_and_loops_and_large_for_noise():
    rng, loop = np.random.default_rng(0), np.sin(0.07 * np.arange(9000)) + np.sin(0.14 * np.arange(9000))
    assert phase.recurrence(np.full(9000, 0.3)) == 0 and phase.recurrence(loop) < 0.02
    assert phase.recurrence(rng.normal(size=9000)) > 1
    with pytest.raises(ValueError, match="length <= 50"):
        phase.recurrence(loop[:100])
