"""A sweep as data: what its TOML file says, and the recipes that come of it, all checked before anything runs.

    recipe = "2016-small"           # what every run starts from
    data = "my-voice.wav"           # a recording or a prepared dataset, as seen from this file; left out: the built-in voice
    voice_seconds = 60              # so much of the built-in voice
    seeds = [0, 1, 2]               # each point is run with each of them
    epochs = 20                     # and `minutes`, as for `train`
    evaluate_seconds = 20           # let each run sing so long and measure it; left out: not at all
    workers = 2                     # runs at once; left out: one for each core
    keep_checkpoints = false        # once a run has ended; left out: they are kept
    skip_contradictions = true      # leave out points whose values do not go together, instead of refusing them

    [set]                           # fields changed in every run
    frame_length = 800

    [grid]                          # every combination of these
    n_units = [[100], [100, 100]]
    learning_rate = [0.01, 0.001]

Instead of ``[grid]`` there may be a random search, a draw from each list or range for each run:

    [random]
    runs = 30
    seed = 0

    [random.fields]
    learning_rate = {low = 1e-4, high = 1e-1, log = true}
    n_units = [[100], [300]]

and beside either of them, cases by name, each combined with every point of the grid or search:

    [[case]]
    label = "input noise"
    input_noise = 0.3

`recipe` may be swept like a field.
"""
import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import sys
import zlib
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import numpy as np

from . import files, stored
from .recipes import Contradiction, Recipe, get

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_RUNS = 10_000
DIGITS = 12  # of an identity
KEYS = {"recipe": "text", "data": "text", "voice_seconds": "a number above 0, at most 36000", "seeds": "a list of whole numbers of at least 0",
        "epochs": "a whole number above 0", "minutes": "a number above 0", "evaluate_seconds": "a number from 2 to 3600",
        "workers": "a whole number above 0", "keep_checkpoints": "true or false", "skip_contradictions": "true or false", "set": "a table", "grid": "a table",
        "random": "a table", "case": "a list of tables"}
NOT_FIELDS = {"seed": "use the key seeds", "name": "use the key recipe", "purpose": "it changes nothing"}


class Point(NamedTuple):
    """One run of a sweep: its recipe, and the swept values as text, for tables and figures."""

    recipe: Recipe
    swept: dict


class Sweep(NamedTuple):
    """What a TOML file asks for.

    `points` are all different; `skipped` says which contradictions were left
    out; `data` is a path, or None for `voice_seconds` of the built-in voice
    (None: what `voice.built_in` gives).
    """

    name: str
    points: Tuple[Point, ...]
    skipped: Tuple[str, ...]
    data: Optional[Path]
    voice_seconds: Optional[float]
    minutes: Optional[float]
    evaluate_seconds: Optional[float]
    workers: Optional[int]
    keep_checkpoints: bool


