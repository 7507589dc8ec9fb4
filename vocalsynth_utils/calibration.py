"""Find out what a run's voice lacks of the one it learned from, and keep it beside its checkpoints.

A mixture's draws tremble and are a little dull, what is sung is not quite
as high and as low as the voice, the vocoder colours what it synthesises, and a network that hears
itself is voiced a little more or less often than the voice.  These are fixed
faults, so they are measured once and undone.  Several voices of the run sing, and
some of that becomes sound, which is listened to beside the recording.  The log
odds of voice are shifted until as much of it is heard to be voiced;
the `postfilter` maps the pitch and the envelope of the frames, and smooths them,
until the mel-frequency cepstrum has the same mean and covariance and its slopes
are as large.  The bounds of `phrasing` are put where that takes them from.
A voice changes in the course of an hour, and what it sings is to go on from
where the recording is now: the validation part, the newest that may be looked at, counts
for more than its length.  The test part is not looked at.
"""
import json
from typing import NamedTuple, Optional

import numpy as np

from . import features, files, fused_voice, hearing, phrasing, postfilter, stepping, stored
from .dataset import as_float
from .features import N_ENVELOPE, ROW_SECONDS, VOICING
from .postfilter import PostFilter

SECONDS = 120     # sung by each of the VOICES: a melody wanders, and how high a song is on the whole is known from much of it alone
FIRST_SECONDS = 30  # the first time, to find out how often it is voiced and where the bounds go
VOICES = 16
GROUP = 8         # of them at a time: a core each
SOUND_SECONDS = 4   # of each become sound, which costs more: the last ones, longest after the voice that primed them; what is heard of them is carried over to all
SOUND_STEPS = 3   # what is heard follows the frames not quite linearly
HEARD_SECONDS = 1200  # of the recording's training part, in stretches
RECENT = 0.25     # of what is heard of the recording is its validation part: half of it would be too much where that is a chapter of its own
STRETCH_SECONDS = 60
SEED = 1_000_003  # apart from the seeds people choose
LEAST_VOICING, MOST_VOICING = 0.03, 1.0  # bounds on a step of the log odds of voice: less differs by no more than chance
SLOPES = 0.6, 1.5   # of the voices' log odds over what is added: beyond these it is chance that is measured
SMOOTHING = 0.1   # to begin with, in all directions
SHAPES = {"pitch": (2, len(postfilter.QUANTILES)), "correction": (2, 1 + N_ENVELOPE, N_ENVELOPE), "smoothing": (N_ENVELOPE, N_ENVELOPE),
          "spans": (len(phrasing.SPANS), 2, 4), "rest": (), "voicing": ()}  # in the file
ROUNDED = 1e-4    # what rounding in the file can make of a matrix, and more


class Calibration(NamedTuple):
    """What a run's generation is corrected by.

    postfilter : of its frames; bounds : of its `phrasing`; voicing : what
    is added to the log odds of voice, for `more_voiced`.  None, None, 0:
    nothing is known.
    """

    postfilter: Optional[PostFilter] = None
    bounds: Optional[phrasing.Bounds] = None
    voicing: float = 0.0


def calibrate(run, dataset, checkpoint="best"):
    """`measure` a run, and keep the `Calibration` beside its checkpoints: `generation.generate` applies it from then on."""
    calibration = measure(run, dataset, checkpoint)
    save(run, calibration)
    return calibration


