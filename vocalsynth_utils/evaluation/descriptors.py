"""What can be heard of a voice, in numbers: the columns that the measures compare.

Every function takes a signal (n_samples,) over the training voice's standard deviation, whose level is then 0 dB.
"""

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from ..features import F0_CEIL, F0_FLOOR, ROW_SECONDS, world
from ..features.codec import CHUNK_SECONDS
from ..features.mel import BLOCK, log_mel, spectrogram

STATISTICS = ("level", "flatness", "flux", "voicing")  # columns of `windows`
WINDOW_SECONDS, WINDOW_HOP = 1.0, 0.5  # s
FRAME_SECONDS, FRAME_HOP = 0.025, 0.01  # s, of the short-time spectra
FLUX_FRAMES = 2  # frames across which flux is taken: 20 ms
N_MFCC = 20
N_BANDS = 40  # on the mel scale
PITCH_WINDOW = 0.04  # s, of the autocorrelation: three periods of the lowest pitch
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


def windows(y, sr, log_bands=None):
    """Four statistics of each second, every half second, of a second or more: float (n_windows, 4).

    Level: mean square in dB.  Flatness: geometric over arithmetic mean of the mean power spectrum, in dB; 0 is white.
    Flux: mean absolute change of the log-mel bands over 20 ms, in dB; what does not move has none.  Voicing: mean
    height of the autocorrelation's peak between 80 and 500 Hz, 0 to 1.
    """
    log_bands = bands(y, sr) if log_bands is None else log_bands
    per_window, per_hop = round(WINDOW_SECONDS / FRAME_HOP), round(WINDOW_HOP / FRAME_HOP)
    n_windows = max(1, 1 + int((len(y) / sr - WINDOW_SECONDS) / WINDOW_HOP + 1e-9))

    def averages(x):  # (n_frames,) -> (n_windows,)
        total = np.concatenate([[0.0], np.cumsum(x, dtype=float)])
        first = np.arange(n_windows) * per_hop
        last = np.minimum(first + per_window, len(x))
        return (total[last] - total[first]) / (last - first)

    hop = int(round(FRAME_HOP * sr))
    level = averages(np.square(y[: len(y) // hop * hop], dtype=np.float64).reshape(-1, hop).mean(axis=1))
    flux = averages(np.abs(log_bands[FLUX_FRAMES:] - log_bands[:-FLUX_FRAMES]).mean(axis=1)) * DB
    places = ((i * WINDOW_HOP * sr, (i * WINDOW_HOP + WINDOW_SECONDS) * sr) for i in range(n_windows))
    flatness = np.concatenate([_flatness(y[int(first) : int(last)], sr) for first, last in places])
    voicing = averages(np.repeat(_periodicity(y, sr), 2))  # every 20 ms -> every 10 ms
    return np.stack([DB * np.log(level + 1e-10), flatness, flux, voicing], axis=1)


def _flatness(y, sr):
    """Spectral flatness in dB of the mean power spectrum of one window, shape (1,)."""
    spectra = np.concatenate(list(spectrogram(y, int(round(FRAME_SECONDS * sr)), int(round(FRAME_HOP * sr)))))
    power = spectra.mean(axis=0)[1:-1] + 1e-12
    return DB * (np.log(power).mean(keepdims=True) - np.log(power.mean(keepdims=True)))


def _periodicity(y, sr):
    """Highest normalised autocorrelation at the lags of 80 to 500 Hz, every 20 ms: (n_frames,)."""
    length, hop = int(PITCH_WINDOW * sr), int(2 * FRAME_HOP * sr)
    shortest, longest = int(sr / F0_CEIL), int(np.ceil(sr / F0_FLOOR))
    size = scipy.fft.next_fast_len(length + longest, real=True)
    taper = np.hanning(length).astype(np.float32)
    bias = _autocorrelation(taper[None], size)[0, shortest : longest + 1] / np.sum(taper**2)
    frames, peaks = sliding_window_view(y, length)[::hop], []
    for start in range(0, len(frames), BLOCK):
        x = frames[start : start + BLOCK].astype(np.float32)
        r = _autocorrelation((x - x.mean(axis=1, keepdims=True)) * taper, size)
        peaks.append((r[:, shortest : longest + 1] / bias).max(axis=1) / (r[:, 0] + 1e-8))
    return np.clip(np.concatenate(peaks), 0, 1)


def _autocorrelation(x, size):
    return scipy.fft.irfft(np.square(np.abs(scipy.fft.rfft(x, size))), size)


def pitch(y, sr):
    """Fundamental frequency in Hz every 5 ms, 0 where there is none: float (n_rows,)."""
    tracks, chunk = [], CHUNK_SECONDS * sr
    for start in range(0, len(y), chunk):
        part = np.asarray(y[start : start + chunk], np.float64)
        tracks.append(world.pitch(part, sr)[0][: max(1, int(len(part) / sr / ROW_SECONDS))])
    return np.concatenate(tracks)
