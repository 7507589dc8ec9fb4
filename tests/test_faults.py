"""What can go wrong around a run, each made to happen: nothing is lost, and one line says what to do."""

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from killing import ended
from tiny import SETTINGS, TINY

from vocalsynth_utils import audio, dataset, runs, synthetic, training
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.runs import checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once")
NOBODY = 65534


class Disk:
    """A small disk that can be filled and emptied."""

    def __init__(self, folder, monkeypatch, real):
        self.folder, self.monkeypatch, self.real = folder, monkeypatch, real
        folder.mkdir()
        if real:
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True
            )
            if done.returncode:
                pytest.skip("only root can make a small disk")

    @contextlib.contextmanager
    def full(self):
        if self.real:
            with contextlib.suppress(OSError), open(self.folder / "filler", "wb", buffering=0) as file:
                while file.write(bytes(512)):
                    pass
            yield
            (self.folder / "filler").unlink()
        else:
            with self.monkeypatch.context() as patched:

                def fsync(handle):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

                patched.setattr(os, "fsync", fsync)
                yield


@pytest.fixture(params=["a full disk", "a disk that says it is full"])
def disk(request, tmp_path, monkeypatch):
    made = Disk(tmp_path / "disk", monkeypatch, request.param == "a full disk")
    yield made
    if made.real:
        subprocess.run(["umount", "-l", str(made.folder)], check=True)


@pytest.mark.slow
def test_disk_full_during_a_checkpoint_keeps_the_epochs_before_and_resumes_exactly(tiny_data, tiny_run, disk):
    folder = disk.folder / "run"
    started = training.train(TINY, tiny_data, folder)
    next(started)
    with disk.full():
        with pytest.raises(OSError, match="No space left on device: '.*last.npz'"):
            next(started)
        assert checkpoints.read(folder / "last.npz")[1]["epoch"] == 1 and len(runs.open_run(folder).log()) == 1
    list(training.train(TINY, tiny_data, folder, resume=True))
    assert ended(folder) == ended(tiny_run)
    assert not [name for name in os.listdir(folder) if name.endswith(".part")]


def test_disk_full_during_training_is_one_line_with_the_remedy(tiny_data, disk, capsys):
    with disk.full():
        assert (
            main(["train", "2016-small", "--data", str(tiny_data.folder), "--run", str(disk.folder / "run"), *SETTINGS])
            == 2
        )
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "No space left" in said and "make room" in said and "--resume" in said


