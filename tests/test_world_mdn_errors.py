"""How a network's errors go together, and random numbers that do likewise, against closed forms and simulation."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

from vocalsynth_utils import generation, losses
from vocalsynth_utils.world_mdn.errors import Draws, pattern

N, N_UNITS = 5, 4


@pytest.fixture(scope="module")
def errors():
    """Products of errors that persist by .8 to 0, and of which neighbours go together; as a plain loop makes them."""
    rng, persist = np.random.default_rng(0), np.array([0.8, 0.5, 0.2, 0.0, 0.6])
    mixed = np.tril(rng.normal(0, 0.5, (N, N))) + np.eye(N)
    e = np.zeros((200_000, N))
    for t in range(1, len(e)):
        e[t] = persist * e[t - 1] + mixed @ rng.normal(size=N)
    return np.stack([e.T @ e, e[1:].T @ e[:-1]]) / len(e)


@pytest.fixture(scope="module")
def head():
    """One Gaussian of N numbers, every parameter random."""
    head = losses.WorldHead(
        lasagne.layers.InputLayer((None, N_UNITS)), losses.FRAME + N, 1, (-1.0, 1.0), (1.0, 1.0, 1.0)
    )
    rng = np.random.default_rng(1)
    for p in lasagne.layers.get_all_params(head.outputs):
        p.set_value(rng.normal(0, 0.5, p.get_value().shape).astype(np.float32))
    return head


def test_numbers_drawn_go_together_as_the_errors_do(head, errors):
    _, normal = Draws(head, 3, errors).take(100_000)
    drawn = normal[:, 1:].astype(float)
    assert drawn.T @ drawn / len(drawn) == pytest.approx(errors[0], abs=0.12)
    assert np.mean(drawn[1:] * drawn[:-1], axis=0) == pytest.approx(np.diag(errors[1]), abs=0.1)


def test_the_pitchs_numbers_and_the_uniform_ones_are_left_as_they_are(head, errors):
    (plain_uniform, plain), (uniform, normal) = generation.Draws(head, 3).take(900), Draws(head, 3, errors).take(900)
    assert np.array_equal(uniform, plain_uniform) and np.array_equal(normal[:, 0], plain[:, 0])


def test_errors_that_have_nothing_to_do_with_each_other_change_nothing(head):
    errors = np.stack([np.eye(N), np.zeros((N, N))])
    persist, mixed = pattern(errors)
    assert not persist.any() and mixed @ mixed.T == pytest.approx(np.eye(N))


def test_numbers_do_not_depend_on_how_many_are_taken_at_a_time(head, errors):
    one, many = Draws(head, 5, errors), Draws(head, 5, errors)
    singly = np.concatenate([one.take(1)[1] for _ in range(700)])
    assert np.array_equal(singly, np.concatenate([many.take(300)[1], many.take(400)[1]]))


def test_a_constant_number_does_not_persist():
    covariance, later = np.diag([1.0, 0.0]), np.diag([0.5, 0.0])
    assert pattern(np.stack([covariance, later]))[0].tolist() == [0.5, 0.0]


def test_the_errors_of_what_a_head_draws_are_the_numbers_it_was_drawn_with(head):
    rng = np.random.default_rng(2)
    hid, current = rng.normal(size=(1, 6, N_UNITS)), rng.normal(size=(6, losses.FRAME + N))
    uniform, normal = generation.random_numbers(rng, 6, head)
    h, x, u, n, y = T.tensor3(), T.matrix(), T.matrix(), T.matrix(), T.tensor3()
    drawn = theano.function([h, x, u, n], head.sample(h[0], x, u, n, 1.0))
    errors = theano.function([h, y], head.errors(h, y))
    hid, current = hid.astype(np.float32), current.astype(np.float32)
    assert errors(hid, drawn(hid, current, uniform, normal)[None])[0] == pytest.approx(normal[:, 1:], abs=1e-3)
