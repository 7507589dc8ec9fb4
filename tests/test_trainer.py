"""What a network hears in training: true frames, a mixture, or what it said itself."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from tiny import TINY

from vocalsynth_utils import generation, model, remedies, runs, training
from vocalsynth_utils.recipes import get


@pytest.fixture
def X(tiny_data):
    return tiny_data.batch(tiny_data.starts("train", TINY.n_steps)[:8], TINY.n_steps)


def test_mixed_inputs_are_true_or_own_frames_and_the_first_is_true(tiny_data, X, compiled):
    made = compiled(TINY.replace(p_teacher=0.0), tiny_data.n_features, tiny_data.scaling)
    mixed = lambda p: remedies.mixed_inputs(made.emit, made.network.head, X, p, np.random.default_rng(0))
    assert np.array_equal(mixed(1.0), X[:, :-1])
    x = T.tensor3()
    own = theano.function([x], made.network.head.predict(model.run(made.network, x)[0], x))(X[:, :-1])[:, :-1]
    assert np.array_equal(mixed(0.0)[:, 0], X[:, 0]) and np.allclose(mixed(0.0)[:, 1:], own, atol=1e-6)
    true = np.isclose(mixed(0.7)[:, 1:], X[:, 1:-1]).all(axis=2)
    assert np.isclose(mixed(0.7)[:, 1:], own, atol=1e-6).all(axis=2)[~true].all() and 0.5 < true.mean() < 0.85


def test_own_frames_of_a_mixture_head_are_draws(tiny_data, X, compiled):
    made = compiled(TINY.replace(p_teacher=0.0, loss="mixture", n_mixtures=2), tiny_data.n_features, tiny_data.scaling)
    a, b, again = (
        remedies.mixed_inputs(made.emit, made.network.head, X, 0.0, np.random.default_rng(seed)) for seed in (1, 2, 1)
    )
    assert np.array_equal(a, again) and not np.allclose(a[:, 1:], b[:, 1:])


def test_p_teacher_falls_linearly_from_one_in_the_first_epoch():
    recipe = TINY.replace(p_teacher=0.2, n_epochs=5)
    assert np.allclose([remedies.teacher(recipe, epoch) for epoch in range(1, 6)], [1, 0.8, 0.6, 0.4, 0.2])
    assert remedies.teacher(TINY, 3) == 1


def test_scheduled_sampling_changes_training_from_the_second_epoch(quick_training, tiny_data, tmp_path):
    with_it, without = (
        list(training.train(TINY.replace(p_teacher=p, n_epochs=2), tiny_data, tmp_path / str(p))) for p in (0.0, 1.0)
    )
    assert with_it[0]["train_loss"] == without[0]["train_loss"] and with_it[1]["train_loss"] != without[1]["train_loss"]


@pytest.mark.slow
def test_free_steps_train_on_the_error_of_free_running(tiny_data, X, compiled):
    """The training loss against a loop that feeds back frame by frame."""
    recipe, n_free = TINY.replace(free_steps=5, learning_rate=1e-12), 5
    made = compiled(recipe, tiny_data.n_features, tiny_data.scaling)
    step = generation.compile_step(made.network)
    x = T.tensor3()
    forced = theano.function([x], made.network.head.predict(model.run(made.network, x)[0], x))(X[:, : -n_free - 1])
    after = [generation.free_run(step, np.concatenate([row[: -n_free - 1]]), n_free + 1) for row in X]
    errors = np.concatenate(
        [(forced[:, :-1] - X[:, 1 : -n_free - 1]) ** 2, (np.array(after) - X[:, -n_free - 1 :]) ** 2], axis=1
    )
    assert float(made.train(X)) == pytest.approx(errors.mean(), rel=1e-4)


@pytest.mark.slow
def test_the_gradient_passes_through_the_feedback(tiny_data, X):
    network = model.build_network(TINY, tiny_data.n_features, tiny_data.scaling)
    x = T.constant(X[:, :-1])
    hids, _, _ = remedies.free_tail(network, x, 4)
    loss = (network.head.predict(hids, x)[:, -1] ** 2).sum()  # of the last frame alone
    bias = network.head.output.b
    slope = theano.function([], T.grad(loss, bias))()
    value, at = theano.function([], loss), bias.get_value()
    nudge = np.zeros_like(at)
    nudge[3] = 1e-2
    around = []
    for sign in (1, -1):
        bias.set_value(at + sign * nudge)
        around.append(float(value()))
    bias.set_value(at)
    direct = theano.function(
        [], 2 * network.head.predict(hids, x)[:, -1].sum(axis=0)
    )()  # what the bias does without feedback
    measured = (around[0] - around[1]) / 2e-2
    assert slope[3] == pytest.approx(measured, rel=0.02) and abs(direct[3] - measured) > 0.05 * abs(measured)


def test_free_running_error_is_that_of_generation(tiny_data, X, compiled):
    made = compiled(TINY.replace(best_by="free_run"), tiny_data.n_features, tiny_data.scaling)
    step = generation.compile_step(made.network)
    expected = np.mean([(generation.free_run(step, row[:-7], 7) - row[-7:]) ** 2 for row in X])
    assert made.free(X, 7) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_the_checkpoint_kept_is_the_one_of_the_lowest_free_running_error(compiled_once, tiny_data, tmp_path):
    recipe = TINY.replace(best_by="free_run", n_epochs=6, learning_rate=0.05)
    rows = list(training.train(recipe, tiny_data, tmp_path / "run"))
    best = min(rows, key=lambda r: r["valid_free_run"])["epoch"]
    assert runs.open_run(tmp_path / "run").result()["best_epoch"] == best
    assert "valid_free_run" not in next(training.train(TINY, tiny_data, tmp_path / "plain"))


def test_truncated_backpropagation_changes_the_gradient_and_not_the_loss(tiny_data, X, compiled):
    after = {}
    for gradient_steps in (0, 2):
        made = compiled(TINY.replace(gradient_steps=gradient_steps), tiny_data.n_features, tiny_data.scaling)
        first = float(made.train(X))
        after[gradient_steps] = first, made.parameters["lstm1.W_hid_to_cell"].get_value()
    assert after[0][0] == after[2][0] and not np.allclose(after[0][1], after[2][1], atol=1e-6)


def test_limits_keep_generation_within_them(tiny_data):
    network = model.build_network(TINY, tiny_data.n_features)
    primer = tiny_data.sequence("valid", 5)
    free = generation.free_run(generation.compile_step(network), primer, 50)
    low, high = np.quantile(free, (0.1, 0.9), axis=0)  # what it would go beyond
    within = generation.free_run(generation.compile_step(network, limits=[low, high]), primer, 50)
    low, high = low.astype(np.float32), high.astype(np.float32)
    assert ((low <= within) & (within <= high)).all() and not np.array_equal(within, free)
    assert (within == low).any() and (within == high).any()


def test_a_runs_limits_are_those_of_its_data_where_its_recipe_has_limits(tiny_run):
    run = runs.open_run(tiny_run)
    run = run._replace(data={**run.data, "limits": [[-1.0], [1.0]]}, recipe=get("world-residual").replace(limits=True))
    assert run.limits == [[-1.0], [1.0]]
    assert run._replace(recipe=run.recipe.replace(limits=False)).limits is None
