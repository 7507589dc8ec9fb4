"""Losses of predictors that have learned no network, which every loss is shown beside."""

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

LINEAR_ORDER = 400  # past samples that linear prediction sees


def losses(dataset, n_steps, split="valid"):
    """Losses of three such predictors.

    Parameters
    ----------
    dataset : Dataset
    n_steps : int
        Frames in a sequence; each sequence's first frame is never predicted.
    split : {"train", "valid", "test"}

    Returns
    -------
    dict
        Mean squared error in units of the train part's variance: ``"mean"`` always says the train mean; ``"repeat"``
        says the last frame again; ``"linear"`` is linear prediction fitted on the train part, from the last 400
        samples (raw frames) or the last two frames (features).
    """
    return {name: float(errors.mean()) for name, errors in losses_in_frame(dataset, n_steps, split).items()}


def losses_in_frame(dataset, n_steps, split="valid"):
    """As `losses`, at each place in the frame: dict of str to float64 array of shape (n_features,)."""
    predict = _linear_prediction(dataset, n_steps)
    mean = dataset.scaling.mean_of_scaled
    totals, n = np.zeros((3, dataset.n_features)), 0
    for start in dataset.starts(split, n_steps):
        X = dataset.batch([start], n_steps)[0, :, : dataset.n_features]
        for total, prediction in zip(totals, (mean, X[:-1], predict(X))):
            total += np.square(X[1:] - prediction, dtype=np.float64).sum(axis=0)
        n += n_steps - 1
    return dict(zip(("mean", "repeat", "linear"), totals / n / dataset.variance))


def _linear_prediction(dataset, n_steps):
    """Least-squares prediction of X[1:] from what came before, as a function of X (n_steps, n_features)."""
    mean = dataset.scaling.mean_of_scaled
    if dataset.rows.ndim == 1:
        weights = _levinson_weights(dataset, dataset.n_features)  # (LINEAR_ORDER, frame_length)

        def predict(X):
            past = np.concatenate([np.zeros(LINEAR_ORDER, np.float32), (X - mean)[:-1].ravel()])
            ends = LINEAR_ORDER + X.shape[1] * np.arange(1, len(X))
            windows = past[ends[:, None] - 1 - np.arange(LINEAR_ORDER)]  # newest sample first
            return windows @ weights + mean

        return predict

    def past(X):
        before = np.concatenate([X[:1], X[:-2]])
        return np.hstack([X[:-1], before, np.ones((len(X) - 1, 1))])  # float64 (n_steps - 1, 2 n_features + 1)

    gram = cross = 0.0
    for start in dataset.starts("train", n_steps):
        X = dataset.batch([start], n_steps)[0, :, : dataset.n_features]
        A = past(X)
        gram, cross = gram + A.T @ A, cross + A.T @ X[1:]
    weights = scipy.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)), cross, assume_a="pos")
    return lambda X: past(X) @ weights


def _levinson_weights(dataset, horizon):
    """Best linear weights (LINEAR_ORDER, horizon) from past samples to each of the next `horizon` ones.

    Their normal equations: a Toeplitz matrix of the autocorrelation, one right-hand side for each distance ahead.
    """
    first, end = dataset.ranges["train"]
    n_lags = LINEAR_ORDER + horizon
    length = max(1 << 16, 4 * n_lags)
    starts = range(first, end, length)
    if end - first > 16 * length:
        starts = np.linspace(first, end - length, 16).astype(int)
    autocorrelation = np.zeros(n_lags)
    for start in starts:
        x = dataset.scaled(start, min(start + length, end)) - dataset.scaling.mean_of_scaled
        size = scipy.fft.next_fast_len(len(x) + n_lags, real=True)
        autocorrelation += scipy.fft.irfft(np.abs(scipy.fft.rfft(x.astype(np.float64), size)) ** 2, size)[:n_lags]
    autocorrelation[0] *= 1 + 1e-7  # keeps the system well-posed where a voice has no energy
    ahead = sliding_window_view(autocorrelation[1:], horizon)[:LINEAR_ORDER].copy()  # ahead[i, k] = r[1 + i + k]
    return scipy.linalg.solve_toeplitz(autocorrelation[:LINEAR_ORDER], ahead).astype(np.float32)
