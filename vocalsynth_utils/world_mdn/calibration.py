"""What a run's generated voice lacks of the one it learned from, kept beside its checkpoints in calibration.json.

Chains of the run are generated, and some of that becomes sound, which is compared with the recording, but for its test
part: how often it is voiced, the `postfilter`, and the region of `rejection`.  docs/world_mdn.md tells how, and why.
"""

import functools
import itertools
import json
from typing import NamedTuple

import numpy as np

from .. import features, generation, storage
from ..dataset import as_float
from ..features import N_ENVELOPE, ROW_SECONDS, VOICING
from . import moment_matching, postfilter, rejection
from .moments import AffineMap, envelope_moments, transport
from .postfilter import PostFilter
from .sampler import can_sample, world_frames, world_sampler

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
SHAPES = {**_FILTER, "spans": _SPANS, "pause": (), "voicing": (), "level": ()}  # in the file


class Calibration(NamedTuple):
    """What a run's generation is corrected by; None, None, 0, None: nothing is known."""

    postfilter: PostFilter | None = None  # of its frames
    region: rejection.Region | None = None  # that its half seconds are judged by
    voicing: float = 0.0  # what is added to the log odds of voice
    level: float | None = None  # dB of full scale, of the recording


def hooks(run, network, reject=True, filtered=True):
    """What `generation.generate` is given for a run of WORLD frames, by name: network, sampler, post-filter, level.

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
    sampler, network = functools.partial(world_frames, rejection=judge), shift_voicing(network, calibration.voicing)
    after = {"postfilter": calibration.postfilter if filtered else None, "level": calibration.level}
    return {"network": network, "sampler": sampler, **after}


def calibrate(run, dataset, checkpoint="best"):
    """Measure what a run of WORLD frames lacks of its recording, and keep it: generation is corrected from then on.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on.
    checkpoint : {"best", "last"}
    """
    recipe, recording = run.recipe, _Recording.of(dataset, run.recipe)
    chains = _Chains(run, dataset, checkpoint, recording.region and recording.region.without_level_and_pitch())
    drawn, matched = chains.draw(0.0, FIRST_SECONDS), (AffineMap.identity(), SMOOTHING * np.eye(N_ENVELOPE))
    for step in range(SOUND_STEPS):
        filtered = _Filtered.of(recording.filter(drawn, *matched), drawn, recipe)
        matched = recording.match(filtered, *matched, recipe)
        if step == 0:
            unheard = filtered.unheard(recipe.sample_rate)
            region = chains.region = recording.unfiltered_region(drawn, filtered.frames, unheard, recipe)
            share = recording.voiced + unheard  # of frames that are to be said to be voiced
            voicing, drawn = _as_often_voiced(chains.draw, share, drawn)
    found = recording.filter(drawn, *matched)
    # what is filtered otherwise is voiced otherwise
    more = _Filtered.of(found, drawn, recipe).unheard(recipe.sample_rate) - unheard
    voicing, level = voicing + _apart(share, share + more), float(20 * np.log10(recording.std))
    calibration = Calibration(found, region and region.moved([more, 0, 0, 0]), voicing, level)
    save_calibration(run, calibration)
    return calibration


class _Recording(NamedTuple):
    """What chains are compared with."""

    voiced: float  # share of its rows
    pitches: np.ndarray  # `postfilter.pitches`
    envelope: tuple  # of Gaussians, unvoiced and voiced
    std: float  # of its samples
    cepstra: moment_matching.CepstralMoments
    region: rejection.Region | None
    second: np.ndarray | None  # `rejection.typical_second`, where it has a region

    @classmethod
    def of(cls, dataset, recipe):
        """That of a dataset."""
        rows, y = _reference(dataset)
        std = float(np.std(y)) or 1.0
        cepstra = moment_matching.cepstral_moments(y, recipe.sample_rate, std)
        del y  # as large as everything else together
        region = rejection.measure(dataset, recipe)
        second = region and rejection.typical_second([rows[:: dataset.rows_per_frame]], recipe)
        voiced = rows[:, VOICING].mean(dtype=np.float64)
        return cls(voiced, postfilter.pitches(rows), envelope_moments(rows), std, cepstra, region, second)

    def filter(self, drawn, affine, smoothing):
        """The `PostFilter` that gives its pitch and envelope to the drawn chains, and then maps and smooths them so."""
        frames = np.concatenate(drawn)
        correction = tuple(transport(*pair).then(affine) for pair in zip(self.envelope, envelope_moments(frames)))
        return PostFilter(postfilter.pitch_map(self.pitches, postfilter.pitches(frames)), correction, smoothing)

    def match(self, filtered, affine, smoothing, recipe):
        """The map and the smoothing with which `_Filtered` chains came closer to its cepstral moments."""
        measured = moment_matching.moments_of_all(filtered.sound, filtered.sample, filtered.frames, recipe, self.std)
        envelope = np.concatenate(filtered.frames)[:, -N_ENVELOPE:].mean(axis=0, dtype=np.float64)
        more, smoother = moment_matching.match_moments(self.cepstra, measured, envelope, recipe.sample_rate)
        return affine.then(more), postfilter.bounded(smoothing + smoother)

    def unfiltered_region(self, drawn, filtered, unheard, recipe):
        """Its region for what is drawn: moved by what filtering does to it, in movement no further than to its own."""
        if self.region is None:
            return None
        drawn, filtered = (rejection.typical_second(chains, recipe) for chains in (drawn, filtered))
        _, movement, *others = drawn - filtered
        return self.region.moved([unheard, min(movement, drawn[1] - self.second[1]), *others])


class _Filtered(NamedTuple):
    """Filtered chains, of which the last seconds have become sound."""

    frames: list  # of (n_frames, n_features)
    sample: np.ndarray  # (n_frames, n_features), the last SOUND_SECONDS of each, one after the other
    sound: np.ndarray  # (n_samples,), of the sample

    @classmethod
    def of(cls, found, drawn, recipe):
        """The drawn chains through a `PostFilter`."""
        frames, n = [found.apply(chain) for chain in drawn], -SOUND_SECONDS * recipe.sample_rate // recipe.frame_length
        sample = np.concatenate([chain[n:] for chain in frames])
        return cls(frames, sample, features.decode(sample, recipe))

    def unheard(self, sr):
        """Share of frames that are said to be voiced, over what the tracker hears of their sound."""
        return np.mean(self.sample[:, VOICING]) - moment_matching.voiced_share(self.sound, sr)


def _reference(dataset):
    """Rows and samples of the training part, and of the validation part as often as makes it RECENT of all."""
    train = _stretches(dataset, "train", TRAIN_SECONDS)
    valid = _stretches(dataset, "valid", TRAIN_SECONDS * RECENT)
    times = max(1, round(RECENT / (1 - RECENT) * len(train[0]) / len(valid[0])))
    return [np.concatenate([a] + times * [b]) for a, b in zip(train, valid)]


def _stretches(dataset, part, seconds):
    """A part's rows (n_rows, n_features) and samples (n_samples,), float; so many seconds of it, in even stretches."""
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


