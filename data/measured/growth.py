"""How the cost of training grows with steps, units, batch and frame length: seconds and memory of a training step.

    python data/measured/growth.py [REPEATS] > data/measured/growth.json

One size grows at a time, the others stay at BASE.  For each: `value`, `cpu_s`, `rss_mb` (peak of the whole process),
`flops`, and `expected_s`, one speed for the whole row times the operations.  Notebook 03 draws it.
"""

import json
import sys

import numpy as np

from vocalsynth_utils.benchmark import timing

BASE = {"n_inputs": 800, "n_units": 256, "n_steps": 50, "n_batch": 16}
GROWTH = {
    "n_steps": (25, 50, 100, 200),
    "n_units": (64, 128, 256, 512),
    "n_batch": (8, 16, 32, 64),
    "n_inputs": (200, 800, 3200, 12800),
}


def flops(n_inputs, n_units, n_steps, n_batch):
    """Floating-point operations of one training step's matrix products, three LSTM layers and a linear one.

    Linear in steps, batch and frame length; a straight line plus a square in units.
    """
    rows = n_steps * n_batch
    recurrent = 3 * (2 * rows * n_units * 4 * n_units) * 3  # h W_hid of three layers: product and its two gradients
    between = 3 * (2 * rows * n_units * 4 * n_units) * 2  # x W_in of the upper two
    return recurrent + between + 2 * (2 * rows * n_inputs * 4 * n_units) + 3 * (2 * rows * n_units * n_inputs)


def growth(vary, values=None, base=None, repeats=5):
    """Time and memory of `repeats` training steps while one size, a key of GROWTH, takes each of `values`: dicts."""
    if vary not in GROWTH:
        raise ValueError(f"vary is {vary!r}, must be one of {sorted(GROWTH)}")
    shapes = [{**BASE, **(base or {}), vary: value} for value in values or GROWTH[vary]]
    workers = timing.interleaved({shape[vary]: timing.Worker("fused", shape) for shape in shapes}, repeats)
    rows = []
    for shape in shapes:
        worker = workers[shape[vary]]
        measured = {name: worker.median(name) for name in ("cpu_s", "rss_mb")}
        rows.append({"value": shape[vary], **measured, "flops": flops(**shape)})
    speed = np.median([row["cpu_s"] / row["flops"] for row in rows])
    return [{**row, "expected_s": float(speed * row["flops"])} for row in rows]


if __name__ == "__main__":
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    json.dump({vary: growth(vary, repeats=repeats) for vary in GROWTH}, sys.stdout, indent=1)
