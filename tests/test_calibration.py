"""The correction that gives a generated voice its mean and spread back."""
import numpy as np

from vocalsynth_utils import calibration
from vocalsynth_utils.features import N_ENVELOPE, VOICING


def rows(seed, scale=1.0, shift=0.0, n=4000):
    """WORLD-like rows whose envelope has another spread where voiced."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, (n, 3 + N_ENVELOPE))
    made[:, VOICING] = rng.random(n) < 0.6
    made[:, 3:] *= 1 + made[:, VOICING:VOICING + 1]
    made[:, 3:] = made[:, 3:] * scale + shift
    return made


def test_dull_and_offset_frames_get_the_voices_moments_back():
    voice, dull = rows(0), rows(1, scale=0.8, shift=0.5)
    wanted = calibration.moments(voice)
    correction = calibration.refine(calibration.nothing(), wanted, calibration.moments(dull))
    assert np.allclose(calibration.moments(calibration.apply(correction, dull)), wanted, atol=1e-9)


def test_pitch_voicing_and_aperiodicity_are_left_alone():
    frames = rows(2)
    corrected = calibration.apply(np.full((2, 2, N_ENVELOPE), 3.0), frames)
    assert np.array_equal(corrected[:, :3], frames[:, :3]) and not np.allclose(corrected[:, 3:], frames[:, 3:])


def test_nothing_changes_nothing_and_rounds_add_up():
    frames, wanted = rows(3), calibration.moments(rows(4))
    assert np.allclose(calibration.apply(calibration.nothing(), frames), frames)
    once = calibration.refine(calibration.nothing(), wanted, calibration.moments(frames))
    again = calibration.refine(once, wanted, calibration.moments(calibration.apply(once, frames)))
    assert np.allclose(once, again)


def test_a_voice_that_is_always_voiced_leaves_the_other_half_uncorrected():
    always = rows(5)
    always[:, VOICING] = 1
    correction = calibration.refine(calibration.nothing(), calibration.moments(rows(6)), calibration.moments(always))
    assert np.array_equal(correction[0], calibration.nothing()[0])


def test_a_samples_own_chance_is_not_taken_for_the_vocoders_colour():
    wanted, before = calibration.moments(rows(7)), calibration.moments(rows(8, scale=0.9, shift=0.2))
    assert np.allclose(calibration.coloured(wanted, before, before), wanted)
    after = before + np.array([[[0.3], [0.0]]])  # the vocoder shifts every mean
    assert np.allclose(calibration.coloured(wanted, before, after)[:, 0], wanted[:, 0] + 0.3)
