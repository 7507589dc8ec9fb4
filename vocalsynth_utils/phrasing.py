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
        heard = [self.scaling.invert(frames) for frames in heard]
        sung, newest = [list(halves(frames[(len(frames) - 1) % self.half:], self.half, self.sr)) for frames in heard], [frames[-1:] for frames in heard]
        while n_frames:
            n, before, best, left = min(self.half, n_frames), voices.state(), [None] * len(draws), list(range(len(draws)))
            for attempt in range(TRIES):
                again = []
                for i, block in zip(left, voices.sing(*stepping.take([draws[i] for i in left], n), left)):
                    frames = np.concatenate([newest[i], self.scaling.invert(block)])
                    this = list(halves(frames, self.half, self.sr))
                    lately = np.array((sung[i] + this)[-SPANS[-1]:])
                    outside = self.outside(lately) if this else 0.0
                    good = outside == 0 and (not this or attempt >= TRIES // 2 or self.leads_back(lately))
                    if good or best[i] is None or outside < best[i][0]:
                        best[i] = outside, block, frames, this, voices.state([i])
                    if not good:
                        again.append(i)
                left = again
                if not left:
                    break
                voices.go_back([rows[left] for rows in before], left)
            for i, (_, _, frames, this, after) in enumerate(best):
                if i in left:
                    voices.go_back(after, [i])
                if self.rests(frames):
                    voices.forget([i])
                sung[i], newest[i] = (sung[i] + this)[-SPANS[-1]:], frames[-1:]
            n_frames -= n
            yield np.stack([block for _, block, *_ in best])

    def outside(self, sung):
        """How far the second that ends with the newest of `halves`, (n_halves, 4), is out of bounds, in units of their width; its pitch does not matter."""
        if len(sung) < SPANS[0]:
            return 0.0
        (low, high), second = self.bounds.spans[0], spans(sung[-SPANS[0]:], SPANS[0])[0]
        return float(np.sum((np.maximum(0, np.maximum(low - second, second - high)) / np.maximum(high - low, 1e-9))[:PITCH]))

    def leads_back(self, sung):
        """True unless the newest of `halves`, (n_halves, 4), takes a longer span that is out of bounds further out of them."""
        newest = spans(sung[-1:], 1)[0]
        for n, (low, high) in zip(SPANS[1:], self.bounds.spans[1:]):
            if len(sung) >= n:
                span = spans(sung[-n:], n)[0]
                if np.any((span < low) & (newest < low) | (span > high) & (newest > high)):
                    return False
        return True

    def rests(self, frames):
        """True where frames (n_frames, n_features), not scaled, end in a rest."""
        n = max(1, round(REST_SECONDS / HALF_SECOND * self.half))
        if self.bounds.rest is None or len(frames) < n:
            return False
        last = frames[-n:]
        return bool(np.all(last[:, VOICING] <= 0.5) and np.all(level(last, self.sr) <= self.bounds.rest))


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
    frames : float array of shape (n_frames, n_features)
        WORLD frames, not scaled; the first one is what came before.
    half : int
        Frames in half a second.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (n_halves, 4)
        Share of voiced frames; mean of the Euclidean distance from one
        frame's coded envelope to the next one's; mean power; mean log F0, of
        which unvoiced frames hold the last.
    """
    each = np.stack([frames[1:, VOICING] > 0.5, np.linalg.norm(np.diff(frames[:, -N_ENVELOPE:], axis=0), axis=1), _power(frames[1:], sr),
                     frames[1:, LOG_F0]], axis=1)
    return each[:len(each) // half * half].reshape(-1, half, 4).mean(axis=1, dtype=np.float64)


def spans(halves, n):
    """The same of every n half seconds in a row, (n_halves - n + 1, 4), the power as a level in dB."""
    total = np.concatenate([np.zeros((1, 4)), np.cumsum(halves, axis=0)])
    found = (total[n:] - total[:-n]) / n
    found[:, 2] = _in_db(found[:, 2])
    return found


def level(frames, sr):
    """Level of each frame (n_frames, n_features), not scaled, in dB: float array (n_frames,)."""
    return _in_db(_power(frames, sr))


def _power(frames, sr):
    basis, silent = _log_power(sr)
    return np.exp(frames[:, -N_ENVELOPE:] @ basis + silent).mean(axis=1)


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


def more_voiced(bounds, share):
    """`Bounds` between which so much more is voiced; None of None."""
    return bounds and bounds._replace(spans=bounds.spans + np.array([share, 0, 0, 0]))
