"""The post-filter: what becomes of the frames a network has drawn before the vocoder makes sound of them.

A frame is drawn from a mixture that knows only the past, so it trembles about
the course that a voice takes: the envelopes of a whole song spread a little
less than the voice's and still move more from frame to frame.  Widened alone,
they would move more yet.  So each is first smoothed between its neighbours, and
then, voiced and unvoiced frames apart, mapped to the voice's own mean and
covariance.  None of it is fed back into the network.  How much, `calibration`
finds out.

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

from .features import N_ENVELOPE, VOICING

MOST = 2.0         # bound on how far any direction is stretched, and its inverse
ROWS_NEEDED = 240  # of either kind, or that kind is left alone: a covariance of fewer says little
FLOOR = 1e-6       # of a covariance's directions, relative to the largest


class PostFilter(NamedTuple):
    """smoothing : for `smooth`; correction : (2, 1 + n_envelope, n_envelope), for `correct`."""

    smoothing: float
    correction: np.ndarray

    def apply(self, frames):
        """Frames (n_frames, n_features), not scaled, with their envelope filtered: a new array."""
        return correct(self.correction, smooth(self.smoothing, frames))

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


def smooth(amount, frames):
    """Frames whose envelope is drawn towards its neighbours', where these are voiced as it is.

    Parameters
    ----------
    amount : float
        Of each neighbour in the mean, from 0 to 0.25, which leaves nothing of
        what alternates from frame to frame.
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.

    Returns
    -------
    float array of shape (n_frames, n_features)
        A new one.  Level is kept at the edges of voice and at both ends.
    """
    smoothed, voiced = np.array(frames), frames[:, VOICING] > 0.5
    step = amount * np.diff(frames[:, -N_ENVELOPE:], axis=0) * (voiced[1:] == voiced[:-1])[:, None]
    smoothed[:-1, -N_ENVELOPE:] += step
    smoothed[1:, -N_ENVELOPE:] -= step
    return smoothed


def correct(correction, frames):
    """Frames (n_frames, n_features), not scaled, with their envelope mapped as `transport` says: a new array."""
    corrected, voiced = np.array(frames), frames[:, VOICING] > 0.5
    for part, chosen in zip(np.asarray(correction), (~voiced, voiced)):
        corrected[chosen, -N_ENVELOPE:] = frames[chosen, -N_ENVELOPE:] @ part[1:] + part[0]
    return corrected


def nothing(n=N_ENVELOPE):
    """The correction that changes nothing, (2, 1 + n, n)."""
    return np.stack([np.vstack([np.zeros(n), np.eye(n)])] * 2)


def envelope_moments(rows):
    """Mean and covariance of the envelope, for unvoiced and voiced rows.

    Parameters
    ----------
    rows : float array of shape (n_rows, n_features)
        WORLD rows, not scaled.

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
        As `moments`.
    """
    return moments(rows[:, -N_ENVELOPE:], rows[:, VOICING])


def moments(x, voicing):
    """Mean and covariance of unvoiced and of voiced rows.

    Parameters
    ----------
    x : float array of shape (n_rows, n)
    voicing : float array of shape (n_rows,)

    Returns
    -------
    float64 array of shape (2, 1 + n, n)
        [unvoiced or voiced]: the mean, above the covariance; nan where there
        are too few rows.
    """
    parts = [x[chosen].astype(np.float64) for chosen in (voicing <= 0.5, voicing > 0.5)]
    return np.stack([np.vstack([part.mean(axis=0), np.cov(part, rowvar=False)]) if len(part) >= ROWS_NEEDED
                     else np.full((1 + x.shape[1], x.shape[1]), np.nan) for part in parts])


def transport(wanted, measured):
    """The correction that takes frames of one `moments` to another: the linear map that moves them least.

    Parameters
    ----------
    wanted, measured : float arrays of shape (2, 1 + n, n)

    Returns
    -------
    float64 array of shape (2, 1 + n, n)
        [unvoiced or voiced]: the shift, above the matrix; see `correct`.
        Nothing is done to a kind of which either side has too few rows.
    """
    correction = nothing(wanted.shape[2])
    for i, (goal, start) in enumerate(zip(wanted, measured)):
        if not np.isfinite([goal, start]).all():
            continue
        root = _power(start[1:], 0.5)
        inverse = _power(start[1:], -0.5)
        matrix = inverse @ _power(root @ goal[1:] @ root, 0.5) @ inverse
        values, vectors = np.linalg.eigh(matrix)
        matrix = (vectors * np.clip(values, 1 / MOST, MOST)) @ vectors.T
        correction[i] = np.vstack([goal[0] - start[0] @ matrix, matrix])
    return correction


def _power(matrix, exponent):
    """A symmetric positive matrix to a power, its smallest directions floored."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, FLOOR * values[-1]) ** exponent) @ vectors.T
