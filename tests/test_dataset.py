"""From a recording to batches: what stands on disk, what a batch holds, what is reused, and what cannot be used."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from tiny import TINY

from vocalsynth_utils import audio, baselines, dataset, synthetic
from vocalsynth_utils.recipes import get

RECIPE = get("2016-small").replace(frame_length=100, n_steps=10, n_offsets=1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "noise.wav"
    audio.write(path, np.random.default_rng(0).normal(0.01, 0.1, 40000).astype(np.float32), 16000)
    return path


@pytest.fixture(scope="module")
def data(recording):
    return dataset.prepare(recording, RECIPE, recording.parent / "prepared")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return synthetic.write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", 20)


@pytest.fixture(scope="module")
def world(voice):
    return dataset.prepare(voice, get("world-mdn").replace(n_steps=20), voice.parent / "world")


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


def test_world_rows_are_split_before_they_are_analysed(voice, world):
    assert world.rows.shape == (4000, 63) and world.rows_per_frame == 3
    assert world.ranges == {"train": (0, 3200), "valid": (3200, 3600), "test": (3600, 4000)}
    assert np.array_equal(np.concatenate([world.signal(s) for s in dataset.SPLITS]), audio.read(voice))
    X = world.batch(world.starts("train", 20), 20)
    assert abs(X.mean()) < 0.2 and 0.5 < X.std() < 1.5
    low, high = np.array(world.limits)
    assert (low <= high).all() and world.rows_per_frame * 20 < len(world.rows)


def test_what_is_written_is_named_limits_and_says_its_analysis(data, world):
    for each in (data, world):
        meta = json.loads((each.folder / "dataset.json").read_text())
        assert meta["analysis"] == dataset.ANALYSIS and "bounds" not in meta and meta["limits"] == each.limits
    assert data.limits is None


def test_mean_baseline_is_the_parts_power_over_the_variance(recording, data):
    y = audio.read(recording).astype(float)
    valid = y[32000:36000].reshape(4, 10, 100)[:, 1:]
    expected = np.mean((valid - y[:32000].mean()) ** 2) / y[:32000].var()
    assert baselines.losses(data, 10)["mean"] == pytest.approx(expected, rel=1e-3)


def test_repeat_baseline_is_perfect_on_a_tone_of_the_frames_own_period(tmp_path):
    t = np.arange(40000)
    audio.write(tmp_path / "tone.wav", (0.5 * np.sin(2 * np.pi * t / 50)).astype(np.float32), 16000)
    data = dataset.prepare(tmp_path / "tone.wav", RECIPE, tmp_path / "tone")
    losses = baselines.losses(data, 10)
    assert losses["repeat"] < 1e-6 and losses["linear"] < 1e-2 and losses["mean"] == pytest.approx(1, rel=1e-2)


def test_linear_baseline_reaches_the_known_optimum_of_an_autoregression(tmp_path):
    y = synthetic.ar2(160000, seed=3)
    audio.write(tmp_path / "ar2.wav", y, 16000)
    data = dataset.prepare(tmp_path / "ar2.wav", RECIPE.replace(frame_length=20, n_steps=50), tmp_path / "ar2")
    assert baselines.losses(data, 50)["linear"] == pytest.approx(synthetic.ar2_optimum(20), rel=0.1)


def test_features_have_baselines_too(world):
    losses = baselines.losses(world, 5)
    assert losses["linear"] < min(losses["repeat"], losses["mean"])


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
    y = np.random.default_rng(1).normal(0, 0.1, int(seconds * 16000)).astype(np.float32)
    audio.write(tmp_path / "short.wav", y, 16000)
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
    data.check_fits(RECIPE)
    with pytest.raises(ValueError, match="frame_length=100"):
        data.check_fits(RECIPE.replace(frame_length=200))


def test_too_few_sequences_for_a_recipe_are_refused(data):
    data.check_enough(RECIPE)
    with pytest.raises(ValueError, match="use n_batch <= 32, more offsets or a longer recording"):
        data.check_enough(RECIPE.replace(n_batch=33))
    data.check_enough(RECIPE.replace(n_batch=33, batches_per_epoch=1))  # of random positions there are enough
    with pytest.raises(ValueError, match="the valid part holds 0.25 s, .* use n_steps <= 40"):
        data.check_enough(RECIPE.replace(n_steps=41))


@pytest.mark.slow
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


@pytest.fixture
def analyses(monkeypatch):
    """The folders that recordings were analysed for, as they are."""
    seen, real = [], dataset._analyse

    def analyse(opened, recording, recipe, folder, *more):
        seen.append(folder)
        return real(opened, recording, recipe, folder, *more)

    monkeypatch.setattr(dataset, "_analyse", analyse)
    return seen


@pytest.fixture
def prepared(recording, analyses, tmp_path):
    """A recording and its dataset, of this test's own."""
    mine = tmp_path / "mine.wav"
    shutil.copy2(recording, mine)
    made = dataset.prepare(mine, RECIPE, tmp_path / "a")
    assert analyses == [tmp_path / "a"]
    analyses.clear()
    return mine, made


