"""The command line as a user meets it: it does the job, and a mistake is one line and exit status 2."""

import dataclasses
import json
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import SETTINGS

from vocalsynth_utils import __main__, __version__, audio, features, pipeline, runs, synthetic, terminal, training
from vocalsynth_utils.__main__ import main, program
from vocalsynth_utils.recipes import FAMILIES, RECIPES

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = str(ROOT / "data" / "pretrained" / "world-units")  # without its dataset


@pytest.mark.slow
def test_generating_has_exactly_the_seconds_asked_for_from_every_primer(tiny_run, tmp_path, capsys):
    for primer in ("train", "valid", "test", "none"):
        out = tmp_path / f"{primer}.wav"
        assert main(["generate", str(tiny_run), str(out), "--seconds", "0.7", "--primer", primer]) == 0
        y = audio.open_recording(out)
        assert y.n_samples == 11200 and y.dtype == np.int16
    assert "0.7 s of new audio" in capsys.readouterr().out


def test_primer_may_be_a_file_and_is_not_part_of_the_output(tiny_run, tiny_recording, tmp_path):
    out = tmp_path / "a.wav"
    assert main(["generate", str(tiny_run), str(out), "--seconds", "0.5", "--primer", str(tiny_recording)]) == 0
    generated, heard = audio.read(out), audio.read(tiny_recording)
    assert len(generated) == 8000 and not np.array_equal(generated[:240], heard[:240])


def test_a_long_primer_file_is_analysed_no_further_than_it_is_used(tiny_run, tiny_recording, monkeypatch):
    run, seen, real = runs.open_run(tiny_run), [], features.frames
    monkeypatch.setattr(features, "frames", lambda y, recipe: seen.append(len(y)) or real(y, recipe))
    heard, y = pipeline.primer(run, tiny_recording, 12), audio.read(tiny_recording)
    assert seen == [2 * 16000 + 12 * 20] and len(y) == 40000
    assert np.array_equal(heard, run.scaling.apply(y[:240].reshape(12, 20)))


def test_resume_goes_on_where_training_ended(tiny_run, compiled_once, capsys):
    before = (tiny_run / "log.csv").read_text()
    assert main(["train", "2016-small", "--run", str(tiny_run), "--resume", "--epochs", "4"]) == 0
    after = (tiny_run / "log.csv").read_text()
    assert after.startswith(before) and len(after.splitlines()) == len(before.splitlines()) + 1 == 5


@pytest.mark.slow
def test_diagnostics_of_each_epoch_are_columns_of_the_log(tiny_data, compiled_once, tmp_path):
    run = str(tmp_path / "run")
    assert main(["train", "2016-small", "--data", str(tiny_data.folder), "--run", run, *SETTINGS, "--diagnostics"]) == 0
    assert all(row["gradient_norm"] > 0 and 0 <= row["epsilon_share"] <= 1 for row in runs.open_run(run).log())


def test_prepare_then_train_on_the_prepared_folder(tiny_recording, compiled_once, tmp_path, capsys):
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["prepare", "2016-small", str(tiny_recording), data, SETTINGS[0]]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["train", "2016-small", "--data", data, "--run", run, *SETTINGS]) == 0
    said = capsys.readouterr().out
    assert "Best epoch" in said and "Without a network: the mean" in said
    assert said.splitlines()[-2] == f"Measure it: vocalsynth evaluate {run}" and "has 2 s" in said.splitlines()[-1]


def test_recipes_begins_with_what_a_newcomer_needs_and_fits_80_columns(capsys):
    assert main(["recipes"]) == 0
    start = capsys.readouterr().out
    assert start.startswith("Start here:\n\nworld-units ") and len(start.splitlines()) < 15
    assert main(["recipes", "--all"]) == 0
    everything = capsys.readouterr().out
    first = {line.split()[0]: line for line in everything.splitlines() if re.match(r" \S", line)}
    assert "55.2 M" in first["2016"] and "0.970" in first["2016"] and "4.8 M" in first["0.125s-300x3"]
    assert all(name in first or name[: -len("-small")] in first for name in RECIPES)
    names = [line.split()[0] for line in everything.splitlines() if line.startswith(tuple(f" {n} " for n in RECIPES))]
    assert names == [e.name for experiments in FAMILIES.values() for e in experiments]
    assert all(len(line) <= 80 for line in (start + everything).splitlines())


