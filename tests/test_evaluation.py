"""Each measure on signals whose answer is known: the voice itself, a copy, silence, noise, a tone, a loop, confetti."""

import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg

from vocalsynth_utils import evaluation, recipes, synthetic
from vocalsynth_utils.evaluation import descriptors, measures
from vocalsynth_utils.runs import checkpoints
from vocalsynth_utils.synthetic import singer

SR = 16000
codec = evaluation.codec_of(SimpleNamespace(features="world", frame_length=240, sample_rate=SR, is_raw=False))


@pytest.fixture(scope="module")
def song():
    return synthetic.sing(180, seed=11)


@pytest.fixture(scope="module")
def ref(song):
    return evaluation.reference(song[: 140 * SR], song[140 * SR :], SR)


@pytest.fixture(scope="module")
def results(song, ref):
    rng = np.random.default_rng(0)
    train, heldout = song[: 140 * SR], song[140 * SR :]
    signals = {
        "itself": heldout,
        "other": synthetic.sing(40, seed=12),
        "copy": train[20 * SR : 60 * SR],
        "shifted copy": train[20 * SR + 77 : 60 * SR + 77],
        "silence": np.zeros(20 * SR),
        "white": rng.normal(0, ref.std, 20 * SR),
        "tone": synthetic.tone(20, 220),
        "loop": np.tile(train[41 * SR : 42 * SR], 20),
        "shuffled": rng.permutation(train[: 20 * SR].reshape(-1, 800)).ravel(),
        "limit cycle": np.tile(train[int(41.3 * SR) : int(41.3 * SR) + 160], 2000),
    }
    with pytest.warns(UserWarning, match="silent"):
        return {name: evaluation.evaluate(ref, y) for name, y in signals.items()}


@pytest.mark.slow
def test_the_voice_itself_passes_every_measure(results):
    r = results["itself"]
    assert r["fd"] == pytest.approx(0, abs=1e-6) and r["spectrum_db"] == pytest.approx(0, abs=1e-6)
    assert r["ok"] == r["ok_real"] > 0.94 and r["survival_s"] == r["seconds"] == 40
    assert r["f0_roughness_ratio"] == pytest.approx(1) and r["voiced_share"] == r["voiced_share_real"]
    assert r["novelty_min"] == r["novelty_heldout"] and r["repetition"] == r["repetition_real"]


@pytest.mark.slow
def test_another_song_of_the_same_voice_lives_and_is_new(results):
    r = results["other"]
    assert r["survival_s"] == 40 and r["ok"] > 0.93
    assert r["fd"] < 0.3 * results["shuffled"]["fd"]
    assert r["novelty_min"] > 0.85 * r["novelty_heldout"]
    assert 0.8 < r["f0_roughness_ratio"] < 1.25


@pytest.mark.slow
def test_a_copy_lives_and_has_no_novelty(results):
    r = results["copy"]
    assert r["survival_s"] == 40
    assert r["novelty_min"] < 0.01 and r["novelty_lowest"] < 0.01
    assert results["shifted copy"]["novelty_min"] < 0.4 * r["novelty_heldout"]
    assert r["repetition"] > 0.8 * r["repetition_real"]


@pytest.mark.slow
def test_a_part_copied_shows_in_the_lowest_novelty(song, ref):
    mixed = np.concatenate([synthetic.sing(30, seed=13), song[10 * SR : 14 * SR]])
    r = evaluation.evaluate(ref, mixed)
    assert r["novelty_min"] > 0.8 * r["novelty_heldout"] and r["novelty_lowest"] < 0.4 * r["novelty_lowest_heldout"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, culprit",
    [("silence", "level"), ("white", "flatness"), ("tone", "flux"), ("limit cycle", "flux"), ("shuffled", "flux")],
)
def test_dead_sound_is_outside_the_acceptance_region_from_the_start(results, name, culprit):
    assert results[name]["ok"] < 0.3 and results[name]["survival_s"] == 0
    assert results[name]["outside"][culprit] > 0.7


@pytest.mark.slow
def test_a_loop_of_one_second_keeps_within_the_acceptance_region_but_repeats_itself(results):
    r = results["loop"]
    assert r["survival_s"] == 20
    assert r["repetition"] < 0.1 * r["repetition_real"]
    assert r["fd"] > 5 * r["fd_floor"]


@pytest.mark.slow
def test_failures_rank_above_the_floor_in_frechet_distance(results):
    fd = {name: r["fd"] for name, r in results.items()}
    assert fd["other"] < fd["shuffled"] < fd["white"] < fd["silence"]
    assert results["itself"]["fd_floor"] < fd["shuffled"] / 3


@pytest.mark.slow
def test_pitch_measures_on_known_signals(results):
    assert results["tone"]["voiced_share"] > 0.95 and results["tone"]["f0_roughness_ratio"] < 0.05
    assert results["white"]["voiced_share"] < 0.05
    assert results["silence"]["voiced_share"] == results["silence"]["pitch_hz"] == 0


