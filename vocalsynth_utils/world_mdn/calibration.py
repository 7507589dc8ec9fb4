"""What a run's generated voice lacks of the one it learned from, kept beside its checkpoints in calibration.json.

Several chains of the run are generated, and some of that becomes sound, which is
compared with the recording.  The log odds of voice are shifted until as much is
voiced; the `postfilter` maps pitch and envelope and smooths them until the
mel-frequency cepstrum has the same moments and its slopes are as large; the
acceptance region of `rejection` is put where that takes its windows from.  The
test part is not looked at.  docs/world_mdn.md tells why.
"""

import json
from typing import NamedTuple, Optional

import numpy as np

from .. import features, generation, storage
from ..dataset import as_float
from ..features import N_ENVELOPE, ROW_SECONDS, VOICING
from . import moment_matching, postfilter, rejection
from .moments import AffineMap, envelope_moments, transport
from .postfilter import MOST_SMOOTHING, PostFilter
from .sampler import can_sample, world_sampler

N_CHAINS = 16
GROUP = 8  # of them at a time: a core each
SECONDS = 120  # of each chain: a melody wanders, and how high a song is on the whole is known from much of it alone
FIRST_SECONDS = 30  # the first time, to find out how often it is voiced and where the region goes
SOUND_SECONDS = 4  # of each become sound: the last ones, longest after the voice that primed them
SOUND_STEPS = 3  # what is heard follows the frames not quite linearly
TRAIN_SECONDS = 1200  # of the recording's training part, in stretches
RECENT = 0.25  # of what is compared with is the validation part, the newest that may be looked at
STRETCH_SECONDS = 60
SEED = 1_000_003  # apart from the seeds people choose
LEAST_VOICING, MOST_VOICING = 0.03, 1.0  # of a step of the log odds of voice: less differs by no more than chance
SLOPES = 0.6, 1.5  # of the chains' log odds over what is added: beyond these it is chance that is measured
SMOOTHING = 0.1  # to begin with, in all directions
ROUNDED = 1e-4  # what rounding in the file can make of a matrix, and more
_MATRIX, _SPANS = (N_ENVELOPE, N_ENVELOPE), (len(rejection.SPANS), 2, 4)
_FILTER = {"pitch": (2, len(postfilter.QUANTILES)), "correction": (2, 1 + N_ENVELOPE, N_ENVELOPE), "smoothing": _MATRIX}
SHAPES = {**_FILTER, "spans": _SPANS, "pause": (), "voicing": ()}  # in the file


class Calibration(NamedTuple):
    """What a run's generation is corrected by.

    postfilter : of its frames; region : its `rejection.Region`; voicing : what
    is added to the log odds of voice.  None, None, 0: nothing is known.
    """

    postfilter: Optional[PostFilter] = None
    region: Optional[rejection.Region] = None
    voicing: float = 0.0


def hooks(run, network, reject=True, filtered=True):
    """What `generation.generate` is given for a run of WORLD frames, by name: network, sampler and post-filter.

    Parameters
    ----------
    run : runs.Run
    network : model.Network
        Its voicing is shifted.
    reject, filtered : bool
        False switches rejection sampling, or the post-filter, off.
    """
    calibration = load_calibration(run)
    judge = rejection.rejection_for(run, calibration.region) if reject else None

    def sampler(*args):
        return world_sampler(*args, rejection=judge)

    network = shift_voicing(network, calibration.voicing)
    return {"network": network, "sampler": sampler, "postfilter": calibration.postfilter if filtered else None}


def calibrate(run, dataset, checkpoint="best"):
    """`measure` a run and keep the `Calibration` beside its checkpoints: what it generates is corrected from then on."""
    calibration = measure(run, dataset, checkpoint)
    save_calibration(run, calibration)
    return calibration


