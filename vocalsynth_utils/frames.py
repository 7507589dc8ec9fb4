"""Cut a signal into parts, frames and sequences, scale it, and undo each of these.

Everything returns views where numpy can give one, so that a three-hour
recording on disk becomes ``(172, 50, 16000)`` without being copied.
"""
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .scaling import Scaling, Statistics, checked_bounds

__all__ = ["FRACTIONS", "Scaling", "Statistics", "checked_bounds", "deframe", "frame", "offsets", "sequences", "split", "split_sizes", "unsequence"]

FRACTIONS = (0.8, 0.1, 0.1)     # train, valid, test


def split_sizes(n_samples, fractions=FRACTIONS):
    """Lengths of the train, valid and test parts.

    Parameters
    ----------
    n_samples : int
    fractions : three floats above 0 that sum to 1

    Returns
    -------
    tuple of three ints that sum to `n_samples`

    Raises
    ------
    ValueError
        Bad fractions, or so few samples that a part would be empty.

    Examples
    --------
    >>> split_sizes(172_800_000)
    (138240000, 17280000, 17280000)
    """
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions={fractions!r} must be three numbers above 0 that sum to 1, as in {FRACTIONS}")
    n_train = int(round(n_samples * fractions[0]))
    n_valid = int(round(n_samples * (fractions[0] + fractions[1]))) - n_train
    sizes = n_train, n_valid, n_samples - n_train - n_valid
    if min(sizes) < 1:
        raise ValueError(f"{n_samples} samples split into {sizes}, and a part is empty; use a longer recording")
    return sizes


def split(y, fractions=FRACTIONS):
    """Train, valid and test parts of a signal, in this order in time.

    Split first, frame afterwards: a frame that crosses the boundary, or
    shifted copies of one second, would otherwise stand on both sides.

    Parameters
    ----------
    y : array of shape (n_samples, ...), or int
        For a number of samples, slices are returned.
    fractions : three floats above 0 that sum to 1

    Returns
    -------
    train, valid, test : views of `y`, or slices

    Raises
    ------
    ValueError
        As `split_sizes`.
    """
    n_samples = y if isinstance(y, (int, np.integer)) else len(y)
    n_train, n_valid, _ = split_sizes(n_samples, fractions)
    slices = slice(0, n_train), slice(n_train, n_train + n_valid), slice(n_train + n_valid, n_samples)
    return slices if n_samples is y else tuple(y[s] for s in slices)


def frame(y, frame_length, hop_length=None):
    """Cut a signal into frames; what does not fill the last one is dropped.

    Parameters
    ----------
    y : array of shape (n_samples,)
    frame_length : int, samples
    hop_length : int, optional
        Samples between the starts of two frames, at most `frame_length`
        (the default: frames side by side).

    Returns
    -------
    frames : read-only view of shape (n_frames, frame_length)

    Raises
    ------
    ValueError
        A signal shorter than one frame, or a hop that skips samples.

    Examples
    --------
    >>> frame(np.arange(7), 3)
    array([[0, 1, 2],
           [3, 4, 5]])
    """
    hop_length = _hop(frame_length, hop_length)
    y = np.asanyarray(y)
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}; a signal has one dimension, (n_samples,)")
    if len(y) < frame_length:
        remedy = f"use frame_length <= {len(y)}" if len(y) else "use a longer recording"
        raise ValueError(f"y has {len(y)} samples, fewer than one frame of {frame_length}; {remedy}")
    return sliding_window_view(y, frame_length)[::hop_length]


