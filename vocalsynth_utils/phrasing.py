"""Sing half a second at a time: what leaves the voice's range is drawn again, and at a rest the network forgets.

Clamps keep a frame within the voice, and nothing so far keeps a second within
it: now and then, once in some hours, a network holds a note or whispers for
longer than the recording ever does, or shouts.  So it sings half a second at a
time.  Where the second that ends with it leaves the training voice's own range,
the half second is taken back and drawn again; so it is where it would take the last
twenty, or two minutes, further out of theirs, as a melody does that stays up too long.
Looked at are how much is voiced, how far the envelope moves from frame to frame,
how loud it is, of which the voicing, the flux and the level of `descriptors`
come, and, of more than a second, how high.

Nor has it learned what to do with a memory of more than a few seconds: its
training sequences are no longer, and each began with none.  Left alone it falls
into one manner of the voice, the sound of one part of the recording perhaps, and
its memory keeps it there for minutes.  So where half a second ends in a rest,
not voiced and as quiet as the training voice seldom is, the state goes back to the one
before the first step, and the next phrase follows from the newest frame alone.

References
----------
J. von Neumann, "Various techniques used in connection with random digits",
NBS Applied Mathematics Series 12 (1951): rejection.
"""
import functools
from typing import NamedTuple, Optional

import numpy as np

from . import stepping, world
from .descriptors import DB
from .features import LOG_F0, N_ENVELOPE, VOICING
from .scaling import Scaling

HALF_SECOND = 0.5  # s
SPANS = 2, 40, 240  # half seconds: a second, twenty, and two minutes
BLOCK = 40000      # frames measured at a time
OUTSIDE = 0.02, 0.1, 0.1  # share of the training voice's own that is out of bounds on either side: what is long is to be steady
QUIET = 0.15       # of the training voice's frames are as quiet as a rest, or quieter
REST_SECONDS = 0.045  # it lasts: less is often the closure of a consonant
PITCH = 3          # its column in `halves`
TRIES = 16         # of a half second, the later half judged by its second alone; where none will do the least bad is kept


class Bounds(NamedTuple):
    """How a voice sings, from `measure`.

    spans : (3, 2, 4), of each of SPANS: lowest and highest of the columns of
    `spans`; rest : dB, the level that a rest keeps below, or None.
    """

    spans: np.ndarray
    rest: Optional[float]


class Phrasing(NamedTuple):
    """What half a second is judged by.

    scaling : of the frames; bounds : Bounds; half : frames in half a second; sr : Hz.
    """

    scaling: Scaling
    bounds: Bounds
    half: int
    sr: int

    def sing(self, voices, draws, n_frames, heard):
        """The next frames of some voices, half a second at a time.

        Parameters
        ----------
        voices : stepping.Voices
        draws : list of stepping.Draws
            One for each voice.
        n_frames : int
        heard : float32 array of shape (n_voices, n_heard, n_features)
            What was sung before; without half a second of it the first one is not judged.

        Yields
        ------
        float32 array of shape (n_voices, n, n_features)
            n_frames together.
        """
        frames = self.scaling.invert(heard)
        sung, newest = halves(frames[:, (frames.shape[1] - 1) % self.half:], self.half, self.sr), frames[:, -1:]
        while n_frames:
            n, before, left = min(self.half, n_frames), voices.state(), np.arange(len(draws))
            least, best = np.full(len(draws), np.inf), None  # how far out of bounds, and all that goes with it
            for attempt in range(TRIES):
                block = voices.sing(*stepping.take([draws[i] for i in left], n), left)
                frames = np.concatenate([newest[left], self.scaling.invert(block)], axis=1)
                this = halves(frames, self.half, self.sr)
                lately = np.concatenate([sung[left], this], axis=1)[:, -SPANS[-1]:]
                outside = self.outside(lately) if n == self.half else np.zeros(len(left))
                good = outside == 0
                if n == self.half and attempt < TRIES // 2:
                    good &= self.leads_back(lately)
                better, found = good | (outside < least[left]), [block, frames, this, *voices.state(left)]
                best = best or [array.copy() for array in found]
                for array, rows in zip(best, found):
                    array[left[better]] = rows[better]
                least[left[better]], left = outside[better], left[~good]
                if not len(left):
                    break
                voices.go_back([rows[left] for rows in before], left)
            block, frames, this, *after = best
            voices.go_back(after)
            voices.forget(np.flatnonzero(self.rests(frames)))
            sung, newest, n_frames = np.concatenate([sung, this], axis=1)[:, -SPANS[-1]:], frames[:, -1:], n_frames - n
            yield block

    def outside(self, sung):
        """How far the second that ends with the newest of `halves`, (n_voices, n_halves, 4), is out of bounds, in units of their width; its pitch does not matter."""
        if sung.shape[1] < SPANS[0]:
            return np.zeros(len(sung))
        (low, high), second = self.bounds.spans[0], span(sung[:, -SPANS[0]:])
        return np.sum((np.maximum(0, np.maximum(low - second, second - high)) / np.maximum(high - low, 1e-9))[:, :PITCH], axis=1)

    def leads_back(self, sung):
        """True where the newest of `halves`, (n_voices, n_halves, 4), takes no longer span that is out of bounds further out of them."""
        newest, leads = span(sung[:, -1:]), np.ones(len(sung), bool)
        for n, (low, high) in zip(SPANS[1:], self.bounds.spans[1:]):
            if sung.shape[1] >= n:
                longer = span(sung[:, -n:])
                leads &= ~np.any((longer < low) & (newest < low) | (longer > high) & (newest > high), axis=1)
        return leads

    def rests(self, frames):
        """True where frames (n_voices, n_frames, n_features), not scaled, end in a rest."""
        n = max(1, round(REST_SECONDS / HALF_SECOND * self.half))
        if self.bounds.rest is None or frames.shape[1] < n:
            return np.zeros(len(frames), bool)
        last = frames[:, -n:]
        return np.all((last[..., VOICING] <= 0.5) & (level(last, self.sr) <= self.bounds.rest), axis=1)


