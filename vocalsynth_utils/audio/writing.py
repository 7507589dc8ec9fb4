"""Mono audio files, WAV, FLAC, OGG or MP3 by their name, whole or not at all; and checks before hours are spent on them."""

import contextlib
import errno
import os
import stat

import soundfile

from ..storage import atomic
from .players import MP3_RATES
from .signal import MAX_RATE, AudioError, check_rate, printable, reason, to_int16

KINDS = {  # by the end of a name: the format, and the rates it knows, Hz
    ".wav": ("WAV", range(MAX_RATE + 1)),
    ".flac": ("FLAC", range(655_351)),
    ".ogg": ("OGG", range(200_001)),
    ".mp3": ("MP3", MP3_RATES),
}
MAX_WAV_BYTES = 2**32 - 256  # a plain WAV counts its bytes in 32 bits
PIECE = 1 << 12  # samples encoded at a time: libsndfile's Vorbis puts each piece on the stack


def wav_length(seconds, sr, path="a.wav"):
    """Samples in a file of so many seconds; ValueError for none, and for more than a WAV file holds, if it is one."""
    if not 0.5 < seconds * sr:
        raise ValueError(f"seconds={seconds} is less than one sample; use a positive length")
    longest = MAX_WAV_BYTES // 2 // sr
    if seconds > longest and _suffix(path) == ".wav":
        raise ValueError(
            f"seconds={seconds:g} is more than a WAV file holds; use at most {longest}, or write a FLAC file"
        )
    return round(seconds * sr)


def check_place(path, make_folder=False):
    """Raise `AudioError` where no file can be written, or of no such kind; with `make_folder`, a folder may be missing."""
    path, name = os.fspath(path), printable(path)
    folder = os.path.dirname(os.path.abspath(path))
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        regular = bool(path) and not path.endswith(os.sep)
    except (OSError, ValueError) as e:
        raise AudioError(f"{name}: cannot be written ({reason(e)}); choose another name") from None
    if not regular:
        raise AudioError(f"{name}: is not a regular file; give the name of an audio file to write")
    if _suffix(path) not in KINDS:
        raise AudioError(f"{name}: its name ends in {_suffix(path)!r}; let it end in {', '.join(KINDS)}")
    if not make_folder and not os.path.isdir(folder):
        raise AudioError(f"{name}: its folder does not exist; make it first")
    if os.path.isdir(folder) and not os.access(folder, os.W_OK):
        raise AudioError(f"{name}: its folder is not yours to write in; choose another one")


def _suffix(path):
    """The end of a file's name that tells its kind, in small letters and printable."""
    return printable(os.path.splitext(path)[1]).lower()


class _Sink:
    """A file for libsndfile, which passes over some of what goes wrong: the first error is kept, until it is checked."""

    def __init__(self, file):
        self._write, self.seek, self.tell, self._error = file.raw.write, file.raw.seek, file.raw.tell, None

    def write(self, content):
        """Take all of some bytes."""
        try:
            if not self._error and self._write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            self._error = e
        return len(content)

    def check(self):
        """Raise what went wrong."""
        if self._error:
            raise self._error


class Writer:
    """Writes one signal piece by piece; made by `writer`.  `n_samples` counts those written so far."""

    def __init__(self, sound, sink):
        self._sound, self._sink, self.n_samples = sound, sink, 0

    def write(self, y):
        """Append `y`, a float array of shape (n,) at full scale 1 (clipped) or int16."""
        x = to_int16(y)
        if self._sound.format == "WAV" and 2 * (self.n_samples + len(x)) > MAX_WAV_BYTES:
            raise AudioError(f"{self.n_samples + len(x)} samples do not fit a WAV file (4 GiB); write a FLAC file")
        for start in range(0, len(x), PIECE):
            self._sound.write(x[start : start + PIECE])
            self._sink.check()
        self.n_samples += len(x)


@contextlib.contextmanager
def writer(path, sr=16000):
    """Write a long audio file of `sr` Hz piece by piece, into the `Writer` that this yields: all of it, or nothing.

    The name's end decides the format: .wav or .flac (16 bits), .ogg (Vorbis) or .mp3. The samples go into a hidden file
    beside `path`, which takes its name when the block ends well; after an error or Ctrl-C it is removed, and what stood
    at `path` before still stands. Another ending, a rate that the format does not know, a folder that is missing or not
    writable, a full disk and a bad sample are an `AudioError`.

    >>> import tempfile, numpy as np
    >>> with writer(os.path.join(tempfile.mkdtemp(), "hum.wav"), sr=16000) as w:
    ...     for _ in range(3):
    ...         w.write(0.1 * np.sin(np.arange(1600) / 10))
    >>> w.n_samples
    4800
    """
    sr, path = check_rate(sr), os.fspath(path)
    check_place(path)
    kind, rates = KINDS[_suffix(path)]
    if sr not in rates:
        most = f"one of {', '.join(map(str, rates))}" if kind == "MP3" else f"at most {rates[-1]}"
        raise AudioError(f"{printable(path)}: {sr} Hz is no rate of {kind}; use {most} Hz, or write a WAV file")
    try:
        with atomic(path, "wb") as file:
            sink = _Sink(file)
            with soundfile.SoundFile(sink, "w", sr, 1, format=kind) as sound:
                yield Writer(sound, sink)
            sink.check()
    except (OSError, soundfile.SoundFileError) as e:
        why = f"cannot be written ({reason(e)})"
        raise AudioError(f"{printable(path)}: {why}; choose a folder that exists, is yours and has room") from e


def write(path, y, sr=16000):
    """Write a signal as a mono audio file of `sr` Hz, complete or not at all; `AudioError` as `writer`.

    `y` is a float array of shape (n_samples,) at full scale 1, clipped, or int16.
    """
    with writer(path, sr) as w:
        w.write(y)
