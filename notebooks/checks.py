"""What the notebooks say of a reader's answers: `check` prints one line, and is quiet about cells not yet filled in."""

import numpy as np

CHECKS = {}


def check(exercise, *answers):
    """Print whether the answers to an exercise, as ``"01-1"``, are right, or a hint; an answer of ``...`` is none yet."""
    said = "not tried yet"
    if not any(part is ... for answer in answers for part in _parts(answer)):
        try:
            hint = CHECKS[exercise](*answers)
        except Exception as error:  # a reader's own, of any kind
            hint = f"it raised {type(error).__name__}: {error}"
        said = f"not yet: {hint}" if hint else "right"
    print(f"{exercise.split('-')[1]}: {said}")


def _parts(answer):
    """What of an answer may still be missing: the values of a dict, the parts of a list, or itself."""
    return answer.values() if isinstance(answer, dict) else answer if isinstance(answer, (list, tuple)) else [answer]


def _checks(exercise):
    """Put a function that returns a hint, or None where all is right, in its place."""
    return lambda function: CHECKS.setdefault(exercise, function)


def _one(answer, hint):
    """A check for an exercise with one right answer, whatever its case."""
    return lambda given: None if str(given).strip().lower() == str(answer).lower() else hint


def _between(low, high, hint):
    """A check for a number."""
    return lambda given: None if low <= float(given) <= high else hint


CHECKS |= {
    "01-exercise 1": _one("linear", "compare each loss with what it was at 2000 samples; two of them hardly move"),
    "01-exercise 2": _between(
        0.99, 1.01, "both the loss and the variance are multiplied; what becomes of their ratio?"
    ),
    "03-exercise 1": _between(1.1, 1.5, "divide the last row's train_loss by data.variance"),
    "03-exercise 2": _one("train", "compare how far the ends of both curves moved"),
    "04-exercise 1": _one(False, "compare the last frames, once the sound has died"),
    "04-exercise 2": _one("hum", "listen to it: does it change?"),
    "05-exercise 1": _one(False, "look where each path ends, not how it gets there"),
    "06-exercise 2": _one("two levels", "draw from both at temperature 0.01, and listen to their last seconds"),
    "07-exercise 2": _between(0.72, 0.87, "the mean of the curve's first 400 samples; it lies between its neighbours"),
}


@_checks("01-exercise 3")
def _mu_law(compand, expand):
    x = np.linspace(-1, 1, 2001)
    if abs(compand(np.array([0.01]))[0] - np.log(3.55) / np.log(256)) > 1e-3:
        return "compand(0.01) should be 0.228"
    return None if np.allclose(expand(compand(x)), x, atol=1e-6) else "expand does not undo compand"


@_checks("02-exercise 1")
def _sizes(n_parameters, recurrent_share):
    if n_parameters != 7_816_400:
        return "count(200, (600, 600, 600), 200) has the number of parameters"
    return None if 0.54 < recurrent_share < 0.56 else "the recurrent ones are 4 x 600 x 600 in each of three layers"


@_checks("02-exercise 2")
def _peepholes(agree, stays):
    if not agree:
        return "with a peephole of zero there is nothing to add, inside or outside"
    return "is the gradient with respect to a peephole zero, too?" if stays else None


@_checks("02-exercise 3")
def _gru(gru_step):
    rng, sigma = np.random.default_rng(0), lambda z: 1 / (1 + np.exp(-z))
    gates = ("resetgate", "updategate", "hidden_update")
    p = {f"W_in_to_{g}": rng.normal(size=(5, 4)) for g in gates} | {f"b_{g}": rng.normal(size=4) for g in gates}
    p |= {f"W_hid_to_{g}": rng.normal(size=(4, 4)) for g in gates}
    x, h = rng.normal(size=(3, 5)), rng.normal(size=(3, 4))
    r, u = (sigma(x @ p[f"W_in_to_{g}"] + h @ p[f"W_hid_to_{g}"] + p[f"b_{g}"]) for g in gates[:2])
    new = np.tanh(x @ p["W_in_to_hidden_update"] + p["b_hidden_update"] + r * (h @ p["W_hid_to_hidden_update"]))
    return None if np.allclose(gru_step(x, h, p), (1 - u) * h + u * new) else "it is not the GRU of the formula"


@_checks("03-exercise 3")
def _momentum(step):
    theta = a = v = np.zeros(3)
    g, mine, mean, speed = np.array([1.0, -2.0, 1e-4]), np.zeros(3), np.zeros(3), np.zeros(3)
    for _ in range(3):
        theta, a, v = step(theta, g, a, v)
        mean = 0.9 * mean + 0.1 * g**2
        speed = 0.9 * speed - 0.01 * g / np.sqrt(mean + 1e-6)
        mine = mine + speed
    return None if np.allclose(theta, mine) else "after three steps theta is not what the formula says"


@_checks("04-exercise 3")
def _drawn(draw):
    rng = np.random.default_rng(0)
    off = np.std([draw(np.zeros(2000), 0.5, rng) for _ in range(20)])
    return None if 0.45 < off < 0.55 else "the noise added to a prediction should have the standard deviation sigma"


@_checks("05-guess")
def _guessed(guess, order):
    n_right = sum(guess[letter] == name for letter, name in zip("ABCD", order))
    return None if n_right == 4 else f"{n_right} of 4 are right"


@_checks("05-exercise 2")
def _limits(blows_up, is_voice):
    if blows_up:
        return "can anything be larger than the limit it is held to?"
    return "listen to it beside the codec" if is_voice else None


@_checks("05-exercise 3")
def _leak(leaky):
    frame, state = leaky(lambda frames, state: (1.01 * frames[-1], state), 0.98)(np.ones((1, 3)), "kept")
    return None if np.allclose(frame, 0.98 * 1.01) and state == "kept" else "the frame times 0.98, the state as it was"


@_checks("06-exercise 1")
def _repeats(at_03, at_2):
    return None if at_03 > 0.6 > at_2 else "the second number of evaluation.order, first at 0.3, then at 2"


@_checks("06-exercise 3")
def _bigram(bigram):
    odds = bigram(np.array([0, 1, 0, 2, 0, 1]), 3)
    if np.shape(odds) != (3, 3) or not np.allclose(np.sum(odds, axis=1), 1):
        return "it should be of shape (n, n), with rows that sum to 1"
    return None if abs(odds[0][1] - 2 / 3) < 0.1 and odds[2][0] > 0.9 else "row a, column b: how often b follows a"


@_checks("07-quiz")
def _broken(guess):
    true = {"A": "rate", "B": "dropout", "C": "well", "D": "bound", "E": "by heart", "F": "rectifier"}
    n_right = sum(guess.get(case) == what for case, what in true.items())
    return None if n_right == 6 else f"{n_right} of 6 are right"


@_checks("07-exercise 1")
def _places(settings):
    return None if set(settings) == {"noise 1", "neither"} else "sort the means by either score and compare the orders"


@_checks("07-exercise 3")
def _diagnoses(diagnose, curves, rows):
    said = [diagnose(curves[row["case"]][0], row) for row in rows]
    return None if len(set(said)) == len(rows) else f"only {len(set(said))} of {len(rows)} are told apart"
