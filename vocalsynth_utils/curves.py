"""Figures of numbers: learning curves, gradients, errors within a frame, levels and survival of free-running networks."""
import numpy as np
from matplotlib.ticker import MaxNLocator

from .frames import frame
from .plot_style import BASELINES, COLOURS, INK, colour_of, dress, legend, new_axes


def learning_curve(rows, variance=1.0, baselines=None, ax=None, title=None):
    """Train and valid loss over epochs, the best epoch marked, the baselines dashed.

    Parameters
    ----------
    rows : sequence of dict
        Rows of log.csv: `epoch`, `train_loss`, `valid_loss`.
    variance : float
        Of the scaled data; every loss is divided by it, so that 1 is the loss
        of always predicting the mean.
    baselines : dict of str to float, optional
        Losses that are in units of the variance already, as `dataset.baselines`
        gives them.
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        A variance that is not above 0.
    """
    if not variance > 0:
        raise ValueError(f"variance={variance!r} must be above 0; take it from the run's recipe.json")
    ax = new_axes(ax, (9, 3.6))
    epochs = np.array([r["epoch"] for r in rows], dtype=float)
    train, valid = (np.array([r[key] for r in rows], dtype=float) / variance for key in ("train_loss", "valid_loss"))
    few = "." if len(rows) < 3 else None
    ax.plot(epochs, train, color=COLOURS["train"], linewidth=1.6, label="train", marker=few)
    ax.plot(epochs, valid, color=COLOURS["valid"], linewidth=1.6, label="valid", marker=few)
    if np.isfinite(valid).any():
        best = int(np.nanargmin(valid))
        ax.plot(epochs[best], valid[best], "o", color=COLOURS["valid"], markerfacecolor="white", markersize=8, zorder=5, clip_on=False,
                label=f"best valid {valid[best]:.3f}\nat epoch {epochs[best]:.0f}")
    for i, (name, level) in enumerate((baselines or {}).items()):
        ax.axhline(level, color=BASELINES.get(name, colour_of(name, i)), linestyle="--", linewidth=1.1, label=f"{name} {level:.3f}")
    ax.set_xlim(min(1, *epochs) if len(rows) > 1 else 1, max(2, *epochs) if len(rows) > 1 else 2)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    _frame_losses(ax, baselines or {})
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "epoch", "loss / variance", title)


def _frame_losses(ax, baselines):
    """Vertical limits: from 0 when the curves come near it, and never lost in one early peak."""
    curves = np.concatenate([line.get_ydata() for line in ax.lines[:2]])     # train and valid
    values = np.concatenate([curves[np.isfinite(curves)], list(baselines.values())])
    if not np.isfinite(curves).any():
        ax.set_ylim(0, 1.2 * max(values, default=1))
    elif len(values):
        top = min(values.max(), 2 * max(np.median(values), *(list(baselines.values()) or [0])))
        low = values.min()
        room = 0.08 * (top - min(low, top)) + 1e-3
        ax.set_ylim(0 if low < 0.5 * top else low - 2 * room, top + 2 * room)


