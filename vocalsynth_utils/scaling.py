"""Scale a signal or its features for the network, and undo it.

The statistics are gathered in one pass over blocks, in float64, so that a
recording of any length needs the memory of one block.
"""
import dataclasses
from dataclasses import dataclass
from typing import Tuple, Union

import numpy as np

from .stored import numbers

KINDS = ("mean", "minmax", "std", "standardise", "none")
HUGE = 1e30     # no number of ours, nor its inverse, is beyond: squares of it are finite still
Number = Union[float, Tuple[float, ...]]    # one for a signal, one for each dimension of a feature matrix


class Statistics:
    """Length, extremes, mean and variance of a signal that arrives in blocks.

    Attributes
    ----------
    n : int
        Samples, or rows of a feature matrix, seen so far.
    min, max, mean, var : float64 arrays of shape () or (n_features,)
        Each dimension of a feature matrix has its own.

    References
    ----------
    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances" (1979), eq. 2.1: merging two parts.

    Examples
    --------
    >>> s = Statistics()
    >>> for block in ([1.0, 2.0], [3.0]):
    ...     s.update(np.array(block))
    >>> s.n, float(s.mean), float(s.max)
    (3, 2.0, 3.0)
    """

    def __init__(self):
        self.n, self.min, self.max, self.mean, self._sum_of_squares = 0, np.inf, -np.inf, 0.0, 0.0

    def update(self, block):
        """Take in a block of shape (n,) or (n, n_features); an empty one changes nothing.

        Raises
        ------
        ValueError
            NaN or infinite values, or another number of features than before.
        """
        block = np.asarray(block)
        if block.ndim not in (1, 2):
            raise ValueError(f"block has shape {block.shape}; it must be (n_samples,) or (n_rows, n_features)")
        if not len(block):
            return
        other = Statistics()
        other.n, other.min, other.max = len(block), block.min(axis=0), block.max(axis=0)
        if not np.all(np.isfinite(other.min) & np.isfinite(other.max)):
            raise ValueError("block has NaN or infinite values; statistics of it would be NaN")
        centred = block.astype(np.float64)
        other.mean = centred.mean(axis=0)
        centred -= other.mean
        other._sum_of_squares = np.einsum("i...,i...->...", centred, centred)
        self.merge(other)

    def merge(self, other):
        """Take in the statistics of another part."""
        if self.n and other.n and np.shape(self.mean) != np.shape(other.mean):
            raise ValueError(f"one part has features of shape {np.shape(self.mean)}, the other {np.shape(other.mean)}; "
                             "they are not of one signal")
        if not other.n:
            return
        n = self.n + other.n
        shift = other.mean - self.mean
        self._sum_of_squares = self._sum_of_squares + other._sum_of_squares + shift ** 2 * (self.n * other.n / n)
        self.mean = np.asarray(self.mean + shift * (other.n / n), np.float64)
        self.min = np.minimum(self.min, other.min).astype(np.float64)
        self.max = np.maximum(self.max, other.max).astype(np.float64)
        self.n = n

    @property
    def var(self):
        """Mean squared distance from the mean."""
        return self._sum_of_squares / max(self.n, 1)

    @property
    def std(self):
        """Root of `var`."""
        return np.sqrt(self.var)


@dataclass(frozen=True)
class Scaling:
    """``apply(x) = (x - shift) / scale``, with what it was fitted on.

    Attributes
    ----------
    kind : str
        ``"mean"`` (x - mean) / (max - min); ``"minmax"`` (x - min) / (max - min);
        ``"std"`` x / std; ``"standardise"`` (x - mean) / std, each dimension of
        a feature matrix by itself; ``"none"``.
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
        s = data
        if not isinstance(data, Statistics):
            s = Statistics()
            s.update(data)
        if not s.n:
            raise ValueError("there are no data to fit a scaling on; use a longer recording")
        if not np.any(s.max > s.min):
            raise ValueError(f"the data stay at {np.ravel(s.min)[0]:g}; a recording with sound in it is needed")
        if kind in ("mean", "minmax"):
            shift, scale = (s.mean if kind == "mean" else s.min), s.max - s.min
        elif kind == "none":
            shift, scale = np.zeros_like(s.mean), np.ones_like(s.mean)
        else:
            shift, scale = (s.mean if kind == "standardise" else np.zeros_like(s.mean)), s.std
        scale = np.where(s.max > s.min, scale, 1.0)     # a dimension that never changes is left as it is
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
        """The inverse of `to_json`.

        Parameters
        ----------
        values : what JSON gave
        shape : tuple of int, optional
            Of the numbers it must hold: () for a signal, (n_features,).

        Raises
        ------
        ValueError
            Other fields, or values that cannot scale anything.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        if not isinstance(values, dict) or sorted(values) != sorted(names):
            raise ValueError(f"a scaling has the fields {', '.join(names)}; this one has "
                             f"{', '.join(map(str, values)) if isinstance(values, dict) else repr(values)[:60]}")
        if values["kind"] not in KINDS:
            raise ValueError(f"scaling={values['kind']!r} is unknown; use one of {', '.join(KINDS)}")
        try:
            found = {name: np.asarray(values[name], dtype=np.float64) for name in names[1:]}
            ok = all((np.abs(v) < HUGE).all() and v.ndim < 2 for v in found.values())
            ok = ok and len({v.shape for v in found.values()}) == 1 and shape in (None, found["shift"].shape)
        except (TypeError, ValueError, OverflowError):
            ok = False
        if not ok or not np.all(found["scale"] > 1 / HUGE) or not np.all(found["var"] >= 0) or not np.any(found["var"]):
            raise ValueError("the scaling's numbers are damaged (not finite, not of the data's shape, or nothing could be scaled by them); prepare the data again")
        return cls(values["kind"], *(_plain(found[name]) for name in names[1:]))


def checked_bounds(bounds, shape):
    """Bounds of features as JSON gave them, or ValueError: [low, high] for `shape` (n_features,), None for ()."""
    if shape == ():
        if bounds is not None:
            raise ValueError("raw samples have no bounds")
        return None
    low, high = numbers(bounds, (2,) + shape, "bounds")
    if (low > high).any():
        raise ValueError("bounds are in the wrong order")
    return bounds


def _plain(v):
    """A numpy number or vector as a float or a tuple of floats."""
    v = np.asarray(v, dtype=np.float64).tolist()
    return tuple(v) if isinstance(v, list) else v
