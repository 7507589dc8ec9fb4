"""Audio in and out: read recordings, write 16-bit WAV files, and play sound in a notebook cell.

Inside the package a signal `y` is float32 of shape (n_samples,) at full scale
1, the whole of a 16-bit sample's range: int16 / 32768.  Reading lives in
`recording` and is offered here too.
"""
import contextlib
import html
import io
import os
import stat
import struct

import numpy as np
import soundfile
import soxr
from IPython.display import Audio

from .decoding import AudioError, check_rate, printable
from .recording import Recording, open_recording, read

__all__ = ["AudioError", "Player", "Recording", "WavWriter", "from_int16", "open_recording", "player", "read",
           "to_int16", "to_mp3", "write", "writer"]

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)   # Hz
MAX_WAV_BYTES = 2 ** 32 - 256     # a plain WAV counts its bytes in 32 bits


def to_int16(y):
    """Samples at full scale 1 to 16-bit integers: clipped first, then rounded.

    Parameters
    ----------
    y : float array of shape (n_samples,)
        int16 arrays are returned as they are.

    Returns
    -------
    int16 array of shape (n_samples,)

    Raises
    ------
    AudioError
        For NaN, infinity, complex numbers, other integers or another shape.

    Examples
    --------
    >>> to_int16(np.array([-2, -0.5, 0, 0.5, 2]))
    array([-32768, -16384,      0,  16384,  32767], dtype=int16)
    """
    y = np.asarray(y)
    if y.ndim != 1:
        raise AudioError(f"y has shape {y.shape}; a signal has one dimension, (n_samples,)")
    if y.dtype == np.int16:
        return y
    if y.dtype.kind != "f":
        raise AudioError(f"y is of dtype {y.dtype}; give floats within [-1, 1], or int16")
    bad = len(y) - np.count_nonzero(np.isfinite(y))
    if bad:
        raise AudioError(f"y has {bad} NaN or infinite samples of {len(y)}; nothing is written, see where they arise")
    return np.clip(np.rint(y * np.float32(32768)), -32768, 32767).astype(np.int16)


def from_int16(x):
    """16-bit integers to float32 at full scale 1; `to_int16` takes it back exactly.

    Parameters
    ----------
    x : int16 array of shape (n_samples,)

    Returns
    -------
    y : float32 array of shape (n_samples,), within [-1, 1)

    Raises
    ------
    AudioError
        For another dtype.
    """
    x = np.asarray(x)
    if x.dtype != np.int16:
        raise AudioError(f"x is of dtype {x.dtype}; give int16")
    return x.astype(np.float32) / np.float32(32768)


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
        """Fill in the header and bring everything to the disk."""
        n_bytes = 2 * self.n_samples
        self._file.seek(0)
        self._file.write(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVE", b"fmt ", 16, 1, 1,
                                     self._sr, 2 * self._sr, 2, 16, b"data", n_bytes))
        self._file.flush()
        os.fsync(self._file.fileno())


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
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "hum.wav")
    >>> with writer(path, sr=16000) as w:
    ...     for _ in range(3):
    ...         w.write(0.1 * np.sin(np.arange(1600) / 10))
    >>> open_recording(path).n_samples
    4800
    """
    sr, path = check_rate(sr), os.fspath(path)
    folder, name = os.path.split(os.path.abspath(path))
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise AudioError(f"{printable(path)}: is not a regular file; give the name of a WAV file to write")
    part = os.path.join(folder, f".{name[-100:]}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            w = WavWriter(file, sr)
            yield w
            w._finish()
        os.replace(part, path)
        _sync_folder(folder)
    except OSError as e:
        raise AudioError(f"{printable(path)}: cannot be written ({e.strerror or e}); "
                         "choose a folder that exists, is yours and has room") from e
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


def _sync_folder(folder):
    """Bring the new name to the disk too, where the system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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


def to_mp3(y, sr=16000):
    """A signal as MP3, small enough for a notebook cell: about 4.5 kB per second at 16 kHz.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1, or int16
        Clipped, never normalised: near-silence stays near-silent.
    sr : int
        Sample rate, Hz; one that MP3 does not know is resampled to the next it knows.

    Returns
    -------
    bytes
        The same for the same signal.

    Raises
    ------
    AudioError
        An empty signal, or one with NaN or infinite samples.
    """
    x = to_int16(y)
    if not len(x):
        raise AudioError("y is empty; there is nothing to play")
    if check_rate(sr) not in MP3_RATES:
        rate = next((r for r in MP3_RATES if r >= sr), MP3_RATES[-1])
        x, sr = soxr.resample(x, sr, rate), rate
    out = io.BytesIO()
    soundfile.write(out, x, int(sr), format="MP3", compression_level=0.9)
    return out.getvalue()


class Player(Audio):
    """An `<audio>` element with its title above."""

    title = None

    def _repr_html_(self):
        title = f"<div>{html.escape(self.title)}</div>" if self.title else ""
        return title + super()._repr_html_()

    def __repr__(self):
        return f"<Player: {self.title}>" if self.title else "<Player>"


def player(y, sr=16000, title=None):
    """A small inline player for a notebook cell.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1, or int16
        Played as loud as it is: IPython's own player normalises by default,
        which makes near-silence loud.
    sr : int
        Sample rate, Hz.
    title : str, optional
        A line above the player.

    Returns
    -------
    Player
        An `IPython.display.Audio` whose data are MP3 bytes.

    Raises
    ------
    AudioError
        As `to_mp3`.
    """
    sound = Player(data=to_mp3(y, sr))
    sound.mimetype = "audio/mpeg"       # Audio claims audio/wav for any bytes
    sound.title = title if title is None or np.any(y) else f"{title} (silent)"
    return sound
