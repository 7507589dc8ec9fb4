"""The pitch that is tracked is the one that was sung, from a bass to a child, and through hum, rumble and noise."""

import itertools

import numpy as np
import pytest
import scipy
from scipy.signal import butter, sosfilt

from vocalsynth_utils import features
from vocalsynth_utils.features import pitch, world

SR = 16000
PITCHES = (55, 80, 110, 150, 220, 300, 400, 523, 800, 1050)


def sung(f0, seconds=12, sr=SR, seed=0, vibrato=0.3, rests=True):
    """Notes of a pitch in Hz, or of some drawn from a list, vibrato in semitones; and the pitch, 0 in rests."""
    rng, y, truth = np.random.default_rng([seed, int(np.min(f0))]), [], []
    while sum(map(len, y)) < seconds * sr:
        n, rest = int(rng.uniform(0.4, 1.0) * sr), int(rng.uniform(0.05, 0.35) * sr) * rests
        t, note = np.arange(n) / sr, rng.choice(np.atleast_1d(f0))
        track = note * 2 ** (vibrato / 12 * np.sin(2 * np.pi * 5.5 * t))
        harmonics = np.arange(1, max(2, int(7000 / note)))[:, None]
        formants = sum(
            np.exp(-(((note * harmonics - f) / 150) ** 2)) for f in rng.uniform((300, 900, 2300), (800, 1800, 2900))
        )
        waves = np.cos(2 * np.pi * harmonics * np.cumsum(track) / sr + harmonics**2)
        tone = np.sum((0.05 + formants) / harmonics**0.5 * waves, axis=0)
        swell = np.minimum(1, np.minimum(t, n / sr - t) / 0.04)
        y += [rng.uniform(0.06, 0.18) * tone / tone.std() * swell, np.zeros(rest)]
        truth += [track, np.zeros(rest)]
    y, truth = (np.concatenate(parts)[: seconds * sr] for parts in (y, truth))
    return y + 3e-4 * rng.normal(size=len(y)), truth


def at(db, y):
    return y / y.std() * 10 ** (db / 20)


def hum(n, mains, sr=SR, seed=0):
    """Harmonics of the mains at -30 dB of full scale."""
    rng, t = np.random.default_rng(seed), np.arange(n) / sr
    strengths = enumerate((1, 0.3, 0.6, 0.15, 0.3, 0.1, 0.2), 1)
    return at(-30, sum(a * np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6)) for k, a in strengths))


def rumble(n, sr=SR):
    noise = np.random.default_rng(0).normal(size=n)
    return at(-25, sosfilt(butter(2, [8, 45], "bandpass", fs=sr, output="sos"), noise))


