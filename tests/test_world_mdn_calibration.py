"""What a run's voice lacks of the one it learned from: measured, kept, read, and made up for."""

import json
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from vocalsynth_utils import (
    audio,
    dataset,
    evaluation,
    generation,
    model,
    pipeline,
    recipes,
    runs,
    synthetic,
    world_mdn,
)
from vocalsynth_utils.features import N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import Calibration, calibration, postfilter, rejection
from vocalsynth_utils.world_mdn.moments import AffineMap

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "pretrained" / "world-mdn"
N_QUANTILES = len(postfilter.QUANTILES)
PITCH = np.stack([np.linspace(4.5, 5.5, N_QUANTILES), np.linspace(4.6, 5.7, N_QUANTILES)]).round(6)
HALF_AS_WIDE = AffineMap(np.zeros(N_ENVELOPE), 1.5 * np.eye(N_ENVELOPE))
FILTER = postfilter.PostFilter(PITCH, (AffineMap.identity(), HALF_AS_WIDE), 0.125 * np.eye(N_ENVELOPE))
SECOND = [[0.1, 0.2, -40.0, 4.5], [0.9, 1.7, 3.0, 5.5]]
TWENTY = [[0.3, 0.5, -30.0, 4.8], [0.8, 1.5, 0.0, 5.3]]
TWO_MINUTES = [[0.4, 0.6, -20.0, 4.9], [0.7, 1.4, -1.0, 5.2]]
REGION = rejection.Region(np.array([SECOND, TWENTY, TWO_MINUTES]), -35.5)


@pytest.fixture
def run(tmp_path):
    return types.SimpleNamespace(folder=tmp_path, recipe=types.SimpleNamespace(has_world_heads=True))


@pytest.mark.parametrize("region", [REGION, REGION._replace(pause=None), None])
def test_what_is_kept_is_what_is_read(run, region):
    assert world_mdn.load_calibration(run) == (None, None, 0, None)
    calibration.save_calibration(run, Calibration(FILTER, region, -0.25, -23.5))
    read = world_mdn.load_calibration(run)
    assert read.voicing == -0.25 and read.level == -23.5
    pitch, correction, smoothing = read.postfilter
    assert np.array_equal(pitch, FILTER.pitch) and np.array_equal(smoothing, FILTER.smoothing)
    assert all(np.array_equal(*pair) for maps in zip(correction, FILTER.correction) for pair in zip(*maps))
    if region is None:
        assert read.region is None
    else:
        assert np.array_equal(read.region.spans, region.spans) and read.region.pause == region.pause
    calibration.save_calibration(run, Calibration())
    assert world_mdn.load_calibration(run) == (None, None, 0, None)


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
        ({"pause": "quiet"}, "pause"),
        ({"pitch": PITCH[:, ::-1].tolist()}, "pitch does not ascend"),
        ({"voicing": None}, "voicing"),
    ],
)
def test_what_is_something_else_is_refused(run, changed, said):
    calibration.save_calibration(run, Calibration(FILTER, None, 0.0))
    path = run.folder / "calibration.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ValueError, match="calibration.json cannot be used.*" + said):
        world_mdn.load_calibration(run)


def test_a_file_that_lacks_something_is_refused(run):
    (run.folder / "calibration.json").write_text('{"correction": null}')
    with pytest.raises(ValueError, match="calibration.json cannot be used.*it lacks 'pitch'"):
        world_mdn.load_calibration(run)


