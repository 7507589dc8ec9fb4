"""The package's own C++: built once on each machine, loaded by ctypes.

One compiler call turns ``c_code/`` into a shared library linked to the OpenBLAS
of the package scipy-openblas32.  The library lies in `theano_setup.cache_dir`
under a digest of everything that could change it, so a second process only
loads it.  ctypes releases Python's lock during a call.
"""
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from .theano_setup import cache_dir

SOURCES = Path(__file__).parent / "c_code"
FLAGS = "-O3 -march=native -fno-math-errno -fno-trapping-math -std=c++11 -fPIC -shared -pthread"
TRANSPOSED = {False: 111, True: 112}  # as the C interface to BLAS says it
BYTES_WORTH_A_THREAD = 4 << 20         # of a matrix read once: less takes no longer than starting the thread
OPERATIONS_WORTH_A_THREAD = 10 * 1000 ** 2

_threads = 1
long = ctypes.c_long


class Lstm(ctypes.Structure):
    """`Lstm` of fused_lstm.cpp: sizes and choices of one recurrence."""

    _fields_ = [(name, ctypes.c_long) for name in (
        "n_steps", "n_batch", "n_inputs", "n_units", "gradient_steps", "cell_kind", "hid_kind", "peephole_after", "n_threads")
    ] + [("clip", ctypes.c_double)]


class BuildError(RuntimeError):
    """The library cannot be built on this machine; the message says why."""


def compiler():
    """Command of the C++ compiler: $CXX, or the first usual one on the PATH.

    Raises
    ------
    BuildError
        When there is none.
    """
    for candidate in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        words = shlex.split(candidate)
        if words and shutil.which(words[0]):
            return words
    raise BuildError("no C++ compiler found: install g++ (or clang++), or name one in CXX")


def build():
    """Build the shared library unless it is there already.

    Compiled under a passing name and renamed into place: of two processes that
    build at once, the second replaces the library by an equal one.

    Returns
    -------
    Path
        The library, in `cache_dir`.

    Raises
    ------
    BuildError
        When there is no compiler, no OpenBLAS, or the compiler fails.
    """
    try:
        import scipy_openblas32
    except ImportError:
        raise BuildError("the package scipy-openblas32 is not installed") from None
    blas = scipy_openblas32.get_lib_dir()
    flags = shlex.split(os.environ.get("VOCALSYNTH_CXXFLAGS", FLAGS))
    link = [f"-L{blas}", "-lscipy_openblas", f"-Wl,-rpath,{blas}"]
    command = compiler()
    sources = sorted(SOURCES.glob("*.cpp"))
    version = subprocess.run(command + ["--version"], capture_output=True, text=True).stdout
    digest = hashlib.sha256(repr((command, version, flags, link, scipy_openblas32.__version__, _cpu())).encode())
    for source in sources + sorted(SOURCES.glob("*.h")):
        digest.update(source.read_bytes())
    folder = Path(os.environ.get("VOCALSYNTH_CACHE") or cache_dir())  # the variable is for timing a build from nothing
    target = folder / f"native-{digest.hexdigest()[:20]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            fresh = Path(beside) / target.name
            done = subprocess.run(command + flags + [str(s) for s in sources] + link + ["-o", str(fresh)],
                                  capture_output=True, text=True)
            if done.returncode:
                raise BuildError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
            os.replace(fresh, target)
    return target


def _cpu():
    """What -march=native looks at, as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        return platform.platform(), platform.processor(), sys.maxsize


@functools.lru_cache(maxsize=None)
def library():
    """The loaded library.

    Returns
    -------
    ctypes.CDLL

    Raises
    ------
    BuildError
        When it cannot be built or loaded.
    """
    path = build()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path.name} does not load: {error}") from None
    for name in ("lstm_workspace_f32", "lstm_workspace_f64", "panel_width_f32"):
        getattr(loaded, name).restype = ctypes.c_long
    for name in ("squared_error_f32", "squared_error_f64", "squared_sum_f32", "squared_sum_f64"):
        getattr(loaded, name).restype = ctypes.c_double
    global _threads
    _threads = loaded.scipy_openblas_get_num_threads()
    loaded.scipy_openblas_set_num_threads(1)  # the library shares out the work itself, see products.cpp
    return loaded


@functools.lru_cache(maxsize=None)
def unavailable():
    """Why the library cannot serve here; None where it can.

    Returns
    -------
    str or None
    """
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


def num_threads():
    """How many threads the library uses: at first what OpenBLAS takes from OMP_NUM_THREADS or the machine."""
    library()
    return _threads


def set_num_threads(n):
    """Set how many threads the library uses, in the whole process."""
    global _threads
    library()
    if n < 1:
        raise ValueError(f"n is {n}; it takes at least one thread")
    _threads = int(n)


_local = threading.local()


def workspace(n, dtype):
    """Scratch memory for one call: `n` elements of `dtype`, this thread's own and kept for the next call."""
    held = _local.__dict__.setdefault(np.dtype(dtype).name, np.empty(0, dtype))
    if held.size < n:
        held = _local.__dict__[np.dtype(dtype).name] = np.empty(n, dtype)
    return held


