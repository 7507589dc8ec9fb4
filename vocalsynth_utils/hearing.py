"""What is heard of a sound, and what that asks of the frames it was made of.

The vocoder colours what it synthesises, and an envelope that moves makes a
sound that moves otherwise: frames like the voice's do not yet sound like it.
So what a generated voice is corrected by is found by ear.
"""
from typing import NamedTuple

import numpy as np
import scipy.fft

from . import descriptors, features, mel, postfilter, world
from .descriptors import N_MFCC
from .features import N_ENVELOPE


class Heard(NamedTuple):
    """What is heard of a sound.

    cepstra : (1 + n_mfcc, n_mfcc), `postfilter.moments` of its mel-frequency
    cepstrum; slopes : (1 + n_mfcc, n_mfcc), of that cepstrum's slopes.
    """

    cepstra: np.ndarray
    slopes: np.ndarray


def hear(y, sr, std):
    """Listen to a sound.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
    sr : int, Hz
    std : float
        The recording's standard deviation, which levels are relative to.

    Returns
    -------
    Heard
    """
    y = np.clip(y, -1, 1).astype(np.float32, copy=False)
    y /= np.float32(std)
    timbre = descriptors.timbre(descriptors.bands(y, sr))
    return Heard(postfilter.moments(timbre[:, :N_MFCC]), postfilter.moments(timbre[:, N_MFCC:]))


def voiced(y, sr):
    """Share of the rows of a sound, (n_samples,), in which a pitch is heard."""
    chunk = features.CHUNK_SECONDS * sr
    return float(np.mean(np.concatenate(features.over_cores(lambda i: descriptors.pitch(y[i:i + chunk], sr), range(0, len(y), chunk))) > 0))


def by_ear(wanted, heard, sung, sample, sr):
    """What must still be done to frames that they sound as the voice does.

    What is heard of a sample deviates by chance as the sample itself does; so
    much, carried over to the cepstrum, is granted to it.

    Parameters
    ----------
    wanted, heard : Heard
        Of the recording; of the sample's sound.
    sung, sample : float arrays of shape (1 + n_envelope, n_envelope)
        `postfilter.moments` of the envelope of all frames; of those of the sample.
    sr : int, Hz

    Returns
    -------
    more : float64 array of shape (1 + n_envelope, n_envelope)
        An affine map of the envelope, voiced or not.
    smoother : float64 array of shape (n_envelope, n_envelope)
        Symmetric; to be added to how much it is smoothed.
    """
    if not np.isfinite([*heard.cepstra, *heard.slopes]).all() or not np.isfinite([*wanted.cepstra, *wanted.slopes]).all():
        return postfilter.nothing(), np.zeros((N_ENVELOPE, N_ENVELOPE))
    E = cepstrum_of_envelope(sr)  # (n_envelope, n_mfcc): a cepstrum is envelope @ E and what the vocoder adds
    back, chance = np.linalg.pinv(E), sample - sung
    aim = wanted.cepstra + np.vstack([chance[:1] @ E, E.T @ chance[1:] @ E])
    aim[1:] = _positive(aim[1:])
    move = postfilter.transport(aim, heard.cepstra)
    stretch = move[1:] - np.eye(N_MFCC)
    shift = (move[0] + (heard.cepstra[0] - sample[0] @ E) @ stretch) @ back
    more = np.vstack([shift, np.eye(N_ENVELOPE) + E @ stretch @ back])
    smoother = E @ (np.eye(N_MFCC) - postfilter.transport(wanted.slopes, heard.slopes)[1:]) @ back  # cautious: slopes follow a third to a half of it
    return more, (smoother + smoother.T) / 2


def _positive(covariance):
    """A covariance and a difference of covariances made a covariance again: no direction has less than none."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.maximum(values, postfilter.FLOOR * values[-1])) @ vectors.T


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
