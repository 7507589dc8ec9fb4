"""What becomes of drawn frames before the vocoder: given the voice's pitches, its mean and covariance, and smoothed."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from vocalsynth_utils.evaluation.measures import frechet
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import moments, postfilter

MIX = np.eye(N_ENVELOPE) + 0.05 * np.random.default_rng(9).normal(size=(N_ENVELOPE, N_ENVELOPE))


def rows(seed, scale=1.0, shift=0.0, n=20000, mix=np.eye(N_ENVELOPE)):
    """WORLD-like rows whose envelope has another spread where voiced."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, (n, 3 + N_ENVELOPE))
    made[:, VOICING] = rng.random(n) < 0.6
    made[:, 3:] *= 1 + made[:, VOICING : VOICING + 1]
    made[:, 3:] = made[:, 3:] @ mix * scale + shift
    return made


def correction_to(wanted, measured):
    return np.stack(
        [moments.transport(*pair) for pair in zip(moments.envelope_moments(wanted), moments.envelope_moments(measured))]
    )


def smoothing(seed=0):
    """A matrix whose directions are smoothed by 0.02 to 0.24."""
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(N_ENVELOPE, N_ENVELOPE)))[0]
    return (vectors * np.linspace(0.02, 0.24, N_ENVELOPE)) @ vectors.T


SAME_PITCH, NO_CORRECTION, NO_SMOOTHING = (
    np.tile(np.linspace(-9, 9, 5), (2, 1)),
    np.stack([moments.nothing()] * 2),
    np.zeros((N_ENVELOPE, N_ENVELOPE)),
)


def test_dull_and_offset_frames_get_the_voices_mean_and_covariance_back():
    voice, dull = rows(0, mix=MIX), rows(1, scale=0.8, shift=0.5)
    corrected = postfilter.correct(correction_to(voice, dull), dull)
    assert np.allclose(moments.envelope_moments(corrected), moments.envelope_moments(voice), atol=1e-9)


def test_moments_are_mean_and_covariance_and_of_a_few_rows_nothing_is_known():
    x = np.random.default_rng(1).normal(size=(500, 3))
    found = moments.moments(x)
    centred = x - x.sum(axis=0) / 500
    assert np.allclose(found[0], x.sum(axis=0) / 500) and np.allclose(found[1:], centred.T @ centred / 499)
    assert np.isnan(moments.moments(x[: moments.ROWS_NEEDED - 1])).all()


def test_one_map_then_another_is_what_both_do():
    rng = np.random.default_rng(2)
    first, second, x = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
    both = moments.then(first, second)
    assert np.allclose(x @ both[1:] + both[0], (x @ first[1:] + first[0]) @ second[1:] + second[0])
    assert np.array_equal(moments.then(first, moments.nothing(4)), first) and np.array_equal(
        moments.then(moments.nothing(4), first), first
    )


def test_pitches_that_are_too_low_and_too_wide_get_the_voices_distribution():
    voice, sung = rows(10), rows(11)
    voice[:, LOG_F0], sung[:, LOG_F0] = 5.2 + 0.2 * voice[:, LOG_F0], 5.1 + 0.3 * sung[:, LOG_F0]
    pitch = postfilter.pitch_map(postfilter.pitches(voice), postfilter.pitches(sung))
    mapped = postfilter.map_pitch(pitch, sung)
    voiced = mapped[mapped[:, VOICING] > 0.5, LOG_F0]
    inner = voiced[(voiced > pitch[1, 0]) & (voiced < pitch[1, -1])]
    assert (
        scipy.stats.kstest(inner, scipy.stats.truncnorm(*((pitch[1, [0, -1]] - 5.2) / 0.2), 5.2, 0.2).cdf).statistic
        < 0.015
    )
    assert voiced.max() == pitch[1, -1] and voiced.min() == pitch[1, 0]  # what is out of the range stays at its edge
    order = np.argsort(sung[:, LOG_F0])
    assert (np.diff(mapped[order, LOG_F0]) >= 0).all() and np.array_equal(mapped[:, 1:], sung[:, 1:])


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
    frames = rows(2)
    filtered = postfilter.PostFilter(SAME_PITCH * 0.5, np.full_like(NO_CORRECTION, 3.0), smoothing()).apply(frames)
    assert (
        np.array_equal(filtered[:, 1:3], frames[:, 1:3])
        and not np.isclose(filtered[:, [0, *range(3, 3 + N_ENVELOPE)]], frames[:, [0, *range(3, 3 + N_ENVELOPE)]]).all()
    )


def test_nothing_changes_nothing_and_equal_moments_need_nothing():
    frames = rows(3)
    assert np.allclose(postfilter.PostFilter(SAME_PITCH, NO_CORRECTION, NO_SMOOTHING).apply(frames), frames)
    assert np.allclose(correction_to(frames, frames), NO_CORRECTION, atol=1e-6)


def test_a_voice_that_is_always_voiced_leaves_the_other_half_uncorrected():
    always = rows(5)
    always[:, VOICING] = 1
    correction = correction_to(rows(6, scale=2), always)
    assert np.array_equal(correction[0], moments.nothing()) and not np.allclose(
        correction[1], moments.nothing(), atol=0.1
    )


def test_no_direction_is_stretched_without_bound():
    correction = correction_to(rows(7, scale=50), rows(8))
    assert np.linalg.eigvalsh(correction[1, 1:]).max() <= moments.MOST + 1e-9


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
    apart = np.stack(
        [
            scipy.ndimage.convolve1d(frames[:, 3:] @ v, [a, 1 - 2 * a, a], mode="nearest")
            for a, v in zip(values, vectors.T)
        ],
        axis=1,
    )
    assert np.allclose(postfilter.smooth(amount, frames)[:, 3:], apart @ vectors.T)


def test_smoothing_is_kept_between_none_and_all_that_alternates():
    amount = moments.bounded(10 * smoothing() - np.eye(N_ENVELOPE))
    values = np.linalg.eigvalsh(amount)
    assert (
        values.min() > -1e-12
        and values.max() == pytest.approx(moments.MOST_SMOOTHING)
        and np.allclose(amount, amount.T)
    )
    assert np.allclose(moments.bounded(smoothing()), smoothing())


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
    assert list(postfilter.PostFilter(SAME_PITCH, NO_CORRECTION, NO_SMOOTHING).blocks([])) == []
