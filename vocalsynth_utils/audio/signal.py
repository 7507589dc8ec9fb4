"""Samples as 16-bit integers and back, and what makes a signal usable: checks, and the error that says why not."""

import os

import numpy as np

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; outside, the header is wrong rather than the recording odd
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz

LEVEL_SAMPLES = 1 << 20  # of a recording that its level is taken from
AROUND, MOST_GAIN = 4, 6.0  # seconds on either side that a gain looks at: a voice keeps its swells; dB
TRACE = 1e-3  # share of limited samples that is not worth a word
FADE = 0.015  # s, over which one signal goes over into another
KNEE, LIMIT = 0.8, 0.98  # of full scale: above the one samples are bent, the other they do not pass


class AudioError(ValueError):
    """A file or signal that cannot be used as audio: one line with the file, the value and the remedy."""


def printable(path):
    """The file's name as one printable line."""
    return "".join(c if c.isprintable() else "?" for c in os.fsdecode(path))


def reason(error):
    """What an exception of the system's or of libsndfile's says, without the file's name, as one printable line."""
    said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
    return printable(" ".join(str(said).split()).rstrip(".")) or type(error).__name__


def check_rate(sr, name="sr"):
    """`sr` as an int in Hz, or an `AudioError` that names the argument."""
    number = isinstance(sr, (int, float, np.integer, np.floating)) and not isinstance(sr, bool)
    if not number or not MIN_RATE <= sr <= MAX_RATE or sr != int(sr):
        raise AudioError(f"{name} is {sr!r}; it must be a whole number of Hz from {MIN_RATE} to {MAX_RATE}")
    return int(sr)


def to_int16(y):
    """Samples at full scale 1, float (n_samples,), to int16: clipped first, then rounded; int16 as it is.

    NaN, infinity, complex numbers, other integers and another shape are an `AudioError`.

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


def limited(y):
    """Samples (n_samples,), those beyond KNEE bent so that none reaches LIMIT: float32.

    >>> print(limited(np.array([0.5, -0.8, 0.9, -5])).round(3))
    [ 0.5   -0.8    0.891 -0.98 ]
    """
    y = np.array(y, np.float32)
    loud = np.abs(y) > KNEE
    y[loud] = np.sign(y[loud]) * (KNEE + (LIMIT - KNEE) * np.tanh((np.abs(y[loud]) - KNEE) / (LIMIT - KNEE)))
    return y


def level(y):
    """That of samples y (n_samples,), full scale 1 or int16, in dB of full scale, by some of them; None of silence."""
    some = y[:: max(1, len(y) // LEVEL_SAMPLES)]
    spread = np.std(some, dtype=np.float64) / (32768 if y.dtype == np.int16 else 1)
    return float(20 * np.log10(spread)) if spread else None


def levelled(pieces, level, sr):
    """Pieces (n_samples,) of a signal, brought to a level in dB of full scale by a slow gain: float32.

    Each second is given what brings it and AROUND seconds on either side to that level, as far as they are known.
    Nothing is made louder by more than MOST_GAIN, so that a voice that dies away does.
    """
    power, last = np.zeros(0), None  # of each second so far; the gain at the end of it
    for y in pieces:
        n = max(1, round(len(y) / sr))
        seconds = [np.square(part, dtype=np.float64).mean() for part in np.array_split(y, n)]
        power = np.concatenate([power[-AROUND:], seconds])
        around = [power[max(0, i - AROUND) : i + AROUND + 1].mean() for i in range(len(power) - n, len(power))]
        gain = np.minimum(level - 10 * np.log10(np.add(around, 1e-12)), MOST_GAIN)  # dB
        gain, last = [gain[0] if last is None else last, *gain], gain[-1]
        places = [0, *(np.arange(n) + 0.5) * len(y) / n]
        yield (y * 10 ** (np.interp(np.arange(len(y)), places, gain) / 20)).astype(np.float32)


def joined(first, then, sr):
    """Two signals (n_samples,) as one, float32: over FADE seconds the one fades into the other, louder than neither.

    >>> len(joined(np.ones(100), np.zeros(200), 2000))  # 15 ms are 30 samples
    270
    """
    n = min(round(FADE * sr), len(first), len(then))
    rise = (np.arange(n) + 0.5) / n if n else np.zeros(0)
    over = first[len(first) - n :] * (1 - rise) + then[:n] * rise
    return np.concatenate([first[: len(first) - n], over, then[n:]]).astype(np.float32)


def from_int16(x):
    """int16 (n_samples,) to float32 within [-1, 1), which `to_int16` takes back; `AudioError` for another dtype."""
    x = np.asarray(x)
    if x.dtype != np.int16:
        raise AudioError(f"x is of dtype {x.dtype}; give int16")
    return x.astype(np.float32) / np.float32(32768)
