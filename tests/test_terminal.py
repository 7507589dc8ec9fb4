"""What a command says: stages on a terminal and without one, endings, the verdict, the page."""

import base64
import os
import pty
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny import TINY

from vocalsynth_utils import audio, evaluation, pipeline, recipes, runs, synthetic, terminal
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.terminal import stages
from vocalsynth_utils.terminal.endings import duration

SLOW_STAGE = """
from vocalsynth_utils.terminal import Stages, stages
import time
stages.QUIET = 0.4
with Stages() as at:
    for i in range(12):
        at("counting", i, 12, "epoch 3")
        time.sleep(0.06)
    at("short")
print("an ending")
"""


@pytest.mark.slow
def test_without_a_terminal_a_long_stage_is_a_line_now_and_then_and_a_short_one_none(capsys, monkeypatch):
    monkeypatch.setattr(stages, "QUIET", 0.3)
    monkeypatch.setattr(stages, "BETWEEN_LINES", 0.5)
    with terminal.Stages() as at:
        for i in range(20):
            at("counting", i, 20, "epoch 3")
            time.sleep(0.06)
        at("short")
        at("uncounted")
        time.sleep(0.6)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert not said.out and 3 <= len(lines) <= 5 and not any("short" in line for line in lines)
    assert all(re.fullmatch(r"\[counting\] \d+%, \d s left; epoch 3", line) for line in lines[:-1])
    assert re.fullmatch(r"\[uncounted\] \d s so far", lines[-1])


def test_time_left_does_not_count_what_was_done_before(capsys, monkeypatch):
    monkeypatch.setattr(stages, "QUIET", 0.5)
    with terminal.Stages() as at:
        for done in range(9000, 9040):
            at("training", done, 9100)
            time.sleep(0.02)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("[training] 99%, ") and 1 <= int(line.split()[2]) <= 10  # not 0


@pytest.mark.slow
@pytest.mark.parametrize("to_a_file", [False, True])
def test_on_a_terminal_a_stage_is_a_bar_of_80_columns_and_standard_output_stays_where_it_goes(tmp_path, to_a_file):
    controller, terminal_of_it = pty.openpty()
    out = open(tmp_path / "out", "wb") if to_a_file else terminal_of_it
    options = {"stdout": out, "stderr": terminal_of_it, "env": {**os.environ, "COLUMNS": "80", "TERM": "xterm"}}
    process = subprocess.Popen([sys.executable, "-c", SLOW_STAGE], **options)
    os.close(terminal_of_it)
    shown = b""
    while True:
        try:
            more = os.read(controller, 1 << 16)
        except OSError:  # its other end is closed
            break
        if not more:
            break
        shown += more
    assert process.wait() == 0
    every, kept = on_screen(shown.decode())
    assert any(re.match(r"counting \S+ +[1-9]\d% \S+ epoch 3$", line) for line in every)
    assert all(len(line) <= 80 for line in every)
    assert re.match(r"counting \S+ 100% \d+:\d\d epoch 3$", kept[0])
    assert kept[1:] == [] if to_a_file else ["an ending"]
    assert not to_a_file or (tmp_path / "out").read_text() == "an ending\n"


def on_screen(text):
    """All lines that a terminal showed, and those that it shows in the end."""
    every, kept = [], [""]
    text = re.sub(r"\x1b\[(?!2K|1A)[0-9;?]*[a-zA-Z]", "", text)
    for part in re.split(r"(\x1b\[2K|\x1b\[1A|\r?\n|\r)", text):
        if part == "\x1b[2K":
            kept[-1] = ""
        elif part == "\x1b[1A":
            kept.pop()
        elif part.endswith("\n"):
            kept.append("")
        elif part != "\r":
            kept[-1] += part
            every.append(kept[-1].rstrip())
    return every, [line.rstrip() for line in kept if line.strip()]


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (3599.7, "1 h 0 min"), (3900, "1 h 5 min")]
)
def test_a_length_of_time_for_a_person(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "error, words",
    [
        (0.3, "Learned: better than all"),
        (0.6, "Learned a little: better than always saying the mean, not better than linear prediction"),
        (0.99, "Learned nothing"),
        (None, "Learned nothing"),
    ],
)
def test_a_training_ends_with_whether_it_learned(tiny_run, error, words):
    run = runs.open_run(tiny_run)
    result = run.result() | {"test_error_over_variance": error, "test_loss": 0.5, "variance": 0.25}
    result["test_baselines"] = {"mean": 0.98, "repeat": 1.5, "linear": 0.5}
    said = terminal.trained(run, result).splitlines()
    assert said[0].startswith(words) and "2 on test, in units of the variance" in said[3]
    assert said[4:] == [
        f"Hear it:    vocalsynth generate {tiny_run} sung.wav --seconds 10",
        f"Measure it: vocalsynth evaluate {tiny_run}",
    ]


def test_a_short_recording_is_told_what_more_would_bring():
    assert "has 5 min 0 s" in terminal.more_voice(300) and terminal.more_voice(601) == ""


