"""The engine by PyTorch against Theano's, its kernels against numpy, its files against everybody's.

On the CPU, with Triton's interpreter; what needs a card is in tests/gpu/check.py.
"""

import contextlib
import os

import numpy as np
import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton's functions are made
torch = pytest.importorskip("torch", reason="PyTorch is not installed, so its engine is NOT tested: make test-torch")

from gpu.agreement import all_from, apart, batch, seed, small  # noqa: E402
from tiny import SETTINGS, TINY  # noqa: E402

from vocalsynth_utils import features, pipeline, runs, synthetic, training  # noqa: E402
from vocalsynth_utils.__main__ import main  # noqa: E402
from vocalsynth_utils.gpu import chosen, engine, kernels, optimisers, rows, steps  # noqa: E402
from vocalsynth_utils.recipes import RECIPES, get  # noqa: E402


def kinds():
    """Each of the table's recipes once, by what its graph is; and some that use what it leaves alone."""
    found = {}
    for name, recipe in RECIPES.items():
        found.setdefault(small(recipe), name)
    base = small(get("2016-small"))
    more = {"no peepholes": {"peepholes": False}, "sgd with momentum": {"optimiser": "sgd", "momentum": 0.9}}
    for name, changes in more.items():
        found[base.replace(**changes, **({"epsilon": 1e-6} if "optimiser" in changes else {}))] = name
    return [pytest.param(recipe, id=name) for recipe, name in found.items()]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", kinds())
def test_every_recipe_trains_as_by_theano(recipe):
    n, rng = features.n_features(recipe), np.random.default_rng(0)
    theano, ours, resumed = (make(recipe, n) for make in (training.compile_trainer, *2 * [engine.Engine("cpu")]))
    initial = theano.checkpoint()
    assert list(initial) == list(ours.checkpoint())
    for name, value in ours.checkpoint().items():
        assert value.shape == initial[name].shape and np.array_equal(value, initial[name]), name
    seed([theano], 1)
    for _ in range(5):  # from a state where nothing is zero any more
        theano.train(batch(recipe, rng))
    warm = {name: value.copy() for name, value in theano.checkpoint().items()}
    fresh = {name: 0 * value if name.startswith("optimiser.") else value for name, value in warm.items()}
    all_from(fresh, theano, ours)
    X = batch(recipe, rng)
    assert apart(ours.valid(X), theano.valid(X)) < 5e-7
    assert ours.train(X) == pytest.approx(float(theano.train(X)), rel=5e-7)
    a, b = ours.checkpoint(), theano.checkpoint()
    for name in a:  # the first states of an optimiser are its gradients; a rectifier's corner may move one
        if name.startswith("optimiser."):
            assert apart(a[name], b[name]) < (1e-3 if recipe.draws else 2e-5), name
    all_from(warm, theano, ours)
    for k in range(20):
        if k == 10:
            all_from(ours.checkpoint(), resumed)
            seed([theano, ours, resumed], 3)
        X = batch(recipe, rng)
        loss = ours.train(X)
        assert loss == pytest.approx(float(theano.train(X)), rel=2e-6)
        assert k < 10 or loss == resumed.train(X)
    a, b, c = (trainer.checkpoint() for trainer in (ours, theano, resumed))
    assert all(np.array_equal(a[name], c[name]) for name in a)
    for name in ours.parameters:
        assert apart(a[name], b[name]) < 1e-4, name


# ---- a step -----------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(x, hid, cell, W, w, form, act):
    """One step in float64, by the equations of `fused.layers`: z before its nonlinearities, then the new state."""
    i, f, g, o = np.split(x + hid @ W, 4, axis=1)
    w_i, w_f, w_o = np.split(w, 3)
    new = sigmoid(f + w_f * cell) * cell + sigmoid(i + w_i * cell) * np.tanh(g)
    out = sigmoid(o) + w_o * new if form == "late" else sigmoid(o + w_o * new)
    return out * {"tanh": np.tanh, "sigmoid": sigmoid, "rectify": lambda c: np.maximum(c, 0)}[act](new), new


def step_arrays(n_batch, n):
    rng = np.random.default_rng(n)
    shapes = [(n_batch, 4 * n), (n_batch, n), (n_batch, n), (n, 4 * n), (3 * n,)]
    return [0.5 * rng.standard_normal(shape) for shape in shapes]


def modules():
    if kernels.triton is None:
        return [steps, pytest.param(kernels, marks=pytest.mark.skip(reason="Triton is not installed"))]
    return [steps, kernels]


