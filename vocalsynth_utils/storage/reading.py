"""Text, JSON and arrays from a folder that may come from anyone.

Whatever stands there, reading it ends, takes no more memory than a file of ours would, and runs nothing: no pipes and
devices, no endless or absurdly large text, no pickle, no array header but the one numpy writes.
"""

import json
import math
import os
import re
import stat

import numpy as np

from .limits import MOST_TEXT, MOST_VALUES, check_holes, check_most

DTYPE, SHAPE = rb"([<>|][fiu][1248])", rb"\((\d+,|\d+(?:, \d+)+)\)"
HEADER = re.compile(rb"\{'descr': '" + DTYPE + rb"', 'fortran_order': (False|True), 'shape': " + SHAPE + rb", \} *\n")


def open_regular(path):
    """Open a file to read its bytes; ValueError for a folder, a pipe, a device or holes, which may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe that nobody writes would block for ever
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{os.path.basename(path)} is not a regular file")
        check_holes(handle, os.path.basename(path))
    except ValueError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_bytes(path, most=MOST_TEXT):
    """The content of a file of at most so many bytes; ValueError on anything else, OSError when it cannot be opened."""
    with open_regular(path) as file:
        content = file.read(most + 1)  # of the file that is open: its size may be told wrong
        check_most(max(len(content), os.fstat(file.fileno()).st_size), most, "bytes", os.path.basename(path))
    return content


def read_json(path):
    """The object a JSON file holds, a dict; ValueError on anything else, OSError when it cannot be opened."""
    return parse_json(read_bytes(path).decode(), os.path.basename(path))


def parse_json(text, what):
    """The object in a JSON text, as `read_json`; a ValueError calls the text `what`."""
    check_most(text.count(",") + 1, MOST_VALUES, "values", what)
    try:
        return as_object(json.loads(text), what)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is no JSON ({error})") from None


def as_object(values, what):
    """`values` if they are a JSON object, or ValueError."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no JSON object")
    return values


def plain_numbers(values):
    """Those of a JSON object's values that are numbers, and not too large for one: a dict, empty for anything else."""
    fits = lambda v: type(v) is float or type(v) is int and abs(v) < 2**63
    return {name: v for name, v in values.items() if fits(v)} if isinstance(values, dict) else {}


def numbers(values, shape, what):
    """What JSON gave as finite numbers, a float64 array of this shape; a ValueError calls them `what`."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{what} holds something else than numbers") from None
    if array.shape != shape:
        raise ValueError(f"{what} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds NaN or infinite values")
    return array


def map_array(path):
    """A .npy file of floats or integers of 1 to 8 bytes as a read-only memory map, in its own byte order.

    ValueError for one that does not hold exactly what its header says, or whose header
    is not what numpy writes: unlike numpy, this does not evaluate it as Python.
    """
    name = os.path.basename(path)
    with open_regular(path) as file:
        start = file.read(10)
        header = HEADER.fullmatch(file.read(int.from_bytes(start[8:], "little")))
        if start[:8] != b"\x93NUMPY\1\0" or not header:
            raise ValueError(f"{name} is no array of numbers in numpy's format 1.0")
        dtype, shape = np.dtype(header[1].decode()), tuple(int(n) for n in header[3].split(b",") if n)
        n_bytes, present = dtype.itemsize * math.prod(shape), os.fstat(file.fileno()).st_size - file.tell()
        if n_bytes != present or not n_bytes:
            raise ValueError(f"{name} holds {present} bytes of numbers, its header says {n_bytes:g}")
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if header[2] == b"True" else "C")
