"""Read a recording block by block: any common audio file becomes mono at one sample rate.

A three-hour recording never stands in memory as a whole.  How the bytes of a
file become samples is `decoding`'s business; here they are mixed, scaled to
full scale 1, resampled and checked.
"""
import os
import stat

import numpy as np
import soxr

from .decoding import MAX_HOURS, open_soundfile, open_wav
from .pcm import AudioError, check_rate, from_int16, printable

MAX_SAMPLES_IN_MEMORY = 75_000_000    # what `read` returns at most: 300 MB
HOT = 8.0                             # |x| above this is not full scale = 1 with a few clipped peaks


class Recording:
    """A checked audio file, ready to be read in blocks; made by `open_recording`.

    Attributes
    ----------
    path : str
    sr : int
        Sample rate of the blocks, Hz.
    n_samples : int or None
        How many samples `blocks` yields in all; None for a compressed file
        whose header does not say.
    dtype : numpy dtype
        int16 when the file is 16-bit mono at `sr` already, whose samples then
        pass through untouched; float32 in [-1, 1] otherwise.
    file : Layout
        Sample rate, length and number of channels of the file itself.
    """

    def __init__(self, path, sr, layout, source):
        self.path, self.sr, self.file, self._source = path, sr, layout, source
        exact = layout.kind == "int16" and layout.n_channels == 1 and layout.sr == sr
        self.dtype = np.dtype("int16" if exact else "float32")
        n = layout.n_samples
        self.n_samples = None if n is None else int(n * sr / layout.sr + 0.5)  # as soxr counts

    def __repr__(self):
        seconds = "unknown length" if self.n_samples is None else f"{self.n_samples / self.sr:.2f} s"
        return f"<Recording {printable(os.path.basename(self.path))}: {seconds}, {self.dtype}, {self.sr} Hz>"

    def blocks(self, n=1 << 18):
        """Yield the signal as arrays of at most about `n` samples; each call starts at the beginning.

        Parameters
        ----------
        n : int
            Block length in samples of the file (blocks of a resampled file
            are longer or shorter by the ratio of the rates).

        Yields
        ------
        int16 or float32 array of shape (n_block,)

        Raises
        ------
        AudioError
            For NaN or infinite samples, a signal that stays at one value, a
            file that ends early or cannot be decoded.  The whole file has been
            checked only when the last block has been taken.
        """
        first, varies, n_read = None, False, 0
        for x in self._source(n):                                   # (n_block, n_channels), as stored
            n_read += len(x)
            if n_read > MAX_HOURS * 3600 * self.file.sr:
                raise AudioError(f"{printable(self.path)}: longer than {MAX_HOURS} h; cut it into parts")
            x = x[:, 0] if self.dtype == "int16" else self._to_mono(x)   # (n_block,)
            first = x[0] if first is None else first
            varies = varies or bool((x != first).any())
            yield x
        if not varies:
            what = "empty" if first is None else "silent" if first == 0 else f"constant at {first:g}"
            mixed = f" once its {self.file.n_channels} channels are mixed" if self.file.n_channels > 1 else ""
            raise AudioError(f"{printable(self.path)}: the audio is {what}{mixed}; give a recording with sound in it")

    def _to_mono(self, x):
        """Stored samples (n, n_channels) -> float32 (n,) at full scale 1, checked."""
        if x.dtype.kind == "f":
            peak = np.abs(x).max()
            if not np.isfinite(peak):
                raise AudioError(f"{printable(self.path)}: has NaN or infinite samples; export it again from its source")
            if peak > HOT:
                raise AudioError(f"{printable(self.path)}: float samples reach {peak:g} where full scale is 1; "
                                 "divide them by their full scale and save again")
        elif x.dtype.kind == "u":
            x = (x.astype(np.float32) - 128) / 128                  # 8-bit WAV is unsigned
        else:
            x = x.astype(np.float32) / np.float32(2.0 ** (8 * x.dtype.itemsize - 1))
        x = x.mean(axis=1, dtype=np.float32) if x.shape[1] > 1 else x[:, 0].astype(np.float32)
        return np.clip(x, -1, 1)


