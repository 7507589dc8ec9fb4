"""16-bit mono WAV files, written whole or not at all; and checks before hours are spent on what they would hold."""

import contextlib
import os
import stat
import struct

from ..storage import atomic
from .signal import AudioError, check_rate, printable, reason, to_int16

MAX_WAV_BYTES = 2**32 - 256  # a plain WAV counts its bytes in 32 bits


def wav_length(seconds, sr):
    """Samples in a WAV file of so many seconds; ValueError for none, and for more than a WAV file holds."""
    if not 0.5 < seconds * sr:
        raise ValueError(f"seconds={seconds} is less than one sample; use a positive length")
    longest = MAX_WAV_BYTES // 2 // sr
    if seconds > longest:
        raise ValueError(f"seconds={seconds:g} is more than a WAV file holds; use at most {longest}, and several files")
    return round(seconds * sr)


def check_place(path, make_folder=False):
    """Raise `AudioError` where no file can be written; with `make_folder`, a missing folder is no hindrance."""
    path, name = os.fspath(path), printable(path)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = bool(path) and not path.endswith(os.sep)
    except (OSError, ValueError) as e:
        raise AudioError(f"{name}: cannot be written ({reason(e)}); choose another name") from None
    if not regular:
        raise AudioError(f"{name}: is not a regular file; give the name of a WAV file to write")
    if not make_folder and not os.path.isdir(folder):
        raise AudioError(f"{name}: its folder does not exist; make it first")
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        raise AudioError(f"{name}: its folder is not yours to write in; choose another one")


class WavWriter:
    """Writes one signal piece by piece; made by `writer`.  `n_samples` counts those written so far."""

    def __init__(self, file):
        self._file, self.n_samples = file, 0

    def write(self, y):
        """Append `y`, a float array of shape (n,) at full scale 1 (clipped) or int16."""
        x = to_int16(y)
        if 2 * (self.n_samples + len(x)) > MAX_WAV_BYTES:
            raise AudioError(f"{self.n_samples + len(x)} samples do not fit a WAV file (4 GiB); write several files")
        self._file.write(x.astype("<i2", copy=False).tobytes())
        self.n_samples += len(x)


@contextlib.contextmanager
def writer(path, sr=16000):
    """Write a long WAV file of `sr` Hz piece by piece, into the `WavWriter` that this yields: all of it, or nothing.

    The samples go into a hidden file beside `path`, which takes its name when the block ends well; after an error or
    Ctrl-C it is removed, and what stood at `path` before still stands. A folder that is missing or not writable, a
    full disk and a bad sample are an `AudioError`.

    >>> import tempfile, numpy as np
    >>> with writer(os.path.join(tempfile.mkdtemp(), "hum.wav"), sr=16000) as w:
    ...     for _ in range(3):
    ...         w.write(0.1 * np.sin(np.arange(1600) / 10))
    >>> w.n_samples
    4800
    """
    sr, path = check_rate(sr), os.fspath(path)
    check_place(path)
    try:
        with atomic(path, "wb") as file:
            file.write(bytes(44))  # the header's place
            w = WavWriter(file)
            yield w
            n_bytes = 2 * w.n_samples
            header = (b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, sr, 2 * sr, 2, 16, b"data", n_bytes)
            file.seek(0)
            file.write(struct.pack("<4sI8sIHHIIHH4sI", *header))
    except OSError as e:
        why = f"cannot be written ({reason(e)})"
        raise AudioError(f"{printable(path)}: {why}; choose a folder that exists, is yours and has room") from e


def write(path, y, sr=16000):
    """Write a signal as a 16-bit mono WAV file of `sr` Hz, complete or not at all; `AudioError` as `writer`.

    `y` is a float array of shape (n_samples,) at full scale 1, clipped, or int16.
    """
    with writer(path, sr) as w:
        w.write(y)