def deframe(frames, hop_length=None):
    """Join frames into a signal again; where they overlap, their mean is taken.

    Parameters
    ----------
    frames : array of shape (n_frames, frame_length)
    hop_length : int, optional
        As given to `frame`.

    Returns
    -------
    y : array of shape ((n_frames - 1) * hop_length + frame_length,)
        ``deframe(frame(y, ...))`` is `y` up to the end of its last whole frame.

    Raises
    ------
    ValueError
        Another shape, or a hop longer than a frame.
    """
    frames = np.asarray(frames)
    if frames.ndim != 2 or not len(frames):
        raise ValueError(f"frames has shape {frames.shape}; it must be (n_frames, frame_length) with a frame in it")
    n_frames, frame_length = frames.shape
    hop_length = _hop(frame_length, hop_length)
    if hop_length == frame_length:
        return frames.reshape(-1)
    total = np.zeros((n_frames - 1) * hop_length + frame_length)
    count = np.zeros(len(total))
    n_lanes = -(-frame_length // hop_length)        # frames of one lane do not overlap
    for lane in range(min(n_lanes, n_frames)):
        own = frames[lane::n_lanes]                 # (n_own, frame_length)
        where = hop_length * (lane + n_lanes * np.arange(len(own)))[:, None] + np.arange(frame_length)
        total[where] += own
        count[where] += 1
    y = total / count
    return np.rint(y).astype(frames.dtype) if frames.dtype.kind in "iu" else y.astype(frames.dtype)


def _hop(frame_length, hop_length):
    """The hop, checked together with the frame length."""
    hop_length = frame_length if hop_length is None else hop_length
    if not isinstance(frame_length, (int, np.integer)) or frame_length < 1:
        raise ValueError(f"frame_length={frame_length!r} must be a whole number of samples above 0")
    if not isinstance(hop_length, (int, np.integer)) or not 1 <= hop_length <= frame_length:
        raise ValueError(f"hop_length={hop_length!r} must be a whole number from 1 to frame_length={frame_length}; "
                         "a longer hop would skip samples")
    return int(hop_length)


def sequences(frames, n_steps):
    """Group frames into sequences; what does not fill the last one is dropped.

    Parameters
    ----------
    frames : array of shape (n_frames, n_features)
    n_steps : int, frames in a sequence

    Returns
    -------
    X : array of shape (n_sequences, n_steps, n_features), a view where possible

    Raises
    ------
    ValueError
        Fewer frames than one sequence.

    Examples
    --------
    >>> y = np.broadcast_to(np.int16(0), 172_800_000)           # three hours at 16 kHz
    >>> [sequences(frame(part, 16000), 50).shape for part in split(y)]
    [(172, 50, 16000), (21, 50, 16000), (21, 50, 16000)]
    """
    frames = np.asanyarray(frames)
    if frames.ndim != 2:
        raise ValueError(f"frames has shape {frames.shape}; it must be (n_frames, n_features)")
    if not isinstance(n_steps, (int, np.integer)) or n_steps < 1:
        raise ValueError(f"n_steps={n_steps!r} must be a whole number of frames above 0")
    n_sequences = len(frames) // n_steps
    if not n_sequences:
        remedy = f"use n_steps <= {len(frames)}" if len(frames) else "use a longer recording"
        raise ValueError(f"{len(frames)} frames are fewer than one sequence of n_steps={n_steps}; {remedy}")
    return frames[:n_sequences * n_steps].reshape(n_sequences, n_steps, frames.shape[1])


def unsequence(X):
    """Sequences back to frames: (n_sequences, n_steps, n_features) to (n_sequences * n_steps, n_features)."""
    X = np.asanyarray(X)
    if X.ndim != 3:
        raise ValueError(f"X has shape {X.shape}; it must be (n_sequences, n_steps, n_features)")
    return X.reshape(-1, X.shape[2])


def offsets(frame_length, n_offsets):
    """Start shifts for `n_offsets` copies of a recording, evenly spread within one frame.

    Parameters
    ----------
    frame_length : int
    n_offsets : int

    Returns
    -------
    tuple of `n_offsets` different ints in [0, frame_length), the first 0

    Raises
    ------
    ValueError
        No copy at all, or more than there are shifts.

    References
    ----------
    The 2016 code stepped by 4000/6 up to 4000 and so made 7 shifts where 6
    were asked for, the last nearly a whole frame.

    Examples
    --------
    >>> offsets(4000, 6)
    (0, 666, 1333, 2000, 2666, 3333)
    """
    if not 1 <= n_offsets <= frame_length:
        raise ValueError(f"n_offsets={n_offsets} must be from 1 to frame_length={frame_length}, the shifts there are")
    return tuple(i * frame_length // n_offsets for i in range(n_offsets))
