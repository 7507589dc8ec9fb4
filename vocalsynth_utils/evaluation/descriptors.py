"""What can be heard of a voice, in numbers: the columns that the measures compare.

Every function takes a signal (n_samples,) over the training voice's standard deviation, whose level is then 0 dB.
"""

import numpy as np
import scipy

from ..features import ROW_SECONDS, over_cores, pitch, world
from ..features.codec import CHUNK_SECONDS
from ..features.mel import log_mel, spectrogram

STATISTICS = ("level", "flatness", "flux", "voicing")  # columns of `windows`
WINDOW_SECONDS, WINDOW_HOP = 1.0, 0.5  # s
FRAME_SECONDS, FRAME_HOP = 0.025, 0.01  # s, of the short-time spectra
FLUX_FRAMES = 2  # frames across which flux is taken: 20 ms
N_MFCC = 20
N_BANDS = 40  # on the mel scale
DB = 10 / np.log(10)  # dB per natural logarithm of power


def bands(y, sr):
    """Log power in 40 mel bands every 10 ms, natural logarithm: float32 (n_frames, 40)."""
    return log_mel(y, sr, int(round(FRAME_SECONDS * sr)), int(round(FRAME_HOP * sr)), N_BANDS)


def timbre(log_bands):
    """20 mel-frequency cepstral coefficients of `bands`, and their slopes over five frames: float32 (n_frames, 40)."""
    c = scipy.fft.dct(log_bands, norm="ortho")[:, :N_MFCC]
    around = np.pad(c, ((2, 2), (0, 0)), mode="edge")
    slope = (2 * (around[4:] - around[:-4]) + around[3:-1] - around[1:-3]) / 10
    return np.concatenate([c, slope], axis=1).astype(np.float32)


def flux(log_bands):
    """Mean absolute change of `bands` over 20 ms, in dB: (n_frames - 2,)."""
    return np.abs(log_bands[FLUX_FRAMES:] - log_bands[:-FLUX_FRAMES]).mean(axis=1) * DB


def windows(y, sr, log_bands=None, periodicity=None):
    """Four statistics of each second, every half second, of a second or more: float (n_windows, 4).

    Level: mean square in dB.  Flatness: geometric over arithmetic mean of the mean power spectrum, in dB; 0 is white.
    Flux: the mean of `flux`; what does not move has none.  Voicing: mean periodicity, of `melody`, 0 to 1.
    """
    log_bands = bands(y, sr) if log_bands is None else log_bands
    periodicity = melody(y, sr)[1] if periodicity is None else periodicity
    per_window, per_hop = round(WINDOW_SECONDS / FRAME_HOP), round(WINDOW_HOP / FRAME_HOP)
    n_windows = max(1, 1 + int((len(y) / sr - WINDOW_SECONDS) / WINDOW_HOP + 1e-9))

    def averages(x):  # (n_frames,) -> (n_windows,)
        total = np.concatenate([[0.0], np.cumsum(x, dtype=float)])
        first = np.arange(n_windows) * per_hop
        last = np.minimum(first + per_window, len(x))
        return (total[last] - total[first]) / (last - first)

    hop = int(round(FRAME_HOP * sr))
    level = averages(np.square(y[: len(y) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(axis=1))
    places = ((i * WINDOW_HOP * sr, (i * WINDOW_HOP + WINDOW_SECONDS) * sr) for i in range(n_windows))
    flatness = np.concatenate([_flatness(y[int(first) : int(last)], sr) for first, last in places])
    voicing = averages(periodicity[:: round(FRAME_HOP / ROW_SECONDS)])
    return np.stack([DB * np.log(level + 1e-10), flatness, averages(flux(log_bands)), voicing], axis=1)


def _flatness(y, sr):
    """Spectral flatness in dB of the mean power spectrum of one window, shape (1,)."""
    spectra = np.concatenate(list(spectrogram(y, int(round(FRAME_SECONDS * sr)), int(round(FRAME_HOP * sr)))))
    power = spectra.mean(axis=0)[1:-1] + 1e-12
    return DB * (np.log(power).mean(keepdims=True) - np.log(power.mean(keepdims=True)))


def melody(y, sr, on_samples=None):
    """Pitch in Hz every 5 ms, 0 where there is none, and periodicity, the autocorrelation's peak: (n_rows,) each.

    ``on_samples(n)`` is called when so many more are done.
    """

    def tracks(y):
        found = pitch.candidates(y, sr)
        return pitch.best_path(found), np.clip(found.strength.max(axis=1), 0, 1)

    return _in_chunks(tracks, y, sr, on_samples)


def second_pitch(y, sr):
    """Pitch as of `melody`, by a tracker of another kind, which is to judge that one: (n_rows,)."""
    return _in_chunks(lambda y: [world.dio(y, sr)], y, sr)[0]


def _in_chunks(tracks, y, sr, on_samples=None):
    """Arrays (n_rows,) of a long signal, from those of its chunks, which have a row at their very end as well."""
    chunks = [y[start : start + CHUNK_SECONDS * sr] for start in range(0, len(y), CHUNK_SECONDS * sr)]
    n_rows = [max(1, int(len(chunk) / sr / ROW_SECONDS + 1e-6)) for chunk in chunks]
    found = over_cores(tracks, chunks, on_samples and (lambda i: on_samples(len(chunks[i]))))
    return tuple(np.concatenate([track[:n] for track, n in zip(each, n_rows)]) for each in zip(*found))
