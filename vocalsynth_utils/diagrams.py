"""Diagrams that explain: the network unrolled in time, and a signal cut into frames."""
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from .plot_style import COLOURS, FAINT, INK, dress, new_axes


def unrolled_network(n_units=(600, 600, 600), n_steps=4, n_features=16000, ax=None):
    """The network unrolled in time: frames below, LSTM layers between, predictions of the next frames above.

    Parameters
    ----------
    n_units : sequence of int
        One for each LSTM layer, the lowest first.
    n_steps : int
        Columns to draw; the last stands for step n - 1, whose prediction is of
        frame n.
    n_features : int
        Numbers in a frame.
    ax : matplotlib axes, optional

    Returns
    -------
    ax

    References
    ----------
    The 2016 write-up: given x(i), produce x(i + 1), so y(i) is compared with
    x(i + 1).
    """
    n_layers = len(n_units)
    ax = new_axes(ax, (9, 1.9 + 0.62 * n_layers))
    steps = [str(i + 1) for i in range(n_steps - 1)] + ["n-1"]
    following = [str(i + 2) for i in range(n_steps - 1)] + ["n"]
    dx, dy = 1.9, 0.85
    heights = {"x": 0.0, "y": (n_layers + 1) * dy, "loss": (n_layers + 2) * dy}
    for i, (step, after) in enumerate(zip(steps, following)):
        x = i * dx
        _box(ax, x, 0, f"$x^{{({step})}}$", COLOURS["reference"])
        for layer in range(n_layers):
            _box(ax, x, (layer + 1) * dy, "LSTM", COLOURS["train"])
            _arrow(ax, (x, layer * dy), (x, (layer + 1) * dy))
            if i:
                gap = i == n_steps - 1 and n_steps > 1
                _arrow(ax, (x - dx, (layer + 1) * dy), (x, (layer + 1) * dy), across=True, dotted=gap)
        _arrow(ax, (x, n_layers * dy), (x, heights["y"]))
        _box(ax, x, heights["y"], f"$y^{{({step})}}=\\hat{{x}}^{{({after})}}$", COLOURS["generated"])
        _arrow(ax, (x, heights["loss"] - 0.12), (x, heights["y"]), both=True)
        ax.text(x, heights["loss"], f"$x^{{({after})}}$", ha="center", va="center", fontsize=11, color=COLOURS["reference"])
    right = (n_steps - 1) * dx + 0.85
    notes = [(0, f"a frame of {n_features:,} numbers")] + [((i + 1) * dy, f"layer {i + 1}: {n:,} units") for i, n in enumerate(n_units)]
    notes += [(heights["y"], f"linear: {n_features:,} numbers"), (heights["loss"], "the true next frame:\nsquared distance")]
    for height, note in notes:
        ax.text(right, height, note, va="center", fontsize=9.5, color=INK)
    ax.text(-0.95, (n_layers + 1) / 2 * dy, "state (hid, cell) flows\nfrom step to step", rotation=90, ha="center", va="center",
            fontsize=9, color=INK)
    ax.set(xlim=(-1.25, right + 2.3), ylim=(-0.45, heights["loss"] + 0.4))
    ax.set_axis_off()
    return ax


def _box(ax, x, y, text, colour, width=1.12, height=0.44):
    """A rounded box with text, centred."""
    ax.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.1",
                                facecolor=colour + "22", edgecolor=colour, linewidth=1.4, zorder=3))
    ax.text(x, y - 0.01, text, ha="center", va="center", fontsize=11, color=INK, zorder=4)


def _arrow(ax, start, end, across=False, both=False, dotted=False):
    """An arrow from one box to another, kept clear of both."""
    (x0, y0), (x1, y1) = start, end
    if across:
        x0, x1 = x0 + 0.58, x1 - 0.58
    else:
        y0, y1 = (y0 + 0.24, y1 - 0.24) if y1 > y0 else (y0 - 0.06, y1 + 0.24)
    ax.add_patch(FancyArrowPatch((x0, y0), (x1, y1), arrowstyle="<->" if both else "->", mutation_scale=11, linewidth=1.2,
                                 color=COLOURS["valid"] if both else INK, linestyle=":" if dotted else "-",
                                 shrinkA=0, shrinkB=0, zorder=2))


