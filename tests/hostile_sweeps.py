"""Hostile sweep files: what `fuzzing` puts before `sweep`.  They name no recording, so nothing is ever trained."""

from hostile import Case, mutate

PLAIN = 20
RIGHT = {
    "recipe": ['"2016-small"', '"2016"'],
    "data": ['"text.wav"', '"."', '"nothing"'],
    "seeds": ["[0]", "[0, 1]"],
    "epochs": ["1"],
    "workers": ["1"],
    "evaluate_seconds": ["2"],
    "minutes": ["0.1"],
    "skip_contradictions": ["true"],
    "set.frame_length": ["20"],
    "set.n_steps": ["4"],
    "grid.n_units": ["[[4], [8]]"],
    "grid.learning_rate": ["[0.1, 0.01]"],
    "random.runs": ["3"],
    "random.seed": ["0"],
    "random.fields.learning_rate": ["{low = 1e-4, high = 1e-1, log = true}"],
    "random.fields.n_batch": ["[1, 2]", "{low = 1, high = 9}"],
    "case": ['[{label = "a", input_noise = 0.3}, {label = "b"}]'],
}
WRONG = (
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1" * 4000,
    "1" * 5000,
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "07:32:00",
    "true",
    '""',
    '"x"',
    '"\\u0000"',
    '"../../etc"',
    '"/dev/zero"',
    "[]",
    "[[]]",
    "{}",
    "[1, [2]]",
    "[nan]",
    "[" * 5000 + "]" * 5000,
    "[" * 200 + "]" * 200,
    "{low = 2, high = 1}",
    "{low = 0, high = 1, log = true}",
    "{low = -inf, high = inf}",
    "{low = 1, high = 9223372036854775807}",
    "[" + "1, " * 20000 + "1]",
    "{a = {b = {c = 1}}}",
    "0x1F",
    "1_000",
    "'''x'''",
    "1000000000",
    "\ufeff1",
)
LINES = (
    "x = 1",
    "grid.x = [1]",
    "set.n_stepz = 3",
    "[grid]",
    "seeds = [0]",
    "= 1",
    "a.b.c = 1",
    "\0",
    "case = 3",
    "grid.name = ['a']",
    "[[case]]\nlabel = 3",
)
TEXTS = (b"", b"\xff\xfe", b"\0" * 99, b"[" * 100000, b"a." * 5000 + b"b = 1", b"# " + b"x" * 100000)


def _text(lines):
    return "\n".join(f"{key} = {value}" for key, value in lines.items()).encode()


def sweep(rng, box):
    """A sweep's file with values, keys or its text altered; one in `PLAIN` is as it should be."""
    box.save("text.wav", b"Dear diary")
    drop = ("random.", "grid.")[rng.integers(2)]
    lines = {
        key: str(rng.choice(values))
        for key, values in RIGHT.items()
        if (key in ("data", "recipe") or rng.random() < 0.7) and (not key.startswith(drop) or rng.random() < 0.05)
    }
    if box.number % PLAIN == 0:
        lines = {**lines, "case": RIGHT["case"][0]}
        lines = {key: value for key, value in lines.items() if not key.startswith(drop)}
        return Case(["sweep", box.save("s.toml", _text(lines)), "--out", "out"])
    for _ in range(rng.integers(3)):
        lines[list(lines)[rng.integers(len(lines))]] = WRONG[rng.integers(len(WRONG))]
    content = _text(lines)
    if rng.random() < 0.2:
        content += b"\n" + LINES[rng.integers(len(LINES))].encode()
    if rng.random() < 0.25:
        content = mutate(content, rng, len(content))
    if rng.random() < 0.05:
        content = TEXTS[rng.integers(len(TEXTS))]
    return Case(["sweep", box.save("s.toml", content), "--out", "out"])


KINDS = {"sweep": sweep}