def read(path):
    """Read a sweep's TOML file.

    Returns
    -------
    Sweep

    Raises
    ------
    ValueError
        Whatever is wrong with the file or with any point of it, in one line.
    """
    path = Path(path)
    try:
        table = tomllib.loads(stored.read_text(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; the module sweep_points shows what goes into it") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text; a sweep is a TOML file") from None
    except RecursionError:
        raise ValueError(f"{path}: too many brackets within brackets") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    try:
        return _sweep(path, table)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None


def _sweep(path, table):
    """The parsed file as a Sweep."""
    _refuse_unknown(table, KEYS, "key")
    for key, value in table.items():
        _check_key(key, value)
    if "grid" in table and "random" in table:
        raise ValueError("it has both grid and random; keep one of them")
    if not {"grid", "random", "case"} & set(table):
        raise ValueError("nothing is swept; write a table grid or random, or cases")
    if "data" in table and "voice_seconds" in table:
        raise ValueError("voice_seconds is for the built-in voice, which data replaces; keep one of them")
    fixed = _fields(table.get("set", {}), "set")
    if "epochs" in table:
        if "n_epochs" in fixed:
            raise ValueError("it sets both epochs and n_epochs; keep one of them")
        fixed["n_epochs"] = table["epochs"]
    cases, labels = _cases(table.get("case", [{}]), "case" in table)
    varied, n_varied = _random(table["random"]) if "random" in table else _grid(table.get("grid", {}))
    seeds = table.get("seeds")
    n_runs = n_varied * len(cases) * len(seeds or [0])
    if n_runs > MAX_RUNS:
        raise ValueError(f"it asks for {n_runs} runs; at most {MAX_RUNS} are taken, which is years: use a random search")
    varied, found, skipped = list(varied), {}, []
    for (case, label), changes in itertools.product(zip(cases, labels), varied):
        twice = sorted(set(case) & set(changes))
        if twice:
            raise ValueError(f"{twice[0]} is in a case and in the grid or search; keep one of them")
        here = _point({**label, **case, **changes})
        try:
            for recipe in _recipes(table.get("recipe"), {**fixed, **case, **changes}, seeds):
                found.setdefault((recipe, *label.values()), label)
        except Contradiction as error:
            if not table.get("skip_contradictions"):
                raise ValueError(f"{here}: {error}; or set skip_contradictions = true") from None
            skipped.append(f"{here}: {error}")
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{here}: {error}") from None
    names = dict.fromkeys(name for changes in (*cases, *varied) for name in changes)
    points = tuple(Point(recipe, {**label, **{n: as_text(recipe.name if n == "recipe" else getattr(recipe, n)) for n in names}})
                   for (recipe, *_), label in found.items())
    if not points:
        raise ValueError(f"every point contradicts itself; the first: {skipped[0]}")
    name = files.real(path).parent.name if path.stem == "sweep" else path.stem
    return Sweep(name, points, tuple(skipped), path.parent / table["data"] if "data" in table else None,
                 table.get("voice_seconds"), table.get("minutes"), table.get("evaluate_seconds"), table.get("workers"),
                 table.get("keep_checkpoints", True))


def identity(recipe, *beside):
    """What a run is, as a short text that is the same for the same content.

    Fields at their defaults do not count, so a field that is added to Recipe
    later leaves the runs made before it what they are.

    Parameters
    ----------
    recipe : Recipe
    *beside
        Plain data the run depends on too.
    """
    changed = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(Recipe)
               if f.name not in ("name", "purpose") and getattr(recipe, f.name) != f.default}
    return digest([changed, *beside])


def digest(content):
    """Plain data as a short text."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]


def as_text(value):
    """A field's value as `--set` would be given it."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _recipes(base, changes, seeds):
    """A point's recipe with each seed."""
    changes = dict(changes)
    base = changes.pop("recipe", base)
    if base is None:
        raise ValueError("no recipe is named; write recipe = \"2016-small\", or another name from `recipes`")
    recipe = get(base).replace(**changes)
    return [recipe.replace(seed=seed) for seed in (seeds or [recipe.seed])]


def _grid(table):
    """Every combination of a grid's values, as an iterator of dicts, and how many."""
    table = _fields(table, "grid")
    for name, values in table.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid.{name}={values!r} must be a list of values, as in [1, 2]")
    return (dict(zip(table, values)) for values in itertools.product(*table.values())), math.prod(map(len, table.values()))


def _random(table):
    """The draws of a random search, as an iterator of dicts, and how many."""
    _refuse_unknown(table, ("runs", "seed", "fields"), "key of random")
    n_runs, seed, fields = table.get("runs"), table.get("seed", 0), table.get("fields")
    if type(n_runs) is not int or n_runs < 1:
        raise ValueError(f"random.runs={n_runs!r} must be a whole number above 0")
    if type(seed) is not int or seed < 0:
        raise ValueError(f"random.seed={seed!r} must be a whole number of at least 0")
    if not isinstance(fields, dict) or not fields:
        raise ValueError("random.fields must be a table of lists or ranges, as in learning_rate = {low = 1e-4, high = 0.1, log = true}")
    fields = _fields(fields, "random.fields")
    for name, values in fields.items():
        _check_range(name, values)

    def draw(i, name, values):
        # a generator for each run and field, so that more of either leave the draws made before as they were
        rng = np.random.default_rng([seed, i, zlib.crc32(name.encode())])
        if isinstance(values, list):
            return values[rng.integers(len(values))]
        low, high = values["low"], values["high"]
        u = rng.random()
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low))) if values.get("log") else low + u * (high - low)
        if _kind(name) is int:
            return min(high, max(low, round(value)))
        return float(min(high, max(low, float(f"{value:.4g}"))))
    return ({name: draw(i, name, values) for name, values in fields.items()} for i in range(n_runs)), n_runs


