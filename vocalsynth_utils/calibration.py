"""Give a generated voice the mean and the spread of the one it learned from.

A mixture's draws are a little duller than the voice, and the vocoder colours
what it synthesises.  Both are fixed faults, so they are measured once and
undone: the run sings, a part of what it sang is synthesised and analysed
exactly as its recording was, and each dimension of the envelope gets the shift
and the scale, for voiced and unvoiced frames apart, that bring it back to the
training part's.  Nothing is fed back into the network, and nothing but the
training part is looked at.

References
----------
T. Toda and K. Tokuda, "A speech parameter generation algorithm considering
global variance", IEICE Trans. E90-D (2007): oversmoothing and its variance.
"""
import json

import numpy as np

from . import features, runs

MOST = 1.5         # bound on the scale of a dimension, and its inverse


def moments(rows):
    """Mean and standard deviation of the envelope, for unvoiced and voiced rows.

    Parameters
    ----------
    rows : float array of shape (n_rows, n_features)
        WORLD rows, not scaled.

    Returns
    -------
    float64 array of shape (2, 2, n_envelope)
        [unvoiced or voiced, mean or standard deviation, dimension].
    """
    voiced = rows[:, features.VOICING] > 0.5
    parts = [rows[chosen, -features.N_ENVELOPE:].astype(np.float64) for chosen in (~voiced, voiced)]
    return np.array([[part.mean(axis=0), part.std(axis=0)] if len(part) > 1 else np.full((2, features.N_ENVELOPE), np.nan) for part in parts])


def refine(correction, wanted, measured):
    """A correction that also undoes what is left between two `moments`.

    Parameters
    ----------
    correction : float array of shape (2, 2, n_envelope)
        [unvoiced or voiced, scale or shift, dimension].
    wanted, measured : float arrays of shape (2, 2, n_envelope)

    Returns
    -------
    float64 array of shape (2, 2, n_envelope)
    """
    scale = np.clip(wanted[:, 1] / np.maximum(measured[:, 1], 1e-6), 1 / MOST, MOST)
    shift = wanted[:, 0] - scale * measured[:, 0]
    refined = np.stack([scale * correction[:, 0], scale * correction[:, 1] + shift], axis=1)
    return np.where(np.isfinite(refined), refined, correction)


def coloured(wanted, before, after):
    """What the vocoder makes of frames whose moments are as wanted, from what it makes of a sample of them.

    The sample is compared with itself, before and after, so its own chance
    deviation from what is wanted drops out.

    Parameters
    ----------
    wanted, before, after : float arrays of shape (2, 2, n_envelope), from `moments`

    Returns
    -------
    float64 array of shape (2, 2, n_envelope)
    """
    mean = wanted[:, 0] + after[:, 0] - before[:, 0]
    return np.stack([mean, wanted[:, 1] * after[:, 1] / np.maximum(before[:, 1], 1e-6)], axis=1)


def apply(correction, frames):
    """Frames (n_frames, n_features), not scaled, with their envelope corrected: a new array."""
    corrected = np.array(frames)
    for (scale, shift), chosen in zip(np.asarray(correction), (frames[:, features.VOICING] <= 0.5, frames[:, features.VOICING] > 0.5)):
        corrected[chosen, -features.N_ENVELOPE:] = frames[chosen, -features.N_ENVELOPE:] * scale + shift
    return corrected


def nothing():
    """The correction that changes nothing, (2, 2, n_envelope)."""
    return np.stack([np.ones((2, features.N_ENVELOPE)), np.zeros((2, features.N_ENVELOPE))], axis=1)


def save(run, correction):
    """Keep a correction beside a run's checkpoints, in calibration.json."""
    with runs.atomic(run.folder / "calibration.json", "w") as file:
        json.dump(np.asarray(correction).tolist(), file)


def load(run):
    """The correction a run was calibrated with, or None."""
    path = run.folder / "calibration.json"
    return np.array(json.loads(path.read_text())) if path.exists() else None
