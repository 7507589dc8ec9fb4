"""What is heard of a sound, and what that asks of the frames it was made of.

The vocoder colours what it synthesises, and an envelope that moves makes a
sound that moves otherwise: frames like the voice's do not yet sound like it.
So what a generated voice is corrected by is found by ear.
"""
from typing import NamedTuple

import numpy as np
import scipy.fft

from . import descriptors, features, mel, postfilter, world
from .descriptors import DB, FLUX_FRAMES, N_MFCC
from .features import N_ENVELOPE, ROW_SECONDS


class Heard(NamedTuple):
    """What is heard of a sound.

    cepstra : (2, 1 + n_mfcc, n_mfcc), `postfilter.moments` of its mel-frequency
    cepstrum where its frames are unvoiced and where they are voiced; flux : mean
    absolute change of its log-mel bands over 20 ms, dB.
    """

    cepstra: np.ndarray
    flux: float


def hear(y, voicing, sr, std):
    """Listen to a sound.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
    voicing : float array of shape (n_rows,)
        0 or 1, every 5 ms: what the frames it was made of say.
    sr : int, Hz
    std : float
        The recording's standard deviation, which levels are relative to.

    Returns
    -------
    Heard
    """
    y = np.clip(y, -1, 1).astype(np.float32, copy=False)
    y /= np.float32(std)
    bands = descriptors.bands(y, sr)
    at = np.arange(len(bands)) * descriptors.FRAME_HOP + descriptors.FRAME_SECONDS / 2  # centres of the spectra, in s
    row = np.minimum((at / ROW_SECONDS).astype(int), len(voicing) - 1)
    cepstra = scipy.fft.dct(bands, norm="ortho")[:, :N_MFCC]
    flux = DB * np.abs(bands[FLUX_FRAMES:] - bands[:-FLUX_FRAMES]).mean(dtype=np.float64)
    return Heard(postfilter.moments(cepstra, voicing[row]), float(flux))


def voiced(y, sr):
    """Share of the rows of a sound, (n_samples,), in which a pitch is heard."""
    chunk = features.CHUNK_SECONDS * sr
    return float(np.mean(np.concatenate(features.over_cores(lambda i: descriptors.pitch(y[i:i + chunk], sr), range(0, len(y), chunk))) > 0))


def by_ear(goal, wanted, heard, sung, sr):
    """What moments frames must have to sound as the voice does, improved by what frames sounded like that were made to have them.

    What is heard of a sample deviates by chance as the sample itself does; so
    much, carried over to the cepstrum, is granted to it.

    Parameters
    ----------
    goal : float array of shape (2, 1 + n_envelope, n_envelope)
        Of what all frames were made to have: their `postfilter.envelope_moments`.
    wanted, heard : float arrays of shape (2, 1 + n_mfcc, n_mfcc)
        `Heard.cepstra` of the recording; of a sample's sound.
    sung : float array of shape (2, 1 + n_envelope, n_envelope)
        What the sample's frames have.
    sr : int, Hz

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
    """
    E = cepstrum_of_envelope(sr)  # (n_envelope, n_mfcc)
    back, aim = np.linalg.pinv(E), wanted + _through(sung - goal, E)
    aim[:, 1:] = [_positive(covariance) for covariance in aim[:, 1:]]
    improved = np.array(goal)
    for i, (move, here, frames) in enumerate(zip(postfilter.transport(aim, heard), heard, sung)):
        if not np.isfinite([aim[i], here]).all() or not np.isfinite([frames, goal[i]]).all():
            continue
        stretch = move[1:] - np.eye(N_MFCC)
        matrix = np.eye(N_ENVELOPE) + E @ stretch @ back
        shift = (move[0] + (here[0] - frames[0] @ E) @ stretch) @ back  # a cepstrum is envelope @ E and what the vocoder adds
        improved[i] = np.vstack([goal[i, 0] @ matrix + shift, matrix.T @ goal[i, 1:] @ matrix])
    return improved


def _positive(covariance):
    """A difference of covariances made one again: no direction has less than none."""
    if not np.isfinite(covariance).all():
        return covariance
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, postfilter.FLOOR * values[-1])) @ vectors.T


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