def measure(run, dataset, checkpoint="best"):
    """What a run of WORLD frames generates, against its recording: a `Calibration`."""
    recipe, sr = run.recipe, run.recipe.sample_rate
    rows, y = _reference(dataset)
    std = float(np.std(y)) or 1.0
    wanted = moment_matching.cepstral_moments(y, sr, std)
    del y  # as large as everything else together
    region = rejection.measure(dataset, recipe)
    chains = _Chains(run, dataset, checkpoint, region and region.without_level_and_pitch())
    own, voicing, drawn = _Own.of(rows), 0.0, chains.draw(0.0, FIRST_SECONDS)
    matched, smoothing = AffineMap.identity(), SMOOTHING * np.eye(N_ENVELOPE)
    share = rows[:, VOICING].mean(dtype=np.float64)
    for step in range(SOUND_STEPS):
        found = own.filter(drawn, matched, smoothing)
        filtered = [found.apply(chain) for chain in drawn]
        some = _last(filtered, recipe)
        sound = features.decode(some, recipe)
        envelope = np.concatenate(filtered)[:, -N_ENVELOPE:].mean(axis=0, dtype=np.float64)
        moments = moment_matching.moments_of_all(sound, some, filtered, recipe, std)
        more, smoother = moment_matching.match_moments(wanted, moments, envelope, sr)
        matched, smoothing = matched.then(more), postfilter.bounded(smoothing + smoother)
        if step == 0:
            unheard = _unheard(some, sound, sr)  # so much more must be said to be voiced
            region = chains.region = _unfiltered(
                region, rows[:: dataset.rows_per_frame], drawn, filtered, unheard, recipe
            )
            voicing, drawn = _as_often_voiced(chains.draw, share + unheard, drawn)
    found = own.filter(drawn, matched, smoothing)
    some = _last([found.apply(chain) for chain in drawn], recipe)
    # what is filtered otherwise is voiced otherwise
    more = _unheard(some, features.decode(some, recipe), sr) - unheard
    voicing += _apart(share + unheard, share + unheard + more)
    return Calibration(found, region and region.moved([more, 0, 0, 0]), voicing)


class _Own(NamedTuple):
    """The recording's own: quantiles of pitch, and Gaussians of the envelope, unvoiced and voiced."""

    pitches: np.ndarray
    moments: tuple

    @classmethod
    def of(cls, rows):
        return cls(postfilter.pitches(rows), envelope_moments(rows))

    def filter(self, drawn, matched, smoothing):
        """The `PostFilter` that gives these to the drawn chains, and then does what was found by matching moments."""
        frames = np.concatenate(drawn)
        pairs = zip(self.moments, envelope_moments(frames))
        correction = tuple(transport(*pair).then(matched) for pair in pairs)
        return PostFilter(postfilter.pitch_map(self.pitches, postfilter.pitches(frames)), correction, smoothing)


def _reference(dataset):
    """The recording's rows (n_rows, n_features) and samples (n_samples,), float: training part, and validation part as often as makes it RECENT of all."""
    train = _stretches(dataset, "train", TRAIN_SECONDS)
    valid = _stretches(dataset, "valid", TRAIN_SECONDS * RECENT)
    times = max(1, round(RECENT / (1 - RECENT) * len(train[0]) / len(valid[0])))
    return [np.concatenate([a] + times * [b]) for a, b in zip(train, valid)]


