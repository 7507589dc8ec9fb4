"""A run's folder: whole or not at all, and nothing in it can run code."""

import json
import os
import pickle
import runpy
import sys
import time
import zipfile

import numpy as np
import pytest
import theano

from vocalsynth_utils import runs, storage
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import Run, checkpoints

DATA = {"folder": "dataset", "scaling": {}, "variance": 1.0, "n_features": 4, "limits": None}
ROW = {
    "epoch": 1,
    "train_loss": 0.5,
    "valid_loss": 0.25,
    "has_train_loss_improved": True,
    "has_valid_loss_improved": False,
    "duration": 1.5,
}


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
        with storage.atomic(run.folder / "last.npz", "wb") as file:
            file.write(b"half")
            raise RuntimeError
    assert run.load("last")[1]["epoch"] == 1
    assert os.listdir(run.folder) == ["last.npz"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:],
        lambda b: b"",
        lambda b: b"RIFF" + b,
    ],
)
def test_damaged_checkpoint_is_said(run, damage):
    run.save("last", {"a": np.arange(500.0)}, epoch=1)
    path = run.folder / "last.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")


@pytest.mark.parametrize("resealed", [False, True])
def test_no_byte_of_a_checkpoint_can_change_unseen(run, resealed):
    """Every seventh byte in turn: what is then read is refused, or is what was written."""
    arrays = {"lstm1.b": np.arange(3, dtype=np.float32), "output.W": np.eye(2)}
    run.save("last", arrays, epoch=7)
    path = run.path("last")
    good, meta = path.read_bytes(), run.load("last")[1]
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    places = range(3, sum(map(len, members.values())) if resealed else len(good), 7)
    refused = 0
    for i in places:
        if resealed:  # the archive is whole and its checksums are right
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    if 0 <= i < len(content):
                        content = content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]
                    i -= len(members[name])
                    archive.writestr(name, content)
        else:
            path.write_bytes(good[:i] + bytes([good[i] ^ 4]) + good[i + 1 :])
        try:
            seen, said = checkpoints.read(path)
        except checkpoints.DamagedCheckpoint:
            refused += 1
        else:
            assert not resealed and said == meta and seen.keys() == arrays.keys()  # it was a date or the like
            assert all(seen[name].tobytes() == arrays[name].tobytes() for name in arrays)
    assert refused == len(places) if resealed else refused > 0.8 * len(places)


@pytest.mark.parametrize("changed", ["swapped", "renamed", "dropped"])
def test_arrays_that_changed_places_are_refused(run, changed):
    run.save("last", {"a": np.zeros(3), "b": np.ones(3)}, epoch=1)
    path = run.path("last")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if changed == "swapped":
        members["a.npy"], members["b.npy"] = members["b.npy"], members["a.npy"]
    else:
        content = members.pop("a.npy")
        members = members if changed == "dropped" else {"c.npy": content, **members}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="digest differs"):
        run.load("last")


def test_checkpoint_without_a_digest_is_refused_with_what_to_do(run):
    np.savez(run.path("last"), a=np.arange(4), __meta__=np.frombuffer(json.dumps({"epoch": 3}).encode(), np.uint8))
    with pytest.raises(ValueError, match="it has no digest, .*; train the run again"):
        run.load("last")


@pytest.mark.parametrize(
    "array",
    [
        np.float32(3),
        np.zeros((0, 4)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["a", "bc"]),
        np.array([True]),
    ],
)
def test_arrays_of_every_kind_come_back(run, array):
    run.save("last", {"a": array}, epoch=1)
    back = run.load("last")[0]["a"]
    assert (
        np.array_equal(back, array)
        and back.dtype == array.dtype
        and back.flags.f_contiguous == array.flags.f_contiguous
    )
    assert np.array_equal(np.load(run.path("last"))["a"], array)  # it is an .npz like any other


def test_compressed_archive_is_refused_unread(run):
    np.savez_compressed(run.path("last"), a=np.zeros(10**7))
    with pytest.raises(ValueError, match="not stored"):
        run.load("last")


def test_a_clock_before_its_time_hinders_no_checkpoint(run, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)  # 1970, as a machine without a battery says; zip begins in 1980
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(0))
    run.save("last", {"a": np.ones(2)}, epoch=1)
    assert run.load("last")[1]["epoch"] == 1


