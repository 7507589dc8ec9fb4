"""The one look of every figure: colours by role, lines that cannot hide each other; and a figure's words."""

import sys

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

# eight colours that readers of every kind of colour vision tell apart: M. Okabe, K. Ito, "Color Universal Design", 2008
COLOURS = {"reference": "#6b7280", "generated": "#e69f00", "train": "#0072b2", "valid": "#d55e00", "test": "#cc79a7"}
BASELINES = {"mean": "#111827", "repeat": "#cc79a7", "linear": "#009e73", "neighbour": "#56b4e9", "optimum": "#0072b2"}
INK, FAINT = "#374151", "#e5e7eb"  # of words and lines on a panel
PANEL, AROUND = "#f5f6f8", "#727b8a"  # behind what is drawn, and words about it: read on a light page and on a dark one
CYCLE = ("#6b7280", "#e69f00", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#111827")
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 2)))
MARKERS = "os^Dv*Px"
DASHED = {"linestyle": "--", "linewidth": 1.1}  # levels to compare with


plt.rcParams.update({"figure.facecolor": "none", "axes.facecolor": PANEL, "text.color": AROUND})


def new_axes(ax, size, shape=None, **options):
    """`ax`, or the axes of a new figure of that size in inches: one, or an array of that shape."""
    if ax is not None:
        return ax
    axes = plt.subplots(*(shape or (1, 1)), figsize=size, layout="constrained", squeeze=False, **options)[1]
    return axes if shape else axes[0, 0]


def dress(ax, xlabel=None, ylabel=None, title=None, grid="y", beside=False):
    """Labels, light grid, no box, a legend to the right of the axes where it is wanted `beside`; returns `ax`."""
    if beside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1.0), "borderaxespad": 0}
        legend(ax, frameon=True, edgecolor="none", framealpha=1, **place)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9ca3af")
    ax.tick_params(colors=AROUND, labelsize=9, color="#9ca3af")
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.8)
        ax.set_axisbelow(True)
    if xlabel:
        ax.set_xlabel(xlabel, color=AROUND, fontsize=9.5)
    if ylabel:
        ax.set_ylabel(ylabel, color=AROUND, fontsize=9.5)
    if title:
        ax.set_title(title, color=AROUND, fontsize=10.5, loc="left")
    return ax


def legend(ax, **options):
    """A legend without a box's lines, where there is something to name."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**{"frameon": False, "fontsize": 9, "labelcolor": INK, **options})


def colour_of(name, i=0):
    """The colour of a role or a baseline, or the `i`-th of the cycle for another name."""
    return COLOURS.get(name) or BASELINES.get(name) or CYCLE[i % len(CYCLE)]


def line(name, i=0, n_points=2):
    """How to draw the `i`-th of several lines of so many points: each thinner than the last, so that all are seen."""
    width, every = max(1.1, 2.7 - 0.25 * i), max(1, n_points // 8)
    marker = {"marker": MARKERS[i % len(MARKERS)], "markersize": 4.5, "markevery": (i % every, every)}
    return {"color": colour_of(name, i), "linestyle": LINES[i % len(LINES)], "linewidth": width, **marker}


def describe(figure):
    """What a figure shows, in words, from its titles, axes and lines: for those who cannot see it."""
    return ". ".join(dict.fromkeys(filter(None, map(_describe_axes, figure.axes)))) or "A drawing"


def _describe_axes(ax):
    """Title, what is against what, the rows by name, and each line from its first value to its last."""
    x, y = ax.get_xlabel(), ax.get_ylabel()
    rows = [text.get_text() for text in ax.get_yticklabels()]
    said = [ax.get_title("left") or ax.get_title(), f"{y} against {x}" if x and y else x or y]
    said += ["rows: " + ", ".join(rows)] if any(row[:1].isalpha() for row in rows) else []
    for handle, label in zip(*ax.get_legend_handles_labels()):
        values = np.asarray(handle.get_ydata() if hasattr(handle, "get_ydata") else (), float)
        values = values[np.isfinite(values)]
        first, *_, last = [float(f"{value:.2g}") for value in values] if len(values) > 2 else ("", "")
        said.append(f"{label} from {first:g} to {last:g}" if len(values) > 2 else label)
    notes = [text.get_text() for text in ax.texts if not (x or y)]
    said += list(dict.fromkeys(note for note in notes if "$" not in note))
    return "; ".join(" ".join(part.split()) for part in said if part)


def _tell_notebooks():
    """Figures shown in a notebook carry their description, as the alternative text of the stored image."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        described = lambda figure: ({}, {"image/png": {"alt": describe(figure)}})
        shell.display_formatter.mimebundle_formatter.for_type(Figure, described)


_tell_notebooks()
