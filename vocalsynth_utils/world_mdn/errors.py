"""Random numbers that go together as a network's own errors do: `Draws`.

A Gaussian for each number of a frame says how far each may be from what is expected.  It does not say that neighbours
in frequency err together, nor that what was too loud in one frame is so in the next.  Drawn apart they are a hiss that
no voice has, so they are drawn with the covariance of the errors on held-out voice, and persist as those do.
"""

import numpy as np

from .. import generation

MOST = 0.95  # that an error persists from a frame to the next


class Draws(generation.Draws):
    """As `generation.Draws` of a `losses.WorldHead`, but for how the envelope's normal numbers go together.

    Parameters
    ----------
    head, seed
    errors : float array of shape (2, n, n)
        From `diagnostics.frame_errors`: covariance of n numbers, and of each with each of the frame before.
    """

    def __init__(self, head, seed, errors):
        self._persist, self._mixed, self._last = *pattern(errors), None
        super().__init__(head, seed)

    def _block(self, n):
        uniform, normal = super()._block(n)
        moves = normal[:, 1:] @ self._mixed.T  # the first is the pitch's
        for row, move in zip(normal, moves):
            if self._last is None:  # as if it had gone on for long
                self._last = move / np.sqrt(1 - np.square(self._persist))
            else:
                self._last = self._persist * self._last + move
            row[1:] = self._last
        return uniform, normal


def pattern(errors):
    """How much of each error persists, (n,), and what the rest of them is mixed with, (n, n).

    Of ``e = persist * e + mixed @ normal`` the covariance is that of the errors, and so is what each has to do with
    itself one frame later.
    """
    covariance, later = errors
    persist = np.clip(np.diag(later) / np.maximum(np.diag(covariance), 1e-9), 0, MOST)
    values, vectors = np.linalg.eigh(covariance * (1 - np.outer(persist, persist)))
    return persist, vectors * np.sqrt(np.maximum(values, 0))
