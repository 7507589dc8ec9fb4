"""A signal's parts, frames and sequences, its scaled values, and the inverse of each.

Frames and sequences are views where numpy can give one: a three-hour recording on disk becomes ``(172, 50, 16000)``
without being copied.  The statistics that a scaling needs are gathered over blocks, in one pass.
"""

import dataclasses

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .storage import numbers

FRACTIONS = (0.8, 0.1, 0.1)  # train, valid, test
KINDS = ("mean", "minmax", "std", "standardise", "none")  # of scaling
HUGE = 1e30  # no number of a scaling, nor its inverse, is beyond: squares of it are finite still
Number = float | tuple[float, ...]  # one for a signal, one for each dimension of a feature matrix


def split_sizes(n_samples, fractions=FRACTIONS):
    """Lengths of the parts that `split` makes of so many samples: three ints."""
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions={fractions!r} must be three numbers above 0 that sum to 1, as in {FRACTIONS}")
    n_train = int(round(n_samples * fractions[0]))
    n_valid = int(round(n_samples * (fractions[0] + fractions[1]))) - n_train
    sizes = n_train, n_valid, n_samples - n_train - n_valid
    if min(sizes) < 1:
        raise ValueError(f"{n_samples} samples split into {sizes}, and a part is empty; use a longer recording")
    return sizes


def split(y, fractions=FRACTIONS):
    """Train, valid and test parts of a signal, views in this order in time.

    Split first, frame afterwards: a frame across the boundary, or shifted copies of one second, would stand on both
    sides otherwise.

    Parameters
    ----------
    y : array of shape (n_samples, ...), or int
        For a number of samples, slices are returned.
    fractions : three floats above 0 that sum to 1

    Raises
    ------
    ValueError
        Bad fractions, or so few samples that a part would be empty.

    Examples
    --------
    >>> split(172_800_000)
    (slice(0, 138240000, None), slice(138240000, 155520000, None), slice(155520000, 172800000, None))
    """
    n_samples = y if isinstance(y, (int, np.integer)) else len(y)
    n_train, n_valid, _ = split_sizes(n_samples, fractions)
    slices = slice(0, n_train), slice(n_train, n_train + n_valid), slice(n_train + n_valid, n_samples)
    return slices if n_samples is y else tuple(y[s] for s in slices)


def frame(y, frame_length, hop_length=None):
    """Frames of a signal, a read-only view (n_frames, frame_length); what does not fill the last one is dropped.

    Parameters
    ----------
    y : array of shape (n_samples,)
    frame_length : int, samples
    hop_length : int, optional
        Samples between the starts of two frames, at most `frame_length` (the default: frames side by side).

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
    """The signal of some frames, the inverse of `frame`: array ((n_frames - 1) * hop_length + frame_length,).

    Parameters
    ----------
    frames : array of shape (n_frames, frame_length)
        Where they overlap, their mean is taken.
    hop_length : int, optional
        As given to `frame`.

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
    total, count = np.zeros((2, (n_frames - 1) * hop_length + frame_length))
    for i, own in enumerate(frames):
        where = slice(i * hop_length, i * hop_length + frame_length)
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
        raise ValueError(f"hop_length={hop_length!r} must be a whole number from 1 to frame_length={frame_length}")
    return int(hop_length)


