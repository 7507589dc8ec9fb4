"""What is heard of a sound, and what that asks of the frames it was made of.

The vocoder colours what it synthesises, and an envelope that moves makes a
sound that moves otherwise: frames like the voice's do not yet sound like it.
So what a generated voice is corrected by is found by ear, and as sound costs more than
frames, a sample of them is listened to.

References
----------
W. Cochran, "Sampling Techniques", 3rd ed., Wiley 1977, ch. 7: regression estimators.
"""
from typing import NamedTuple

import numpy as np
import scipy.fft

from . import descriptors, features, mel, postfilter, world
from .descriptors import N_MFCC
from .features import LOG_F0, N_ENVELOPE, VOICING


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
    return Heard(*map(postfilter.moments, _cepstra(y, sr, std)))


def hear_all(y, sample, frames, recipe, std):
    """What would be heard of all that is sung, of which some has become sound.

    A sample is by chance of other vowels and of another pitch than the whole.
    What is heard follows the frames in time, so how it follows them is found by
    least squares on the sample, and applied to all of them.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
        The sample's sound.
    sample : float array of shape (n_frames, n_features)
        WORLD frames, not scaled.
    frames : list of float arrays (n_frames, n_features)
        All of them, in pieces.
    recipe : Recipe
    std : float
        See `hear`.

    Returns
    -------
    Heard
        The slopes are the sample's.
    """
    cepstra, slopes = _cepstra(y, recipe.sample_rate, std)
    said = _said(sample, recipe)[:len(cepstra)]
    cepstra = cepstra[:len(said)].astype(np.float64)
    own = postfilter.moments(cepstra)
    if np.isfinite(own).all():
        everywhere = postfilter.moments(np.concatenate([_said(piece, recipe) for piece in frames]))
        of_sample = postfilter.moments(said)
        follows, chance = np.linalg.lstsq(said - of_sample[0], cepstra - own[0], rcond=None)[0], of_sample - everywhere
        own = own - np.vstack([chance[0] @ follows, follows.T @ chance[1:] @ follows])
    return Heard(own, postfilter.moments(slopes))


def _cepstra(y, sr, std):
    """Mel-frequency cepstrum of a sound, and its slopes, every 10 ms: (n, n_mfcc) each."""
    y = np.clip(y, -1, 1).astype(np.float32, copy=False)
    y /= np.float32(std)
    timbre = descriptors.timbre(descriptors.bands(y, sr))
    return timbre[:, :N_MFCC], timbre[:, N_MFCC:]


def _said(frames, recipe):
    """What frames (n_frames, n_features) say at the times of `_cepstra`: envelope, voiced or not, and the pitch of what is: (n, n_envelope + 2)."""
    voiced = frames[:, VOICING] > 0.5
    said = np.column_stack([frames[:, -N_ENVELOPE:], voiced, voiced * frames[:, LOG_F0]])
    frame_seconds = recipe.frame_length / recipe.sample_rate
    n = max(0, int(((len(frames) - 1) * frame_seconds - descriptors.FRAME_SECONDS / 2) / descriptors.FRAME_HOP + 1))
    at = (descriptors.FRAME_SECONDS / 2 + descriptors.FRAME_HOP * np.arange(n)) / frame_seconds
    before = np.minimum(at.astype(int), len(frames) - 2)
    late = (at - before)[:, None]
    return (1 - late) * said[before] + late * said[before + 1]


def voiced(y, sr):
    """Share of the rows of a sound, (n_samples,), in which a pitch is heard."""
    chunk = features.PIECE_SECONDS * sr
    return float(np.mean(np.concatenate(features.over_cores(lambda i: descriptors.pitch(y[i:i + chunk], sr), range(0, len(y), chunk))) > 0))


def by_ear(wanted, heard, envelope, sr):
    """What must still be done to frames that they sound as the voice does.

    Parameters
    ----------
    wanted, heard : Heard
        Of the recording; of what is sung.
    envelope : float array of shape (n_envelope,)
        The mean of what is sung.
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
    back = np.linalg.pinv(E)
    move = postfilter.transport(wanted.cepstra, heard.cepstra)
    stretch = move[1:] - np.eye(N_MFCC)
    shift = (move[0] + (heard.cepstra[0] - envelope @ E) @ stretch) @ back
    more = np.vstack([shift, np.eye(N_ENVELOPE) + E @ stretch @ back])
    smoother = E @ (np.eye(N_MFCC) - postfilter.transport(wanted.slopes, heard.slopes)[1:]) @ back  # cautious: slopes follow a third to a half of it
    return more, (smoother + smoother.T) / 2


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
