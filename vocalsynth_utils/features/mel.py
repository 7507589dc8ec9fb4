"""Short-time spectra on the mel scale, and a signal of such spectra: for log-mel frames and for evaluation."""

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

POWER_FLOOR = 1e-10  # of full scale squared: digital silence becomes -100 dB, not minus infinity
BLOCK = 4096  # frames transformed at a time, which bounds the memory of a long recording
LOWEST = 60.0  # Hz, the outer edge of the first mel band
MOMENTUM = 0.99  # of fast Griffin-Lim


def fft_length(window_length):
    """The power of two that holds a window: int."""
    return 1 << (window_length - 1).bit_length()


def spectrogram(y, window_length, hop_length):
    """Power spectra of Hann-windowed frames, a block (n_frames <= BLOCK, n_fft // 2 + 1) of float32 at a time.

    Frame i begins at sample i * hop_length; its spectrum sums to about its mean square.
    """
    n_fft = fft_length(window_length)
    if len(y) < window_length:
        raise ValueError(f"y has {len(y)} samples, fewer than one window of {window_length}; use a longer recording")
    window = scipy.signal.get_window("hann", window_length).astype(np.float32)
    scale = np.full(n_fft // 2 + 1, 2.0 / (n_fft * np.sum(window**2)), np.float32)
    scale[[0, -1]] /= 2  # 0 Hz and Nyquist have no mirror image
    frames = sliding_window_view(y, window_length)[::hop_length]  # (n_frames, window_length)
    for start in range(0, len(frames), BLOCK):
        spectrum = scipy.fft.rfft(frames[start : start + BLOCK].astype(np.float32) * window, n_fft)
        yield np.square(np.abs(spectrum)) * scale


def mel_filters(n_mels, n_fft, sr):
    """Triangular filters with a peak of 1, equally spaced in mel from 60 Hz on: float32 (n_mels, n_fft // 2 + 1).

    The scale is D. O'Shaughnessy's, *Speech Communication* (1987): mel = 2595 log10(1 + f / 700).
    """
    edges = 2595 * np.log10(1 + np.array([LOWEST, sr / 2]) / 700)
    edges = 700 * (10 ** (np.linspace(*edges, n_mels + 2) / 2595) - 1)  # (n_mels + 2,) Hz
    f = np.arange(n_fft // 2 + 1) * sr / n_fft
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    if not filters.any(axis=1).all():
        raise ValueError(f"n_mels is {n_mels}, too many for n_fft={n_fft} at {sr} Hz; use fewer or a longer window")
    return filters


def log_mel(y, sr, window_length, hop_length, n_mels=40):
    """Natural logarithm of the power in each mel band of y, full scale 1: float32 (n_frames, n_mels)."""
    filters, spectra = mel_filters(n_mels, fft_length(window_length), sr), spectrogram(y, window_length, hop_length)
    return np.concatenate([np.log(power @ filters.T + POWER_FLOOR) for power in spectra])


def griffin_lim(magnitude, hop_length, n_iterations=32, seed=0):
    """A signal whose short-time spectra come close to the magnitudes given: float32 ((n_frames + 3) * hop_length,).

    They are (n_frames, n_fft // 2 + 1), of Hann windows four hops long, as `numpy.fft.rfft` scales them.
    After N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
    """
    magnitude = np.asarray(magnitude, np.float32)
    n_fft, window = 2 * (magnitude.shape[1] - 1), scipy.signal.get_window("hann", 4 * hop_length).astype(np.float32)
    phase = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitude.shape).astype(np.float32)
    spectrum, before = magnitude * np.exp(1j * phase), 0
    for _ in range(n_iterations):
        y = _overlap_add(scipy.fft.irfft(spectrum, n_fft)[:, : len(window)], window, hop_length)
        again = scipy.fft.rfft(sliding_window_view(y, len(window))[::hop_length] * window, n_fft)
        ahead = again + MOMENTUM * (again - before)
        spectrum, before = magnitude * ahead / np.maximum(np.abs(ahead), 1e-8), again
    return _overlap_add(scipy.fft.irfft(spectrum, n_fft)[:, : len(window)], window, hop_length)


def _overlap_add(frames, window, hop_length):
    """Least-squares signal of windowed frames (n_frames, 4 * hop_length), each hop_length after the last."""

    def pile(parts):  # (n_frames, 4, hop_length) or its window
        total = np.zeros((len(frames) + 3, hop_length), np.float32)
        for quarter in range(4):
            total[quarter : quarter + len(frames)] += parts[..., quarter, :]
        return total.ravel()

    weight = pile(np.square(window).reshape(4, hop_length))
    return pile((frames * window).reshape(len(frames), 4, hop_length)) / np.maximum(weight, 1e-3)
