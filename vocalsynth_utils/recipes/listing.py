"""Recipes as text of 80 columns: where to start, all of them, and one in full."""

import dataclasses
import io
import textwrap

from .experiments import FAMILIES, RECIPES, get
from .recipe import Recipe

WIDTH = 80
START = {
    "world-units": "a voice of your own, from five minutes of recording or more: minutes of training",
    "world-units-large": "the same, larger and trained for longer: its sounds are better ordered",
    "2016-small": "the network of 2016 in small: what notebooks 01 to 05 show to be a dead end",
}
FOOT = """
parameters: numbers that are learned.  -small: those of NAME-small, the same for
the built-in voice and a minute of one core; where that is empty, it is small
itself.  2016: best valid loss / variance then, on three hours of another voice."""


def listing(n_parameters, everything=False):
    """Where to start, or all recipes by family, a row each; ``n_parameters(recipe)`` counts a network's numbers."""
    if not everything:
        more = f"`vocalsynth recipes NAME` shows one in full, --all lists all {len(RECIPES)}."
        return f"Start here:\n\n{_table(START.items())}\n\n{more}"
    lines = []
    for family, experiments in FAMILIES.items():
        rows = []
        for e in experiments:
            small = RECIPES.get(f"{e.name}-small") if e.small is not None else None
            sizes = [_short(n_parameters(each)) if each else "" for each in (RECIPES[e.name], small)]
            rows.append((e.name, *sizes, f"{e.recorded:.3f}" if e.recorded else "", e.purpose))
        lines += [f"\n{family}", _table(rows, ("recipe", "parameters", "-small", "2016", "purpose"))]
    return "\n".join([*lines, FOOT])


def described(name):
    """One recipe in full: what it is for, and each field's value and meaning, those that differ from 2016 starred."""
    recipe, rows = get(name), []
    for field in dataclasses.fields(Recipe)[2:]:
        value = getattr(recipe, field.name)
        shown = ",".join(map(str, value)) if field.name == "n_units" else str(value).lower()
        rows.append(("*" if value != field.default else "", field.name, shown, field.metadata["meaning"]))
    purpose = textwrap.fill(f"{name}: {recipe.purpose}", WIDTH)
    head = "* differs from the headline run of 2016; --set FIELD=VALUE changes a field"
    return f"{purpose}\n\n{head}\n{_table(rows, ('', 'field', 'value', 'meaning'))}"


def _short(n):
    """A count in few letters."""
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{n / 1e3:.0f} k"


def _table(rows, columns=()):
    """Rows of text as a table: str."""
    from rich import box  # here, for they take a while
    from rich.console import Console
    from rich.table import Table

    table, out = Table(box=box.SIMPLE if columns else None, show_header=bool(columns), pad_edge=False), io.StringIO()
    for column in columns:
        number = column in ("parameters", "-small", "2016")
        table.add_column(column, justify="right" if number else "left", no_wrap=number or column in ("recipe", "field"))
    for row in rows:
        table.add_row(*row)
    Console(file=out, width=WIDTH, markup=False, highlight=False, emoji=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())
