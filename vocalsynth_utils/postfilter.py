"""The post-filter: what becomes of the frames a network has drawn before the vocoder makes sound of them.

A frame is drawn from a mixture that knows only the past, so it trembles about
the course that a voice takes, and a network that hears itself leaves the
pitches of its voice, a speaker's downwards, a singer's upwards: the envelopes and
the pitches of a whole song are not spread as the voice's are.  So pitch is
mapped to the voice's own distribution; the envelope, voiced and unvoiced frames
apart, to its mean and covariance; and what then still moves otherwise from frame
to frame is smoothed between neighbours.  None of it is fed back into the
network.  How much, `calibration` finds out.

References
----------
T. Toda, K. Tokuda, "A speech parameter generation algorithm considering
global variance", IEICE Trans. E90-D (2007): oversmoothing and its variance.
S. Takamichi et al., "Postfilters to modify the modulation spectrum for
statistical parametric speech synthesis", IEEE/ACM Trans. Audio, Speech, and
Language Processing 24 (2016): fluctuation in time is a matter of its own.
D. Dowson, B. Landau, "The Frechet distance between multivariate normal
distributions", J. Multivariate Analysis 12 (1982): the map, in eq. 4.
"""
from typing import NamedTuple

import numpy as np

from .features import F0_CEIL, F0_FLOOR, LOG_F0, N_ENVELOPE, VOICING

MOST = 2.0         # bound on how far any direction is stretched, and its inverse
MOST_SMOOTHING = 0.25  # leaves nothing of what alternates from frame to frame
ROWS_NEEDED = 240  # or nothing is measured: a covariance of fewer says little
FLOOR = 1e-6       # of a covariance's directions, relative to the largest
QUANTILES = np.array([.002, .005, .01, .02, .05, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .98, .99, .995, .998])
APART = 1e-4       # in log F0, at least, between two quantiles: a map needs each once


class PostFilter(NamedTuple):
    """pitch : (2, n_quantiles), for `repitch`; correction : (2, 1 + n_envelope, n_envelope), for `correct`; smoothing : (n_envelope, n_envelope), for `smooth`."""

    pitch: np.ndarray
    correction: np.ndarray
    smoothing: np.ndarray

    def apply(self, frames):
        """Frames (n_frames, n_features), not scaled, filtered: a new array."""
        return smooth(self.smoothing, correct(self.correction, repitch(self.pitch, frames)))

    def blocks(self, blocks):
        """As `apply`, of frames that come in blocks: each is held back until the next one is known.

        Parameters
        ----------
        blocks : iterable of float arrays of shape (n, n_features)

        Yields
        ------
        float array of shape (n, n_features)
            As many frames together.
        """
        recent, n_given = None, 0  # the last frame that was given, if any, and the one that is held back
        for block in blocks:
            recent = block if recent is None else np.concatenate([recent, block])
            if len(recent) > n_given + 1:
                yield self.apply(recent)[n_given:-1]
                recent, n_given = recent[-2:], 1
        if recent is not None:
            yield self.apply(recent)[n_given:]


def repitch(pitch, frames):
    """Frames whose log F0 is mapped from one distribution to another, straight between its quantiles: higher stays higher.

    Parameters
    ----------
    pitch : float array of shape (2, n)
        Log F0 as it is, ascending, and what becomes of it; beyond the ends it stays at these.
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.

    Returns
    -------
    float array of shape (n_frames, n_features)
        A new one.
    """
    mapped = np.array(frames)
    mapped[:, LOG_F0] = np.interp(frames[:, LOG_F0], *pitch)
    return mapped


def correct(correction, frames):
    """Frames (n_frames, n_features), not scaled, with their envelope mapped as `transport` says, unvoiced and voiced ones apart: a new array."""
    corrected, voiced = np.array(frames), frames[:, VOICING] > 0.5
    for part, chosen in zip(np.asarray(correction), (~voiced, voiced)):
        corrected[chosen, -N_ENVELOPE:] = frames[chosen, -N_ENVELOPE:] @ part[1:] + part[0]
    return corrected


