"""Measures of whether generated sound stays a voice, and what each can and cannot tell.

A teacher-forced loss says nothing about free running: networks of equal loss die to a constant or live on.  Level and
spectrum alone cannot tell a voice from a loop.  So several measures stand side by side, each with the figures of real
voice, of the codec and of plain failures.  `reference` describes a voice, `evaluate` measures signals against it.

A measure that is tuned to no longer says how it sounds.  Generation was long corrected until it met those of `TUNED`;
today's settings were chosen by `ears`, which others made, on a part of one voice; those of `INDEPENDENT`, of how sounds
follow each other and move, took no part in any choice.
"""

from . import ears
from .blind import BlindTest, kinds
from .evaluator import TUNED, ceilings, codec_of, evaluate, independent_of, order, reference, standard_timbre
from .independent import INDEPENDENT
from .stored import load_reference, save_reference
from .survey import survey
from .table import table
from .verdict import verdict

__all__ = ["INDEPENDENT", "TUNED", "BlindTest", "ceilings", "codec_of", "ears", "evaluate", "independent_of", "kinds"]
__all__ += ["load_reference", "order", "reference", "save_reference", "standard_timbre", "survey", "table", "verdict"]
