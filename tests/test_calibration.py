"""What a run's voice lacks of the one it learned from: found, kept and read."""

import json
import types

import numpy as np
import pytest

from vocalsynth_utils import (
    audio,
    dataset,
    evaluation,
    generation,
    model,
    recipes,
    runs,
    synthetic,
    training,
    world_mdn,
)
from vocalsynth_utils.features import N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import Calibration, calibration, moments, postfilter, rejection
from vocalsynth_utils.world_mdn.postfilter import PostFilter

PITCH = np.stack(
    [np.linspace(4.5, 5.5, len(postfilter.QUANTILES)), np.linspace(4.6, 5.7, len(postfilter.QUANTILES))]
).round(6)
FILTER = PostFilter(PITCH, np.stack([moments.nothing()] * 2) * 1.5, 0.125 * np.eye(N_ENVELOPE))


def test_what_is_kept_is_what_is_read(tmp_path):
    run = types.SimpleNamespace(folder=tmp_path, recipe=types.SimpleNamespace(loss="world"))
    assert world_mdn.load_calibration(run) == (None, None, 0)
    bounds = rejection.Bounds(
        np.array(
            [
                [[0.1, 0.2, -40.0, 4.5], [0.9, 1.7, 3.0, 5.5]],
                [[0.3, 0.5, -30.0, 4.8], [0.8, 1.5, 0.0, 5.3]],
                [[0.4, 0.6, -20.0, 4.9], [0.7, 1.4, -1.0, 5.2]],
            ]
        ),
        -35.5,
    )
    for bounds in (bounds, bounds._replace(rest=None), None):
        kept = Calibration(FILTER, bounds, -0.25)
        calibration.save_calibration(run, kept)
        read = world_mdn.load_calibration(run)
        assert read.voicing == -0.25 and all(np.array_equal(a, b) for a, b in zip(read.postfilter, FILTER))
        assert (
            read.bounds is None
            if bounds is None
            else np.array_equal(read.bounds.spans, bounds.spans) and read.bounds.rest == bounds.rest
        )
    calibration.save_calibration(run, Calibration())
    assert world_mdn.load_calibration(run) == (None, None, 0)


@pytest.mark.parametrize(
    "changed, said",
    [
        (
            {"smoothing": (0.3 * np.eye(N_ENVELOPE)).tolist()},
            "smoothing is not symmetric with directions from 0 to 0.25",
        ),
        ({"smoothing": (-0.1 * np.eye(N_ENVELOPE)).tolist()}, "smoothing is not"),
        ({"smoothing": (0.01 * np.eye(N_ENVELOPE, k=1)).tolist()}, "smoothing is not"),
        ({"smoothing": None}, "smoothing"),
        ({"pitch": None, "smoothing": None}, "pitch"),
        ({"smoothing": 0.1}, "smoothing"),
        ({"correction": [[1, 2]]}, "correction"),
        ({"rest": "quiet"}, "rest"),
        ({"pitch": PITCH[:, ::-1].tolist()}, "pitch does not ascend"),
        ({"voicing": None}, "voicing"),
    ],
)
def test_what_is_something_else_is_refused(tmp_path, changed, said):
    run = types.SimpleNamespace(folder=tmp_path, recipe=types.SimpleNamespace(loss="world"))
    calibration.save_calibration(run, Calibration(FILTER, None, 0.0))
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ValueError, match="calibration.json cannot be used.*" + said):
        world_mdn.load_calibration(run)


def test_a_file_that_lacks_something_is_refused(tmp_path):
    run = types.SimpleNamespace(folder=tmp_path, recipe=types.SimpleNamespace(loss="world"))
    (tmp_path / "calibration.json").write_text('{"correction": null}')
    with pytest.raises(ValueError, match="calibration.json cannot be used.*it lacks 'pitch'"):
        world_mdn.load_calibration(run)


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.4])
def test_voicing_is_moved_until_it_is_as_often_as_wanted(slope):
    def sing(shift):  # a network whose voicing follows otherwise than one to one
        share = 1 / (1 + np.exp(-(1.6 + slope * shift)))
        sung = np.zeros((2, 5000, 3))
        sung[..., VOICING] = np.linspace(0, 1, 5000) < share
        return sung

    shift, sung = calibration._as_often_voiced(sing, 0.75, sing(0.0))
    assert sing(shift)[..., VOICING].mean() == pytest.approx(0.75, abs=0.005) and sung[
        ..., VOICING
    ].mean() == pytest.approx(0.75, abs=0.05)


def test_voicing_that_is_right_but_for_chance_is_left_alone():
    sung = np.zeros((2, 1000, 3))
    sung[:, :753, VOICING] = 1
    assert calibration._as_often_voiced({0.0: "more of it"}.get, 0.75, sung) == (0.0, "more of it")


def test_log_odds_of_voice_are_what_is_added_to():
    recipe = recipes.get("world-mdn").replace(n_units=(8,))
    network = model.build_network(recipe, 3 + N_ENVELOPE)
    primer, numbers = (
        np.zeros((1000, 1, 3 + N_ENVELOPE), np.float32),
        generation.random_numbers(np.random.default_rng(0), 1000, network.head),
    )
    for shift, expected in ((0.0, 0.5), (2.0, 1 / (1 + np.exp(-2.0)))):
        frames, _ = generation.compile_chains(calibration.shift_voicing(network, shift))(primer, None, *numbers)
        assert np.mean(frames[:, VOICING] == network.head.voiced) == pytest.approx(expected, abs=0.04)


