"""The correction that gives a generated voice its mean and covariance back."""
import numpy as np
import pytest

from vocalsynth_utils import calibration
from vocalsynth_utils.features import N_ENVELOPE, VOICING

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
    assert np.isfinite(calibration.without_colour(correction, wanted, measured, measured)).all()


def test_no_direction_is_stretched_without_bound():
    correction = calibration.transport(calibration.moments(rows(7, scale=50)), calibration.moments(rows(8)))
    assert np.linalg.eigvalsh(correction[1, 1:]).max() <= calibration.MOST + 1e-9


def test_the_vocoders_colour_is_undone_and_a_samples_own_chance_is_not_taken_for_it():
    wanted, sample = calibration.moments(rows(7)), rows(8, scale=0.9, shift=0.2)
    same = calibration.without_colour(calibration.nothing(), wanted, *[calibration.moments(sample)] * 2)
    assert np.allclose(same, calibration.nothing(), atol=1e-9)
    vocoder = lambda frames: np.hstack([frames[:, :3], 1.1 * frames[:, 3:] + 0.3])
    undo = calibration.without_colour(calibration.nothing(), wanted, calibration.moments(sample), calibration.moments(vocoder(sample)))
    heard = calibration.moments(vocoder(calibration.apply(undo, rows(7))))
    assert np.abs(heard - wanted).max() < 0.05 < np.abs(calibration.moments(vocoder(rows(7))) - wanted).max()
