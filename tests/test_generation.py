"""The feedback loop, and the tests that tell a correct one from the two faulty ones of 2016.

A teaching model maps a whole sequence to the prediction of each frame's next
one; `as_step` runs it with the history as its state, which is the slow and
certain way to carry state.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from vocalsynth_utils import features, synthetic
from vocalsynth_utils.features import codec
from vocalsynth_utils.generation import free_run


def loop_2016_exports_the_primer(model, primer, n_frames):
    """Bug A of 2016: the output list begins with the primer, and its first n frames are written."""
    heard = list(primer)
    for _ in range(n_frames):
        heard.append(model(np.array(heard))[-1])
    return np.array(heard[:n_frames])


def loop_2016_replaces_the_context(model, primer, n_frames):
    """Bug B of 2016: the whole context becomes its own prediction, where one frame should be appended."""
    context, generated = primer, []
    for _ in range(n_frames):
        context = model(context)
        generated.append(context[-1])
    return np.array(generated)


def as_step(model):
    """A sequence model as `free_run`'s step; its state is all it has heard."""

    def step(frames, history):
        history = frames if history is None else np.concatenate([history, frames])
        return model(history)[-1], history

    return step


def correct_loop(model, primer, n_frames):
    return free_run(as_step(model), primer, n_frames)


def always_seven(x):
    return np.full_like(x, 7.0)


def cumulative_sum(x):
    return np.cumsum(x, axis=0)


OMEGA = 0.3


def oscillator(x):
    """Continues a sine of OMEGA radians a frame exactly: x[t + 1] = 2 cos(omega) x[t] - x[t - 1]."""
    before = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    return 2 * np.cos(OMEGA) * x - before


PRIMER = np.array([[1.0], [2.0], [-1.0], [0.5]])
FAULTY_A, FAULTY_B = loop_2016_exports_the_primer, loop_2016_replaces_the_context


# T1: a model that always says seven
def says_exactly_n_sevens(loop):
    return np.array_equal(loop(always_seven, PRIMER, 6), np.full((6, 1), 7.0))


# T2: what stands after the primer cannot matter
def ignores_what_follows_the_primer(loop):
    recording = np.concatenate([PRIMER, np.full((20, 1), np.nan)])
    return np.array_equal(loop(cumulative_sum, recording[: len(PRIMER)], 6), _closed_form(PRIMER, 6)[:, None])


# T3: a cumulative sum has a closed form: the sum of the primer, then doubling
def _closed_form(primer, n):
    return primer.sum() * 2.0 ** np.arange(n)


# T4: carrying state equals recomputing the whole history
def equals_recomputing_history(loop):
    heard = PRIMER
    for _ in range(6):
        heard = np.concatenate([heard, oscillator(heard)[-1:]])
    return np.allclose(loop(oscillator, PRIMER, 6), heard[len(PRIMER) :], rtol=1e-6)


# T5: the primer's first frame reaches the output
def hears_the_whole_primer(loop):
    other = PRIMER.copy()
    other[0] += 1
    a, b = loop(cumulative_sum, PRIMER, 6), loop(cumulative_sum, other, 6)
    return bool((np.abs(a - b) > 0.5).all())


# T7: a perfect oscillator goes on for ever
def continues_a_sine(loop):
    t = np.arange(250)
    sine = np.sin(OMEGA * t)[:, None]
    return np.allclose(loop(oscillator, sine[:50], 200), sine[50:], atol=1e-2)


LEAK_TESTS = [
    says_exactly_n_sevens,
    ignores_what_follows_the_primer,
    equals_recomputing_history,
    hears_the_whole_primer,
    continues_a_sine,
]


@pytest.mark.parametrize("fact", LEAK_TESTS)
def test_free_run_passes(fact):
    assert fact(correct_loop)


@pytest.mark.parametrize(
    "fact, faulty",
    [
        (says_exactly_n_sevens, FAULTY_A),
        (ignores_what_follows_the_primer, FAULTY_A),
        (equals_recomputing_history, FAULTY_A),
        (hears_the_whole_primer, FAULTY_A),
        (continues_a_sine, FAULTY_A),
        (ignores_what_follows_the_primer, FAULTY_B),
        (equals_recomputing_history, FAULTY_B),
        (continues_a_sine, FAULTY_B),
    ],
)
def test_faulty_loop_is_caught(fact, faulty):
    assert not fact(faulty)


def test_the_replaced_context_blows_up_within_fifty_steps():
    sine = np.sin(OMEGA * np.arange(50))[:, None]
    assert np.abs(FAULTY_B(oscillator, sine, 50)).max() > 10
    assert np.abs(correct_loop(oscillator, sine, 50)).max() < 1.1


def test_a_model_that_adds_one_does_not_catch_the_replaced_context():
    add_one = lambda x: x + 1
    assert np.array_equal(FAULTY_B(add_one, PRIMER, 5), correct_loop(add_one, PRIMER, 5))


def test_empty_primer_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        free_run(as_step(always_seven), np.zeros((0, 3)), 4)


@pytest.mark.slow
def test_pieces_are_the_whole_and_come_before_it_is_done(monkeypatch):
    """What `generate` writes piece by piece is what it returns at once, over several chunks of synthesis."""
    monkeypatch.setattr(codec, "PIECE_SECONDS", 2)
    monkeypatch.setattr(codec, "MOST_WAITING", 0)
    recipe = SimpleNamespace(features="world", frame_length=240, sample_rate=16000)
    frames = features.encode(synthetic.sing(12, seed=2), recipe)[::3]
    asked = []

    def blocks():
        for i in range(0, len(frames), 100):
            asked.append(i)
            yield frames[i : i + 100]

    pieces = features.decode_blocks(blocks(), len(frames), recipe)
    first = next(pieces)
    assert len(asked) < len(frames) / 200  # sound is there before half of the frames are
    whole, at_once = np.concatenate([first, *pieces]), features.decode(frames, recipe)
    assert len(whole) == len(frames) * 240 and len(first) < len(whole) / 3
    assert np.allclose(whole, at_once, atol=0.2)  # WORLD's noise is drawn anew by each thread
    quiet = [np.sqrt(np.mean(np.square(y.reshape(-1, 1600)), axis=1)) for y in (whole, at_once)]
    assert np.abs(quiet[0] - quiet[1]).max() < 0.02
