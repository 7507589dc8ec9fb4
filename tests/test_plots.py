"""Figures: what is drawn is what was given, on axes with units."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from vocalsynth_utils import plots
from vocalsynth_utils.plots import COLOURS
from vocalsynth_utils.preprocessing import frame, sequences

matplotlib.use("Agg")
plt = matplotlib.pyplot


def tone(seconds=1.0, hz=1000, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def rows(losses):
    return [{"epoch": i + 1, "train_loss": 0.9 * v, "valid_loss": v} for i, v in enumerate(losses)]


def legend_of(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


FIGURES = {
    "waveform": lambda ax: plots.waveform(tone(), ax=ax),
    "spectrogram": lambda ax: plots.spectrogram(tone(), ax=ax),
    "learning_curve": lambda ax: plots.learning_curve(rows([2, 1]), ax=ax),
    "framing": lambda ax: plots.framing(tone(), 16000, 2000, ax=ax),
    "error_in_frame": lambda ax: plots.error_in_frame({"linear": np.ones(9)}, ax=ax),
    "survival": lambda ax: plots.survival({"a": [1, 2]}, 3, ax=ax),
    "levels": lambda ax: plots.levels({"a": tone()}, ax=ax),
    "order": lambda ax: plots.order({"a": {0.6: (5, 0.7), 1: (40, 0.1)}}, (8, 0.4), ax=ax),
    "gradient_sizes": lambda ax: plots.gradient_sizes({"W": np.ones(9)}, 1e-6, ax=ax),
    "continuation": lambda ax: plots.continuation(np.ones(3), np.zeros(4), ax=ax),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_axes_given_are_drawn_on_returned_and_have_units(name):
    _, ax = plt.subplots()
    assert FIGURES[name](ax) is ax
    assert all("(" in label or "/" in label or label == "epoch" for label in (ax.get_xlabel(), ax.get_ylabel()))
    assert len(plt.get_fignums()) == 1
    FIGURES[name](None).figure.draw_without_rendering()


def test_waveform_of_a_long_signal_keeps_its_extremes():
    y = np.zeros(1_000_000, np.float32)
    y[123_456], y[654_321] = 0.9, -0.8
    ax = plots.waveform(y, limit=1.0)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.max(), band.min()) == pytest.approx((0.9, -0.8))


@pytest.mark.parametrize("n", [2400, 2401, 3599, 3600, 9001])
def test_waveform_shows_the_last_samples_too(n):
    y = np.zeros(n, np.float32)
    y[-2], y[-1] = 0.9, -0.8
    ax = plots.waveform(y, limit=1.0)
    drawn = ax.lines[0].get_xydata() if ax.lines else ax.collections[0].get_paths()[0].vertices
    assert (drawn[:, 1].max(), drawn[:, 1].min()) == pytest.approx((0.9, -0.8))
    assert drawn[:, 0].max() == pytest.approx((n - 1) / 16000)


def test_spectrogram_shows_a_full_scale_sine_at_0_db_and_its_own_frequency():
    image = plots.spectrogram(tone(hz=2000, level=1.0)).images[0]
    level = image.get_array()[:, 50]
    assert level.max() == pytest.approx(0, abs=0.1)
    assert np.argmax(level) * 16000 / 512 == pytest.approx(2000, abs=16)
    assert image.get_extent() == [0, 1, 0, 8]


@pytest.mark.parametrize("n", [1, 10, 511, 512, 513, 3_000_000])
def test_spectrogram_takes_any_length(n):
    shape = plots.spectrogram(tone(n / 16000 + 1e-9)[:n]).images[0].get_array().shape
    assert shape[0] == 257 and 1 <= shape[1] <= 1201


def test_silence_is_drawn_and_not_divided_by():
    with np.errstate(all="raise"):
        plots.waveform_and_spectrogram(np.zeros(16000, np.float32))


def test_signals_compared_share_their_scales():
    axes = plots.comparison({"voice": tone(), "loud": tone(level=0.9), "silence": 0 * tone()})
    assert axes.shape == (2, 3)
    assert len({ax.get_ylim() for ax in axes[0]}) == 1
    assert len({ax.images[0].get_clim() for ax in axes[1]}) == 1
    assert [ax.get_title(loc="left") for ax in axes[0]] == ["voice", "loud", "silence"]
    with pytest.raises(ValueError, match="1 roles for 2 signals"):
        plots.comparison({"a": tone(), "b": tone()}, roles=["reference"])
    with pytest.raises(ValueError, match="signals is empty"):
        plots.comparison({})


def test_learning_curve_is_in_units_of_the_variance_with_best_epoch_and_baselines():
    ax = plots.learning_curve(rows([0.02, 0.012, 0.015]), 0.01, {"mean": 1.0, "linear": 0.7})
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [2, 1.2, 1.5])
    assert "best valid 1.200\nat epoch 2" in legend_of(ax)
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [1.0, 0.7]
    assert [line.get_color() for line in ax.lines[:2]] == [COLOURS["train"], COLOURS["valid"]]


@pytest.mark.parametrize("losses", [[], [1.0], [np.nan], [np.nan, np.inf, 1.0], [1e9, 1.0, 0.9, 0.8], [1.0, 1.0]])
def test_learning_curve_draws_whatever_a_run_has_come_to(losses):
    ax = plots.learning_curve(rows(losses), 1.0, {"mean": 1.0})
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    assert low < 1.0 < high < 20


def test_learning_curve_refuses_a_variance_of_0():
    with pytest.raises(ValueError, match="variance=0"):
        plots.learning_curve(rows([1, 2]), 0)


def test_survival_falls_at_each_death_and_never_for_survivors():
    line = plots.survival({"a": [10, 20, 60, 60]}, 60).lines[0]
    assert list(zip(line.get_xdata(), line.get_ydata())) == [(0, 100), (10, 75), (20, 50), (60, 50)]
    with pytest.raises(ValueError, match="seconds"):
        plots.survival({"a": [61]}, 60)
    with pytest.raises(ValueError, match="seconds"):
        plots.survival({"a": []}, 60)


def test_error_in_frame_is_against_milliseconds():
    ax = plots.error_in_frame({"generated": np.arange(160) / 160})
    assert ax.lines[0].get_xdata()[-1] == pytest.approx(10, abs=0.05)
    assert ax.lines[-1].get_ydata()[0] == 1 and legend_of(ax) == ["generated", "mean"]
    with pytest.raises(ValueError, match="errors"):
        plots.error_in_frame({"generated": np.zeros((2, 2))})


def test_unrolled_network_has_a_box_for_every_layer_and_step():
    ax = plots.unrolled_network((600, 600, 600), n_steps=4)
    texts = [t.get_text() for t in ax.texts]
    assert texts.count("LSTM") == 12
    assert (
        sum("hat{x}" in t for t in texts) == 4
        and "layer 3: 600 units" in texts
        and "a frame of 16,000 numbers" in texts
    )


def test_framing_shades_each_frame_from_its_offset():
    ax = plots.framing(tone(), 16000, 2000, n_frames=3, offset=500)
    assert [round(p.get_x() * 16000) for p in ax.patches] == [500, 2500, 4500]
    with pytest.raises(ValueError, match="fewer than one frame"):
        plots.framing(tone(0.1), 16000, 2000)


def test_frame_view_shows_the_frame_asked_for():
    X = sequences(frame(tone(hz=960), 1000), 4)
    whole, part, spectrum = plots.frame_view(X, 1, 2)
    np.testing.assert_array_equal(part.lines[0].get_ydata(), tone(hz=960)[6000:7000])
    assert spectrum.lines[0].get_ydata().max() == pytest.approx(20 * np.log10(0.5), abs=0.1)
    for bad in [(9, 0), (0, 4), (-1, 0)]:
        with pytest.raises(ValueError, match="is not in X"):
            plots.frame_view(X, *bad)


def test_scaling_histograms_say_mean_and_variance():
    y = 0.1 * np.sqrt(2) * np.sin(np.arange(10000) * 2 * np.pi / 100)
    axes = plots.scaling_histograms(y, ("none", "std"))
    assert "variance 0.01" in axes[0].texts[0].get_text() and "variance 1" in axes[1].texts[0].get_text()
    assert sum(p.get_height() for p in axes[0].patches) == pytest.approx(100)


@pytest.mark.parametrize("y", [np.zeros((3, 3)), np.zeros(0), np.zeros(9, np.int16)])
def test_what_is_no_signal_is_refused(y):
    with pytest.raises(ValueError, match="float signal"):
        plots.waveform(y)


def test_levels_are_decibels_of_each_frame():
    ax = plots.levels({"loud": np.full(4000, 0.1, np.float32), "silent": np.zeros(4000, np.float32)})
    assert np.allclose(ax.lines[0].get_ydata(), [-20, -20]) and np.allclose(ax.lines[1].get_ydata(), -100)
    assert np.allclose(ax.lines[0].get_xdata(), [0.0625, 0.1875])


def test_gradient_sizes_marks_the_root_of_epsilon_and_counts_every_parameter():
    ax = plots.gradient_sizes({"W": np.array([1e-5, -1e-5, 1e-4]), "b": np.zeros(1)}, 1e-6)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(1e-3)
    assert sum(p.get_height() for p in ax.patches) == pytest.approx(75)  # the zero has no place on a log axis
    with pytest.raises(ValueError, match="all gradients are zero"):
        plots.gradient_sizes({"b": np.zeros(2)}, 1e-6)


def test_a_continuation_begins_where_the_primer_ends():
    ax = plots.continuation(np.ones(5), np.zeros(3), np.ones(3))
    assert [line.get_xdata()[0] for line in ax.lines] == [0, 5, 5] and ax.get_ylim() == (-3, 3)
    with pytest.raises(ValueError, match="primer"):
        plots.continuation(np.zeros(0), np.zeros(3))


REMEDIES = [
    {"remedy": name, "seed": seed, "loss": 0.1 * seed + i}
    for i, name in enumerate(("none", "noise"))
    for seed in range(3)
]


def test_an_attractor_is_a_signal_against_itself_later():
    y = np.sin(0.3 * np.arange(200))
    ax = plots.attractor(y, 0.5 * y, lag=5)
    x, later = ax.lines[1].get_data()
    assert np.allclose(x, 0.5 * y[:-5]) and np.allclose(later, 0.5 * y[5:])
    with pytest.raises(ValueError, match="lag=5"):
        plots.attractor(y, y[:5], lag=5)


def test_remedies_are_drawn_as_mean_and_standard_deviation_over_seeds():
    (ax,) = plots.remedies(REMEDIES, {"loss": "loss"})
    bars = ax.containers[0]
    assert np.allclose(np.asarray(bars.lines[0].get_xdata(), float), [0.1, 1.1])
    assert np.allclose([np.ptp(np.asarray(s, float)[:, 0]) for s in bars.lines[2][0].get_segments()], 0.2)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["none", "noise"]
    with pytest.raises(ValueError, match="rows is empty"):
        plots.remedies([], {"loss": "loss"})


def test_recurrence_is_nothing_for_constants_and_loops_and_large_for_noise():
    rng, loop = np.random.default_rng(0), np.sin(0.07 * np.arange(9000)) + np.sin(0.14 * np.arange(9000))
    assert plots.recurrence(np.full(9000, 0.3)) == 0 and plots.recurrence(loop) < 0.02
    assert plots.recurrence(rng.normal(size=9000)) > 1
    with pytest.raises(ValueError, match="length <= 50"):
        plots.recurrence(loop[:100])


SETTINGS = {"a": [0.5, 0.7], "b": [0.9], "c": []}
TABLE = [
    {"case": case, "seed": seed, "valid_error_over_variance": score, "run": f"{case}-{seed}"}
    for case, seed, score in (("a", 0, 0.5), ("a", 1, 0.7), ("b", 0, 0.9), ("c", 0, None))
]


def test_dots_show_seeds_means_and_the_figures_of_2016():
    ax = plots.dots(SETTINGS, {"b": 0.8, "d": 0.3}, baseline=1.0)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c", "d"]
    points = {(round(float(x), 3), float(y)) for line in ax.lines for x, y in zip(line.get_xdata(), line.get_ydata())}
    assert {(0.5, 0.0), (0.7, 0.0), (0.6, 0.0), (0.9, -1.0), (0.8, -1.0), (0.3, -3.0)} <= points
    with pytest.raises(ValueError, match="empty"):
        plots.dots({})


def test_a_sweeps_table_and_curves_are_read_by_setting_and_drawn(tmp_path):
    from vocalsynth_utils import sweeps  # here, for it imports Theano, which no figure needs

    assert sweeps.SCORE in TABLE[0] and sweeps.by_setting(TABLE) == SETTINGS
    path = tmp_path / "curves.csv"
    path.write_text(
        "run,epoch,train_loss,valid_loss\n"
        + "".join(f"{run},{e},{e / 10},{e / 5}\n" for run in ("a-0", "a-1", "b-0") for e in (1, 2, 3))
    )
    curves = sweeps.read_curves(path, TABLE)
    assert {name: len(seeds) for name, seeds in curves.items()} == {"a": 2, "b": 1}
    assert np.allclose(curves["b"][0]["valid_loss"], [0.2, 0.4, 0.6])
    ax = plots.learning_curves(curves, "valid_loss")
    assert len(ax.lines) == 3 and np.allclose(ax.lines[0].get_ydata(), [0.2, 0.4, 0.6])


def test_a_figure_says_in_words_what_it_shows():
    ax = plots.learning_curve(rows([0.02, 0.012, 0.015]), 0.01, {"mean": 1.0}, title="a run")
    words = plots.describe(ax.figure)
    assert words.startswith("a run; loss / variance against epoch; train from 1.8 to 1.3; valid from 2 to 1.5")
    assert "best valid 1.200 at epoch 2" in words and "mean 1.000" in words
    assert "rows: a, b, c" in plots.describe(plots.dots(SETTINGS).figure)
    assert "layer 1: 3 units" in plots.describe(plots.unrolled_network((3,)).figure)


def test_no_line_of_several_looks_like_another_or_covers_it():
    from vocalsynth_utils.plots.style import line

    looks = [line("any", i, 40) for i in range(8)]
    assert len({(str(look["linestyle"]), look["marker"], look["color"]) for look in looks}) == 8
    assert len({str(look["linestyle"]) for look in looks}) == len({look["color"] for look in looks}) == 8
    widths = [look["linewidth"] for look in looks]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.slow
def test_figures_in_a_notebook_carry_their_words(tmp_path, monkeypatch):
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    cell = new_code_cell(
        "import matplotlib.pyplot as plt\nimport numpy as np\nfrom vocalsynth_utils import plots\n"
        "plots.waveform(np.zeros(100), title='silence')\nplt.show()"
    )
    NotebookClient(new_notebook(cells=[cell]), resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    assert shown.metadata["image/png"]["alt"] == "silence; amplitude (full scale) against time (s)"
