"""Which engine trains: what is said where PyTorch is not installed, and what Theano's graph is for a GPU."""

import os
import subprocess
import sys

import pytest
from tiny import TINY

from vocalsynth_utils import gpu, pipeline
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.sweeps import points


@pytest.fixture
def no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)


def test_without_pytorch_it_is_said_how_to_get_it_and_auto_is_theano(no_torch, tiny_data, tmp_path, capsys):
    assert gpu.chosen("auto") is None and gpu.chosen() is None
    with pytest.raises(
        ValueError, match=r"engine='torch' needs PyTorch, which is not installed; pip install .*\[gpu\]"
    ):
        pipeline.train(TINY, tiny_data, tmp_path / "run", engine="torch")
    assert main(["train", "2016-small", "--run", str(tmp_path / "run"), "--engine", "torch"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"tf32": True}])
def test_options_of_the_other_engine_are_refused(options):
    with pytest.raises(ValueError, match="is for engine='torch'"):
        gpu.chosen(**options)


def test_an_unknown_engine_or_device_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="engine='toch' is not one of theano, torch, auto; did you mean 'torch'"):
        gpu.chosen("toch")
    with pytest.raises(ValueError, match="device='gpu' is not one of cuda, cpu"):
        gpu.chosen("torch", "gpu")


@pytest.mark.slow
def test_nothing_imports_pytorch_that_is_not_asked_to():
    code = "import sys; from vocalsynth_utils import gpu, pipeline, sweeps, __main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_sweep_names_its_engine(tmp_path):
    path = tmp_path / "s.toml"
    text = 'recipe = "2016-small"\nengine = "{}"\n[grid]\nlearning_rate = [0.1]\n'
    path.write_text(text.format("torch"))
    assert points.read(path).engine == "torch"
    path.write_text(text.format("cuda"))
    with pytest.raises(ValueError, match="engine='cuda' must be one of theano, torch, auto"):
        points.read(path)


def test_workers_take_the_cards_in_turn(monkeypatch):
    taken = []
    for number in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        gpu.take_card(number)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["4", "7", "4"]


GRAPH = """
import sys
from vocalsynth_utils import theano_setup
theano_setup.device = lambda: sys.argv[1]
import theano, theano.tensor as T
from vocalsynth_utils import features, losses, model, updates
from vocalsynth_utils.fused import native
from vocalsynth_utils.recipes import get
print(native.unavailable())
for name in ("2016-small", "world-mdn"):
    recipe = get(name)
    network, X = model.build_network(recipe, features.n_features(recipe)), T.tensor3()
    hids, _ = model.run(network, X[:, :-1])
    loss, (params,) = network.head.loss(hids, X[:, :-1], X[:, 1:]), model.trainable(network)
    steps = updates.optimiser(recipe, loss, params, 0.1)
    nodes = theano.gof.graph.io_toposort([X], [loss, *steps.values()])
    print(len(nodes) > 20, sorted({type(n.op).__name__ for n in nodes if "vocalsynth" in type(n.op).__module__}))
print(sorted(n for n in theano.compile.optdb._names if n.startswith(("openblas", "fused_column"))))
"""


@pytest.mark.slow
def test_on_a_gpu_the_graph_is_theanos_own():
    """As far as it can be built without a card and pygpu: as for the CPU, told that Theano's device is another."""
    for device, ours in (("cuda", False), ("cpu", True)):
        command = [sys.executable, "-W", "ignore", "-c", GRAPH, device]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        first, *graphs, rewrites = done.stdout.splitlines()
        assert first == ("None" if ours else "Theano is to run on cuda")
        assert [line.endswith(" []") for line in graphs] == [not ours] * 2 and (rewrites == "[]") != ours
        assert all(line.startswith("True") for line in graphs)