def output(storage, shape, dtype):
    """The array in a Theano output storage, made anew unless the last call's fits: old pages cost no page faults."""
    held = storage[0]
    if held is None or held.shape != tuple(shape) or held.dtype != dtype or not held.flags.carray:
        held = storage[0] = np.empty(shape, dtype)
    return held


def function(name, dtype):
    """A function of the library for arrays of `dtype`, e.g. ``function("rmsprop", "float32")``."""
    return getattr(library(), f"{name}_{'f64' if np.dtype(dtype) == np.float64 else 'f32'}")


def kernels():
    """Name of the processor whose kernels OpenBLAS has chosen, e.g. "Haswell"."""
    name = library().scipy_openblas_get_corename
    name.restype = ctypes.c_char_p
    return name().decode()


def scalar(value, dtype):
    """A number as the C type of `dtype`, to hand to `function`."""
    return ctypes.c_double(value) if np.dtype(dtype) == np.float64 else ctypes.c_float(value)


def pointer(array):
    """Address of an array's first element, None as a null pointer."""
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def pointers(arrays):
    """A C array of the addresses of `arrays`; the caller keeps the arrays alive."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def byref(structure):
    """A structure as a C function takes it."""
    return ctypes.byref(structure)


def longs(values):
    """A C array of long."""
    values = tuple(values)
    return (ctypes.c_long * len(values))(*values)


def element_strides(array):
    """Strides of all axes but the last, in elements."""
    return [stride // array.itemsize for stride in array.strides[:-1]]


def rows_contiguous(array):
    """The array itself when its last axis is contiguous, else a copy."""
    contiguous = array.shape[-1] <= 1 or array.strides[-1] == array.itemsize
    return array if contiguous and not any(s % array.itemsize for s in array.strides) else np.ascontiguousarray(array)


def _operand(matrix):
    """matrix as BLAS reads it: (array, leading dimension, transposed)."""
    size = matrix.itemsize
    for candidate, transposed in ((matrix, False), (matrix.T, True)):
        n_rows, n_columns = candidate.shape
        row, column = candidate.strides
        if (column == size or n_columns == 1) and row % size == 0 and (row >= n_columns * size or n_rows == 1):
            return candidate, max(row // size, n_columns, 1), transposed
    copy = np.ascontiguousarray(matrix)
    return copy, max(copy.shape[1], 1), False


def product(A, B, out=None, add=False):
    """``A @ B`` by OpenBLAS, into `out` where given; a single row by a loop that is bound by memory alone.

    Parameters
    ----------
    A : float array of shape (m, k)
        float32 or float64; any strides, a transposed view costs nothing.
    B : float array of shape (k, n)
        Of the same type.
    out : float array of shape (m, n), optional
        Rows contiguous, e.g. a block of columns of a larger matrix.
    add : bool
        Add to `out` instead of overwriting it.

    Returns
    -------
    float array of shape (m, n)
        `out`, or a new array.

    Raises
    ------
    ValueError
        When the shapes or types do not fit together.
    """
    (m, k), n = A.shape, B.shape[1]
    if out is None:
        out = np.empty((m, n), A.dtype)
    if B.shape[0] != k or out.shape != (m, n) or not A.dtype == B.dtype == out.dtype:
        raise ValueError(f"product of {A.shape} {A.dtype} and {B.shape} {B.dtype} into {out.shape} {out.dtype}: "
                         "sizes and types must agree")
    if m == 0 or n == 0 or k == 0:
        if not add:
            out[...] = 0
        return out
    if n > 1 and out.strides[1] != out.itemsize:
        raise ValueError(f"out has strides {out.strides}; its rows must be contiguous")
    B, ld_B, B_transposed = _operand(B)
    if m == 1 and not B_transposed:
        threads = num_threads() if B.nbytes > BYTES_WORTH_A_THREAD else 1
        function("row_product", A.dtype)(long(k), long(n), long(ld_B), pointer(np.ascontiguousarray(A[0])), pointer(B),
                                         pointer(out), long(add), long(threads))
        return out
    A, ld_A, A_transposed = _operand(A)
    ld_out = out.strides[0] // out.itemsize if m > 1 else n
    threads = max(1, min(num_threads(), 2 * m * n * k // OPERATIONS_WORTH_A_THREAD))
    function("product", A.dtype)(TRANSPOSED[A_transposed], TRANSPOSED[B_transposed], long(m), long(n), long(k), pointer(A),
                                 long(ld_A), pointer(B), long(ld_B), long(add), pointer(out), long(ld_out), long(threads))
    return out
