"""Measures of whether generated sound stays a voice, and what each can and cannot tell.

A teacher-forced loss says nothing about free running: networks of equal loss die to a constant or live on.  Level and
spectrum alone cannot tell a voice from a loop.  So several measures stand side by side, each with the figures of real
voice, of the codec and of plain failures.  `reference` describes a voice, `evaluate` measures signals against it.
"""

from .evaluator import ceilings, codec_of, evaluate, reference, standard_timbre
from .stored import load_reference, save_reference

__all__ = ["ceilings", "codec_of", "evaluate", "load_reference", "reference", "save_reference", "standard_timbre"]