def _check_range(name, values):
    """ValueError on what is neither a list nor a range that fits the field."""
    here = f"random.fields.{name}={values!r}"
    if isinstance(values, list) and values:
        return
    if not isinstance(values, dict):
        raise ValueError(f"{here} must be a list of values or a range, as in {{low = 1e-4, high = 0.1, log = true}}")
    _refuse_unknown(values, ("low", "high", "log"), f"key of random.fields.{name}")
    kind = _kind(name)
    if kind not in (int, float):
        raise ValueError(f"{here}: only numbers have ranges; give a list")
    ends = [values.get("low"), values.get("high")]
    if not all(type(v) in (int, kind) and -math.inf < v < math.inf for v in ends) or not ends[0] < ends[1]:
        raise ValueError(f"{here} needs low < high, both {'whole ' if kind is int else ''}numbers")
    if type(values.get("log", False)) is not bool:
        raise ValueError(f"{here}: log must be true or false")
    if values.get("log") and ends[0] <= 0:
        raise ValueError(f"{here}: log = true needs low above 0")


def _cases(tables, named):
    """The changes of each case, and its label as a dict for the swept values."""
    cases, labels = [], []
    for table in tables:
        case = _fields({k: v for k, v in table.items() if k != "label"}, "case")
        label = table.get("label", ", ".join(f"{k}={as_text(v)}" for k, v in case.items()) or "as it is")
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"label={label!r} of a case must be text")
        cases.append(case)
        labels.append({"case": label} if named else {})
    doubled = [label for i, label in enumerate(labels) if named and label in labels[:i]]
    if doubled:
        raise ValueError(f"two cases are called {doubled[0]['case']!r}; give each its own label")
    return cases, labels


def _fields(table, where):
    """A table of recipe fields; ValueError on a name that is none, or not one to be swept."""
    known = [f.name for f in dataclasses.fields(Recipe) if f.name not in NOT_FIELDS] + ([] if where == "set" else ["recipe"])
    for name in table:
        if name in NOT_FIELDS:
            raise ValueError(f"{where}.{name} cannot be set here; {NOT_FIELDS[name]}")
    _refuse_unknown(table, known, f"recipe field in {where}")
    return dict(table)


def _check_key(key, value):
    """ValueError on a top-level value of the wrong kind."""
    number = type(value) in (int, float) and 0 < value < math.inf
    whole = type(value) is int and value > 0
    fine = {"recipe": isinstance(value, str), "data": isinstance(value, str) and bool(value), "voice_seconds": number and value <= 36000, "minutes": number,
            "evaluate_seconds": number and 2 <= value <= 3600, "epochs": whole, "workers": whole, "keep_checkpoints": isinstance(value, bool), "skip_contradictions": isinstance(value, bool),
            "seeds": isinstance(value, list) and bool(value) and all(type(v) is int and v >= 0 for v in value),
            "set": isinstance(value, dict), "grid": isinstance(value, dict) and bool(value), "random": isinstance(value, dict),
            "case": isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)}
    if not fine[key]:
        raise ValueError(f"{key}={_short(repr(value))} must be {KEYS[key]}")


def _refuse_unknown(table, known, what):
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            raise ValueError(f"unknown {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"))


def _kind(name):
    """A field's type; None for the recipe's name."""
    return next((f.type for f in dataclasses.fields(Recipe) if f.name == name), None)


def named(point):
    """A point, for a message."""
    return _point({**point.swept, "seed": point.recipe.seed})


def _point(values):
    return "point " + ", ".join(f"{name}={_short(as_text(value))}" for name, value in values.items())


def _short(text):
    return text if len(text) < 60 else text[:57] + "..."
