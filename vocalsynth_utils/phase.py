"""Figures of where free running leads: the attractor a network falls into, whether it has, and what remedies do against it."""
import matplotlib.pyplot as plt
import numpy as np

from .plot_style import COLOURS, INK, dress, legend, new_axes


def attractor(reference, generated, lag=8, ax=None, title=None):
    """A signal against itself a little later: the loops of a voice, and the point or ring a dead network ends in.

    Parameters
    ----------
    reference, generated : float arrays of shape (n_samples,)
        Or any one number over time; the generated one's end is marked.
    lag : int
        Samples between the two axes.
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        A signal no longer than the lag.

    References
    ----------
    F. Takens, "Detecting strange attractors in turbulence" (1981): delays
    stand for the hidden state.
    """
    ax = new_axes(ax, (4.4, 4.2))
    for name, y in (("reference", reference), ("generated", generated)):
        y = np.asarray(y)
        if y.ndim != 1 or len(y) <= lag:
            raise ValueError(f"{name} has shape {y.shape}; it must be one signal of more than lag={lag} samples")
        ax.plot(y[:-lag], y[lag:], color=COLOURS[name], linewidth=0.5 if name == "reference" else 0.9,
                alpha=0.6 if name == "reference" else 0.9, label=name)
    ax.plot(generated[-1 - lag], generated[-1], "o", color=COLOURS["valid"], markersize=7, zorder=5, label="where it ends")
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "x(t)", f"x(t + {lag} samples)", title, grid=None)


def recurrence(y, length=1000, farthest=4000):
    """How nearly a signal's end has been there before: 0 for a constant and for any loop, near its own level for a voice.

    Parameters
    ----------
    y : float array of shape (n_samples,)
    length : int
        Samples of the end that are looked for.
    farthest : int
        Samples to go back at most.

    Returns
    -------
    float
        Root mean square difference to the most similar earlier stretch, in units of `y`.

    Examples
    --------
    >>> round(recurrence(np.sin(0.5 * np.arange(8000))), 2)
    0.0
    """
    y = np.asarray(y, float)[-(length + farthest):]
    if len(y) < 2 * length:
        raise ValueError(f"y has {len(y)} samples; use length <= {len(y) // 2}")
    earlier = np.lib.stride_tricks.sliding_window_view(y[:-1], length)
    return float(np.sqrt(np.square(earlier - y[-length:]).mean(axis=1).min()))


def remedies(rows, measures, axes=None):
    """One row for each remedy, one panel for each measure: every seed a point, mean and standard deviation a bar.

    Parameters
    ----------
    rows : sequence of dict
        With ``remedy`` and the measures, one for each seed.
    measures : dict of str to str
        Name of a measure in `rows`, and what to write below its panel.
    axes : sequence of matplotlib axes, optional

    Returns
    -------
    axes

    Raises
    ------
    ValueError
        When there are no rows.
    """
    names = list(dict.fromkeys(r["remedy"] for r in rows))
    if not names:
        raise ValueError("rows is empty; choose some of the results")
    if axes is None:
        axes = plt.subplots(1, len(measures), figsize=(3.4 * len(measures), 0.9 + 0.36 * len(names)), sharey=True, layout="constrained",
                            squeeze=False)[1][0]
    height = -np.arange(len(names))
    for ax, (measure, label) in zip(axes, measures.items()):
        values = [np.array([r[measure] for r in rows if r["remedy"] == name], float) for name in names]
        ax.errorbar([v.mean() for v in values], height, xerr=[v.std(ddof=1) if len(v) > 1 else 0 for v in values], fmt="o", markersize=6,
                    color=COLOURS["generated"], ecolor=COLOURS["generated"], capsize=4, linewidth=1.6)
        for y, v in zip(height, values):
            ax.plot(v, np.full(len(v), y), ".", color=INK, markersize=4, zorder=5)
        ax.set_yticks(height, names)
        low, high = min(v.min() for v in values), max(max(v.max(), v.mean() + (v.std(ddof=1) if len(v) > 1 else 0)) for v in values)
        ax.set_xlim(min(0, low) - 0.04 * max(high, 1e-3), 1.08 * max(high, 1e-3))
        dress(ax, label, grid="x")
    return axes
