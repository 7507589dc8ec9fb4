"""Sound of our own making: the built-in singer, free of rights and the same on every machine, so that a workbook
about voices need not begin with a download; and two processes whose best possible prediction is known.
"""

from .processes import SAMPLE_RATE, ar2, ar2_optimum, tone
from .voice import LONG_SECONDS, SECONDS, built_in, sing, write_voice

__all__ = ["LONG_SECONDS", "SAMPLE_RATE", "SECONDS", "ar2", "ar2_optimum", "built_in", "sing", "tone", "write_voice"]
