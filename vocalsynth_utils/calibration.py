"""Give a generated voice the mean and the covariance of the one it learned from.

A mixture's draws are a little duller than the voice, the vocoder colours
what it synthesises, and a network that hears itself is voiced a little more or less
often than the voice.  These are fixed faults, so they are measured once and
undone.  The run sings; the log odds of voice are shifted until it is voiced as
often as the recording.  What it sang then is moved, for voiced and unvoiced
frames apart, by the smallest linear map that gives the envelope the mean and
the covariance of the voice's.  Then a part of it becomes sound, and the same is
done for what can be heard: the mel-frequency cepstrum of that sound beside the
recording's own, carried back to the envelope.  Of that nothing is fed back into
the network, and the test part is not looked at: the voice is the mean of the
training part and of the validation part, which the network has not learned by
heart.

References
----------
T. Toda and K. Tokuda, "A speech parameter generation algorithm considering
global variance", IEICE Trans. E90-D (2007): oversmoothing and its variance.
D. Dowson, B. Landau, "The Frechet distance between multivariate normal
distributions", J. Multivariate Analysis 12 (1982): the map, in eq. 4.
"""
import json
from typing import NamedTuple, Optional

import numpy as np
import scipy.fft

from . import descriptors, features, files, fused_voice, mel, rejection, stepping, stored, world
from .dataset import as_float
from .descriptors import N_MFCC
from .features import N_ENVELOPE, VOICING

SECONDS = 60
VOICES = 16       # so many sing these seconds at once: what one sings in a minute and a half varies too much to be measured by
SOUND_VOICES = 4  # of them become sound, which costs more
SOUND_STEPS = 2   # the cepstrum follows the envelope not quite linearly
HEARD_SECONDS = 600  # of each part of the recording
VOICING_STEPS = 2  # towards the recording's share of voiced frames,
VOICING_NEAR = 0.01  # until it is as near as this: what the voices sing differs by nearly as much from chance
SEED = 1_000_003  # apart from the seeds people choose
MOST_VOICING = 1.0  # bound on one such step
SLOPES = 0.6, 1.5   # of their log odds over what is added: beyond these it is chance that is measured
MOST = 2.0         # bound on how far any direction is stretched, and its inverse
ROWS_NEEDED = 240  # of either kind, or that kind is left alone: a covariance of fewer says little
FLOOR = 1e-6       # of a covariance's directions, relative to the largest


class Calibration(NamedTuple):
    """What a run's generation is corrected by.

    correction : (2, 1 + n_envelope, n_envelope), for `apply`; seconds : (2, 3),
    the bounds of `rejection`; voicing : what is added to the log odds of
    voice, for `more_voiced`.  None, None, 0: nothing is known.
    """

    correction: Optional[np.ndarray] = None
    seconds: Optional[np.ndarray] = None
    voicing: float = 0.0


def calibrate(run, dataset, checkpoint="best"):
    """Measure what a run of WORLD frames sings against its recording, and keep what follows beside its checkpoints.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on.
    checkpoint : {"best", "last"}

    Returns
    -------
    Calibration
        `generation.generate` applies it from then on.
    """
    recipe, sr = run.recipe, run.recipe.sample_rate
    parts = [dataset.rows[slice(*dataset.ranges[split])] for split in ("train", "valid")]
    seconds = rejection.measure(dataset, recipe)
    choir = _Choir(run, dataset, checkpoint, seconds)
    voicing, sung = _as_often_voiced(choir.sing, np.mean([part[:, VOICING].mean(dtype=np.float64) for part in parts]))
    everything, some = np.concatenate(sung), np.concatenate(sung[:SOUND_VOICES])
    wanted = _average([moments(part) for part in parts])
    heard = _average([_heard_moments(dataset, split, sr) for split in ("train", "valid")])
    correction = transport(wanted, moments(everything))
    for _ in range(SOUND_STEPS):
        part = apply(correction, some)
        sound = sound_moments(features.decode(part, recipe), np.repeat(part[:, VOICING], dataset.rows_per_frame), sr)
        correction = by_ear(correction, heard, sound, moments(part), moments(apply(correction, everything)), sr)
    calibration = Calibration(correction, seconds, voicing)
    save(run, calibration)
    return calibration