def sequences(frames, n_steps):
    """Sequences of frames (n_sequences, n_steps, n_features), a view where possible; what fills none is dropped.

    Parameters
    ----------
    frames : array of shape (n_frames, n_features)
    n_steps : int, frames in a sequence

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
    return frames[: n_sequences * n_steps].reshape(n_sequences, n_steps, frames.shape[1])


def unsequence(X):
    """Sequences back to frames: (n_sequences, n_steps, n_features) to (n_sequences * n_steps, n_features)."""
    X = np.asanyarray(X)
    if X.ndim != 3:
        raise ValueError(f"X has shape {X.shape}; it must be (n_sequences, n_steps, n_features)")
    return X.reshape(-1, X.shape[2])


def offsets(frame_length, n_offsets):
    """Start shifts for `n_offsets` copies of a recording: different ints in [0, frame_length), evenly spread from 0.

    The 2016 code stepped by 4000/6 up to 4000 and so made 7 shifts where 6
    were asked for, the last nearly a whole frame.

    Raises
    ------
    ValueError
        No copy at all, or more than there are shifts.

    Examples
    --------
    >>> offsets(4000, 6)
    (0, 666, 1333, 2000, 2666, 3333)
    """
    if not 1 <= n_offsets <= frame_length:
        raise ValueError(f"n_offsets={n_offsets} must be from 1 to frame_length={frame_length}, the shifts there are")
    return tuple(i * frame_length // n_offsets for i in range(n_offsets))


@dataclasses.dataclass(frozen=True)
class Scaling:
    """``apply(x) = (x - shift) / scale``, with what it was fitted on.

    Attributes
    ----------
    kind : str
        ``"mean"`` (x - mean) / (max - min); ``"minmax"`` (x - min) / (max - min); ``"std"`` x / std;
        ``"standardise"`` (x - mean) / std; ``"none"``.  Each dimension of a feature matrix by itself.
    shift, scale : float or tuple of floats
    mean, var : float or tuple of floats
        Of the unscaled data it was fitted on.

    Examples
    --------
    >>> s = Scaling.fit("mean", np.array([-3.0, 0.0, 3.0, 4.0]))
    >>> s.apply(np.array([1.0, 8.0], np.float32))
    array([0., 1.], dtype=float32)
    """

    kind: str
    shift: Number
    scale: Number
    mean: Number
    var: Number

    @classmethod
    def fit(cls, kind, data):
        """Scaling of one kind for some data.

        Parameters
        ----------
        kind : {"mean", "minmax", "std", "standardise", "none"}
        data : Statistics, or array of shape (n_samples,) or (n_rows, n_features)
            Of the train part alone; valid and test are scaled alike.

        Raises
        ------
        ValueError
            An unknown kind, no data, or data that stay at one value.
        """
        if kind not in KINDS:
            raise ValueError(f"scaling={kind!r} is unknown; use one of {', '.join(KINDS)}")
        s = data if isinstance(data, Statistics) else Statistics(data)
        if not s.n:
            raise ValueError("there are no data to fit a scaling on; use a longer recording")
        if not np.any(s.max > s.min):
            raise ValueError(f"the data stay at {np.ravel(s.min)[0]:g}; a recording with sound in it is needed")
        zero, span = np.zeros_like(s.mean), s.max - s.min
        shift, scale = {
            "mean": (s.mean, span),
            "minmax": (s.min, span),
            "std": (zero, s.std),
            "standardise": (s.mean, s.std),
            "none": (zero, np.ones_like(s.mean)),
        }[kind]
        scale = np.where(s.max > s.min, scale, 1.0)  # a dimension that never changes is left as it is
        return cls(kind, *(_plain(v) for v in (shift, scale, s.mean, s.var)))

    def apply(self, x):
        """Scale `x`, shape (...) or (..., n_features): a float32 array of its shape."""
        return (np.asarray(x, np.float32) - np.asarray(self.shift, np.float32)) / np.asarray(self.scale, np.float32)

    def invert(self, x):
        """Undo `apply`."""
        return np.asarray(x, np.float32) * np.asarray(self.scale, np.float32) + np.asarray(self.shift, np.float32)

    @property
    def variance(self):
        """Variance of the scaled data (mean over dimensions): the squared error of always predicting their mean."""
        return float(np.mean(np.divide(self.var, np.square(self.scale))))

    @property
    def mean_of_scaled(self):
        """Mean of the scaled data: float32 of shape () or (n_features,)."""
        return np.asarray(np.divide(np.subtract(self.mean, self.shift), self.scale), np.float32)

    def to_json(self):
        """Plain data for JSON, every digit kept."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values, shape=None):
        """The inverse of `to_json`; ValueError on values that cannot scale data of `shape`, () or (n_features,)."""
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(values, dict) or sorted(values) != sorted(names):
            raise ValueError(f"a scaling has the fields {', '.join(names)}; this one is {str(values)[:80]}")
        kind, *rest = (values[name] for name in names)
        if kind not in KINDS:
            raise ValueError(f"scaling={kind!r} is unknown; use one of {', '.join(KINDS)}")
        try:
            shape = np.shape(rest[0]) if shape is None else shape
            found = [numbers(value, shape, name) for name, value in zip(names[1:], rest)]
            _, scale, _, var = found
            in_reach = np.max(np.abs(found)) < HUGE and scale.min() > 1 / HUGE
            if len(shape) > 1 or not in_reach or var.min() < 0 or not var.any():
                raise ValueError("nothing could be scaled by its numbers")
        except ValueError as error:
            raise ValueError(f"the scaling is damaged ({error}); prepare the data again") from None
        return cls(kind, *(_plain(v) for v in found))


