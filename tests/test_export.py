"""A run shared by its parameters alone still sings the same song."""

import json

import numpy as np
import pytest

from vocalsynth_utils import dataset, generation, runs, synthetic, training
from vocalsynth_utils.recipes import get


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    recipe = get("frames-200-gaussian").replace(n_units=(8,), batches_per_epoch=2, n_epochs=1)
    data = dataset.prepare(synthetic.write_voice(folder / "voice.wav", 12), recipe, folder / "elsewhere")
    list(training.train(recipe, data, folder / "run"))
    return runs.open_run(folder / "run")


def test_the_copy_sings_the_same_and_holds_no_optimiser(run, tmp_path):
    shared = runs.export(run, tmp_path / "shared")
    opened = runs.open_run(tmp_path / "shared")
    primer = generation.primer_frames(opened, None, "none", 1)
    assert np.array_equal(generation.generate(opened, 0.5, primer), generation.generate(run, 0.5, primer))
    arrays, meta = shared.load("best")
    assert arrays and not [name for name in arrays if name.startswith("optimiser")] and meta["epoch"] == 1
    assert len(opened.log()) == 1 and opened.result() == run.result()


def test_the_copy_names_no_folder_of_this_machine(run, tmp_path):
    runs.export(run, tmp_path / "shared")
    assert json.loads((tmp_path / "shared" / "recipe.json").read_text())["data"]["folder"] == "dataset"
    assert not [f.name for f in (tmp_path / "shared").iterdir() if b"elsewhere" in f.read_bytes()]


def test_a_folder_that_holds_a_run_is_left_alone(run, tmp_path):
    runs.export(run, tmp_path / "shared")
    with pytest.raises(ValueError, match="holds a run"):
        runs.export(run, tmp_path / "shared")