MODULES = pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__.rpartition(".")[2])


@MODULES
@pytest.mark.parametrize("form", ["textbook", "late"])
@pytest.mark.parametrize("act", ["tanh", "sigmoid", "rectify"])
def test_a_step_and_its_gradient_are_those_of_numpy(module, form, act):
    n_batch, n = 5, 19  # no multiples of a tile
    arrays = step_arrays(n_batch, n)
    z, hid, cell, W, w = (torch.tensor(v, dtype=torch.float32) for v in arrays)
    choices, new = steps.Choices(act, form == "late"), [torch.empty(n_batch, n) for _ in range(2)]
    module.forward(z, hid, cell, W, w, choices, *new)
    expected = reference(*arrays, form, act)
    assert all(apart(mine.numpy(), theirs) < 2e-6 for mine, theirs in zip(new, expected))

    rng = np.random.default_rng(1)
    d_hid, d_cell, d_next = (rng.standard_normal((n_batch, k)) for k in (n, n, 4 * n))
    total = d_hid + d_next @ arrays[3].T
    downstream = lambda *at: float((np.stack(reference(*at, form, act)) * np.stack([total, d_cell])).sum())

    def slope(which, index, h=1e-5):
        around = []
        for sign in (1, -1):
            at = [v.copy() for v in arrays]
            at[which][index] += sign * h
            around.append(downstream(*at))
        return (around[0] - around[1]) / (2 * h)

    mine = [torch.tensor(v, dtype=torch.float32) for v in (d_hid, d_cell, d_next)]
    d_z, d_peephole = torch.empty(n_batch, 4 * n), torch.empty(n_batch, n)
    module.backward(z, cell, new[1], W, w, choices, *mine, d_z, d_z, d_peephole)
    for row, column in rng.integers(0, (n_batch, 4 * n), (12, 2)):
        assert float(d_z[row, column]) == pytest.approx(slope(0, (row, column)), rel=2e-4, abs=2e-5)
        column %= n
        assert float(mine[1][row, column]) == pytest.approx(slope(2, (row, column)), rel=2e-4, abs=2e-5)
        by_w = float((d_peephole * new[1])[:, column].sum())
        assert by_w == pytest.approx(slope(4, (2 * n + column,)), rel=2e-4, abs=2e-5)


@MODULES
def test_clipping_cuts_what_goes_back_and_not_the_peepholes(module):
    z, hid, cell, W, w = (torch.tensor(v, dtype=torch.float32) for v in step_arrays(5, 19))
    new = [torch.empty(5, 19) for _ in range(2)]
    module.forward(z, hid, cell, W, w, steps.Choices(), *new)
    found = []
    for clip in (0.0, 0.05):
        d_z, d_cut, d_peephole, d_cell = torch.zeros(5, 76), torch.zeros(5, 76), torch.zeros(5, 19), torch.ones(5, 19)
        module.backward(z, cell, new[1], W, w, steps.Choices(clip=clip), hid, d_cell, None, d_z, d_cut, d_peephole)
        found.append((d_z, d_cell, d_peephole))
    assert all(torch.equal(a, b) for a, b in zip(*found))
    assert torch.equal(d_cut, d_z.clamp(-0.05, 0.05)) and not torch.equal(d_cut, d_z)


@pytest.mark.skipif(kernels.triton is None, reason="Triton is not installed")
@pytest.mark.parametrize("rule, n_states", [("rmsprop", 1), ("rmsprop", 2), ("adam", 2)])
def test_the_kernel_of_an_update_is_the_plain_one(rule, n_states):
    rng = np.random.default_rng(0)
    tensors = [torch.tensor(rng.standard_normal(kernels.SPAN + 37), dtype=torch.float32) for _ in range(2 + n_states)]
    tensors[2].square_()
    tensors[-1] = tensors[-1].abs()
    numbers = torch.tensor(0.5), torch.tensor(0.01), 0.9, 1e-6, 0.8
    found = []
    for change in (optimisers.update, kernels.update):
        param, grad, *states = (v.clone() for v in tensors)
        change(rule, param, grad, states, numbers)
        found.append([param, *states])
    assert all(torch.allclose(a, b, rtol=2e-6, atol=1e-7) for a, b in zip(*found))
    assert not torch.equal(found[0][0], tensors[0])


# ---- what a graph replays ---------------------------------------------------------------


class Stream:
    """A stand-in for CUDA's."""

    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


class Graph:
    """A stand-in for CUDA's: it calls the function again, into the same output."""

    def replay(self):
        self.output.copy_(self.function(*self.held))


