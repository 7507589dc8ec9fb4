"""Distances and shares between what `descriptors` says of two signals, the reference first, the generated second."""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .descriptors import DB, FRAME_HOP, N_MFCC, WINDOW_HOP, WINDOW_SECONDS

QUANTILES = (0.005, 0.995)  # of the training voice: the ends of its acceptance region
MARGIN = (3.0, 3.0, 0.0, 0.0)  # dB beyond them allowed to level and flatness
DEAD_SECONDS = 2.0  # outside the region for longer, the voice has died
PART_SECONDS = 120.0  # Fréchet distance is also taken of each part this long
PITCH_STEP = 3  # rows of 5 ms between which the melody's steps are measured
MAX_PITCH_STEP = np.log(2) / 2  # larger ones are the pitch tracker's octave jumps
SEGMENT_SECONDS = 0.5  # of a segment that is searched for in the training voice
SEGMENT_STRIDE = 2  # segments hold every 2nd frame, 20 ms apart
N_QUERIES = 1200  # generated segments looked up in the training voice
MEMORY_SECONDS = 30.0  # of its own past in which a signal is searched for repetition
GAP_SECONDS = 0.5  # between a segment and the past it is looked up in: no overlap


class Gaussian(NamedTuple):
    """Mean (d,) and covariance (d, d) of a cloud of points."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, points):
        """Those of points (n, d), in float64."""
        return cls(points.mean(axis=0, dtype=float), np.atleast_2d(np.cov(points, rowvar=False, dtype=float)))


def acceptance_region(windows):
    """Where a voice keeps, (2, 4): lowest and highest quantiles of the windows' statistics, with a margin."""
    low, high = np.quantile(windows, QUANTILES, axis=0)
    return np.stack([low - MARGIN, high + MARGIN])


def within(region, windows):
    """Which windows keep within the region in all four statistics: bool array (n_windows,)."""
    return np.all((windows >= region[0]) & (windows <= region[1]), axis=1)


def survival(inside, seconds):
    """Start of the first run of more than 2 s of windows not `inside` the region; `seconds`, the whole, without one.

    >>> survival(np.array([True] * 9 + [False] * 9), 9.5)
    4.5
    """
    needed = int(np.floor((DEAD_SECONDS - WINDOW_SECONDS) / WINDOW_HOP)) + 2  # so many windows cover more than 2 s
    run = 0
    for i, ok in enumerate(inside):
        run = 0 if ok else run + 1
        if run == needed:
            return (i - needed + 1) * WINDOW_HOP
    return float(seconds)


def frechet(reference, generated):
    """Fréchet distance between two clouds of points (n, d), each taken as a Gaussian, or given as one.

    |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)), after D. Dowson, B. Landau, "The Fréchet distance between
    multivariate normal distributions", J. Multivariate Analysis 12 (1982).
    """
    (m1, c1), (m2, c2) = (x if isinstance(x, Gaussian) else Gaussian.of(x) for x in (reference, generated))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # C1^(1/2)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ c2 @ root), 0)).sum()
    return float(max(0.0, np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * cross))


def frechet_parts(reference, generated):
    """Fréchet distances of each whole 120 s of a signal (n_frames, d), or of one shorter; their slope is drift."""
    n = round(PART_SECONDS / FRAME_HOP)
    parts = [generated[i : i + n] for i in range(0, len(generated), n)]
    parts = [part for part in parts if len(part) > 0.99 * n] or [generated]
    return [frechet(reference, part) for part in parts]


def segment_rows(standard_timbre):
    """What segments are made of: the 20 cepstral coefficients of every 2nd frame, float32 (n_rows, 20)."""
    return np.ascontiguousarray(standard_timbre[::SEGMENT_STRIDE, :N_MFCC], np.float32)


def _rows_in(seconds):
    return round(seconds / (SEGMENT_STRIDE * FRAME_HOP))


def _segments(rows):
    """Half-second segments of `segment_rows` as vectors, one from each row on: a view (n_segments, n_in_one * 20)."""
    return sliding_window_view(rows.ravel(), _rows_in(SEGMENT_SECONDS) * N_MFCC)[::N_MFCC]


def novelty(reference, generated):
    """Distances of half-second segments, of `segment_rows`, to the voice's nearest ones, 0 for a copy: (n_queries,)."""
    asked = _segments(generated)
    step = max(_rows_in(SEGMENT_SECONDS), -(-len(asked) // N_QUERIES))
    return _nearest(_segments(reference), np.ascontiguousarray(asked[::step]))


def repetition(generated):
    """Median distance of half-second segments, of `segment_rows`, to the nearest one in the 30 s before them.

    About 0 for a loop, which keeps within the region and is caught here; nan for less than two seconds.
    """
    segments = _segments(generated)
    gap, memory = _rows_in(SEGMENT_SECONDS + GAP_SECONDS), _rows_in(MEMORY_SECONDS)
    asked = range(gap + 1, len(segments), max(gap, len(segments) // 200))
    near = [_nearest(segments[max(0, i - memory) : i - gap], segments[i : i + 1])[0] for i in asked]
    return float(np.median(near)) if near else float("nan")


def _nearest(known, asked):
    """Root mean square distance, over d, of each row of asked (n, d) to its nearest row of known (m, d): (n,)."""
    length = np.einsum("ij,ij->i", asked, asked)
    nearest = np.full(len(asked), np.inf, np.float32)
    for start in range(0, len(known), 8192):
        block = np.ascontiguousarray(known[start : start + 8192])
        distance = np.einsum("ij,ij->i", block, block) - 2 * asked @ block.T  # + length: (n, n_block)
        nearest = np.minimum(nearest, distance.min(axis=1) + length)
    return np.sqrt(np.maximum(nearest, 0) / asked.shape[1])


def long_term_spectrum(bands):
    """Mean power in dB in each of `descriptors.bands`: float (40,)."""
    return DB * np.log(np.exp(bands.astype(float)).mean(axis=0))


def f0_roughness(f0):
    """How much a melody, Hz every 5 ms, moves: mean absolute step of log F0 over 15 ms, where both ends are voiced."""
    a, b = f0[:-PITCH_STEP], f0[PITCH_STEP:]
    both = (a > 0) & (b > 0)
    steps = np.abs(np.log(b[both] / a[both]))
    steps = steps[steps < MAX_PITCH_STEP]
    return float(steps.mean()) if len(steps) else 0.0


def boundary_clicks(generated, frame_length):
    """Mean absolute second difference of samples at frame boundaries over that inside frames: 1 without clicks."""
    bend = np.abs(np.diff(generated, 2))  # bend[i] is centred on sample i + 1
    place = (np.arange(len(bend)) + 1) % frame_length
    at = (place == 0) | (place == frame_length - 1)
    return float(bend[at].mean() / bend[~at].mean()) if bend[~at].any() else float("nan")
