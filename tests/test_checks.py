"""The notebooks' checks: quiet about empty cells, right for right answers, a hint for others."""

import ast
import re

import nbformat
import numpy as np
import pytest
from test_pages import NOTEBOOKS, module

LESSONS = sorted(NOTEBOOKS.glob("0[1-7]_*.ipynb"))  # 08 is all doing
checks = module("checks")
sigma = lambda z: 1 / (1 + np.exp(-z))


def gru_step(x, hid, p):
    inside = lambda gate: x @ p[f"W_in_to_{gate}"] + p[f"b_{gate}"]
    r, u = (sigma(inside(gate) + hid @ p[f"W_hid_to_{gate}"]) for gate in ("resetgate", "updategate"))
    return (1 - u) * hid + u * np.tanh(inside("hidden_update") + r * (hid @ p["W_hid_to_hidden_update"]))


def momentum_step(theta, g, a, v):
    a = 0.9 * a + 0.1 * g**2
    v = 0.9 * v - 0.01 * g / np.sqrt(a + 1e-6)
    return theta + v, a, v


def bigram(units, n):
    counts = np.full((n, n), 1e-3)
    np.add.at(counts, (units[:-1], units[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def leaky(step, leak):
    return lambda frames, state: (leak * step(frames, state)[0], step(frames, state)[1])


compand = lambda y: np.sign(y) * np.log1p(255 * np.abs(y)) / np.log(256)
expand = lambda z: np.sign(z) * np.expm1(np.abs(z) * np.log(256)) / 255
QUIZ = dict(zip("ABCDEF", ("rate", "dropout", "well", "bound", "by heart", "rectifier")))
CURVES = {"A": [{"train_loss": 1}], "B": [{"train_loss": 2}]}
ROWS = [{"case": "A"}, {"case": "B"}]
ORDER = ["w", "x", "y", "z"]
ANSWERS = {  # right, wrong
    "01-exercise 1": (["linear"], ["mean"]),
    "01-exercise 2": ([1], [134.0]),
    "01-exercise 3": ([compand, expand], [compand, compand]),
    "02-exercise 1": ([7816400, 0.553], [7816400, 55]),
    "02-exercise 2": ([True, False], [True, True]),
    "02-exercise 3": ([gru_step], [lambda x, h, p: h]),
    "03-exercise 1": ([1.29], [0.9]),
    "03-exercise 2": (["train"], ["valid"]),
    "03-exercise 3": ([momentum_step], [lambda theta, g, a, v: (theta - g, a, v)]),
    "04-exercise 1": ([False], [True]),
    "04-exercise 2": (["hum"], ["sing"]),
    "04-exercise 3": ([lambda p, s, rng: p + s * rng.standard_normal(p.shape)], [lambda p, s, rng: p + s]),
    "05-guess": ([dict(zip("ABCD", ORDER)), ORDER], [dict(zip("ABCD", ORDER[::-1])), ORDER]),
    "05-exercise 1": ([False], [True]),
    "05-exercise 2": ([False, False], [True, False]),
    "05-exercise 3": ([leaky], [lambda step, leak: step]),
    "06-exercise 1": ([0.84, 0.25], [0.25, 0.84]),
    "06-exercise 2": (["two levels"], ["one level"]),
    "06-exercise 3": ([bigram], [lambda units, n: np.ones((n, n))]),
    "07-quiz": ([QUIZ], [QUIZ | {"A": "well", "C": "rate"}]),
    "07-exercise 1": ([["neither", "noise 1"]], [["noise 1", "noise 0.1"]]),
    "07-exercise 2": ([0.8], [0.5]),
    "07-exercise 3": ([lambda curve, row: row["case"], CURVES, ROWS], [lambda curve, row: "well", CURVES, ROWS]),
}


def said(capsys, exercise, answers):
    checks.check(exercise, *answers)
    return capsys.readouterr().out


@pytest.mark.parametrize("exercise", ANSWERS)
def test_a_check_knows_right_from_wrong_and_waits_for_an_answer(capsys, exercise):
    right, wrong = ANSWERS[exercise]
    name = exercise.split("-")[1]
    assert said(capsys, exercise, right) == f"{name}: right\n"
    assert re.match(f"{name}: not yet: .+\n", said(capsys, exercise, wrong))
    assert said(capsys, exercise, [..., *right[1:]]) == f"{name}: not tried yet\n"


def test_an_answer_that_raises_is_no_traceback(capsys):
    assert "not yet: it raised TypeError" in said(capsys, "02-exercise 3", [lambda: None])


def test_every_check_is_asked_for_in_its_notebook_and_its_cell_waits():
    asked = {}
    for path in LESSONS:
        for cell in nbformat.read(path, as_version=4).cells:
            for exercise in re.findall(r'^check\("(\d\d-[^"]+)"', cell.source, re.M):
                asked[exercise] = cell
                assert exercise.startswith(path.stem[:2]) and "not tried yet" in cell.outputs[0].text
    known = {exercise for exercise in checks.CHECKS}
    assert known == set(ANSWERS) and known <= set(asked)


def test_two_things_to_do_and_one_recording_in_every_notebook():
    for path in LESSONS:
        cells = nbformat.read(path, as_version=4).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        assert len(re.findall(r"\*\*(Try it|Guess|Predict)", prose)) >= 2, path.name
        assert [source.startswith("recording = None") for source in code][1], path.name
        assert code[1].count("synthetic.built_in()") == 1 == "\n".join(code).count("synthetic.built_in()"), path.name
        ast.parse(code[1])