def _plain(v):
    """A numpy number or vector as a float or a tuple of floats."""
    v = np.asarray(v, dtype=np.float64).tolist()
    return tuple(v) if isinstance(v, list) else v


def checked_limits(limits, shape):
    """Limits of features as JSON gave them, or ValueError: [low, high] for `shape` (n_features,), None for ()."""
    if shape == ():
        if limits is not None:
            raise ValueError("raw samples have no limits")
        return None
    low, high = numbers(limits, (2,) + shape, "limits")
    if (low > high).any():
        raise ValueError("limits are in the wrong order")
    return limits


class Statistics:
    """Length, extremes, mean and variance of a signal that arrives in blocks, in float64.

    Attributes
    ----------
    n : int
        Samples, or rows of a feature matrix, seen so far.
    min, max, mean, var, std : float64 arrays of shape () or (n_features,)
        Each dimension of a feature matrix has its own.

    References
    ----------
    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979), eq. 2.1

    Examples
    --------
    >>> s = Statistics()
    >>> for block in ([1.0, 2.0], [3.0]):
    ...     s.update(np.array(block))
    >>> s.n, float(s.mean), float(s.max)
    (3, 2.0, 3.0)
    """

    def __init__(self, first=()):
        self.n, self.min, self.max, self.mean, self._sum_of_squares = 0, np.inf, -np.inf, 0.0, 0.0
        self.update(first)

    def update(self, block):
        """Take in a block of shape (n,) or (n, n_features), finite; an empty one changes nothing."""
        block = np.asarray(block)
        if block.ndim not in (1, 2):
            raise ValueError(f"block has shape {block.shape}; it must be (n_samples,) or (n_rows, n_features)")
        if not len(block):
            return
        if self.n and block.shape[1:] != np.shape(self.mean):
            raise ValueError(f"features of shape {np.shape(self.mean)}, then {block.shape[1:]}, are not of one signal")
        low, high = block.min(axis=0), block.max(axis=0)
        if not np.all(np.isfinite(low) & np.isfinite(high)):
            raise ValueError("block has NaN or infinite values; statistics of it would be NaN")
        centred = block.astype(np.float64)
        mean = centred.mean(axis=0)
        centred -= mean
        n, shift = self.n + len(block), mean - self.mean
        own = np.einsum("i...,i...->...", centred, centred)
        self._sum_of_squares = self._sum_of_squares + own + shift**2 * (self.n * len(block) / n)
        self.mean = np.asarray(self.mean + shift * (len(block) / n), np.float64)
        self.min = np.minimum(self.min, low).astype(np.float64)
        self.max = np.maximum(self.max, high).astype(np.float64)
        self.n = n

    @property
    def var(self):
        """Mean squared distance from the mean."""
        return self._sum_of_squares / max(self.n, 1)

    @property
    def std(self):
        """Root of `var`."""
        return np.sqrt(self.var)
