"""What a survey says of recordings that were made to have one thing wrong."""

import warnings

import numpy as np
import pytest

from vocalsynth_utils import audio, dataset, evaluation, recipes, synthetic

SR = 16000
RECIPE = recipes.get("world-units").replace(n_steps=8, n_batch=1)


def surveyed(tmp_path, y, recipe=RECIPE):
    audio.write(tmp_path / "y.wav", np.asarray(y), SR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return evaluation.survey(dataset.prepare(tmp_path / "y.wav", recipe, tmp_path / "data"))


@pytest.fixture(scope="module")
def song():
    return synthetic.sing(40, seed=3)


def glide(seconds):
    """Pulses that glide in log frequency from 150 to 300 Hz and back, and their pitch in Hz."""
    t = np.arange(int(seconds * SR)) / SR
    f = 150 * 2 ** (0.5 - 0.5 * np.cos(2 * np.pi * t / 10))
    phase = 2 * np.pi * np.cumsum(f) / SR
    return sum(0.1 / k * np.sin(k * phase) for k in range(1, 8)), f


@pytest.mark.slow
def test_a_good_recording_is_only_short(tmp_path, song):
    figures, advice = surveyed(tmp_path, song)
    assert figures["length (minutes)"] == pytest.approx(40 / 60)
    assert figures["level (dB of full scale)"] == pytest.approx(20 * np.log10(np.std(song)), abs=0.1)
    assert figures["samples at full scale (%)"] == 0 and figures["silent seconds (%)"] < 10
    assert len(advice) == 1 and "0.7 minutes are learned by heart; 5 are a beginning, and 20 make it good" in advice[0]


@pytest.mark.slow
def test_pitch_is_that_of_a_glide(tmp_path):
    y, f = glide(40)
    figures, _ = surveyed(tmp_path, y)
    for name, share in {"low": 0.05, "median": 0.5, "high": 0.95}.items():
        assert figures[f"pitch, {name} (Hz)"] == pytest.approx(np.quantile(f, share), rel=0.01)
    assert figures["voiced (%)"] > 98


@pytest.mark.slow
def test_what_is_wrong_is_said_and_nothing_else(tmp_path, song):
    loud = np.clip(6 * song, -1, 1)
    hum = song + 0.02 * np.sin(2 * np.pi * 50 * np.arange(len(song)) / SR)
    pauses = song * (np.arange(len(song)) // (2 * SR) % 2 == 0)
    whisper = np.random.default_rng(0).normal(0, 0.1, len(song))
    for y, words in (
        (loud, "at full scale"),
        (hum, "mains hum"),
        (0.03 * song, "it is soft"),
        (pauses, "are silent"),
        (whisper, "no single voice"),
    ):
        figures, advice = surveyed(tmp_path, y)
        assert [words in line for line in advice] == [False, True], (words, advice)
    assert figures["voiced (%)"] < 10


@pytest.mark.slow
def test_the_share_at_full_scale_is_counted(tmp_path, song):
    y = np.clip(6 * song, -1, 1)
    figures, _ = surveyed(tmp_path, y)
    assert figures["samples at full scale (%)"] == pytest.approx(100 * np.mean(np.abs(6 * song) >= 0.98), rel=1e-3)


def test_raw_frames_have_no_pitch(tiny_data):
    figures, advice = evaluation.survey(tiny_data)
    assert not [name for name in figures if "pitch" in name] and len(advice) == 1
