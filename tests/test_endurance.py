"""Long runs in short: memory and open files stay flat, the same seed gives the same bits, and kills lose nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import endurance
import numpy as np
import pytest
from tiny import SETTINGS

from vocalsynth_utils import audio, diagnostics, synthetic
from vocalsynth_utils.diagnostics import memory
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import checkpoints
from vocalsynth_utils.storage import used_memory

HERE = Path(__file__).resolve().parent
ONE_THREAD = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(HERE.parent))
COMMAND = [sys.executable, "-m", "vocalsynth_utils"]


def train(recording, *options):
    """The arguments that train a tiny recipe."""
    return ["train", "2016-small", *SETTINGS, "--data", str(recording), *map(str, options)]


def test_every_test_named_in_the_fault_table_exists():
    table = (HERE.parent / "docs" / "robustness.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", table)
    assert len(named) > 25 and len(named) == table.count("::test_")
    for file, test in named:
        assert f"\ndef {test}(" in (HERE / file).read_text(), f"{file}::{test}"


@pytest.mark.long
def test_memory_and_open_files_are_flat_over_three_hundred_epochs(tiny_recording, tmp_path):
    command = [*COMMAND, *train(tiny_recording, "--run", tmp_path / "run", "--epochs", 300)]
    status, samples = endurance.watch(command, 0.02, env=ONE_THREAD, stdout=subprocess.DEVNULL)
    assert status == 0
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 301
    middle = samples[len(samples) // 2 : len(samples) * 9 // 10]  # trained in; and before the result is measured
    assert np.ptp(middle[:, 1]) < 8e6 and middle[:, 2].max() <= middle[:, 2].min() + 3


@pytest.mark.long
def test_kills_at_random_moments_lose_nothing():
    """A short form of the 200 on record; VOCALSYNTH_KILLS sets how many."""
    kills = int(os.environ.get("VOCALSYNTH_KILLS", 12))
    command = [sys.executable, str(HERE / "killing.py"), "--kills", str(kills)]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["training"]["killed"] + seen["generation"]["killed"] == kills


@pytest.mark.long
def test_kills_of_every_other_command_lose_nothing():
    """Two levels, prepare, generate, export and sweep: a short form of the 200 on record."""
    command = [sys.executable, str(HERE / "killing.py"), "--commands", "--kills", "12"]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(kind["killed"] for kind in json.loads(done.stdout).values()) >= 11


@pytest.mark.slow
def test_same_seed_same_machine_one_thread_same_bits(tiny_recording, tmp_path):
    ends = []
    for name in ("a", "b"):
        run, out = tmp_path / name, tmp_path / f"{name}.wav"
        both = [train(tiny_recording, "--run", run), ["generate", str(run), str(out), "--seconds", "1"]]
        code = f"from vocalsynth_utils.__main__ import main; print([main(args) for args in {both!r}])"
        environment = dict(ONE_THREAD, PYTHONHASHSEED=str(len(ends)))
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.endswith("[0, 0]\n"), done.stderr
        arrays, _ = checkpoints.read(run / "best.npz")
        ends.append({key: a.tobytes() for key, a in arrays.items() if key not in ("log.duration", "log.cpu_seconds")})
    assert ends[0] == ends[1]
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize(
    "recipe",
    [
        get("2016-small").replace(n_steps=10, n_units=(600, 600)),
        get("samples").replace(n_batch=256, n_steps=150, batches_per_epoch=2),
        get("frames-200").replace(n_batch=256, batches_per_epoch=2),
    ],
    ids=lambda r: r.name,
)
def test_memory_foreseen_is_memory_taken(recipe, tmp_path):
    audio.write(tmp_path / "ar2.wav", synthetic.ar2(50 * 16000, seed=1), 16000)
    changed = [
        f"--set={name}={','.join(map(str, value)) if name == 'n_units' else value}"
        for name, value in recipe.to_dict().items()
        if value != getattr(get(recipe.name), name)
    ]
    options = ["--data", str(tmp_path / "ar2.wav"), "--run", str(tmp_path / "run"), "--epochs", "1"]
    command = [*COMMAND, "train", recipe.name, *changed, *options]
    status, samples = endurance.watch(command, 0.005, env=ONE_THREAD, stdout=subprocess.DEVNULL)
    assert status == 0 and 0.75 < diagnostics.memory_needed(recipe) / samples[:, 1].max() < 1.25


def test_too_little_memory_is_said_before_training_with_what_would_fit(monkeypatch):
    recipe, room = get("2016"), lambda n_bytes: lambda: n_bytes - used_memory()
    monkeypatch.setattr(memory, "free_memory", room(diagnostics.memory_needed(recipe.replace(n_batch=2))))
    with pytest.raises(ValueError, match=r"training needs about .* more memory and .* are free; n_batch=2 would fit"):
        diagnostics.check_memory(recipe.replace(n_batch=2 * 64))
    with pytest.warns(UserWarning, match="n_batch=2 would fit"):
        diagnostics.check_memory(recipe.replace(n_batch=4))
    diagnostics.check_memory(recipe.replace(n_batch=2))
    monkeypatch.setattr(memory, "free_memory", room(300e6))
    with pytest.raises(ValueError, match=r"n_batch=1 with n_units=\d+,\d+,\d+ would fit"):
        diagnostics.check_memory(recipe)


@pytest.mark.slow
def test_a_limit_of_the_process_is_seen_and_training_refused_before_anything_is_written(tiny_recording, tmp_path):
    args = train(tiny_recording, "--run", tmp_path / "run", "--epochs", 1, "--set=n_units=4000,4000")
    limit = "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (2 ** 30, 2 ** 30)); "
    limited = limit + "runpy.run_module('vocalsynth_utils', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", limited, *args], env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "would fit" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()