def test_a_file_from_before_levels_were_kept_is_read(run):
    calibration.save_calibration(run, Calibration(FILTER, REGION, 0.0, -20.0))
    held = json.loads((run.folder / "calibration.json").read_text())
    assert held.pop("level") == -20
    (run.folder / "calibration.json").write_text(json.dumps(held))
    assert world_mdn.load_calibration(run).level is None


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.4])
def test_voicing_is_moved_until_it_is_as_often_as_wanted(slope):
    def draw(shift):  # a network whose voicing follows otherwise than one to one
        share = 1 / (1 + np.exp(-(1.6 + slope * shift)))
        drawn = np.zeros((2, 5000, 3))
        drawn[..., VOICING] = np.linspace(0, 1, 5000) < share
        return drawn

    shift, drawn = calibration._as_often_voiced(draw, 0.75, draw(0.0))
    assert draw(shift)[..., VOICING].mean() == pytest.approx(0.75, abs=0.005)
    assert drawn[..., VOICING].mean() == pytest.approx(0.75, abs=0.05)


def test_voicing_that_is_right_but_for_chance_is_left_alone():
    drawn = np.zeros((2, 1000, 3))
    drawn[:, :753, VOICING] = 1
    assert calibration._as_often_voiced({0.0: "more of it"}.get, 0.75, drawn) == (0.0, "more of it")


@pytest.fixture(scope="module")
def network():
    return model.build_network(recipes.get("world-mdn").replace(n_units=(8,)), 3 + N_ENVELOPE)


def test_log_odds_of_voice_are_what_is_added_to(network):
    primer, step = np.zeros((1000, 1, 3 + N_ENVELOPE), np.float32), generation.compile_chains(network)
    numbers = generation.random_numbers(np.random.default_rng(0), 1000, network.head)
    for shift, expected in ((0.0, 0.5), (2.0, 1 / (1 + np.exp(-2.0)))):
        calibration.shift_voicing(network, shift)
        frames, _ = step(primer, None, *numbers)
        assert np.mean(frames[:, VOICING] == network.head.voiced) == pytest.approx(expected, abs=0.04)


