"""Figures of numbers: learning curves, errors within a frame, gradients, and what training costs."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, DASHED, INK, colour_of, dress, legend, line, new_axes


def learning_curve(rows, variance=1.0, baselines=None, ax=None, title=None):
    """Train and valid loss over epochs, the best epoch marked, the baselines dashed.

    Parameters
    ----------
    rows : sequence of dict, rows of log.csv: `epoch`, `train_loss`, `valid_loss`
    variance : float above 0, of the scaled data; losses are divided by it: 1 is that of always predicting the mean
    baselines : dict of str to float, losses in units of the variance already, as `baselines.losses` gives them
    """
    if not variance > 0:
        raise ValueError(f"variance={variance!r} must be above 0; take it from the run's recipe.json")
    ax, baselines = new_axes(ax, (9, 3.6)), baselines or {}
    epochs = np.array([r["epoch"] for r in rows], dtype=float)
    losses = {k: np.array([r[f"{k}_loss"] for r in rows], dtype=float) / variance for k in ("train", "valid")}
    for i, (name, loss) in enumerate(losses.items()):
        ax.plot(epochs, loss, **{**line(name, i, len(rows)), "linestyle": "-"}, label=name)
    valid = losses["valid"]
    if np.isfinite(valid).any():
        best = int(np.nanargmin(valid))
        circle = {"color": COLOURS["valid"], "markerfacecolor": "white", "markersize": 8, "zorder": 5}
        label = f"best valid {valid[best]:.3f}\nat epoch {epochs[best]:.0f}"
        ax.plot(epochs[best], valid[best], "o", **circle, clip_on=False, label=label)
    for i, (name, level) in enumerate(baselines.items()):
        ax.axhline(level, color=colour_of(name, i), **DASHED, label=f"{name} {level:.3f}")
    ax.set(xlim=(min([1, *epochs]), max([2, *epochs])), ylim=_limits(losses, list(baselines.values())))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    return dress(ax, "epoch", "loss / variance", title, beside=True)


def _limits(losses, levels):
    """Of the vertical axis: from 0 when the curves come near it, and never lost in one early peak."""
    curves = np.concatenate(list(losses.values()))
    curves = curves[np.isfinite(curves)]
    if not len(curves):
        return 0, 1.2 * max(levels, default=1)
    values = np.concatenate([curves, levels])
    top = min(values.max(), 2 * max([np.median(values), *(levels or [0])]))
    low = values.min()
    room = 0.08 * (top - min(low, top)) + 1e-3
    return 0 if low < 0.5 * top else low - 2 * room, top + 2 * room


def error_in_frame(errors, sr=16000, ax=None, title=None):
    """Mean squared error against how far into the predicted frame a sample lies; that of the mean, 1, is dashed.

    `errors` is a dict of float arrays of shape (frame_length,), squared error / variance, by predictor.
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, error) in enumerate(errors.items()):
        error = np.asarray(error, dtype=float)
        if error.ndim != 1 or not len(error):
            raise ValueError(f"errors[{name!r}] has shape {error.shape}; it must be (frame_length,)")
        ms = 1000 * (np.arange(len(error)) + 0.5) / sr
        ax.plot(ms, error, **line(name, i, len(ms)), label=name)
    ax.axhline(1, color=INK, **DASHED, label=None if "mean" in errors else "mean")
    ax.set(xlim=(0, None), ylim=(0, None))
    legend(ax, loc="lower right")
    return dress(ax, "time into the predicted frame (ms)", "squared error / variance", title)


def gradient_sizes(gradients, epsilon, ax=None, title=None):
    """How large gradients are (`gradients`, a dict of float arrays by parameter, not all zero), beside sqrt(epsilon).

    `epsilon` is inside RMSProp's root: entries well below its root are divided by that, not by their own size.
    """
    sizes = np.concatenate([np.abs(np.asarray(g, dtype=float)).ravel() for g in gradients.values()])
    n, sizes = len(sizes), sizes[sizes > 0]
    if not len(sizes):
        raise ValueError("all gradients are zero; take them before training has ended, on data with sound in it")
    ax, root = new_axes(ax, (9, 2.8)), np.sqrt(epsilon)
    edges = np.arange(np.floor(np.log10(sizes.min())), np.log10(max(sizes.max(), root)) + 0.5, 0.1)
    ax.hist(sizes, bins=10**edges, weights=np.full(sizes.shape, 100 / n), color=COLOURS["train"])
    ax.axvline(root, color=COLOURS["valid"], **DASHED, label=f"sqrt(epsilon) = {root:.0e}")
    ax.set_xscale("log")
    legend(ax, loc="upper left")
    return dress(ax, "size of one entry of the gradient (loss / parameter)", "share of parameters (%)", title)


LABELS = {"n_steps": "steps", "n_units": "units", "n_batch": "batch", "n_inputs": "frame length, samples"}


def cost_growth(growths, axes=None):
    """CPU seconds (above) and peak memory (below) of a training step against each size.

    `growths` is a dict of lists of dict, by what was varied, from `benchmark.growth`. Dashed is the line that each
    should follow: operations at one speed, and straight from end to end.
    """
    axes = new_axes(axes, (3 * len(growths), 4.6), (2, len(growths)))
    columns = ("value", "expected_s", "cpu_s", "rss_mb")
    for (above, below), (vary, rows) in zip(axes.T, growths.items()):
        size, expected, seconds, memory = ([row[column] for row in rows] for column in columns)
        above.plot(size, expected, "--", color=COLOURS["reference"], label="by operations")
        above.plot(size, seconds, "o-", color=COLOURS["train"], label="measured")
        straight = np.interp(size, [size[0], size[-1]], [memory[0], memory[-1]])
        below.plot(size, straight, "--", color=COLOURS["reference"], label="straight line")
        below.plot(size, memory, "o-", color=COLOURS["train"], label="measured")
        for ax in (above, below):
            dress(ax, LABELS[vary])
    for ax, label in zip(axes[:, 0], ("CPU seconds a step", "peak memory (MB)")):
        dress(ax, ylabel=label)
        legend(ax)
    return axes
