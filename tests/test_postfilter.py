"""What becomes of drawn frames before the vocoder: smoothed, and given the voice's mean and covariance."""
import numpy as np
import pytest
import scipy.ndimage

from vocalsynth_utils import postfilter
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
    wanted = postfilter.envelope_moments(voice)
    correction = postfilter.transport(wanted, postfilter.envelope_moments(dull))
    assert np.allclose(postfilter.envelope_moments(postfilter.correct(correction, dull)), wanted, atol=1e-9)


def test_the_map_moves_frames_no_further_than_the_frechet_distance_says():
    from vocalsynth_utils.metrics import frechet
    voice, dull = (a[a[:, VOICING] > 0.5] for a in (rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)))
    correction = postfilter.transport(postfilter.envelope_moments(voice), postfilter.envelope_moments(dull))
    moved = np.sum((postfilter.correct(correction, dull) - dull)[:, 3:] ** 2, axis=1).mean()
    assert moved == pytest.approx(frechet(voice[:, 3:], dull[:, 3:]), rel=1e-3)


def test_pitch_voicing_and_aperiodicity_are_left_alone():
    frames = rows(2)
    filtered = postfilter.PostFilter(0.1, np.full_like(postfilter.nothing(), 3.0)).apply(frames)
    assert np.array_equal(filtered[:, :3], frames[:, :3]) and not np.allclose(filtered[:, 3:], frames[:, 3:])


def test_nothing_changes_nothing_and_equal_moments_need_nothing():
    frames = rows(3)
    assert np.allclose(postfilter.PostFilter(0.0, postfilter.nothing()).apply(frames), frames)
    own = postfilter.envelope_moments(frames)
    assert np.allclose(postfilter.transport(own, own), postfilter.nothing(), atol=1e-6)


def test_a_voice_that_is_always_voiced_leaves_the_other_half_uncorrected():
    always = rows(5)
    always[:, VOICING] = 1
    correction = postfilter.transport(postfilter.envelope_moments(rows(6, scale=2)), postfilter.envelope_moments(always))
    assert np.array_equal(correction[0], postfilter.nothing()[0]) and not np.allclose(correction[1], postfilter.nothing()[1], atol=0.1)


def test_no_direction_is_stretched_without_bound():
    correction = postfilter.transport(postfilter.envelope_moments(rows(7, scale=50)), postfilter.envelope_moments(rows(8)))
    assert np.linalg.eigvalsh(correction[1, 1:]).max() <= postfilter.MOST + 1e-9


@pytest.mark.parametrize("amount", [0.05, 0.25])
def test_smoothing_is_a_mean_of_three_where_all_are_voiced_alike(amount):
    frames = rows(4, n=500)
    frames[:, VOICING] = 1
    expected = scipy.ndimage.convolve1d(frames[:, 3:], [amount, 1 - 2 * amount, amount], axis=0, mode="nearest")
    assert np.allclose(postfilter.smooth(amount, frames)[:, 3:], expected)


def test_the_edge_of_voice_stays_an_edge():
    frames = np.zeros((10, 3 + N_ENVELOPE))
    frames[5:, VOICING] = 1
    frames[5:, 3:] = 7.0
    assert np.array_equal(postfilter.smooth(0.2, frames), frames)


def test_smoothing_takes_movement_and_leaves_what_is_slow():
    n = np.arange(400)[:, None]
    frames = np.ones((400, 3 + N_ENVELOPE))
    frames[:, 3:] = np.sin(2 * np.pi * n / 200) + 0.3 * (-1.0) ** n
    smoothed = postfilter.smooth(0.25, frames)[1:-1, 3:]
    assert np.allclose(smoothed, np.sin(2 * np.pi * n / 200)[1:-1], atol=1e-3)


@pytest.mark.parametrize("sizes", [[1] * 60, [60], [1, 59], [59, 1], [1, 1, 33, 2, 23]])
def test_blocks_give_what_the_whole_gives(sizes):
    frames = rows(6, n=60)
    found = postfilter.PostFilter(0.15, postfilter.transport(postfilter.envelope_moments(rows(0, mix=MIX)), postfilter.envelope_moments(rows(1))))
    given = list(found.blocks(np.split(frames, np.cumsum(sizes)[:-1])))
    assert all(len(block) for block in given) and np.allclose(np.concatenate(given), found.apply(frames))


def test_no_blocks_give_none():
    assert list(postfilter.PostFilter(0.1, postfilter.nothing()).blocks([])) == []