def counted(n_rows, **ranges):
    """Rows that count themselves, and samples of which each row has 4."""
    rows = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 2, axis=1)
    samples = (np.arange(4 * n_rows) // 4).astype(np.float32)
    return types.SimpleNamespace(rows=rows, samples=samples, row_length=4, ranges=ranges)


def test_of_a_short_training_part_all_is_compared_with():
    rows, y = calibration._stretches(counted(5000, train=(100, 4900)), "train", 1200)
    assert np.array_equal(rows[:, 0], np.arange(100, 4900)) and np.array_equal(y, np.repeat(rows[:, 0], 4))


def test_of_a_long_one_as_much_is_compared_with_from_beginning_to_end():
    rows, y = calibration._stretches(counted(3_000_000, train=(100, 2_999_900)), "train", 1200)
    assert len(rows) == 1200 * 200 and np.array_equal(y, np.repeat(rows[:, 0], 4))
    assert rows[0, 0] == 100 and rows[-1, 0] == 3_000_000 - 101 and np.diff(rows[:, 0]).max() < 200_000


@pytest.mark.parametrize("n_rows", [1000, 200_000, 3_000_000])
def test_what_is_compared_with_is_a_quarter_new_and_never_the_test_part(n_rows):
    n_train, n_valid = n_rows * 8 // 10, n_rows // 10
    end = n_train + n_valid
    rows, y = calibration._reference(counted(n_rows, train=(0, n_train), valid=(n_train, end), test=(end, n_rows)))
    assert np.array_equal(y, np.repeat(rows[:, 0], 4)) and rows.max() < end
    assert np.mean(rows[:, 0] >= n_train) == pytest.approx(calibration.RECENT, abs=0.06)
    assert len(rows) <= 1.5 * calibration.TRAIN_SECONDS * 200


def recording(region, second):
    return calibration._Recording(0.5, None, None, 1.0, None, region, second)


@pytest.mark.parametrize(
    "own, movement", [(1.0, 0.2), (1.2, 0.1)], ids=["as far as the filter goes", "as far as the voice is"]
)
def test_the_region_is_moved_by_what_the_filter_does(monkeypatch, own, movement):
    typical = {"drawn": [0.7, 1.3, -15.0, 5.3], "filtered": [0.7, 1.1, -17.0, 5.2]}
    monkeypatch.setattr(rejection, "typical_second", lambda chains, recipe: np.array(typical[chains]))
    region, second = rejection.Region(np.zeros((3, 2, 4)), -35.5), np.array([0.6, own, -16.0, 5.1])
    moved = recording(region, second).unfiltered_region("drawn", "filtered", 0.03, None)
    assert np.allclose(moved.spans, [0.03, movement, 2.0, 0.1]) and moved.pause == -35.5
    assert recording(None, None).unfiltered_region("drawn", "filtered", 0.03, None) is None


def test_chains_are_primed_from_all_over_the_training_part(monkeypatch, network):
    asked = []
    batch = lambda starts, n_steps: asked.append((starts, n_steps))
    data = types.SimpleNamespace(ranges={"train": (100, 40_000)}, rows_per_frame=3, batch=batch)
    monkeypatch.setattr(generation, "load_network", lambda run, checkpoint: network)
    monkeypatch.setattr(generation, "compile_chains", lambda network, limits: None)
    calibration._Chains(types.SimpleNamespace(recipe=recipes.get("world-mdn"), limits=None), data, "best", None)
    ((starts, n_steps),) = asked
    assert len(starts) == calibration.N_CHAINS and np.ptp(np.diff(starts)) <= 1
    assert starts[0] == 100 and starts[-1] == 40_000 - 3 * n_steps


def faulty(folder):
    """The run that ships, without a calibration, made to tremble and to be voiced too seldom."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("calibration.json"))
    run = runs.open_run(folder)
    network = generation.load_network(run)
    head = calibration.shift_voicing(network, -1.0).head
    bias = head.envelope.b.get_value()
    bias[-head.n_mixtures * head.n_envelope :] += 0.5  # of the logarithms of its sigmas
    head.envelope.b.set_value(bias)
    run.save("best", {name: p.get_value() for name, p in model.parameters(network).items()}, epoch=0)
    return run


def little(monkeypatch, **sizes):
    for name, value in sizes.items():
        monkeypatch.setattr(calibration, name, value)


@pytest.mark.slow
def test_a_run_comes_to_sound_as_a_recording(tmp_path, monkeypatch):
    """What is done to a faulty network makes its sound move no more than the recording, and be voiced as often."""
    run = faulty(tmp_path / "run")
    audio.write(tmp_path / "song.wav", synthetic.sing(45, seed=4), 16000)
    data = dataset.prepare(tmp_path / "song.wav", run.recipe, tmp_path / "data")
    primer = generation.primer_frames(run, data, "valid", 50)
    before = pipeline.generate(run, 20, primer)
    little(monkeypatch, N_CHAINS=8, GROUP=4, FIRST_SECONDS=8, SECONDS=30, SOUND_SECONDS=2)
    found = world_mdn.calibrate(run, data)
    smoothed = np.linalg.eigvalsh(found.postfilter.smoothing)
    assert smoothed.min() >= -1e-9 and smoothed.max() <= postfilter.MOST_SMOOTHING + 1e-9
    assert found.region.spans.shape == (3, 2, 4)
    after = pipeline.generate(run, 20, primer)
    ref = evaluation.reference(data.signal("train"), data.signal("train"), 16000)
    far, near = (evaluation.evaluate(ref, y) for y in (before, after))
    assert near["ok"] > far["ok"] and near["outside"]["flux"] < far["outside"]["flux"]
    off = [abs(measured["voiced_share"] - measured["voiced_share_real"]) for measured in (far, near)]
    assert off[1] < max(0.05, off[0])
    assert 20 * np.log10(after.std() / data.signal("train").std()) == pytest.approx(0, abs=1)
    # a recording of which no region is known
    little(monkeypatch, N_CHAINS=2, FIRST_SECONDS=5, SECONDS=5)
    monkeypatch.setattr(rejection, "measure", lambda dataset, recipe: None)
    found = world_mdn.calibrate(run, data)
    assert found.region is None and found.postfilter is not None and world_mdn.load_calibration(run).region is None
