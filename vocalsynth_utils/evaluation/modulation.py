"""How a voice's level and timbre move, apart from where they are: its rhythm, and whether it can be told from another.

Means and spread of single frames, which are easily corrected, have no part in any of it.
"""

import numpy as np
import scipy

from .descriptors import FRAME_HOP

OCTAVES = (0.5, 1, 2, 4, 8, 16)  # Hz, ends of the bands of `spectrum`
SPECTRUM_SECONDS = 4.0  # of level, transformed at a time
N_CEPSTRA = 13
WINDOW_FRAMES = 50  # half a second
COSINES = (1, 2, 4, 8, 16, WINDOW_FRAMES)  # ends of the bands of `movements`: octaves from 1 to 50 Hz
FLOOR = 1e-2  # of the training voice's variance: less movement is none
STRETCH = 8  # windows, 4 s, that go to the same half: neighbours are alike
RIDGE = 0.1


def spectrum(bands):
    """Shares of the octaves from 0.5 to 16 Hz in how log level, the mean of `bands`, moves: float (5,), sum 1."""
    level, n = bands.mean(axis=1, dtype=float), min(len(bands), round(SPECTRUM_SECONDS / FRAME_HOP))
    windows = np.lib.stride_tricks.sliding_window_view(level, n)[:: n // 2]  # (n_windows, n)
    moving = (windows - windows.mean(axis=1, keepdims=True)) * np.hanning(n)
    power = np.square(np.abs(scipy.fft.rfft(moving))).sum(axis=0)
    f = scipy.fft.rfftfreq(n, FRAME_HOP)
    shares = np.array([power[(f >= low) & (f < high)].sum() for low, high in zip(OCTAVES, OCTAVES[1:])])
    return shares / (shares.sum() + 1e-12)


def distance(reference, generated):
    """Total variation distance of two `spectrum`: 0 where they are one, 1 where they have nothing in common."""
    return float(np.abs(reference - generated).sum() / 2)


def movements(standard_timbre):
    """Log energy of 13 cepstra's movement in five octaves, of each half second: float32 (n_windows, 65)."""
    n_windows = len(standard_timbre) // WINDOW_FRAMES
    windows = standard_timbre[: n_windows * WINDOW_FRAMES, :N_CEPSTRA].reshape(n_windows, WINDOW_FRAMES, N_CEPSTRA)
    energy = np.square(scipy.fft.dct(windows, axis=1, norm="ortho"))
    octaves = [energy[:, low:high].sum(axis=1) for low, high in zip(COSINES, COSINES[1:])]
    return np.log(np.concatenate(octaves, axis=1) + FLOOR).astype(np.float32)


def two_sample(reference, generated):
    """How often a classifier tells two sets of windows apart: 0.5 where it cannot, 1 where it always can.

    A linear discriminant with a ridge is fitted on every other 4 s of both and judged on the rest, then the other way
    round; the two count the same, however many windows each has.

    Parameters
    ----------
    reference, generated : float arrays of shape (n_windows, d), from `movements`

    Returns
    -------
    float
        nan where one has less than two windows in a half.

    References
    ----------
    D. Lopez-Paz, M. Oquab, "Revisiting classifier two-sample tests", ICLR 2017.
    """
    halves = [[x[np.arange(len(x)) // STRETCH % 2 == i].astype(float) for x in (reference, generated)] for i in (0, 1)]
    if min(len(x) for half in halves for x in half) < 2:
        return float("nan")
    return float(np.mean([_judged(*halves), _judged(*halves[::-1])]))


def _judged(fitted, judged):
    """Balanced accuracy on one half, (reference, generated), of the discriminant of another; undecided counts half."""
    means, covariance = [x.mean(axis=0) for x in fitted], sum(np.cov(x, rowvar=False) for x in fitted)
    covariance += np.diag(RIDGE * np.diag(covariance) + 1e-9)
    direction = np.linalg.solve(covariance, means[0] - means[1])
    a, b = (np.sign((x - (means[0] + means[1]) / 2) @ direction).mean() for x in judged)
    return 0.5 + (a - b) / 4
