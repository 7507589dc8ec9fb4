"""What many tests share: a tiny recipe's recording, dataset, trained run and compiled trainers, each made once.

Theano is imported after the package has set it up, whichever test comes first; figures do not outlive their test.
"""

import os
import shutil
import sys

import numpy as np
import pytest

import vocalsynth_utils  # noqa: F401

os.environ["VOCALSYNTH_QUIET"] = "1"  # no stage is announced, however slow the machine: tests count what else is said


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def tiny_recording(tmp_path_factory):
    """A process of two coefficients as a WAV file, 2.5 s of it."""
    from vocalsynth_utils import audio, synthetic

    path = tmp_path_factory.mktemp("tiny") / "ar2.wav"
    audio.write(path, synthetic.ar2(40000, seed=1), 16000)
    return path


@pytest.fixture(scope="session")
def tiny_data(tiny_recording):
    """It as a dataset for `tiny.TINY`."""
    from tiny import TINY

    from vocalsynth_utils import dataset

    return dataset.prepare(tiny_recording, TINY, tiny_recording.parent / "data")


@pytest.fixture(scope="session")
def _tiny_run(tiny_recording):
    from tiny import TINY

    from vocalsynth_utils import pipeline

    folder = tiny_recording.parent / "run"
    list(pipeline.train(TINY, pipeline.prepare(TINY, tiny_recording, folder), folder))
    return folder


@pytest.fixture
def tiny_run(_tiny_run, tmp_path):
    """The folder of a trained run of `tiny.TINY` with its dataset in it: the test's own copy."""
    return shutil.copytree(_tiny_run, tmp_path / "tiny")


@pytest.fixture(scope="session")
def compiled():
    """`training.compile_trainer` that compiles nothing twice: what it gives is untouched, until the next call."""
    from vocalsynth_utils import training

    real, made = training.compile_trainer, {}
    not_in_a_graph = {
        **dict(name="any", purpose="", n_steps=100, n_offsets=1, batches_per_epoch=0, n_epochs=100, patience=0),
        **dict(schedule="constant", warmup=0, learning_rate=0.01),
    }

    def compile_trainer(recipe, n_features, scaling=None):
        graph = recipe.replace(
            **not_in_a_graph,
            best_by="free_run" if recipe.best_by == "free_run" else "valid_loss",
            n_batch=recipe.n_batch if recipe.stateful else 1,
        )
        key = graph, n_features, repr(scaling)
        if key not in made:
            trainer = real(recipe, n_features, scaling)
            shared = {*trainer.valid.get_shared(), *trainer.variables.values(), *trainer.noise}
            made[key] = trainer, [(v, v.get_value()) for v in shared]
        trainer, values = made[key]
        for variable, value in values:
            variable.set_value(value)
        trainer.reset()
        trainer.learning_rate.set_value(np.float32(recipe.learning_rate))
        return trainer

    return compile_trainer


@pytest.fixture
def compiled_once(compiled, monkeypatch):
    """Training that compiles no graph of the network's twice."""
    from vocalsynth_utils import training

    monkeypatch.setattr(training, "compile_trainer", compiled)


@pytest.fixture
def quick_training(compiled_once, monkeypatch):
    """And that does not measure what came of it, which takes longer than the training."""
    from vocalsynth_utils import training

    monkeypatch.setattr(training.diagnostics, "write_result", lambda *_: None)
