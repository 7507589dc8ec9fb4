"""The singer sings what it promises; the two corpora have the optimum they state."""

import wave
from pathlib import Path

import numpy as np
import pytest

from vocalsynth_utils import synthetic
from vocalsynth_utils.synthetic import singer, voice


@pytest.fixture(scope="module")
def minute():
    return synthetic.sing(60)


def test_sing_has_the_length_range_and_type_asked_for():
    y = synthetic.sing(7.25, seed=3)
    assert y.dtype == np.float32 and y.shape == (116000,)
    assert 0.05 < np.abs(y).max() <= 1.0


def test_sing_is_the_same_for_a_seed_and_differs_between_seeds():
    y = synthetic.sing(4, seed=1)
    assert np.array_equal(y, synthetic.sing(4, seed=1)) and not np.array_equal(y, synthetic.sing(4, seed=2))


def test_a_longer_recording_begins_with_the_shorter_one(minute):
    assert np.array_equal(minute[:96000], synthetic.sing(6))


def test_sing_has_pauses_with_a_noise_floor_near_minus_50_db(minute):
    level = 10 * np.log10(np.square(minute.reshape(-1, 320)).mean(axis=1))
    assert -53 < np.percentile(level, 1) < -47
    assert -26 < np.percentile(level, 50) < -15


def test_sung_pitch_stays_inside_the_range_that_the_pitch_tracker_searches(minute):
    pyworld = pytest.importorskip("pyworld")
    y = minute[: 30 * 16000].astype(float)
    f0, _ = pyworld.dio(y, 16000, f0_floor=60, f0_ceil=700, frame_period=5.0)
    assert np.percentile(f0[f0 > 0], 2) > 85 and np.percentile(f0[f0 > 0], 98) < 320
    assert 0.6 < np.mean(f0 > 0) < 0.95


def test_sing_at_32000_hz_has_the_same_spectrum_below_2_khz(minute):
    from scipy.signal import welch

    sung = {16000: minute[: 20 * 16000], 32000: synthetic.sing(20, sr=32000)}
    low = [np.interp([300, 500, 1000, 1700], *welch(y, sr, nperseg=sr // 20)) for sr, y in sung.items()]
    assert np.all(np.abs(10 * np.log10(low[0] / low[1])) < 3)


@pytest.mark.parametrize(
    "arguments, message", [((0,), "seconds is 0"), ((float("nan"),), "seconds is nan"), ((1, 8000), "sr is 8000")]
)
def test_sing_says_what_it_cannot_sing(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic.sing(*arguments)


def test_write_voice_writes_what_sing_sings(tmp_path):
    path = synthetic.write_voice(tmp_path / "new" / "v.wav", 9, seed=2)
    with wave.open(str(path)) as wav:
        assert wav.getparams()[:4] == (1, 2, 16000, 144000)
        pcm = np.frombuffer(wav.readframes(144000), "<i2")
    assert np.abs(pcm / 32767 - synthetic.sing(9, seed=2)).max() < 1 / 32767
    assert [p.name for p in path.parent.iterdir()] == ["v.wav"]


def test_write_voice_leaves_nothing_behind_when_it_fails(tmp_path):
    def stop(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_voice(tmp_path / "v.wav", 9, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_another_length_of_the_built_in_voice_is_another_file(monkeypatch):
    made = []
    monkeypatch.setattr(voice, "write_voice", lambda path, seconds, seed: made.append((path, seconds)) or path)
    monkeypatch.setattr(voice.Path, "exists", lambda self: self.name == "pyproject.toml")
    assert synthetic.built_in().name == "voice.wav" and synthetic.built_in(seconds=1500).name == "voice-1500s.wav"
    data = Path(__file__).resolve().parents[1] / "data"
    assert made == [(data / "voice.wav", 300), (data / "voice-1500s.wav", 1500)]


def test_built_in_keeps_a_file_that_is_there(tmp_path):
    (tmp_path / "v.wav").write_bytes(b"mine")
    assert synthetic.built_in(tmp_path / "v.wav").read_bytes() == b"mine"
    assert synthetic.built_in(tmp_path / "w.wav", seconds=2).stat().st_size == 44 + 64000


def test_tone_is_predicted_from_its_last_two_samples():
    y = synthetic.tone(0.5, 330.0).astype(float)
    prediction = 2 * np.cos(2 * np.pi * 330 / 16000) * y[1:-1] - y[:-2]
    assert np.abs(prediction - y[2:]).max() < 1e-6


def test_ar2_has_the_variance_and_the_best_error_it_states():
    y = synthetic.ar2(400000, frequency=600, radius=0.97, seed=1).astype(float)
    assert np.std(y) == pytest.approx(0.1, rel=0.03)
    past = np.stack([y[1:-1], y[:-2]], axis=1)  # least squares finds the optimum by itself
    residual = y[2:] - past @ np.linalg.lstsq(past, y[2:], rcond=None)[0]
    assert np.mean(residual**2) / np.var(y) == pytest.approx(synthetic.ar2_optimum(1, 600, 0.97), rel=0.03)


def test_ar2_optimum_of_a_frame_is_the_mean_of_its_steps():
    y = synthetic.ar2(400000, frequency=600, radius=0.97, seed=1).astype(float)
    errors = []
    for k in (1, 2, 3):
        past, future = np.stack([y[1:-k], y[: -k - 1]], axis=1), y[1 + k :]
        errors.append(np.mean((future - past @ np.linalg.lstsq(past, future, rcond=None)[0]) ** 2) / np.var(y))
    assert np.mean(errors) == pytest.approx(synthetic.ar2_optimum(3, 600, 0.97), rel=0.03)
    assert synthetic.ar2_optimum(5000, 600, 0.97) == pytest.approx(1, abs=0.03)


def test_rosenberg_pulse_opens_closes_and_rests():
    g = singer.rosenberg(np.array([0, 0.21, 0.42, 0.58, 0.8, 1.42]))
    assert g == pytest.approx([0, 0.5, 1, 0, 0, 1], abs=1e-9)


def test_resonator_rings_at_its_frequency_with_its_bandwidth():
    from scipy.signal import sosfreqz

    f, response = sosfreqz(singer.resonators([1000.0], [80.0], 16000), worN=np.linspace(0, 8000, 16001), fs=16000)
    power = np.abs(response) ** 2
    assert f[power.argmax()] == pytest.approx(1000, abs=2)
    assert np.ptp(f[power > power.max() / 2]) == pytest.approx(80, rel=0.03)
    assert power[0] == pytest.approx(1)
