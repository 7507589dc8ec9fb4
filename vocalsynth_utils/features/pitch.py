"""The pitch of a signal: its fundamental frequency in Hz every 5 ms, 0 where there is none.

Candidates are the peaks of the autocorrelation of a short window, divided by the window's own; the path of least cost
through them decides.  After P. Boersma, "Accurate short-term analysis of the fundamental frequency and the
harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17 (1993), whose costs these are, and whose threshold, but
that breath in a formant may be no high voice.  (Praat itself, PyPI's parselmouth, is under another licence than ours,
and has no wheel for Linux on aarch64.)
"""

from typing import NamedTuple

import numpy as np
import scipy
import soxr
from numpy.lib.stride_tricks import sliding_window_view

ROW_SECONDS = 0.005  # between rows
F0_FLOOR, F0_CEIL = 50.0, 1100.0  # Hz, what is searched: from a bass to a child
RATE = 8000  # Hz, at which a signal is listened to
RUMBLE = 100.0  # Hz: only what lies above is listened to; a low voice's harmonics tell its pitch
WINDOW = 368  # samples: 2.3 periods of the lowest pitch
FINER = 4  # lags to a sample
N_LAGS = round(FINER * RATE / F0_FLOOR) + 3
N_CANDIDATES = 10  # of each row
LEAST_PEAK = 0.3  # of the autocorrelation, to be a candidate
VOICED, SILENT = (0.45, 0.7), 0.005  # strength, and level beside the LOUD rows', at which voice begins
RINGING = 70.0  # Hz, a formant's width: breath in it has a strength of exp(-pi * RINGING / f) at a pitch f
LOUD = 0.99  # quantile of the rows' peaks
OCTAVE, JUMP, CHANGE = 0.01, 0.35, 0.14  # costs: of an octave lower; in 10 ms, of an octave's jump; of voice on or off
BLOCK = 512  # rows transformed at a time
SEGMENT, MARGIN = 1000, 100  # rows of a path, found side by side; thrown away on either side of it
MAINS, MAINS_OFF, N_HARMONICS = (50.0, 60.0), 0.2, 20  # Hz, and how far off they may be
SUBSONIC = 30.0  # Hz: hum lies above
HUM_SECONDS = 8  # in which hum is the same
HUM_LEFT = 0.3  # of its level, that may be left of it and is silence
QUIET = 0.02  # weight of a second that tells of hum, beside the quietest
EXPLAINS = 0.5  # of the power where it is softest
STANDS_OUT, SOFT = 6.0, 0.5  # hum's lines, times the spectrum about them; its power at most, of the loud sound's


class Candidates(NamedTuple):
    """What the pitch of each row may be."""

    f0: np.ndarray  # (n_rows, N_CANDIDATES), Hz
    strength: np.ndarray  # (n_rows, N_CANDIDATES), height of the peak, up to about 1; -inf where there is no other
    level: np.ndarray  # (n_rows,), highest sample under the window, over that of silence


def track(y, sr):
    """Fundamental frequency in Hz of y, float (n_samples,), at `sr` Hz, 0 where there is none: float64 (n_rows,).

    Row i is that of the sound around ``i * ROW_SECONDS``, from 0 up to the end.

    >>> f0 = track(np.sin(2 * np.pi * 440 * np.arange(16000) / 16000), 16000)
    >>> len(f0), round(float(np.median(f0)))
    (201, 440)
    """
    return best_path(candidates(y, sr))


def candidates(y, sr):
    """The `Candidates` of a signal, float (n_samples,)."""
    n_rows = 1 + int(len(y) / sr / ROW_SECONDS + 1e-6)
    y = soxr.resample(np.asarray(y, np.float64), sr, RATE)
    hum = mains_hum(y)
    rows, of_hum = (_rows(_above(RUMBLE, x), n_rows) for x in (y - hum, hum))
    f0, strength, level, left = map(np.concatenate, zip(*(_of_rows(*pair) for pair in zip(rows, of_hum))))
    silence = np.maximum(SILENT * np.quantile(level, LOUD), HUM_LEFT * left)
    return Candidates(f0, strength, level / (silence + 1e-20))


