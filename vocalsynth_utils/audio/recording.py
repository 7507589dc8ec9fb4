"""A recording's samples, block by block: any audio file as mono samples at one sample rate.

Three hours never stand in memory as a whole. WAV files are read here, for their headers often do not tell all there is;
FFmpeg reads everything else.
"""

import contextlib
import itertools
import os
import warnings

import av
import numpy as np
import soxr

from ..storage import open_regular
from .decoding import frames
from .signal import AudioError, check_rate, from_int16, printable, reason
from .wav import wav_frames, wav_header

MAX_CHANNELS = 64
MAX_HOURS = 100
MAX_SAMPLES_IN_MEMORY = 75_000_000  # what `read` returns at most: 300 MB
MAX_PEAK = 2.0**31  # full scale of the widest integers that someone may have saved as floats
ROUNDING, OVERSHOOT = 1.001, 2.0  # peaks of full-scale floats; 6 dB, once a lossy codec has gone over clipped ones
CANCELLED = 0.01  # power of a mix that is 20 dB below its channels


class Recording:
    """A checked audio file, ready to be read in blocks; made by `open_recording`.

    Attributes
    ----------
    sr : int, sample rate of the blocks, Hz
    n_samples : int, of all blocks together, or None for files other than WAV: their headers may be wrong
    dtype : int16, samples untouched, for a file of 16-bit mono at `sr`; float32 in [-1, 1] otherwise
    """

    def __init__(self, path, sr):
        self.path, self.sr, self._wav, self.n_samples, self._weights, self._heard = path, sr, None, None, None, False
        with self._named(), open_regular(path) as file:
            magic = file.read(12)
            if not magic:
                raise ValueError("the file is empty; give a recording")
            if magic[:4] in (b"RIFF", b"RIFX", b"RF64") and magic[8:] == b"WAVE":
                self._wav = wav_header(file)
            frame, wav = next(self._stored(1, [])), self._wav if self._wav and self._wav.codec else None
            self._format, self._rate = frame.format.name, check_rate((wav or frame).sample_rate, "its sample rate")
            self._n_channels = wav.n_channels if wav else frame.layout.nb_channels
            if not 0 < self._n_channels <= MAX_CHANNELS:
                raise ValueError(f"{self._n_channels} channels; 1 to {MAX_CHANNELS} can be mixed down")
            if wav:
                self._check_length(wav.size // wav.block)
                self.n_samples = int(wav.size // wav.block * sr / wav.sample_rate + 0.5)  # as soxr counts
            if self._wav and self._wav.note:
                self._warn(self._wav.note)
        exact = self._format in ("s16", "s16p") and self._n_channels == 1 and self._rate == sr
        self.dtype = np.dtype("int16" if exact else "float32")
        if self._n_channels == 1 and self._format[0] in "us":
            self._weights = np.ones(1, np.float32)  # there is nothing to measure

    def blocks(self, n=1 << 18):
        """Yield the signal from its beginning: int16 or float32 arrays (n_block,), of about `n` stored samples each.

        NaN or infinite samples and a signal that stays at one value are an `AudioError`. A warning says where samples
        were beyond full scale (all are scaled to it), where channels cancel each other out (the loudest is taken), and
        where the file is damaged or cut off. Stereo and floats are read twice, the first time to measure them.
        """
        with self._named():
            if self._weights is None:
                self._weights = self._measured(n)
            if self._rate == self.sr:
                yield from self._mono(n)
                return
            stream, length = soxr.ResampleStream(self._rate, self.sr, 1, dtype="float32", quality="HQ"), 0
            for x in itertools.chain(self._mono(n), [np.zeros(0, np.float32)]):  # the empty one ends the stream
                y = stream.resample_chunk(x, last=not len(x))
                length += len(y)
                if len(y):  # the filter holds back the first blocks, and may ring past full scale
                    yield np.clip(y, -1, 1)
            if not length:
                raise ValueError(f"not one sample of it is left at {self.sr} Hz; give a longer recording")

    def _mono(self, n):
        """Mono blocks at the file's own rate, checked for a signal that stays at one value."""
        first, varies = None, False
        for x in self._decoded(n):  # (n_block, n_channels)
            x = x[:, 0] if self.dtype == "int16" else np.clip(x @ self._weights, -1, 1)  # (n_block,)
            first = x[0] if first is None else first
            varies = varies or bool((x != first).any())
            yield x
        if not varies:
            what = "silent" if first == 0 else f"constant at {first:g}"
            raise ValueError(f"the audio is {what}; give a recording with sound in it")

    def _measured(self, n):
        """What each channel is multiplied by in the mix, float32 (n_channels,): it is their mean, within full scale."""
        weights = np.full(self._n_channels, 1 / self._n_channels, np.float32)
        power, peaks, used = np.zeros(self._n_channels + 1), np.zeros(self._n_channels + 1), -1  # of channels and mix
        for x in self._decoded(n):
            x = np.vstack([x.T, x @ weights])  # (n_channels + 1, n_block)
            power += np.einsum("ij,ij->i", x, x)
            peaks = np.maximum(peaks, np.abs(x).max(axis=1))
        if not np.isfinite(peaks).all():
            raise ValueError("has NaN or infinite samples; export it again from its source")
        if power[-1] < CANCELLED * power[:-1].mean():
            used = int(power[:-1].argmax())
            weights = np.eye(self._n_channels, dtype=np.float32)[used]
            what = f"its {self._n_channels} channels cancel each other out"
            self._warn(f"{what}; the loudest, number {used + 1}, is taken")
        peak = peaks[used]
        if peak > MAX_PEAK:
            raise ValueError(f"float samples reach {peak:g} where full scale is 1; export it again from its source")
        if peak > (OVERSHOOT if self._format == "fltp" else ROUNDING):  # fltp: from lossy decoders
            self._warn(f"its samples reach {peak:.4g} times full scale; all of it is scaled by {1 / peak:.3g}")
        return weights / np.float32(max(1, peak))

    def _decoded(self, n):
        """Arrays (n_block, n_channels), int16 or float32 at full scale 1."""
        notes, n_read, convert = [], 0, av.AudioResampler("flt")
        for frame in self._stored(max(1, n // self._n_channels), notes):
            for x in [frame] if self.dtype == "int16" else convert.resample(frame):
                x = x.to_ndarray().reshape(-1, self._n_channels)
                n_read += len(x)
                self._check_length(n_read)
                yield x
        for note in [] if self._heard else notes:  # said once, though stereo is read twice
            self._warn(note)
        self._heard = True

    def _check_length(self, n_stored):
        """ValueError where a recording is longer than anybody's."""
        if n_stored > MAX_HOURS * 3600 * self._rate:
            raise ValueError(f"longer than {MAX_HOURS} h; cut it into parts")

    def _stored(self, n, notes):
        """Yield the samples as the file holds them, `av.AudioFrame`s of about `n`; those of a WAV have one channel."""
        with open_regular(self.path) as file:
            if self._wav and self._wav.codec:
                yield from wav_frames(file, self._wav, n)
            else:
                yield from frames(file, n, notes, {"ignore_length": "1"} if self._wav and self._wav.note else {})

    def _warn(self, note):
        """Say what a person would not assume."""
        warnings.warn(f"{printable(self.path)}: {note}", stacklevel=4)

    @contextlib.contextmanager
    def _named(self):
        """Let errors be `AudioError`s that name the file."""
        try:
            yield
        except OSError as e:
            why = f"cannot be read ({reason(e)}); give an audio file that you may read"
            why = "no such file; check the name and the folder" if isinstance(e, FileNotFoundError) else why
            raise AudioError(f"{printable(self.path)}: {why}") from None
        except ValueError as e:
            raise AudioError(f"{printable(self.path)}: {e}") from None


def open_recording(path, sr=16000):
    """Check an audio file: a `Recording`, ready to be read in blocks.

    `path` leads to whatever FFmpeg reads: WAV, FLAC, MP3, OGG, m4a, WebM, AIFF, CAF, the sound of a video; of up to 64
    channels, of which the mean is taken, and of any sample rate: it is resampled to `sr` Hz (soxr HQ).

    `AudioError` for what is missing, unreadable, empty, not audio, or contradicts itself. What is only damaged or cut
    off is read, with a warning.
    """
    return Recording(os.fspath(path), check_rate(sr))


def read(path, sr=16000, n_samples=None):
    """A whole audio file, float32 (n_samples,) within [-1, 1]: `path` and `sr`, Hz, as `open_recording` takes them.

    With `n_samples`, no more than so many from its beginning.

    `AudioError` as there and from `Recording.blocks`; and for more than 75,000,000 samples (1.3 h at 16 kHz), which
    belong in a prepared dataset.
    """
    parts, n = [], 0
    for block in open_recording(path, sr).blocks():
        parts.append(block)
        n += len(block)
        if n_samples and n >= n_samples:
            break
        if n > MAX_SAMPLES_IN_MEMORY:
            what = f"more than {n / sr / 3600:.1f} h are too much for memory ({MAX_SAMPLES_IN_MEMORY} samples at most)"
            raise AudioError(f"{printable(path)}: {what}; prepare a dataset from it, or cut it")
    y = np.concatenate(parts)[:n_samples]
    return from_int16(y) if y.dtype == np.int16 else y
