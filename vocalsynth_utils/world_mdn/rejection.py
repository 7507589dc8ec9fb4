"""Half seconds of frames, drawn again where they leave the voice's acceptance region; the state is reset at pauses.

Limits keep a frame within the voice; this keeps a second, twenty and two minutes within it, by how much is voiced, how
far the envelope moves, how loud it is and how high.  Why, docs/world_mdn.md tells [1].
"""

import functools
from typing import NamedTuple

import numpy as np

from ..evaluation.descriptors import DB
from ..features import LOG_F0, N_ENVELOPE, VOICING, world
from ..preprocessing import Scaling
from .sampler import Sampler, take

HALF_SECOND = 0.5  # s
SPANS = 2, 40, 240  # half seconds: a second, twenty, and two minutes
BLOCK = 40000  # frames measured at a time
# share of the training voice's own that is outside on either side: what is long is to be steady
OUTSIDE = 0.02, 0.1, 0.1
PAUSE_SHARE = 0.15  # of the training voice's frames are as quiet as a pause, or quieter
PAUSE_SECONDS = 0.045  # it lasts: less is often the closure of a consonant
PITCH = 3  # its column in `halves`
TRIES = 16  # of a half second, the later half judged by its second alone; where none will do the least bad is kept


class Region(NamedTuple):
    """The acceptance region of a voice, from `measure`."""

    spans: np.ndarray  # (3, 2, 4), of each of SPANS lowest and highest of the columns of `span`
    pause: float | None  # dB, the level that a pause keeps below

    def moved(self, by):
        """The same, moved by so much in the columns of `span`; the pause stays."""
        return self._replace(spans=self.spans + by)

    def without_level_and_pitch(self):
        """The same, of any level and pitch."""
        return self.moved(np.array([[0, 0, -np.inf, -np.inf], [0, 0, np.inf, np.inf]]))


class Rejection(NamedTuple):
    """What half seconds are judged by, and the `Sampler` that draws them again where they fail."""

    scaling: Scaling  # of the frames
    region: Region
    half: int  # frames in half a second
    sr: int  # Hz
    sampler: Sampler | None = None  # given by `judging`

    def judging(self, sampler):
        """The sampler, whose blocks are judged."""
        return self._replace(sampler=sampler)

    def outside(self, lately):
        """How far the newest second of `halves` (n_chains, n_halves, 4) is outside, in widths, of whatever pitch."""
        if lately.shape[1] < SPANS[0]:
            return np.zeros(len(lately))
        (low, high), second = self.region.spans[0], span(lately[:, -SPANS[0] :])
        beyond = np.maximum(0, np.maximum(low - second, second - high)) / np.maximum(high - low, 1e-9)
        return np.sum(beyond[:, :PITCH], axis=1)

    def leads_back(self, lately):
        """True where the newest of `halves` (n_chains, n_halves, 4) takes no span that is outside further out."""
        newest, leads = span(lately[:, -1:]), np.ones(len(lately), bool)
        for n, (low, high) in zip(SPANS[1:], self.region.spans[1:]):
            if lately.shape[1] >= n:
                longer = span(lately[:, -n:])
                leads &= ~np.any((longer < low) & (newest < low) | (longer > high) & (newest > high), axis=1)
        return leads

    def pauses(self, frames):
        """True where frames (n_chains, n_frames, n_features), not scaled, end in a pause."""
        n = max(1, round(PAUSE_SECONDS / HALF_SECOND * self.half))
        if self.region.pause is None or frames.shape[1] < n:
            return np.zeros(len(frames), bool)
        last = frames[:, -n:]
        return np.all((last[..., VOICING] <= 0.5) & (level(last, self.sr) <= self.region.pause), axis=1)

    def blocks(self, draws, n_frames, heard):
        """As `Sampler.blocks`, by half seconds; without half a second heard the first is not judged."""
        frames, half = self.scaling.invert(heard), self.half
        lately, newest = halves(frames[:, (frames.shape[1] - 1) % half :], half, self.sr), frames[:, -1:]
        while n_frames:
            n = min(half, n_frames)
            block, frames, this, *state = self._accepted(draws, n, newest, lately)
            self.sampler.restore(state)
            self.sampler.reset(np.flatnonzero(self.pauses(frames)))
            lately, newest = _append(lately, this), frames[:, -1:]
            n_frames -= n
            yield block

    def _accepted(self, draws, n, newest, lately):
        """For each chain the first draw of `n` frames that will do, or the least bad.

        Arrays: the block, its unscaled frames with the one before, their `halves`, and the sampler's state after them.
        """
        sampler = self.sampler
        before, left, whole = sampler.state(), np.arange(len(draws)), n == self.half
        least, best = np.full(len(draws), np.inf), None  # how far outside, and all that goes with it
        for attempt in range(TRIES):
            block = sampler.advance(*take([draws[i] for i in left], n), left)
            frames = np.concatenate([newest[left], self.scaling.invert(block)], axis=1)
            this = halves(frames, self.half, self.sr)
            spans = _append(lately[left], this)
            outside = self.outside(spans) if whole else np.zeros(len(left))
            good = outside == 0
            if whole and attempt < TRIES // 2:
                good &= self.leads_back(spans)
            better, found = good | (outside < least[left]), [block, frames, this, *sampler.state(left)]
            best = best or [array.copy() for array in found]
            for array, rows in zip(best, found):
                array[left[better]] = rows[better]
            least[left[better]], left = outside[better], left[~good]
            if not len(left):
                break
            sampler.restore([rows[left] for rows in before], left)
        return best


