"""What a command says to a person: its arguments, stages with bars, endings in words, a page to listen to.

Everything else in the package returns data and takes callbacks; here they become text.  Nothing slow is imported before
it is used, for a mistake in a command is answered at once.
"""

from .arguments import SHIPPED, parsed
from .endings import generated, interrupted, more_voice, nothing_left, remedy, say, trained
from .page import write_page
from .stages import Stages

__all__ = ["SHIPPED", "Stages", "generated", "interrupted", "more_voice", "nothing_left", "parsed", "remedy", "say"]
__all__ += ["trained", "write_page"]
