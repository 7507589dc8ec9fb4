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
    assert np.allclose(bars.lines[0].get_xdata(), [0.1, 1.1])
    assert np.allclose([np.ptp(s[:, 0]) for s in bars.lines[2][0].get_segments()], 0.2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["none", "noise"]
    with pytest.raises(ValueError, match="rows is empty"):
        phase.remedies([], {"loss": "loss"})
