"""The built-in singer's recordings: as an array, or as a file that is sung when it is first asked for."""

import itertools
from pathlib import Path

import numpy as np

from .. import audio
from ..theano_setup import cache_dir
from .processes import SAMPLE_RATE, n_samples_of
from .singer import CONTROL_RATE, phrase

SECONDS = 300  # of the built-in voice
LONG_SECONDS = 1500  # for a network that learns five minutes by heart


def sing_blocks(seconds, sr, seed):
    """`sing`, phrase by phrase: any length in the memory of a few seconds."""
    left = n_samples_of(seconds, sr)
    if sr < 12000 or sr % CONTROL_RATE:
        needs = f"the singer needs at least 12000 Hz in whole multiples of {CONTROL_RATE}"
        raise ValueError(f"sr is {sr}; {needs}: sing at 16000 and resample")
    for index in itertools.count():
        rng = np.random.default_rng([seed, index])
        block = phrase(rng, sr)[:left].astype(np.float32)
        yield block
        left -= len(block)
        if not left:
            return


def sing(seconds, sr=SAMPLE_RATE, seed=0):
    """The singer, float32 (n_samples,) in [-1, 1]; a longer recording begins with the shorter one of the same seed.

    It has exactly ``round(seconds * sr)`` samples; `sr` is at least 12000 Hz and a multiple of 200.

    >>> sing(2.5).shape
    (40000,)
    """
    return np.concatenate(list(sing_blocks(seconds, sr, seed)))


def write_voice(path, seconds, sr=SAMPLE_RATE, seed=0, progress=None):
    """Sing (see `sing`) into a 16-bit mono WAV file, which appears only when it is complete; returns its Path.

    `progress` is called with the number of samples of each block once it is written.
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
    """The built-in voice as a file, a Path; sung now if it is not there yet, else left as it is.

    Without a path it is ``data/voice.wav`` of the checkout this package is used from, or ``voice.wav`` in the
    environment's cache when it is installed without one; with another length, ``voice-<seconds>s.wav`` there.
    """
    if path is None:
        checkout = Path(__file__).resolve().parents[2]
        folder = checkout / "data" if (checkout / "pyproject.toml").exists() else cache_dir()
        path = folder / ("voice.wav" if seconds == SECONDS else f"voice-{seconds:g}s.wav")
    path = Path(path)
    return path if path.exists() else write_voice(path, seconds, seed=seed)