class _Choir:
    """Several voices of a run, primed from its training part."""

    def __init__(self, run, dataset, checkpoint, seconds):
        recipe, rng, first, end = run.recipe, np.random.default_rng(SEED), *dataset.ranges["train"]
        self.run, self.network, self.bounds = run, stepping.load_network(run, checkpoint), stepping.bounds(run)
        self.together, self.rejection = stepping.compile_voices(self.network, bounds=self.bounds), rejection.of(run, seconds)
        self.primers = dataset.batch(rng.integers(first, end - recipe.n_steps * dataset.rows_per_frame + 1, VOICES), recipe.n_steps)
        self.voicing = 0.0

    def sing(self, voicing):
        """Their frames, not scaled, with so much added to the log odds of voice, by the same random numbers every time: (VOICES, n_frames, n_features)."""
        more_voiced(self.network, voicing - self.voicing)
        self.voicing = voicing
        rng, recipe = np.random.default_rng([SEED, VOICES]), self.run.recipe
        numbers, n_frames = stepping.random_numbers(rng, VOICES, self.network.head), SECONDS * recipe.sample_rate // recipe.frame_length
        voices, firsts = fused_voice.begin(self.network, self.together, self.primers, numbers, bounds=self.bounds)

        def one(i):
            draws, heard = stepping.Draws(self.network.head, [SEED, i]), np.concatenate([self.primers[i], firsts[i:i + 1]])
            rest = stepping.sing_on(voices[i], draws, n_frames - 1, heard, self.rejection)
            return self.run.scaling.invert(np.concatenate([firsts[i:i + 1], *rest]))
        in_parallel = isinstance(voices[0], fused_voice.FusedVoice)  # a compiled graph has one set of buffers
        return np.stack(features.over_cores(one, range(VOICES)) if in_parallel else [one(i) for i in range(VOICES)])


def _as_often_voiced(sing, wanted):
    """What must be added to the log odds of voice for a share `wanted` of voiced frames, and what is then sung.

    Secant steps; the first supposes that the log odds of the share follow one to one.
    """
    def log_odds(share):
        share = np.clip(share, 1e-3, 1 - 1e-3)
        return np.log(share / (1 - share))
    shift, slope, before = 0.0, 1.0, None
    for tries_left in range(VOICING_STEPS, -1, -1):
        sung = sing(shift)
        share = np.mean(sung[..., VOICING] > 0.5)
        if abs(share - wanted) < VOICING_NEAR or not tries_left:
            return shift, sung
        error = log_odds(share) - log_odds(wanted)
        if before is not None:
            slope = np.clip((error - before) / step, *SLOPES)
        step, before = float(np.clip(-error / slope, -MOST_VOICING, MOST_VOICING)), error
        shift += step


def more_voiced(network, voicing):
    """The network, to whose log odds of voice `voicing` has been added."""
    if voicing:
        bias = network.head.voicing.b
        bias.set_value(bias.get_value() + np.float32(voicing))
    return network


def _heard_moments(dataset, split, sr):
    """`sound_moments` of the beginning of one part of the recording."""
    first, end = dataset.ranges[split]
    end = min(end, first + int(HEARD_SECONDS / features.ROW_SECONDS))
    y = dataset.samples[first * dataset.row_length:end * dataset.row_length]
    return sound_moments(as_float(y), dataset.rows[first:end, VOICING], sr)


def moments(rows):
    """Mean and covariance of the envelope, for unvoiced and voiced rows.

    Parameters
    ----------
    rows : float array of shape (n_rows, n_features)
        WORLD rows, not scaled.

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
        [unvoiced or voiced]: the mean, above the covariance; nan where there
        are too few rows.
    """
    return _moments(rows[:, -N_ENVELOPE:], rows[:, VOICING])


def sound_moments(y, voicing, sr):
    """Mean and covariance of a sound's mel-frequency cepstrum, where it is unvoiced and where it is voiced.

    Parameters
    ----------
    y : float array of shape (n_samples,)
    voicing : float array of shape (n_rows,)
        0 or 1, every 5 ms.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (2, 1 + n_mfcc, n_mfcc)
        As `moments`.
    """
    cepstra = descriptors.timbre(descriptors.bands(np.clip(y, -1, 1).astype(np.float32), sr))[:, :N_MFCC]
    at = np.arange(len(cepstra)) * descriptors.FRAME_HOP + descriptors.FRAME_SECONDS / 2  # centres of the spectra, in s
    row = np.minimum((at / features.ROW_SECONDS).astype(int), len(voicing) - 1)
    return _moments(cepstra, voicing[row])


def _moments(x, voicing):
    parts = [x[chosen].astype(np.float64) for chosen in (voicing <= 0.5, voicing > 0.5)]
    return np.stack([np.vstack([part.mean(axis=0), np.cov(part, rowvar=False)]) if len(part) >= ROWS_NEEDED
                     else np.full((1 + x.shape[1], x.shape[1]), np.nan) for part in parts])


