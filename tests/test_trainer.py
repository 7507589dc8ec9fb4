"""What a network hears in training: true frames, a mixture, or what it said itself."""

import numpy as np
import pytest
import theano
import theano.tensor as T

from vocalsynth_utils import audio, dataset, generation, model, remedies, runs, synthetic, training
from vocalsynth_utils.recipes import get

TINY = get("2016-small").replace(
    frame_length=20, n_steps=12, n_offsets=1, n_units=(12,), n_batch=8, n_epochs=3, learning_rate=0.003
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainer")
    audio.write(folder / "ar2.wav", synthetic.ar2(60000, seed=1), 16000)
    return dataset.prepare(folder / "ar2.wav", TINY, folder / "data")


@pytest.fixture
def X(data):
    return data.batch(data.starts("train", TINY.n_steps)[:8], TINY.n_steps)


def test_mixed_inputs_are_true_or_own_frames_and_the_first_is_true(data, X):
    made = training.compile_trainer(TINY.replace(p_teacher=0.0), data.n_features, data.scaling)
    mixed = lambda p: remedies.mixed_inputs(made, X, p, np.random.default_rng(0))
    assert np.array_equal(mixed(1.0), X[:, :-1])
    x = T.tensor3()
    own = theano.function([x], made.network.head.predict(model.run(made.network, x)[0], x))(X[:, :-1])[:, :-1]
    assert np.array_equal(mixed(0.0)[:, 0], X[:, 0]) and np.allclose(mixed(0.0)[:, 1:], own, atol=1e-6)
    true = np.isclose(mixed(0.7)[:, 1:], X[:, 1:-1]).all(axis=2)
    assert np.isclose(mixed(0.7)[:, 1:], own, atol=1e-6).all(axis=2)[~true].all() and 0.5 < true.mean() < 0.85


def test_own_frames_of_a_mixture_head_are_draws(data, X):
    made = training.compile_trainer(
        TINY.replace(p_teacher=0.0, loss="mixture", n_mixtures=2), data.n_features, data.scaling
    )
    a, b, again = (remedies.mixed_inputs(made, X, 0.0, np.random.default_rng(seed)) for seed in (1, 2, 1))
    assert np.array_equal(a, again) and not np.allclose(a[:, 1:], b[:, 1:])


def test_p_teacher_falls_linearly_from_one_in_the_first_epoch():
    recipe = TINY.replace(p_teacher=0.2, n_epochs=5)
    assert np.allclose([remedies.teacher(recipe, epoch) for epoch in range(1, 6)], [1, 0.8, 0.6, 0.4, 0.2])
    assert remedies.teacher(TINY, 3) == 1


def test_scheduled_sampling_changes_training_from_the_second_epoch(data, tmp_path):
    with_it, without = (
        list(training.train(TINY.replace(p_teacher=p, n_epochs=2), data, tmp_path / str(p))) for p in (0.0, 1.0)
    )
    assert with_it[0]["train_loss"] == without[0]["train_loss"] and with_it[1]["train_loss"] != without[1]["train_loss"]


def test_free_steps_train_on_the_error_of_free_running(data, X):
    """The training loss against a loop that feeds back frame by frame."""
    recipe, n_free = TINY.replace(free_steps=5, learning_rate=1e-12), 5
    made = training.compile_trainer(recipe, data.n_features, data.scaling)
    step = generation.compile_step(made.network)
    x = T.tensor3()
    forced = theano.function([x], made.network.head.predict(model.run(made.network, x)[0], x))(X[:, : -n_free - 1])
    after = [generation.free_run(step, np.concatenate([row[: -n_free - 1]]), n_free + 1) for row in X]
    errors = np.concatenate(
        [(forced[:, :-1] - X[:, 1 : -n_free - 1]) ** 2, (np.array(after) - X[:, -n_free - 1 :]) ** 2], axis=1
    )
    assert float(made.train(X)) == pytest.approx(errors.mean(), rel=1e-4)


def test_the_gradient_passes_through_the_feedback(data, X):
    network = model.build_network(TINY, data.n_features, data.scaling)
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


def test_free_running_error_is_that_of_generation(data, X):
    made = training.compile_trainer(TINY.replace(best_by="free_run"), data.n_features, data.scaling)
    step = generation.compile_step(made.network)
    expected = np.mean([(generation.free_run(step, row[:-7], 7) - row[-7:]) ** 2 for row in X])
    assert made.free(X, 7) == pytest.approx(expected, rel=1e-4)


def test_the_checkpoint_kept_is_the_one_of_the_lowest_free_running_error(data, tmp_path):
    recipe = TINY.replace(best_by="free_run", n_epochs=6, learning_rate=0.05)
    rows = list(training.train(recipe, data, tmp_path / "run"))
    best = min(rows, key=lambda r: r["valid_free_run"])["epoch"]
    assert runs.open_run(tmp_path / "run").result()["best_epoch"] == best
    assert "valid_free_run" not in next(training.train(TINY, data, tmp_path / "plain"))


def test_truncated_backpropagation_changes_the_gradient_and_not_the_loss(data, X):
    after = {}
    for gradient_steps in (0, 2):
        made = training.compile_trainer(TINY.replace(gradient_steps=gradient_steps), data.n_features, data.scaling)
        first = float(made.train(X))
        after[gradient_steps] = first, made.parameters["lstm1.W_hid_to_cell"].get_value()
    assert after[0][0] == after[2][0] and not np.allclose(after[0][1], after[2][1], atol=1e-6)


def test_clamp_keeps_generation_within_the_training_voice(tmp_path):
    recipe = get("world-residual").replace(n_units=(8,), n_epochs=1, batches_per_epoch=1, n_batch=2, n_steps=10)
    world = dataset.prepare(synthetic.write_voice(tmp_path / "voice.wav", 15), recipe, tmp_path / "data")
    list(training.train(recipe, world, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    primer = generation.primer_frames(run, world, "valid", 5)
    free, clamped = (
        generation.generate(run._replace(recipe=recipe.replace(clamp=c)), 1.0, primer) for c in (False, True)
    )
    assert not np.array_equal(free, clamped)