@pytest.mark.slow
def test_disk_full_during_the_log_loses_no_row(tiny_data, tiny_run, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    folder = tmp_path / "run"
    started = training.train(TINY, tiny_data, folder)
    next(started)
    (folder / "log.csv").rename(tmp_path / "log.csv")
    (folder / "log.csv").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '.*log.csv'"):
        next(started)
    (folder / "log.csv").unlink()
    (tmp_path / "log.csv").rename(folder / "log.csv")
    list(training.train(TINY, tiny_data, folder, resume=True))
    assert ended(folder) == ended(tiny_run)


def test_disk_full_during_generated_audio_leaves_nothing_half_written(tiny_run, disk, capsys):
    with disk.full():
        assert (
            main(["generate", str(tiny_run), str(disk.folder / "out.wav"), "--seconds", "2", "--primer", "none"]) == 2
        )
        said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "out.wav: cannot be written (No space left on device)" in said
    assert os.listdir(disk.folder) == []


def test_disk_full_while_a_dataset_is_prepared_leaves_no_dataset(tiny_recording, disk, capsys):
    with disk.full():
        assert main(["prepare", "2016-small", str(tiny_recording), str(disk.folder / "data"), SETTINGS[0]]) == 2
        said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "No space left" in said
    assert os.listdir(disk.folder) == []


@pytest.fixture
def locked_folder(tiny_recording):
    """A folder with a recording that may be read and not written, seen by a user without privileges."""
    folder = Path(tempfile.mkdtemp())
    shutil.copyfile(tiny_recording, folder / "voice.wav")
    os.chmod(folder, 0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


def test_no_permission_is_one_line_and_nothing_is_written(tiny_run, locked_folder, capsys):
    generated = ["generate", str(tiny_run), str(locked_folder / "out.wav"), "--seconds", "0.1", "--primer", "none"]
    if os.geteuid() == NOBODY:  # who may not read our temporary files either
        os.seteuid(0)
        shutil.copytree(tiny_run, locked_folder / "run")
        os.seteuid(NOBODY)
        generated[1] = str(locked_folder / "run")
    before = sorted(os.listdir(locked_folder))
    for args in (
        generated,
        ["voice", str(locked_folder / "v.wav"), "--seconds", "1"],
        ["train", "2016-small", "--run", str(locked_folder / "new"), "--data", str(locked_folder / "voice.wav")],
    ):
        assert main(args) == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1 and "ermission denied" in said and "is yours" in said, said
    assert sorted(os.listdir(locked_folder)) == before


def test_a_run_in_use_is_refused_and_left_alone(tiny_run, capsys):
    held = lambda: {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}
    before = held()
    with runs.locked(tiny_run):
        assert main(["train", "2016-small", "--run", str(tiny_run), "--resume", "--epochs", "9"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "in use by another process" in said
    assert held() == before


@pytest.mark.parametrize("what", ["training", "valid"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_training_and_the_last_good_checkpoint_stands(
    tiny_data, tmp_path, monkeypatch, what, bad
):
    real = training.compile_trainer

    def spoilt(*args):
        trainer, calls = real(*args), []
        good = trainer.train if what == "training" else trainer.valid

        def loss(X):
            calls.append(X)
            if started.done:
                trainer.parameters["output.W"].set_value(np.full_like(trainer.parameters["output.W"].get_value(), bad))
            return good(X)

        return trainer._replace(**{"train" if what == "training" else "valid": loss})

    class started:
        done = False

    monkeypatch.setattr(training, "compile_trainer", spoilt)
    epochs = training.train(TINY, tiny_data, tmp_path / "run")
    next(epochs)
    started.done = True
    with pytest.raises(
        FloatingPointError,
        match=rf"the {what} loss is (nan|inf).*epoch 2; the checkpoints of epoch 1 stand; start again with a "
        r"learning_rate below 0.003 or with max_norm=1",
    ):
        next(epochs)
    run = runs.open_run(tmp_path / "run")
    for name in ("last", "best"):
        arrays, meta = run.load(name)
        assert meta["epoch"] == 1 and all(np.isfinite(a).all() for a in arrays.values())
    assert len(run.log()) == 1


@pytest.mark.slow
def test_a_recording_that_changed_since_is_said_and_the_dataset_stays_what_it_was(tmp_path, capsys):
    audio.write(tmp_path / "voice.wav", synthetic.ar2(20000, seed=1), 16000)
    before = np.array(dataset.prepare(tmp_path / "voice.wav", TINY, tmp_path / "data").rows)
    train = ["train", "2016-small", "--data", str(tmp_path / "data"), *SETTINGS, "--epochs", "1", "--run"]
    assert main([*train, str(tmp_path / "a")]) == 0
    assert "changed" not in capsys.readouterr().err
    audio.write(tmp_path / "voice.wav", synthetic.ar2(20000, seed=2), 16000)
    assert main([*train, str(tmp_path / "b")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "changed" in line]
    assert len(said) == 1 and "voice.wav has changed since" in said[0] and "`prepare` makes it anew" in said[0]
    with pytest.warns(UserWarning, match="has changed since"):
        assert np.array_equal(dataset.load(tmp_path / "data").rows, before)


def test_a_recording_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    audio.write(tmp_path / "voice.wav", synthetic.ar2(20000, seed=1), 16000)
    fit = dataset.preprocessing.Scaling.fit
    monkeypatch.setattr(
        dataset.preprocessing.Scaling, "fit", lambda *args: os.utime(tmp_path / "voice.wav", ns=(1, 1)) or fit(*args)
    )
    with pytest.raises(ValueError, match="changed while it was read"):
        dataset.prepare(tmp_path / "voice.wav", TINY, tmp_path / "data")
    assert os.listdir(tmp_path) == ["voice.wav"]


@pytest.mark.slow
def test_a_dataset_prepared_from_something_else_is_refused_on_resuming_and_generating(tmp_path, capsys):
    run = ["--run", str(tmp_path / "run")]
    for seed in (1, 2):
        audio.write(tmp_path / "voice.wav", synthetic.ar2(20000, seed=seed), 16000)
        dataset.prepare(tmp_path / "voice.wav", TINY, tmp_path / "data")
        if seed == 1:
            assert (
                main(["train", "2016-small", "--data", str(tmp_path / "data"), *run, *SETTINGS, "--epochs", "1"]) == 0
            )
            assert main(["train", "2016-small", *run, "--resume", "--epochs", "2"]) == 0
    capsys.readouterr()
    for args in (
        ["train", "2016-small", *run, "--resume", "--epochs", "3"],
        ["generate", str(tmp_path / "run"), str(tmp_path / "out.wav"), "--seconds", "1"],
        ["evaluate", str(tmp_path / "run"), "--seconds", "1"],
    ):
        assert main(args) == 2
        said = capsys.readouterr().err.strip()
        assert len(said.splitlines()) == 1 and "is not what the run in" in said


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(tiny_data, tiny_run, tmp_path, monkeypatch):
    now = [1e9]

    def backwards():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    started = training.train(TINY, tiny_data, tmp_path / "run", minutes=10)
    next(started)
    started.close()
    for name in os.listdir(tmp_path / "run"):
        os.utime(tmp_path / "run" / name, (4e9, 4e9))  # written in the future
    list(training.train(TINY, tiny_data, tmp_path / "run", resume=True, minutes=10))
    assert ended(tmp_path / "run") == ended(tiny_run)
    assert all(row["duration"] >= 0 for row in runs.open_run(tmp_path / "run").log())
