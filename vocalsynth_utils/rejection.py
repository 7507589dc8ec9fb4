"""Keep each second of what is sung within what a second of the voice does: rejection sampling.

Clamps keep a frame within the voice, and nothing so far keeps a second within
it: now and then, once in some hours, a network holds a note or whispers for
longer than the recording ever does.  So it sings half a second at a time.  Where
the second that ends with it leaves the training voice's own range, the half
second is taken back and drawn again.  Looked at are how much of the second is
voiced and how far the envelope moves from frame to frame, of which the
voicing and the flux of `descriptors` come.

References
----------
J. von Neumann, "Various techniques used in connection with random digits",
NBS Applied Mathematics Series 12 (1951).
"""
from typing import NamedTuple

import numpy as np

from .features import N_ENVELOPE, VOICING
from .metrics import QUANTILES
from .scaling import Scaling

HALF_SECOND = 0.5  # s
TRIES = 8          # of a half second; the last one is kept as it is, and the next begins with as many


class Rejection(NamedTuple):
    """What half a second is judged by.

    scaling : of the frames; bounds : (2, 2), lowest and highest of the two
    columns of `seconds`; half : frames in half a second.
    """

    scaling: Scaling
    bounds: np.ndarray
    half: int

    def sing(self, voice, draws, n_frames, heard):
        """The next frames of a voice, half a second at a time.

        Parameters
        ----------
        voice : fused_voice.FusedVoice or stepping.GraphVoice
        draws : stepping.Draws
        n_frames : int
        heard : float32 array of shape (n_heard, n_features)
            What was sung before; without half a second of it the first one is not judged.

        Yields
        ------
        float32 array of shape (n, n_features)
            n_frames together.
        """
        past = self.scaling.invert(heard)[-self.half - 1:]
        while n_frames:
            n, before = min(self.half, n_frames), voice.state()
            for attempt in range(TRIES):
                block = voice.sing(*draws.take(n))
                recent = np.concatenate([past, self.scaling.invert(block)])
                if n < self.half or self.allows(recent):
                    break
                if attempt < TRIES - 1:
                    voice.go_back(before)
            past, n_frames = recent[-self.half - 1:], n_frames - n
            yield block

    def allows(self, frames):
        """True where the last second of frames (n_frames, n_features), not scaled, is within bounds, or there is no whole second."""
        last = seconds(frames[-2 * self.half - 1:], self.half)
        return bool(np.all((last >= self.bounds[0]) & (last <= self.bounds[1])))


def of(run, bounds):
    """The `Rejection` that goes with a run, or None where its recipe has no clamp or there are no bounds."""
    return Rejection(run.scaling, np.asarray(bounds), half_second(run.recipe)) if run.recipe.clamp and bounds is not None else None


def half_second(recipe):
    """Frames in half a second."""
    return max(1, round(HALF_SECOND * recipe.sample_rate / recipe.frame_length))


def seconds(frames, half):
    """What is looked at, of each second that begins half a second after the one before.

    Parameters
    ----------
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.
    half : int
        Frames in half a second.

    Returns
    -------
    float64 array of shape (n_seconds, 2)
        Share of voiced frames, and the mean of the Euclidean distance from
        one frame's coded envelope to the next one's.
    """
    envelope = frames[:, -N_ENVELOPE:]
    each = np.stack([frames[1:, VOICING] > 0.5, np.linalg.norm(np.diff(envelope, axis=0), axis=1)], axis=1)
    halves = each[:len(each) // half * half].reshape(-1, half, 2).mean(axis=1, dtype=np.float64)
    return (halves[1:] + halves[:-1]) / 2


def measure(dataset, recipe):
    """The bounds that a dataset's training part keeps within, but for half a percent on either side.

    Returns
    -------
    float64 array of shape (2, 2), or None where it is shorter than a second
    """
    frames = dataset.rows[slice(*dataset.ranges["train"], dataset.rows_per_frame)]
    found = seconds(frames, half_second(recipe))
    return np.quantile(found, QUANTILES, axis=0) if len(found) else None