def _stretches(dataset, part, seconds):
    """A part's rows and samples, as `_reference`; of more than so many seconds some of each minute."""
    first, end = dataset.ranges[part]
    length, most = round(STRETCH_SECONDS / ROW_SECONDS), int(seconds // STRETCH_SECONDS)
    if end - first <= most * length:
        starts, length = [first], end - first
    else:
        starts = np.linspace(first, end - length, most).astype(int)
    rows = np.concatenate([dataset.rows[i : i + length] for i in starts])
    y, n = np.empty(len(rows) * dataset.row_length, np.float32), length * dataset.row_length
    for k, i in enumerate(starts):
        y[k * n : (k + 1) * n] = as_float(dataset.samples[i * dataset.row_length : i * dataset.row_length + n])
    return rows, y


def _last(chains, recipe):
    """The last SOUND_SECONDS of each chain, (n_frames, n_features), one after the other."""
    n = -SOUND_SECONDS * recipe.sample_rate // recipe.frame_length
    return np.concatenate([chain[n:] for chain in chains])


def _unheard(frames, sound, sr):
    """Share of frames that are said to be voiced, over what the tracker hears of their sound."""
    return np.mean(frames[:, VOICING]) - moment_matching.voiced_share(sound, sr)


def _unfiltered(region, frames, drawn, filtered, unheard, recipe):
    """The region for what is drawn: moved by what the filter does to it, but for voicing, and no further from the recording's `frames` in movement."""
    if region is None:
        return None
    own, drawn, filtered = (rejection.typical_second(chains, recipe) for chains in ([frames], drawn, filtered))
    _, movement, *others = drawn - filtered
    return region.moved([unheard, min(movement, drawn[1] - own[1]), *others])


class _Chains:
    """Several chains of a run, primed from all over its training part."""

    def __init__(self, run, dataset, checkpoint, region):
        recipe, (first, end) = run.recipe, dataset.ranges["train"]
        self.run, self.network, self.region = run, generation.load_network(run, checkpoint), region
        self.step = generation.compile_chains(self.network, limits=run.limits)
        starts = np.linspace(first, end - recipe.n_steps * dataset.rows_per_frame, N_CHAINS).astype(int)
        self.primers, self.voicing = dataset.batch(starts, recipe.n_steps), 0.0

    def draw(self, voicing, seconds=SECONDS):
        """Their frames, not scaled, with so much added to the log odds of voice, by the same random numbers every time: (N_CHAINS, n_frames, n_features)."""
        shift_voicing(self.network, voicing - self.voicing)
        self.voicing = voicing
        recipe, head, judge = self.run.recipe, self.network.head, rejection.rejection_for(self.run, self.region)
        numbers = generation.random_numbers(np.random.default_rng([SEED, N_CHAINS]), N_CHAINS, head)
        n_frames, groups = seconds * recipe.sample_rate // recipe.frame_length, []
        for first in range(0, N_CHAINS, GROUP):
            some = slice(first, first + GROUP)
            arguments = self.primers[some], [v[some] for v in numbers]
            begun = world_sampler(self.network, self.step, *arguments, limits=self.run.limits, rejection=judge)
            groups.append((some, *begun))

        def one(group):
            some, sampler, firsts = group
            draws = [generation.Draws(head, [SEED, i]) for i in range(N_CHAINS)[some]]
            heard = np.concatenate([self.primers[some], firsts[:, None]], axis=1)
            return np.concatenate([firsts[:, None], *sampler.blocks(draws, n_frames - 1, heard)], axis=1)

        parallel = can_sample(self.network)  # a compiled graph has one set of buffers
        return self.run.scaling.invert(
            np.concatenate(features.over_cores(one, groups) if parallel else [*map(one, groups)])
        )


def _as_often_voiced(draw, wanted, drawn):
    """What must be added to the log odds of voice for a share `wanted` of voiced frames, and frames drawn with nearly that.

    `drawn` are those with nothing added.  Two secant steps: the first supposes that the log odds of the share follow
    one to one, and what the second leads to is not drawn any more.
    """

    def error(drawn):
        return _apart(np.mean(drawn[..., VOICING] > 0.5), wanted)

    first = error(drawn)
    step = float(np.clip(first, -MOST_VOICING, MOST_VOICING))
    if abs(step) < LEAST_VOICING:
        return 0.0, draw(0.0)
    drawn = draw(step)
    left = error(drawn)
    slope = np.clip((first - left) / step, *SLOPES)
    return step + float(np.clip(left / slope, -MOST_VOICING, MOST_VOICING)), drawn


def _apart(share, other):
    """How much larger the log odds of another share are."""
    shares = np.clip([share, other], 1e-3, 1 - 1e-3)
    return float(np.diff(np.log(shares / (1 - shares)))[0])


def shift_voicing(network, voicing):
    """The network, to whose log odds of voice `voicing` has been added."""
    if voicing:
        bias = network.head.voicing.b
        bias.set_value(bias.get_value() + np.float32(voicing))
    return network


def save_calibration(run, calibration):
    """Keep a `Calibration` beside a run's checkpoints."""
    held = {**dict.fromkeys(SHAPES), "voicing": calibration.voicing}
    if calibration.postfilter:
        pitch, correction, smoothing = calibration.postfilter
        correction = [np.vstack([part.shift, part.matrix]) for part in correction]
        held.update(pitch=pitch, correction=correction, smoothing=smoothing)
    if calibration.region:
        held.update(calibration.region._asdict())
    with storage.atomic(run.folder / "calibration.json", "w") as file:
        json.dump({k: None if v is None else np.round(v, 6).tolist() for k, v in held.items()}, file)


def load_calibration(run):
    """The `Calibration` of a run, one of nothing where it has none; ValueError when the file holds something else."""
    path = run.folder / "calibration.json"
    if not run.recipe.has_world_heads:
        return Calibration()
    try:
        held = storage.read_json(path)
        found = {k: storage.numbers(held[k], shape, k) for k, shape in SHAPES.items() if held[k] is not None}
        region = (
            rejection.Region(found["spans"], float(found["pause"]) if "pause" in found else None)
            if "spans" in found
            else None
        )
        return Calibration(_checked_filter(found), region, float(found["voicing"]))
    except FileNotFoundError:
        return Calibration()
    except (KeyError, OSError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be used ({what}); remove it, or train again") from None


def _checked_filter(found):
    """The `PostFilter` of a file's arrays, None where it has none of them."""
    if not set(_FILTER) & set(found):
        return None
    pitch, correction, smoothing = (found[name] for name in _FILTER)
    if np.any(np.diff(pitch) <= 0):
        raise ValueError("pitch does not ascend")
    if not np.allclose(postfilter.bounded(smoothing), smoothing, atol=ROUNDED):
        raise ValueError(f"smoothing is not symmetric with directions from 0 to {MOST_SMOOTHING:g}")
    return PostFilter(pitch, tuple(AffineMap(part[0], part[1:]) for part in correction), smoothing)
