"""Frames after the post-filter: of the voice's pitches, mean and covariance, smoothed; Gaussians and their maps."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from vocalsynth_utils.evaluation.measures import frechet
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import postfilter
from vocalsynth_utils.world_mdn.moments import MOST, ROWS_NEEDED, AffineMap, Gaussian, envelope_moments, transport

NO_MIX = np.eye(N_ENVELOPE)
MIX = NO_MIX + 0.05 * np.random.default_rng(9).normal(size=(N_ENVELOPE, N_ENVELOPE))


def rows(seed, scale=1.0, shift=0.0, n=20000, mix=NO_MIX):
    """WORLD-like rows whose envelope has another spread where voiced."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, (n, 3 + N_ENVELOPE))
    made[:, VOICING] = rng.random(n) < 0.6
    made[:, 3:] *= 1 + made[:, VOICING : VOICING + 1]
    made[:, 3:] = made[:, 3:] @ mix * scale + shift
    return made


def correction_to(wanted, measured):
    return tuple(transport(*pair) for pair in zip(envelope_moments(wanted), envelope_moments(measured)))


def close(found, expected, **tolerance):
    """Whether each array of a Gaussian or of a map is near that of another."""
    return all(np.allclose(*pair, **tolerance) for pair in zip(found, expected))


def smoothing(seed=0):
    """A matrix whose directions are smoothed by 0.02 to 0.24."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(N_ENVELOPE, N_ENVELOPE)))[0]
    return (vectors * np.linspace(0.02, 0.24, N_ENVELOPE)) @ vectors.T


SAME_PITCH = np.tile(np.linspace(-9, 9, 5), (2, 1))
NOTHING = AffineMap.identity()
NO_FILTER = postfilter.PostFilter(SAME_PITCH, (NOTHING, NOTHING), np.zeros((N_ENVELOPE, N_ENVELOPE)))


def test_dull_and_offset_frames_get_the_voices_mean_and_covariance_back():
    voice, dull = rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)
    corrected = postfilter.correct(correction_to(voice, dull), dull)
    assert all(close(*pair, atol=1e-9) for pair in zip(envelope_moments(corrected), envelope_moments(voice)))


def test_moments_are_mean_and_covariance_and_of_a_few_rows_nothing_is_known():
    x = np.random.default_rng(1).normal(size=(500, 3))
    found = Gaussian.fit(x)
    centred = x - x.sum(axis=0) / 500
    assert np.allclose(found.mean, x.sum(axis=0) / 500) and np.allclose(found.covariance, centred.T @ centred / 499)
    few = Gaussian.fit(x[: ROWS_NEEDED - 1])
    assert np.isnan(few.mean).all() and np.isnan(few.covariance).all() and found.known and not few.known


def test_one_map_then_another_is_what_both_do():
    rng = np.random.default_rng(2)
    first, second = (AffineMap(rng.normal(size=4), rng.normal(size=(4, 4))) for _ in range(2))
    x, nothing = rng.normal(size=(7, 4)), AffineMap.identity(4)
    assert np.allclose(first.apply(x), x @ first.matrix + first.shift) and np.array_equal(nothing.apply(x), x)
    assert np.allclose(first.then(second).apply(x), second.apply(first.apply(x)))
    for same in (first.then(nothing), nothing.then(first)):
        assert all(np.array_equal(*pair) for pair in zip(same, first))


def test_pitches_that_are_too_low_and_too_wide_get_the_voices_distribution():
    voice, drawn = rows(10), rows(11)
    voice[:, LOG_F0], drawn[:, LOG_F0] = 5.2 + 0.2 * voice[:, LOG_F0], 5.1 + 0.3 * drawn[:, LOG_F0]
    pitch = postfilter.pitch_map(postfilter.pitches(voice), postfilter.pitches(drawn))
    mapped, (low, high) = postfilter.map_pitch(pitch, drawn), pitch[1, [0, -1]]
    voiced = mapped[mapped[:, VOICING] > 0.5, LOG_F0]
    wanted = scipy.stats.truncnorm((low - 5.2) / 0.2, (high - 5.2) / 0.2, 5.2, 0.2)
    assert scipy.stats.kstest(voiced[(voiced > low) & (voiced < high)], wanted.cdf).statistic < 0.015
    assert voiced.max() == high and voiced.min() == low  # what is out of the range stays at its edge
    order = np.argsort(drawn[:, LOG_F0])
    assert (np.diff(mapped[order, LOG_F0]) >= 0).all() and np.array_equal(mapped[:, 1:], drawn[:, 1:])


def test_a_melody_of_two_notes_can_be_mapped_and_one_that_is_not_known_is_left():
    notes = rows(12)
    notes[:, LOG_F0] = np.where(notes[:, LOG_F0] > 0, 5.0, 5.5)
    found = postfilter.pitches(notes)
    assert (np.diff(found) > 0.9 * postfilter.APART).all()
    assert np.allclose(postfilter.map_pitch(postfilter.pitch_map(found, found), notes), notes, atol=0.01)
    notes[:, LOG_F0] = 5.3
    unvoiced = notes.copy()
    unvoiced[:, VOICING] = 0
    for pair in ((notes, unvoiced), (unvoiced, notes)):
        assert np.allclose(postfilter.map_pitch(postfilter.pitch_map(*map(postfilter.pitches, pair)), notes), notes)


def test_the_map_moves_frames_no_further_than_the_frechet_distance_says():
    voice, dull = (a[a[:, VOICING] > 0.5] for a in (rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)))
    correction = correction_to(voice, dull)
    moved = np.sum((postfilter.correct(correction, dull) - dull)[:, 3:] ** 2, axis=1).mean()
    assert moved == pytest.approx(frechet(voice[:, 3:], dull[:, 3:]), rel=1e-3)


def test_voicing_and_aperiodicity_are_left_alone():
    frames, other = rows(2), AffineMap(np.full(N_ENVELOPE, 3.0), np.full((N_ENVELOPE, N_ENVELOPE), 3.0))
    filtered = postfilter.PostFilter(SAME_PITCH * 0.5, (other, other), smoothing()).apply(frames)
    changed = [0, *range(3, 3 + N_ENVELOPE)]
    assert np.array_equal(filtered[:, 1:3], frames[:, 1:3])
    assert not np.isclose(filtered[:, changed], frames[:, changed]).all()


def test_nothing_changes_nothing_and_equal_moments_need_nothing():
    frames = rows(3)
    assert np.allclose(NO_FILTER.apply(frames), frames)
    assert all(close(part, NOTHING, atol=1e-6) for part in correction_to(frames, frames))


def test_a_voice_that_is_always_voiced_leaves_the_other_half_uncorrected():
    always = rows(5)
    always[:, VOICING] = 1
    unvoiced, voiced = correction_to(rows(6, scale=2), always)
    assert all(np.array_equal(*pair) for pair in zip(unvoiced, NOTHING)) and not close(voiced, NOTHING, atol=0.1)


def test_no_direction_is_stretched_without_bound():
    _, voiced = correction_to(rows(7, scale=50), rows(8))
    assert np.linalg.eigvalsh(voiced.matrix).max() <= MOST + 1e-9


@pytest.mark.parametrize("amount", [0.05, 0.25])
def test_smoothing_is_a_mean_of_three_where_all_are_voiced_alike(amount):
    frames = rows(4, n=500)
    frames[:, VOICING] = 1
    expected = scipy.ndimage.convolve1d(frames[:, 3:], [amount, 1 - 2 * amount, amount], axis=0, mode="nearest")
    assert np.allclose(postfilter.smooth(amount * np.eye(N_ENVELOPE), frames)[:, 3:], expected)


def test_each_direction_is_smoothed_by_an_amount_of_its_own():
    frames = rows(13, n=500)
    frames[:, VOICING] = 0
    amount = smoothing()
    values, vectors = np.linalg.eigh(amount)
    kernels = [[a, 1 - 2 * a, a] for a in values]
    apart = [scipy.ndimage.convolve1d(x, k, mode="nearest") for x, k in zip((frames[:, 3:] @ vectors).T, kernels)]
    assert np.allclose(postfilter.smooth(amount, frames)[:, 3:], np.stack(apart, axis=1) @ vectors.T)


def test_smoothing_is_kept_between_none_and_all_that_alternates():
    amount = postfilter.bounded(10 * smoothing() - np.eye(N_ENVELOPE))
    values = np.linalg.eigvalsh(amount)
    assert values.min() > -1e-12 and values.max() == pytest.approx(postfilter.MOST_SMOOTHING)
    assert np.allclose(amount, amount.T) and np.allclose(postfilter.bounded(smoothing()), smoothing())


def test_the_edge_of_voice_stays_an_edge():
    frames = np.zeros((10, 3 + N_ENVELOPE))
    frames[5:, VOICING] = 1
    frames[5:, 3:] = 7.0
    assert np.array_equal(postfilter.smooth(0.2 * np.eye(N_ENVELOPE), frames), frames)


def test_smoothing_takes_movement_and_leaves_what_is_slow():
    n = np.arange(400)[:, None]
    frames = np.ones((400, 3 + N_ENVELOPE))
    frames[:, 3:] = np.sin(2 * np.pi * n / 200) + 0.3 * (-1.0) ** n
    smoothed = postfilter.smooth(0.25 * np.eye(N_ENVELOPE), frames)[1:-1, 3:]
    assert np.allclose(smoothed, np.sin(2 * np.pi * n / 200)[1:-1], atol=1e-3)


@pytest.mark.parametrize("sizes", [[1] * 60, [60], [1, 59], [59, 1], [1, 1, 33, 2, 23]])
def test_blocks_give_what_the_whole_gives(sizes):
    frames = rows(6, n=60)
    found = postfilter.PostFilter(SAME_PITCH * 1.1, correction_to(rows(0, mix=MIX), rows(1)), smoothing())
    given = list(found.blocks(np.split(frames, np.cumsum(sizes)[:-1])))
    assert all(len(block) for block in given) and np.allclose(np.concatenate(given), found.apply(frames))


def test_no_blocks_give_none():
    assert list(NO_FILTER.blocks([])) == []
