"""A crash at every step of writing, simulated: resumed training ends with the same bits."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from killing import ended
from tiny import TINY as USUAL

from vocalsynth_utils import audio, baselines, dataset, runs, synthetic, training
from vocalsynth_utils.diagnostics import results

# few arrays in a checkpoint: each takes its time to be read
TINY = USUAL.replace(n_units=(4,), peepholes=False, learning_rate=0.2)  # the third epoch is worse than the second


class Disk:
    """Keeps what a folder is before each step that changes the disk: what a crash would leave there.

    `states` are folders, each with the number of epochs that were done by then.  With `power`, names that were not
    synced yet are what they were before, and the log has lost its end: what a power cut would leave.
    """

    STEPS = ("open", "replace", "link", "unlink", "fsync")

    def __init__(self, monkeypatch, folder, power):
        self.real = {name: getattr(os, name) for name in self.STEPS}
        self.folder, self.power, self.n_steps, self.done, self.states, self.seen = folder, power, 0, 0, [], None
        self.backups, self.unsynced = folder.parent / "backups", []
        self.backups.mkdir()
        for name in self.STEPS:
            monkeypatch.setattr(os, name, lambda *args, _name=name, **kwargs: self.step(_name, *args, **kwargs))

    def step(self, name, *args, **kwargs):
        self.n_steps += 1
        self.keep()
        if name in ("replace", "link"):
            self.remember(Path(args[1]))
        if name != "fsync":  # the test itself need not wait for the disk
            return self.real[name](*args, **kwargs)
        if stat.S_ISDIR(os.fstat(args[0]).st_mode):
            self.unsynced.clear()

    def remember(self, path):
        """Keep what a name stands for until its folder is synced."""
        backup = None
        if path.exists():
            backup = self.backups / str(self.n_steps)
            self.real["link"](path, backup)
        self.unsynced.append((path.name, backup))

    def keep(self):
        """Copy the folder, unless it is what it was before the step before."""
        if not self.folder.exists():
            return
        files = {path.name: path for path in self.folder.iterdir()}
        for name, backup in reversed(self.unsynced if self.power else []):
            files[name] = backup
        files = {name: path for name, path in files.items() if path}
        of = lambda status: (status.st_ino, status.st_size, status.st_mtime_ns)
        now = {name: of(path.stat()) for name, path in files.items()}, self.done
        if now != self.seen:
            self.seen = now
            copy = self.folder.parent / f"crashed-{self.n_steps}"
            copy.mkdir()
            self.states.append((copy, self.done))
            copied = {}  # by inode: two names of one file stay that
            for name, path in files.items():
                inode = path.stat().st_ino
                self.real["link"](copied[inode], copy / name) if inode in copied else shutil.copy2(path, copy / name)
                copied[inode] = copy / name
            if self.power and (copy / "log.csv").exists():
                os.truncate(copy / "log.csv", (copy / "log.csv").stat().st_size * 2 // 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crashes")
    audio.write(folder / "ar2.wav", synthetic.ar2(8000, seed=1), 16000)
    return dataset.prepare(folder / "ar2.wav", TINY, folder / "data")


@pytest.fixture
def measured_once(compiled_once, monkeypatch):
    """Training that compiles nothing a second time, and does not measure again what is the same at every end."""
    for module, name in ((results, "errors_in_frame"), (results, "compile_probe"), (baselines, "losses")):
        monkeypatch.setattr(module, name, once(getattr(module, name)))


def once(function):
    """A function called once, whose result is given for ever."""
    results = []

    def remembered(*args):
        if not results:
            results.append(function(*args))
        return results[0]

    return remembered


@pytest.mark.slow
@pytest.mark.parametrize("best_by", ["valid_loss", "last"])
@pytest.mark.parametrize("power", [True, False], ids=["power cut", "killed"])
def test_crash_at_every_step_of_writing_then_resumed_equals_never_interrupted(
    data, measured_once, tmp_path, monkeypatch, best_by, power
):
    recipe = TINY.replace(best_by=best_by, **(dict(n_epochs=5, patience=1) if best_by == "valid_loss" else {}))
    with monkeypatch.context() as patched:
        disk = Disk(patched, tmp_path / "whole", power)
        for row in training.train(recipe, data, tmp_path / "whole"):
            disk.done = row["epoch"]
    whole, result = ended(tmp_path / "whole"), runs.open_run(tmp_path / "whole").result()
    assert (result["epochs"], result["best_epoch"]) == (3, 2 if best_by == "valid_loss" else 3)
    assert disk.n_steps > 30 and len(disk.states) > 15
    for folder, done in disk.states:
        if (folder / "recipe.json").exists():
            rows = list(training.train(recipe, data, folder, resume=True))
            # no more than the epoch in progress is lost
            assert not rows or rows[0]["epoch"] in (done + 1, done + 2), folder
        else:
            list(training.train(recipe, data, folder))
        assert ended(folder) == whole, folder
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]