def of(run, bounds):
    """The `Phrasing` that goes with a run, or None where its recipe has no clamp or there are no bounds."""
    return Phrasing(run.scaling, bounds, half_second(run.recipe), run.recipe.sample_rate) if run.recipe.clamp and bounds is not None else None


def half_second(recipe):
    """Frames in half a second."""
    return max(1, round(HALF_SECOND * recipe.sample_rate / recipe.frame_length))


def halves(frames, half, sr):
    """What is looked at, of each half second.

    Parameters
    ----------
    frames : float array of shape (..., n_frames, n_features)
        WORLD frames, not scaled; the first one is what came before.
    half : int
        Frames in half a second.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (..., n_halves, 4)
        Share of voiced frames; mean of the Euclidean distance from one
        frame's coded envelope to the next one's; mean power; mean log F0, of
        which unvoiced frames hold the last.
    """
    new, moves = frames[..., 1:, :], np.diff(frames[..., -N_ENVELOPE:], axis=-2)
    each = np.stack([new[..., VOICING] > 0.5, np.sqrt(np.einsum("...i,...i", moves, moves)), _power(new, sr), new[..., LOG_F0]], axis=-1)
    n = each.shape[-2] // half
    return each[..., :n * half, :].reshape(*each.shape[:-2], n, half, 4).mean(axis=-2, dtype=np.float64)


def span(halves):
    """The same of all half seconds, (..., n_halves, 4), together: (..., 4), the power as a level in dB."""
    found = halves.mean(axis=-2)
    found[..., 2] = _in_db(found[..., 2])
    return found


def spans(halves, n):
    """The same of every n half seconds in a row, (n_halves - n + 1, 4), the power as a level in dB."""
    total = np.concatenate([np.zeros((1, 4)), np.cumsum(halves, axis=0)])
    found = (total[n:] - total[:-n]) / n
    found[:, 2] = _in_db(found[:, 2])
    return found


def level(frames, sr):
    """Level of each frame (..., n_features), not scaled, in dB: float array (...)."""
    return _in_db(_power(frames, sr))


def _power(frames, sr):
    basis, silent = _log_power(sr)
    return np.exp(frames[..., -N_ENVELOPE:] @ basis + silent).mean(axis=-1)


def _in_db(power):
    return DB * np.log(power + 1e-10)


@functools.lru_cache(maxsize=4)
def _log_power(sr):
    """The log power spectrum that WORLD decodes, every 4th frequency of it, which is linear in the coded envelope: (n_envelope, n), (n,)."""
    spectra = world.unit_spectra(sr)[:, ::4].astype(np.float32)
    return spectra[1:] - spectra[0], spectra[0]


def measure(dataset, recipe):
    """What a dataset's training part keeps within, but for OUTSIDE of it, and what is a rest in it.

    Returns
    -------
    Bounds, or None where it is shorter than a second
    """
    half, sr = half_second(recipe), recipe.sample_rate
    frames, step = dataset.rows[slice(*dataset.ranges["train"], dataset.rows_per_frame)], BLOCK // half * half
    blocks = [frames[i:i + step + 1] for i in range(0, len(frames), step)]
    found = np.concatenate([halves(block, half, sr) for block in blocks])
    if len(found) < SPANS[0]:
        return None
    bounds = [np.quantile(spans(found, n if n <= len(found) else SPANS[0]), (share, 1 - share), axis=0) for n, share in zip(SPANS, OUTSIDE)]
    rest = np.quantile(np.concatenate([level(block, sr) for block in blocks]), QUIET)
    return Bounds(np.stack(bounds), float(rest))


def typical(voices, recipe):
    """The median second of some voices, in the columns of `span`.

    Parameters
    ----------
    voices : iterable of float arrays (n_frames, n_features)
        WORLD frames, not scaled, at least a second of them.
    recipe : Recipe

    Returns
    -------
    float64 array of shape (4,)
    """
    half, sr = half_second(recipe), recipe.sample_rate
    return np.median(np.concatenate([spans(halves(frames, half, sr), SPANS[0]) for frames in voices]), axis=0)


def of_voicing_and_movement(bounds):
    """`Bounds` as these, of any level and pitch; None of None."""
    return moved(bounds, np.array([[0, 0, -np.inf, -np.inf], [0, 0, np.inf, np.inf]]))


def moved(bounds, by):
    """`Bounds` moved by so much in the columns of `span`, but for the rest; None of None."""
    return bounds and bounds._replace(spans=bounds.spans + by)
