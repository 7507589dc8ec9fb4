"""The one look of every figure: colours by role, and how axes are made and dressed."""

import matplotlib.pyplot as plt

COLOURS = {"reference": "#6b7280", "generated": "#e8710a", "train": "#2563c9", "valid": "#d1352b", "test": "#7c3aed"}
BASELINES = {"mean": "#111827", "repeat": "#9a7b4f", "linear": "#2f855a", "neighbour": "#8b5cf6", "optimum": "#0e7490"}
INK, FAINT = "#374151", "#e5e7eb"
CYCLE = ("#6b7280", "#e8710a", "#2563c9", "#d1352b", "#2f855a", "#7c3aed", "#0e7490", "#9a7b4f")
DASHED = {"linestyle": "--", "linewidth": 1.1}  # levels to compare with


def new_axes(ax, size, shape=None, **options):
    """`ax`, or the axes of a new figure of that size in inches: one, or an array of that shape."""
    if ax is not None:
        return ax
    axes = plt.subplots(*(shape or (1, 1)), figsize=size, layout="constrained", squeeze=False, **options)[1]
    return axes if shape else axes[0, 0]


def dress(ax, xlabel=None, ylabel=None, title=None, grid="y", beside=False):
    """Labels, light grid, no box, a legend to the right of the axes where it is wanted `beside`; returns `ax`."""
    if beside:
        legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#9ca3af")
    ax.tick_params(colors=INK, labelsize=9, color="#9ca3af")
    if grid:
        ax.grid(axis=grid, color=FAINT, linewidth=0.8)
        ax.set_axisbelow(True)
    if xlabel:
        ax.set_xlabel(xlabel, color=INK, fontsize=9.5)
    if ylabel:
        ax.set_ylabel(ylabel, color=INK, fontsize=9.5)
    if title:
        ax.set_title(title, color=INK, fontsize=10.5, loc="left")
    return ax


def legend(ax, **options):
    """A legend without a box, where there is something to name."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**{"frameon": False, "fontsize": 9, "labelcolor": INK, **options})


def colour_of(name, i=0):
    """The colour of a role or a baseline, or the `i`-th of the cycle for another name."""
    return COLOURS.get(name) or BASELINES.get(name) or CYCLE[i % len(CYCLE)]
