"""A sweep's results as they are drawn."""
import numpy as np
import pytest

from vocalsynth_utils import comparison

ROWS = [{"case": case, "seed": seed, comparison.SCORE: score, "run": f"{case}-{seed}"} for case, seed, score in
        (("a", 0, 0.5), ("a", 1, 0.7), ("b", 0, 0.9), ("c", 0, None))]


def test_every_seed_that_has_a_number_is_found():
    assert comparison.by_setting(ROWS) == {"a": [0.5, 0.7], "b": [0.9], "c": []}


def test_dots_show_seeds_means_and_the_figures_of_2016():
    ax = comparison.dots(comparison.by_setting(ROWS), {"b": 0.8, "d": 0.3}, baseline=1.0)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c", "d"]
    points = {(round(float(x), 3), float(y)) for line in ax.lines for x, y in zip(line.get_xdata(), line.get_ydata())}
    assert {(0.5, 0.0), (0.7, 0.0), (0.6, 0.0), (0.9, -1.0), (0.8, -1.0), (0.3, -3.0)} <= points
    with pytest.raises(ValueError, match="empty"):
        comparison.dots({})


def test_curves_are_read_by_setting_and_drawn(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text("run,epoch,train_loss,valid_loss\n" + "".join(f"{run},{e},{e / 10},{e / 5}\n" for run in ("a-0", "a-1", "b-0") for e in (1, 2, 3)))
    curves = comparison.read_curves(path, ROWS)
    assert {name: len(seeds) for name, seeds in curves.items()} == {"a": 2, "b": 1}
    assert np.allclose(curves["b"][0]["valid_loss"], [0.2, 0.4, 0.6])
    ax = comparison.learning_curves(curves, "valid_loss")
    assert len(ax.lines) == 3 and np.allclose(ax.lines[0].get_ydata(), [0.2, 0.4, 0.6])
