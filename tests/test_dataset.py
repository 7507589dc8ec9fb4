"""From a recording to batches: what stands on disk, what a batch holds, and what cannot be used."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import audio, baselines, dataset, synthetic
from vocalsynth_utils.recipes import get
from vocalsynth_utils.synthetic import write_voice

RECIPE = get("2016-small").replace(frame_length=100, n_steps=10, n_offsets=1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "noise.wav"
    audio.write(path, np.random.default_rng(0).normal(0.01, 0.1, 40000).astype(np.float32), 16000)
    return path


@pytest.fixture(scope="module")
def data(recording):
    return dataset.prepare(recording, RECIPE, recording.parent / "prepared")


def test_rows_are_the_recording_itself(recording, data):
    y = audio.read(recording)
    assert data.rows.dtype == np.int16 and np.array_equal(dataset.as_float(data.rows), y)
    assert data.ranges == {"train": (0, 32000), "valid": (32000, 36000), "test": (36000, 40000)}


def test_scaling_is_fitted_on_the_train_part_alone(recording, data):
    train = audio.read(recording)[:32000].astype(float)
    assert data.variance == pytest.approx(train.var() / (train.max() - train.min()) ** 2, rel=1e-5)


def test_batch_holds_the_scaled_samples_at_its_starts(recording, data):
    y = audio.read(recording)
    X = data.batch(np.array([0, 5000]), 10)
    assert X.shape == (2, 10, 100) and X.dtype == np.float32
    train = y[:32000].astype(float)
    expected = (y[5000:6000] - train.mean()) / (train.max() - train.min())
    assert np.allclose(X[1].ravel(), expected, atol=1e-6)


def test_sequences_stay_inside_their_part_whatever_the_offset(data):
    for split, (first, end) in data.ranges.items():
        starts = data.starts(split, 10, n_offsets=7)
        assert starts.min() >= first and starts.max() + 1000 <= end
    shifts = sorted({s % 1000 for s in data.starts("train", 10, n_offsets=6)})
    assert shifts == [0, 16, 33, 50, 66, 83]


def test_dataset_loads_as_it_was_prepared(data):
    again = dataset.load(data.folder)
    assert again.scaling == data.scaling and again.ranges == data.ranges and np.array_equal(again.rows, data.rows)


def test_world_rows_are_split_before_they_are_analysed(recording, tmp_path):
    voice = tmp_path / "tone.wav"
    t = np.arange(16000 * 20) / 16000
    audio.write(
        voice, (0.3 * scipy.signal.sawtooth(2 * np.pi * 150 * t) * (np.sin(t * 3) > -0.5)).astype(np.float32), 16000
    )
    recipe = get("world-mdn").replace(n_steps=20)
    data = dataset.prepare(voice, recipe, tmp_path / "world")
    assert data.rows.shape == (4000, 27) and data.rows_per_frame == 3
    assert data.ranges == {"train": (0, 3200), "valid": (3200, 3600), "test": (3600, 4000)}
    assert np.array_equal(np.concatenate([data.signal(s) for s in dataset.SPLITS]), audio.read(voice))
    X = data.batch(data.starts("train", 20), 20)
    assert abs(X.mean()) < 0.2 and 0.5 < X.std() < 1.5
    low, high = np.array(data.bounds)
    assert (low <= high).all() and data.rows_per_frame * 20 < len(data.rows)


def test_mean_baseline_is_the_parts_power_over_the_variance(recording, data):
    y = audio.read(recording).astype(float)
    valid = y[32000:36000].reshape(4, 10, 100)[:, 1:]
    expected = np.mean((valid - y[:32000].mean()) ** 2) / y[:32000].var()
    assert baselines.baselines(data, 10)["mean"] == pytest.approx(expected, rel=1e-3)


def test_repeat_baseline_is_perfect_on_a_tone_of_the_frames_own_period(tmp_path):
    t = np.arange(40000)
    audio.write(tmp_path / "tone.wav", (0.5 * np.sin(2 * np.pi * t / 50)).astype(np.float32), 16000)
    data = dataset.prepare(tmp_path / "tone.wav", RECIPE, tmp_path / "tone")
    losses = baselines.baselines(data, 10)
    assert losses["repeat"] < 1e-6 and losses["linear"] < 1e-2 and losses["mean"] == pytest.approx(1, rel=1e-2)


def test_linear_baseline_reaches_the_known_optimum_of_an_autoregression(tmp_path):
    y = synthetic.ar2(160000, seed=3)
    audio.write(tmp_path / "ar2.wav", y, 16000)
    data = dataset.prepare(tmp_path / "ar2.wav", RECIPE.replace(frame_length=20, n_steps=50), tmp_path / "ar2")
    assert baselines.baselines(data, 50)["linear"] == pytest.approx(synthetic.ar2_optimum(20), rel=0.1)


def test_features_have_baselines_too(recording, tmp_path):
    recipe = get("world-mdn").replace(n_steps=5)
    voice = write_voice(tmp_path / "voice.wav", 30)
    losses = baselines.baselines(dataset.prepare(voice, recipe, tmp_path / "w"), 5)
    assert losses["linear"] < losses["repeat"] < losses["mean"]


@pytest.mark.parametrize(
    "seconds, changes, words",
    [
        (0.01, {}, "less than one sequence|fewer"),
        (2.0, dict(frame_length=1500), "n_steps <= 2"),
        (2.0, dict(frame_length=3000), "frame_length <= 320"),
        (2.0, dict(n_steps=500), "n_steps <= "),
    ],
)
def test_too_short_a_recording_is_said_and_leaves_nothing(tmp_path, seconds, changes, words):
    audio.write(
        tmp_path / "short.wav", np.random.default_rng(1).normal(0, 0.1, int(seconds * 16000)).astype(np.float32), 16000
    )
    with pytest.raises(ValueError, match=words):
        dataset.prepare(tmp_path / "short.wav", RECIPE.replace(**changes), tmp_path / "out")
    assert os.listdir(tmp_path) == ["short.wav"]


def test_failure_leaves_the_dataset_that_stood_there(recording, tmp_path):
    out = tmp_path / "out"
    dataset.prepare(recording, RECIPE, out)
    audio.write(tmp_path / "short.wav", np.random.default_rng(1).normal(0, 0.1, 1600).astype(np.float32), 16000)
    with pytest.raises(ValueError):
        dataset.prepare(tmp_path / "short.wav", RECIPE, out)
    assert len(dataset.load(out).rows) == 40000
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no dataset"):
        dataset.prepare(recording, RECIPE, tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_damaged_dataset_is_said(data, tmp_path):
    with pytest.raises(ValueError, match="no prepared dataset"):
        dataset.load(tmp_path)
    (tmp_path / "dataset.json").write_text((data.folder / "dataset.json").read_text())
    np.save(tmp_path / "signal.npy", np.zeros(10, np.int16))
    with pytest.raises(ValueError, match="is damaged"):
        dataset.load(tmp_path)


def test_dataset_made_for_other_frames_is_refused(data):
    with pytest.raises(ValueError, match="frame_length=100"):
        dataset.check_fits(data, RECIPE.replace(frame_length=200))


def test_memory_stays_small_on_a_long_recording(tmp_path):
    """An hour of int16 is 115 MB; as float32 it would be 230, in float64 460."""
    code = f"""
