"""Gaussians fitted to rows, and the affine maps that take one of them to another (docs/world_mdn.md, [4])."""

from typing import NamedTuple

import numpy as np

from ..features import N_ENVELOPE, VOICING

MOST = 2.0  # how far any direction is stretched at most, and its inverse
ROWS_NEEDED = 240  # or nothing is known: a covariance of fewer says little
FLOOR = 1e-6  # of a covariance's directions, relative to the largest


class Gaussian(NamedTuple):
    """A mean (n,) and a covariance (n, n), float64; nan where they are not known."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fit(cls, rows):
        """That of rows (n_rows, n)."""
        n = rows.shape[1]
        if len(rows) < ROWS_NEEDED:
            return cls(np.full(n, np.nan), np.full((n, n), np.nan))
        rows = rows.astype(np.float64)
        return cls(rows.mean(axis=0), np.cov(rows, rowvar=False))

    @property
    def known(self):
        """Whether there were rows enough."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.covariance).all())


class AffineMap(NamedTuple):
    """``rows @ matrix + shift``: shift (n,), matrix (n, n)."""

    shift: np.ndarray
    matrix: np.ndarray

    @classmethod
    def identity(cls, n=N_ENVELOPE):
        """The map that changes nothing."""
        return cls(np.zeros(n), np.eye(n))

    def apply(self, rows):
        """Rows (n_rows, n), mapped: a new array."""
        return rows @ self.matrix + self.shift

    def then(self, other):
        """This map and after it another, as one."""
        return AffineMap(self.shift @ other.matrix + other.shift, self.matrix @ other.matrix)


def transport(wanted, measured, most=MOST):
    """The `AffineMap` to another `Gaussian` that moves rows least, stretching no direction by more than `most`.

    The identity where either is not known.
    """
    if not (wanted.known and measured.known):
        return AffineMap.identity(len(wanted.mean))
    root, inverse = _power(measured.covariance, 0.5), _power(measured.covariance, -0.5)
    matrix = inverse @ _power(root @ wanted.covariance @ root, 0.5) @ inverse
    matrix = with_directions_within(matrix, 1 / most, most)
    return AffineMap(wanted.mean - measured.mean @ matrix, matrix)


def envelope_moments(rows):
    """The `Gaussian` of the spectral envelope of WORLD rows (n_rows, n_features), not scaled: unvoiced, voiced."""
    voiced = rows[:, VOICING] > 0.5
    return tuple(Gaussian.fit(rows[chosen, -N_ENVELOPE:]) for chosen in (~voiced, voiced))


def with_directions_within(matrix, low, high):
    """A symmetric matrix with its eigenvalues clipped to [low, high]."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.clip(values, low, high)) @ vectors.T


def _power(matrix, exponent):
    """A symmetric positive matrix to a power, its smallest directions floored."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, FLOOR * values[-1]) ** exponent) @ vectors.T