def measure(run, dataset, checkpoint="best"):
    """What a run of WORLD frames sings, against its recording.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on.
    checkpoint : {"best", "last"}

    Returns
    -------
    Calibration
    """
    recipe, sr = run.recipe, run.recipe.sample_rate
    rows, y = _reference(dataset)
    std = float(np.std(y)) or 1.0
    wanted = hearing.hear(y, sr, std)
    del y  # as large as everything else together
    bounds = phrasing.measure(dataset, recipe)
    choir = _Choir(run, dataset, checkpoint, phrasing.of_voicing_and_movement(bounds))
    own, voicing, sung = _Own(postfilter.pitches(rows), postfilter.envelope_moments(rows)), 0.0, choir.sing(0.0, FIRST_SECONDS)
    heard_map, smoothing, share = postfilter.nothing(), SMOOTHING * np.eye(N_ENVELOPE), rows[:, VOICING].mean(dtype=np.float64)
    for step in range(SOUND_STEPS):
        found = own.filter(sung, heard_map, smoothing)
        filtered = [found.apply(voice) for voice in sung]
        some = _last(filtered, recipe)
        sound = features.decode(some, recipe)
        envelope = np.concatenate(filtered)[:, -N_ENVELOPE:].mean(axis=0, dtype=np.float64)
        more, smoother = hearing.by_ear(wanted, hearing.hear_all(sound, some, filtered, recipe, std), envelope, sr)
        heard_map, smoothing = postfilter.then(heard_map, more), postfilter.bounded(smoothing + smoother)
        if step == 0:
            unheard = np.mean(some[:, VOICING]) - hearing.voiced(sound, sr)  # of what is said to be voiced: so much more must be
            bounds = choir.within(_unfiltered(bounds, rows[::dataset.rows_per_frame], sung, filtered, unheard, recipe))
            voicing, sung = _as_often_voiced(choir.sing, share + unheard, sung)
    found = own.filter(sung, heard_map, smoothing)
    some = _last([found.apply(voice) for voice in sung], recipe)
    more = np.mean(some[:, VOICING]) - hearing.voiced(features.decode(some, recipe), sr) - unheard  # what is filtered otherwise is heard otherwise
    return Calibration(found, phrasing.moved(bounds, [more, 0, 0, 0]), voicing + _apart(share + unheard, share + unheard + more))


class _Own(NamedTuple):
    """The recording's own pitch and envelope: `postfilter.pitches` and `postfilter.envelope_moments` of its rows."""

    pitches: np.ndarray
    moments: np.ndarray

    def filter(self, sung, heard_map, smoothing):
        """The `PostFilter` that gives these to what the voices sang, and then does what was found by ear."""
        frames = np.concatenate(sung)
        correction = [postfilter.then(postfilter.transport(*pair), heard_map) for pair in zip(self.moments, postfilter.envelope_moments(frames))]
        return PostFilter(postfilter.pitch_map(self.pitches, postfilter.pitches(frames)), np.stack(correction), smoothing)


def _reference(dataset):
    """The recording's rows (n_rows, n_features) and samples (n_samples,), float: the training part, and the validation part as often as makes it RECENT of all."""
    train = _stretches(dataset, "train", HEARD_SECONDS)
    valid = _stretches(dataset, "valid", HEARD_SECONDS * RECENT)
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
    rows = np.concatenate([dataset.rows[i:i + length] for i in starts])
    y, n = np.empty(len(rows) * dataset.row_length, np.float32), length * dataset.row_length
    for k, i in enumerate(starts):
        y[k * n:(k + 1) * n] = as_float(dataset.samples[i * dataset.row_length:i * dataset.row_length + n])
    return rows, y


