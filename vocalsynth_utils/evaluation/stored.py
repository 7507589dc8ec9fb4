"""A described voice as a file of plain arrays, and of such a file the voice it was, to the bit."""

import zipfile

import numpy as np
from numpy.lib import format as npy

from .. import storage
from .descriptors import N_BANDS, N_MFCC, STATISTICS
from .evaluator import Reference
from .measures import Gaussian

VERSION = 1
FIGURES = ("ok_real", "fd_floor", "novelty_heldout", "novelty_lowest_heldout", "repetition_real", "voiced_share_real")
FIGURES += ("fd_codec", "ok_codec")  # these two where a codec was described
LAYOUT = {  # types and shapes, None for any length
    "version": ("i8", ()),
    "sr": ("i8", ()),
    "std": ("f8", ()),
    "mean": ("f4", (2 * N_MFCC,)),
    "scale": ("f4", (2 * N_MFCC,)),
    "region": ("f8", (2, len(STATISTICS))),
    "rows": ("f4", (None, N_MFCC)),
    "heldout_mean": ("f8", (2 * N_MFCC,)),
    "heldout_covariance": ("f8", (2 * N_MFCC, 2 * N_MFCC)),
    "spectrum": ("f8", (N_BANDS,)),
    "roughness": ("f8", ()),
    "figures": ("f8", (None,)),
}


def save_reference(path, reference):
    """Write a described voice to a path, whole or not at all, or into a binary file; OSError where that fails."""
    if not hasattr(path, "write"):
        with storage.atomic(path, "wb") as file:
            return save_reference(file, reference)
    mean, covariance = reference.heldout
    figures = [reference.figures[name] for name in FIGURES if name in reference.figures]
    values = {"version": VERSION, "heldout_mean": mean, "heldout_covariance": covariance, **reference._asdict()}
    values["figures"] = figures
    np.savez(path, **{name: np.asarray(values[name], kind) for name, (kind, _) in LAYOUT.items()})


def load_reference(path):
    """The `Reference` that `save_reference` wrote; OSError where it cannot be opened, ValueError where it is none."""
    with storage.open_regular(path) as file:
        try:
            values = _checked_arrays(file)
        except Exception as error:  # the readers of zip and .npy have a great many for bytes that are none
            why = str(error) or type(error).__name__
            raise ValueError(f"{path} holds no described voice ({why}); remove it, and describe it again") from None
    values["heldout"] = Gaussian(values.pop("heldout_mean"), values.pop("heldout_covariance"))
    values["figures"] = dict(zip(FIGURES, values["figures"].tolist()))
    return Reference(**values)


def _checked_arrays(file):
    """The arrays of an open file by name, of the types and shapes that they should have, those of one number as it."""
    values = {}
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > file.seek(0, 2):
            raise ValueError("its arrays are packed")  # and could fill the memory
        for name, (kind, shape) in LAYOUT.items():
            with archive.open(f"{name}.npy") as member:
                found = npy.read_array(member, allow_pickle=False)
            fits = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape))
            if found.dtype != kind or not fits or not (name == "figures" or np.isfinite(found).all()):
                raise ValueError(f"{name} is {found.dtype} {found.shape}, or not finite")
            values[name] = found if shape else found.item()
    version = values.pop("version")
    if version != VERSION or len(values["figures"]) not in (len(FIGURES) - 2, len(FIGURES)):
        raise ValueError(f"it is of version {version}, and {VERSION} is needed")
    if not (values["sr"] > 0 and values["std"] > 0 and values["scale"].min() > 0):
        raise ValueError("nothing could be measured with its numbers")
    return values