import resource, numpy as np, vocalsynth_utils
from vocalsynth_utils import audio, dataset
from vocalsynth_utils.recipes import get
block = np.random.default_rng(0).integers(-9000, 9000, 16000 * 60).astype(np.int16)
with audio.writer({str(tmp_path / "long.wav")!r}, 16000) as w:
    for _ in range(60):
        w.write(block)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = dataset.prepare({str(tmp_path / "long.wav")!r}, get("2016"), {str(tmp_path / "long")!r})
assert data.batch(data.starts("valid", 50)[:2], 50).shape == (2, 50, 16000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    megabytes = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert megabytes < 200


def test_a_new_dataset_in_new_folders_says_nothing_of_its_recording(tmp_path, recwarn):
    here = tmp_path / "a" / "b"
    here.mkdir(parents=True)
    audio.write(here / "y.wav", np.sin(np.arange(16000) / 5) / 2, 16000)
    (tmp_path / "y.wav").write_bytes(b"another one, where the path from a folder less deep leads")
    recipe = get("2016-small").replace(frame_length=100, n_steps=4, n_offsets=1, n_batch=1)
    made = dataset.prepare(here / "y.wav", recipe, here / "new" / "newer" / "d")
    assert made.source["bytes"] == (here / "y.wav").stat().st_size and not recwarn.list
