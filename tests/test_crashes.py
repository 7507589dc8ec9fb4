"""A crash at every step of writing, simulated: resumed training ends with the same bits."""

import contextlib
import os
import stat

import pytest
from killing import ended

from vocalsynth_utils import audio, dataset, synthetic, training
from vocalsynth_utils.diagnostics import gradients, results
from vocalsynth_utils.recipes import get

TINY = get("2016-small").replace(
    frame_length=20,
    n_steps=12,
    n_offsets=1,
    n_units=(4,),
    n_batch=8,
    n_epochs=3,
    optimiser="adam",
    epsilon=1e-6,
    learning_rate=0.02,
)


class Crash(BaseException):
    """The machine stops here."""


class Machine:
    """Counts the steps that change the disk, and crashes at one of them; from then on nothing is done any more."""

    STEPS = ("open", "replace", "link", "unlink", "fsync")

    def __init__(self, monkeypatch, backups):
        self.real = {name: getattr(os, name) for name in self.STEPS}
        self.backups, self.steps, self.stops_at, self.unsynced = backups, 0, None, []
        for name in self.STEPS:
            monkeypatch.setattr(os, name, lambda *args, _name=name, **kwargs: self.step(_name, *args, **kwargs))

    def step(self, name, *args, **kwargs):
        self.steps += 1
        if self.stops_at is not None and self.steps >= self.stops_at:
            raise Crash
        if name in ("replace", "link"):
            self.remember(args[1])
        if name != "fsync":  # the test itself need not wait for the disk
            return self.real[name](*args, **kwargs)
        if stat.S_ISDIR(os.fstat(args[0]).st_mode):
            self.unsynced.clear()

    def remember(self, path):
        """Keep what a name stood for until its folder is synced."""
        backup = None
        if os.path.exists(path):
            backup = self.backups / str(self.steps)
            self.real["link"](path, backup)
        self.unsynced.append((path, backup))

    @contextlib.contextmanager
    def crashing_at(self, step):
        self.steps, self.stops_at, self.unsynced = 0, step, []
        with contextlib.suppress(Crash):
            yield
        crashed, self.stops_at = self.steps >= step, None
        return crashed

    def lose_power(self):
        """Names that were not synced yet are what they were before."""
        for path, backup in reversed(self.unsynced):
            if backup:
                self.real["replace"](backup, path)
            elif os.path.exists(path):
                self.real["unlink"](path)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crashes")
    audio.write(folder / "ar2.wav", synthetic.ar2(20000, seed=1), 16000)
    return dataset.prepare(folder / "ar2.wav", TINY, folder / "data")


@pytest.fixture
def compiled_once(data, monkeypatch):
    """Training that compiles nothing a second time, and starts anew each time."""
    trainer = training.compile_trainer(TINY, data.n_features, data.scaling)
    fresh = {v: v.get_value() for v in [*trainer.parameters.values(), *trainer.optimiser.values()]}

    def again(*_):
        for variable, value in fresh.items():
            variable.set_value(value)
        return trainer

    monkeypatch.setattr(training, "compile_trainer", again)
    for module, name in ((results, "errors_in_frame"), (results, "baselines"), (gradients, "compile_probe")):
        monkeypatch.setattr(module, name, once(getattr(module, name)))


def once(function):
    """A function called once, whose result is given for ever."""
    results = []

    def remembered(*args):
        if not results:
            results.append(function(*args))
        return results[0]

    return remembered


@pytest.mark.parametrize("best_by", ["valid_loss", "last"])
@pytest.mark.parametrize("power", [True, False], ids=["power cut", "killed"])
def test_crash_at_every_step_of_writing_then_resumed_equals_never_interrupted(
    data, compiled_once, tmp_path, monkeypatch, best_by, power
):
    recipe = TINY.replace(best_by=best_by, patience=1 if best_by == "valid_loss" else 0)
    (tmp_path / "backups").mkdir()
    machine = Machine(monkeypatch, tmp_path / "backups")
    list(training.train(recipe, data, tmp_path / "whole"))
    n_steps, whole = machine.steps, ended(tmp_path / "whole")
    assert n_steps > 30
    for step in range(1, n_steps + 1):
        folder, kept = tmp_path / f"crashed-{step}", 0
        with machine.crashing_at(step):
            for row in training.train(recipe, data, folder):
                kept = row["epoch"]
        if power:
            machine.lose_power()
            with contextlib.suppress(FileNotFoundError):
                os.truncate(folder / "log.csv", os.path.getsize(folder / "log.csv") * 2 // 3)
        machine.unsynced = []
        if (folder / "recipe.json").exists():
            rows = list(training.train(recipe, data, folder, resume=True))
            assert not rows or rows[0]["epoch"] in (kept + 1, kept + 2), (
                step
            )  # no more than the epoch in progress is lost
        else:
            list(training.train(recipe, data, folder))
        assert ended(folder) == whole, step
        assert not [name for name in os.listdir(folder) if name.endswith(".part")]
        for backup in os.listdir(tmp_path / "backups"):
            machine.real["unlink"](tmp_path / "backups" / backup)