def _above(f, y):
    """A signal at RATE, (n_samples,), without what lies below `f` Hz."""
    sections = scipy.signal.butter(4, f, "highpass", fs=RATE, output="sos")
    return scipy.signal.sosfiltfilt(sections, y) if len(y) > WINDOW else y


def _rows(y, n_rows):
    """Blocks of rows of samples (n, WINDOW) of a signal, each row around its own time."""
    hop = round(ROW_SECONDS * RATE)
    y = np.pad(y, (WINDOW // 2, WINDOW // 2 + hop)).astype(np.float32)
    rows = sliding_window_view(y, WINDOW)[::hop][:n_rows]
    return (rows[start : start + BLOCK] for start in range(0, n_rows, BLOCK))


def _of_rows(rows, hum):
    """Of rows of samples (n_rows, WINDOW) and of hum: f0 and strength, as of `Candidates`, and the level of both."""
    window = scipy.signal.get_window("hann", WINDOW).astype(np.float32)
    own, (level, left) = _autocorrelation(window[None]), (np.abs(x * window).max(axis=1) for x in (rows, hum))
    r = _autocorrelation((rows - rows.mean(axis=1, keepdims=True)) * window)
    r *= own[:, :1] / (own * (r[:, :1] + 1e-20))  # (n_rows, N_LAGS), 1 at lag 0
    f = FINER * RATE / np.arange(1, N_LAGS - 1)  # Hz, of every lag but the first and the last
    middle = r[:, 1:-1]
    is_peak = (middle > r[:, :-2]) & (middle >= r[:, 2:]) & (middle > LEAST_PEAK) & (f <= F0_CEIL)
    strength = np.where(is_peak, middle + OCTAVE * np.log2(f / F0_FLOOR).astype(np.float32), -np.inf)
    best = np.argpartition(-strength, N_CANDIDATES, axis=1)[:, :N_CANDIDATES]
    before, at, after = (np.take_along_axis(r, best + i, axis=1) for i in range(3))
    bend = before - 2 * at + after
    place = best + 1 + np.clip(0.5 * (before - after) / np.where(bend, bend, 1), -0.5, 0.5)  # a parabola's top
    return FINER * RATE / place, np.take_along_axis(strength, best, axis=1), level, left


def _autocorrelation(x):
    """That of rows (n_rows, WINDOW), FINER times a sample: (n_rows, N_LAGS)."""
    size = scipy.fft.next_fast_len(WINDOW + N_LAGS // FINER + 1, real=True)
    return scipy.fft.irfft(np.square(np.abs(scipy.fft.rfft(x, size))), FINER * size)[:, :N_LAGS]


def best_path(found):
    """The pitch of each row, those of the `Candidates` that are strongest on the whole, less what changes cost.

    Dynamic programming, on segments side by side: what lies MARGIN rows ahead decides nothing any more.
    """
    n_rows, likeliest = len(found.f0), found.strength.argmax(axis=1)[:, None]
    ringing = np.exp(-np.pi * RINGING / np.take_along_axis(found.f0, likeliest, axis=1)[:, 0])
    voiced = np.clip(ringing, *VOICED)
    unvoiced = voiced + np.maximum(0, 2 - found.level * (1 + voiced))
    strength = np.column_stack([unvoiced, found.strength])  # the first of the states has no pitch
    octave = np.log2(np.column_stack([np.ones(n_rows), found.f0]))
    starts, change = np.arange(0, n_rows, SEGMENT), CHANGE * 0.01 / ROW_SECONDS
    steps = starts + np.arange(-MARGIN, SEGMENT + MARGIN)[:, None]  # rows (n_steps, n_segments)
    there = ((steps >= 0) & (steps < n_rows))[..., None]
    steps = np.clip(steps, 0, n_rows - 1)
    total, best = np.zeros_like(strength[starts]), np.empty((*steps.shape, strength.shape[1]), np.int8)
    for i in range(1, len(steps)):
        jump = np.abs(octave[steps[i - 1]][:, :, None] - octave[steps[i]][:, None])  # (n_segments, from, to)
        cost = JUMP * 0.01 / ROW_SECONDS * jump
        cost[:, 0], cost[:, :, 0], cost[:, 0, 0] = change, change, 0
        each = total[:, :, None] - cost
        best[i] = each.argmax(axis=1)
        total = each.max(axis=1) + np.where(there[i], strength[steps[i]], 0)
    state, path = total.argmax(axis=1), np.empty(steps.shape, int)
    for i in range(len(steps) - 1, -1, -1):
        path[i] = state
        state = best[i, np.arange(len(starts)), state]
    path = path[MARGIN:-MARGIN].T.ravel()[:n_rows]
    return np.where(path > 0, found.f0[np.arange(n_rows), path - 1], 0.0)


def without_hum(y, sr):
    """A signal (n_samples,) at `sr` Hz without the hum in it: float64."""
    hum = soxr.resample(mains_hum(soxr.resample(np.asarray(y, np.float64), sr, RATE)), RATE, sr)[: len(y)]
    return y - np.pad(hum, (0, len(y) - len(hum)))


def mains_hum(y):
    """The mains hum in a signal at RATE, (n_samples,): lines at harmonics of 50 or 60 Hz that are the same for seconds.

    They are measured where the signal is softest, for there no voice hides them.
    """
    n, hum, faded = min(HUM_SECONDS * RATE, len(y)), np.zeros(len(y)), np.zeros(len(y))
    fade, y = scipy.signal.get_window("hann", n) + 1e-3, _above(SUBSONIC, y)
    for start in {*range(0, len(y) - n + 1, max(1, n // 2)), len(y) - n}:
        part = slice(start, start + n)
        hum[part] += fade * _hum(y[part], fade)
        faded[part] += fade
    return hum / faded


def _hum(y, fade):
    """The hum in some seconds of a signal (n_samples,)."""
    power = scipy.ndimage.uniform_filter1d(np.square(y), RATE // 10, mode="constant")  # whole periods of either hum
    weight = fade * (y != 0) / np.square(power + 1e-6 * power.mean() + 1e-20)
    weight *= 2 / (weight.sum() + 1e-20)
    f, size = _lines(weight * y)
    if np.square(size).sum() / 2 > SOFT * np.quantile(power, 0.9):
        return np.zeros(len(y))  # too loud: the voice itself holds a note
    waves, seconds = np.exp(2j * np.pi * f[:, None] * np.arange(len(y)) / RATE), range(0, len(y), RATE)
    each = np.add.reduceat(waves.conj() * (weight * y), seconds, axis=1)  # (n_lines, n_seconds)
    weights, found = np.add.reduceat(weight / 2, seconds), each.sum(axis=1)
    quiet = weights > QUIET * weights.max()
    apart = np.abs(each - weights * found[:, None]) > weights * np.abs(found[:, None])
    steady = ~apart[:, quiet].any(axis=1) & (quiet.sum() > 1)  # a held note is not the same in every second
    if np.square(np.abs(found[steady])).sum() < EXPLAINS * (weight @ np.square(y)):
        return np.zeros(len(y))
    return np.real(found[steady] @ waves[steady])


def _lines(y):
    """Where the mains' harmonics stand out of a signal's spectrum, (n_samples,): Hz and height, (n_lines,) each."""
    size, per_hz = np.abs(scipy.fft.rfft(y, 4 * len(y))), 4 * len(y) / RATE
    mains = np.concatenate([f + np.arange(-MAINS_OFF, MAINS_OFF, 0.01) for f in MAINS])
    at = np.rint(mains[:, None] * np.arange(1, N_HARMONICS + 1) * per_hz).astype(int)
    at = at[np.square(size[at]).sum(axis=1).argmax()]  # of the likeliest mains
    about = np.abs(at[:, None] + np.rint(per_hz * np.linspace(-12, 12, 200)).astype(int))
    at = at[size[at] > STANDS_OUT * np.median(size[about], axis=1)]
    before, here, after = (np.log(size[at + i]) for i in (-1, 0, 1))
    return (at + 0.5 * (before - after) / (before - 2 * here + after)) / per_hz, size[at]