def test_an_equal_dataset_in_its_folder_is_taken_as_it_is(prepared, analyses, tmp_path):
    mine, made = prepared
    before = {path.name: path.stat() for path in made.folder.iterdir()}
    again = dataset.prepare(mine, RECIPE.replace(n_units=(3,), n_steps=7), made.folder)  # no matter of a dataset's
    assert not analyses and np.array_equal(again.rows, made.rows)
    assert {path.name: path.stat() for path in made.folder.iterdir()} == before
    (made.folder / "reference.npz").write_bytes(b"what an evaluation left there")
    dataset.prepare(mine, RECIPE, made.folder)
    assert not analyses and (made.folder / "reference.npz").exists()


def test_what_is_taken_must_be_long_enough_for_this_recipe_too(prepared, analyses):
    mine, made = prepared
    with pytest.raises(ValueError, match="n_steps <= 40"):
        dataset.prepare(mine, RECIPE.replace(n_steps=41), made.folder)
    assert len(dataset.load(made.folder).rows) == 40000 and not analyses


@pytest.mark.parametrize("kind", ["raw", "fft"])
def test_an_equal_dataset_elsewhere_is_linked(kind, recording, voice, analyses, tmp_path, recwarn):
    source, recipe = (recording, RECIPE) if kind == "raw" else (voice, get("fft-mixture").replace(n_steps=4, n_batch=1))
    made = dataset.prepare(source, recipe, tmp_path / "a")
    (made.folder / "reference.npz").write_bytes(b"of the same voice")
    again = dataset.prepare(source, recipe, tmp_path / "deeper" / "b", [tmp_path / "none", recording, made.folder])
    assert analyses == [made.folder] and np.array_equal(again.rows, made.rows) and again.scaling == made.scaling
    names = {path.name for path in made.folder.iterdir()}
    assert {path.name for path in again.folder.iterdir()} == names
    assert names == {"dataset.json", "signal.npy", "reference.npz"} | ({"rows.npy"} if kind == "fft" else set())
    for name in names - {"dataset.json"}:
        assert (again.folder / name).samefile(made.folder / name)
    assert again.source["path"] == os.path.relpath(source, again.folder) and not recwarn.list


