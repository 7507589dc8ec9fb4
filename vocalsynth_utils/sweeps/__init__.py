"""A sweep over recipe fields: `run` makes every run of a TOML file on Dask's workers; the others read what came of it.

The runs are the same as those of `train`, bit for bit; docs/sweeps.md shows what goes into the file.
"""

from .report import SCORE, by_setting, read_curves, read_table, settings, summary
from .sweep import run

__all__ = ["SCORE", "by_setting", "read_curves", "read_table", "run", "settings", "summary"]