def test_a_recorded_update_is_the_update_and_trying_it_leaves_no_trace(monkeypatch):
    cuda = {"Stream": Stream, "current_stream": Stream, "CUDAGraph": Graph}
    cuda |= dict.fromkeys(("stream", "graph"), lambda _: contextlib.nullcontext())
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    recipe, rng = small(get("0.125s-300x3-stateful")), np.random.default_rng(0)
    straight, recorded = (engine._Compiled(engine.Engine("cpu"), recipe, 20, None) for _ in range(2))
    replayed = engine._Replayed(recorded.update, None, recorded.store.vector, *sum(recorded.carried, ()))
    graph = None
    for _ in range(3):
        X = torch.from_numpy(batch(recipe, rng))
        if graph is None:
            graph, held, output = replayed._record([X.clone()])
            graph.function, graph.held, graph.output = recorded.update, held, output
        held[0].copy_(X)
        graph.replay()
        assert straight.update(X) == output
    assert torch.equal(straight.store.vector, recorded.store.vector)


# ---- batches, files, and what is wrong --------------------------------------------------


def test_rows_on_a_device_are_the_datasets_batches_to_the_bit(tiny_data, tiny_recording, tmp_path):
    starts = tiny_data.starts("train", TINY.n_steps, 3)[::7]
    assert tiny_data.rows.dtype == np.int16
    assert np.array_equal(rows.Rows(tiny_data, "cpu").batch(starts, 12).numpy(), tiny_data.batch(starts, 12))
    recipe = get("fft-mixture").replace(frame_length=20, n_steps=12, n_batch=8)
    data = pipeline.prepare(recipe, tiny_recording, tmp_path / "fft")
    starts = data.starts("train", 12)
    mine = rows.Rows(data, "cpu")
    assert np.array_equal(mine.batch(starts, 12).numpy(), data.batch(starts, 12)) and mine.n_features == data.n_features


def train(recipe, data, folder, epochs=None, by="torch", **options):
    """Train for so many epochs and stop there, as a caller does; returns what best.npz and last.npz hold."""
    for row in pipeline.train(recipe, data, folder, engine=by, **options):
        if row["epoch"] == epochs:
            break
    run = runs.open_run(folder)
    return run, [run.load(name) for name in ("best", "last")]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(training.diagnostics, "write_result", lambda *_: None)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_bit_and_saves_by_time(quick, tiny_data, tmp_path, monkeypatch):
    recipe = TINY.replace(n_epochs=6)
    written = []
    save = runs.Run.save
    monkeypatch.setattr(runs.Run, "save", lambda self, name, *a, **k: written.append(name) or save(self, name, *a, **k))
    whole, first = train(recipe, tiny_data, tmp_path / "whole")
    assert written[0] == "last" and sorted(written[1:]) in (["best", "last"], ["last"])  # the first epoch, and the end
    train(recipe, tiny_data, tmp_path / "stopped", epochs=4)
    stopped, second = train(recipe, tiny_data, tmp_path / "stopped", resume=True)
    for (a, meta), (b, _) in zip(first, second):
        assert meta["engine"] == str(chosen("torch", "cpu"))
        timed = ("log.duration", "log.cpu_seconds")
        assert list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a if name not in timed)
    losses = lambda run: [(row["train_loss"], row["valid_loss"]) for row in run.log()]
    assert losses(whole) == losses(stopped) and len(whole.log()) == 6


def test_rows_of_the_log_that_no_checkpoint_holds_are_trained_again(quick, tiny_data, tmp_path):
    recipe = TINY.replace(n_epochs=4)
    run, _ = train(recipe, tiny_data, tmp_path / "run", epochs=2)
    arrays, meta = run.load("last")
    _, (_, (straight, _)) = train(recipe, tiny_data, tmp_path / "run", resume=True)
    run.save("last", {k: v for k, v in arrays.items() if not k.startswith("log.")}, runs.logged(arrays), **{
        key: meta[key] for key in ("epoch", "valid_loss", "engine")
    })  # fmt: skip
    run, (_, (again, _)) = train(recipe, tiny_data, tmp_path / "run", resume=True)
    assert np.array_equal(again["output.W"], straight["output.W"]) and len(run.log()) == 4


