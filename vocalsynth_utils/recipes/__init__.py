"""Recipe: everything that a run does, as settings; RECIPES: the named ones, in FAMILIES; get: one of them by its name.

The experiments are data, in experiments.toml; those of 2016 are there in full size, for a recording of hours, and as
``NAME-small`` for the built-in voice, where they take up to a minute of one core.
"""

from .choices import check_choice, check_known
from .experiments import FAMILIES, RECIPES, get
from .listing import described, listing
from .recipe import CHOICES, MOST_EPOCHS, Contradiction, Recipe, parse_setting

__all__ = ["CHOICES", "Contradiction", "FAMILIES", "MOST_EPOCHS", "RECIPES", "Recipe", "check_choice", "check_known"]
__all__ += ["described", "get", "listing", "parse_setting"]
