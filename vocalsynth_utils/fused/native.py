"""The package's own C++ as a library loaded by ctypes, calls of its functions, and matrix products by its OpenBLAS.

One compiler call turns ``c_code/`` into a shared library linked to the OpenBLAS of the package scipy-openblas32.  It
lies in `theano_setup.cache_dir` under a digest of everything that could change it, so a second process only loads it.
ctypes releases Python's lock during a call.
"""

import ctypes
import functools
import hashlib
import importlib.util
import math
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

from ..theano_setup import cache_dir, device

SOURCES = Path(__file__).parent / "c_code"
FLAGS = "-O3 -fno-math-errno -fno-trapping-math -std=c++11 -fPIC -shared -pthread"
# Of each, the first that the compiler knows: this machine's instructions, and no C++ library, which nothing here uses.
OPTIONAL = (("-march=native", "-mcpu=native"), ("-nostdlib++",))
TRANSPOSED = {False: 111, True: 112}  # as the C interface to BLAS says it
BYTES_WORTH_A_THREAD = 4 << 20  # of a matrix read once: less takes no longer than starting the thread
OPERATIONS_WORTH_A_THREAD = 10 * 1000**2
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
SIZES = "n_steps n_batch n_inputs n_units gradient_steps cell_kind hid_kind peephole_after n_threads"

_threads = 1
_local = threading.local()
long = ctypes.c_long


class Lstm(ctypes.Structure):
    """`Lstm` of fused_lstm.cpp: sizes and choices of one recurrence."""

    _fields_ = [(name, long) for name in SIZES.split()] + [("clip", ctypes.c_double), ("backwards", long)]


class BuildError(RuntimeError):
    """The library cannot be built on this machine; the message says why."""


def build():
    """Path of the shared library, built unless it is there; BuildError without compiler or OpenBLAS, or if it fails."""
    try:
        import scipy_openblas32
    except ImportError:
        raise BuildError("the package scipy-openblas32 is not installed") from None
    blas = scipy_openblas32.get_lib_dir()
    given = os.environ.get("VOCALSYNTH_CXXFLAGS")
    link = [f"-L{blas}", "-lscipy_openblas", *"-Xlinker -rpath -Xlinker".split(), blas]  # -Wl would split at a comma
    command = compiler()
    version = subprocess.run(command + ["--version"], capture_output=True, text=True).stdout
    known = command, version, given, FLAGS, OPTIONAL, link, scipy_openblas32.__version__, _cpu()
    digest = hashlib.sha256(repr(known).encode())
    for source in sorted(SOURCES.glob("*.[ch]*")):
        digest.update(source.read_bytes())
    folder = Path(os.environ.get("VOCALSYNTH_CACHE") or cache_dir())  # the variable is for timing a build from nothing
    target = folder / f"native-{digest.hexdigest()[:20]}.so"
    if not target.exists():
        _compile(command, given, link, target)
    return target


def _compile(command, flags, link, target):
    """Build the library with `flags`, or with FLAGS and what of OPTIONAL the compiler knows.

    Under a passing name and renamed into place: of two processes that build at once, the second replaces the library by
    an equal one.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        fresh = Path(beside) / target.name
        settings = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": beside}  # zig's files are not for the home folder
        run = functools.partial(subprocess.run, capture_output=True, text=True, env=settings)
        knows = lambda flag: not run([*command, "-x", "c++", "-E", os.devnull, flag]).returncode
        flags = flags or " ".join([FLAGS, *(next(filter(knows, choice), "") for choice in OPTIONAL)])
        done = run([*command, *shlex.split(flags), *map(str, SOURCES.glob("*.cpp")), *link, "-o", str(fresh)])
        if done.returncode:
            raise BuildError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
        os.replace(fresh, target)


def compiler():
    """The C++ compiler's words: CXX's, else this machine's, else the package ziglang's; BuildError without one."""
    named = [shlex.split(words) for words in (os.environ.get("CXX", ""), "g++", "clang++", "c++")]
    found = [words for words in named if words and shutil.which(words[0])]
    if not found and importlib.util.find_spec("ziglang") is None:
        raise BuildError("no C++ compiler found: install g++ or clang++, name one in CXX, or `pip install ziglang`")
    return found[0] if found else [sys.executable, "-m", "ziglang", "c++"]


def _cpu():
    """What "native" stands for, as text."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        return platform.platform(), platform.processor(), sys.maxsize


@functools.cache
def library():
    """The loaded library, a ctypes.CDLL; BuildError when it cannot be built or loaded."""
    path = build()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path.name} does not load: {error}") from None
    for ending in ("f32", "f64"):
        for name in ("lstm_workspace", "panel_width"):
            getattr(loaded, f"{name}_{ending}").restype = long
        for name in ("squared_error", "squared_sum"):
            getattr(loaded, f"{name}_{ending}").restype = ctypes.c_double
    loaded.scipy_openblas_get_corename.restype = loaded.instructions.restype = ctypes.c_char_p
    global _threads
    _threads = loaded.scipy_openblas_get_num_threads()
    loaded.scipy_openblas_set_num_threads(1)  # the library shares out the work itself, see products.cpp
    return loaded


