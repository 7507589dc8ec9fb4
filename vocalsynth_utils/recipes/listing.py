"""The table of named recipes as text."""

from .experiments import FAMILIES, RECIPES

HEAD = ("recipe", "holds", "frame", "steps", "units", "parameters", "-small", "2016", "purpose")
FOOT = """
frame: samples at 16 kHz.  -small: parameters of NAME-small, the same for the built-in voice and a minute of one core;
where that is empty, it is small itself.  2016: best valid loss / variance then, on three hours of another voice."""


def listing(n_parameters):
    """All recipes by family, a line each; ``n_parameters(recipe)`` counts the numbers in a network."""
    lines = [_line(*HEAD)]
    for family, experiments in FAMILIES.items():
        lines.append(f"\n{family}")
        for e in experiments:
            r, small = RECIPES[e.name], RECIPES.get(f"{e.name}-small") if e.small is not None else None
            units = f"{r.n_units[0]} x {len(r.n_units)}" if len(set(r.n_units)) == 1 else "-".join(map(str, r.n_units))
            sizes = [f"{n_parameters(each):,}" if each else "" for each in (r, small)]
            recorded = f"{e.recorded:.3f}" if e.recorded else ""
            lines.append(_line(r.name, r.features, r.frame_length, r.n_steps, units, *sizes, recorded, r.purpose))
    return "\n".join([*lines, FOOT])


def _line(*cells):
    return "{:<26}{:<8}{:>6} {:>5}  {:<20}{:>12}{:>12}{:>9}  {}".format(*cells).rstrip()