class _Chains:
    """Several chains of a run, primed from all over its training part."""

    def __init__(self, run, dataset, checkpoint, region):
        recipe, (first, end) = run.recipe, dataset.ranges["train"]
        self.run, self.network, self.region = run, generation.load_network(run, checkpoint), region
        self.step = generation.compile_chains(self.network, limits=run.limits)
        starts = np.linspace(first, end - recipe.n_steps * dataset.rows_per_frame, N_CHAINS).astype(int)
        self.primers, self.voicing = dataset.batch(starts, recipe.n_steps), 0.0

    def draw(self, voicing, seconds=None):
        """Frames (N_CHAINS, n_frames, n_features), not scaled, with so much added to the log odds of voice."""
        network, recipe, judge = self.network, self.run.recipe, rejection.rejection_for(self.run, self.region)
        shift_voicing(network, voicing - self.voicing)
        self.voicing, groups = voicing, []
        n_frames = (seconds or SECONDS) * recipe.sample_rate // recipe.frame_length
        # the same numbers every time
        numbers = generation.random_numbers(np.random.default_rng([SEED, N_CHAINS]), N_CHAINS, network.head)
        for first in range(0, N_CHAINS, GROUP):
            some = slice(first, first + GROUP)
            begun = network, self.step, self.primers[some], [v[some] for v in numbers]
            sampler, firsts = world_sampler(*begun, limits=self.run.limits, rejection=judge)
            draws = [generation.Draws(network.head, [SEED, i]) for i in range(N_CHAINS)[some]]
            heard = np.concatenate([self.primers[some], firsts[:, None]], axis=1)
            groups.append(itertools.chain([firsts[:, None]], sampler.blocks(draws, n_frames - 1, heard)))
        apply = features.over_cores if can_sample(network) else map  # a compiled graph has one set of buffers
        joined = lambda blocks: np.concatenate(list(blocks), axis=1)
        return self.run.scaling.invert(np.concatenate([*apply(joined, groups)]))


def _as_often_voiced(draw, wanted, drawn):
    """What must be added to the log odds of voice for a share of voiced frames, and frames drawn with nearly that.

    Two secant steps from `drawn`, with nothing added: the first as if the log odds of the share followed one to one.
    """
    error = lambda drawn: _apart(np.mean(drawn[..., VOICING] > 0.5), wanted)
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
    held = {**dict.fromkeys(SHAPES), "voicing": calibration.voicing, "level": calibration.level}
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
        held = {"level": None, **storage.read_json(path)}  # files of before have none
        # [()] makes a float of what has no shape
        found = {k: storage.numbers(held[k], shape, k)[()] for k, shape in SHAPES.items() if held[k] is not None}
        region = rejection.Region(found["spans"], found.get("pause")) if "spans" in found else None
        if not set(_FILTER) & set(found):
            return Calibration(None, region, found["voicing"], found.get("level"))
        pitch, correction, smoothing = (found[name] for name in _FILTER)
        if np.any(np.diff(pitch) <= 0):
            raise ValueError("pitch does not ascend")
        if not np.allclose(postfilter.bounded(smoothing), smoothing, atol=ROUNDED):
            raise ValueError(f"smoothing is not symmetric with directions from 0 to {postfilter.MOST_SMOOTHING:g}")
        correction = tuple(AffineMap(part[0], part[1:]) for part in correction)
        return Calibration(PostFilter(pitch, correction, smoothing), region, found["voicing"], found.get("level"))
    except FileNotFoundError:
        return Calibration()
    except (KeyError, OSError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be used ({what}); remove it, or train again") from None
