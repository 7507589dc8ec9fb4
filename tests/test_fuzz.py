"""Hostile input through the command line: it works, or is refused in one line; it runs no code."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import fuzzing
import hostile
import hostile_files
import hostile_sizes
import hostile_sweeps
import numpy as np
import pytest
import soundfile
from tiny import SETTINGS, TINY

from vocalsynth_utils import audio, synthetic
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.sweeps import points

CASES = int(os.environ.get("VOCALSYNTH_FUZZ_CASES", 0))


@pytest.mark.parametrize(
    "cases", [pytest.param(140, marks=pytest.mark.slow), pytest.param(1400, marks=pytest.mark.long)]
)
def test_every_hostile_case_works_or_is_refused_in_one_line(cases):
    cases = CASES or cases
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process of one thread can be forked
    command = [sys.executable, fuzzing.__file__, "--json", "--cases", str(cases)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads})
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    print(fuzzing.table(figures))
    assert set(figures) == set(fuzzing.KINDS) and sum(row["cases"] for row in figures.values()) >= 0.95 * cases
    # not one check that hides the others, nor a command that refuses everything
    assert all(row["refused"] and row["messages"] > 0.1 * row["cases"] ** 0.5 for row in figures.values())
    assert sum(row["works"] for row in figures.values()) > cases / 20
    assert all(figures[kind]["works"] for kind in fuzzing.NARROW if kind != "sweep size")  # that one names no recording


def test_a_wav_put_together_chunk_by_chunk_is_what_another_reader_finds_in_it(tmp_path):
    """Of every format, in every byte order, extensible or not: where nothing in it is wrong on purpose."""
    seen = set()
    for number in range(120):
        content = hostile.riff(np.random.default_rng(number), 0)
        fmt = content[content.index(b"fmt ") + 8 :]
        (tmp_path / "a.wav").write_bytes(content)
        try:
            expected, sr = soundfile.read(tmp_path / "a.wav", dtype="float64", always_2d=True)
        except soundfile.LibsndfileError:
            assert fmt[14:16].strip(b"\0") == b"@"  # integers of 64 bits
            continue
        if expected.shape[1] == 1:
            y = audio.read(tmp_path / "a.wav", sr)
            np.testing.assert_allclose(y, np.clip(expected[:, 0] / max(1, abs(expected).max()), -1, 1), atol=2e-4)
        seen.add((content[:4], fmt[:2] in (b"\xfe\xff", b"\xff\xfe")))
    assert seen >= {(b"RIFF", True), (b"RIFF", False), (b"RIFX", True), (b"RIFX", False)}


def test_sweep_files_with_nothing_wrong_in_them_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(0, 200, 20):
        rng, box = np.random.default_rng(number), SimpleNamespace(number=number, save=save)
        assert points.read(hostile_sweeps.sweep(rng, box).args[1]).points
        assert points.read(save("t.toml", hostile_sizes.sweep_text(rng, plain=True).encode())).points
        with pytest.raises(ValueError, match=r"holds|asks for|digits|limit|at most|unknown"):
            points.read(save("u.toml", hostile_sizes.sweep_text(rng, plain=False).encode()))


def save(name, content):
    Path(name).write_bytes(content)
    return name


@pytest.mark.slow
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
    monkeypatch.setattr(fuzzing.__main__, "program", lambda argv: does() and 0)
    monkeypatch.chdir(tmp_path)
    outcome = fuzzing.run_case("faulty", 0, tmp_path, tmp_path)
    assert outcome.what == "fault" and reason in outcome.reason


def test_a_run_whose_network_cannot_fit_is_refused_before_it_is_built(tiny_run, tmp_path, capfd):
    path = tiny_run / "recipe.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "recipe": TINY.replace(n_units=(1000000,)).to_dict()}))
    assert main(["generate", str(tiny_run), str(tmp_path / "o.wav"), "--seconds", "0.01"]) == 2
    assert "16000.4 GB" in capfd.readouterr().err


def test_a_link_that_leads_to_itself_is_one_line_wherever_a_path_is_taken(tmp_path, capfd, monkeypatch):
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


@pytest.mark.slow
@pytest.mark.parametrize("how", ["array", "whole file"])
@pytest.mark.parametrize("where", ["last.npz", "best.npz", "dataset/signal.npy", "dataset/reference.npz"])
def test_a_booby_trapped_checkpoint_or_dataset_runs_no_code(tiny_run, compiled_once, tmp_path, capfd, where, how):
    sprung = tmp_path / "sprung"
    trapped = pickle.dumps(np.array([Trap(sprung)], object))
    array = hostile_files.npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", trapped)
    np.load(io.BytesIO(array), allow_pickle=True)
    sprung.rmdir()  # so the trap is a live one
    path = tiny_run / where
    if how == "whole file":
        path.write_bytes(trapped)
    elif path.suffix == ".npy":
        path.write_bytes(array)
    else:
        names = zipfile.ZipFile(path).namelist() if path.exists() else ["version.npy", "mean.npy"]
        pairs = [(name, array) for name in names if "digest" not in name]
        path.unlink(missing_ok=True)  # its other name stays what it was
        path.write_bytes(hostile_files.zip_file(hostile_files.sealed(pairs)))
    run, new, data = str(tiny_run), str(tmp_path / "new"), str(tiny_run / "dataset")
    commands = [
        ["generate", run, str(tmp_path / "o.wav"), "--seconds", "0.01"],
        ["evaluate", run, "--seconds", "2"],
        ["train", "2016-small", "--run", run, "--resume", "--epochs", "4"],
        ["train", "2016-small", "--data", data, "--run", new, *SETTINGS],
    ]
    for args in commands if where.startswith("dataset") else commands[:3]:  # the fourth reads no checkpoint of the run
        assert main(args) in (0, 2)
        assert "Traceback" not in capfd.readouterr().err
    assert not sprung.exists()
