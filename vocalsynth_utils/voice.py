"""The built-in singer.

A workbook about voices must not begin with a download, so this module sings:
glottal pulses through formant resonators, syllables on a melody, breaths
between phrases.  Its recordings are free of rights and the same on every
machine.
"""
import itertools
from pathlib import Path

import numpy as np

from . import audio
from .corpora import SAMPLE_RATE, ar2, ar2_optimum, n_samples_of, tone
from .singer import CONTROL_RATE, phrase, resonators, rosenberg

__all__ = ["sing", "sing_blocks", "write_voice", "built_in", "rosenberg", "resonators", "tone", "ar2", "ar2_optimum"]

SECONDS = 300        # of the built-in voice
LONG_SECONDS = 1500  # for a network that learns five minutes by heart


def sing_blocks(seconds, sr=SAMPLE_RATE, seed=0):
    """The singer, phrase by phrase: any length in the memory of a few seconds.

    Parameters
    ----------
    seconds : float
        Length in seconds, above 0.
    sr : int
        Sample rate in Hz, at least 12000 and a multiple of 200.
    seed : int

    Yields
    ------
    float32 array of shape (n,), in [-1, 1]
        The blocks add up to exactly ``round(seconds * sr)`` samples.  A longer
        recording begins with the shorter one of the same seed.

    Raises
    ------
    ValueError
    """
    left = n_samples_of(seconds, sr)
    if sr < 12000 or sr % CONTROL_RATE:
        raise ValueError(f"sr is {sr}; the singer needs at least 12000 Hz in whole multiples of {CONTROL_RATE}: "
                         "sing at 16000 and resample")
    index = 0
    while left > 0:
        rng = np.random.default_rng([seed, index])
        block = phrase(rng, sr)[:left].astype(np.float32)
        left, index = left - len(block), index + 1
        yield block


def sing(seconds, sr=SAMPLE_RATE, seed=0):
    """A recording of the built-in singer.

    Parameters, errors: see `sing_blocks`.

    Returns
    -------
    float32 array of shape (n_samples,), in [-1, 1]

    Examples
    --------
    >>> sing(2.5).shape
    (40000,)
    """
    return np.concatenate(list(sing_blocks(seconds, sr, seed)))


def write_voice(path, seconds, sr=SAMPLE_RATE, seed=0, progress=None):
    """Sing into a 16-bit mono WAV file, which appears only when it is complete.

    Parameters
    ----------
    path : str or Path
    seconds, sr, seed : see `sing_blocks`
    progress : callable, optional
        Called with the number of samples of each block once it is written.

    Returns
    -------
    Path
    """
    path = Path(path)
    audio.check_place(path, make_folder=True)
    audio.wav_length(seconds, sr)
    blocks = sing_blocks(seconds, sr, seed)
    first = next(blocks)  # mistakes of the caller's come out before a file exists
    path.parent.mkdir(parents=True, exist_ok=True)
    with audio.writer(path, sr) as wav:
        for block in itertools.chain([first], blocks):
            wav.write(np.round(block * 32767).astype(np.int16))
            if progress:
                progress(len(block))
    return path


def built_in(path=None, seconds=SECONDS, seed=0):
    """The built-in voice as a file, sung now if it is not there yet.

    Parameters
    ----------
    path : str or Path, optional
        Default: ``data/voice.wav`` of the checkout this package is used from,
        or of the environment's cache when it is installed without one; with
        another length, ``voice-<seconds>s.wav`` there.
    seconds, seed : of a new recording; an existing file is left as it is

    Returns
    -------
    Path
    """
    if path is None:
        checkout, name = Path(__file__).resolve().parent.parent, "voice.wav" if seconds == SECONDS else f"voice-{seconds:g}s.wav"
        if (checkout / "pyproject.toml").exists():
            path = checkout / "data" / name
        else:
            from .theano_setup import cache_dir
            path = cache_dir() / name
    path = Path(path)
    return path if path.exists() else write_voice(path, seconds, seed=seed)