def _average(pair):
    """Moments of two clouds of equal weight; of the first alone where the second has too few rows."""
    a, b = pair
    apart = (a[:, 0] - b[:, 0]) / 2
    both = (a + b) / 2
    both[:, 1:] += apart[:, :, None] * apart[:, None]
    return np.where(np.isfinite(b), both, a)


def transport(wanted, measured):
    """The correction that takes frames of one `moments` to another: the linear map that moves them least.

    Parameters
    ----------
    wanted, measured : float arrays of shape (2, 1 + n, n)

    Returns
    -------
    float64 array of shape (2, 1 + n, n)
        [unvoiced or voiced]: the shift, above the matrix; see `apply`.
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


def by_ear(correction, wanted, heard, sung, expected, sr):
    """A correction improved by what its sound is like.

    What is heard of a sample deviates by chance as the sample itself does; so
    much, carried over to the cepstrum, is granted to it.

    Parameters
    ----------
    correction : float array of shape (2, 1 + n_envelope, n_envelope)
    wanted, heard : float arrays of shape (2, 1 + n_mfcc, n_mfcc), from `sound_moments`
        Of the recording; of the sample's sound.
    sung, expected : float arrays of shape (2, 1 + n_envelope, n_envelope), from `moments`
        Of the sample's corrected frames; of all such frames.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
    """
    E = cepstrum_of_envelope(sr)  # (n_envelope, n_mfcc)
    back, goal = np.linalg.pinv(E), wanted + _through(sung - expected, E)
    goal[:, 1:] = [_power(covariance, 1) if np.isfinite(covariance).all() else covariance for covariance in goal[:, 1:]]
    improved = np.array(correction)
    for i, (move, here, frames) in enumerate(zip(transport(goal, heard), heard, sung)):
        if not np.isfinite([goal[i], here]).all() or not np.isfinite(frames).all():
            continue
        stretch = move[1:] - np.eye(N_MFCC)
        matrix = np.eye(N_ENVELOPE) + E @ stretch @ back
        shift = (move[0] + (here[0] - frames[0] @ E) @ stretch) @ back  # a cepstrum is envelope @ E and what the vocoder adds
        improved[i] = np.vstack([correction[i, 0] @ matrix + shift, correction[i, 1:] @ matrix])
    return improved


def _through(moments, E):
    """Differences of moments (2, 1 + n, n) carried through a linear map (n, m): (2, 1 + m, m)."""
    return np.concatenate([moments[:, :1] @ E, E.T @ moments[:, 1:] @ E], axis=1)


def cepstrum_of_envelope(sr):
    """How the mel-frequency cepstrum follows WORLD's coded envelope, both being linear in log power.

    Returns
    -------
    float64 array of shape (n_envelope, n_mfcc)
    """
    spectra = world.unit_spectra(sr)
    filters = mel.mel_filters(descriptors.N_BANDS, 2 * (spectra.shape[1] - 1), sr)
    bands = (spectra[1:] - spectra[0]) @ (filters / filters.sum(axis=1, keepdims=True)).T
    return scipy.fft.dct(bands, norm="ortho")[:, :N_MFCC]


def apply(correction, frames):
    """Frames (n_frames, n_features), not scaled, with their envelope corrected: a new array."""
    corrected, voiced = np.array(frames), frames[:, VOICING] > 0.5
    for part, chosen in zip(np.asarray(correction), (~voiced, voiced)):
        corrected[chosen, -N_ENVELOPE:] = frames[chosen, -N_ENVELOPE:] @ part[1:] + part[0]
    return corrected


def nothing(n=N_ENVELOPE):
    """The correction that changes nothing, (2, 1 + n, n)."""
    return np.stack([np.vstack([np.zeros(n), np.eye(n)])] * 2)


def save(run, calibration):
    """Keep a `Calibration` beside a run's checkpoints, in calibration.json."""
    arrays = {name: None if value is None else np.round(value, 6).tolist() for name, value in calibration._asdict().items()}
    with files.atomic(run.folder / "calibration.json", "w") as file:
        json.dump(arrays, file)


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
        shapes = {"correction": nothing().shape, "seconds": (2, 3), "voicing": ()}
        found = {name: None if held[name] is None and name != "voicing" else stored.numbers(held[name], shape, name) for name, shape in shapes.items()}
        return Calibration(**dict(found, voicing=float(found["voicing"])))
    except FileNotFoundError:
        return Calibration()
    except (KeyError, OSError, ValueError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be used ({what}); remove it, or train again") from None


def _power(matrix, exponent):
    """A symmetric positive matrix to a power, its smallest directions floored."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, FLOOR * values[-1]) ** exponent) @ vectors.T
