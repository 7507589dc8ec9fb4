"""Hostile input through the command line: it works, or is refused in one line; it runs no code."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import fuzzing
import hostile_files
import numpy as np
import pytest

from vocalsynth_utils import audio, dataset, synthetic, training
from vocalsynth_utils.__main__ import main

CASES = int(os.environ.get("VOCALSYNTH_FUZZ_CASES", 220))


def test_every_hostile_case_works_or_is_refused_in_one_line():
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process of one thread can be forked
    done = subprocess.run(
        [sys.executable, fuzzing.__file__, "--json", "--cases", str(CASES)],
        capture_output=True,
        text=True,
        env={**os.environ, **threads},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    print(fuzzing.table(figures))
    assert set(figures) == set(fuzzing.KINDS) and sum(row["cases"] for row in figures.values()) >= 0.95 * CASES
    assert all(
        row["refused"] and row["messages"] > 0.1 * row["cases"] ** 0.5 for row in figures.values()
    )  # not one check that hides the others
    assert sum(row["works"] for row in figures.values()) > CASES / 20  # nor a command that refuses everything


@pytest.mark.parametrize(
    "does, reason",
    [
        (lambda: 1 / 0, "status 1"),
        (lambda: sys.exit(3), "status 3"),
        (lambda: os.kill(os.getpid(), 9), "dies by SIGKILL"),
        (lambda: np.ones(10**9), "memory"),
        (lambda: [print("two\nlines", file=sys.stderr), sys.exit(2)], "not one printable line"),
        (lambda: sys.exit(2), "not one printable line"),
        (lambda: Path("../elsewhere/precious.txt").write_text("gone"), "changes elsewhere/precious.txt"),
        (
            lambda: [Path("left").write_text(""), print("no", file=sys.stderr), sys.exit(2)],
            "refused, yet changes here/left",
        ),
        (lambda: os.read(os.open("pipe", os.O_RDONLY), 1), "hangs"),
    ],
)
def test_the_fuzzer_sees_each_kind_of_fault(tmp_path, monkeypatch, does, reason):
    """What it must catch, made to happen."""

    def kind(rng, box):
        os.mkfifo("pipe")
        return fuzzing.hostile.Case(["generate"], ("here/left",))

    monkeypatch.setattr(fuzzing, "KINDS", {"faulty": kind})
    monkeypatch.setattr(fuzzing, "SECONDS", 3)
    monkeypatch.setattr(fuzzing.commands, "program", lambda argv: does() and 0)
    monkeypatch.chdir(tmp_path)
    outcome = fuzzing.run_case("faulty", 0, tmp_path, tmp_path)
    assert outcome.what == "fault" and reason in outcome.reason


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trapped")
    audio.write(folder / "a.wav", 0.9 * synthetic.ar2(16000, seed=2))
    list(
        training.train(
            hostile_files.RAW,
            dataset.prepare(folder / "a.wav", hostile_files.RAW, folder / "run" / "dataset"),
            folder / "run",
        )
    )
    return folder / "run"


def test_a_run_whose_network_cannot_fit_is_refused_before_it_is_built(run, tmp_path, capfd):
    path, good = run / "recipe.json", (run / "recipe.json").read_text()
    try:
        path.write_text(
            json.dumps({**json.loads(good), "recipe": hostile_files.RAW.replace(n_units=(1000000,)).to_dict()})
        )
        assert main(["generate", str(run), str(tmp_path / "o.wav"), "--seconds", "0.01"]) == 2
    finally:
        path.write_text(good)
    assert "16000.4 GB" in capfd.readouterr().err


def test_a_link_that_leads_to_itself_is_one_line_wherever_a_path_is_taken(run, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("loop", "loop")
    audio.write("a.wav", 0.9 * synthetic.ar2(16000, seed=2))
    small = fuzzing.hostile.SMALL
    for args in (
        ["prepare", "2016-small", "loop", "out", *small],
        ["prepare", "2016-small", "a.wav", "loop", *small],
        ["generate", "loop", "o.wav", "--seconds", "0.01"],
        ["train", "2016-small", "--data", "a.wav", "--run", "loop", *small],
        ["train", "2016-small", "--data", "loop", "--run", "new", *small],
        ["evaluate", "loop", "--seconds", "2"],
        ["sweep", "loop"],
    ):
        assert main(args) == 2
        assert len(capfd.readouterr().err.splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "loop"]


class Trap:
    """Unpickled, it leaves a folder behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["last.npz", "best.npz", "dataset/signal.npy"])
@pytest.mark.parametrize("how", ["array", "whole file"])
def test_a_booby_trapped_checkpoint_or_dataset_runs_no_code(run, tmp_path, capfd, where, how):
    sprung = tmp_path / "sprung"
    trapped = pickle.dumps(np.array([Trap(sprung)], object))
    array = hostile_files.npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", trapped)
    np.load(io.BytesIO(array), allow_pickle=True)
    sprung.rmdir()  # so the trap is a live one
    path, good = run / where, (run / where).read_bytes()
    try:
        if how == "whole file":
            path.write_bytes(trapped)
        elif path.suffix == ".npy":
            path.write_bytes(array)
        else:
            names = zipfile.ZipFile(io.BytesIO(good)).namelist()
            with zipfile.ZipFile(path, "w") as archive:
                for name in names:
                    archive.writestr(name, array)
        out = str(tmp_path / "o.wav")
        for args in (
            ["generate", str(run), out, "--seconds", "0.01"],
            ["evaluate", str(run), "--seconds", "2"],
            ["train", "2016-small", "--run", str(run), "--resume", "--epochs", "2"],
            [
                "train",
                "2016-small",
                "--data",
                str(run / "dataset"),
                "--run",
                str(tmp_path / "new"),
                *fuzzing.hostile.SMALL,
            ],
        ):
            assert main(args) in (0, 2)
            assert "Traceback" not in capfd.readouterr().err
    finally:
        path.unlink()
        path.write_bytes(good)
    assert not sprung.exists()
