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

from vocalsynth_utils import audio, diagnostics, synthetic
from vocalsynth_utils.diagnostics import memory
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import checkpoints
from vocalsynth_utils.storage import used_memory

HERE = Path(__file__).resolve().parent
ONE_THREAD = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONPATH=str(HERE.parent))
TINY = [
    "2016-small",
    *(f"--set={s}" for s in ("frame_length=20", "n_steps=12", "n_offsets=1", "n_units=12", "n_batch=8")),
]


def train(folder, *options, **environment):
    """The command that trains a tiny recipe, and its environment."""
    return [
        sys.executable,
        "-m",
        "vocalsynth_utils",
        "train",
        *TINY,
        "--data",
        str(folder / "ar2.wav"),
        *map(str, options),
    ], dict(ONE_THREAD, **environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endurance")
    audio.write(folder / "ar2.wav", synthetic.ar2(20000, seed=1), 16000)
    return folder


def test_every_test_named_in_the_fault_table_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (HERE.parent / "docs" / "robustness.md").read_text())
    assert len(named) > 25
    for file, test in named:
        assert f"\ndef {test}(" in (HERE / file).read_text(), f"{file}::{test}"


def test_memory_and_open_files_are_flat_over_three_hundred_epochs(folder):
    command, environment = train(folder, "--run", folder / "long", "--epochs", 300)
    status, samples = endurance.watch(command, 0.02, env=environment, stdout=subprocess.DEVNULL)
    assert status == 0
    log = (folder / "long" / "log.csv").read_text().splitlines()
    assert len(log) == 301
    middle = samples[len(samples) // 2 : len(samples) * 9 // 10]  # trained in; and before the result is measured
    assert np.ptp(middle[:, 1]) < 8e6 and middle[:, 2].max() <= middle[:, 2].min() + 3


def test_kills_at_random_moments_lose_nothing():
    """A short form of the 200 on record; VOCALSYNTH_KILLS sets how many."""
    kills = int(os.environ.get("VOCALSYNTH_KILLS", 6))
    done = subprocess.run(
        [sys.executable, str(HERE / "killing.py"), "--kills", str(kills)],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["training"]["killed"] + seen["generation"]["killed"] == kills


def test_same_seed_same_machine_one_thread_same_bits(folder):
    ends = []
    for name in ("a", "b"):
        command, environment = train(folder, "--run", folder / name, "--epochs", 3, PYTHONHASHSEED=str(len(ends)))
        subprocess.run(command, env=environment, check=True, capture_output=True)
        arrays, _ = checkpoints.read(folder / name / "best.npz")
        ends.append({key: a.tobytes() for key, a in arrays.items() if key not in ("log.duration", "log.cpu_seconds")})
        subprocess.run(
            [
                sys.executable,
                "-m",
                "vocalsynth_utils",
                "generate",
                str(folder / name),
                str(folder / f"{name}.wav"),
                "--seconds",
                "1",
            ],
            env=environment,
            check=True,
            capture_output=True,
        )
    assert ends[0] == ends[1]
    assert (folder / "a.wav").read_bytes() == (folder / "b.wav").read_bytes()


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
    status, samples = endurance.watch(
        [
            sys.executable,
            "-m",
            "vocalsynth_utils",
            "train",
            recipe.name,
            *changed,
            "--data",
            str(tmp_path / "ar2.wav"),
            "--run",
            str(tmp_path / "run"),
            "--epochs",
            "1",
        ],
        0.005,
        env=ONE_THREAD,
        stdout=subprocess.DEVNULL,
    )
    assert status == 0 and 0.75 < diagnostics.memory_needed(recipe) / samples[:, 1].max() < 1.25


def test_too_little_memory_is_said_before_training_with_what_would_fit(monkeypatch):
    recipe = get("2016")
    monkeypatch.setattr(
        memory, "free_memory", lambda: diagnostics.memory_needed(recipe.replace(n_batch=2)) - used_memory()
    )
    with pytest.raises(ValueError, match=r"training needs about .* more memory and .* are free; n_batch=2 would fit"):
        diagnostics.check_memory(recipe.replace(n_batch=2 * 64))
    with pytest.warns(UserWarning, match="n_batch=2 would fit"):
        diagnostics.check_memory(recipe.replace(n_batch=4))
    diagnostics.check_memory(recipe.replace(n_batch=2))
    monkeypatch.setattr(memory, "free_memory", lambda: 300e6 - used_memory())
    with pytest.raises(ValueError, match=r"n_batch=1 with n_units=\d+,\d+,\d+ would fit"):
        diagnostics.check_memory(recipe)


def test_a_limit_of_the_process_is_seen_and_training_refused_before_anything_is_written(folder, tmp_path):
    command, environment = train(folder, "--run", tmp_path / "run", "--epochs", 1, "--set=n_units=4000,4000")
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (2 ** 30, 2 ** 30)); runpy.run_module('vocalsynth_utils', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", limited, *command[3:]], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "would fit" in done.stderr, done.stderr
    assert not (tmp_path / "run").exists()
