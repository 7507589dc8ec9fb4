"""Training: it learns what can be learned, resumes exactly, and hides nothing."""

import json
import math

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from tiny import TINY

from vocalsynth_utils import audio, dataset, generation, model, runs, synthetic, training
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import checkpoints


def parameters_of(folder, name="last"):
    arrays, _ = checkpoints.read(folder / f"{name}.npz")
    del arrays["log.duration"], arrays["log.cpu_seconds"]  # what alone differs from run to run
    return arrays


def timeless(rows):
    return [{k: v for k, v in row.items() if k not in ("duration", "cpu_seconds")} for row in rows]


def test_log_checkpoints_and_result_stand_there_after_training(compiled_once, tiny_data, tmp_path):
    rows = list(training.train(TINY, tiny_data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    assert run.log() == rows and [r["epoch"] for r in rows] == [1, 2, 3]
    result = run.result()
    assert set(result["valid_baselines"]) == {"mean", "repeat", "linear"} and result["epochs"] == 3
    best = min(rows, key=lambda r: r["valid_loss"])
    assert result["best_epoch"] == best["epoch"]
    assert result["valid_error_over_variance"] == pytest.approx(best["valid_loss"] / tiny_data.variance)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["variance"] == tiny_data.variance


def test_loss_on_a_tone_falls_far_below_the_mean_baseline(quick_training, tmp_path):
    audio.write(tmp_path / "tone.wav", synthetic.tone(2.0, 500.0), 16000)
    recipe = TINY.replace(n_epochs=12, learning_rate=0.01)
    data = dataset.prepare(tmp_path / "tone.wav", recipe, tmp_path / "data")
    rows = list(training.train(recipe, data, tmp_path / "run"))
    assert rows[-1]["valid_loss"] / data.variance < 0.1


SOMETIMES = pytest.mark.slow  # each of these is a graph of its own to compile


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(batches_per_epoch=4),
        dict(momentum=0.5, input_noise=0.3, input_dropout=0.2),
        pytest.param(dict(optimiser="adam", epsilon=1e-6, schedule="cosine", warmup=3, max_norm=1.0), marks=SOMETIMES),
        pytest.param(dict(stateful=True), marks=SOMETIMES),
        pytest.param(dict(p_teacher=0.3), marks=SOMETIMES),
        pytest.param(dict(p_teacher=0.3, stateful=True, loss="mixture", n_mixtures=2), marks=SOMETIMES),
        pytest.param(dict(free_steps=4, input_noise=0.3), marks=SOMETIMES),
        pytest.param(dict(best_by="free_run", patience=1), marks=SOMETIMES),
    ],
    ids=str,
)
def test_resumed_equals_never_interrupted(quick_training, tiny_data, tmp_path, changes):
    recipe = TINY.replace(**changes)
    list(training.train(recipe, tiny_data, tmp_path / "whole"))
    started = training.train(recipe, tiny_data, tmp_path / "parts")
    next(started)
    started.close()
    list(training.train(recipe, tiny_data, tmp_path / "parts", resume=True))
    whole, parts = parameters_of(tmp_path / "whole"), parameters_of(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(np.array_equal(whole[k], parts[k]) for k in whole)
    logs = [timeless(runs.open_run(tmp_path / name).log()) for name in ("whole", "parts")]
    assert logs[0] == logs[1] and len(logs[0]) >= 2


def test_resume_refuses_another_recipe_and_training_refuses_a_used_folder(quick_training, tiny_data, tmp_path):
    list(training.train(TINY.replace(n_epochs=1), tiny_data, tmp_path / "run"))
    with pytest.raises(ValueError, match="was started with learning_rate=0.003"):
        next(training.train(TINY.replace(learning_rate=0.1), tiny_data, tmp_path / "run", resume=True))
    with pytest.raises(ValueError, match="holds a run of 1 epochs"):
        next(training.train(TINY, tiny_data, tmp_path / "run"))
    assert [r["epoch"] for r in training.train(TINY.replace(n_epochs=2), tiny_data, tmp_path / "run", resume=True)] == [
        2
    ]


def test_noise_and_dropout_are_on_in_training_and_off_in_validation(tiny_data, compiled):
    X = tiny_data.batch(tiny_data.starts("train", TINY.n_steps)[:8], TINY.n_steps)
    for changes in (dict(input_noise=0.5), dict(input_dropout=0.5)):
        trainer = compiled(TINY.replace(learning_rate=1e-12, **changes), tiny_data.n_features, tiny_data.scaling)
        assert trainer.train(X) != trainer.train(X)
        assert np.array_equal(trainer.valid(X), trainer.valid(X))
    plain = compiled(TINY.replace(learning_rate=1e-12), tiny_data.n_features, tiny_data.scaling)
    assert plain.train(X) == pytest.approx(plain.valid(X).item(), rel=1e-6)


def test_input_noise_is_in_units_of_the_datas_standard_deviation(tiny_data):
    network = model.build_network(TINY.replace(input_noise=0.5), tiny_data.n_features, tiny_data.scaling)
    assert network.lstms[0].input_layers[0].sigma == pytest.approx(0.5 * math.sqrt(tiny_data.variance))


@pytest.mark.parametrize("name, exact", [("world-mdn", 2), ("world-units", 2), ("world-mse", 0)])
def test_input_noise_leaves_the_melody_that_is_drawn_as_it_is(name, exact):
    network = model.build_network(get(name).replace(n_units=(3,), input_noise=0.5), 63)
    X = np.zeros((2, 400, network.input.shape[2]), np.float32)
    heard = lasagne.layers.get_output(network.lstms[0].input_layers[0], T.constant(X), deterministic=False).eval()
    assert np.allclose(heard[:, :, :63].std(axis=(0, 1)), [0] * exact + [0.5] * (63 - exact), rtol=0.15)


def test_momentum_changes_the_second_update_and_not_the_first(tiny_data, compiled):
    X = tiny_data.batch(tiny_data.starts("train", TINY.n_steps)[:8], TINY.n_steps)
    after = {}
    for momentum in (0.0, 0.9):
        trainer = compiled(TINY.replace(momentum=momentum), tiny_data.n_features)
        for n in (1, 2):
            trainer.train(X)
            after[momentum, n] = trainer.parameters["output.W"].get_value()
    assert np.allclose(after[0.0, 1], after[0.9, 1]) and not np.allclose(after[0.0, 2], after[0.9, 2])


def test_stateful_batches_continue_each_other(tiny_data):
    recipe = TINY.replace(stateful=True)
    order = training.batches(tiny_data, recipe, 1)
    assert (np.diff(order, axis=0) == recipe.n_steps * recipe.frame_length).all()


def test_stateful_training_carries_the_state_and_resets_it(tiny_data, compiled):
    recipe = TINY.replace(stateful=True, learning_rate=1e-12)
    trainer = compiled(recipe, tiny_data.n_features)
    X = tiny_data.batch(training.batches(tiny_data, recipe, 1)[0], recipe.n_steps)
    first, second = trainer.train(X), trainer.train(X)
    trainer.reset()
    assert first != second and trainer.train(X) == first


def test_every_sequence_is_seen_once_an_epoch_in_another_order(tiny_data):
    a, b = training.batches(tiny_data, TINY, 1), training.batches(tiny_data, TINY, 2)
    starts = tiny_data.starts("train", TINY.n_steps)
    assert len(set(a.ravel())) == a.size == len(starts) // TINY.n_batch * TINY.n_batch
    assert set(a.ravel()) <= set(starts) and not np.array_equal(a, b)
    assert np.array_equal(a, training.batches(tiny_data, TINY, 1))


def test_fewer_sequences_than_a_batch_is_said_before_anything_is_written(quick_training, tiny_data, tmp_path):
    with pytest.raises(ValueError, match=r"use n_batch <= 133"):
        next(training.train(TINY.replace(n_batch=1000), tiny_data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_exploding_loss_stops_and_keeps_the_last_good_checkpoint(quick_training, tiny_data, tmp_path):
    recipe = TINY.replace(n_epochs=50, optimiser="sgd", epsilon=1e-6, learning_rate=1.0)
    good = training.train(recipe, tiny_data, tmp_path / "run")
    next(good)
    good.close()
    arrays, meta = checkpoints.read(tmp_path / "run" / "last.npz")
    with pytest.raises(FloatingPointError, match="learning_rate below"):
        list(training.train(recipe.replace(learning_rate=1e30), tiny_data, tmp_path / "wild"))
    assert np.isfinite(arrays["output.W"]).all()


def test_stop_gives_up_the_epoch_in_progress(quick_training, tiny_data, tmp_path):
    assert list(training.train(TINY, tiny_data, tmp_path / "run", should_stop=lambda: True)) == []


def test_patience_ends_training(quick_training, tiny_data, tmp_path):
    rows = list(training.train(TINY.replace(n_epochs=9, patience=2, learning_rate=1e-30), tiny_data, tmp_path / "run"))
    assert len(rows) == 3


def test_however_little_time_there_is_the_epoch_in_which_it_is_over_is_trained(quick_training, tiny_data, tmp_path):
    assert len(list(training.train(TINY, tiny_data, tmp_path / "run", minutes=1e-12))) == 1
    assert len(list(training.train(TINY, tiny_data, tmp_path / "run", resume=True, minutes=1e-12))) == 0
    assert len(runs.open_run(tmp_path / "run").log()) == 1


def test_cosine_schedule_rises_and_falls():
    recipe = TINY.replace(schedule="cosine", warmup=10)
    rates = [training.schedule(recipe, u, 100) for u in range(100)]
    assert rates[0] < rates[5] < rates[10] and rates[10] == max(rates) and rates[-1] < 0.05 * recipe.learning_rate


def test_free_running_the_network_equals_refeeding_the_whole_history(tiny_data):
    """T4 on the real network, two layers: carried state against recomputing everything."""
    network = model.build_network(TINY.replace(n_units=(7, 5)), tiny_data.n_features)
    primer = tiny_data.sequence("valid", 6)
    carried = generation.free_run(generation.compile_step(network), primer, 5)
    x = T.tensor3()
    hids, _ = model.run(network, x)
    predict = theano.function([x], network.head.predict(hids, x))
    history = primer[None]
    for _ in range(5):
        history = np.concatenate([history, predict(history)[:, -1:]], axis=1)
    assert np.allclose(carried, history[0, 6:], atol=1e-5)


@pytest.mark.slow
def test_parameter_count_is_the_one_on_record():
    assert model.count_parameters(model.build_network(get("2016"), 16000)) == 55_232_200


def test_parameter_count_of_the_smaller_run_on_record():
    recipe = get("2016").replace(frame_length=2000, n_units=(300, 300, 300))
    assert model.count_parameters(model.build_network(recipe, 2000)) == 4_810_100


def test_best_by_last_keeps_the_end_of_the_annealing(compiled_once, tiny_data, tmp_path):
    list(
        training.train(
            TINY.replace(best_by="last", learning_rate=0.5, optimiser="adam", epsilon=1e-6), tiny_data, tmp_path / "run"
        )
    )
    best, last = parameters_of(tmp_path / "run", "best"), parameters_of(tmp_path / "run", "last")
    assert all(np.array_equal(best[k], last[k]) for k in last)
    assert runs.open_run(tmp_path / "run").result()["best_epoch"] == 3
