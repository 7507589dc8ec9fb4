"""Frames whose pitch, spectral envelope and movement are distributed as the voice's: what the vocoder is given.

Pitch is mapped, the envelope of voiced and unvoiced frames apart, and movement smoothed; nothing is fed back into the
network.  How much, `calibration` finds out; why, docs/world_mdn.md tells [2, 3].
"""

from typing import NamedTuple

import numpy as np

from ..features import F0_CEIL, F0_FLOOR, LOG_F0, N_ENVELOPE, VOICING
from .moments import ROWS_NEEDED, AffineMap, with_directions_within

MOST_SMOOTHING = 0.25  # leaves nothing of what alternates from frame to frame
LOW_QUANTILES = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]
QUANTILES = np.array([*LOW_QUANTILES, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998])
APART = 1e-4  # in log F0, at least, between two quantiles: a map needs each once


class PostFilter(NamedTuple):
    """What is done to frames, in this order."""

    pitch: np.ndarray  # (2, n_quantiles), for `map_pitch`
    correction: tuple[AffineMap, AffineMap]  # of the envelope, unvoiced and voiced, for `correct`
    smoothing: np.ndarray  # (n_envelope, n_envelope), for `smooth`

    def apply(self, frames):
        """Frames (n_frames, n_features), not scaled, filtered: a new array."""
        return smooth(self.smoothing, correct(self.correction, map_pitch(self.pitch, frames)))

    def blocks(self, blocks):
        """As `apply`, of frames that come in blocks (n, n_features): each is held back until the next one is known."""
        recent, n_given = None, 0  # the last frame that was given, if any, and the one that is held back
        for block in blocks:
            recent = block if recent is None else np.concatenate([recent, block])
            if len(recent) > n_given + 1:
                yield self.apply(recent)[n_given:-1]
                recent, n_given = recent[-2:], 1
        if recent is not None:
            yield self.apply(recent)[n_given:]


def map_pitch(pitch, frames):
    """Frames (n_frames, n_features), not scaled, whose log F0 is mapped straight between quantiles: a new array.

    `pitch` (2, n) holds log F0 as it is, ascending, and what becomes of it; beyond the ends it stays at these.
    """
    mapped = np.array(frames)
    mapped[:, LOG_F0] = np.interp(frames[:, LOG_F0], *pitch)
    return mapped


def correct(correction, frames):
    """Frames (n_frames, n_features), not scaled, their envelope mapped, unvoiced and voiced ones apart: a new array."""
    corrected, voiced = np.array(frames), frames[:, VOICING] > 0.5
    for part, chosen in zip(correction, (~voiced, voiced)):
        corrected[chosen, -N_ENVELOPE:] = part.apply(frames[chosen, -N_ENVELOPE:])
    return corrected


def smooth(amount, frames):
    """Frames (n_frames, n_features), not scaled, with the envelope drawn towards its neighbours': a new array.

    `amount` (n_envelope, n_envelope) is symmetric: how much, in each direction, of each neighbour that is voiced as
    the frame itself is in the mean; see `bounded`.  Level is kept at the edges of voice and at both ends.
    """
    smoothed, voiced = np.array(frames), frames[:, VOICING] > 0.5
    step = np.diff(frames[:, -N_ENVELOPE:], axis=0) @ amount * (voiced[1:] == voiced[:-1])[:, None]
    smoothed[:-1, -N_ENVELOPE:] += step
    smoothed[1:, -N_ENVELOPE:] -= step
    return smoothed


def bounded(amount):
    """A symmetric matrix for `smooth`, each of whose directions is smoothed by 0 to `MOST_SMOOTHING`."""
    return with_directions_within(amount, 0, MOST_SMOOTHING)


def pitches(rows):
    """Quantiles (n_quantiles,) of the log F0 of voiced rows (n_rows, n_features), ascending; nan of too few rows."""
    log_f0 = rows[rows[:, VOICING] > 0.5, LOG_F0]
    if len(log_f0) < ROWS_NEEDED:
        return np.full(len(QUANTILES), np.nan)
    steps = APART * np.arange(len(QUANTILES))
    return np.maximum.accumulate(np.quantile(log_f0, QUANTILES) - steps) + steps


def pitch_map(wanted, measured):
    """What takes `pitches` to others, (2, n_quantiles), for `map_pitch`; no change where either is not known."""
    if not np.isfinite([wanted, measured]).all():
        return np.tile(np.linspace(np.log(F0_FLOOR), np.log(F0_CEIL), len(wanted)), (2, 1))
    return np.stack([measured, wanted])
