"""Mono audio files, WAV, FLAC, OGG or MP3 by their name, whole or not at all; and checks before hours are spent."""

import contextlib
import errno
import os
import stat
from types import SimpleNamespace

import soundfile

from ..storage import atomic, real_path
from .signal import KNEE, MAX_RATE, MP3_RATES, AudioError, check_rate, printable, reason, to_int16

RATES = {".wav": range(MAX_RATE + 1), ".flac": range(655_351), ".ogg": range(200_001), ".mp3": MP3_RATES}  # Hz
MAX_WAV_BYTES = 2**32 - 256  # a plain WAV counts its bytes in 32 bits
PIECE = 1 << 12  # samples encoded at a time: libsndfile's Vorbis puts each piece on the stack


def wav_length(seconds, sr):
    """Samples in an audio file of so many seconds; ValueError for none, and for more than a WAV file holds."""
    if not 0.5 < seconds * sr:
        raise ValueError(f"seconds={seconds} is less than one sample; use a positive length")
    longest = MAX_WAV_BYTES // 2 // sr
    if seconds > longest:
        raise ValueError(f"seconds={seconds:g} is more than a WAV file holds; use at most {longest}, and several files")
    return round(seconds * sr)


def check_place(path, make_folder=False):
    """`AudioError` where no file can be written, or not of such a name; with `make_folder`, a folder may be missing."""
    path, name = os.fspath(path), printable(path)
    folder = os.path.dirname(real_path(path))  # of a link, where it leads
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = bool(path) and not path.endswith(os.sep)
    except (OSError, ValueError) as e:
        raise AudioError(f"{name}: cannot be written ({reason(e)}); choose another name") from None
    if not regular:
        raise AudioError(f"{name}: is not a regular file; give the name of an audio file to write")
    if _suffix(path) not in RATES:
        raise AudioError(f"{name}: its name ends in {_suffix(path)!r}; let it end in {', '.join(RATES)}")
    if not make_folder and not os.path.isdir(folder):
        raise AudioError(f"{name}: its folder does not exist; make it first")
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        raise AudioError(f"{name}: its folder is not yours to write in; choose another one")


def _suffix(path):
    """The end of a file's name that tells its kind, in small letters."""
    return printable(os.path.splitext(path)[1]).lower()


class Writer:
    """Writes one signal piece by piece; made by `writer`.  `n_samples` are written so far, `n_loud` above the knee."""

    def __init__(self, file, sr, kind):
        self._file, self._error, self.n_samples, self.n_loud = file.raw, None, 0, 0
        sink = SimpleNamespace(write=self._put, seek=file.raw.seek, tell=file.raw.tell)
        self._sound = soundfile.SoundFile(sink, "w", sr, 1, format=kind)

    def write(self, y):
        """Append `y`, a float array of shape (n,) at full scale 1 (clipped) or int16."""
        x = to_int16(y)
        if self._sound.format == "WAV" and 2 * (self.n_samples + len(x)) > MAX_WAV_BYTES:
            raise AudioError(f"{self.n_samples + len(x)} samples do not fit a WAV file (4 GiB); write a FLAC file")
        for start in range(0, len(x), PIECE):
            self._sound.write(x[start : start + PIECE])
            self._check()
        self.n_samples += len(x)
        self.n_loud += int(((x > KNEE * 32768) | (x < -KNEE * 32768)).sum())

    def _put(self, content):
        """Take bytes from libsndfile, which passes over some errors; the first one is kept."""
        try:
            if not self._error and self._file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            self._error = e
        return len(content)

    def _check(self):
        if self._error:
            raise self._error


@contextlib.contextmanager
def writer(path, sr=16000):
    """Write a long audio file of `sr` Hz piece by piece, into the `Writer` that this yields: all of it, or nothing.

    The end of its name decides: .wav, .flac (both of 16 bits), .ogg (Vorbis) or .mp3. The samples go into a hidden file
    beside `path`, which takes its name when the block ends well; after an error or Ctrl-C it is removed, and what stood
    at `path` before still stands. Where `path` is a link, what it leads to is written. Another name, a rate that the
    format does not know, a folder that is missing or not writable, a full disk and a bad sample are an `AudioError`.

    >>> import tempfile, numpy as np
    >>> with writer(os.path.join(tempfile.mkdtemp(), "hum.wav"), sr=16000) as w:
    ...     for _ in range(3):
    ...         w.write(0.1 * np.sin(np.arange(1600) / 10))
    >>> w.n_samples
    4800
    """
    sr, path = check_rate(sr), os.fspath(path)
    check_place(path)
    rates, kind = RATES[_suffix(path)], _suffix(path)[1:].upper()
    if sr not in rates:
        raise AudioError(f"{printable(path)}: {sr} Hz is no rate of {kind}, at most {rates[-1]}; write a WAV file")
    try:
        with atomic(real_path(path), "wb") as file:
            w = Writer(file, sr, kind)
            with w._sound:
                yield w
            w._check()
    except (OSError, soundfile.SoundFileError) as e:
        why = f"cannot be written ({reason(e)})"
        raise AudioError(f"{printable(path)}: {why}; choose a folder that exists, is yours and has room") from e


def write(path, y, sr=16000):
    """Write a signal as a mono audio file of `sr` Hz, complete or not at all; `AudioError` as `writer`.

    `y` is a float array of shape (n_samples,) at full scale 1, clipped, or int16.
    """
    with writer(path, sr) as w:
        w.write(y)
