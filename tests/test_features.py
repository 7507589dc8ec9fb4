"""Each transform gives the sound back, from any length, in known units."""

from types import SimpleNamespace

import numpy as np
import pytest

from vocalsynth_utils import features, recipes, synthetic
from vocalsynth_utils.evaluation import descriptors
from vocalsynth_utils.features import codec, mel, pitch, world
from vocalsynth_utils.synthetic import singer


def recipe(name, frame_length=240, sample_rate=16000):
    return SimpleNamespace(features=name, frame_length=frame_length, sample_rate=sample_rate)


@pytest.fixture(scope="module")
def song():
    return synthetic.sing(20, seed=5)


def steps(rows, r):
    return rows[:: r.frame_length // features.row_length(r)]


@pytest.mark.parametrize(
    "name, width, row", [("raw", 240, 1), ("fft", 240, 240), ("world", 63, 80), ("logmel", 64, 240)]
)
def test_width_and_row_length(name, width, row, song):
    r = recipe(name)
    assert (features.n_features(r), features.row_length(r)) == (width, row)
    rows = features.encode(song[:16100], r)
    assert rows.dtype == np.float32
    assert rows.shape == ((16100,) if name == "raw" else (16100 // row, width))


def test_frames_are_what_every_step_of_a_network_hears(song):
    for name in features.FEATURES:
        r, y = recipe(name), song[:16100]
        rows = features.encode(y, r)
        expected = rows[: 67 * 240].reshape(67, 240) if name == "raw" else steps(rows, r)
        found = features.frames(y, r)
        assert found.dtype == np.float32 and np.array_equal(found, expected)


def test_less_than_a_frame_holds_no_frame_of_samples_and_is_refused_by_other_features(song):
    assert features.frames(song[:239], recipe("raw")).shape == (0, 240)
    with pytest.raises(ValueError, match="at least one frame"):
        features.frames(song[:239], recipe("world"))


def test_every_recipe_holds_features_of_the_table():
    assert recipes.CHOICES["features"] == tuple(features.FEATURES)


def test_raw_and_fft_are_exact_inverses(song):
    y = song[:16080]  # 67 frames
    assert np.array_equal(features.decode(features.encode(y, recipe("raw")).reshape(-1, 240), recipe("raw")), y)
    assert np.abs(features.decode(features.encode(y, recipe("fft")), recipe("fft")) - y).max() < 1e-6


def test_fft_keeps_the_energy(song):
    rows = features.encode(song[:16080], recipe("fft"))
    assert np.square(rows).sum() == pytest.approx(np.square(song[:16080]).sum(), rel=1e-5)


def test_world_finds_the_pitch_and_the_voicing_of_a_pulse_train():
    y = np.zeros(32000, np.float32)
    y[16000::80] = 0.5  # 200 Hz from 1 s on
    rows = features.encode(y, recipe("world"))
    assert np.exp(rows[250:350, features.LOG_F0]) == pytest.approx(200, rel=0.01)
    assert rows[250:350, features.VOICING].mean() > 0.98
    assert rows[:180, features.VOICING].mean() < 0.05


@pytest.mark.slow
def test_world_resynthesis_keeps_pitch_voicing_and_spectrum(song):
    r = recipe("world")
    rows = features.encode(song, r)
    y = features.decode(steps(rows, r), r)
    assert y.shape == (len(steps(rows, r)) * 240,)
    again = features.encode(y, r)[: len(rows)]
    rows = rows[: len(again)]
    both = (rows[:, 1] > 0.5) & (again[:, 1] > 0.5)
    assert np.mean((rows[:, 1] > 0.5) == (again[:, 1] > 0.5)) > 0.93
    assert np.median(np.abs(rows[both, 0] - again[both, 0])) < 0.01
    apart = np.mean(mel.log_mel(song, 16000, 400, 160), axis=0) - np.mean(mel.log_mel(y, 16000, 400, 160), axis=0)
    assert np.abs(apart).mean() * 10 / np.log(10) < 2.0  # dB


@pytest.mark.slow
def test_world_resynthesis_loses_no_voice(song):
    r = recipe("world")
    y = features.decode(steps(features.encode(song, r), r), r)
    assert np.mean(pitch.track(y, 16000) > 0) == pytest.approx(np.mean(pitch.track(song, 16000) > 0), abs=0.02)


def test_log_mel_round_trip_keeps_the_bands(song):
    r = recipe("logmel", 200)
    rows = features.encode(song, r)
    again = features.encode(features.decode(rows, r), r)
    assert again.shape == rows.shape
    assert np.mean(np.abs(again - rows)) < 0.7  # natural log of power


def test_log_mel_synthesis_has_the_level_of_the_recording(song):
    r = recipe("logmel", 200)
    y = features.decode(features.encode(song, r), r)
    assert 20 * np.log10(np.std(y) / np.std(song)) == pytest.approx(0, abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["world", "logmel"])
def test_chunks_do_not_show(name, song, monkeypatch):
    r = recipe(name)
    rows = features.encode(song, r)
    y = features.decode(steps(rows, r), r)
    monkeypatch.setattr(codec, "CHUNK_SECONDS", 5)
    monkeypatch.setattr(codec, "PIECE_SECONDS", 5)
    in_chunks = features.encode(song, r)
    same = np.abs(in_chunks - rows).max(axis=1) < 1e-2
    assert same.mean() > 0.96
    z = features.decode(steps(rows, r), r)
    assert z.shape == y.shape
    jump = np.abs(np.diff(z))
    assert jump.max() < 1.5 * np.abs(np.diff(y)).max()
    bands = [mel.log_mel(x, 16000, 400, 160) for x in (y, z)]
    assert np.mean(np.abs(bands[0] - bands[1])) < 0.6


def test_f0_is_held_through_unvoiced_rows_and_backwards_at_the_start():
    log_f0, voiced = np.array([9, 1, 9, 9, 2, 9.0]), np.array([0, 1, 0, 0, 1, 0.0])
    assert world.hold_f0(np.stack([log_f0, voiced], 1))[:, 0].tolist() == [1, 1, 1, 1, 2, 2]
    assert world.hold_f0(np.stack([log_f0, 0 * voiced], 1))[:, 0] == pytest.approx(np.log(world.F0_DEFAULT))


def test_silence_goes_through_every_feature():
    for name in features.FEATURES:
        r = recipe(name)
        rows = features.encode(np.zeros(16000, np.float32), r)
        frames = rows[:15840].reshape(-1, 240) if name == "raw" else steps(rows, r)
        assert np.isfinite(rows).all() and np.abs(features.decode(frames, r)).max() < 1e-3


@pytest.mark.parametrize(
    "r, message",
    [
        (recipe("mp3"), "features is 'mp3'"),
        (recipe("fft", 241), "frame_length is 241"),
        (recipe("world", 100), "frame_length is 100"),
        (recipe("world", 240, 8000), "sample_rate is 8000"),
    ],
)
def test_a_wrong_recipe_is_named(r, message):
    with pytest.raises(ValueError, match=message):
        features.encode(np.zeros(16000, np.float32), r)


def test_wrong_arrays_are_named():
    with pytest.raises(ValueError, match="at least one frame"):
        features.encode(np.zeros(100, np.float32), recipe("world"))
    with pytest.raises(ValueError, match="NaN"):
        features.encode(np.full(16000, np.nan, np.float32), recipe("world"))
    with pytest.raises(ValueError, match=r"\(n_frames, 63\)"):
        features.decode(np.zeros((5, 62)), recipe("world"))
    with pytest.raises(ValueError, match="blown up"):
        features.decode(np.full((5, 63), np.inf), recipe("world"))


def test_mel_filters_overlap_to_a_constant():
    total = mel.mel_filters(40, 1024, 16000).sum(axis=0)
    f = np.arange(513) * 16000 / 1024
    assert np.allclose(total[(f > 150) & (f < 7500)], 1, atol=1e-5)
    with pytest.raises(ValueError, match="n_mels is 300"):
        mel.mel_filters(300, 512, 16000)


def test_a_spectrum_sums_to_the_mean_square():
    y = np.random.default_rng(0).normal(size=160000).astype(np.float32)
    total = np.concatenate(list(mel.spectrogram(y, 400, 160))).sum(axis=1)
    assert total.mean() == pytest.approx(1, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("sr", [24000, 48000])
def test_world_resynthesis_is_as_near_at_higher_rates(sr):
    """No band of the mel scale up to half the rate is further from the voice's than at 16 kHz."""

    def apart(sr):
        rng, r = np.random.default_rng(3), recipes.get("world-mdn").replace(sample_rate=sr)
        y = np.concatenate([singer.phrase(rng, sr) for _ in range(6)]).astype(np.float32)
        z = features.decode(features.frames(y, r), r)
        assert r.frame_length == 0.015 * sr
        y, z = (x[: len(y) // r.frame_length * r.frame_length] for x in (y, z))
        bands = [descriptors.bands(x, sr) for x in (y, z)]
        loud = bands[0].max(axis=1) > np.quantile(bands[0].max(axis=1), 0.3)
        return descriptors.DB * np.sqrt(np.mean(np.square(bands[0] - bands[1])[loud]))

    assert apart(sr) < 1.05 * apart(16000) < 3  # dB


@pytest.mark.slow
def test_a_recording_without_a_pitch_and_one_with_hum_are_worth_a_word(song):
    r, whisper, t = recipe("world"), np.random.default_rng(0).normal(0, 0.1, 160000), np.arange(160000) / 16000
    remarks = lambda y: features.remarks(features.encode(y, r), y, r)
    assert remarks(song[:160000]) == []
    (line,) = remarks(whisper)
    assert "50 to 1100 Hz is found in 0.0% of it" in line
    hum = sum(np.sin(2 * np.pi * 50 * k * t) for k in (1, 2, 3, 5))
    (line,) = remarks(song[:160000] + 0.1 * np.std(song[:160000]) * hum / hum.std())
    assert line.startswith("mains hum, 2")  # 20 dB below, of which most is found
    assert features.remarks(features.encode(whisper, recipe("logmel")), whisper, recipe("logmel")) == []
