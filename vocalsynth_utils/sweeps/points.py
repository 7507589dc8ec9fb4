"""A sweep as data: what its TOML file asks for, and the recipes that come of it, all checked before anything runs."""

import dataclasses
import hashlib
import itertools
import json
import math
import re
import tomllib
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import storage
from ..gpu import ENGINES
from ..recipes import Contradiction, Recipe, check_known, get
from ..storage import limits

DIGITS = 12  # of an identity
KINDS = {field.name: field.type for field in dataclasses.fields(Recipe)}
NOT_FIELDS = {"seed": "use the key seeds", "name": "use the key recipe", "purpose": "it changes nothing"}


class Point(NamedTuple):
    """One run of a sweep: its recipe, and the swept values as text, for tables and figures."""

    recipe: Recipe
    swept: dict


class Sweep(NamedTuple):
    """What a TOML file asks for: `points`, all different, and of `skipped` the contradictions that were left out.

    `data` is a path, or None for `voice_seconds` of the built-in voice (None: five minutes).
    """

    name: str
    points: tuple[Point, ...]
    skipped: tuple[str, ...]
    data: Path | None
    voice_seconds: float | None
    minutes: float | None
    evaluate_seconds: float | None
    workers: int | None
    keep_checkpoints: bool
    engine: str


def read(path):
    """The Sweep of a TOML file, or ValueError with what is wrong with it or with any point of it, in one line."""
    path = Path(path)
    try:
        return _sweep(path, _parsed(storage.read_bytes(path, limits.MOST_SWEEP).decode()))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; docs/sweeps.md shows what goes into it") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; a sweep is a TOML file") from None
    except RecursionError:
        raise ValueError(f"{path}: too many brackets within brackets") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None


def _parsed(text):
    """What TOML says, once no key in it has so many parts that reading it takes minutes."""
    n_parts = max(part.count(".") for part in re.split(r"[=,{}\[\]\n]", text)) + 1
    storage.check_most(n_parts, limits.MOST_PARTS, "parts joined by dots", "a line of it")
    return tomllib.loads(text)


def _sweep(path, table):
    """The parsed file as a Sweep."""
    _check_keys(table)
    fixed = _fields(table.get("set", {}), "set")
    if "epochs" in table:
        if "n_epochs" in fixed:
            raise ValueError("it sets both epochs and n_epochs; keep one of them")
        fixed["n_epochs"] = table["epochs"]
    varied, n_varied = _search(table["random"]) if "random" in table else _grid(table.get("grid", {}))
    seeds = table.get("seeds")
    n_runs = n_varied * len(table.get("case", [0])) * len(seeds or [0])
    if n_runs > limits.MOST_RUNS:
        years = f"at most {limits.MOST_RUNS} are taken, which is years: use a random search"
        raise ValueError(f"it asks for {n_runs} runs; {years}")
    points, skipped = _points(table, fixed, _cases(table), list(varied), seeds)
    return Sweep(
        storage.real_path(path).parent.name if path.stem == "sweep" else path.stem,
        points,
        skipped,
        path.parent / table["data"] if "data" in table else None,
        *(table.get(key) for key in ("voice_seconds", "minutes", "evaluate_seconds", "workers")),
        table.get("keep_checkpoints", True),
        table.get("engine", "theano"),
    )


def _points(table, fixed, cases, varied, seeds):
    """The different points of the file, and the contradictions that are left out."""
    found, skipped = {}, []
    for (label, case), changes in itertools.product(cases, varied):
        twice = sorted(set(case) & set(changes))
        if twice:
            raise ValueError(f"{twice[0]} is in a case and in the grid or search; keep one of them")
        here = named({**label, **case, **changes})
        try:
            for recipe in _recipes({"recipe": table.get("recipe"), **fixed, **case, **changes}, seeds):
                found.setdefault((recipe, *label.values()), label)
        except Contradiction as error:
            if not table.get("skip_contradictions"):
                raise ValueError(f"{here}: {error}; or set skip_contradictions = true") from None
            skipped.append(f"{here}: {error}")
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{here}: {error}") from None
    if not found:
        raise ValueError(f"every point contradicts itself; the first: {skipped[0]}")
    names = dict.fromkeys(name for changes in (*(case for _, case in cases), *varied) for name in changes)
    values = lambda r: {name: as_text(r.name if name == "recipe" else getattr(r, name)) for name in names}
    points = tuple(Point(recipe, {**label, **values(recipe)}) for (recipe, *_), label in found.items())
    return points, tuple(skipped)


