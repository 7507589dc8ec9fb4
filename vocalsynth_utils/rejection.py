"""Keep each second of what is sung within what a second of the voice does: rejection sampling.

Clamps keep a frame within the voice, and nothing so far keeps a second within
it: now and then, once in some hours, a network holds a note or whispers for
longer than the recording ever does, or shouts.  So it sings half a second at a
time.  Where the second that ends with it leaves the training voice's own range,
the half second is taken back and drawn again.  Looked at are how much of the
second is voiced, how far the envelope moves from frame to frame, and how
loud it is, of which the voicing, the flux and the level of `descriptors` come.

References
----------
J. von Neumann, "Various techniques used in connection with random digits",
NBS Applied Mathematics Series 12 (1951).
"""
import functools
from typing import NamedTuple

import numpy as np

from . import world
from .descriptors import DB
from .features import N_ENVELOPE, VOICING
from .metrics import QUANTILES
from .scaling import Scaling

HALF_SECOND = 0.5  # s
BLOCK = 40000      # frames measured at a time
TRIES = 8          # of a half second; the last one is kept as it is, and the next begins with as many


class Rejection(NamedTuple):
    """What half a second is judged by.

    scaling : of the frames; bounds : (2, 3), lowest and highest of the
    columns of `seconds`; half : frames in half a second; sr : Hz.
    """

    scaling: Scaling
    bounds: np.ndarray
    half: int
    sr: int

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
        last = seconds(frames[-2 * self.half - 1:], self.half, self.sr)
        return bool(np.all((last >= self.bounds[0]) & (last <= self.bounds[1])))


def of(run, bounds):
    """The `Rejection` that goes with a run, or None where its recipe has no clamp or there are no bounds."""
    return Rejection(run.scaling, np.asarray(bounds), half_second(run.recipe), run.recipe.sample_rate) if run.recipe.clamp and bounds is not None else None


def half_second(recipe):
    """Frames in half a second."""
    return max(1, round(HALF_SECOND * recipe.sample_rate / recipe.frame_length))


def seconds(frames, half, sr):
    """What is looked at, of each second that begins half a second after the one before.

    Parameters
    ----------
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.
    half : int
        Frames in half a second.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (n_seconds, 3)
        Share of voiced frames; mean of the Euclidean distance from one
        frame's coded envelope to the next one's; level of the mean power, dB.
    """
    envelope = frames[:, -N_ENVELOPE:]
    basis, silent = _log_power(sr)
    each = np.stack([frames[1:, VOICING] > 0.5, np.linalg.norm(np.diff(envelope, axis=0), axis=1),
                     np.exp(envelope[1:] @ basis + silent).mean(axis=1)], axis=1)
    halves = each[:len(each) // half * half].reshape(-1, half, 3).mean(axis=1, dtype=np.float64)
    found = (halves[1:] + halves[:-1]) / 2
    found[:, 2] = DB * np.log(found[:, 2] + 1e-10)
    return found


@functools.lru_cache(maxsize=4)
def _log_power(sr):
    """The log power spectrum that WORLD decodes, every 4th frequency of it, which is linear in the coded envelope: (n_envelope, n), (n,)."""
    spectra = world.unit_spectra(sr)[:, ::4].astype(np.float32)
    return spectra[1:] - spectra[0], spectra[0]


def measure(dataset, recipe):
    """The bounds that a dataset's training part keeps within, but for half a percent on either side.

    Returns
    -------
    float64 array of shape (2, 3), or None where it is shorter than a second
    """
    frames = dataset.rows[slice(*dataset.ranges["train"], dataset.rows_per_frame)]
    blocks = (frames[i:i + BLOCK + 2 * half_second(recipe)] for i in range(0, len(frames), BLOCK))
    found = np.concatenate([seconds(block, half_second(recipe), recipe.sample_rate) for block in blocks])
    return np.quantile(found, QUANTILES, axis=0) if len(found) else None
