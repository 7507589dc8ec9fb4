"""A sweep's results for the eye: every seed a point beside what 2016 measured, and learning curves by setting."""
import csv

import numpy as np

from .plot_style import COLOURS, INK, colour_of, dress, legend, new_axes
from .sweep_report import SCORE


def dots(values, recorded=None, baseline=None, ax=None, title=None, label="squared error / variance, valid part"):
    """One row for each setting: every seed a point, mean and standard deviation a bar, the figure of 2016 a diamond.

    Parameters
    ----------
    values : dict of str to sequence of float
        One number for each seed, by setting.
    recorded : dict of str to float, optional
        What 2016 measured, on another voice, by setting.
    baseline : float, optional
        Drawn dashed: what always saying the mean scores.
    ax : matplotlib axes, optional
    title, label : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        When there is no setting.
    """
    recorded = recorded or {}
    names = list(dict.fromkeys([*values, *recorded]))
    if not names:
        raise ValueError("values is empty; choose some of the sweep's rows")
    ax = new_axes(ax, (8, 0.9 + 0.33 * len(names)))
    for y, name in zip(-np.arange(len(names)), names):
        v = np.asarray(values.get(name, ()), float)
        if len(v):
            spread = v.std(ddof=1) if len(v) > 1 else 0
            ax.errorbar(v.mean(), y, xerr=spread, fmt="o", color=COLOURS["train"], markersize=6, capsize=4, linewidth=1.6,
                        label="here, mean of the seeds" if name == next(iter(values)) else None)
            ax.plot(v, np.full(len(v), y), ".", color=INK, markersize=4, zorder=5)
        if name in recorded:
            ax.plot(recorded[name], y, "D", markersize=6, markerfacecolor="white", color=COLOURS["reference"],
                    label="2016, three hours of another voice" if name == next(iter(recorded)) else None)
    if baseline is not None:
        ax.axvline(baseline, color=INK, linestyle="--", linewidth=1.1, label="saying the mean, here")
    ax.set_yticks(-np.arange(len(names)), names)
    ax.set_ylim(-len(names) + 0.4, 0.6)
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, label, title=title, grid="x")


def by_setting(rows, name="case", score=SCORE):
    """A table's numbers by setting: dict of str to list of float, the seeds that have one."""
    found = {}
    for row in rows:
        found.setdefault(row[name], []).extend([row[score]] if row[score] is not None else [])
    return found


def read_curves(path, rows, name="case"):
    """A sweep's learning curves by setting.

    Parameters
    ----------
    path : path
        Of its ``curves.csv``.
    rows : list of dict
        Its table.
    name : str
        The swept field, or "case".

    Returns
    -------
    dict of str to list of dict
        For each setting and seed ``epoch``, ``train_loss`` and ``valid_loss`` / variance, arrays of shape (n_epochs,).
    """
    with open(path, newline="") as file:
        lines = list(csv.DictReader(file))
    columns = ("epoch", "train_loss", "valid_loss")
    runs = {run: [] for run in dict.fromkeys(line["run"] for line in lines)}
    for line in lines:
        runs[line["run"]].append([float(line[c]) for c in columns])
    found = {}
    for row in rows:
        if row["run"] in runs:
            found.setdefault(row[name], []).append(dict(zip(columns, np.array(runs[row["run"]]).T)))
    return found


def learning_curves(curves, loss="train_loss", ax=None, title=None):
    """Loss over epochs, one colour for each setting, one line for each seed.

    Parameters
    ----------
    curves : dict of str to list of dict
        From `read_curves`.
    loss : {"train_loss", "valid_loss"}
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, seeds) in enumerate(curves.items()):
        for k, curve in enumerate(seeds):
            ax.plot(curve["epoch"], curve[loss], color=colour_of(name, i + 1), linewidth=1.5, alpha=1 if k == 0 else 0.55, label=name if k == 0 else None)
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "epoch", f"{loss.split('_')[0]} loss / variance", title)