def identity(recipe, *beside):
    """What a run is, as a short text that is the same for the same recipe and the same plain data `beside`."""
    # fields at their defaults do not count: one that is added later leaves the runs made before it what they are
    values = {name: getattr(recipe, name) for name in KINDS if name not in ("name", "purpose")}
    changed = {name: value for name, value in values.items() if value != getattr(Recipe, name)}
    return digest([changed, *beside])


def digest(content):
    """Plain data as a short text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def as_text(value):
    """A field's value as `--set` would be given it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def named(values):
    """A point of these values, for a message."""
    return "point " + ", ".join(f"{name}={_short(as_text(value))}" for name, value in values.items())


def _short(text):
    return text if len(text) < 60 else text[:57] + "..."


def _recipes(changes, seeds):
    """A point's recipe with each seed."""
    base = changes.pop("recipe")
    if base is None:
        raise ValueError('no recipe is named; write recipe = "2016-small", or another name from `recipes`')
    recipe = get(base).replace(**changes)
    return [recipe.replace(seed=seed) for seed in seeds] if seeds else [recipe]


def _grid(table):
    """Every combination of a grid's values, as an iterator of dicts, and how many."""
    table = _fields(table, "grid")
    for name, values in table.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid.{name}={values!r} must be a list of values, as in [1, 2]")
    combinations = (dict(zip(table, values)) for values in itertools.product(*table.values()))
    return combinations, math.prod(map(len, table.values()))


def _search(table):
    """The draws of a random search, as an iterator of dicts, and how many."""
    for name in table:
        check_known("key of random", name, ("runs", "seed", "fields"))
    n_runs, seed, fields = table.get("runs"), table.get("seed", 0), table.get("fields")
    if not _whole(n_runs):
        raise ValueError(f"random.runs={n_runs!r} must be a whole number above 0")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"random.seed={seed!r} must be a whole number of at least 0")
    if not isinstance(fields, dict) or not fields:
        example = "as in learning_rate = {low = 1e-4, high = 0.1, log = true}"
        raise ValueError(f"random.fields must be a table of lists or ranges, {example}")
    for name, values in _fields(fields, "random.fields").items():
        _check_range(name, values)

    def draws(i):
        # a generator for each run and field, so that more of either leave the draws made before as they were
        rngs = {name: np.random.default_rng([seed, i, zlib.crc32(name.encode())]) for name in fields}
        return {name: _draw(rngs[name], values, KINDS.get(name)) for name, values in fields.items()}

    return map(draws, range(n_runs)), n_runs


def _draw(rng, values, kind):
    """A value from a list, or from a range in the field's type."""
    if isinstance(values, list):
        return values[rng.integers(len(values))]
    low, high, u = values["low"], values["high"], rng.random()
    if values.get("log"):
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    else:
        value = low + u * (high - low)
    return kind(min(high, max(low, round(value) if kind is int else float(f"{value:.4g}"))))


def _check_range(name, values):
    """ValueError on what is neither a list nor a range that fits the field."""
    here = f"random.fields.{name}={values!r}"
    if isinstance(values, list) and values:
        return
    if not isinstance(values, dict):
        raise ValueError(f"{here} must be a list of values or a range, as in {{low = 1e-4, high = 0.1, log = true}}")
    for key in values:
        check_known(f"key of random.fields.{name}", key, ("low", "high", "log"))
    kind = KINDS.get(name)  # None for the recipe's name
    if kind not in (int, float):
        raise ValueError(f"{here}: only numbers have ranges; give a list")
    ends = [values.get("low"), values.get("high")]
    if not all(type(v) in (int, kind) and -math.inf < v < math.inf for v in ends) or not ends[0] < ends[1]:
        raise ValueError(f"{here} needs low < high, both {'whole ' if kind is int else ''}numbers")
    if type(values.get("log", False)) is not bool:
        raise ValueError(f"{here}: log must be true or false")
    if values.get("log") and ends[0] <= 0:
        raise ValueError(f"{here}: log = true needs low above 0")