@pytest.mark.slow
def test_a_second_tracker_judges_the_first(ref, results):
    for name in ("tone", "itself"):
        r = results[name]
        assert r["voiced_share_second"] == pytest.approx(r["voiced_share"], abs=0.1) and r["trackers_agree"] > 0.85
        assert r["pitch_hz_second"] == pytest.approx(r["pitch_hz"], rel=0.06)
    assert results["tone"]["pitch_hz"] == pytest.approx(220, rel=0.01)
    assert results["itself"]["trackers_agree_real"] == results["itself"]["trackers_agree"]
    soprano, bass = (evaluation.evaluate(ref, synthetic.tone(5, f0)) for f0 in (1000, 60))
    for r, f0 in ((soprano, 1000), (bass, 60)):
        assert r["pitch_hz"] == pytest.approx(f0, rel=0.01) == r["pitch_hz_second"] and r["voiced_share"] > 0.95


@pytest.mark.slow
def test_results_are_plain_json(results):
    text = json.dumps(results)  # silence has no sounds whose order could be foreseen: nan
    assert json.dumps(json.loads(text)) == text


@pytest.fixture(scope="module")
def widened(song):
    return evaluation.reference(song[: 60 * SR], song[155 * SR :], SR, codec, calibrate_seconds=30)


@pytest.mark.slow
def test_the_built_in_voice_passes_its_own_measures_through_the_codec(song, widened):
    r = evaluation.evaluate(widened, codec(song[155 * SR :]))
    assert r["survival_s"] == r["seconds"]
    assert r["ok"] == r["ok_codec"] >= r["ok_real"] - 0.05
    assert r["fd"] == pytest.approx(r["fd_codec"]) and r["fd_codec"] < 2
    ceilings = evaluation.ceilings(widened, song[155 * SR :])
    assert r["fd_codec"] < ceilings["fd_shuffled"] < ceilings["fd_white"] < ceilings["fd_silence"]


def test_frechet_distance_of_two_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4000, 3)), 1 + rng.normal(size=(5000, 3)) @ rng.normal(size=(3, 3))
    c1, c2 = np.cov(a.T), np.cov(b.T)
    direct = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert measures.frechet(a, b) == pytest.approx(direct, rel=1e-6)
    assert measures.frechet(a, a + [3, 0, 4]) == pytest.approx(25)
    assert measures.frechet(a, 2 * a - a.mean(0)) == pytest.approx(np.trace(c1))


@pytest.mark.slow
def test_frechet_parts_see_drift(ref, song):
    made = np.concatenate([song, song * 0.02])  # 3 minutes of voice, 3 of whisper
    parts = measures.frechet_parts(ref.heldout, evaluation.standard_timbre(ref, made))
    assert len(parts) == 3 and parts[2] > 5 * parts[0]


def test_survival_counts_to_the_first_run_longer_than_two_seconds():
    inside = np.ones(40, bool)
    assert measures.survival(inside, 20.5) == 20.5
    inside[10:13] = False  # windows from 5.0 to 7.0 s: not more than 2 s
    assert measures.survival(inside, 20.5) == 20.5
    inside[20:24] = False
    assert measures.survival(inside, 20.5) == 10.0


def test_level_flatness_and_voicing_of_known_signals():
    rng = np.random.default_rng(0)
    white = descriptors.windows(rng.normal(size=4 * SR).astype(np.float32), SR)
    tone = descriptors.windows(synthetic.tone(4, 200, amplitude=np.sqrt(2)), SR)
    assert white.shape == tone.shape == (7, 4)
    assert np.abs(white[:, 0]).max() < 0.2 and np.abs(tone[:, 0]).max() < 0.05
    assert white[:, 1].min() > -0.5 and tone[:, 1].max() < -30
    assert tone[:, 2].max() < 0.5 < 2 < white[:, 2].min()
    assert tone[:, 3].min() > 0.95 and white[:, 3].max() < 0.4


def test_pitch_follows_a_glide():
    f0 = np.linspace(120, 240, 5 * SR)
    y = np.diff(singer.rosenberg(np.cumsum(f0) / SR), prepend=0)
    found, periodicity = descriptors.melody(y, SR)
    middle = slice(100, 900)
    assert np.median(np.abs(found[middle] / f0[::80][middle] - 1)) < 0.01
    assert measures.f0_roughness(found) == pytest.approx(np.log(2) / 1000 * 3, rel=0.05)
    assert len(found) == len(periodicity) == 1000 and periodicity[middle].min() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("n_rows", [200, 201, 12000, 12001, 12002])
def test_a_melody_has_a_row_every_five_milliseconds(n_rows):
    y = np.random.default_rng(0).normal(size=80 * n_rows).astype(np.float32)
    assert {len(track) for track in descriptors.melody(y, SR)} == {n_rows}


def test_boundary_clicks_are_one_without_and_large_with():
    y = synthetic.tone(2, 101.3)
    assert measures.boundary_clicks(y, 200) == pytest.approx(1, abs=0.05)
    y.reshape(-1, 200)[::2] += 0.1
    assert measures.boundary_clicks(y, 200) > 20
    assert np.isnan(measures.boundary_clicks(np.zeros(1000), 200))


