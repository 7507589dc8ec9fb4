"""The tables of docs/results.md, docs/teaching.md and README.md that are made of data/measured/*.json: this program writes them anew.

Each stands between a line ``<!-- NAME -->`` and ``<!-- end -->``.
"""

import json
import re
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PAGES = HERE / "results.md", HERE / "teaching.md", HERE.parent / "README.md"
MEASURED = HERE.parent / "data" / "measured"
VOICES = {"fr": "French", "es": "Spanish", "it": "Italian", "singer": "built-in singer"}
EARS = {"dnsmos": ".2f", "p808": ".2f", "phone_perplexity": ".1f", "repeated_phones": ".3f"}
OWN = {"unit_perplexity": ".1f", "repeated_units": ".3f", "modulation": ".3f", "two_sample": ".2f"}
WORDS_A_MINUTE = 100  # of a text with formulas, figures and sounds
ALSO = {"survival_s": ".0f", "ok": ".3f", "fd": ".2f", "novelty_min": ".2f", "f0_roughness_ratio": ".2f"}
MOVED = "voiced, inside a segment", "voiced, at its ends", "unvoiced", "soft"


def held(name, part):
    """A part of a file of what was measured."""
    return json.loads((MEASURED / f"{name}.json").read_text())[part]


def head(*columns):
    """The first two lines of a table."""
    yield "| " + " | ".join(key.replace("_", " ") for key in columns) + " |"
    yield "|---" * len(columns) + "|"


def rows(name, columns, wanted=lambda row: True):
    """Lines of a table of a file's rows: a line for each voice and thing, several seeds or stretches in a cell."""
    measured = [row for row in held(name, "rows") if wanted(row)]
    yield from head("", *columns)
    for voice in dict.fromkeys(row["voice"] for row in measured):
        for what, tau in dict.fromkeys((row["what"], row["temperature"]) for row in measured if row["voice"] == voice):
            same = [r for r in measured if (r["voice"], r["what"], r["temperature"]) == (voice, what, tau)]
            title = f"{VOICES[voice]}: {what}" + (f", {tau:g}" if tau else "")
            cells = (
                ", ".join(format(np.nan if r[key] is None else r[key], form) for r in same)
                for key, form in columns.items()
            )
            yield f"| {title} | " + " | ".join(cells) + " |"


def language():
    """Lines of a table of language models, with their loss in all."""
    models = held("choices", "language")
    yield from head(*models[0], "together")
    for model in models:
        yield "| " + " | ".join(map(str, model.values())) + f" | {model['unit'] + model['length']:.3f} |"


def plain(name, part="rows", **forms):
    """Lines of a table of a part of a file as it is, numbers in a form where there is one."""
    measured = held(name, part)
    yield from head(*measured[0])
    for row in measured:
        shown = {k: "" if v is None else format(v, forms[k]) if k in forms else str(v) for k, v in row.items()}
        yield "| " + " | ".join(VOICES.get(value, value) for value in shown.values()) + " |"


def lessons():
    """Lines of a table of notebooks: minutes to read, seconds to run, and memory."""
    yield from head("", "minutes to read", "seconds of a core", "memory, MB")
    for name, its in held("lessons", "lessons").items():
        link = f"[{name[:2]} {name[3:].replace('_', ' ')}](../notebooks/{name}.ipynb)"
        yield f"| {link} | {its['words'] / WORDS_A_MINUTE:.0f} | {its['seconds']} | {its['memory_mb']} |"


def any_voice():
    """Lines of a table of kinds of voices by both recipes, several seeds in a cell."""
    measured = held("any_voice", "rows")
    keys = [key for key in measured[0] if key not in ("voice", "recipe", "seed")]
    yield from head("", *keys)
    for voice, recipe in dict.fromkeys((row["voice"], row["recipe"]) for row in measured):
        same = [row for row in measured if (row["voice"], row["recipe"]) == (voice, recipe)]
        cells = (", ".join(f"{row[key]:.2f}" for row in same) for key in keys)
        yield f"| {voice}, `{recipe}` | " + " | ".join(cells) + " |"


def drawn(row):
    """True for what a network made."""
    return row["temperature"] is not None


TABLES = {
    "ears": lambda: rows("ears", EARS),
    "own": lambda: rows("ears", OWN),
    "lived": lambda: rows("ears", ALSO, drawn),
    "choices": lambda: rows("choices", EARS),
    "language": language,
    "noise": lambda: plain("noise", **{**EARS, **OWN, **ALSO, "flux": ".2f"}),
    "loss": lambda: plain("choices", "loss", **{**EARS, **OWN, **ALSO, "flux": ".2f"}),
    "level": lambda: plain("choices", "level", **{**EARS, **OWN, **ALSO, "flux": ".2f"}),
    "movement": lambda: plain("movement", **{**EARS, **dict.fromkeys(MOVED, ".2f")}),
    "hearing": lambda: plain("hearing", **{**EARS, **OWN, **ALSO, "flux": ".2f"}),
    "between": lambda: plain("choices", "between_frames"),
    "voicing": lambda: plain(
        "voicing",
        **{
            **EARS,
            **OWN,
            **ALSO,
            "share": ".3f",
            "trackers_agree": ".3f",
            "voiced_share_second": ".3f",
            "voiced_share_second_real": ".3f",
        },
    ),
    "any voice": any_voice,
    "lessons": lessons,
    "french": lambda: rows(
        "ears", {**EARS, "unit_perplexity": ".1f"}, lambda row: row["voice"] == "fr" and "before" not in row["what"]
    ),
}


def filled(text):
    """A page with its tables made anew."""
    for name, table in TABLES.items():
        made = "\n".join(table())
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{made}\n\g<2>", text, flags=re.S)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text()))