@pytest.mark.slow
def test_each_engine_goes_on_where_the_other_was_and_says_so(quick, tiny_data, tmp_path):
    recipe = TINY.replace(n_epochs=4)
    _, (_, (alone, _)) = train(recipe, tiny_data, tmp_path / "alone", by="theano")
    for first, then in (("theano", "torch"), ("torch", "theano")):
        folder = tmp_path / first
        train(recipe, tiny_data, folder, epochs=2, by=first)
        with pytest.warns(UserWarning, match="was trained by .* and goes on by .*not to the bit"):
            _, (_, (both, _)) = train(recipe, tiny_data, folder, by=then, resume=True)
        assert all(apart(both[name], alone[name]) < 1e-4 for name in both if not name.startswith("log."))


@pytest.mark.slow
def test_what_torch_trained_is_evaluated_and_generates_as_any_run(tiny_recording, tmp_path, capsys):
    folder = str(tmp_path / "run")
    command = ["train", "2016-small", "--data", str(tiny_recording), "--run", folder, *SETTINGS, "--diagnostics"]
    assert main([*command, "--engine", "torch", "--device", "cpu"]) == 0
    assert "by torch" in capsys.readouterr().out
    assert main(["generate", folder, str(tmp_path / "out.wav"), "--seconds", "1"]) == 0
    run = runs.open_run(folder)
    by_theano = list(pipeline.train(run.recipe, pipeline.own_dataset(run), tmp_path / "theano", diagnose=True))
    for mine, theirs in zip(run.log(), by_theano):
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-4)
    result, expected = run.result(), runs.open_run(tmp_path / "theano").result()
    for name in ("valid_loss", "test_loss", "valid_error_over_variance"):
        assert result[name] == pytest.approx(expected[name], rel=1e-5)


def test_two_levels_find_their_units_and_keep_them(quick, tmp_path):
    recipe = get("world-units").replace(n_units=(6,), vocabulary=5, language_units=5, n_steps=20, n_batch=4)
    recipe = recipe.replace(n_epochs=2, batches_per_epoch=3, warmup=0)
    voice = tmp_path / "voice.wav"
    synthetic.write_voice(voice, 15, seed=0)
    data = pipeline.prepare(recipe, voice, tmp_path / "a")
    _, (_, (mine, _)) = train(recipe, data, tmp_path / "a")
    _, (_, (theirs, _)) = train(recipe, data, tmp_path / "b", by="theano")
    assert np.any(mine["given.centres"]) and np.array_equal(mine["given.centres"], theirs["given.centres"])
    assert apart(mine["kept.language.unit.W"], theirs["kept.language.unit.W"]) < 1e-4


def test_a_checkpoint_of_another_shape_is_refused_in_a_line(quick, tiny_data, tmp_path):
    run, (_, (arrays, meta)) = train(TINY, tiny_data, tmp_path / "run", epochs=1)
    arrays["output.W"] = arrays["output.W"][1:]
    run.save("last", arrays, epoch=1, valid_loss=meta["valid_loss"], engine=meta["engine"])
    with pytest.raises(ValueError, match=r"output.W has shape \(7, 20\), the network needs \(8, 20\)"):
        train(TINY, tiny_data, tmp_path / "run", resume=True)


@pytest.mark.parametrize("change", [{"p_teacher": 0.5}, {"free_steps": 2}, {"best_by": "free_run"}])
def test_a_field_that_the_engine_lacks_is_named_before_anything_is_written(change, tiny_data, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(change))}=.* is what engine='torch' lacks.*engine='theano'"):
        pipeline.train(TINY.replace(**change), tiny_data, tmp_path / "run", engine="torch")
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_does_not_fit_a_card_is_refused_with_what_it_needs(tiny_data, monkeypatch):
    card = engine.Engine("cpu")
    card.device = torch.device("cuda")
    monkeypatch.setattr(card, "free_memory", lambda: 10**9)
    card.check(TINY, tiny_data)
    with pytest.raises(ValueError, match=r"needs about 1.\d GB and has 1.0 GB free; use a smaller n_batch"):
        card.check(TINY.replace(n_units=(1500,)), tiny_data)
    with pytest.raises(ValueError, match="is out of memory with 1.0 GB free; use a smaller"), card.said():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GB")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_said():
    assert chosen("auto") is None and str(chosen("torch")).endswith("on the CPU")
    with pytest.raises(ValueError, match="device='cuda': torch .* sees no GPU here; use device='cpu'"):
        chosen("torch", "cuda")
    with pytest.raises(ValueError, match="tf32 has no effect on a CPU"):
        chosen("torch", "cpu", tf32=True)


def test_what_goes_wrong_while_a_checkpoint_is_written_is_said(quick, tiny_data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs.Run, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(TINY, tiny_data, tmp_path / "run")
