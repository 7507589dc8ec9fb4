"""A run's folder: its recipe, log and checkpoints, exact resume, and a copy small enough to share."""

from .exporting import export
from .run import Run, check_free, create, locked, logged, open_run, resumable

__all__ = ["Run", "check_free", "create", "export", "locked", "logged", "open_run", "resumable"]
