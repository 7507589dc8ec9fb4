"""A run's folder: whole or not at all, and nothing in it can run code."""
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import theano

from vocalsynth_utils import runs
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import Run

DATA = {"folder": "dataset", "scaling": {}, "variance": 1.0, "n_features": 4, "bounds": None}
ROW = {"epoch": 1, "train_loss": 0.5, "valid_loss": 0.25, "has_train_loss_improved": True, "has_valid_loss_improved": False, "duration": 1.5}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, get("2016-small"), DATA)


def test_log_comes_back_as_it_was(run):
    run.append_log(ROW)
    run.append_log(dict(ROW, epoch=2))
    assert run.log() == [ROW, dict(ROW, epoch=2)]
    header = (run.folder / "log.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,valid_loss,has_train_loss_improved,has_valid_loss_improved,duration"


def test_checkpoint_comes_back_with_its_recipe(run):
    arrays = {"lstm1.b": np.arange(3, dtype=np.float32), "output.W": np.eye(2)}
    run.save("last", arrays, epoch=7)
    loaded, meta = run.load("last")
    assert meta["epoch"] == 7 and meta["recipe"] == json.loads(json.dumps(run.recipe.to_dict()))
    assert set(loaded) == set(arrays) and all(np.array_equal(loaded[k], arrays[k]) for k in arrays)


def test_best_stays_when_last_goes_on(run):
    run.save("last", {"a": np.zeros(2)}, epoch=1)
    run.keep_as_best()
    run.save("last", {"a": np.ones(2)}, epoch=2)
    assert run.load("best")[0]["a"].tolist() == [0, 0] and run.load("last")[0]["a"].tolist() == [1, 1]


def test_failed_write_leaves_the_old_file_and_nothing_else(run):
    run.save("last", {"a": np.zeros(2)}, epoch=1)
    with pytest.raises(RuntimeError):
        with runs.atomic(run.folder / "last.npz", "wb") as file:
            file.write(b"half")
            raise RuntimeError
    assert run.load("last")[1]["epoch"] == 1
    assert os.listdir(run.folder) == ["last.npz"]


@pytest.mark.parametrize("damage", [lambda b: b[:len(b) // 2], lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:], lambda b: b"", lambda b: b"RIFF" + b])
def test_damaged_checkpoint_is_said(run, damage):
    run.save("last", {"a": np.arange(500.0)}, epoch=1)
    path = run.folder / "last.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")


def test_booby_trapped_checkpoint_runs_nothing(run):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(run.folder / "sprung"),)

    with zipfile.ZipFile(run.folder / "last.npz", "w") as file:
        file.writestr("a.npy", b"\x93NUMPY\x01\x00" + b"v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
                      + pickle.dumps(np.array([Trap()], object)))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")
    (run.folder / "last.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")
    assert not (run.folder / "sprung").exists()


def test_checkpoint_of_another_shape_names_the_arrays_and_changes_nothing():
    params = {"W": theano.shared(np.zeros((2, 3), np.float32)), "b": theano.shared(np.zeros(3, np.float32))}
    with pytest.raises(ValueError, match=r"W has shape \(2, 4\), the network needs \(2, 3\)"):
        runs.set_parameters(params, {"W": np.ones((2, 4)), "b": np.ones(3)})
    with pytest.raises(ValueError, match="W is missing"):
        runs.set_parameters(params, {"b": np.ones(3)})
    assert not params["b"].get_value().any()


def test_second_process_is_kept_out(tmp_path):
    with runs.locked(tmp_path):
        with pytest.raises(ValueError, match="in use by another process"):
            with runs.locked(tmp_path):
                pass


def test_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        runs.open_run(tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        runs.open_run(tmp_path)
