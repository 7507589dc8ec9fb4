"""A described voice as a file of plain arrays with a digest, and of such a file the voice it was, to the bit."""

import os

import numpy as np

from .. import storage
from ..runs import checkpoints
from .evaluator import Reference
from .independent import Heard
from .measures import Gaussian

VERSION = 6  # said where a checkpoint says its epoch
PLAIN = ("sr", "std", "roughness", "figures")  # of a Reference; all else is arrays
SHAPES = {  # of these; -1: any length
    **{name: (40,) for name in ("mean", "scale", "spectrum", "heldout_mean")},
    **{"heldout_covariance": (40, 40), "region": (2, 4), "rows": (-1, 20), "heard_spectrum": (5,)},
    **{"heard_centres": (-1, 36), "heard_movements": (-1, 65), "heard_labels": (-1,), "heard_heldout_labels": (-1,)},
}


def save_reference(path, reference):
    """Write a described voice to a path, whole or not at all; OSError where that fails."""
    arrays = reference._asdict()
    meta = {name: arrays.pop(name) for name in PLAIN}
    mean, covariance = arrays.pop("heldout")
    heard = {f"heard_{name}": array for name, array in arrays.pop("heard")._asdict().items()}
    arrays.update(heldout_mean=mean, heldout_covariance=covariance, **heard)
    with storage.atomic(path, "wb") as file:
        checkpoints.write(file, arrays, {"epoch": VERSION, **meta})


def load_reference(path):
    """The `Reference` that `save_reference` wrote; OSError where there is no file, ValueError where it holds none."""
    os.stat(path)  # a missing file is no ValueError
    try:
        arrays, meta = checkpoints.read(path)
        if meta.pop("epoch") != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        _check(arrays, meta)
        heldout = Gaussian(arrays.pop("heldout_mean"), arrays.pop("heldout_covariance"))
        heard = Heard(*(arrays.pop(f"heard_{name}") for name in Heard._fields))
        return Reference(heldout=heldout, heard=heard, **arrays, **meta)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no described voice ({error}); remove it, and describe it again") from None


def _check(arrays, meta):
    """ValueError where these are not what a voice is described by: whoever wrote them can have given them a digest."""
    for name, shape in SHAPES.items():
        array = arrays[name]
        fits = array.ndim == len(shape) and all(n == m or m < 0 < n for n, m in zip(array.shape, shape))
        if not fits or array.dtype.kind != ("i" if "labels" in name else "f") or not np.isfinite(array).all():
            raise ValueError(f"{name} is {array.dtype} {array.shape}, or not finite")
        if "labels" in name and not (0 <= array.min() and array.max() < len(arrays["heard_centres"])):
            raise ValueError(f"{name} names units that are none")
    numbers = storage.plain_numbers(meta)
    fine = set(numbers) == {*PLAIN[:3]} and type(meta["sr"]) is int and min(meta["sr"], meta["std"]) > 0
    if not fine or storage.plain_numbers(meta["figures"]) != meta["figures"]:
        raise ValueError("its figures are no numbers")