@pytest.mark.parametrize("name", ["world-units", "1s-tapered", "2016"])
def test_one_recipe_is_shown_in_full_with_what_each_field_means(capsys, name):
    assert main(["recipes", name]) == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    words = [line.split() for line in shown.splitlines()]
    for field in dataclasses.fields(RECIPES[name])[2:]:
        (line,) = (line for line in words if field.name in line[:2] and len(line) > 2)
        value = getattr(RECIPES[name], field.name)
        assert (line[0] == "*") == (value != field.default) and field.metadata["meaning"]
        value = ",".join(map(str, value)) if field.name == "n_units" else str(value).lower()
        assert line[1 + (line[0] == "*")] == value


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
        (["recipes", "word-units"], "did you mean 'world-units'?"),
        (["trian", "2016-small"], "unknown command 'trian'; did you mean 'train'?"),
        (["evaluate", SHIPPED], "is here without its dataset; from its recording, vocalsynth prepare world-units"),
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
        (["generate", SHIPPED, "{tmp}/out.wav", "--seconds", "1", "--primer", "valid"], "a primer of 'none'"),
        (["generate", "{run}", "{tmp}/out.wav", "--seconds", "1e9"], "more than a WAV file holds"),
        (["generate", "{run}", "{tmp}/no/out.wav", "--seconds", "1"], "does not exist"),
        (["sing"], "unknown command 'sing'"),
        (["generate", "{run}"], "required"),
    ],
)
def test_mistake_is_one_line_and_status_2_and_nothing_is_written(tiny_run, tmp_path, capsys, args, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("not audio at all")
    audio.write(tmp_path / "silent.wav", np.zeros(160000, np.float32), 16000)
    audio.write(tmp_path / "short.wav", synthetic.ar2(1000, seed=1), 16000)
    before = sorted(os.listdir(tmp_path))
    try:
        status = main([a.format(tmp=tmp_path, run=tiny_run) for a in args])
    except SystemExit as end:
        status = end.code
    err = capsys.readouterr().err.strip()
    assert status == 2 and words in err
    assert len(err.splitlines()) == 1 and err.startswith("vocalsynth") and "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == before


def test_training_twice_into_one_folder_is_refused_and_harms_nothing(tiny_run, tiny_recording, capsys):
    before = (tiny_run / "last.npz").read_bytes()
    assert main(["train", "2016-small", "--data", str(tiny_recording), "--run", str(tiny_run), *SETTINGS]) == 2
    assert "--resume" in capsys.readouterr().err and (tiny_run / "last.npz").read_bytes() == before
    assert main(["generate", str(tiny_run), str(tiny_run.parent / "after.wav"), "--seconds", "0.1"]) == 0


@pytest.mark.slow
def test_module_runs_and_fails_politely_as_a_process():
    for args, status in ((["train", "no-such-recipe"], 2), (["--help"], 0)):
        done = subprocess.run([sys.executable, "-m", "vocalsynth_utils", *args], capture_output=True, text=True)
        assert done.returncode == status and len(done.stderr.splitlines()) == bool(status)
        assert done.stdout.startswith("usage: vocalsynth") == (not status)


def in_process(args, stderr):
    """What a process of its own would do, but for the imports, which this one has done."""
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = open(2, "w", closefd=False)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = open(1, "w", closefd=False)
    sys.exit(program(args))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_exits_130_and_keeps_whole_epochs(tiny_recording, compiled_once, tmp_path, how):
    folder = tmp_path / "run"
    args = ["train", "2016-small", "--data", str(tiny_recording), "--run", str(folder), *SETTINGS, "--epochs", "100000"]
    process = multiprocessing.get_context("fork").Process(target=in_process, args=(args, tmp_path / "stderr"))
    process.start()
    deadline = time.time() + 120
    log = folder / "log.csv"
    while not (log.exists() and len(log.read_text().splitlines()) > 1) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, how)
    process.join(60)
    said = (tmp_path / "stderr").read_text()
    assert process.exitcode == 130 and "Traceback" not in said
    n_epochs = len((folder / "log.csv").read_text().splitlines()) - 1
    (line,) = (line for line in said.splitlines() if line.startswith("vocalsynth train: interrupted"))
    assert f"; epochs 1 to {n_epochs} are kept in {folder}; go on with: vocalsynth train" in line
    typed = shlex.split(line.partition("go on with: vocalsynth ")[2])
    assert typed == [*args, "--resume"]
    typed[typed.index("--epochs") + 1] = str(n_epochs + 2)
    assert main(typed) == 0 and len(runs.open_run(folder).log()) == n_epochs + 2


