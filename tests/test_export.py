"""A run shared by its parameters alone still generates the same sound."""

import json

import numpy as np
import pytest

from vocalsynth_utils import generation, runs


def test_the_copy_generates_the_same_and_holds_no_optimiser(tiny_run, tmp_path):
    run = runs.open_run(tiny_run)
    shared = runs.export(run, tmp_path / "shared")
    opened = runs.open_run(tmp_path / "shared")
    primer = generation.primer_frames(opened, None, "none", 1)
    assert np.array_equal(generation.generate(opened, 0.5, primer), generation.generate(run, 0.5, primer))
    arrays, meta = shared.load("best")
    assert any(name.startswith("optimiser") for name in run.load("best")[0])
    assert arrays and not [name for name in arrays if name.startswith(("optimiser", "log"))]
    assert meta["epoch"] == run.result()["best_epoch"]
    assert len(opened.log()) == 3 and opened.result() == run.result()


def test_the_copy_names_no_folder_of_this_machine(tiny_run, tmp_path):
    described = json.loads((tiny_run / "recipe.json").read_text())
    described["data"]["folder"] = "../elsewhere"
    (tiny_run / "recipe.json").write_text(json.dumps(described))
    runs.export(runs.open_run(tiny_run), tmp_path / "shared")
    assert json.loads((tmp_path / "shared" / "recipe.json").read_text())["data"]["folder"] == "dataset"
    assert not [f.name for f in (tmp_path / "shared").iterdir() if b"elsewhere" in f.read_bytes()]


def test_a_folder_that_holds_a_run_is_left_alone(tiny_run, tmp_path):
    run = runs.open_run(tiny_run)
    runs.export(run, tmp_path / "shared")
    with pytest.raises(ValueError, match="holds a run"):
        runs.export(run, tmp_path / "shared")
