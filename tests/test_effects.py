"""No silent no-ops: each field of a recipe, changed alone, changes what it is there to change.

Every field is run, not read: a dataset is prepared, a network trained for a
few updates and let run free, with the field at the base's value and at
another; what came of both is compared.
"""

import dataclasses
import json

import lasagne
import numpy as np
import pytest
from tiny import TINY

from vocalsynth_utils import audio, dataset, generation, model, pipeline, runs, synthetic, training
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.fused import layers
from vocalsynth_utils.recipes import RECIPES, Recipe

BASE = TINY.replace(n_units=(6,), epsilon=1e-6)
MIXTURE = BASE.replace(loss="mixture", n_mixtures=1)
SPECTRAL = dict(features="logmel", frame_length=200, scaling="standardise", loss="residual-mixture", n_mixtures=1)
WANDERING = BASE.replace(**SPECTRAL, n_epochs=1)
WORLD = dict(features="world", frame_length=240, scaling="standardise", loss="world", n_mixtures=1, n_steps=6)
TEXT = BASE.replace(**WORLD, n_batch=4, vocabulary=4, language_units=5)
PATIENT = BASE.replace(n_epochs=6, learning_rate=1e-30)  # each epoch is like the first

# field: base, other values, what differs of: data, batches, network, log, parameters, best, audio, files
EFFECTS = {
    "name": (BASE, dict(name="other"), {"files"}),
    "purpose": (BASE, dict(purpose="another one"), {"files"}),
    "sample_rate": (BASE, dict(sample_rate=8000), {"data", "log", "parameters", "audio"}),
    "features": (BASE, dict(features="fft"), {"data", "log", "parameters", "audio"}),
    "frame_length": (BASE, dict(frame_length=24), {"data", "batches", "network", "log"}),
    "scaling": (BASE, dict(scaling="std"), {"data", "log", "parameters", "audio"}),
    "n_steps": (BASE, dict(n_steps=13), {"batches", "log", "parameters"}),
    "n_offsets": (BASE, dict(n_offsets=2), {"batches", "log", "parameters"}),
    "batches_per_epoch": (BASE, dict(batches_per_epoch=4), {"batches", "log", "parameters"}),
    "stateful": (BASE, dict(stateful=True), {"batches", "log", "parameters"}),
    "n_units": (BASE, dict(n_units=(6, 5)), {"network", "log", "audio"}),
    "lstm": (BASE, dict(lstm="fused-lasagne-0.1"), {"log", "parameters", "audio"}),
    "peepholes": (BASE, dict(peepholes=False), {"network", "log", "audio"}),
    "forget_bias": (BASE, dict(forget_bias=-1.0), {"log", "parameters", "audio"}),
    "nonlinearity": (BASE, dict(nonlinearity="rectify"), {"log", "parameters", "audio"}),
    "input_noise": (BASE, dict(input_noise=0.5), {"log", "parameters", "audio"}),
    "input_dropout": (BASE, dict(input_dropout=0.5), {"log", "parameters", "audio"}),
    "vocabulary": (TEXT, dict(vocabulary=5), {"network", "log", "audio"}),
    "language_units": (TEXT, dict(language_units=6), {"network", "log", "audio"}),
    "language_dropout": (TEXT, dict(language_dropout=0.5), {"log", "parameters"}),
    "p_teacher": (BASE, dict(p_teacher=0.0), {"log", "parameters", "audio"}),
    "free_steps": (BASE, dict(free_steps=4), {"log", "parameters", "audio"}),
    "loss": (MIXTURE, dict(loss="residual-mixture"), {"log", "parameters", "audio"}),
    "n_mixtures": (MIXTURE, dict(n_mixtures=2), {"network", "log", "audio"}),
    "optimiser": (BASE, dict(optimiser="sgd"), {"log", "parameters", "audio"}),
    "learning_rate": (BASE, dict(learning_rate=0.01), {"log", "parameters", "audio"}),
    "schedule": (BASE, dict(schedule="cosine"), {"log", "parameters", "audio"}),
    "warmup": (BASE, dict(warmup=5), {"log", "parameters", "audio"}),
    "momentum": (BASE, dict(momentum=0.9), {"log", "parameters", "audio"}),
    "rho": (BASE, dict(rho=0.5), {"log", "parameters", "audio"}),
    "epsilon": (BASE, dict(epsilon=1e-3), {"log", "parameters", "audio"}),
    "grad_clipping": (BASE, dict(grad_clipping=1e-6), {"log", "parameters", "audio"}),
    "gradient_steps": (BASE, dict(gradient_steps=2), {"log", "parameters", "audio"}),
    "max_norm": (BASE, dict(max_norm=1e-4), {"log", "parameters", "audio"}),
    "n_batch": (BASE, dict(n_batch=4), {"batches", "log", "parameters"}),
    "n_epochs": (BASE, dict(n_epochs=2), {"log", "parameters"}),
    "patience": (PATIENT, dict(patience=2), {"log"}),
    "best_by": (PATIENT, dict(best_by="last"), {"best"}),
    "seed": (BASE, dict(seed=1), {"batches", "log", "parameters", "audio"}),
    "limits": (WANDERING, dict(limits=False), {"audio"}),
}
STAYS = {  # what a field must leave alone
    "name": {"data", "batches", "network", "log", "parameters", "best", "audio"},
    "purpose": {"data", "batches", "network", "log", "parameters", "best", "audio"},
    "lstm": {"data", "batches", "network"},
    "nonlinearity": {"data", "batches", "network"},
    "vocabulary": {"data", "batches"},
    "language_units": {"data", "batches"},
    "language_dropout": {"data", "batches", "network"},
    "seed": {"data", "network"},
    "n_epochs": {"data", "batches", "network"},
    "patience": {"data", "batches", "network", "best"},
    "best_by": {"data", "batches", "network", "log", "parameters"},
    "limits": {"data", "batches", "network", "log", "parameters", "best"},
}