def _last(voices, recipe):
    """The last SOUND_SECONDS of each voice, (n_frames, n_features), one after the other."""
    return np.concatenate([voice[-SOUND_SECONDS * recipe.sample_rate // recipe.frame_length:] for voice in voices])


def _unfiltered(bounds, frames, sung, filtered, unheard, recipe):
    """`phrasing.Bounds` for what the voices sing: moved by what the filter does to it, but for how often it is voiced, and no further from the recording's `frames` in movement."""
    if bounds is None:
        return None
    own, sung, filtered = (phrasing.typical(voices, recipe) for voices in ([frames], sung, filtered))
    voiced, movement, *others = sung - filtered
    return phrasing.moved(bounds, [unheard, min(movement, sung[1] - own[1]), *others])


class _Choir:
    """Several voices of a run, primed from all over its training part."""

    def __init__(self, run, dataset, checkpoint, bounds):
        recipe, (first, end) = run.recipe, dataset.ranges["train"]
        self.run, self.network, self.bounds = run, stepping.load_network(run, checkpoint), stepping.bounds(run)
        self.together, self.phrasing = stepping.compile_voices(self.network, bounds=self.bounds), phrasing.of(run, bounds)
        self.primers = dataset.batch(np.linspace(first, end - recipe.n_steps * dataset.rows_per_frame, VOICES).astype(int), recipe.n_steps)
        self.voicing = 0.0

    def within(self, bounds):
        """Sing within other bounds from now on; returns these."""
        self.phrasing = phrasing.of(self.run, bounds)
        return bounds

    def sing(self, voicing, seconds=SECONDS):
        """Their frames, not scaled, with so much added to the log odds of voice, by the same random numbers every time: (VOICES, n_frames, n_features)."""
        more_voiced(self.network, voicing - self.voicing)
        self.voicing = voicing
        rng, recipe = np.random.default_rng([SEED, VOICES]), self.run.recipe
        numbers, n_frames = stepping.random_numbers(rng, VOICES, self.network.head), seconds * recipe.sample_rate // recipe.frame_length
        groups = []
        for first in range(0, VOICES, GROUP):
            some = slice(first, first + GROUP)
            groups.append((some, *fused_voice.begin(self.network, self.together, self.primers[some], [v[some] for v in numbers], bounds=self.bounds)))

        def one(group):
            some, voices, firsts = group
            draws, heard = [stepping.Draws(self.network.head, [SEED, i]) for i in range(VOICES)[some]], np.concatenate([self.primers[some], firsts[:, None]], axis=1)
            return np.concatenate([firsts[:, None], *stepping.sing_on(voices, draws, n_frames - 1, heard, self.phrasing)], axis=1)
        in_parallel = fused_voice.serves(self.network)  # a compiled graph has one set of buffers
        return self.run.scaling.invert(np.concatenate(features.over_cores(one, groups) if in_parallel else [one(group) for group in groups]))


def _as_often_voiced(sing, wanted, sung):
    """What must be added to the log odds of voice for a share `wanted` of voiced frames, and what is sung with nearly that.

    `sung` is what is sung when nothing is added.  Two secant steps: the first supposes that the log odds of the share
    follow one to one, and what the second leads to is not sung any more.
    """
    def error(sung):
        return _apart(np.mean(sung[..., VOICING] > 0.5), wanted)
    first = error(sung)
    step = float(np.clip(first, -MOST_VOICING, MOST_VOICING))
    if abs(step) < LEAST_VOICING:
        return 0.0, sing(0.0)
    sung = sing(step)
    left = error(sung)
    slope = np.clip((first - left) / step, *SLOPES)
    return step + float(np.clip(left / slope, -MOST_VOICING, MOST_VOICING)), sung


def _apart(share, other):
    """How much larger the log odds of another share are."""
    shares = np.clip([share, other], 1e-3, 1 - 1e-3)
    return float(np.diff(np.log(shares / (1 - shares)))[0])


def more_voiced(network, voicing):
    """The network, to whose log odds of voice `voicing` has been added."""
    if voicing:
        bias = network.head.voicing.b
        bias.set_value(bias.get_value() + np.float32(voicing))
    return network


def save(run, calibration):
    """Keep a `Calibration` beside a run's checkpoints, in calibration.json."""
    held = dict.fromkeys(SHAPES)
    held["voicing"] = calibration.voicing
    for part in (calibration.postfilter, calibration.bounds):
        held.update(part._asdict() if part else {})
    with files.atomic(run.folder / "calibration.json", "w") as file:
        json.dump({name: None if value is None else np.round(value, 6).tolist() for name, value in held.items()}, file)


def load(run):
    """The `Calibration` of a run, one of nothing where it has none.

    Raises
    ------
    ValueError
        When the file holds something else.
    """
    path = run.folder / "calibration.json"
    if run.recipe.loss != "world":
        return Calibration()
    try:
        held = stored.read_json(path)
        given = {name for name in SHAPES if held[name] is not None}

        def numbers(name):
            return stored.numbers(held[name], SHAPES[name], name)
        filtering = PostFilter(*map(numbers, PostFilter._fields)) if given & set(PostFilter._fields) else None
        if filtering and np.any(np.diff(filtering.pitch) <= 0):
            raise ValueError("pitch does not ascend")
        if filtering and not np.allclose(postfilter.bounded(filtering.smoothing), filtering.smoothing, atol=ROUNDED):
            raise ValueError(f"smoothing is not symmetric with directions from 0 to {postfilter.MOST_SMOOTHING:g}")
        rest = float(numbers("rest")) if "rest" in given else None
        return Calibration(filtering, phrasing.Bounds(numbers("spans"), rest) if "spans" in given else None, float(numbers("voicing")))
    except FileNotFoundError:
        return Calibration()
    except (KeyError, OSError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be used ({what}); remove it, or train again") from None
