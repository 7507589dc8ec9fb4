"""Give a generated voice the mean and the covariance of the one it learned from.

A mixture's draws are a little duller than the voice, and the vocoder colours
what it synthesises.  Both are fixed faults, so they are measured once and
undone: the run sings, and what it sang is moved, for voiced and unvoiced frames
apart, by the smallest linear map that gives the envelope the mean and the
covariance of the training part.  A part of it then goes through the vocoder and
is analysed as the recording was; how that shifts and scales each dimension is
undone too.  Nothing is fed back into the network, and nothing but the training
part is looked at.

References
----------
T. Toda and K. Tokuda, "A speech parameter generation algorithm considering
global variance", IEICE Trans. E90-D (2007): oversmoothing and its variance.
D. Dowson, B. Landau, "The Frechet distance between multivariate normal
distributions", J. Multivariate Analysis 12 (1982): the map, in eq. 4.
"""
import json

import numpy as np

from . import features, files, stepping

SECONDS = 60
VOICES = 16       # so many sing these seconds at once: what one sings in a minute and a half varies too much to be measured by
CODEC_VOICES = 2  # of them go through the vocoder, which colours them all alike
SEED = 1_000_003  # apart from the seeds people choose
MOST = 2.0         # bound on how far any direction is stretched, and its inverse
ROWS_NEEDED = 240  # of either kind, or that kind is left alone: a covariance of fewer says little
FLOOR = 1e-6       # of a covariance's directions, relative to the largest


def calibrate(run, dataset, checkpoint="best"):
    """Measure what a run of WORLD frames sings against its training part, and keep the correction beside its checkpoints.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on; only its train part is looked at.
    checkpoint : {"best", "last"}

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
        `generation.generate` applies it from then on.
    """
    recipe = run.recipe
    first, end = dataset.ranges["train"]
    wanted = moments(dataset.rows[first:end])
    rng, network = np.random.default_rng(SEED), stepping.load_network(run, checkpoint)
    step = stepping.compile_voices(network, bounds=stepping.bounds(run))
    starts = rng.integers(first, end - recipe.n_steps * dataset.rows_per_frame + 1, VOICES)
    heard, state = dataset.batch(starts, recipe.n_steps), None
    n_frames = SECONDS * recipe.sample_rate // recipe.frame_length
    sung = np.empty((VOICES, n_frames, dataset.n_features), np.float32)
    for i in range(n_frames):
        sung[:, i], state = step(heard, state, *stepping.random_numbers(rng, VOICES, network.head))
        heard = sung[:, i:i + 1]
    sung = run.scaling.invert(sung.reshape(-1, dataset.n_features))
    correction = transport(wanted, moments(sung))
    part = apply(correction, sung[:CODEC_VOICES * n_frames])
    y = np.clip(features.decode(part, recipe), -1, 1)
    correction = without_colour(correction, wanted, moments(part), moments(features.encode(y, recipe)))
    save(run, correction)
    return correction


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
    voiced, n = rows[:, features.VOICING] > 0.5, features.N_ENVELOPE
    parts = [rows[chosen, -n:].astype(np.float64) for chosen in (~voiced, voiced)]
    return np.stack([np.vstack([part.mean(axis=0), np.cov(part, rowvar=False)]) if len(part) >= ROWS_NEEDED
                     else np.full((1 + n, n), np.nan) for part in parts])


def transport(wanted, measured):
    """The correction that takes frames of one `moments` to another: the linear map that moves them least.

    Parameters
    ----------
    wanted, measured : float arrays of shape (2, 1 + n_envelope, n_envelope)

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
        [unvoiced or voiced]: the shift, above the matrix; see `apply`.
    """
    correction = nothing()
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


def without_colour(correction, wanted, before, after):
    """A correction that also undoes what the vocoder does to frames whose moments are as wanted.

    The sample that went through it is compared with itself, so its own chance
    deviation from what is wanted drops out.

    Parameters
    ----------
    correction : float array of shape (2, 1 + n_envelope, n_envelope)
    wanted, before, after : float arrays of the same shape, from `moments`
        Of the training part; of a sample of frames; of their sound.

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
    """
    spread = [np.sqrt(np.maximum(np.diagonal(m[:, 1:], axis1=1, axis2=2), 1e-12)) for m in (before, after)]
    scale = np.clip(spread[0] / spread[1], 1 / MOST, MOST)  # (2, n_envelope)
    shift = wanted[:, 0] - scale * (wanted[:, 0] + after[:, 0] - before[:, 0])
    undone = correction * scale[:, None]
    undone[:, 0] += shift
    return np.where(np.isfinite(undone), undone, correction)


def apply(correction, frames):
    """Frames (n_frames, n_features), not scaled, with their envelope corrected: a new array."""
    corrected, voiced = np.array(frames), frames[:, features.VOICING] > 0.5
    for part, chosen in zip(np.asarray(correction), (~voiced, voiced)):
        corrected[chosen, -features.N_ENVELOPE:] = frames[chosen, -features.N_ENVELOPE:] @ part[1:] + part[0]
    return corrected


def nothing():
    """The correction that changes nothing, (2, 1 + n_envelope, n_envelope)."""
    return np.stack([np.vstack([np.zeros(features.N_ENVELOPE), np.eye(features.N_ENVELOPE)])] * 2)


def save(run, correction):
    """Keep a correction beside a run's checkpoints, in calibration.json."""
    with files.atomic(run.folder / "calibration.json", "w") as file:
        json.dump(np.round(correction, 6).tolist(), file)


def load(run):
    """The correction a run was calibrated with, or None.

    Raises
    ------
    ValueError
        When the file holds something else.
    """
    path = run.folder / "calibration.json"
    if not path.exists():
        return None
    correction = np.array(json.loads(path.read_text()))
    if correction.shape != nothing().shape:
        raise ValueError(f"{path} has shape {correction.shape}, expected {nothing().shape}; remove it, or train again")
    return correction


def _power(matrix, exponent):
    """A symmetric positive matrix to a power, its smallest directions floored."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, FLOOR * values[-1]) ** exponent) @ vectors.T
