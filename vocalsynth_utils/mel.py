"""Short-time spectra on the mel scale: shared by the log-mel frames and by the measures of drift.

Frame i of a spectrogram covers the samples [i * hop_length, i * hop_length + window_length).
"""
import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import get_window

POWER_FLOOR = 1e-10  # of full scale squared: digital silence becomes -100 dB, not minus infinity
BLOCK = 4096         # frames transformed at a time, which bounds the memory of a long recording
MOMENTUM = 0.99      # of fast Griffin-Lim


def spectrogram(y, window_length, hop_length, n_fft=None):
    """Power spectra of Hann-windowed frames, one block of frames at a time.

    Parameters
    ----------
    y : float array of shape (n_samples,)
    window_length, hop_length : int, samples
    n_fft : int, optional
        Default: the next power of two.

    Yields
    ------
    float32 array of shape (n_frames <= BLOCK, n_fft // 2 + 1)
        Scaled so that a spectrum sums to about the mean square of its frame.
    """
    n_fft = n_fft or 1 << (window_length - 1).bit_length()
    if len(y) < window_length:
        raise ValueError(f"y has {len(y)} samples, fewer than one window of {window_length}; use a longer recording")
    window = get_window("hann", window_length).astype(np.float32)
    scale = np.full(n_fft // 2 + 1, 2.0 / (n_fft * np.sum(window ** 2)), np.float32)
    scale[[0, -1]] /= 2  # 0 Hz and Nyquist have no mirror image
    frames = sliding_window_view(y, window_length)[::hop_length]  # (n_frames, window_length)
    for start in range(0, len(frames), BLOCK):
        spectrum = scipy.fft.rfft(frames[start:start + BLOCK].astype(np.float32) * window, n_fft)
        yield np.square(np.abs(spectrum)) * scale


def mel_filters(n_mels, n_fft, sr, lowest=60.0, highest=None):
    """Triangular filters, equally spaced on the mel scale, with a peak of 1.

    Parameters
    ----------
    n_mels, n_fft : int
    sr : int, Hz
    lowest, highest : float, Hz
        Outer edges of the first and last filter; `highest` defaults to sr / 2.

    Returns
    -------
    float32 array of shape (n_mels, n_fft // 2 + 1)

    Raises
    ------
    ValueError
        When a filter is so narrow that no frequency of the transform falls into it.

    References
    ----------
    D. O'Shaughnessy, *Speech Communication* (1987): mel = 2595 log10(1 + f / 700).
    """
    highest = highest or sr / 2
    edges = 2595 * np.log10(1 + np.array([lowest, highest]) / 700)
    edges = 700 * (10 ** (np.linspace(*edges, n_mels + 2) / 2595) - 1)  # (n_mels + 2,) Hz
    f = np.arange(n_fft // 2 + 1) * sr / n_fft
    rise = (f - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - f) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    if not filters.any(axis=1).all():
        raise ValueError(f"n_mels is {n_mels}, too many for n_fft={n_fft} at {sr} Hz; use fewer or a longer window")
    return filters


def log_mel(y, sr, window_length, hop_length, n_mels=40):
    """Log-mel spectrogram: natural logarithm of the power in each band.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
    sr : int, Hz
    window_length, hop_length : int, samples
    n_mels : int

    Returns
    -------
    float32 array of shape (n_frames, n_mels)
    """
    n_fft = 1 << (window_length - 1).bit_length()
    filters = mel_filters(n_mels, n_fft, sr).T
    return np.concatenate([np.log(power @ filters + POWER_FLOOR)
                           for power in spectrogram(y, window_length, hop_length, n_fft)])


def mfcc(y, sr, n_mfcc=20, n_mels=40):
    """Mel-frequency cepstral coefficients of 25 ms frames every 10 ms.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
    sr : int, Hz
    n_mfcc, n_mels : int

    Returns
    -------
    float32 array of shape (n_frames, n_mfcc)

    References
    ----------
    S. Davis, P. Mermelstein, "Comparison of parametric representations for
    monosyllabic word recognition", IEEE Trans. ASSP 28 (1980).
    """
    bands = log_mel(y, sr, int(round(0.025 * sr)), int(round(0.01 * sr)), n_mels)
    return scipy.fft.dct(bands, norm="ortho")[:, :n_mfcc]


def griffin_lim(magnitude, hop_length, n_iterations=32, seed=0):
    """A signal whose short-time spectra come close to the magnitudes given.

    Parameters
    ----------
    magnitude : float array of shape (n_frames, n_fft // 2 + 1)
        Of Hann windows four hops long, as `numpy.fft.rfft` scales them.
    hop_length : int, samples
    n_iterations : int
    seed : int
        Of the phases it starts from.

    Returns
    -------
    float32 array of shape ((n_frames + 3) * hop_length,)

    References
    ----------
    N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
    """
    magnitude = np.asarray(magnitude, np.float32)
    n_fft, window = 2 * (magnitude.shape[1] - 1), get_window("hann", 4 * hop_length).astype(np.float32)
    phase = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitude.shape).astype(np.float32)
    spectrum, before = magnitude * np.exp(1j * phase), 0
    for _ in range(n_iterations):
        y = _overlap_add(scipy.fft.irfft(spectrum, n_fft)[:, :len(window)], window, hop_length)
        again = scipy.fft.rfft(sliding_window_view(y, len(window))[::hop_length] * window, n_fft)
        ahead = again + MOMENTUM * (again - before)
        spectrum, before = magnitude * ahead / np.maximum(np.abs(ahead), 1e-8), again
    return _overlap_add(scipy.fft.irfft(spectrum, n_fft)[:, :len(window)], window, hop_length)


def _overlap_add(frames, window, hop_length):
    """Least-squares signal of windowed frames (n_frames, 4 * hop_length), each hop_length after the last."""
    def pile(parts):  # (n_frames, 4, hop_length) or its window
        total = np.zeros((len(frames) + 3, hop_length), np.float32)
        for quarter in range(4):
            total[quarter:quarter + len(frames)] += parts[..., quarter, :]
        return total.ravel()
    weight = pile(np.square(window).reshape(4, hop_length))
    return pile((frames * window).reshape(len(frames), 4, hop_length)) / np.maximum(weight, 1e-3)
