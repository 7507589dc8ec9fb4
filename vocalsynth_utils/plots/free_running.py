"""Figures of where free running leads: how a signal goes on, how loud, how long, in what order; and its attractor."""

import numpy as np
from matplotlib.ticker import LogLocator

from ..preprocessing import frame
from .style import COLOURS, INK, dress, line, new_axes


def continuation(primer, generated, truth=None, ax=None, title=None):
    """What a loop was given, what it made of it, and what would have been right.

    `primer`, (n_primer,), not empty, and `generated` and `truth`, (n,), are float arrays, a number for each frame. The
    vertical axis has 3 times the primer's height; what leaves it has blown up.
    """
    if np.ndim(primer) != 1 or not len(primer):
        raise ValueError(f"primer has shape {np.shape(primer)}; it must be (n_primer,) with a number in it")
    ax = new_axes(ax, (9, 1.7))
    after = len(primer) + np.arange(len(generated))
    ax.plot(primer, color=COLOURS["reference"], linewidth=1.4, label="primer")
    ax.plot(after, generated, color=COLOURS["generated"], linewidth=1.6, label="generated")
    if truth is not None:
        ax.plot(after, truth, color=INK, linestyle=":", linewidth=1.2, label="truth")
    limit = 3 * max(float(np.abs(primer).max()), 1e-3)
    ax.axvspan(0, len(primer) - 0.5, color=COLOURS["reference"], alpha=0.08, linewidth=0)
    ax.set(xlim=(0, len(primer) + len(generated)), ylim=(-limit, limit))
    return dress(ax, "time (frames)", "value (scaled)", title, beside=True)


def levels(signals, sr=16000, frame_length=2000, ax=None, title=None):
    """Level of each frame, `frame_length` samples, against time, for signals that should sound alike.

    `signals` is a dict of float arrays of shape (n_samples,), full scale 1, of one frame at least.
    """
    ax = new_axes(ax, (9, 2.8))
    for i, (name, y) in enumerate(signals.items()):
        frames = frame(np.asarray(y, dtype=float), frame_length)  # (n_frames, frame_length)
        level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
        seconds = (np.arange(len(level)) + 0.5) * frame_length / sr
        ax.plot(seconds, level, **line(name, i, len(level)), label=name)
    ax.set_xlim(left=0)
    return dress(ax, "time (s)", "level (dB)", title, beside=True)


def survival(seconds, total, ax=None, title=None):
    """Share of generated signals that are still voice-like, against time.

    Parameters
    ----------
    seconds : dict of str to sequence of float, how long a recipe's signals survived, s: not empty, from 0 to `total`
    total : float, how long they were let run, s; survivors of all of it never fall
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, times) in enumerate(seconds.items()):
        times = np.sort(np.asarray(times, dtype=float))
        if times.ndim != 1 or not len(times) or not (0 <= times[0] and times[-1] <= total * (1 + 1e-9)):
            raise ValueError(f"seconds[{name!r}] must be times from 0 to total={total:g} s, one for each signal")
        fallen = times[times < total]
        share = 100 * (1 - np.arange(len(fallen) + 1) / len(times))
        t, share = np.concatenate([[0], fallen, [total]]), np.append(share, share[-1])
        ax.step(t, share, where="post", **line(name, i), label=name)
    ax.set(xlim=(0, total), ylim=(-3, 105))
    return dress(ax, "time generated (s)", "still voice-like (%)", title, beside=True)


def order(curves, voice, ax=None, title=None):
    """How little the order of sounds is foreseen against how much of it recurs, as a temperature moves both.

    Parameters
    ----------
    curves : dict of str to dict, of each network, by temperature, what `evaluation.order` returns: perplexity, repeated
    voice : (float, float), the same of the voice itself
    """
    ax = new_axes(ax, (9, 3.4))
    for i, (name, points) in enumerate(curves.items()):
        perplexity, repeated = np.array([point[:2] for point in points.values()]).T
        ax.plot(repeated, perplexity, **line(name, i + 1), label=name)
        for temperature, x, y in zip(points, repeated, perplexity):
            ax.annotate(f"{temperature:g}", (x, y), (5, 5), textcoords="offset points", fontsize=8.5, color=INK)
    ax.plot(voice[1], voice[0], "*", color=COLOURS["reference"], markersize=15, label="the voice itself", zorder=5)
    ax.set(xlim=(0, 1), yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    return dress(ax, "repeated trigrams (share)", "perplexity (units, log scale)", title, beside=True)


def attractor(reference, generated, lag=8, ax=None, title=None):
    """A signal against itself a little later: the loops of a voice, and the point or ring a dead network ends in.

    `reference` and `generated` are float arrays of shape (n_samples,), any one number over time, longer than `lag`, the
    samples between the two axes. Delays stand for the hidden state (F. Takens, "Detecting strange attractors in
    turbulence", 1981).
    """
    ax = new_axes(ax, (4.4, 4.2))
    for name, y, width, alpha in (("reference", reference, 0.5, 0.6), ("generated", generated, 0.9, 0.9)):
        y = np.asarray(y)
        if y.ndim != 1 or len(y) <= lag:
            raise ValueError(f"{name} has shape {y.shape}; it must be one signal of more than lag={lag} samples")
        ax.plot(y[:-lag], y[lag:], color=COLOURS[name], linewidth=width, alpha=alpha, label=name)
    ax.plot(y[-1 - lag], y[-1], "o", color=COLOURS["valid"], markersize=7, zorder=5, label="where it ends")
    return dress(ax, "x(t)", f"x(t + {lag} samples)", title, grid=None, beside=True)


def recurrence(y, length=1000, farthest=4000):
    """How far a signal's end is from the most similar stretch before it, root mean square, in units of `y`.

    This is 0 for a constant and for any loop, and near the signal's own level for a voice. The end is the last `length`
    samples, at most half of all; `farthest` is how many samples to go back at most.
    """
    y = np.asarray(y, float)[-(length + farthest) :]
    if len(y) < 2 * length:
        raise ValueError(f"y has {len(y)} samples; use length <= {len(y) // 2}")
    earlier = np.lib.stride_tricks.sliding_window_view(y[:-1], length)
    return float(np.sqrt(np.square(earlier - y[-length:]).mean(axis=1).min()))