def corrupt(path):
    """Another file of that name, with some bytes changed."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.unlink()  # other names of it stay as they are
    path.write_bytes(content)


def test_damaged_last_is_replaced_by_the_one_before_saying_so(run):
    for epoch in (1, 2, 3):
        run.save("last", {"a": np.full(99, epoch)}, epoch=epoch)
    corrupt(run.path("last"))
    with pytest.warns(
        UserWarning, match=r"last.npz is no whole checkpoint \(.*\); last-previous.npz, of epoch 2, is used instead$"
    ) as said:
        assert run.load("last")[1]["epoch"] == 2
    assert len(said) == 1


def test_damaged_best_is_replaced_by_the_best_before_it_and_then_by_the_last(run):
    for epoch in (1, 2, 3, 4):
        run.save("last", {"a": np.full(99, epoch)}, epoch=epoch)
        if epoch < 4:
            run.keep_as_best()
    corrupt(run.path("best"))
    for instead in (2, 4):
        with pytest.warns(UserWarning, match=f"of epoch {instead}, is used instead"):
            assert run.load("best")[1]["epoch"] == instead
        corrupt(run.path("best-previous"))


def test_a_file_system_without_hard_links_gets_copies(run, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_best_stays_when_last_goes_on(run)


def test_parts_of_killed_writers_are_removed_and_those_of_living_ones_stay(run):
    (run.folder / ".last.npz.0123abcd.part").write_bytes(b"half of it")
    with storage.atomic(run.path("last"), "wb") as file:
        file.write(b"being written")
        file.flush()
        run.save("last", {"a": np.zeros(2)}, epoch=1)
        assert len(list(run.folder.glob(".*.part"))) == 1 and run.load("last")[1]["epoch"] == 1
    assert os.listdir(run.folder) == ["last.npz"]


@pytest.mark.parametrize("torn", ["2,0.25", "2,0.25,0.5,True,Tr", "\0\0\0\0\0\n", "2,0.25\n", "word\n", '2,"\n'])
def test_torn_last_line_of_a_log_is_left_out(run, torn):
    run.append_log(ROW)
    with open(run.folder / "log.csv", "a") as file:
        file.write(torn)
    assert run.log() == [ROW]


def test_booby_trapped_checkpoint_runs_nothing(run):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(run.folder / "sprung"),)

    with zipfile.ZipFile(run.folder / "last.npz", "w") as file:
        file.writestr(
            "a.npy",
            b"\x93NUMPY\x01\x00"
            + b"v\x00"
            + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
            + b"\n"
            + pickle.dumps(np.array([Trap()], object)),
        )
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")
    (run.folder / "last.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        run.load("last")
    assert not (run.folder / "sprung").exists()


def test_checkpoint_of_another_shape_names_the_arrays_and_changes_nothing():
    params = {"W": theano.shared(np.zeros((2, 3), np.float32)), "b": theano.shared(np.zeros(3, np.float32))}
    with pytest.raises(ValueError, match=r"W has shape \(2, 4\), the network needs \(2, 3\)"):
        checkpoints.set_parameters(params, {"W": np.ones((2, 4)), "b": np.ones(3)})
    with pytest.raises(ValueError, match="W is missing"):
        checkpoints.set_parameters(params, {"b": np.ones(3)})
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


@pytest.mark.parametrize("name", ["world-mse", "world-mdn", "world-units"])
def test_a_run_of_frames_that_were_sung_otherwise_is_to_be_trained_again(tmp_path, name):
    meta = {"recipe": get(name).to_dict(), "data": {**DATA, "n_features": 27}}  # before there were numbers of equations
    for known in (meta, {**meta, "equations": 1}):
        (tmp_path / "recipe.json").write_text(json.dumps(known))
        with pytest.raises(ValueError, match="older version; train it again, into another folder"):
            runs.open_run(tmp_path)


def test_a_run_of_the_version_before_is_refused_with_what_to_do(tiny_run):
    path = tiny_run / "recipe.json"
    meta = json.loads(path.read_text())
    meta["recipe"]["clamp"] = meta["recipe"].pop("limits")
    del meta["equations"]
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="is a run of an older version; train it again"):
        runs.open_run(tiny_run)


def test_exporting_what_is_no_run_is_one_line_with_the_usage(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["exporting", str(tmp_path)])
    monkeypatch.delitem(sys.modules, "vocalsynth_utils.runs.exporting")
    usage = "usage: python -m vocalsynth_utils.runs.exporting RUN FOLDER"
    with pytest.raises(SystemExit, match=f"holds no run .*\n{usage}$"):
        runpy.run_module("vocalsynth_utils.runs.exporting", run_name="__main__")
    assert not list(tmp_path.iterdir())
