"""A recording's samples, block by block: any audio file as mono samples at one sample rate.

Three hours never stand in memory as a whole. WAV files are read here, for their headers often do not tell all there is;
FFmpeg decodes everything else.
"""

import contextlib
import itertools
import os
import warnings

import numpy as np
import soxr

from ..storage import open_regular
from .decoding import frames
from .signal import AudioError, check_rate, from_int16, printable, reason
from .wav import wav_header, wav_samples

MAX_CHANNELS = 64
MAX_HOURS = 100
MAX_SAMPLES_IN_MEMORY = 75_000_000  # what `read` returns at most: 300 MB
MAX_PEAK = 2.0**31  # full scale of the widest integers that someone may have saved as floats
ROUNDING, OVERSHOOT = 1.001, 1.26  # peaks of full-scale floats; 2 dB, once a lossy codec has gone over them
CANCELLED = 0.01  # power of a mix that is 20 dB below its channels


class Recording:
    """A checked audio file, ready to be read in blocks; made by `open_recording`.

    Attributes
    ----------
    sr : int, sample rate of the blocks, Hz
    dtype : int16, samples untouched, for a file of 16-bit mono at `sr`; float32 in [-1, 1] otherwise
    file_sr, n_channels, file_format : of the file itself; the format by FFmpeg's name, such as "s16"
    """

    def __init__(self, path, sr):
        self.path, self.sr, self._wav, self._weights, self._heard = path, sr, None, None, False
        with _named(path), open_regular(path) as file:
            magic = file.read(12)
            if not magic:
                raise ValueError("the file is empty; give a recording")
            if magic[:4] in (b"RIFF", b"RIFX", b"RF64") and magic[8:] == b"WAVE":
                self._wav = wav_header(file)
                self._warn(self._wav.notes)
            self.file_sr, self.file_format, x = next(self._stored(1, []))
            self.n_channels = x.shape[1]
            check_rate(self.file_sr, "the sample rate in its header")
            if self.n_channels > MAX_CHANNELS:
                raise ValueError(f"{self.n_channels} channels; at most {MAX_CHANNELS} can be mixed down")
        exact = x.dtype == np.int16 and self.n_channels == 1 and self.file_sr == sr
        self.dtype = np.dtype("int16" if exact else "float32")
        if x.dtype.kind in "iu" and self.n_channels == 1:
            self._weights = np.ones(1, np.float32)

    def blocks(self, n=1 << 18):
        """Yield the signal from its beginning: int16 or float32 arrays (n_block,), of about `n` stored samples each.

        NaN or infinite samples and a signal that stays at one value are an `AudioError`. A warning says where samples
        were beyond full scale (all are scaled to it), where channels cancel each other out (the loudest is taken), and
        where the file is damaged or cut off. Stereo and floats are read twice, the first time to measure them.
        """
        with _named(self.path):
            if self._weights is None:
                self._weights = self._measured(n)
            if self.file_sr == self.sr:
                yield from self._mono(n)
                return
            stream, length = soxr.ResampleStream(self.file_sr, self.sr, 1, dtype="float32", quality="HQ"), 0
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
        weights, notes = np.full(self.n_channels, 1 / self.n_channels, np.float32), []
        power, peaks = np.zeros(self.n_channels + 1), np.zeros(self.n_channels + 1)  # of the channels and of their mix
        for x in self._decoded(n):
            x = np.column_stack([x, x @ weights])
            power += np.square(x, dtype=np.float64).sum(axis=0)
            peaks = np.maximum(peaks, np.abs(x).max(axis=0))
        if not np.isfinite(peaks).all():
            raise ValueError("has NaN or infinite samples; export it again from its source")
        used = -1
        if power[-1] < CANCELLED * power[:-1].mean():
            used = int(power[:-1].argmax())
            weights = np.eye(self.n_channels, dtype=np.float32)[used]
            notes.append(
                f"its {self.n_channels} channels cancel each other out; the loudest, number {used + 1}, is taken"
            )
        peak = peaks[used]
        if peak > MAX_PEAK:
            raise ValueError(f"float samples reach {peak:g} where full scale is 1; export it again from its source")
        if peak > (OVERSHOOT if self.file_format == "fltp" else ROUNDING):  # fltp: from lossy decoders
            notes.append(f"its samples reach {peak:.4g} times full scale; all of it is scaled by {1 / peak:.3g}")
        self._warn(notes)
        return weights / np.float32(max(1, peak))

    def _decoded(self, n):
        """Arrays (n_block, n_channels) of `dtype`, their scale the file's; a change of format within it is an error."""
        parts, n_held, n_read, notes = [], 0, 0, []
        for sr, kind, x in self._stored(max(1, n // self.n_channels), notes):
            if (sr, kind, x.shape[1]) != (self.file_sr, self.file_format, self.n_channels):
                after = f"after {n_read / self.file_sr:.1f} s, to {x.shape[1]} channels of {kind} at {sr} Hz"
                raise ValueError(f"its format changes {after}; cut it there, or convert it to WAV")
            n_read += len(x)
            if n_read > MAX_HOURS * 3600 * sr:
                raise ValueError(f"longer than {MAX_HOURS} h; cut it into parts")
            parts.append(x if self.dtype == "int16" else _as_float(x))
            n_held += x.size
            if n_held >= n:
                yield np.concatenate(parts)
                parts, n_held = [], 0
        if parts:
            yield np.concatenate(parts)
        if not self._heard:  # said once, though stereo is read twice
            self._warn(notes)
            self._heard = True

    def _stored(self, n, notes):
        """Yield (Hz, FFmpeg's name of the format, array (n_block, n_channels)) as the file holds them."""
        with open_regular(self.path) as file:
            if self._wav and self._wav.codec:
                for x in wav_samples(file, self._wav, n):
                    yield self._wav.sr, self._wav.codec, x
                return
            for frame in frames(file, notes, {"ignore_length": "1"} if self._wav and self._wav.notes else {}):
                x = frame.to_ndarray()
                x = x.T if frame.format.is_planar else x.reshape(-1, frame.layout.nb_channels)
                yield frame.sample_rate, frame.format.name, x

    def _warn(self, notes):
        """Say what a person would not assume."""
        for note in notes:
            warnings.warn(f"{printable(self.path)}: {note}", stacklevel=3)


def _as_float(x):
    """Stored samples as float32 at full scale 1."""
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return x.astype(np.float32, copy=False)
    x = (x ^ np.uint8(128)).view(np.int8) if x.dtype == np.uint8 else x
    return x.astype(np.float32) / np.float32(-float(np.iinfo(x.dtype).min))


@contextlib.contextmanager
def _named(path):
    """Let errors be `AudioError`s that name the file."""
    try:
        yield
    except FileNotFoundError:
        raise AudioError(f"{printable(path)}: no such file; check the name and the folder") from None
    except OSError as e:
        why = f"cannot be read ({reason(e)}); give an audio file that you may read"
        raise AudioError(f"{printable(path)}: {why}") from None
    except ValueError as e:
        raise AudioError(f"{printable(path)}: {e}") from None


def open_recording(path, sr=16000):
    """Check an audio file: a `Recording`, ready to be read in blocks.

    Parameters
    ----------
    path : str or path
        Whatever FFmpeg reads: WAV, FLAC, MP3, OGG, m4a, WebM, AIFF, CAF, the sound of a video; up to 64 channels, of which
        the mean is taken, at any sample rate.
    sr : int, wanted, Hz; files of another rate are resampled (soxr HQ)

    Raises
    ------
    AudioError
        Missing, a directory, unreadable, empty, not audio, or its header contradicts itself. What is only damaged or cut
        off is read, with a warning.
    """
    sr = check_rate(sr)
    if os.path.isdir(path):
        raise AudioError(f"{printable(path)}: is a folder; give one audio file")
    return Recording(os.fspath(path), sr)


def read(path, sr=16000):
    """A whole audio file, float32 (n_samples,) within [-1, 1]: `path` and `sr`, Hz, as `open_recording` takes them.

    `AudioError` as there and from `Recording.blocks`; and for more than 75,000,000 samples (1.3 h at 16 kHz), which
    belong in a prepared dataset.
    """
    parts, n = [], 0
    for block in open_recording(path, sr).blocks():
        parts.append(block)
        n += len(block)
        if n > MAX_SAMPLES_IN_MEMORY:
            what = f"more than {n / sr / 3600:.1f} h are too much for memory ({MAX_SAMPLES_IN_MEMORY} samples at most)"
            raise AudioError(f"{printable(path)}: {what}; prepare a dataset from it, or cut it")
    y = np.concatenate(parts)
    return from_int16(y) if y.dtype == np.int16 else y
