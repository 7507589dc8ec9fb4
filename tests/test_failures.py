"""The famous failures come back, each in seconds: what the recipes' purposes say is so."""

import numpy as np
import pytest

from vocalsynth_utils import dataset, generation, plots, runs, synthetic, training
from vocalsynth_utils.evaluation import descriptors
from vocalsynth_utils.recipes import get

pytestmark = pytest.mark.long
SECONDS = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(name, seconds)`: the held-out voice, what a recipe makes after a short training, its run and dataset."""
    folder = tmp_path_factory.mktemp("failures")
    recording = synthetic.write_voice(folder / "voice.wav", SECONDS)

    def make(name, seconds=6.0, **changes):
        recipe = get(name).replace(**changes)
        kept = folder / f"{recipe.features}-{recipe.frame_length}"
        data = dataset.load(kept) if kept.exists() else dataset.prepare(recording, recipe, kept)
        list(training.train(recipe, data, folder / name))
        run = runs.open_run(folder / name)
        primer = generation.primer_frames(run, data, "valid", min(200, data.n_frames("valid")))
        return data.signal("test"), generation.generate(run, seconds, primer), run, data

    return make


def error(run):
    """Squared error on valid over that of saying the mean."""
    result = run.result()
    return result["valid_error_over_variance"] / result["valid_baselines"]["mean"]


def flatness(y):
    return np.median(descriptors.windows(y, 16000)[:, 1])


def test_raw_frames_with_squared_error_learn_and_fall_into_an_attractor(made):
    real, y, run, _ = made("frames-200", n_epochs=8)
    assert error(run) < 0.7 and plots.recurrence(y) < 0.1 * real.std() < plots.recurrence(real)


def test_a_gaussian_on_raw_frames_is_noise(made):
    real, y, run, _ = made("frames-200-gaussian", n_epochs=8)
    assert error(run) < 0.8 and flatness(y) > flatness(real) + 6 and y[-16000:].std() > 0.2 * real.std()


def test_squared_error_on_world_frames_ends_in_a_loop(made):
    _, _, run, data = made("world-mse", n_epochs=4)
    primer = generation.primer_frames(run, data, "valid", 200)
    frames = generation.free_run(generation.compile_step(generation.load_network(run)), primer, 1500)
    again = [plots.recurrence(x.ravel(), length=20 * x.shape[1], farthest=150 * x.shape[1]) for x in (frames, primer)]
    assert error(run) < 0.8 and again[0] < 0.5 * again[1]


def test_residual_means_blow_up_and_absolute_ones_do_not(made):
    largest = {}
    for name in ("world-residual", "world-absolute"):
        _, _, run, data = made(name, seconds=1.0, n_epochs=4)
        primer = generation.primer_frames(run, data, "valid", 200)
        frames = generation.free_run(generation.compile_step(generation.load_network(run)), primer, 2000)
        largest[name] = np.abs(frames[-500:]).max()
        assert error(run) < 0.8
    assert largest["world-residual"] > 12 > largest["world-absolute"]


def test_one_sample_a_step_has_a_tiny_loss_and_an_attractor(made):
    real, y, run, _ = made("samples", seconds=1.0, n_epochs=4)
    assert error(run) < 0.2 and plots.recurrence(y) < 0.15 * real.std()
