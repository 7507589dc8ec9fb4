"""The moments of a sound's cepstra, and what must be done to frames that their sound has those of the voice.

Frames distributed as the voice's do not yet sound like it, for the vocoder has a colour; docs/world_mdn.md tells [5].
"""

from typing import NamedTuple

import numpy as np
import scipy.fft

from ..evaluation import descriptors
from ..features import LOG_F0, N_ENVELOPE, VOICING, mel, world
from .moments import ROWS_NEEDED, Gaussian, transport


class CepstralMoments(NamedTuple):
    """Of a sound's mel-frequency cepstrum the mean (n_mfcc,), and of its slopes both moments."""

    mean: np.ndarray
    slopes: Gaussian


def cepstral_moments(y, sr, std):
    """The `CepstralMoments` of a sound (n_samples,); levels are relative to `std`, the recording's."""
    cepstra, slopes = _cepstra(y, sr, std)
    return CepstralMoments(cepstra.mean(axis=0, dtype=np.float64), Gaussian.fit(slopes))


def moments_of_all(y, sample, frames, recipe, std):
    """The `CepstralMoments` that the sound of all `frames` would have, pieces (n_frames, n_features), not scaled.

    Only `sample` (n_frames, n_features), by chance of other vowels and pitch, has become the sound y (n_samples,): how
    cepstra follow frames is found on it by least squares and applied to all, see [5]; the slopes are the sample's.
    """
    cepstra, slopes = _cepstra(y, recipe.sample_rate, std)
    predictors = _predictors(sample, recipe)[: len(cepstra)]
    cepstra = cepstra[: len(predictors)].astype(np.float64)
    if len(predictors) < ROWS_NEEDED or not np.isfinite(cepstra).all():
        return cepstral_moments(y, recipe.sample_rate, std)
    centre, mean = predictors.mean(axis=0), cepstra.mean(axis=0)
    follows = np.linalg.lstsq(predictors - centre, cepstra - mean, rcond=None)[0]
    everywhere = np.concatenate([_predictors(piece, recipe) for piece in frames]).mean(axis=0)
    return CepstralMoments(mean + (everywhere - centre) @ follows, Gaussian.fit(slopes))


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


def match_moments(wanted, measured, sr):
    """What frames still need for their sound to have the `CepstralMoments` wanted.

    What is added to each envelope (n_envelope,), voiced or not; and what must be added to how much it is smoothed,
    symmetric, (n_envelope, n_envelope).
    """
    if not (wanted.slopes.known and measured.slopes.known and np.isfinite(wanted.mean - measured.mean).all()):
        return np.zeros(N_ENVELOPE), np.zeros((N_ENVELOPE, N_ENVELOPE))
    E = cepstrum_of_envelope(sr)  # (n_envelope, n_mfcc): a cepstrum is envelope @ E and what the vocoder adds
    back = np.linalg.pinv(E)
    # cautious: slopes follow a third to a half of it
    smoother = E @ (np.eye(descriptors.N_MFCC) - transport(wanted.slopes, measured.slopes).matrix) @ back
    return (wanted.mean - measured.mean) @ back, (smoother + smoother.T) / 2


def cepstrum_of_envelope(sr):
    """How the mel-frequency cepstrum follows WORLD's coded envelope, both linear in log power: (n_envelope, n_mfcc)."""
    spectra = world.unit_spectra(sr)
    filters = mel.mel_filters(descriptors.N_BANDS, 2 * (spectra.shape[1] - 1), sr)
    bands = (spectra[1:] - spectra[0]) @ (filters / filters.sum(axis=1, keepdims=True)).T
    return scipy.fft.dct(bands, norm="ortho")[:, : descriptors.N_MFCC]
