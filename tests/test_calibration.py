"""The correction that gives a generated voice its mean and covariance back."""
import types

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import calibration, features, voice
from vocalsynth_utils.features import N_ENVELOPE, VOICING

FINE = types.SimpleNamespace(features="world", frame_length=80, sample_rate=16000)
MIX = np.eye(N_ENVELOPE) + 0.05 * np.random.default_rng(9).normal(size=(N_ENVELOPE, N_ENVELOPE))


def rows(seed, scale=1.0, shift=0.0, n=20000, mix=np.eye(N_ENVELOPE)):
    """WORLD-like rows whose envelope has another spread where voiced."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, (n, 3 + N_ENVELOPE))
    made[:, VOICING] = rng.random(n) < 0.6
    made[:, 3:] *= 1 + made[:, VOICING:VOICING + 1]
    made[:, 3:] = made[:, 3:] @ mix * scale + shift
    return made


def test_dull_and_offset_frames_get_the_voices_mean_and_covariance_back():
    voice, dull = rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)
    wanted = calibration.moments(voice)
    correction = calibration.transport(wanted, calibration.moments(dull))
    assert np.allclose(calibration.moments(calibration.apply(correction, dull)), wanted, atol=1e-9)


def test_the_map_moves_frames_no_further_than_the_frechet_distance_says():
    from vocalsynth_utils.metrics import frechet
    voice, dull = (a[a[:, VOICING] > 0.5] for a in (rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)))
    correction = calibration.transport(calibration.moments(voice), calibration.moments(dull))
    moved = np.sum((calibration.apply(correction, dull) - dull)[:, 3:] ** 2, axis=1).mean()
    assert moved == pytest.approx(frechet(voice[:, 3:], dull[:, 3:]), rel=1e-3)


def test_pitch_voicing_and_aperiodicity_are_left_alone():
    frames = rows(2)
    corrected = calibration.apply(np.full_like(calibration.nothing(), 3.0), frames)
    assert np.array_equal(corrected[:, :3], frames[:, :3]) and not np.allclose(corrected[:, 3:], frames[:, 3:])


def test_nothing_changes_nothing_and_equal_moments_need_nothing():
    frames = rows(3)
    assert np.allclose(calibration.apply(calibration.nothing(), frames), frames)
    own = calibration.moments(frames)
    assert np.allclose(calibration.transport(own, own), calibration.nothing(), atol=1e-6)


def test_a_voice_that_is_always_voiced_leaves_the_other_half_uncorrected():
    always = rows(5)
    always[:, VOICING] = 1
    wanted, measured = calibration.moments(rows(6)), calibration.moments(always)
    correction = calibration.transport(wanted, measured)
    assert np.array_equal(correction[0], calibration.nothing()[0])
    heard = np.stack([np.full((1 + calibration.N_MFCC, calibration.N_MFCC), np.nan), np.vstack([np.zeros(calibration.N_MFCC), np.eye(calibration.N_MFCC)])])
    improved = calibration.by_ear(correction, heard, heard + 0.1, measured, measured, 16000)
    assert np.array_equal(improved[0], correction[0]) and np.isfinite(improved).all() and not np.array_equal(improved[1], correction[1])


def test_no_direction_is_stretched_without_bound():
    correction = calibration.transport(calibration.moments(rows(7, scale=50)), calibration.moments(rows(8)))
    assert np.linalg.eigvalsh(correction[1, 1:]).max() <= calibration.MOST + 1e-9


def test_the_average_is_that_of_both_clouds_together():
    a, b = rows(10, shift=1.0), rows(11, scale=2.0, shift=-1.0)
    a, b = (x[x[:, VOICING] > 0.5][:9000] for x in (a, b))  # as many of each
    both = np.concatenate([a, b])
    average = calibration._average([calibration.moments(a), calibration.moments(b)])
    assert np.allclose(average[1], calibration.moments(both)[1], rtol=1e-3, atol=1e-3)
    assert np.array_equal(calibration._average([calibration.moments(a), calibration.moments(b[:9])])[1], calibration.moments(a)[1])


@pytest.fixture(scope="module")
def song():
    """A minute of the built-in voice as WORLD frames, 5 ms apart, and the sound these make."""
    y = voice.sing(60, seed=3)
    frames = features.encode(y, FINE)
    return frames, features.decode(frames, FINE)


def test_the_cepstrum_follows_the_envelope_as_the_map_says(song):
    frames, y = song
    E, change = calibration.cepstrum_of_envelope(16000), np.zeros(N_ENVELOPE)
    change[:4] = 0.3, -0.4, 0.2, 0.1
    moved = frames.copy()
    moved[:, -N_ENVELOPE:] += change
    before, after = (calibration.sound_moments(z, frames[:, VOICING], 16000) for z in (y, features.decode(moved, FINE)))
    assert np.allclose((after - before)[1, 0], change @ E, atol=0.1 * np.abs(change @ E).max())


def test_a_colour_that_no_frame_shows_is_heard_and_undone(song):
    frames, clean = song
    wanted = calibration.sound_moments(clean, frames[:, VOICING], 16000)
    vocoder = lambda rows: scipy.signal.lfilter([1, -0.6], [1], features.decode(rows, FINE))  # treble up
    correction, own = calibration.nothing(), calibration.moments(frames)
    for _ in range(2):
        part = calibration.apply(correction, frames)
        heard = calibration.sound_moments(vocoder(part), frames[:, VOICING], 16000)
        correction = calibration.by_ear(correction, wanted, heard, calibration.moments(part), calibration.moments(part), 16000)
    far, near = (np.linalg.norm((calibration.sound_moments(vocoder(rows_), frames[:, VOICING], 16000) - wanted)[1, 0])
                 for rows_ in (frames, calibration.apply(correction, frames)))
    assert near < 0.15 * far and not np.allclose(own, calibration.moments(part))


def test_a_samples_own_chance_is_not_taken_for_colour(song):
    frames, y = song
    part = frames.copy()  # by chance a little louder, wider and of another vowel
    part[:, -N_ENVELOPE:] *= 1.03
    part[:, -N_ENVELOPE:][:, :3] += 0.2
    whole, heard = (calibration.sound_moments(z, frames[:, VOICING], 16000) for z in (y, features.decode(part, FINE)))
    steps = [calibration.by_ear(calibration.nothing(), whole, heard, calibration.moments(part), expected, 16000)
             for expected in (calibration.moments(frames), calibration.moments(part))]
    granted, taken = (np.linalg.norm(calibration.apply(step, frames) - frames) for step in steps)
    assert granted < 0.3 * taken


def test_what_is_kept_is_what_is_read(tmp_path):
    run = types.SimpleNamespace(folder=tmp_path, recipe=types.SimpleNamespace(loss="world"))
    assert calibration.load(run) == (None, None, 0)
    kept = calibration.Calibration(calibration.nothing() * 1.5, np.array([[0.1, 0.2, -40.0], [0.9, 1.7, 3.0]]), -0.25)
    for seconds in (kept.seconds, None):
        calibration.save(run, kept._replace(seconds=seconds))
        read = calibration.load(run)
        assert read.voicing == -0.25 and np.array_equal(read.correction, kept.correction) and (read.seconds is None if seconds is None else np.array_equal(read.seconds, seconds))
    (tmp_path / "calibration.json").write_text('{"correction": []}')
    with pytest.raises(ValueError, match="calibration.json cannot be used"):
        calibration.load(run)


@pytest.mark.parametrize("slope", [0.6, 1.0, 1.4])
def test_voicing_is_moved_until_it_is_as_often_as_wanted(slope):
    def sing(shift):  # a network whose voicing follows otherwise than one to one
        share = 1 / (1 + np.exp(-(1.6 + slope * shift)))
        sung = np.zeros((2, 5000, 3))
        sung[..., VOICING] = np.linspace(0, 1, 5000) < share
        return sung
    shift, sung = calibration._as_often_voiced(sing, 0.75)
    assert sung[..., VOICING].mean() == pytest.approx(0.75, abs=0.01) and np.array_equal(sung, sing(shift))


def test_voicing_that_is_right_but_for_chance_is_left_alone():
    sung = np.zeros((2, 1000, 3))
    sung[:, :755, VOICING] = 1
    assert calibration._as_often_voiced(lambda shift: sung, 0.75) == (0.0, sung)


def test_log_odds_of_voice_are_what_is_added_to():
    from vocalsynth_utils import model, recipes, stepping
    recipe = recipes.get("world-mdn").replace(n_units=(8,))
    network = model.build_network(recipe, 3 + N_ENVELOPE)
    primer, numbers = np.zeros((1000, 1, 3 + N_ENVELOPE), np.float32), stepping.random_numbers(np.random.default_rng(0), 1000, network.head)
    for shift, expected in ((0.0, 0.5), (2.0, 1 / (1 + np.exp(-2.0)))):
        frames, _ = stepping.compile_voices(calibration.more_voiced(network, shift))(primer, None, *numbers)
        assert np.mean(frames[:, VOICING] == network.head.voiced) == pytest.approx(expected, abs=0.04)
