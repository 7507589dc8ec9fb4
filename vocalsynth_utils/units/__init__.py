"""Two levels: a voice as text of sound units, a language model over that text, and frames given it.

`Centres` finds units in a voice and reads any of it as `Text`; `Labelled` is a dataset whose steps hold their place in
that text; `LanguageModel` says how text goes on; `Given` is what a frame's layer hears of it.
"""

from .language import Given, LanguageModel, blocks, conditioned, sizes
from .speaking import Speaker, say
from .text import N_GIVEN, N_LENGTHS, N_TEXT, Centres, Labelled, Text

__all__ = ["Centres", "Given", "Labelled", "LanguageModel", "N_GIVEN", "N_LENGTHS", "N_TEXT", "Text"]
__all__ += ["Speaker", "blocks", "conditioned", "say", "sizes"]
