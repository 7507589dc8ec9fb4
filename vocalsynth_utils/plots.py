"""Figures. Each function takes ``ax=None`` and returns the axes it drew on.

Reference is grey, generated orange, train blue, valid red, baselines dashed;
time is in seconds, amplitude in full scale, level in dB of a full-scale sine.
Signals are drawn here; `curves` and `diagrams` are offered here too.
"""
import matplotlib.pyplot as plt
import numpy as np

from .curves import continuation, error_in_frame, gradient_sizes, learning_curve, levels, survival
from .diagrams import frame_view, framing, unrolled_network
from .frames import Scaling, frame
from .plot_style import COLOURS, INK, colour_of, dress, new_axes

__all__ = ["COLOURS", "comparison", "continuation", "error_in_frame", "frame_view", "framing", "gradient_sizes", "learning_curve", "levels",
           "scaling_histograms", "spectrogram", "survival", "unrolled_network", "waveform", "waveform_and_spectrogram"]

FLOOR, CEILING = -90, -10       # dB, the range of every spectrogram, so that two of them compare
COLUMNS = 1200                  # more than a figure has pixels


def waveform(y, sr=16000, ax=None, role="reference", title=None, limit=None, start=0.0):
    """Amplitude against time.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
        A long one is drawn as the band between its extremes in each pixel.
    sr : int, Hz
    ax : matplotlib axes, optional
    role : str
        ``"reference"``, ``"generated"``, ``"train"``, ``"valid"``: the colour.
    title : str, optional
    limit : float, optional
        The vertical axis runs over +-`limit`; the default fits `y`.
    start : float
        Time of the first sample, s.

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        When `y` is no signal.
    """
    y, ax = _signal(y), new_axes(ax, (9, 2.2))
    end, colour = start + len(y) / sr, colour_of(role)
    limit = limit or max(1.1 * float(np.abs(y).max()), 1e-3)
    if len(y) <= 2 * COLUMNS:
        ax.plot(start + np.arange(len(y)) / sr, y, color=colour, linewidth=1)
    else:
        cut = y[:len(y) // COLUMNS * COLUMNS].reshape(COLUMNS, -1)     # (n_columns, samples in a pixel)
        t = start + np.arange(COLUMNS) * cut.shape[1] / sr
        ax.fill_between(t, cut.min(axis=1), cut.max(axis=1), color=colour, linewidth=0.3)
    ax.set(xlim=(start, end), ylim=(-limit, limit))
    return dress(ax, "time (s)", "amplitude (full scale)", title)


def spectrogram(y, sr=16000, ax=None, title=None, n_fft=512, colourbar=False):
    """Level over time and frequency, in dB of a full-scale sine.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1
    sr : int, Hz
    ax : matplotlib axes, optional
    title : str, optional
    n_fft : int
        Window length in samples (Hann).
    colourbar : bool
        Whether to draw the dB scale beside it; it is the same for every spectrogram.

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        When `y` is no signal.
    """
    y, ax = _signal(y), new_axes(ax, (9, 2.8))
    image = ax.imshow(_level(y, n_fft), origin="lower", aspect="auto", cmap="magma", vmin=FLOOR, vmax=CEILING,
                      extent=(0, len(y) / sr, 0, sr / 2000), interpolation="nearest")
    if colourbar:
        bar = ax.figure.colorbar(image, ax=ax, pad=0.01, aspect=15)
        bar.set_label("level (dB)", color=INK, fontsize=9)
        bar.ax.tick_params(labelsize=8, colors=INK)
        bar.outline.set_visible(False)
    return dress(ax, "time (s)", "frequency (kHz)", title, grid=None)


def _level(y, n_fft):
    """Short-time spectrum in dB: (n_fft // 2 + 1, n_columns); long signals are looked at once in a pixel."""
    hop = max(n_fft // 4, -(-len(y) // COLUMNS))
    padded = np.pad(y, (n_fft // 2, n_fft // 2 + max(0, n_fft - len(y))))
    window = np.hanning(n_fft).astype(np.float32)
    starts = np.arange(0, len(y), hop)
    spectrum = np.abs(np.fft.rfft(frame(padded, n_fft, 1)[starts] * window, axis=1)) / (window.sum() / 2)
    return 20 * np.log10(np.maximum(spectrum, 1e-10)).T


def waveform_and_spectrogram(y, sr=16000, role="reference", title=None, axes=None, limit=None):
    """The waveform above its spectrogram, on one time axis.

    Parameters
    ----------
    y, sr, role, title, limit : as `waveform`
    axes : two matplotlib axes, optional

    Returns
    -------
    two axes
    """
    if axes is None:
        _, axes = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained", height_ratios=(1, 1.5))
    waveform(y, sr, axes[0], role, title, limit).set_xlabel("")
    spectrogram(y, sr, axes[1])
    axes[0].tick_params(labelbottom=False)
    return axes


def comparison(signals, sr=16000, roles=None):
    """Several signals side by side: waveform above spectrogram, all on the same scales.

    Parameters
    ----------
    signals : dict of str to float array of shape (n_samples,)
        Title and signal of each column.
    sr : int, Hz
    roles : sequence of str, optional
        One for each signal; by default the first is ``"reference"`` and the
        others are ``"generated"``.

    Returns
    -------
    axes : array of shape (2, n_signals)

    Raises
    ------
    ValueError
        No signals, or another number of roles.
    """
    if not signals:
        raise ValueError("signals is empty; give at least one")
    roles = roles or ["reference"] + ["generated"] * (len(signals) - 1)
    if len(roles) != len(signals):
        raise ValueError(f"{len(roles)} roles for {len(signals)} signals; give one for each")
    n = len(signals)
    fig, axes = plt.subplots(2, n, figsize=(max(5, min(3.1 * n, 14)), 4.2), layout="constrained", squeeze=False,
                             sharey="row", height_ratios=(1, 1.5))
    limit = max(1.1 * max(float(np.abs(_signal(y)).max()) for y in signals.values()), 1e-3)
    for i, ((title, y), role) in enumerate(zip(signals.items(), roles)):
        waveform_and_spectrogram(y, sr, role, title, axes[:, i], limit)
        axes[1, i].set_xlim(axes[0, i].get_xlim())
        if i:
            axes[0, i].set_ylabel(""), axes[1, i].set_ylabel("")
    bar = fig.colorbar(axes[1, -1].images[0], ax=axes[1, :], pad=0.01, aspect=15)
    bar.set_label("level (dB)", color=INK, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=INK)
    bar.outline.set_visible(False)
    return axes


def scaling_histograms(y, kinds=("none", "mean", "minmax", "std"), axes=None):
    """What each scaling makes of a signal: a histogram of its values, with its mean and variance.

    Parameters
    ----------
    y : array of shape (n_samples,)
    kinds : sequence of str
        See `frames.Scaling`.
    axes : sequence of matplotlib axes, optional

    Returns
    -------
    axes

    Raises
    ------
    ValueError
        As `Scaling.fit`.
    """
    titles = {"none": "x", "mean": "(x - mean) / (max - min)", "minmax": "(x - min) / (max - min)", "std": "x / std"}
    if axes is None:
        axes = plt.subplots(1, len(kinds), figsize=(3 * len(kinds), 2.4), layout="constrained", sharey=True, squeeze=False)[1][0]
    for i, (kind, ax) in enumerate(zip(kinds, axes)):
        scaling = Scaling.fit(kind, y)
        z = scaling.apply(y)
        ax.hist(z, bins=80, weights=np.full(z.shape, 100 / z.size), color=COLOURS["reference"], log=True)
        ax.axvline(float(scaling.mean_of_scaled), color=COLOURS["train"], linewidth=1)
        ax.text(0.98, 0.97, f"mean {float(scaling.mean_of_scaled):.3f}\nvariance {scaling.variance:.3g}", transform=ax.transAxes,
                ha="right", va="top", fontsize=8.5, color=INK)
        dress(ax, "scaled value", "" if i else "share of samples (%)", titles.get(kind, kind))
        ax.margins(y=0.25)
    return axes


def _signal(y):
    """`y` as a float signal, or ValueError."""
    y = np.asarray(y)
    if y.ndim != 1 or not len(y) or y.dtype.kind != "f":
        raise ValueError(f"y has shape {y.shape} and dtype {y.dtype}; a figure needs a float signal of shape (n_samples,)")
    return y
