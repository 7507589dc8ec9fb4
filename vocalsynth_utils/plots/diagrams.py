"""Diagrams that explain: a signal cut into frames, and the network unrolled in time."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from .signals import height, spectrum_level, waveform
from .style import COLOURS, FAINT, INK, dress, new_axes

DX, DY = 1.9, 0.85  # from step to step, from layer to layer
WIDTH, HEIGHT = 1.12, 0.44  # of a box


def framing(y, sr=16000, frame_length=16000, n_frames=6, ax=None, offset=0):
    """The beginning of a signal of one frame at least, `n_frames` of them shaded and numbered.

    `frame_length` and `offset`, where the first begins, one of `preprocessing.offsets`, are in samples.
    """
    rest = len(y) - offset
    n_frames = min(n_frames, rest // frame_length)
    if n_frames < 1:
        raise ValueError(f"y has {rest} samples from {offset} on, fewer than one frame of {frame_length}; shorten it")
    shown = y[: (n_frames + 1) * frame_length]
    top = height(shown, margin=1.35)
    ax = waveform(shown, sr, ax, limit=top)
    for i in range(n_frames):
        left, right = (offset + np.array([i, i + 1]) * frame_length) / sr
        shade = {"color": COLOURS["train"], "alpha": 0.13} if i % 2 else {"color": FAINT, "alpha": 0.6}
        ax.axvspan(left, right, **shade, linewidth=0, zorder=0)
        middle = ((left + right) / 2, 0.86 * top)
        ax.text(*middle, f"$x^{{({i + 1})}}$", ha="center", va="center", fontsize=10.5, color=INK)
    ax.grid(False)
    return ax


def frame_view(X, sequence=0, step=0, sr=16000, axes=None):
    """One frame in its sequence: where it lies, its samples, its spectrum: three axes.

    Parameters
    ----------
    X : float array of shape (n_sequences, n_steps, frame_length), full scale 1
    sequence, step : int, which frame: from 0 to below n_sequences, n_steps
    """
    if np.ndim(X) != 3:
        raise ValueError(f"X has shape {np.shape(X)}; it must be (n_sequences, n_steps, frame_length)")
    n_sequences, n_steps, n = X.shape
    if not (0 <= sequence < n_sequences and 0 <= step < n_steps):
        raise ValueError(f"sequence={sequence}, step={step} is not in X, {n_sequences} sequences of {n_steps} frames")
    if axes is None:
        axes = list(plt.subplot_mosaic("ss;fp", figsize=(9, 4), layout="constrained")[1].values())
    whole, part, spectrum = axes
    y, x = np.asarray(X[sequence]).reshape(-1), np.asarray(X[sequence, step])  # (n_steps * n,), (n,)
    title = f"sequence {sequence}, frame {step}: {n:,} samples, {1000 * n / sr:g} ms"
    waveform(y, sr, whole, title=title).set(xlabel="time in the sequence (s)", ylabel="amplitude")
    whole.axvspan(step * n / sr, (step + 1) * n / sr, color=COLOURS["train"], alpha=0.25, linewidth=0)
    waveform(x, sr / 1000, part, "train", limit=height(y)).set(xlabel="time in the frame (ms)", ylabel="amplitude")
    level = spectrum_level(x, np.hanning(n + 2)[1:-1])
    spectrum.plot(np.fft.rfftfreq(n, 1 / sr) / 1000, level, color=COLOURS["train"], linewidth=0.8)
    spectrum.set(xlim=(0, sr / 2000), ylim=(-100, 0))
    dress(spectrum, "frequency (kHz)", "level (dB)")
    return axes


def unrolled_network(n_units=(600, 600, 600), n_steps=4, n_features=16000, ax=None):
    """The network unrolled in time: frames below, LSTM layers between, predictions of the next frames above.

    As in the 2016 write-up: given x(i), produce x(i + 1), so y(i) is compared with x(i + 1).

    Parameters
    ----------
    n_units : sequence of int, one for each LSTM layer, the lowest first
    n_steps : int, columns to draw; the last stands for step n - 1, whose prediction is of frame n
    n_features : int, numbers in a frame
    """
    layers = [(i + 1) * DY for i in range(len(n_units))]  # heights
    output, target = (len(n_units) + 1) * DY, (len(n_units) + 2) * DY
    right = (n_steps - 1) * DX + 0.85
    ax = new_axes(ax, (9, 1.9 + 0.62 * len(n_units)))
    gap = WIDTH / 2 + 0.02
    for i in range(n_steps):
        last = i == n_steps - 1
        step, following = ("n-1", "n") if last else (i + 1, i + 2)
        _column(ax, i * DX, layers, output, target, step, following)
        for y in layers if i else ():
            _arrow(ax, ((i - 1) * DX + gap, y), (i * DX - gap, y), linestyle=":" if last else "-")
    notes = {0: f"a frame of {n_features:,} numbers", output: f"linear: {n_features:,} numbers"}
    notes.update({y: f"layer {i + 1}: {n:,} units" for i, (y, n) in enumerate(zip(layers, n_units))})
    notes[target] = "the true next frame:\nsquared distance"
    for y, note in notes.items():
        _text(ax, right, y, note, ha="left", fontsize=9.5)
    _text(ax, -0.95, output / 2, "state (hid, cell) flows\nfrom step to step", rotation=90, fontsize=9)
    ax.set(xlim=(-1.25, right + 2.3), ylim=(-0.45, target + 0.4))
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _column(ax, x, layers, output, target, step, following):
    """One step: its frame, its layers, its prediction, and the frame that this is compared with."""
    _box(ax, x, 0, f"$x^{{({step})}}$", COLOURS["reference"])
    for y in layers:
        _box(ax, x, y, "LSTM", COLOURS["train"])
    _box(ax, x, output, f"$y^{{({step})}}=\\hat{{x}}^{{({following})}}$", COLOURS["generated"])
    gap = HEIGHT / 2 + 0.02
    for y in (*layers, output):
        _arrow(ax, (x, y - DY + gap), (x, y - gap))
    _text(ax, x, target, f"$x^{{({following})}}$", color=COLOURS["reference"])
    _arrow(ax, (x, target - 0.18), (x, output + gap), arrowstyle="<->", color=COLOURS["valid"])


def _text(ax, x, y, text, **options):
    """Text around a point."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 11, "color": INK, **options})


def _box(ax, x, y, text, colour):
    """A rounded box with text, centred."""
    corner, look = (x - WIDTH / 2, y - HEIGHT / 2), {"facecolor": colour + "22", "edgecolor": colour, "linewidth": 1.4}
    ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0,rounding_size=0.1", **look, zorder=3))
    _text(ax, x, y - 0.01, text, zorder=4)


def _arrow(ax, start, end, arrowstyle="->", color=INK, linestyle="-"):
    """An arrow from one point to another."""
    look = {"mutation_scale": 11, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "zorder": 2}
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle=arrowstyle, color=color, linestyle=linestyle, **look))