def _append(lately, this):
    """The `halves` that the longest span needs, with the newest ones after them."""
    return np.concatenate([lately, this], axis=1)[:, -SPANS[-1] :]


def rejection_for(run, region):
    """The `Rejection` that goes with a run; None where its recipe has no limits, or no region is known."""
    if not run.recipe.limits or region is None:
        return None
    return Rejection(run.scaling, region, half_second(run.recipe), run.recipe.sample_rate)


def half_second(recipe):
    """Frames in half a second."""
    return max(1, round(HALF_SECOND * recipe.sample_rate / recipe.frame_length))


def halves(frames, half, sr):
    """What is judged, of each half second of frames (..., n_frames, n_features), not scaled, after the first of them.

    (..., n_halves, 4): share of voiced frames; mean Euclidean distance from one frame's coded envelope to the next
    one's; mean power; mean log F0, of which unvoiced frames hold the last.
    """
    new, moves = frames[..., 1:, :], np.diff(frames[..., -N_ENVELOPE:], axis=-2)
    movement = np.sqrt(np.einsum("...i,...i", moves, moves))
    each = np.stack([new[..., VOICING] > 0.5, movement, _power(new, sr), new[..., LOG_F0]], axis=-1)
    n = each.shape[-2] // half
    return each[..., : n * half, :].reshape(*each.shape[:-2], n, half, 4).mean(axis=-2, dtype=np.float64)


def span(halves):
    """The same of all half seconds (..., n_halves, 4) together: (..., 4), the power as a level in dB."""
    found = halves.mean(axis=-2)
    found[..., 2] = _in_db(found[..., 2])
    return found


def spans(halves, n):
    """The same of every n half seconds in a row, (n_halves - n + 1, 4)."""
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
    """The log power that WORLD decodes, every 4th frequency, linear in the coded envelope: (n_envelope, n), (n,)."""
    spectra = world.unit_spectra(sr)[:, ::4].astype(np.float32)
    return spectra[1:] - spectra[0], spectra[0]


def measure(dataset, recipe):
    """The `Region` that a dataset's training part keeps within, but for OUTSIDE of it; None of less than a second."""
    half, sr = half_second(recipe), recipe.sample_rate
    frames, step = dataset.rows[slice(*dataset.ranges["train"], dataset.rows_per_frame)], BLOCK // half * half
    blocks = [frames[i : i + step + 1] for i in range(0, len(frames), step)]
    found = np.concatenate([halves(block, half, sr) for block in blocks])
    if len(found) < SPANS[0]:
        return None
    each = [spans(found, n if n <= len(found) else SPANS[0]) for n in SPANS]
    bounds = [np.quantile(seen, (share, 1 - share), axis=0) for seen, share in zip(each, OUTSIDE)]
    pause = np.quantile(np.concatenate([level(block, sr) for block in blocks]), PAUSE_SHARE)
    return Region(np.stack(bounds), float(pause))


def typical_second(chains, recipe):
    """The median second of some chains of WORLD frames, not scaled, in the columns of `span`: (4,)."""
    half, sr = half_second(recipe), recipe.sample_rate
    return np.median(np.concatenate([spans(halves(frames, half, sr), SPANS[0]) for frames in chains]), axis=0)