def test_what_differs_is_analysed_anew(prepared, analyses, recording, tmp_path, monkeypatch):
    mine, made = prepared
    (made.folder / "reference.npz").write_bytes(b"of what was there before")
    for i, change in enumerate(("scaling", "recording", "date", "analysis", "damage")):
        recipe, source = RECIPE, mine
        if change == "scaling":
            recipe = RECIPE.replace(scaling="std")
        elif change == "recording":
            source = tmp_path / "another.wav"
            shutil.copy2(recording, source)
        elif change == "date":
            os.utime(mine, ns=(1, 1))
        elif change == "analysis":
            monkeypatch.setattr(dataset, "ANALYSIS", dataset.ANALYSIS + 1)
        else:
            np.save(made.folder / "signal.npy", np.zeros(10, np.int16))
        dataset.prepare(source, recipe, tmp_path / f"new-{i}", [made.folder])
        assert analyses.pop() == tmp_path / f"new-{i}", change
        dataset.prepare(source, recipe, made.folder)
        assert analyses.pop() == made.folder and not (made.folder / "reference.npz").exists(), change
    assert dataset.load(made.folder).settings["scaling"] == RECIPE.scaling


@pytest.mark.parametrize("room", [0, 3])
def test_a_recorder_that_was_not_stopped_is_refused_with_the_place_to_cut(tmp_path, room):
    rng, sr = np.random.default_rng(0), 16000
    sound = synthetic.ar2(60 * sr, seed=1)
    y = np.concatenate([audio.to_int16(sound), np.round(rng.normal(0, room, 25 * sr)).astype(np.int16)])
    audio.write(tmp_path / "tail.wav", y, sr)
    said = r"tail\.wav: the valid part \(68 to 76 s\) is silent, .* the sound ends at 60 s: cut the recording there"
    with pytest.raises(ValueError, match=said):
        dataset.prepare(tmp_path / "tail.wav", TINY, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    audio.write(tmp_path / "cut.wav", y[: 60 * sr], sr)
    dataset.prepare(tmp_path / "cut.wav", TINY, tmp_path / "data")


def test_a_silent_part_with_sound_after_it_is_cut_out(tmp_path):
    y = audio.to_int16(synthetic.ar2(100 * 16000, seed=1))
    y[75 * 16000 : 92 * 16000] = 0
    audio.write(tmp_path / "hole.wav", y, 16000)
    with pytest.raises(ValueError, match=r"the valid part .* cut out the silence from 75 to 92 s"):
        dataset.prepare(tmp_path / "hole.wav", TINY, tmp_path / "data")


def test_of_a_recording_that_is_nearly_all_silence_the_longest_stretch_is_named(tmp_path, recwarn):
    y = np.zeros(200 * 16000, np.int16)
    for start, seconds in ((0, 3), (190, 5)):
        sound = audio.to_int16(synthetic.ar2(seconds * 16000, seed=1))
        y[start * 16000 : (start + seconds) * 16000] = sound
    audio.write(tmp_path / "rare.wav", y, 16000)
    with pytest.raises(ValueError, match=r"the train part \(0 to 160 s\) .* cut out the silence from 3 to 190 s"):
        dataset.prepare(tmp_path / "rare.wav", TINY, tmp_path / "data")
    assert not recwarn.list


@pytest.mark.slow
def test_hum_and_whisper_are_said_at_prepare(tmp_path):
    t, recipe = np.arange(30 * 16000) / 16000, get("world-mdn").replace(n_steps=20, n_batch=2)
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 5))
    song, noise = synthetic.sing(30, seed=3), 0.05 * np.random.default_rng(0).normal(size=len(t))
    for name, y, line in (
        ("hum", song + 0.01 * hum, "hum.wav: mains hum, 2. dB below the voice"),
        ("whisper", noise, "whisper.wav: a pitch of 50 to 1100 Hz is found in 0.0% of it"),
    ):
        audio.write(tmp_path / f"{name}.wav", y, 16000)
        with pytest.warns(UserWarning, match=line):
            dataset.prepare(tmp_path / f"{name}.wav", recipe, tmp_path / name)


@pytest.mark.parametrize("n", [1, 60, 61, 62, 15999, 16000, 16001, 16060, 40000])
def test_a_recording_of_any_length_is_heard(n):
    y = np.zeros(n, np.int16)
    y[1::2] = 1000  # none of the first few that are looked at
    audio.check_heard(y, 16000, {"train": slice(0, n)}, "any.wav")