@pytest.fixture(scope="module")
def outcome(compiled, tmp_path_factory):
    """`outcome(recipe)`: everything that comes of a recipe, by kind; of one asked for before, what came of it then."""
    folder, seen = tmp_path_factory.mktemp("effects"), {}
    audio.write(folder / "ar2.wav", synthetic.ar2(24000, seed=1), 16000)

    def find(recipe):
        if recipe not in seen:
            seen[recipe] = trained(recipe, folder, folder / str(len(seen)), compiled)
        return seen[recipe]

    return find


def trained(recipe, folder, here, compile_trainer):
    """What comes of a recipe in a folder that holds ar2.wav."""
    data = dataset.prepare(folder / "ar2.wav", recipe, here / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compile_trainer", compile_trainer)
        # it measures what training left behind, and would take half of the time
        patch.setattr(training.diagnostics, "write_result", lambda *_: None)
        rows = list(training.train(recipe, data, here / "run"))
    run = runs.open_run(here / "run")
    (last, _), (_, best) = run.load("last"), run.load("best")
    parameters = {k: v for k, v in last.items() if not k.startswith(("log.", "optimiser."))}
    primer = generation.primer_frames(run, data, "valid", 3) * (1 if recipe.is_raw else 9)
    return {
        "data": data.sequence("train", 2).tobytes(),
        "batches": training.batches(data, recipe, 1).tolist(),
        "network": {k: v.shape for k, v in parameters.items()},
        "log": [{k: v for k, v in row.items() if k not in ("duration", "cpu_seconds")} for row in rows],
        "parameters": {k: v.tobytes() for k, v in parameters.items()},
        "best": best["epoch"],
        "audio": pipeline.generate(run, 0.05, primer).tobytes(),
        "files": json.loads((here / "run" / "recipe.json").read_text())["recipe"],
    }


def test_every_field_of_a_recipe_has_its_effect_tested():
    assert set(EFFECTS) == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.slow
@pytest.mark.parametrize("field", EFFECTS)
def test_field_changed_alone_changes_what_it_should(outcome, field):
    base, changes, expected = EFFECTS[field]
    assert set(changes) == {field}
    before, after = outcome(base), outcome(base.replace(**changes))
    changed = {kind for kind in before if before[kind] != after[kind]}
    assert expected | {"files"} <= changed, f"no effect on {expected - changed}"
    assert not changed & STAYS.get(field, set())


@pytest.mark.slow
def test_the_same_recipe_twice_comes_to_the_same(outcome, tmp_path):
    audio.write(tmp_path / "ar2.wav", synthetic.ar2(24000, seed=1), 16000)
    again = trained(BASE, tmp_path, tmp_path / "again", training.compile_trainer)  # compiled anew too
    assert outcome(BASE) == again


@pytest.mark.slow
def test_patience_leaves_the_epochs_before_it_as_they_were(outcome):
    whole, short = (outcome(recipe)["log"] for recipe in (PATIENT, PATIENT.replace(patience=2)))
    assert len(short) == 3 and short == whole[:3]


@pytest.mark.parametrize("name", ["2016-small", "1s-tapered-small", "0.125s-300x8-small", "rectify-small"])
def test_all_layers_built_are_connected(name):
    recipe = RECIPES[name]
    network = model.build_network(recipe.replace(n_units=tuple(n // 10 + 1 for n in recipe.n_units)), 20)
    connected = [
        layer for layer in lasagne.layers.get_all_layers(network.head.outputs) if isinstance(layer, layers.LSTMLayer)
    ]
    assert connected == network.lstms and len(connected) == len(recipe.n_units)


def test_what_lasagne_and_the_fused_layer_compute_is_one_thing_by_two_ways():
    layers = {
        lstm: model.build_network(BASE.replace(lstm=lstm), 20).lstms[0]
        for lstm in ("fused", "lasagne", "lasagne-0.1", "fused-lasagne-0.1")
    }
    assert len({(type(layer), layer.form) for layer in layers.values()}) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        dict(optimiser="sgd"),
        dict(optimiser="nesterov", momentum=0.9),
        dict(optimiser="adagrad"),
        dict(optimiser="adam"),
    ],
    ids=str,
)
@pytest.mark.parametrize("field", ["momentum", "rho", "epsilon", "max_norm"])
def test_what_an_optimiser_does_not_read_is_refused_and_what_it_reads_counts(tiny_data, compiled, changes, field):
    base = BASE.replace(**changes)
    value = {"momentum": 0.5, "rho": 0.5, "epsilon": 1e-3, "max_norm": 1e-4}[field]
    try:
        other = base.replace(**{field: value})
    except ValueError as error:
        assert field in str(error)
        return
    X, ends = tiny_data.batch(tiny_data.starts("train", base.n_steps)[:8], base.n_steps), []
    for recipe in (base, other):
        trainer = compiled(recipe, tiny_data.n_features, tiny_data.scaling)
        trainer.train(X), trainer.train(X)
        ends.append(np.concatenate([v.get_value().ravel() for v in trainer.parameters.values()]))
    assert not np.array_equal(*ends)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fft-mixture", "logmel-mixture"])
def test_spectral_frames_train_generate_and_are_evaluated_by_name(name, tmp_path, capsys):
    synthetic.write_voice(tmp_path / "voice.wav", 40)
    small = [f"--set={s}" for s in ("n_units=8", "n_epochs=1", "batches_per_epoch=2", "n_batch=2", "n_steps=10")]
    small += ["--set=warmup=0"] if name == "logmel-mixture" else []
    assert main(["train", name, "--data", str(tmp_path / "voice.wav"), "--run", str(tmp_path / "run"), *small]) == 0
    assert main(["generate", str(tmp_path / "run"), str(tmp_path / "out.wav"), "--seconds", "2"]) == 0
    assert audio.open_recording(tmp_path / "out.wav").n_samples == 32000
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--seconds", "4", "--json"]) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["ok"] <= 1
