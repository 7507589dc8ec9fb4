"""How the cost of training grows with steps, units, batch and frame length."""
import numpy as np

from .bench import Worker, interleaved

BASE = {"n_inputs": 800, "n_units": 256, "n_steps": 50, "n_batch": 16}
GROWTH = {"n_steps": (25, 50, 100, 200), "n_units": (64, 128, 256, 512), "n_batch": (8, 16, 32, 64),
          "n_inputs": (200, 800, 3200, 12800)}
LABELS = {"n_steps": "steps", "n_units": "units", "n_batch": "batch", "n_inputs": "frame length, samples"}


def flops(n_inputs, n_units, n_steps, n_batch):
    """Floating-point operations of one training step's matrix products, three LSTM layers and a linear one.

    Linear in steps, batch and frame length; a straight line plus a square in units.
    """
    rows = n_steps * n_batch
    recurrent = 3 * (2 * rows * n_units * 4 * n_units) * 3     # h W_hid of three layers: product and its two gradients
    between = 3 * (2 * rows * n_units * 4 * n_units) * 2       # x W_in of the upper two
    return recurrent + between + 2 * (2 * rows * n_inputs * 4 * n_units) + 3 * (2 * rows * n_units * n_inputs)


def growth(vary, values=None, base=None, repeats=5):
    """Time and memory of a training step while one size grows.

    Parameters
    ----------
    vary : {"n_steps", "n_units", "n_batch", "n_inputs"}
    values : sequence of int, optional
        Sizes to try; `GROWTH` by default.
    base : dict, optional
        The other sizes; `BASE` by default.
    repeats : int
        Timed steps at each size.

    Returns
    -------
    list of dict
        One for each value: ``value``, ``cpu_s``, ``rss_mb`` (peak of the whole
        process), ``flops`` and ``expected_s``: the first row's seconds grown as the operations do.

    Raises
    ------
    ValueError
        When `vary` is none of the four.
    """
    if vary not in GROWTH:
        raise ValueError(f"vary is {vary!r}, must be one of {sorted(GROWTH)}")
    shapes = [{**BASE, **(base or {}), vary: value} for value in values or GROWTH[vary]]
    workers = interleaved({shape[vary]: Worker("fused", shape) for shape in shapes}, repeats)
    rows = [{"value": shape[vary], "cpu_s": workers[shape[vary]].median("cpu_s"),
             "rss_mb": workers[shape[vary]].median("rss_mb"), "flops": flops(**shape)} for shape in shapes]
    speed = np.median([row["cpu_s"] / row["flops"] for row in rows])
    return [{**row, "expected_s": float(speed * row["flops"])} for row in rows]


def plot_growth(growths):
    """Seconds and memory of a training step against each size, with the line each should follow.

    Parameters
    ----------
    growths : dict of str to list of dict
        From `growth`, by what was varied.

    Returns
    -------
    matplotlib figure
        Above, CPU seconds with the operations at one speed dashed; below, peak
        memory with the straight line through its ends dashed.
    """
    import matplotlib.pyplot as plt

    from .plot_style import COLOURS, dress, legend
    figure, axes = plt.subplots(2, len(growths), figsize=(3 * len(growths), 4.6), layout="constrained", squeeze=False)
    for (time_ax, memory_ax), (vary, rows) in zip(axes.T, growths.items()):
        values, memory = [row["value"] for row in rows], [row["rss_mb"] for row in rows]
        time_ax.plot(values, [row["expected_s"] for row in rows], "--", color=COLOURS["reference"], label="by operations")
        time_ax.plot(values, [row["cpu_s"] for row in rows], "o-", color=COLOURS["train"], label="measured")
        memory_ax.plot([values[0], values[-1]], [memory[0], memory[-1]], "--", color=COLOURS["reference"], label="straight line")
        memory_ax.plot(values, memory, "o-", color=COLOURS["train"], label="measured")
        first = vary == next(iter(growths))
        dress(time_ax, LABELS[vary], "CPU seconds a step" if first else "")
        dress(memory_ax, LABELS[vary], "peak memory (MB)" if first else "")
    legend(axes[0, 0])
    legend(axes[1, 0])
    return figure
