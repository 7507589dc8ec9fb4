"""The moments of a sound's cepstra, and what must be done to frames that their sound has those of the voice.

Frames distributed as the voice's do not yet sound like it, for the vocoder has a colour; docs/world_mdn.md tells [5].
"""

from typing import NamedTuple

import numpy as np
import scipy.fft

from ..evaluation import descriptors
from ..features import LOG_F0, N_ENVELOPE, VOICING, mel, world
from .moments import AffineMap, Gaussian, transport

MOST_STEP = 1.12  # how far any direction is stretched at a time: what is now voice and now nothing is no Gaussian


class CepstralMoments(NamedTuple):
    """Of a sound's mel-frequency cepstrum, (n_mfcc,), and of its slopes."""

    cepstra: Gaussian
    slopes: Gaussian


def cepstral_moments(y, sr, std):
    """The `CepstralMoments` of a sound (n_samples,); levels are relative to `std`, the recording's."""
    return CepstralMoments(*map(Gaussian.fit, _cepstra(y, sr, std)))


def moments_of_all(y, sample, frames, recipe, std):
    """The `CepstralMoments` that the sound of all `frames` would have, pieces (n_frames, n_features), not scaled.

    Only `sample` (n_frames, n_features), by chance of other vowels and pitch, has become the sound y (n_samples,): how
    cepstra follow frames is found on it by least squares and applied to all, see [5]; the slopes are the sample's.
    """
    cepstra, slopes = _cepstra(y, recipe.sample_rate, std)
    predictors = _predictors(sample, recipe)[: len(cepstra)]
    cepstra = cepstra[: len(predictors)].astype(np.float64)
    own = Gaussian.fit(cepstra)
    if own.known:
        everywhere = Gaussian.fit(np.concatenate([_predictors(piece, recipe) for piece in frames]))
        of_sample = Gaussian.fit(predictors)
        follows = np.linalg.lstsq(predictors - of_sample.mean, cepstra - own.mean, rcond=None)[0]
        chance = of_sample.mean - everywhere.mean, of_sample.covariance - everywhere.covariance
        own = Gaussian(own.mean - chance[0] @ follows, own.covariance - follows.T @ chance[1] @ follows)
    return CepstralMoments(own, Gaussian.fit(slopes))


def _cepstra(y, sr, std):
    """Mel-frequency cepstrum of a sound, and its slopes, every 10 ms: (n, n_mfcc) each."""
    y = np.clip(y, -1, 1).astype(np.float32, copy=False)
    y /= np.float32(std)
    timbre = descriptors.timbre(descriptors.bands(y, sr))
    return timbre[:, : descriptors.N_MFCC], timbre[:, descriptors.N_MFCC :]


def _predictors(frames, recipe):
    """Envelope, voicing and pitch of frames (n_frames, n_features), at the cepstra's times: (n, n_envelope + 2)."""
    voiced = frames[:, VOICING] > 0.5
    said = np.column_stack([frames[:, -N_ENVELOPE:], voiced, voiced * frames[:, LOG_F0]])
    frame_seconds, window = recipe.frame_length / recipe.sample_rate, descriptors.FRAME_SECONDS
    n = max(0, int(((len(frames) - 1) * frame_seconds - window / 2) / descriptors.FRAME_HOP + 1))
    at = (window / 2 + descriptors.FRAME_HOP * np.arange(n)) / frame_seconds
    before = np.minimum(at.astype(int), len(frames) - 2)
    late = (at - before)[:, None]
    return (1 - late) * said[before] + late * said[before + 1]


def voiced_share(y, sr):
    """Share of the rows of a sound, (n_samples,), in which the tracker finds a pitch."""
    return float(np.mean(descriptors.melody(y, sr)[0] > 0))


def match_moments(wanted, measured, envelope, sr):
    """What frames still need for their sound to have the `CepstralMoments` wanted, where `envelope` is their mean.

    An `AffineMap` of the envelope (n_envelope,), voiced or not; and what must be added to how much it is smoothed,
    symmetric, (n_envelope, n_envelope).
    """
    if not all(part.known for part in (*wanted, *measured)):
        return AffineMap.identity(), np.zeros((N_ENVELOPE, N_ENVELOPE))
    E = cepstrum_of_envelope(sr)  # (n_envelope, n_mfcc): a cepstrum is envelope @ E and what the vocoder adds
    back = np.linalg.pinv(E)
    move = transport(wanted.cepstra, measured.cepstra, MOST_STEP)
    stretch = move.matrix - np.eye(descriptors.N_MFCC)
    shift = (move.shift + (measured.cepstra.mean - envelope @ E) @ stretch) @ back
    more = AffineMap(shift, np.eye(N_ENVELOPE) + E @ stretch @ back)
    # cautious: slopes follow a third to a half of it
    smoother = E @ (np.eye(descriptors.N_MFCC) - transport(wanted.slopes, measured.slopes).matrix) @ back
    return more, (smoother + smoother.T) / 2


def cepstrum_of_envelope(sr):
    """How the mel-frequency cepstrum follows WORLD's coded envelope, both linear in log power: (n_envelope, n_mfcc)."""
    spectra = world.unit_spectra(sr)
    filters = mel.mel_filters(descriptors.N_BANDS, 2 * (spectra.shape[1] - 1), sr)
    bands = (spectra[1:] - spectra[0]) @ (filters / filters.sum(axis=1, keepdims=True)).T
    return scipy.fft.dct(bands, norm="ortho")[:, : descriptors.N_MFCC]
