"""The figures of `evaluate` as text, by the part that they took in choosing how voices are generated."""

from .ears import EARS
from .evaluator import TUNED
from .independent import INDEPENDENT

GROUPS = {
    "tuned to before, and say little of how it sounds:": TUNED,
    "took no part in any choice:": INDEPENDENT,
    "chosen by, on the validation part of a French speaker:": EARS,
}


def table(result):
    """A result as lines under the headings of `GROUPS`, and what belongs to none of them last: str."""
    rest, lines = dict(result), []
    for heading, names in GROUPS.items():
        of_it = [key for key in rest if any(f"{key}_".startswith(f"{name}_") for name in names)]
        lines += [heading, *(_line(key, rest.pop(key)) for key in of_it), ""]
    return "\n".join([*lines, "besides:", *(_line(*item) for item in rest.items())])


def _line(name, value):
    if isinstance(value, float):
        value = f"{value:.4g}"
    elif isinstance(value, list):
        value = " ".join(f"{v:.3g}" for v in value)
    elif isinstance(value, dict):
        value = ", ".join(f"{k} {v:.4g}" for k, v in value.items())
    return f"  {name:<26}{value}"
