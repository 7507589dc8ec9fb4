"""Figures of signals: waveform, spectrogram, several side by side, histograms of values."""

import numpy as np

from ..preprocessing import Scaling, frame
from .style import AROUND, COLOURS, INK, colour_of, dress, new_axes

FLOOR, CEILING = -90, -10  # dB, the range of every spectrogram, so that two of them compare
COLUMNS = 1200  # more than a figure has pixels


def waveform(y, sr=16000, ax=None, role="reference", title=None, limit=None, start=0.0):
    """Amplitude against time; a long signal is drawn as the band between its extremes in each pixel.

    Parameters
    ----------
    role : {"reference", "generated", "train", "valid"}, the colour
    limit : float, the vertical axis runs over +-`limit`; the default fits `y`
    start : float, time of the first sample, s
    """
    y, ax, colour = _signal(y), new_axes(ax, (9, 2.2)), colour_of(role)
    limit = limit or height(y)
    if len(y) <= 2 * COLUMNS:
        ax.plot(start + np.arange(len(y)) / sr, y, color=colour, linewidth=1)
    else:
        begins = np.append(np.arange(COLUMNS) * len(y) // COLUMNS, len(y) - 1)  # of columns; the last sample ends them
        low, high = (extreme.reduceat(y, begins) for extreme in (np.minimum, np.maximum))
        ax.fill_between(start + begins / sr, low, high, color=colour, linewidth=0.3)
    ax.set(xlim=(start, start + len(y) / sr), ylim=(-limit, limit))
    return dress(ax, "time (s)", "amplitude (full scale)", title)


def spectrogram(y, sr=16000, ax=None, title=None, n_fft=512, colourbar=False):
    """Level over time and frequency, in dB of a full-scale sine; its scale is the same for every spectrogram.

    The Hann window has `n_fft` samples; with `colourbar` the scale is drawn beside it.
    """
    y, ax = _signal(y), new_axes(ax, (9, 2.8))
    hop = max(n_fft // 4, -(-len(y) // COLUMNS))  # long signals are looked at once in a pixel
    padded = np.pad(y, (n_fft // 2, n_fft // 2 + max(0, n_fft - len(y))))
    windows = frame(padded, n_fft, 1)[np.arange(0, len(y), hop)]  # (n_columns, n_fft)
    level = spectrum_level(windows, np.hanning(n_fft).astype(np.float32)).T
    look = {"cmap": "magma", "vmin": FLOOR, "vmax": CEILING, "interpolation": "nearest"}
    image = ax.imshow(level, origin="lower", aspect="auto", extent=(0, len(y) / sr, 0, sr / 2000), **look)
    if colourbar:
        _colourbar(image, ax)
    return dress(ax, "time (s)", "frequency (kHz)", title, grid=None)


def waveform_and_spectrogram(y, sr=16000, role="reference", title=None, axes=None, limit=None):
    """The waveform (parameters as there) above its spectrogram, on one time axis: two axes."""
    if axes is None:
        axes = new_axes(None, (9, 4.2), (2, 1), sharex=True, height_ratios=(1, 1.5))[:, 0]
    waveform(y, sr, axes[0], role, title, limit).set_xlabel("")
    spectrogram(y, sr, axes[1])
    axes[0].tick_params(labelbottom=False)
    return axes


def comparison(signals, sr=16000, roles=None, axes=None):
    """Several signals side by side, waveform above spectrogram, all on the same scales.

    Parameters
    ----------
    signals : dict of str to float array of shape (n_samples,), by the title of the column; one at least
    roles : sequence of str, the colour of each; by default one ``"reference"``, then ``"generated"``
    axes : array of shape (2, n_signals)
    """
    if not signals:
        raise ValueError("signals is empty; give at least one")
    n = len(signals)
    roles = roles or ["reference"] + ["generated"] * (n - 1)
    if len(roles) != n:
        raise ValueError(f"{len(roles)} roles for {n} signals; give one for each")
    limit = height(*map(_signal, signals.values()))
    size = (max(5, min(3.1 * n, 14)), 4.2)
    axes = new_axes(axes, size, (2, n), sharey="row", height_ratios=(1, 1.5))
    for (above, below), role, (title, y) in zip(axes.T, roles, signals.items()):
        waveform_and_spectrogram(y, sr, role, title, (above, below), limit)
        below.set_xlim(above.get_xlim())
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    _colourbar(axes[1, -1].images[0], axes[1, :])
    return axes


def scaling_histograms(y, kinds=("none", "mean", "minmax", "std"), axes=None):
    """What each scaling (see `preprocessing.Scaling`) makes of a signal: its values' histogram, mean and variance."""
    titles = {"none": "x", "mean": "(x - mean) / (max - min)", "minmax": "(x - min) / (max - min)", "std": "x / std"}
    axes = np.ravel(new_axes(axes, (3 * len(kinds), 2.4), (1, len(kinds)), sharey=True))
    for ax, kind in zip(axes, kinds):
        scaling = Scaling.fit(kind, y)
        z, mean = scaling.apply(y), float(scaling.mean_of_scaled)
        ax.hist(z, bins=80, weights=np.full(z.shape, 100 / z.size), color=COLOURS["reference"], log=True)
        ax.axvline(mean, color=COLOURS["train"], linewidth=1)
        note = f"mean {mean:.3f}\nvariance {scaling.variance:.3g}"
        ax.text(0.98, 0.97, note, transform=ax.transAxes, ha="right", va="top", fontsize=8.5, color=INK)
        dress(ax, "scaled value", "share of samples (%)" if ax is axes[0] else "", titles.get(kind, kind))
        ax.margins(y=0.25)
    return axes


def spectrum_level(x, window):
    """Spectrum of windows (..., n) in dB of a full-scale sine: (..., n // 2 + 1)."""
    return 20 * np.log10(np.maximum(np.abs(np.fft.rfft(x * window)) / (window.sum() / 2), 1e-5))


def height(*signals, margin=1.1):
    """A vertical limit that fits all signals, silence too."""
    return max(margin * max(float(np.abs(y).max()) for y in signals), 1e-3)


def _colourbar(image, axes):
    """The dB scale of spectrograms, to the right of these axes."""
    bar = image.figure.colorbar(image, ax=axes, pad=0.01, aspect=15)
    bar.set_label("level (dB)", color=AROUND, fontsize=9)
    bar.ax.tick_params(labelsize=8, colors=AROUND)
    bar.outline.set_visible(False)


def _signal(y):
    """`y` as a float signal, or ValueError."""
    y = np.asarray(y)
    if y.ndim != 1 or not len(y) or y.dtype.kind != "f":
        raise ValueError(f"y has shape {y.shape} and dtype {y.dtype}; it must be a float signal of shape (n_samples,)")
    return y
