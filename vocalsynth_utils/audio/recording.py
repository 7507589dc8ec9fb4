"""A recording's samples, block by block: any common audio file as mono at one sample rate.

Three hours never stand in memory as a whole. libsndfile decodes; before it sees a WAV file, `wav_header` has walked
its chunks, for a decoder believes what a header says, and a header can lie.
"""

import contextlib
import itertools
import os
import threading
from collections import namedtuple

import numpy as np
import soundfile
import soxr

from ..storage import open_regular
from .signal import AudioError, check_rate, from_int16, printable, reason
from .wav_header import wav_header

MAX_CHANNELS = 64
MAX_HOURS = 100
MAX_SAMPLES_IN_MEMORY = 75_000_000  # what `read` returns at most: 300 MB
HOT = 8.0  # |x| above this is not full scale = 1 with a few clipped peaks

Layout = namedtuple("Layout", "sr n_samples n_channels format subtype")  # before mixing and resampling
_quiet_lock = threading.Lock()


class Recording:
    """A checked audio file, ready to be read in blocks; made by `open_recording`.

    Attributes
    ----------
    sr : int, sample rate of the blocks, Hz
    n_samples : int, of all blocks together, or None where a compressed file's header does not say
    dtype : int16, samples untouched, for a file of 16-bit mono at `sr`; float32 in [-1, 1] otherwise
    file : Layout, sample rate, length, channels and sample format of the file itself
    """

    def __init__(self, path, sr, layout):
        self.path, self.sr, self.file = path, sr, layout
        exact = layout.subtype == "PCM_16" and layout.n_channels == 1 and layout.sr == sr
        self.dtype = np.dtype("int16" if exact else "float32")
        n = layout.n_samples
        self.n_samples = None if n is None else int(n * sr / layout.sr + 0.5)  # as soxr counts

    def __repr__(self):
        seconds = "unknown length" if self.n_samples is None else f"{self.n_samples / self.sr:.2f} s"
        return f"<Recording {printable(os.path.basename(self.path))}: {seconds}, {self.dtype}, {self.sr} Hz>"

    def blocks(self, n=1 << 18):
        """Yield the signal from its beginning: int16 or float32 arrays (n_block,), of about `n` stored samples each.

        NaN or infinite samples, a signal that stays at one value, a file that ends early or cannot be decoded are an
        `AudioError`; the whole file has been checked only when the last block has been taken.
        """
        if self.file.sr == self.sr:
            yield from self._mono(n)
            return
        stream = soxr.ResampleStream(self.file.sr, self.sr, 1, dtype="float32", quality="HQ")
        for x in itertools.chain(self._mono(n), [np.zeros(0, np.float32)]):  # the empty one ends the stream
            y = stream.resample_chunk(x, last=not len(x))
            if len(y):  # the filter holds back the first blocks, and may ring past full scale
                yield np.clip(y, -1, 1)

    def _mono(self, n):
        """Mono blocks at the file's own rate, checked for a signal that stays at one value."""
        first, varies, n_read = None, False, 0
        for x in self._decoded(max(1, n // self.file.n_channels)):  # (n_block, n_channels)
            n_read += len(x)
            if n_read > MAX_HOURS * 3600 * self.file.sr:
                raise self._error(f"longer than {MAX_HOURS} h; cut it into parts")
            x = x[:, 0] if self.dtype == "int16" else self._mixed(x)  # (n_block,)
            first = x[0] if first is None else first
            varies = varies or bool((x != first).any())
            yield x
        if not varies:
            what = "empty" if first is None else "silent" if first == 0 else f"constant at {first:g}"
            mixed = f" once its {self.file.n_channels} channels are mixed" if self.file.n_channels > 1 else ""
            raise self._error(f"the audio is {what}{mixed}; give a recording with sound in it")

    def _mixed(self, x):
        """float32 (n, n_channels) -> (n,), the mean of the channels within [-1, 1]."""
        peak = np.abs(x).max()
        if not np.isfinite(peak):
            raise self._error("has NaN or infinite samples; export it again from its source")
        if peak > HOT:
            reach = f"float samples reach {peak:g} where full scale is 1"
            raise self._error(f"{reach}; divide them by their full scale and save again")
        return np.clip(x.mean(axis=1) if x.shape[1] > 1 else x[:, 0], -1, 1)

    def _decoded(self, n):
        """Arrays (n_block, n_channels) of `dtype` from libsndfile; fewer samples than announced are an error."""
        quiet = _quiet if self.file.format == "MP3" else contextlib.nullcontext
        n_read, announced = 0, self.file.n_samples or 0
        try:
            with contextlib.ExitStack() as stack:
                with quiet():
                    f = stack.enter_context(open(self.path, "rb"))
                    sound = stack.enter_context(soundfile.SoundFile(f.fileno(), closefd=False))
                while True:
                    with quiet():
                        x = sound.read(n, dtype=self.dtype.name, always_2d=True)
                    if not len(x):
                        break
                    n_read += len(x)
                    yield x
        except (soundfile.SoundFileError, OSError) as e:
            seconds = n_read / self.file.sr
            raise self._error(f"damaged after {seconds:.1f} s ({reason(e)}); copy or export it again") from None
        if n_read < announced:
            lengths = f"{announced} samples announced, {n_read} are there"
            raise self._error(f"truncated: {lengths}; copy or export it again once it is complete")

    def _error(self, what):
        """An `AudioError` that names the file."""
        return AudioError(f"{printable(self.path)}: {what}")


@contextlib.contextmanager
def _quiet():
    """Keep the MP3 decoder inside libsndfile from writing its notes on standard error."""
    with _quiet_lock, open(os.devnull, "wb") as nowhere:  # two threads that exchange descriptor 2 at once would lose it
        saved = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def open_recording(path, sr=16000):
    """Check an audio file: a `Recording`, ready to be read in blocks.

    Parameters
    ----------
    path : str or path
        WAV (8 to 32-bit integer, 32/64-bit float, A-law and mu-law; plain, WAVE_EXTENSIBLE or RF64), FLAC, OGG
        (Vorbis, Opus) or MP3; up to 64 channels (their mean is taken), any sample rate.
    sr : int, wanted, Hz; files of another rate are resampled (soxr HQ)

    Raises
    ------
    AudioError
        Missing, a directory, unreadable, empty, truncated, not audio, or its header contradicts itself or its size.
    """
    sr, name = check_rate(sr), printable(path)
    if os.path.isdir(path):
        raise AudioError(f"{name}: is a folder; give one audio file")
    try:
        with open_regular(path) as f:
            magic = f.read(4)
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; check the name and the folder") from None
    except (OSError, ValueError) as e:
        raise AudioError(f"{name}: cannot be read ({reason(e)}); give an audio file that you may read") from None
    try:
        layout = _layout(os.fspath(path), magic)
    except ValueError as e:
        raise AudioError(f"{name}: {e}") from None
    recording = Recording(os.fspath(path), sr, layout)
    if recording.n_samples == 0:
        at = f"{layout.n_samples} samples at {layout.sr} Hz are none at {sr} Hz"
        raise AudioError(f"{name}: {at}; give a longer recording")
    return recording


def _layout(path, magic):
    """What a file holds, by its first bytes: a `Layout`; ValueErrors in words that follow "FILE: "."""
    if not magic:
        raise ValueError("the file is empty; give a recording")
    header = wav_header(path) if magic in (b"RIFF", b"RIFX", b"RF64") else None
    mp3 = magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1:2] >= b"\xe0")
    if header:
        _check_numbers(header)  # before libsndfile sees them
    elif not mp3 and magic not in (b"fLaC", b"OggS"):
        raise ValueError("not audio that can be read here; convert it to WAV, FLAC, OGG or MP3")
    try:
        with _quiet(), open(path, "rb") as f, soundfile.SoundFile(f.fileno(), closefd=False) as sound:
            layout = Layout(sound.samplerate, sound.frames, sound.channels, sound.format, sound.subtype)
    except (soundfile.SoundFileError, OSError, TypeError) as e:
        raise ValueError(f"not audio that can be decoded ({reason(e)}); convert it to WAV, FLAC, OGG or MP3") from None
    if header and layout[:3] != header[:3]:
        lengths = f"{header.n_samples} or {layout.n_samples} samples"
        raise ValueError(f"its header can be read in two ways ({lengths}); export it again as 16-bit PCM")
    _check_numbers(layout)
    if layout.n_samples == 0:
        raise ValueError("holds no audio; record it again")
    known = header or layout.n_samples <= MAX_HOURS * 3600 * layout.sr
    return layout if known else layout._replace(n_samples=None)


def _check_numbers(layout):
    """ValueError for a sample rate or a number of channels that no recording has."""
    check_rate(layout.sr, "the sample rate in its header")
    if layout.n_channels > MAX_CHANNELS:
        raise ValueError(f"{layout.n_channels} channels; at most {MAX_CHANNELS} can be mixed down")


def read(path, sr=16000):
    """A whole audio file, float32 (n_samples,) within [-1, 1]: `path` and `sr`, Hz, as `open_recording` takes them.

    `AudioError` as there and from `Recording.blocks`; and for more than 75,000,000 samples (1.3 h at 16 kHz), which
    belong in a prepared dataset.
    """
    recording = open_recording(path, sr)
    parts, n = [], 0
    for block in recording.blocks():
        parts.append(block)
        n += len(block)
        longest = max(n, recording.n_samples or 0)
        if longest > MAX_SAMPLES_IN_MEMORY:
            hours = f"{longest / sr / 3600:.1f} h are too much for memory ({MAX_SAMPLES_IN_MEMORY} samples at most)"
            raise AudioError(f"{printable(path)}: {hours}; prepare a dataset from it, or cut it")
    y = np.concatenate(parts)
    return from_int16(y) if y.dtype == np.int16 else y