def _cases(table):
    """Pairs of a case's label, as a dict for the swept values, and its changes; one of nothing where there is none."""
    if "case" not in table:
        return [({}, {})]
    cases = {}
    for entry in table["case"]:
        case = _fields({key: value for key, value in entry.items() if key != "label"}, "case")
        usual = ", ".join(f"{k}={as_text(v)}" for k, v in case.items()) or "as it is"
        label = entry.get("label", usual)
        plain = isinstance(label, str) and label.strip() and label.isprintable() and len(label) <= limits.MOST_LABEL
        if label is not usual and not plain:
            must = f"be printable text of at most {limits.MOST_LABEL} characters"
            raise ValueError(f"label={label!r:.80} of a case must {must}")
        if label in cases:
            raise ValueError(f"two cases are called {label!r}; give each its own label")
        cases[label] = case
    return [({"case": label}, case) for label, case in cases.items()]


def _fields(table, where):
    """A table of recipe fields; ValueError on a name that is none, or not one to be swept."""
    known = [name for name in KINDS if name not in NOT_FIELDS] + ([] if where == "set" else ["recipe"])
    for name in table:
        if name in NOT_FIELDS:
            raise ValueError(f"{where}.{name} cannot be set here; {NOT_FIELDS[name]}")
        check_known(f"recipe field in {where}", name, known)
    return dict(table)


def _number(value, least=0, most=math.inf):
    return type(value) in (int, float) and 0 < value < math.inf and least <= value <= most


def _whole(value, least=1):
    return type(value) is int and value >= least


def _filled(kind):
    return lambda value: isinstance(value, kind) and bool(value)


KEYS = {
    "recipe": ("text", lambda v: isinstance(v, str)),
    "data": ("text", _filled(str)),
    "voice_seconds": ("a number above 0, at most 36000", lambda v: _number(v, most=36000)),
    "seeds": ("a list of whole numbers of at least 0", lambda v: _filled(list)(v) and all(_whole(n, 0) for n in v)),
    "epochs": ("a whole number above 0", _whole),
    "minutes": ("a number above 0", _number),
    "evaluate_seconds": ("a number from 2 to 3600", lambda v: _number(v, 2, 3600)),
    "workers": ("a whole number above 0", _whole),
    "keep_checkpoints": ("true or false", lambda v: isinstance(v, bool)),
    "engine": (f"one of {', '.join(ENGINES)}", lambda v: v in ENGINES),
    "skip_contradictions": ("true or false", lambda v: isinstance(v, bool)),
    "set": ("a table", lambda v: isinstance(v, dict)),
    "grid": ("a table", _filled(dict)),
    "random": ("a table", lambda v: isinstance(v, dict)),
    "case": ("a list of tables", lambda v: _filled(list)(v) and all(isinstance(case, dict) for case in v)),
}


def _check_keys(table):
    """ValueError on a top-level key that is none, a value of the wrong kind, and keys that do not go together."""
    for key, value in table.items():
        must, fine = KEYS[check_known("key", key, KEYS)]
        if not fine(value):
            raise ValueError(f"{key}={_short(repr(value))} must be {must}")
    if "grid" in table and "random" in table:
        raise ValueError("it has both grid and random; keep one of them")
    if not {"grid", "random", "case"} & set(table):
        raise ValueError("nothing is swept; write a table grid or random, or cases")
    if "data" in table and "voice_seconds" in table:
        raise ValueError("voice_seconds is for the built-in voice, which data replaces; keep one of them")