def test_interrupted_before_anything_is_kept_says_so_and_how_to_begin_again(
    tiny_recording, tmp_path, capsys, monkeypatch
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    folder, command = tmp_path / "my run", ["train", "2016-small", "--data", str(tiny_recording), *SETTINGS]
    monkeypatch.setattr(features, "encode", interrupt)
    monkeypatch.setattr(training, "compile_trainer", interrupt)
    assert main([*command, "--run", str(folder)]) == 130
    assert f"no epoch has ended, so none is kept; go on with: {shlex.join(['vocalsynth', *command])}" in said(capsys)
    monkeypatch.setattr(pipeline, "prepare", interrupt)
    assert main([*command, "--run", str(tmp_path / "other")]) == 130
    assert "nothing is kept yet; begin again with: vocalsynth train 2016-small" in said(capsys)
    monkeypatch.setattr(pipeline, "generate_pieces", interrupt)
    assert main(["generate", SHIPPED, str(tmp_path / "a.wav")]) == 130
    assert "interrupted; nothing of it is kept" in said(capsys) and not (tmp_path / "a.wav").exists()


def said(capsys):
    """The only line on standard error."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_resuming_a_finished_run_says_so_and_trains_nothing(tiny_run, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "train", lambda *_, **__: pytest.fail("it trains"))
    before = {path: path.read_bytes() for path in tiny_run.glob("*.*")}
    for more in [], ["--epochs", "2"]:
        assert main(["train", "2016-small", "--run", str(tiny_run), "--resume", *more]) == 0
        assert capsys.readouterr().out.startswith(
            f"Nothing to do: the run in {tiny_run} has finished. To train on, ask"
        )
    assert before == {path: path.read_bytes() for path in tiny_run.glob("*.*")}


def test_evaluate_generates_as_much_as_the_pipeline_does():
    args = terminal.parsed(["evaluate", "run"], [__main__.evaluate])
    assert args.seconds == pipeline.EVALUATED_SECONDS and args.function is __main__.evaluate


def test_typed_alone_it_lists_its_commands_and_it_knows_its_version(capsys):
    for args, words in ([], "train Train"), (["--version"], f"vocalsynth {__version__}"):
        with pytest.raises(SystemExit) as end:
            main(args)
        assert end.value.code == 0 and words in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_typo_is_answered_before_anything_slow_is_imported():
    code = (
        "import sys; from vocalsynth_utils.__main__ import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules)"
    )
    for args in ["train", "wrold"], ["trian"], ["train", "2016", "--set", "n_stepz=3"], ["generate", "--secs"]:
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
        assert len(done.stderr.splitlines()) == 1 and not {"theano", "scipy", "matplotlib"} & {*done.stdout.split()}


def test_the_voice_that_ships_sings_as_the_readme_has_it(tmp_path, monkeypatch, capsys):
    (line,) = re.findall(r"vocalsynth generate data.*", (ROOT / "README.md").read_text())
    command = line.replace("data/", f"{ROOT}/data/").replace("--seconds 10", "--seconds 0.5").split()[1:]
    monkeypatch.chdir(tmp_path)
    assert main(command) == 0
    assert re.search(
        r"hello.wav: 0.5 s of new audio, begun from nothing; made in .* times real time", capsys.readouterr().out
    )
    assert audio.open_recording("hello.wav").n_samples == 8000


def test_the_shipped_voice_of_one_level_primes_itself_too(tmp_path):
    run = ROOT / "data" / "pretrained" / "world-mdn"
    assert main(["generate", str(run), str(tmp_path / "a.wav"), "--seconds", "0.5"]) == 0


def test_a_measure_that_is_undefined_is_null_in_json(tiny_run, capsys, monkeypatch):
    measured = {"novelty": float("nan"), "level": [1.0, float("-inf")], "ok": 1.0}, np.zeros(16000, np.float32)
    monkeypatch.setattr(pipeline, "evaluate", lambda *args: measured)
    assert main(["evaluate", str(tiny_run), "--seconds", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert said == {"novelty": None, "level": [1.0, None], "ok": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, magic", [("a.mp3", b"\xff"), ("a.flac", b"fLaC"), ("a.ogg", b"OggS"), ("a.wav", b"RIFF")]
)
def test_what_is_generated_is_what_its_name_says(tiny_run, tmp_path, name, magic):
    out = tmp_path / name
    assert main(["generate", str(tiny_run), str(out), "--seconds", "1.5"]) == 0
    assert out.read_bytes().startswith(magic)
    assert abs(len(audio.read(out, 16000)) - 24000) <= (0 if magic != b"\xff" else 1152)


def test_a_name_that_is_no_audio_is_refused_before_anything_is_drawn(tiny_run, tmp_path, capsys):
    assert main(["generate", str(tiny_run), str(tmp_path / "a.txt"), "--seconds", "1"]) == 2
    assert "ends in '.txt'" in capsys.readouterr().err and not list(tmp_path.glob("a*"))


def test_what_is_too_loud_is_limited_and_said(tiny_run, tmp_path, capsys, monkeypatch):
    loud = [np.full(16000, 0.5, np.float32), audio.limited(np.full(16000, 9.0))]
    monkeypatch.setattr(pipeline, "generate_pieces", lambda *_, **__: iter(loud))
    command = ["generate", str(tiny_run), str(tmp_path / "loud.wav"), "--seconds", "2"]
    assert main(command) == 0
    assert capsys.readouterr().err.endswith("warning: 50.0% of the samples were too loud and are limited\n")
    assert np.abs(audio.read(tmp_path / "loud.wav")).max() == pytest.approx(0.98, abs=1e-4)
    loud[1] *= 0.5
    assert main(command) == 0 and not capsys.readouterr().err
