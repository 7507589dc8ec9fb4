"""A described voice as a file of plain arrays with a digest, and of such a file the voice it was, to the bit."""

import os

from .. import storage
from ..runs import checkpoints
from .evaluator import Reference
from .independent import Heard
from .measures import Gaussian

VERSION = 5  # said where a checkpoint says its epoch
PLAIN = ("sr", "std", "roughness", "figures")  # of a Reference; all else is arrays


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
        heldout = Gaussian(arrays.pop("heldout_mean"), arrays.pop("heldout_covariance"))
        heard = Heard(*(arrays.pop(f"heard_{name}") for name in Heard._fields))
        return Reference(heldout=heldout, heard=heard, **arrays, **meta)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no described voice ({error}); remove it, and describe it again") from None
