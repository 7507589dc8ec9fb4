"""Generating vocals with a recurrent network: the helpers behind the notebooks.

The course: preprocessing, dataset, baselines (notebook 01), model, losses (02),
updates, training (03), generation (04), remedies (05), and pipeline, which trains,
generates and evaluates a whole recipe.  The rooms: storage, audio, features,
recipes, synthetic, runs, fused, gpu, units, world_mdn, diagnostics, evaluation,
plots, sweeps, benchmark, terminal; docs/design.md has what each holds.  All load when used.
"""

import importlib.util

from .theano_setup import configure as _configure

_configure()

__version__ = "0.1.0"


def __getattr__(name):
    """A file of the course or a room (PEP 562)."""
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
