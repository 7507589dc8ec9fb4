"""From the bytes of an audio file to blocks of its samples, as they are stored.

WAV files go through scipy's `wavfile` (memory-mapped, so that opening costs
nothing) and, where scipy cannot map them (24-bit, A-law), through soundfile
like FLAC, OGG and MP3.  Before either library sees a WAV file, `wav_header`
has walked its chunks: both believe what a header says, and a header can lie.
"""
import contextlib
import os
import struct
import threading
import warnings
from collections import namedtuple
from functools import partial

import numpy as np
import soundfile
from scipy.io import wavfile

from .pcm import AudioError, check_rate, printable
from .wav_header import wav_header

MAX_CHANNELS = 64
MAX_HOURS = 100

Layout = namedtuple("Layout", "sr n_samples n_channels kind")  # of the file, before mixing and resampling
_quiet_lock = threading.Lock()


def open_wav(path):
    """Open a WAV file: through scipy where its view agrees with the header check, else through soundfile.

    Parameters
    ----------
    path : str

    Returns
    -------
    layout : Layout
        Sample rate (Hz), samples per channel, channels and dtype of the file.
    source : callable
        ``source(n)`` yields arrays of shape (n_block, n_channels), about `n`
        samples each, in the file's own dtype.

    Raises
    ------
    AudioError
    """
    try:
        header = wav_header(path)
        check_rate(header.sr, "the sample rate in its header")
        if header.n_channels > MAX_CHANNELS:
            raise AudioError(f"{header.n_channels} channels; at most {MAX_CHANNELS} can be mixed down")
    except ValueError as e:
        raise AudioError(f"{printable(path)}: {e}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # "chunk not understood", and the like
            sr, data = wavfile.read(path, mmap=True)
    except (ValueError, TypeError, OSError, OverflowError, MemoryError, struct.error, UnboundLocalError):
        return open_soundfile(path, header)    # 24-bit, A-law, RF64 in older scipy, odd chunks after the audio
    if (sr, data.size) != (header.sr, header.n_samples * header.n_channels) or data.dtype.itemsize * 8 != header.bits:
        return open_soundfile(path, header)
    layout = Layout(sr, header.n_samples, header.n_channels, data.dtype.newbyteorder("=").name)
    return layout, partial(_plain_blocks, path, data.dtype, data.offset, layout)


def _plain_blocks(path, dtype, offset, layout, n):
    """Blocks (n_block, n_channels) of uncompressed samples.

    Ordinary reads at the offset scipy found: pages of a map would count as our
    memory, and a mapped file that shrinks meanwhile kills the process.
    """
    n = max(1, n // layout.n_channels)
    with open(path, "rb") as f:
        f.seek(offset)
        for start in range(0, layout.n_samples, n):
            count = min(n, layout.n_samples - start) * layout.n_channels
            x = np.fromfile(f, dtype=dtype, count=count)
            if len(x) < count:
                raise AudioError(f"{printable(path)}: became shorter while it was read; wait until it is complete")
            yield x.reshape(-1, layout.n_channels).astype(dtype.newbyteorder("="), copy=False)


def open_soundfile(path, header=None):
    """Open a file that libsndfile decodes: FLAC, OGG, MP3, and WAV files scipy does not map.

    Parameters
    ----------
    path : str
    header : WavHeader, optional
        What `wav_header` found; a decoder that disagrees is an error.

    Returns
    -------
    layout, source
        As `open_wav`; blocks are int16 for 16-bit files, else float32.

    Raises
    ------
    AudioError
    """
    try:
        with open(path, "rb") as f, _quiet(), soundfile.SoundFile(f.fileno(), closefd=False) as sound:
            sr, n, n_channels = sound.samplerate, sound.frames, sound.channels
            kind = "int16" if sound.subtype == "PCM_16" else "float32"
    except (soundfile.SoundFileError, OSError, TypeError) as e:
        raise AudioError(f"{printable(path)}: not audio that can be decoded ({_reason(e)}); "
                         "convert it to WAV, FLAC, OGG or MP3") from None
    if header and (sr, n, n_channels) != header[:3]:
        raise AudioError(f"{printable(path)}: its header can be read in two ways ({header.n_samples} or {n} samples); "
                         "export it again as 16-bit PCM")
    check_rate(sr, f"{printable(path)}: the sample rate")
    if n_channels > MAX_CHANNELS:
        raise AudioError(f"{printable(path)}: {n_channels} channels; at most {MAX_CHANNELS} can be mixed down")
    if n == 0:
        raise AudioError(f"{printable(path)}: holds no audio; record it again")
    layout = Layout(sr, n if n <= MAX_HOURS * 3600 * sr else None, n_channels, kind)
    return layout, partial(_decoded_blocks, path, layout)


def _decoded_blocks(path, layout, n):
    """Blocks (n_block, n_channels) from libsndfile; fewer than announced is an error."""
    n, n_read = max(1, n // layout.n_channels), 0
    try:
        with open(path, "rb") as f, contextlib.ExitStack() as stack:
            with _quiet():
                sound = stack.enter_context(soundfile.SoundFile(f.fileno(), closefd=False))
            while True:
                with _quiet():
                    x = sound.read(n, dtype=layout.kind, always_2d=True)
                if not len(x):
                    break
                n_read += len(x)
                yield x
    except (soundfile.SoundFileError, OSError) as e:
        raise AudioError(f"{printable(path)}: damaged after {n_read / layout.sr:.1f} s ({_reason(e)}); "
                         "copy or export it again") from None
    if layout.n_samples is not None and n_read < layout.n_samples:
        raise AudioError(f"{printable(path)}: truncated: {layout.n_samples} samples announced, {n_read} are there; "
                         "copy or export it again")


@contextlib.contextmanager
def _quiet():
    """Keep the MP3 decoder inside libsndfile from writing its notes on standard error."""
    with _quiet_lock:       # two threads that exchange descriptor 2 at once would lose it
        try:
            saved = os.dup(2)
        except OSError:     # there is no standard error
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _reason(e):
    """What libsndfile said, without the file's name, in one line."""
    return " ".join(str(getattr(e, "error_string", e)).split()).rstrip(".") or type(e).__name__