@pytest.mark.slow
@pytest.mark.parametrize(
    "y, message",
    [(np.zeros(SR), "generated holds 1 s"), (np.zeros((3 * SR, 2)), "one channel"), (np.full(3 * SR, np.nan), "NaN")],
)
def test_what_cannot_be_measured_is_named(ref, y, message):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(ref, y)
    with pytest.raises(ValueError, match=message.replace("generated", "heldout")):
        evaluation.reference(np.arange(3.0 * SR), y, SR)


def test_a_constant_voice_is_refused():
    with pytest.raises(ValueError, match="train is constant"):
        evaluation.reference(np.ones(3 * SR), np.ones(3 * SR), SR)


def test_raw_samples_need_no_codec():
    assert evaluation.codec_of(recipes.get("2016-small")) is None


# stored


def same(a, b):
    """Whether two references are one to the bit."""

    def arrays(ref):
        return [np.asarray(x) for x in (*ref._replace(heldout=0, heard=0, figures=0), *ref.heldout, *ref.heard)]

    equal = [x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(arrays(a), arrays(b))]
    return a.figures == b.figures and all(equal)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, widened):
    path = tmp_path_factory.mktemp("stored") / "voice.npz"
    evaluation.save_reference(path, widened)
    return path


@pytest.mark.slow
def test_a_stored_voice_is_the_voice_to_the_bit(song, ref, widened, stored, tmp_path):
    evaluation.save_reference(tmp_path / "voice.npz", ref)
    for kept, path in ((widened, stored), (ref, tmp_path / "voice.npz")):
        again, y = evaluation.load_reference(path), song[: 30 * SR]
        assert same(again, kept)
        assert evaluation.evaluate(again, y) == evaluation.evaluate(kept, y)
        assert evaluation.ceilings(again, y) == evaluation.ceilings(kept, y)
    assert stored.stat().st_size < 60 * 50 * 20 * 4 + 60_000  # 20 numbers every 20 ms, and little else


@pytest.mark.slow
def test_a_voice_is_stored_whole_or_not_at_all(widened, stored, tmp_path, monkeypatch):
    path = tmp_path / "voice.npz"
    path.write_bytes(stored.read_bytes())
    monkeypatch.setattr(checkpoints, "write", lambda file, *_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluation.save_reference(path, widened)
    assert path.read_bytes() == stored.read_bytes() and [p.name for p in tmp_path.iterdir()] == ["voice.npz"]


def test_a_voice_that_is_missing_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        evaluation.load_reference(tmp_path / "none.npz")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, why",
    [
        ({"__meta__": {"epoch": 99}}, "digest differs"),
        ({"mean": np.zeros(40)}, "digest differs"),
        ({"rows": np.zeros((100, 19), np.float32)}, "digest differs"),
        ({"__meta__": {"std": float("nan")}}, "digest differs"),
        ({"__meta__": {"std": 0.0}}, "digest differs"),
        ({"spectrum": np.array([{}] * 40)}, "does not hold what its header says"),
        ({"__meta__": None}, "digest differs"),
        ({"__digest__": None}, "no digest"),
    ],
)
def test_stored_arrays_that_were_altered_are_refused(stored, tmp_path, change, why):
    with np.load(stored) as file:
        arrays = {**file, **change}
    if change.get("__meta__"):
        meta = {**checkpoints.read(stored)[1], **change["__meta__"]}
        arrays["__meta__"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(tmp_path / "voice.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=why):
        evaluation.load_reference(tmp_path / "voice.npz")


@pytest.mark.slow
@pytest.mark.parametrize(
    "lacking, more, why",
    [
        ((), {"epoch": 99}, f"not of version {evaluation.stored.VERSION}"),
        (("figures",), {}, "figures"),
        (("heldout_mean",), {}, "heldout_mean"),
        (("rows",), {}, "rows"),
        (("heard_labels",), {}, "heard_labels"),
        ((), {"recipe": {}}, "recipe"),
    ],
)
def test_a_checkpoint_that_holds_another_thing_is_no_voice(stored, tmp_path, lacking, more, why):
    arrays, meta = ({k: v for k, v in held.items() if k not in lacking} for held in checkpoints.read(stored))
    with open(tmp_path / "voice.npz", "wb") as file:
        checkpoints.write(file, arrays, {**meta, **more})
    with pytest.raises(ValueError, match=f"no described voice .*{why}"):
        evaluation.load_reference(tmp_path / "voice.npz")


@pytest.mark.slow
def test_a_stored_voice_that_was_torn_changed_or_packed_is_refused(stored, tmp_path):
    whole, path = stored.read_bytes(), tmp_path / "voice.npz"
    middle = len(whole) // 2
    for content in (b"", b"no archive", whole[:middle], whole[:middle] + b"?!" + whole[middle + 2 :]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="no described voice"):
            evaluation.load_reference(path)
    with zipfile.ZipFile(stored) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match="not stored"):
        evaluation.load_reference(path)
