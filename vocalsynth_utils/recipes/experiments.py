"""FAMILIES: the experiments of experiments.toml as data; RECIPES: each of them, and its small form, as a Recipe."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from .choices import check_known
from .recipe import Recipe

SMALL_SECONDS = 4  # in a sequence of the small form: the valid part of five minutes holds seven
SMALL_OFFSETS = 8  # shifted copies, so that its epoch is 30 updates


class Experiment(NamedTuple):
    """A named recipe before it is one; experiments.toml says what the fields mean."""

    name: str
    purpose: str
    fields: dict
    small: dict | None = None
    recorded: float | None = None


def _read(entry, entries):
    """One line of the file, on top of the one it is like."""
    own = {key: value for key, value in entry.items() if key not in ("like", "small", *Experiment._fields)}
    base = _read(entries[entry["like"]], entries) if "like" in entry else Experiment("", "", {})
    small = {**(base.small or {}), **entry["small"]} if "small" in entry else base.small
    return Experiment(entry["name"], entry["purpose"], {**base.fields, **own}, small, entry.get("recorded"))


def small_form(experiment):
    """The fields of an experiment's small form: short sequences from shifted copies of the recording, a quarter of the
    units, ten epochs; an epsilon that lets RMSProp be RMSProp, and a rate for a minute's epochs instead of thousands.
    """
    full = {"frame_length": Recipe.frame_length, "n_units": Recipe.n_units, **experiment.fields}
    n_steps, n_units = 16000 * SMALL_SECONDS // full["frame_length"], [n // 4 for n in full["n_units"]]
    small = {"n_steps": n_steps, "n_offsets": SMALL_OFFSETS, "n_units": n_units, "n_epochs": 10}
    if experiment.fields.get("optimiser", "rmsprop") == "rmsprop":
        small.update(epsilon=1e-12, learning_rate=0.003)
    return {**experiment.fields, **small, **experiment.small}


def _recipes(families):
    for experiment in (e for family in families.values() for e in family):
        yield Recipe(experiment.name, experiment.purpose, **experiment.fields)
        if experiment.small is not None:
            yield Recipe(f"{experiment.name}-small", experiment.purpose, **small_form(experiment))


_TABLE = tomllib.loads(Path(__file__).with_name("experiments.toml").read_text(encoding="utf-8"))
_ENTRIES = {entry["name"]: entry for family in _TABLE.values() for entry in family}
FAMILIES = {family: tuple(_read(entry, _ENTRIES) for entry in lines) for family, lines in _TABLE.items()}
RECIPES = {recipe.name: recipe for recipe in _recipes(FAMILIES)}


def get(name):
    """The recipe of that name from the table, or ValueError with the nearest name."""
    return RECIPES[check_known("recipe", name, RECIPES, otherwise="`recipes` lists them all")]