class _Resampled(Recording):
    """A recording whose file has another sample rate; soxr carries its filter from block to block."""

    def blocks(self, n=1 << 18):
        """As `Recording.blocks`, at `sr`."""
        stream = soxr.ResampleStream(self.file.sr, self.sr, 1, dtype="float32", quality="HQ")
        rest = np.zeros(0, dtype=np.float32)
        for x in super().blocks(n):
            yield from _nonempty(stream.resample_chunk(x))
        yield from _nonempty(stream.resample_chunk(rest, last=True))


def _nonempty(x):
    """The filter may ring past full scale, and gives nothing at first."""
    if len(x):
        yield np.clip(x, -1, 1)


def open_recording(path, sr=16000):
    """Check an audio file and open it for reading in blocks.

    Parameters
    ----------
    path : str or path
        WAV (8 to 64-bit integer, 32/64-bit float, A-law and mu-law; plain,
        WAVE_EXTENSIBLE or RF64), FLAC, OGG (Vorbis, Opus) or MP3; any number
        of channels up to 64 (their mean is taken) and any sample rate.
    sr : int
        Sample rate wanted, Hz; files of another rate are resampled (soxr HQ).

    Returns
    -------
    Recording

    Raises
    ------
    AudioError
        Missing, a directory, unreadable, empty, truncated, not audio, or with
        a header that contradicts itself or the file's size.
    """
    sr = check_rate(sr)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):    # a named pipe would block for ever
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise AudioError(f"{printable(path)}: is {what}; give one audio file")
        with open(path, "rb") as f:
            magic = f.read(12)
    except FileNotFoundError:
        raise AudioError(f"{printable(path)}: no such file; check the name and the folder") from None
    except (OSError, ValueError) as e:
        if isinstance(e, AudioError):
            raise
        raise AudioError(f"{printable(path)}: cannot be read ({getattr(e, 'strerror', None) or e})") from None
    path = os.fspath(path)
    if not magic:
        raise AudioError(f"{printable(path)}: the file is empty; give a recording")
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64"):
        layout, source = open_wav(path)
    elif magic[:4] in (b"fLaC", b"OggS") or magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1:2] >= b"\xe0"):
        layout, source = open_soundfile(path)
    else:
        raise AudioError(f"{printable(path)}: not audio that can be read here; convert it to WAV, FLAC, OGG or MP3")
    recording = (Recording if layout.sr == sr else _Resampled)(path, sr, layout, source)
    if recording.n_samples == 0:
        raise AudioError(f"{printable(path)}: {layout.n_samples} samples at {layout.sr} Hz are none at {sr} Hz; give a longer recording")
    return recording


def read(path, sr=16000):
    """Read a whole audio file.

    Parameters
    ----------
    path : str or path
        See `open_recording`.
    sr : int
        Sample rate wanted, Hz.

    Returns
    -------
    y : float32 array of shape (n_samples,), within [-1, 1]

    Raises
    ------
    AudioError
        As `open_recording` and `Recording.blocks`, and for more than
        75,000,000 samples (1.3 h at 16 kHz), which belong in a prepared
        dataset instead of memory.
    """
    recording = open_recording(path, sr)
    parts, n = [], 0
    announced = recording.n_samples or 0
    for block in recording.blocks() if announced <= MAX_SAMPLES_IN_MEMORY else ():
        parts.append(block)
        n += len(block)
        if n > MAX_SAMPLES_IN_MEMORY:
            break
    if max(n, announced) > MAX_SAMPLES_IN_MEMORY:
        raise AudioError(f"{printable(path)}: {max(n, announced) / recording.sr / 3600:.1f} h are too much for memory "
                         f"({MAX_SAMPLES_IN_MEMORY} samples at most); prepare a dataset from it, or cut it")
    y = np.concatenate(parts)
    return from_int16(y) if y.dtype == np.int16 else y