@functools.cache
def unavailable():
    """Why the library cannot serve here, as text; None where it can: on another device graphs are Theano's own."""
    if device() != "cpu":
        return f"Theano is to run on {device()}"
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


def kernels():
    """Name of the processor whose kernels OpenBLAS has chosen, e.g. "Haswell"."""
    return library().scipy_openblas_get_corename().decode()


def instructions():
    """The instruction set that the small product is compiled for, e.g. "AVX2"."""
    return library().instructions().decode()


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


def threads_for(work, grain):
    """How many threads to share `work` among, when each should get at least `grain` of it."""
    return max(1, min(num_threads(), work // grain))


def aligned(shape, dtype):
    """An array of any contents that begins at a multiple of ALIGNMENT bytes, so that vectors cross no cache line."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes].view(dtype).reshape(shape)


def workspace(shape, dtype):
    """Scratch array of a shape (an int or a tuple): this thread's own aligned memory, kept for the next call."""
    n, kind = math.prod(shape) if isinstance(shape, tuple) else shape, np.dtype(dtype).char
    held = _local.__dict__.setdefault(kind, np.empty(0, dtype))
    if held.size < n:
        held = _local.__dict__[kind] = aligned((n,), dtype)
    return held[:n].reshape(shape)


def output(storage, shape, dtype):
    """The array in an Op's output storage, aligned, made anew unless the last call's fits: old pages cost no faults."""
    held = storage[0]
    if held is None or held.shape != tuple(shape) or held.dtype != dtype or not held.flags.carray:
        held = storage[0] = aligned(shape, dtype)
    return held


def call(name, dtype, *arguments):
    """The result of the library's function for arrays of `dtype`, e.g. ``call("rmsprop", "float32", ...)``.

    An array goes as its address and None as a null pointer, an integer as long, a float as `dtype`, a list of arrays
    or of integers as a C array of these, a structure by reference.
    """
    convert, ending = (_AS_DOUBLE, "f64") if np.dtype(dtype).char == "d" else (_AS_FLOAT, "f32")
    by_type = [convert.get(type(value), ctypes.byref)(value) for value in arguments]
    return getattr(library(), f"{name}_{ending}")(*by_type)


def _array_of(values):
    """A list of arrays or of integers as a C array."""
    return pointers(values) if isinstance(values[0], np.ndarray) else (long * len(values))(*values)


def pointer(array):
    """Address of an array's first element, None as a null pointer."""
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def pointers(arrays):
    """A C array of the addresses of `arrays`; the caller keeps the arrays alive."""
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


_WHOLE = dict.fromkeys((int, bool, np.int64), long)
_AS_FLOAT = {**_WHOLE, float: ctypes.c_float, np.ndarray: pointer, type(None): pointer, list: _array_of}
_AS_DOUBLE = {**_AS_FLOAT, float: ctypes.c_double}


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
    """``A (m, k) @ B (k, n)`` by OpenBLAS, into or added to `out` (m, n) where given; returns `out`, or a new array.

    A and B, both float32 or both float64, have any strides (a transposed view costs nothing); the rows of `out` are
    contiguous, as those of a block of columns are.  ValueError when sizes or types differ.  A single row is multiplied
    by a loop that is bound by memory alone.
    """
    (m, k), n = A.shape, B.shape[1]
    if out is None:
        out = np.empty((m, n), A.dtype)
    if B.shape[0] != k or out.shape != (m, n) or not A.dtype == B.dtype == out.dtype:
        given = f"product of {A.shape} {A.dtype} and {B.shape} {B.dtype} into {out.shape} {out.dtype}"
        raise ValueError(f"{given}: sizes and types must agree")
    if m == 0 or n == 0 or k == 0:
        if not add:
            out[...] = 0
        return out
    if n > 1 and out.strides[1] != out.itemsize:
        raise ValueError(f"out has strides {out.strides}; its rows must be contiguous")
    B, ld_B, B_transposed = _operand(B)
    if m == 1 and not B_transposed:
        threads = num_threads() if B.nbytes > BYTES_WORTH_A_THREAD else 1
        call("row_product", A.dtype, k, n, ld_B, np.ascontiguousarray(A[0]), B, out, add, threads)
        return out
    A, ld_A, A_transposed = _operand(A)
    ld_out = out.strides[0] // out.itemsize if m > 1 else n
    threads = threads_for(2 * m * n * k, OPERATIONS_WORTH_A_THREAD)
    transposed = TRANSPOSED[A_transposed], TRANSPOSED[B_transposed]
    call("product", A.dtype, *transposed, m, n, k, A, ld_A, B, ld_B, add, out, ld_out, threads)
    return out
