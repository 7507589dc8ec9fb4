"""The command line as a user meets it: it does the job, and a mistake is one line and exit status 2."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from vocalsynth_utils import audio, runs, synthetic
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.recipes import RECIPES

SMALL = [f"--set={s}" for s in ("frame_length=20", "n_steps=12", "n_offsets=1", "n_units=8", "n_batch=8", "n_epochs=2")]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "ar2.wav"
    audio.write(path, synthetic.ar2(40000, seed=2), 16000)
    return path


@pytest.fixture(scope="module")
def run(recording):
    folder = recording.parent / "run"
    assert main(["train", "2016-small", "--data", str(recording), "--run", str(folder), *SMALL]) == 0
    return folder


def command(*args):
    return subprocess.run([sys.executable, "-m", "vocalsynth_utils", *map(str, args)], capture_output=True, text=True)


def test_train_and_generate_from_the_command_line(run, tmp_path, capsys):
    for primer in ("train", "valid", "test", "none"):
        assert (
            main(["generate", str(run), str(tmp_path / f"{primer}.wav"), "--seconds", "0.7", "--primer", primer]) == 0
        )
        y = audio.open_recording(tmp_path / f"{primer}.wav")
        assert y.n_samples == 11200 and y.dtype == np.int16
    assert "0.7 s of new audio" in capsys.readouterr().out


def test_primer_may_be_a_file_and_is_not_part_of_the_output(run, recording, tmp_path):
    assert main(["generate", str(run), str(tmp_path / "a.wav"), "--seconds", "0.5", "--primer", str(recording)]) == 0
    generated, heard = audio.read(tmp_path / "a.wav"), audio.read(recording)
    assert len(generated) == 8000 and not np.array_equal(generated[:240], heard[:240])


def test_resume_goes_on_where_training_ended(run, capsys):
    before = len((run / "log.csv").read_text().splitlines())
    assert main(["train", "2016-small", "--run", str(run), "--resume", "--epochs", "4"]) == 0
    assert len((run / "log.csv").read_text().splitlines()) == 5 > before - 1


def test_health_of_each_epoch_is_a_column_of_the_log(recording, tmp_path):
    folder = tmp_path / "watched"
    assert main(["train", "2016-small", "--data", str(recording), "--run", str(folder), *SMALL, "--health"]) == 0
    assert all(row["gradient_norm"] > 0 and 0 <= row["epsilon_share"] <= 1 for row in runs.open_run(folder).log())


def test_prepare_then_train_on_the_prepared_folder(recording, tmp_path, capsys):
    assert main(["prepare", "2016-small", str(recording), str(tmp_path / "data"), *SMALL[:3]]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["train", "2016-small", "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run"), *SMALL]) == 0


def test_recipes_lists_parameter_counts(capsys):
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    first = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "55,232,200" in first["2016"] and "4,810,100" in first["0.125s-300x3"]
    assert all(name in first or name[: -len("-small")] in first for name in RECIPES)


def test_voice_has_exactly_the_seconds_asked_for(tmp_path):
    assert main(["voice", str(tmp_path / "v.wav"), "--seconds", "3.5", "--seed", "4"]) == 0
    assert audio.open_recording(tmp_path / "v.wav").n_samples == 56000


@pytest.mark.parametrize(
    "args, words",
    [
        (["train", "2015"], "did you mean '2016'"),
        (["train", "2016-small", "--set", "n_stepz=3"], "did you mean 'n_steps'"),
        (["train", "2016-small", "--set", "n_steps"], "write field=value"),
        (["train", "2016-small", "--data", "{tmp}/none.wav"], "no such file"),
        (["train", "2016-small", "--data", "{tmp}/text.wav"], "text.wav"),
        (["train", "2016-small", "--data", "{tmp}/silent.wav"], "silent"),
        (["train", "2016-small", "--data", "{tmp}/short.wav"], "less than one sequence"),
        (["train", "2016-small", "--data", "{tmp}"], "no prepared dataset"),
        (["train", "2016-small", "--run", "{tmp}/text.wav", "--data", "{tmp}/short.wav"], "text.wav"),
        (["train", "2016-small", "--run", "{tmp}/none", "--resume"], "holds no run"),
        (["prepare", "2016-small", "{tmp}/none.wav", "{tmp}/out"], "no such file"),
        (["generate", "{tmp}", "{tmp}/out.wav", "--seconds", "1"], "holds no run"),
        (["generate", "{run}", "{tmp}/out.wav", "--seconds", "-1"], "must be a number above 0"),
        (["generate", "{run}", "{tmp}/out.wav", "--seconds", "1", "--primer", "nothing.wav"], "nothing.wav"),
        (["generate", "{run}", "{tmp}/out.wav", "--seconds", "1e9"], "more than a WAV file holds"),
        (["generate", "{run}", "{tmp}/no/out.wav", "--seconds", "1"], "does not exist"),
        (["sing"], "invalid choice"),
        (["generate", "{run}"], "required"),
    ],
)
def test_mistake_is_one_line_and_status_2_and_nothing_is_written(run, tmp_path, capsys, args, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("not audio at all")
    audio.write(tmp_path / "silent.wav", np.zeros(160000, np.float32), 16000)
    audio.write(tmp_path / "short.wav", synthetic.ar2(1000, seed=1), 16000)
    before = sorted(os.listdir(tmp_path))
    try:
        status = main([a.format(tmp=tmp_path, run=run) for a in args])
    except SystemExit as end:
        status = end.code
    err = capsys.readouterr().err.strip()
    assert status == 2 and words in err
    assert len(err.splitlines()) == 1 and "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == before


def test_training_twice_into_one_folder_is_refused_and_harms_nothing(run, recording, capsys):
    before = (run / "last.npz").read_bytes()
    assert main(["train", "2016-small", "--data", str(recording), "--run", str(run), *SMALL]) == 2
    assert "--resume" in capsys.readouterr().err and (run / "last.npz").read_bytes() == before
    assert main(["generate", str(run), str(run.parent / "after.wav"), "--seconds", "0.1"]) == 0


def test_module_runs_and_fails_politely_as_a_process(tmp_path):
    done = command("train", "no-such-recipe")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert command("--help").returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_exits_130_and_keeps_whole_epochs(recording, tmp_path, how):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "vocalsynth_utils",
            "train",
            "2016-small",
            "--data",
            str(recording),
            "--run",
            str(folder),
            *SMALL[:-1],
            "--epochs",
            "100000",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.time() + 120
    while not ((folder / "last.npz").exists() and (folder / "log.csv").exists()) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert (
        main(
            [
                "train",
                "2016-small",
                "--run",
                str(folder),
                "--resume",
                "--epochs",
                str(len((folder / "log.csv").read_text().splitlines()) + 1),
            ]
        )
        == 0
    )