def found(y, truth, sr=SR):
    """Shares of the rows two periods or more inside a note that are within 50 cents, and an octave off."""
    f0, places = pitch.track(y, sr), np.arange(1 + len(y) // (sr // 200)) * (sr // 200)
    edges = np.flatnonzero(np.diff((truth > 0).astype(int), prepend=0, append=0))
    inside = np.zeros(len(places), bool)
    for first, end in zip(edges[::2], edges[1::2]):
        margin = 2 * sr / truth[first]
        inside |= (places >= first + margin) & (places <= end - margin)
    sung_there, found_there = truth[np.minimum(places[inside], len(truth) - 1)], f0[inside]
    cents = 1200 * np.abs(np.log2(np.maximum(found_there, 1e-3) / sung_there))
    return np.mean(cents < 50), np.mean((found_there > 0) & (cents > 600))


@pytest.mark.slow
@pytest.mark.parametrize("f0", PITCHES)
def test_what_is_sung_is_found(f0):
    near, octave = found(*sung(f0))
    assert near > 0.99 and octave < 0.005


@pytest.mark.slow
@pytest.mark.parametrize("f0", PITCHES)
@pytest.mark.parametrize("noise", ["hum of 50 Hz", "hum of 60 Hz", "hum of 49.93 Hz", "rumble"])
def test_what_is_sung_is_found_through_hum_and_rumble(f0, noise):
    y, truth = sung(f0)
    y = y + (rumble(len(y)) if noise == "rumble" else hum(len(y), float(noise.split()[2])))
    near, octave = found(y, truth)
    assert near > 0.98 and octave < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("sr", [12000, 24000, 48000])
def test_any_sample_rate_will_do(sr):
    y, truth = sung((60, 200, 700), sr=sr)
    near, octave = found(y, truth, sr)
    assert near > 0.98 and octave < 0.01
    assert len(pitch.track(y, sr)) == 12 * 200 + 1


def test_hum_alone_is_found_to_a_hundredth_and_none_in_a_clean_voice():
    y, _ = sung((180, 260), seconds=20, seed=3)
    y, noise = (pitch.soxr.resample(x, SR, pitch.RATE) for x in (y, hum(len(y), 50)))
    assert np.std(pitch.mains_hum(y + noise) - noise) < 0.03 * np.std(noise)
    assert np.std(pitch.mains_hum(y)) < 1e-3 * np.std(y)


@pytest.mark.slow
@pytest.mark.parametrize("f0", [100, 150, 200, 300, 360])
def test_a_note_held_at_a_harmonic_of_the_mains_is_no_hum(f0):
    for y, truth in (sung(f0, vibrato=0), sung((f0, 1.5 * f0), vibrato=0, rests=False)):
        assert found(y, truth)[0] > 0.98


def test_rests_with_hum_are_not_voiced():
    y, truth = sung(220, seconds=20)
    f0, rest = pitch.track(y + hum(len(y), 50), SR), truth[::80] == 0
    assert np.mean(f0[: len(rest)][rest] > 0) < 0.3  # a window reaches 23 ms into what was before, and what comes


def test_noise_and_silence_have_no_pitch():
    noise = np.random.default_rng(0).normal(size=5 * SR)
    assert np.mean(pitch.track(noise, SR) > 0) < 0.01
    assert not np.any(pitch.track(np.zeros(5 * SR), SR))
    for n in (1, 80, 500):
        assert pitch.track(noise[:n], SR).shape == (1 + n // 80,)


def breath(f):
    """Five seconds of noise through three formants, the lowest at `f` Hz."""
    noise, y = np.random.default_rng(1).normal(size=5 * SR), 0
    for times, gain, width in ((1, 1, 90), (1.7, 0.5, 110), (4, 0.25, 160)):
        y = y + gain * scipy.signal.lfilter(*scipy.signal.iirpeak(times * f, times * f / width, fs=SR), noise)
    return y


@pytest.mark.parametrize("f", [350, 500, 650, 800])
def test_breath_that_makes_formants_ring_is_not_voiced(monkeypatch, f):
    assert np.mean(pitch.track(breath(f), SR) > 0) < 0.2
    monkeypatch.setattr(pitch, "RINGING", 1e9)  # by one threshold for every pitch
    assert np.mean(pitch.track(breath(f), SR) > 0) > 0.3


def worth(path, found):
    """Strengths along a path of states, 0 unvoiced, less what its changes cost: added up one by one."""
    per_row, silent = 0.01 / pitch.ROW_SECONDS, []
    for f0, strength, level in zip(*found):
        lowest, highest = pitch.VOICED
        begins = min(max(lowest, np.exp(-np.pi * pitch.RINGING / f0[np.argmax(strength)])), highest)
        silent.append(begins + max(0, 2 - level * (1 + begins)))
    value = sum(found.strength[i, s - 1] if s else silent[i] for i, s in enumerate(path))
    for i, (a, b) in enumerate(itertools.pairwise(path)):
        if (a == 0) != (b == 0):
            value -= pitch.CHANGE * per_row
        elif a:
            value -= pitch.JUMP * per_row * abs(np.log2(found.f0[i, a - 1] / found.f0[i + 1, b - 1]))
    return value


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_the_path_is_the_best_of_all(seed):
    rng, n, k = np.random.default_rng(seed), 6, 2
    f0, strength = rng.uniform(60, 900, (n, k)), rng.uniform(0.3, 1, (n, k))
    found = pitch.Candidates(f0, strength, rng.choice([0.3, 50], n))
    best = max(itertools.product(range(k + 1), repeat=n), key=lambda path: worth(path, found))
    assert np.allclose(pitch.best_path(found), [f0[i, s - 1] if s else 0 for i, s in enumerate(best)])


def test_segments_of_a_path_do_not_show(monkeypatch):
    candidates = pitch.candidates(*sung((90, 400), seconds=20)[:1], SR)
    in_segments = pitch.best_path(candidates)
    monkeypatch.setattr(pitch, "SEGMENT", 10_000)
    assert np.array_equal(in_segments, pitch.best_path(candidates))


@pytest.mark.parametrize("f0", [60, 300, 1000])
def test_the_second_tracker_agrees_where_nothing_is_wrong(f0):
    y, truth = sung(f0)
    voiced, f0 = truth[::80] > 0, world.dio(y, SR)
    both = voiced & (f0[: len(voiced)] > 0)
    assert both.sum() > 0.9 * voiced.sum()
    assert np.mean(np.abs(np.log2(f0[: len(voiced)][both] / truth[::80][both])) < 50 / 1200) > 0.95


def test_a_softer_recording_has_the_same_rows_but_for_their_level():
    r = type("Recipe", (), {"features": "world", "frame_length": 240, "sample_rate": SR})
    y = sung(180, seconds=4)[0].astype(np.float32)
    loud, soft = features.encode(y, r), features.encode(y * np.float32(0.01), r)
    apart = loud - soft
    apart[:, -features.N_ENVELOPE] -= np.log(1e4)
    apart = np.delete(apart, world.APERIODICITY, axis=1)  # D4C has a noise of its own
    assert np.abs(apart).max(axis=1).mean() < 1e-2


@pytest.mark.slow
def test_a_gated_recording_is_spread_little_more_than_the_room_it_was_made_in():
    r = type("Recipe", (), {"features": "world", "frame_length": 240, "sample_rate": SR})
    y, truth = sung(180, seconds=12)
    room = np.random.default_rng(1).normal(0, 10 ** (-55 / 20) * y.std(), len(y))
    level = lambda y: features.encode(y.astype(np.float32), r)[:, -features.N_ENVELOPE].std()
    gated = np.where(np.convolve(truth > 0, np.ones(400), "same") > 0, y + room, 0)
    assert level(gated) < 1.3 * level(y + room)