def smooth(amount, frames):
    """Frames whose envelope is drawn towards its neighbours', where these are voiced as it is.

    Parameters
    ----------
    amount : float array of shape (n_envelope, n_envelope)
        Symmetric: how much, in each direction, of each neighbour is in the mean;
        see `bounded`.
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.

    Returns
    -------
    float array of shape (n_frames, n_features)
        A new one.  Level is kept at the edges of voice and at both ends.
    """
    smoothed, voiced = np.array(frames), frames[:, VOICING] > 0.5
    step = np.diff(frames[:, -N_ENVELOPE:], axis=0) @ amount * (voiced[1:] == voiced[:-1])[:, None]
    smoothed[:-1, -N_ENVELOPE:] += step
    smoothed[1:, -N_ENVELOPE:] -= step
    return smoothed


def bounded(amount):
    """A symmetric matrix for `smooth`, each of whose directions is smoothed by 0 to `MOST_SMOOTHING`."""
    values, vectors = np.linalg.eigh(amount)
    return (vectors * np.clip(values, 0, MOST_SMOOTHING)) @ vectors.T


def pitches(rows):
    """Quantiles of the log F0 of voiced rows, (n_rows, n_features): (n_quantiles,), ascending; nan where too few are voiced."""
    log_f0 = rows[rows[:, VOICING] > 0.5, LOG_F0]
    if len(log_f0) < ROWS_NEEDED:
        return np.full(len(QUANTILES), np.nan)
    steps = APART * np.arange(len(QUANTILES))
    return np.maximum.accumulate(np.quantile(log_f0, QUANTILES) - steps) + steps


def pitch_map(wanted, measured):
    """What takes rows of one `pitches`, (n_quantiles,), to another: (2, n_quantiles), for `repitch`; nothing changes where either is not known."""
    if not np.isfinite([wanted, measured]).all():
        return np.tile(np.linspace(np.log(F0_FLOOR), np.log(F0_CEIL), len(wanted)), (2, 1))
    return np.stack([measured, wanted])


def nothing(n=N_ENVELOPE):
    """The affine map that changes nothing, (1 + n, n): a shift, above a matrix."""
    return np.vstack([np.zeros(n), np.eye(n)])


def then(first, second):
    """The affine map, (1 + n, n), that does what two of them do, one after the other."""
    return np.vstack([first[0] @ second[1:] + second[0], first[1:] @ second[1:]])


def envelope_moments(rows):
    """Mean and covariance of the envelope of WORLD rows (n_rows, n_features), not scaled, unvoiced and voiced: (2, 1 + n_envelope, n_envelope), as `moments`."""
    return np.stack([moments(rows[chosen, -N_ENVELOPE:]) for chosen in (rows[:, VOICING] <= 0.5, rows[:, VOICING] > 0.5)])


def moments(x):
    """Mean and covariance of rows.

    Parameters
    ----------
    x : float array of shape (n_rows, n)

    Returns
    -------
    float64 array of shape (1 + n, n)
        The mean, above the covariance; nan where there are too few rows.
    """
    if len(x) < ROWS_NEEDED:
        return np.full((1 + x.shape[1], x.shape[1]), np.nan)
    x = x.astype(np.float64)
    return np.vstack([x.mean(axis=0), np.cov(x, rowvar=False)])


def transport(wanted, measured):
    """What takes rows of one `moments` to another: the affine map that moves them least.

    Parameters
    ----------
    wanted, measured : float arrays of shape (1 + n, n)

    Returns
    -------
    float64 array of shape (1 + n, n)
        The shift, above the matrix.  Nothing is done where either is not known.
    """
    if not np.isfinite([wanted, measured]).all():
        return nothing(wanted.shape[1])
    root, inverse = _power(measured[1:], 0.5), _power(measured[1:], -0.5)
    matrix = inverse @ _power(root @ wanted[1:] @ root, 0.5) @ inverse
    values, vectors = np.linalg.eigh(matrix)
    matrix = (vectors * np.clip(values, 1 / MOST, MOST)) @ vectors.T
    return np.vstack([wanted[0] - measured[0] @ matrix, matrix])


def _power(matrix, exponent):
    """A symmetric positive matrix to a power, its smallest directions floored."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, FLOOR * values[-1]) ** exponent) @ vectors.T
