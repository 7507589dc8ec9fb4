"""Checkpoint files: named arrays and plain data in an ``.npz`` that carries its own digest.

The digest is BLAKE2b over every name, header and byte in the order they are stored, so what was torn, swapped or
changed is refused, also where the archive's own checksums were put right again. Files are read without pickle and
never take more memory than they are long: one from a stranger cannot run code. Anything that reads ``.npz`` reads them.
"""

import hashlib
import json
import math
import zipfile

import numpy as np
from numpy.lib import format as npy

from .. import storage
from ..storage import limits

KEPT = "kept."  # what the names of parameters begin with that stand for those of the epoch itself
META, DIGEST = "__meta__", "__digest__"
DIGEST_BYTES = 32
CHUNK = 1 << 20


class DamagedCheckpoint(ValueError):
    """A checkpoint file that is not whole."""


class _Measured:
    """A file of which no more is read at once than what lists an archive's arrays may take."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def read(self, n=-1):
        storage.check_most(n, limits.MOST_DIRECTORY, "bytes", "the list of its arrays")
        return self._file.read(n)


class _Hashed:
    """A file whose bytes are hashed as they pass."""

    def __init__(self, file, digest):
        self.file, self.digest = file, digest

    def read(self, n):
        data = self.file.read(n)
        self.digest.update(data)
        return data

    def write(self, data):
        self.digest.update(data)
        return self.file.write(data)


def write(file, arrays, meta):
    """Write a checkpoint into an open binary file.

    `arrays` of numbers, truth values or text, by name; `meta`, plain data that JSON can hold, ``epoch`` among it.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in {**arrays, META: _bytes(json.dumps(meta).encode())}.items():
            _write_member(archive, name, array, digest)
        _write_member(archive, DIGEST, _bytes(digest.digest()), digest)


def read(path, keep=lambda name: True):
    """Arrays by name, those whose name `keep` says yes to, and the meta data of one checkpoint file; all is checked.

    ValueError when the file is missing, `DamagedCheckpoint` when it is torn, altered or no checkpoint.
    """
    digest, arrays = hashlib.blake2b(digest_size=DIGEST_BYTES), {}
    try:
        with storage.open_regular(path) as file, zipfile.ZipFile(_Measured(file)) as archive:
            members = archive.infolist()
            length = file.seek(0, 2)
            storage.check_most(len(members), limits.MOST_ARRAYS, "arrays", "it")
            text = sum(info.file_size for info in members if info.filename == f"{META}.npy")
            storage.check_most(text, limits.MOST_TEXT, "bytes", "its meta data")
            twice = len({info.filename for info in members}) < len(members)
            if twice or sum(info.file_size for info in members) > length or members[0].header_offset:
                raise ValueError("its arrays are not stored one after the other")
            for info in members:
                expected = digest.digest()
                name = info.filename[: -len(".npy")]
                arrays[name] = _read_member(archive, info, digest, name in (META, DIGEST) or keep(name))
            if DIGEST not in arrays:
                raise ValueError(
                    "it has no digest, so it is of an older version, or no checkpoint; train the run again"
                )
            if arrays.pop(DIGEST).tobytes() != expected:
                raise ValueError("its digest differs from its content")
            meta = storage.parse_json(arrays.pop(META).tobytes().decode(), "its meta data")
            if type(meta.get("epoch")) is not int:
                raise ValueError("it does not say its epoch")
            return {name: array for name, array in arrays.items() if array is not None}, meta
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; train first, or wait for the first epoch to end") from None
    except Exception as error:  # the readers of zip, .npy and JSON have a great many for bytes that are none
        what = str(error) or type(error).__name__
        raise DamagedCheckpoint(f"{path} is no whole checkpoint ({what}); use another one") from None


def set_parameters(parameters, arrays, path="the checkpoint"):
    """Put a checkpoint's arrays into shared variables of the same names and shapes.

    `arrays` may hold more than the parameters; what the variables take from it is theirs from then on, to be changed
    in place.  ValueError naming every array that is missing or of another shape, before anything is changed.
    """
    wrong = []
    for name, variable in parameters.items():
        expected = variable.get_value(borrow=True).shape
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif arrays[name].shape != expected:
            wrong.append(f"{name} has shape {arrays[name].shape}, the network needs {expected}")
        elif arrays[name].dtype.kind not in "fiu":
            wrong.append(f"{name} holds {arrays[name].dtype}, no numbers")
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(f"{path} does not fit this recipe: {'; '.join(wrong[:4])}{more}")
    for name, variable in parameters.items():
        variable.set_value(arrays[name].astype(variable.dtype, copy=False), borrow=True)


def chosen(arrays):
    """A checkpoint's arrays, with what was kept of earlier epochs in place of what was trained on since."""
    kept = {name.removeprefix(KEPT): array for name, array in arrays.items() if name.startswith(KEPT)}
    return {**{name: array for name, array in arrays.items() if not name.startswith(KEPT)}, **kept}


def _bytes(data):
    """Bytes as an array that an archive can hold."""
    return np.frombuffer(data, np.uint8)


def _write_member(archive, name, array, digest):
    """Add one array to the archive, and its name and bytes to the digest."""
    info = zipfile.ZipInfo(f"{name}.npy")  # its date is fixed: the clock has no say in what a checkpoint is
    digest.update(info.filename.encode())
    with archive.open(info, "w", force_zip64=True) as member:
        npy.write_array(_Hashed(member, digest), np.asanyarray(array), allow_pickle=False)


def _read_member(archive, info, digest, keep):
    """One array of the archive, or None where it is not kept; its name and bytes join the digest."""
    if info.compress_type != zipfile.ZIP_STORED or not info.filename.endswith(".npy"):
        raise ValueError(f"{info.filename[:80]!r} is not stored as a checkpoint's arrays are")
    digest.update(info.filename.encode())
    with archive.open(info) as member:
        file = _Hashed(member, digest)
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{info.filename[:80]!r} is of another version")
        shape, fortran, dtype = npy.read_array_header_1_0(file)
        n_bytes = dtype.itemsize * math.prod(shape)
        if dtype.hasobject or n_bytes != info.file_size - member.tell():
            raise ValueError(f"{info.filename[:80]!r} does not hold what its header says")
        data = np.empty(n_bytes if keep else 0, np.uint8)
        for start in range(0, n_bytes, CHUNK):
            chunk = file.read(CHUNK)
            if keep:
                data[start : start + CHUNK] = _bytes(chunk)
        if file.read(1):  # the end is where the archive's own checksum is compared
            raise ValueError(f"{info.filename[:80]!r} is too long")
    if not keep:
        return None
    array = data.view(dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