def error_in_frame(errors, sr=16000, ax=None, title=None):
    """Mean squared error against how far into the predicted frame a sample lies.

    Parameters
    ----------
    errors : dict of str to float array of shape (frame_length,)
        Squared error / variance at each sample of the frame, by name of the predictor.
    sr : int, Hz
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax
        With the loss of predicting the mean, 1, dashed.

    Raises
    ------
    ValueError
        An array of another shape.
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, error) in enumerate(errors.items()):
        error = np.asarray(error, dtype=float)
        if error.ndim != 1 or not len(error):
            raise ValueError(f"errors[{name!r}] has shape {error.shape}; it must be (frame_length,)")
        ms = 1000 * (np.arange(len(error)) + 0.5) / sr
        ax.plot(ms, error, color=colour_of(name, i), linewidth=1.5, linestyle="--" if name in BASELINES else "-", label=name)
    ax.axhline(1, color=INK, linestyle="--", linewidth=1.1, label="mean" if "mean" not in errors else None)
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    legend(ax, loc="lower right")
    return dress(ax, "time into the predicted frame (ms)", "squared error / variance", title)


def survival(seconds, total, ax=None, title=None):
    """Share of generated signals that are still voice-like, against time.

    Parameters
    ----------
    seconds : dict of str to sequence of float
        For each recipe, how long each of its signals survived, s.
    total : float
        How long they were let run, s; survivors of all of it never fall.
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        A recipe without a signal, or a survival longer than the run.
    """
    ax = new_axes(ax, (9, 3.2))
    for i, (name, times) in enumerate(seconds.items()):
        times = np.sort(np.asarray(times, dtype=float))
        if times.ndim != 1 or not len(times) or not (0 <= times[0] and times[-1] <= total * (1 + 1e-9)):
            raise ValueError(f"seconds[{name!r}] must be times from 0 to total={total:g} s, one for each signal")
        fallen = times[times < total]
        share = 100 * (1 - np.arange(len(fallen) + 1) / len(times))
        t = np.concatenate([[0], fallen, [total]])
        ax.step(t, np.concatenate([share, share[-1:]]), where="post", color=colour_of(name, i), linewidth=2, label=name)
    ax.set(xlim=(0, total), ylim=(-3, 105))
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "time generated (s)", "still voice-like (%)", title)


def gradient_sizes(gradients, epsilon, ax=None, title=None):
    """How large gradients are, beside the size below which RMSProp's epsilon outweighs them.

    Parameters
    ----------
    gradients : dict of str to float array
        Of each parameter.
    epsilon : float
        Inside RMSProp's root: gradients well below ``sqrt(epsilon)`` are
        divided by ``sqrt(epsilon)``, whatever their own size.
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        Gradients that are all zero.
    """
    sizes = np.concatenate([np.abs(np.asarray(g, dtype=float)).ravel() for g in gradients.values()])
    n, sizes = len(sizes), sizes[sizes > 0]
    if not len(sizes):
        raise ValueError("all gradients are zero; take them before training has ended, on data with sound in it")
    ax = new_axes(ax, (9, 2.8))
    edges = np.arange(np.floor(np.log10(sizes.min())), max(np.log10(sizes.max()), np.log10(epsilon) / 2) + 0.5, 0.1)
    ax.hist(sizes, bins=10 ** edges, weights=np.full(sizes.shape, 100 / n), color=COLOURS["train"])
    ax.axvline(np.sqrt(epsilon), color=COLOURS["valid"], linestyle="--", linewidth=1.3, label=f"sqrt(epsilon) = {np.sqrt(epsilon):.0e}")
    ax.set_xscale("log")
    legend(ax, loc="upper left")
    return dress(ax, "size of one entry of the gradient (loss / parameter)", "share of parameters (%)", title)


def continuation(primer, generated, truth=None, ax=None, title=None):
    """What a loop was given, what it made of it, and what would have been right.

    Parameters
    ----------
    primer : float array of shape (n_primer,)
    generated : float array of shape (n,)
    truth : float array of shape (n,), optional
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax
        With 3 times the primer's height above and below; what leaves it has blown up.

    Raises
    ------
    ValueError
        An empty primer.
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
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "time (frames)", "value (scaled)", title)


def levels(signals, sr=16000, frame_length=2000, ax=None, title=None):
    """Level of each frame against time, for signals that should sound alike.

    Parameters
    ----------
    signals : dict of str to float array of shape (n_samples,)
        Full scale 1.
    sr : int, Hz
    frame_length : int, samples
    ax : matplotlib axes, optional
    title : str, optional

    Returns
    -------
    ax

    Raises
    ------
    ValueError
        A signal shorter than one frame.
    """
    ax = new_axes(ax, (9, 2.8))
    for i, (name, y) in enumerate(signals.items()):
        frames = frame(np.asarray(y, dtype=float), frame_length)     # (n_frames, frame_length)
        level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
        ax.plot((np.arange(len(level)) + 0.5) * frame_length / sr, level, color=colour_of(name, i), linewidth=1.6, label=name)
    ax.set_xlim(left=0)
    legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return dress(ax, "time (s)", "level (dB)", title)