def framing(y, sr=16000, frame_length=16000, n_frames=6, ax=None, offset=0):
    """The beginning of a signal with its frames shaded and numbered.

    Parameters
    ----------
    y : float array of shape (n_samples,)
    sr : int, Hz
    frame_length : int, samples
    n_frames : int
        Frames to show.
    ax : matplotlib axes, optional
    offset : int
        Start of the first frame, samples: one of `frames.offsets`.

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        A signal shorter than one frame.
    """
    n_frames = min(n_frames, (len(y) - offset) // frame_length)
    if n_frames < 1:
        raise ValueError(f"y has {len(y)} samples, fewer than one frame of {frame_length} at offset {offset}; use shorter frames")
    ax = new_axes(ax, (9, 2.2))
    shown = np.asarray(y[:min(len(y), (n_frames + 1) * frame_length)])
    step = max(1, len(shown) // 20000)
    ax.plot(np.arange(len(shown))[::step] / sr, shown[::step], color=COLOURS["reference"], linewidth=0.7)
    top = 1.35 * max(float(np.abs(shown).max()), 1e-3)
    for i in range(n_frames):
        left, right = (offset + i * frame_length) / sr, (offset + (i + 1) * frame_length) / sr
        ax.axvspan(left, right, color=COLOURS["train"] if i % 2 else FAINT, alpha=0.13 if i % 2 else 0.6, linewidth=0, zorder=0)
        ax.text((left + right) / 2, 0.86 * top, f"$x^{{({i + 1})}}$", ha="center", va="center", fontsize=10.5, color=INK)
    ax.set(xlim=(0, len(shown) / sr), ylim=(-top, top))
    return dress(ax, "time (s)", "amplitude (full scale)", grid=None)


def frame_view(X, sequence=0, step=0, sr=16000, axes=None):
    """One frame in its sequence: where it lies, its samples, its spectrum.

    Parameters
    ----------
    X : float array of shape (n_sequences, n_steps, frame_length), full scale 1
    sequence, step : int
        Which frame.
    sr : int, Hz
    axes : three matplotlib axes, optional
        For the sequence, the frame and its spectrum.

    Returns
    -------
    three axes

    Raises
    ------
    ValueError
        Another shape, or a frame that is not there.
    """
    if np.ndim(X) != 3:
        raise ValueError(f"X has shape {np.shape(X)}; it must be (n_sequences, n_steps, frame_length)")
    n_sequences, n_steps, frame_length = X.shape
    if not (0 <= sequence < n_sequences and 0 <= step < n_steps):
        raise ValueError(f"sequence={sequence}, step={step} is not in X, which has {n_sequences} sequences of {n_steps} frames")
    if axes is None:
        axes = plt.figure(figsize=(9, 4), layout="constrained").subplot_mosaic("ss;fp")
        axes = [axes[k] for k in "sfp"]
    y, x = np.asarray(X[sequence]).reshape(-1), np.asarray(X[sequence, step])    # (n_steps * frame_length,), (frame_length,)
    whole, part, spectrum = axes
    stride = max(1, len(y) // 20000)
    whole.plot(np.arange(len(y))[::stride] / sr, y[::stride], color=COLOURS["reference"], linewidth=0.6)
    whole.axvspan(step * frame_length / sr, (step + 1) * frame_length / sr, color=COLOURS["train"], alpha=0.25, linewidth=0)
    top = max(1.1 * float(np.abs(y).max()), 1e-3)
    whole.set(xlim=(0, len(y) / sr), ylim=(-top, top))
    dress(whole, "time in the sequence (s)", "amplitude", f"sequence {sequence}, frame {step}: {frame_length:,} samples, {1000 * frame_length / sr:g} ms")
    part.plot(1000 * np.arange(frame_length) / sr, x, color=COLOURS["train"], linewidth=0.8)
    part.set(xlim=(0, 1000 * frame_length / sr), ylim=(-top, top))
    dress(part, "time in the frame (ms)", "amplitude")
    window = np.hanning(frame_length + 2)[1:-1]
    level = 20 * np.log10(np.maximum(np.abs(np.fft.rfft(x * window)) / (window.sum() / 2), 1e-5))
    spectrum.plot(np.fft.rfftfreq(frame_length, 1 / sr) / 1000, level, color=COLOURS["train"], linewidth=0.8)
    spectrum.set(xlim=(0, sr / 2000), ylim=(-100, 0))
    dress(spectrum, "frequency (kHz)", "level (dB)")
    return axes
