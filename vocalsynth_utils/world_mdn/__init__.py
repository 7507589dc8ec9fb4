"""Frames of WORLD networks as they come, of one level or of two: `hooks` are what `generation.generate` is given.

The chains are advanced in C++, by the equations of `losses.WorldHead` and `fused.layers`; docs/voices.md tells the
whole.
"""

from .sampler import hooks

__all__ = ["hooks"]