def dataset(n_rows):
    """Rows that count themselves, and samples of which each row has 4."""
    rows = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 2, axis=1)
    return types.SimpleNamespace(
        rows=rows,
        samples=(np.arange(4 * n_rows) // 4).astype(np.float32),
        row_length=4,
        ranges={"train": (100, n_rows - 100)},
    )


def test_a_short_training_part_is_heard_whole():
    rows, y = calibration._stretches(dataset(5000), "train", 1200)
    assert np.array_equal(rows[:, 0], np.arange(100, 4900)) and np.array_equal(y, np.repeat(rows[:, 0], 4))


def test_of_a_long_one_as_much_is_heard_from_beginning_to_end():
    rows, y = calibration._stretches(dataset(3_000_000), "train", 1200)
    assert len(rows) == 1200 * 200 and np.array_equal(y, np.repeat(rows[:, 0], 4))
    assert rows[0, 0] == 100 and rows[-1, 0] == 3_000_000 - 101 and np.diff(rows[:, 0]).max() < 200_000


@pytest.mark.parametrize("n_rows", [1000, 200_000, 15_000_000])
def test_what_is_heard_of_the_recording_is_a_quarter_new_and_never_its_test_part(n_rows):
    data = dataset(n_rows)
    n_train, n_valid = n_rows * 8 // 10, n_rows // 10
    data.ranges = {"train": (0, n_train), "valid": (n_train, n_train + n_valid), "test": (n_train + n_valid, n_rows)}
    rows, y = calibration._reference(data)
    assert np.array_equal(y, np.repeat(rows[:, 0], 4)) and rows.max() < n_train + n_valid
    assert np.mean(rows[:, 0] >= n_train) == pytest.approx(calibration.RECENT, abs=0.06)
    assert len(rows) <= 1.5 * calibration.HEARD_SECONDS * 200


def test_a_run_comes_to_sound_as_its_recording(tmp_path):
    """A network that has learned a little: what is done to it makes its sound move no more, and be voiced about as often, as the recording."""
    recipe = recipes.get("world-mdn").replace(n_units=(64,), n_epochs=3)
    audio.write(tmp_path / "song.wav", synthetic.sing(120, seed=4), 16000)
    data = dataset.prepare(tmp_path / "song.wav", recipe, tmp_path / "data")
    list(training.train(recipe, data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    primer = generation.primer_frames(run, data, "valid", 50)
    before = generation.generate(run, 45, primer)
    found = world_mdn.calibrate(run, data)
    smoothed = np.linalg.eigvalsh(found.postfilter.smoothing)
    assert (
        -1e-9 <= smoothed.min()
        and smoothed.max() <= moments.MOST_SMOOTHING + 1e-9
        and found.bounds.spans.shape == (3, 2, 4)
    )
    after = generation.generate(run, 45, primer)
    ref = evaluation.reference(data.signal("train"), data.signal("train"), 16000)
    far, near = (evaluation.evaluate(ref, y) for y in (before, after))
    assert near["ok"] > far["ok"] and near["outside"]["flux"] < far["outside"]["flux"]
    off = [abs(measured["voiced_share"] - measured["voiced_share_real"]) for measured in (far, near)]
    assert off[1] < max(0.05, off[0])


@pytest.mark.parametrize(
    "own, movement", [(1.0, 0.2), (1.2, 0.1)], ids=["as far as the filter goes", "as far as the voice is"]
)
def test_bounds_are_moved_by_what_the_filter_does(monkeypatch, own, movement):
    typical = {"own": [0.6, own, -16.0, 5.1], "sung": [0.7, 1.3, -15.0, 5.3], "filtered": [0.7, 1.1, -17.0, 5.2]}
    monkeypatch.setattr(
        rejection, "typical", lambda voices, recipe: np.array(typical[voices if isinstance(voices, str) else voices[0]])
    )
    bounds = rejection.Bounds(np.zeros((3, 2, 4)), -35.5)
    moved = calibration._unfiltered(bounds, "own", "sung", "filtered", 0.03, None)
    assert np.allclose(moved.spans, [0.03, movement, 2.0, 0.1]) and moved.rest == -35.5
    assert calibration._unfiltered(None, "own", "sung", "filtered", 0.03, None) is None


def test_voices_are_primed_from_all_over_the_training_part(monkeypatch):
    asked = []
    data = types.SimpleNamespace(
        ranges={"train": (100, 40_000)}, rows_per_frame=3, batch=lambda starts, n_steps: asked.append((starts, n_steps))
    )
    recipe = recipes.get("world-mdn").replace(n_units=(8,))
    network = model.build_network(recipe, 3 + N_ENVELOPE)
    monkeypatch.setattr(calibration.stepping, "load_network", lambda run, checkpoint: network)
    monkeypatch.setattr(calibration.stepping, "bounds", lambda run: None)
    monkeypatch.setattr(rejection, "of", lambda run, bounds: None)
    calibration._Chains(types.SimpleNamespace(recipe=recipe), data, "best", None)
    ((starts, n_steps),) = asked
    assert (
        len(starts) == calibration.N_CHAINS
        and starts[0] == 100
        and starts[-1] == 40_000 - 3 * n_steps
        and np.ptp(np.diff(starts)) <= 1
    )
