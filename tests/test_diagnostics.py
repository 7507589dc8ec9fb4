"""Diagnostics against numpy: norms, RMSProp's root, clipped and saturated gates."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from tiny import TINY

from vocalsynth_utils import baselines, diagnostics, generation, recipes, runs, synthetic, training

TWO_LAYERS = TINY.replace(n_units=(6, 5), epsilon=1e-6, learning_rate=0.01)


@pytest.fixture
def X(tiny_data):
    return tiny_data.batch(tiny_data.starts("train", TWO_LAYERS.n_steps)[:8], TWO_LAYERS.n_steps)


@pytest.fixture
def made(compiled, tiny_data):
    """`made(recipe)`: its trainer."""
    return lambda recipe: compiled(recipe, tiny_data.n_features, tiny_data.scaling)


def gates_by_hand(trainer, x):
    """In, forget and output gates of the first layer, step by step: (3, n_steps, n_batch, n_units)."""
    p = {name.split(".")[1]: v.get_value() for name, v in trainer.parameters.items() if name.startswith("lstm1.")}
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    hid = cell = np.zeros((len(x), p["b_ingate"].size))
    found = []
    for frame in x.transpose(1, 0, 2):
        z = {
            g: frame @ p[f"W_in_to_{g}"] + hid @ p[f"W_hid_to_{g}"] + p[f"b_{g}"]
            for g in ("ingate", "forgetgate", "cell", "outgate")
        }
        i, f = (sigmoid(z[g] + cell * p[f"W_cell_to_{g}"]) for g in ("ingate", "forgetgate"))
        cell = f * cell + i * np.tanh(z["cell"])
        o = sigmoid(z["outgate"] + cell * p["W_cell_to_outgate"])
        hid = o * np.tanh(cell)
        found.append((i, f, o))
    return np.array(found).transpose(1, 0, 2, 3)


def test_gradient_is_that_of_the_loss(made, X):
    net = made(TWO_LAYERS)
    gradients, _ = diagnostics.compile_probe(net.network, TWO_LAYERS)(X)
    bias, step = net.parameters["output.b"], 1e-2
    value = bias.get_value()
    losses = []
    for sign in (1, -1):
        moved = value.copy()
        moved[3] += sign * step
        bias.set_value(moved)
        losses.append(float(net.valid(X).sum()))
    assert gradients["output.b"][3] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-2)


def test_gradient_norm_and_the_share_of_batches_that_max_norm_cuts(made, X):
    net = made(TWO_LAYERS)
    probe = diagnostics.compile_probe(net.network, TWO_LAYERS)
    norms = [np.sqrt(sum((g.astype(float) ** 2).sum() for g in probe(batch)[0].values())) for batch in (X, 3 * X)]
    bounded = TWO_LAYERS.replace(max_norm=float(np.mean(norms)))
    found = diagnostics.training_diagnostics(bounded, diagnostics.compile_probe(net.network, bounded), [X, 3 * X])
    assert found["gradient_norm"] == pytest.approx(np.mean(norms)) and found["norm_clipped"] == 0.5
    assert "norm_clipped" not in diagnostics.training_diagnostics(TWO_LAYERS, probe, [X])
    with pytest.raises(ValueError, match="no batch"):
        diagnostics.training_diagnostics(TWO_LAYERS, probe, [])


@pytest.mark.parametrize("epsilon, plain", [(1e6, True), (1e-30, False)])
def test_rmsprop_is_plain_descent_where_epsilon_is_large_and_not_where_it_is_small(made, X, epsilon, plain):
    recipe = TINY.replace(epsilon=epsilon, learning_rate=1e-9)
    net = made(recipe)
    for _ in range(3):
        net.train(X)
    found = diagnostics.training_diagnostics(
        recipe, diagnostics.compile_probe(net.network, recipe), [X], net.checkpoint()
    )
    assert (found["epsilon_share"], found["sgd_cosine"] > 0.999) == (
        (1, True) if plain else (pytest.approx(0, abs=0.01), False)
    )


@pytest.mark.slow
def test_epsilon_share_and_cosine_foretell_the_next_step(made, X):
    recipe = TINY.replace(epsilon=1e-11, learning_rate=1e-3)
    net = made(recipe)
    net.train(X)
    probe = diagnostics.compile_probe(net.network, recipe)
    gradients, arrays = probe(X)[0], {k: v.copy() for k, v in net.checkpoint().items()}
    found = diagnostics.training_diagnostics(recipe, probe, [X], arrays)
    net.train(X)
    after = net.checkpoint()
    step = np.concatenate([(arrays[name] - after[name]).ravel() for name in gradients]).astype(float)
    g = np.concatenate([v.ravel() for v in gradients.values()]).astype(float)
    accu = np.concatenate([after[k].ravel() for k in after if k.endswith(".accu")])
    assert found["sgd_cosine"] == pytest.approx(step @ g / np.linalg.norm(step) / np.linalg.norm(g), abs=1e-3)
    assert (
        found["epsilon_share"] == pytest.approx(np.mean(accu < 1e-11), abs=1e-3)
        and 0.05 < found["epsilon_share"] < 0.95
    )


def test_saturated_gates_are_those_near_0_and_1(made, X):
    recipe = TWO_LAYERS.replace(n_units=(6,), forget_bias=3.0)
    net = made(recipe)
    _, shares = diagnostics.compile_probe(net.network, recipe)(20 * X)
    gates = gates_by_hand(net, 20 * X[:, :-1])
    for name, values in zip(("ingate", "forgetgate", "outgate"), gates):
        assert shares[f"saturated_{name}"] == pytest.approx(np.mean((values < 0.05) | (values > 0.95)), abs=2e-3)
    assert 0 < shares["saturated_ingate"] < shares["saturated_forgetgate"] < 1


def test_clipped_gates_are_those_whose_gradient_was_larger(made, X):
    """The gradient of a layer's bias is the sum of its gates' gradients: one step and sequence show these."""
    one, two = (
        TWO_LAYERS.replace(n_units=(6,), n_steps=2),
        TWO_LAYERS.replace(n_units=(6,), n_steps=2, grad_clipping=1e-5),
    )
    x = X[:1, :2]
    free, bound = (diagnostics.compile_probe(made(recipe).network, recipe)(x) for recipe in (one, two))
    gates = np.concatenate([free[0][f"lstm1.b_{g}"] for g in ("ingate", "forgetgate", "cell", "outgate")])
    assert (
        bound[1]["gates_clipped"] == pytest.approx(np.mean(np.abs(gates) >= 1e-5)) and 0 < bound[1]["gates_clipped"] < 1
    )
    assert "gates_clipped" not in free[1]


@pytest.mark.slow
def test_diagnostics_stand_in_the_result_and_in_a_log_that_asked_for_them(compiled_once, tiny_data, tmp_path):
    recipe = TINY.replace(max_norm=1.0, n_epochs=2)
    rows = list(training.train(recipe, tiny_data, tmp_path / "run", diagnose=True))
    run = runs.open_run(tmp_path / "run")
    found = set(rows[0]) & set(run.result()["diagnostics"])
    assert {"gradient_norm", "norm_clipped", "epsilon_share", "sgd_cosine", "saturated_ingate"} <= found
    assert run.log() == rows and "health" not in run.result()
    more = list(training.train(recipe.replace(n_epochs=3), tiny_data, tmp_path / "run", resume=True))
    assert set(more[0]) == set(rows[0])


def test_processor_time_is_that_of_all_epochs(tiny_run):
    run = runs.open_run(tiny_run)
    for name in ("cpu_seconds", "duration"):
        times = [row[name] for row in run.log()]
        assert all(t > 0 for t in times) and run.result()[name] == pytest.approx(sum(times), abs=1e-3)


def test_a_log_without_cpu_seconds_is_not_gone_on_with(compiled_once, tiny_data, tiny_run):
    run = runs.open_run(tiny_run)
    arrays, meta = run.load("last")
    rows = [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in run.log()]
    bare = {k: v for k, v in arrays.items() if not k.startswith("log.")}
    run.save("last", bare, rows, epoch=3, valid_loss=meta["valid_loss"])
    with pytest.raises(ValueError, match="lacks log rows of the 3 epochs trained; start another run"):
        next(training.train(TINY.replace(n_epochs=4), tiny_data, tiny_run, resume=True))


@pytest.mark.slow
def test_errors_in_frame_rise_with_the_distance_and_their_mean_is_the_loss(compiled_once, tiny_data, tmp_path):
    recipe = TINY.replace(n_epochs=12)
    rows = list(training.train(recipe, tiny_data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    result = run.result()
    best = min(r["valid_loss"] for r in rows) / tiny_data.variance
    assert np.mean(result["valid_error_in_frame"]) == pytest.approx(best, rel=1e-4)
    assert np.mean(result["valid_error_in_frame"][:3]) < np.mean(result["valid_error_in_frame"][-3:])
    errors = diagnostics.errors_in_frame(generation.load_network(run), tiny_data, recipe)
    assert errors.shape == (20,) and errors.mean() == pytest.approx(best, rel=1e-4)


def test_baselines_in_frame_are_those_of_a_known_process(tiny_data):
    """The best prediction of an AR(2), k samples ahead: k times its mean error up to there, less the one before."""
    found = baselines.losses_in_frame(tiny_data, TWO_LAYERS.n_steps, "valid")
    assert {k: v.shape for k, v in found.items()} == {name: (20,) for name in ("mean", "repeat", "linear")}
    optimum = np.diff([0] + [k * synthetic.ar2_optimum(k) for k in range(1, 21)])
    assert np.allclose(found["linear"] / found["linear"][-1], optimum / optimum[-1], rtol=0.25)
    assert {k: pytest.approx(v.mean()) for k, v in found.items()} == baselines.losses(
        tiny_data, TWO_LAYERS.n_steps, "valid"
    )


def world_data(frames, n_train, rows_per_frame=3):
    """A dataset of scaled WORLD frames (n_frames, n_features) as far as `to_beat` looks at one."""
    rows = np.repeat(frames, rows_per_frame, axis=0)
    ranges = {"train": (0, n_train * rows_per_frame), "valid": (n_train * rows_per_frame, len(rows))}
    return SimpleNamespace(ranges=ranges, rows_per_frame=rows_per_frame, scaled=lambda a, b: rows[a:b])


def test_what_a_likelihood_is_to_beat_is_that_of_gaussians_and_counts():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.3, (3000, 6)), axis=0).astype(np.float32)
    walk = (walk - walk.mean(axis=0)) / walk.std(axis=0)
    walk[:, 1] = np.where(np.sin(np.arange(3000) / 20) > -0.5, 0.7, -1.4)  # voicing, scaled
    recipe = recipes.get("world-mdn")
    found = diagnostics.to_beat(recipe, world_data(walk, 2000))
    train, valid = walk[:2000], walk[2000:]
    voiced, came = train[:, 1] > 0, valid[1:, 1] > 0
    share = (voiced[1:].sum() + 1) / (len(train) + 1)
    logpdf, expected = scipy.stats.norm.logpdf, {}
    nats = -np.log(np.where(came, share, 1 - share))
    f0 = train[voiced, 0].mean(), np.sqrt(np.square(train[1:][voiced[1:], 0] - train[voiced, 0].mean()).mean())
    nats -= came * logpdf(valid[1:, 0], *f0)
    expected["mean"] = nats - logpdf(valid[1:, 2:], train[:, 2:].mean(axis=0), train[1:, 2:].std(axis=0)).sum(axis=1)
    stays = [(np.sum((voiced[:-1] == was) & voiced[1:]) + 1) / (np.sum(voiced[:-1] == was) + 2) for was in (0, 1)]
    p = np.where(valid[:-1, 1] > 0, stays[1], stays[0])
    steps = np.diff(train, axis=0)
    nats = -np.log(np.where(came, p, 1 - p))
    nats -= came * logpdf(valid[1:, 0], valid[:-1, 0], np.sqrt(np.square(steps[voiced[1:], 0]).mean()))
    spread = np.sqrt(np.square(steps[:, 2:]).mean(axis=0))
    expected["repeat"] = nats - logpdf(valid[1:, 2:], valid[:-1, 2:], spread).sum(axis=1)
    assert found == {name: pytest.approx(value.mean(), rel=1e-3) for name, value in expected.items()}
    assert found["repeat"] < found["mean"]  # it is a walk
    two_levels = diagnostics.to_beat(recipes.get("world-units"), world_data(walk, 2000))
    assert two_levels["mean"] - found["mean"] == pytest.approx(np.log(128) + np.log(24))


def test_a_squared_error_is_to_beat_what_the_baselines_lose_and_other_densities_nothing(tiny_data):
    assert diagnostics.to_beat(TINY, tiny_data) == baselines.losses(tiny_data, TINY.n_steps)
    assert diagnostics.to_beat(recipes.get("frames-200-gaussian"), tiny_data) == {}
