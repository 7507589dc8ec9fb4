"""Audio in and out: read recordings, write 16-bit WAV files, and play sound in a notebook cell.

Inside the package a signal `y` is float32 of shape (n_samples,) at full scale
1, the whole of a 16-bit sample's range: int16 / 32768.  Writing lives here;
reading (`recording`) and playing (`players`) are offered here too.
"""
import contextlib
import os
import stat
import struct

from .files import atomic
from .pcm import AudioError, check_rate, from_int16, printable, to_int16
from .players import Player, player, to_mp3
from .recording import Recording, open_recording, read

__all__ = ["AudioError", "Player", "Recording", "WavWriter", "from_int16", "open_recording", "player", "read",
           "to_int16", "to_mp3", "write", "writer"]

MAX_WAV_BYTES = 2 ** 32 - 256     # a plain WAV counts its bytes in 32 bits


def wav_length(seconds, sr):
    """Samples in a WAV file of so many seconds; ValueError for none, and for more than a WAV file holds."""
    if not 0.5 < seconds * sr:
        raise ValueError(f"seconds={seconds} is less than one sample; use a positive length")
    longest = MAX_WAV_BYTES // 2 // sr
    if seconds > longest:
        raise ValueError(f"seconds={seconds:g} is more than a WAV file holds; use at most {longest}, and several files")
    return round(seconds * sr)


def check_place(path, make_folder=False):
    """Raise `AudioError` where no file can be written, before hours are spent on what it would hold.

    Parameters
    ----------
    path : str or path
    make_folder : bool
        Its folder may be missing: the caller will make it.
    """
    path = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = bool(path) and not path.endswith(os.sep)
    except (OSError, ValueError) as e:
        raise AudioError(f"{printable(path)}: cannot be written ({getattr(e, 'strerror', None) or e}); choose another name") from None
    if not regular:
        raise AudioError(f"{printable(path)}: is not a regular file; give the name of a WAV file to write")
    if not make_folder and not os.path.isdir(folder):
        raise AudioError(f"{printable(path)}: its folder does not exist; make it first")
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        raise AudioError(f"{printable(path)}: its folder is not yours to write in; choose another one")


class WavWriter:
    """Writes one signal piece by piece into a 16-bit mono WAV file; made by `writer`.

    Attributes
    ----------
    n_samples : int
        Samples written so far.
    """

    def __init__(self, file, sr):
        self._file, self._sr, self.n_samples = file, sr, 0
        file.write(bytes(44))           # the header's place

    def write(self, y):
        """Append `y`, a float array of shape (n,) at full scale 1 (clipped) or int16."""
        x = to_int16(y)
        if 2 * (self.n_samples + len(x)) > MAX_WAV_BYTES:
            raise AudioError(f"{self.n_samples + len(x)} samples do not fit a WAV file (4 GiB); write several files")
        self._file.write(x.astype("<i2", copy=False).tobytes())
        self.n_samples += len(x)

    def _finish(self):
        """Fill in the header."""
        n_bytes = 2 * self.n_samples
        self._file.seek(0)
        self._file.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVE", b"fmt ", 16, 1, 1,
                                     self._sr, 2 * self._sr, 2, 16, b"data", n_bytes))


@contextlib.contextmanager
def writer(path, sr=16000):
    """Write a long WAV file piece by piece: all of it appears under `path`, or nothing.

    The samples go into a hidden file beside `path`, which takes its name when
    the block ends well; after an error or Ctrl-C it is removed, and what stood
    at `path` before still stands.

    Parameters
    ----------
    path : str or path
    sr : int
        Sample rate, Hz.

    Yields
    ------
    WavWriter

    Raises
    ------
    AudioError
        A folder that is missing or not writable, a full disk, a bad sample.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "hum.wav")
    >>> with writer(path, sr=16000) as w:
    ...     for _ in range(3):
    ...         w.write(0.1 * np.sin(np.arange(1600) / 10))
    >>> open_recording(path).n_samples
    4800
    """
    sr, path = check_rate(sr), os.fspath(path)
    check_place(path)
    try:
        with atomic(path, "wb") as file:
            w = WavWriter(file, sr)
            yield w
            w._finish()
    except OSError as e:
        raise AudioError(f"{printable(path)}: cannot be written ({e.strerror or e}); "
                         "choose a folder that exists, is yours and has room") from e


def write(path, y, sr=16000):
    """Write a signal as a 16-bit mono WAV file, complete or not at all.

    Parameters
    ----------
    path : str or path
    y : float array of shape (n_samples,), full scale 1, or int16
        Clipped to full scale.
    sr : int
        Sample rate, Hz.

    Raises
    ------
    AudioError
        As `writer`, and for NaN or infinite samples.
    """
    with writer(path, sr) as w:
        w.write(y)
