"""Recordings whose best possible prediction is known in closed form, and that prediction's error.

On a voice nobody can say how low a network's error could get. On these one can, so a test that trains for seconds can
tell learning from luck.
"""

import numpy as np
import scipy

SAMPLE_RATE = 16000  # Hz


def tone(seconds, frequency=220.0, sr=SAMPLE_RATE, amplitude=0.5):
    """A sine, float32 (n_samples,): after two samples its future is certain, so the best possible error is 0.

    `frequency` and `sr` are in Hz, `amplitude` is of full scale.
    """
    n_samples = n_samples_of(seconds, sr)
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(n_samples) / sr)).astype(np.float32)


def ar2(n_samples, frequency=440.0, radius=0.99, sr=SAMPLE_RATE, seed=0, std=0.1):
    """Noise through one resonator, float32 (n_samples,): y[t] = 2 r cos(w) y[t-1] - r^2 y[t-2] + e[t].

    Parameters
    ----------
    frequency, sr : float, int; the resonance and the sample rate, Hz
    radius : float, r, in (0, 1): how long the resonance rings
    std : float, standard deviation of y, of full scale
    """
    if not 0 < radius < 1:
        raise ValueError(f"radius is {radius}; a stable resonance needs 0 < radius < 1")
    coefficients = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / sr), radius**2]
    settle = int(np.ceil(10 / (1 - radius)))  # the start from rest is thrown away
    noise = np.random.default_rng(seed).normal(size=n_samples + settle)
    gain = std / np.sqrt(_ar2_variance(frequency, radius, sr))
    return scipy.signal.lfilter([gain], coefficients, noise)[settle:].astype(np.float32)


def ar2_optimum(frame_length=1, frequency=440.0, radius=0.99, sr=SAMPLE_RATE):
    """Mean squared error / variance, in (0, 1), of the best prediction of the next frame of `ar2` from all its past.

    A frame is `frame_length` samples predicted at once. The error k samples ahead is e[t+k] + psi_1 e[t+k-1] + ... +
    psi_{k-1} e[t+1], psi the impulse response, so its variance is the sum of the first k psi^2.

    References
    ----------
    Box, Jenkins, Reinsel, Ljung, *Time Series Analysis*, chapter 5.
    """
    impulse = np.zeros(frame_length)
    impulse[0] = 1.0
    psi = scipy.signal.lfilter([1.0], [1.0, -2 * radius * np.cos(2 * np.pi * frequency / sr), radius**2], impulse)
    return float(np.cumsum(psi**2).mean() / _ar2_variance(frequency, radius, sr))


def _ar2_variance(frequency, radius, sr):
    """Variance of y[t] = a y[t-1] + b y[t-2] + e[t] with unit e."""
    a, b = 2 * radius * np.cos(2 * np.pi * frequency / sr), -(radius**2)
    return (1 - b) / ((1 + b) * ((1 - b) ** 2 - a**2))


def n_samples_of(seconds, sr):
    """A length in seconds as a number of samples, or a ValueError that says what is wrong with it."""
    n_samples = int(round(seconds * sr)) if np.isfinite(seconds * sr) else 0
    if n_samples < 1:
        raise ValueError(f"seconds is {seconds}; ask for a length above 0")
    return n_samples
