"""Figures of many runs: every seed a point, mean and standard deviation a bar; and learning curves by setting."""

import numpy as np

from .style import COLOURS, DASHED, INK, dress, line, new_axes


def dots(values, recorded=None, baseline=None, ax=None, title=None, label="squared error / variance, valid part"):
    """One row for each setting: every seed a point, mean and standard deviation a bar, the figure of 2016 a diamond.

    Parameters
    ----------
    values : dict of str to sequence of float, one number for each seed, by setting; one setting at least
    recorded : dict of str to float, what 2016 measured, on another voice, by setting
    baseline : float, drawn dashed: what always saying the mean scores
    label : str, of the horizontal axis
    """
    recorded = recorded or {}
    names = list(dict.fromkeys([*values, *recorded]))
    if not names:
        raise ValueError("values is empty; choose some of the sweep's rows")
    ax = new_axes(ax, (8, 0.9 + 0.33 * len(names)))
    _rows(ax, {name: values.get(name, ()) for name in names}, COLOURS["train"], "here, mean of the seeds")
    if recorded:
        diamond = {"color": COLOURS["reference"], "markerfacecolor": "white", "markersize": 6}
        heights = [-names.index(name) for name in recorded]
        ax.plot(list(recorded.values()), heights, "D", **diamond, label="2016, three hours of another voice")
    if baseline is not None:
        ax.axvline(baseline, color=INK, **DASHED, label="saying the mean, here")
    ax.set_ylim(-len(names) + 0.4, 0.6)
    return dress(ax, label, title=title, grid="x", beside=True)


def remedies(rows, measures, axes=None):
    """One row for each remedy, one panel for each measure: every seed a point, mean and standard deviation a bar.

    `rows` are dicts of ``remedy`` and the measures, one for each seed, one at least; `measures`, a dict of str to str,
    names those shown and what to write below their panels.
    """
    names = dict.fromkeys(r["remedy"] for r in rows)
    if not names:
        raise ValueError("rows is empty; choose some of the results")
    size = (3.4 * len(measures), 0.9 + 0.36 * len(names))
    axes = np.ravel(new_axes(axes, size, (1, len(measures)), sharey=True))
    for ax, (measure, label) in zip(axes, measures.items()):
        _rows(ax, {name: [r[measure] for r in rows if r["remedy"] == name] for name in names}, COLOURS["generated"])
        low, high = min(r[measure] for r in rows), max(ax.dataLim.xmax, 1e-3)
        ax.set_xlim(min(0, low) - 0.04 * high, 1.08 * high)
        dress(ax, label, grid="x")
    return axes


def _rows(ax, values, colour, label=None):
    """A named row for each setting, the first above, at heights 0, -1, ...: its seeds, and a bar if there are any."""
    found = {-i: np.asarray(v, float) for i, v in enumerate(values.values()) if len(v)}
    means = [v.mean() for v in found.values()]
    spreads = [v.std(ddof=1) if len(v) > 1 else 0 for v in found.values()]
    bar = {"fmt": "o", "markersize": 6, "capsize": 4, "linewidth": 1.6}
    if found:
        ax.errorbar(means, list(found), xerr=spreads, color=colour, **bar, label=label)
    for height, v in found.items():
        ax.plot(v, np.full(len(v), height), ".", color=INK, markersize=4, zorder=5)
    ax.set_yticks(-np.arange(len(values)), list(values))


def learning_curves(curves, loss="train_loss", ax=None, title=None):
    """Loss, "train_loss" or "valid_loss", over epochs, one kind of line for each setting, one line for each seed.

    `curves` is a dict of lists of dict, from `sweeps.read_curves`.
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, seeds) in enumerate(curves.items()):
        for k, curve in enumerate(seeds):
            first = {"label": name} if k == 0 else {"alpha": 0.55}
            ax.plot(curve["epoch"], curve[loss], **line(name, i, len(curve["epoch"])), **first)
    return dress(ax, "epoch", f"{loss.split('_')[0]} loss / variance", title, beside=True)