REAL = {"novelty_heldout": 0.5, "novelty_lowest_heldout": 0.3, "repetition_real": 0.6, "fd_floor": 1.0, "fd_codec": 2.0}
LIVES = {"seconds": 60.0, "survival_s": 60.0, "outside": {"level": 0.0, "flux": 0.1}, "fd": 2.5, "fd_shuffled": 9.0}
LIVES |= {"novelty_min": 0.5, "novelty_lowest": 0.3, "repetition": 0.6, **REAL}


@pytest.mark.parametrize(
    "recipe, changes, words",
    [
        (
            "world-units",
            {},
            ("lived: for all of 60 s", "is near: a distance of 2.5, where up to 3", "no copy", "large"),
        ),
        ("world-units", {"survival_s": 12.0}, ("died after 12 of 60 s", "(`flux`)", "--epochs 18")),
        ("world-units", {"fd": 5.0}, ("some way off", "train for longer")),
        ("world-units", {"fd": 10.0}, ("far off",)),
        ("world-units", {"novelty_min": 0.1}, ("It copies", "only as far from the recording's as 20%", "longer")),
        ("world-units", {"novelty_lowest": 0.1}, ("parts are copied",)),
        ("world-units", {"repetition": 0.1}, ("repeats itself", "--temperature 1.2")),
        ("world-mdn", {}, ("train world-units on this recording",)),
        ("2016-small", {"survival_s": 0.0}, ("died after 0 of 60 s", "a network of this kind does not live")),
    ],
)
def test_a_verdict_says_in_four_lines_what_the_measures_do(recipe, changes, words):
    lines = evaluation.verdict(LIVES | changes, recipes.get(recipe))
    assert [line.partition(":")[0] for line in lines] == ["Life", "Timbre", "New", "Better"]
    assert all(word in "\n".join(lines) for word in words)


@pytest.mark.slow
def test_evaluate_gives_a_verdict_and_a_page_that_needs_nothing_else(tmp_path, compiled_once, capsys, monkeypatch):
    run = tmp_path / "<b>&"
    audio.write(tmp_path / "a.wav", synthetic.ar2(25 * 16000, seed=1), 16000)
    recipe = TINY.replace(n_epochs=1)
    list(pipeline.train(recipe, pipeline.prepare(recipe, tmp_path / "a.wav", run), run))
    assert main(["evaluate", str(run), "--seconds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:4]] == ["Life", "Timbre", "New", "Better"]
    assert lines[4].startswith("The recording has 25 s.") and len(lines) == 6
    assert lines[5] == f"To listen and compare: {run / 'evaluation.html'}"
    page = (run / "evaluation.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page) and page.count("<audio") == page.count('<img alt="Spec') == 2
    (tmp_path / "last.mp3").write_bytes(base64.b64decode(re.findall(r'audio/mpeg;base64,([^"]*)', page)[-1]))
    assert abs(len(audio.read(tmp_path / "last.mp3")) - 48000) <= 1152
    monkeypatch.setattr(terminal, "write_page", lambda *_: open(tmp_path))
    assert main(["evaluate", str(run), "--seconds", "3", "--all"]) == 0
    said = capsys.readouterr()
    assert "no page could be written (Is a directory)" in said.err
    assert "took no part in any choice:" in said.out.splitlines() and "evaluation.html" not in said.out


def test_stages_of_preparing_and_training_are_told_in_their_order(tiny_recording, compiled_once, tmp_path):
    told = []
    recipe = TINY.replace(features="fft", frame_length=20, scaling="std")
    on_stage = lambda name, done=0, total=None: told.append((name, done, total))
    data = pipeline.prepare(recipe, tiny_recording, tmp_path / "run", on_stage=on_stage)
    list(pipeline.train(recipe, data, tmp_path / "run", on_stage=on_stage))
    assert [name for i, (name, *_) in enumerate(told) if not i or told[i - 1][0] != name] == [
        *("reading the recording", "analysing the voice", "compiling the network", "measuring what was learned")
    ]
    analysed = [(done, total) for name, done, total in told if name == "analysing the voice"]
    assert analysed[0] == (0, 40000) and analysed[-1][0] == pytest.approx(40000, abs=60)
    assert np.all(np.diff([done for done, _ in analysed]) >= 0)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash is here")
@pytest.mark.parametrize(
    "typed, completed",
    [
        ("tr", {"train"}),
        ("train world-u", {"world-units", "world-units-large"}),
        ("train world-units --da", {"--data"}),
        ("prepare world-units recor", {"recorded.wav"}),
        ("generate world-units --temp", {"--temperature"}),
    ],
)
def test_a_shell_completes_commands_options_recipes_and_files(tmp_path, capsys, typed, completed):
    with pytest.raises(SystemExit) as ended:
        main(["--completion", "bash"])
    assert not ended.value.code
    words = ["vocalsynth", *typed.split(" ")]
    (tmp_path / "completion.sh").write_text(capsys.readouterr().out)
    (tmp_path / "recorded.wav").touch()
    lines = ["source ./completion.sh", f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}"]
    lines += [f"_shtab_vocalsynth vocalsynth {words[-1]} {words[-2]}", 'printf "%s\\n" "${COMPREPLY[@]}"']
    found = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    assert set(found.stdout.split()) == completed, found.stderr
