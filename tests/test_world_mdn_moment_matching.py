"""What a sound's cepstra lack of the voice's, carried back to the frames it was made of."""

import types

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import features, synthetic
from vocalsynth_utils.evaluation import descriptors
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import moment_matching, postfilter

FINE = types.SimpleNamespace(features="world", frame_length=80, sample_rate=16000)
SR = 16000


def song_of(seconds):
    """The built-in voice as WORLD frames, 5 ms apart, the sound these make, and its `CepstralMoments`."""
    frames = features.encode(synthetic.sing(seconds, seed=3), FINE)
    sound = features.decode(frames, FINE)
    return frames, sound, moments_of(sound)


@pytest.fixture(scope="module")
def song():
    return song_of(15)


@pytest.fixture(scope="module")
def minute():
    return song_of(60)


def moments_of(y):
    return moment_matching.cepstral_moments(y, SR, 1.0)


def of_frames(frames):
    return moments_of(features.decode(frames, FINE))


def moments_of_all(y, sample, frames):
    return moment_matching.moments_of_all(y, sample, frames, FINE, 1.0)


def with_envelope(frames, envelope):
    changed = frames.copy()
    changed[:, -N_ENVELOPE:] = envelope
    return changed


def shifted(frames, shift):
    return with_envelope(frames, frames[:, -N_ENVELOPE:] + shift)


def apart(found, expected):
    """How far the mean of one sound's cepstrum is from another's."""
    return np.linalg.norm(found.mean - expected.mean)


def test_the_cepstrum_follows_the_envelope_as_the_map_says(song):
    frames, _, whole = song
    E, change = moment_matching.cepstrum_of_envelope(SR), np.zeros(N_ENVELOPE)
    change[:4] = 0.3, -0.4, 0.2, 0.1
    difference = of_frames(shifted(frames, change)).mean - whole.mean
    assert np.allclose(difference, change @ E, atol=0.1 * np.abs(change @ E).max())


def test_what_is_matched_is_the_timbre_that_distances_are_taken_of(song):
    y = song[1]
    std = float(np.std(y))
    timbre = descriptors.timbre(descriptors.bands((y / std).astype(np.float32), SR)).astype(np.float64)
    mean, slopes = moment_matching.cepstral_moments(y, SR, std)
    assert np.allclose(np.concatenate([mean, slopes.mean]), timbre.mean(axis=0), atol=1e-4)
    n, covariance = descriptors.N_MFCC, np.cov(timbre, rowvar=False)
    assert np.allclose(slopes.covariance, covariance[n:, n:], atol=1e-3)


def test_a_colour_that_no_frame_shows_is_found_and_undone(song):
    frames, _, wanted = song
    vocoder = lambda rows: scipy.signal.lfilter([1, -0.6], [1], features.decode(rows, FINE))  # treble up
    found, measured = np.zeros(N_ENVELOPE), [moments_of(vocoder(frames))]
    for _ in range(2):
        found = found + moment_matching.match_moments(wanted, measured[-1], SR)[0]
        measured.append(moments_of(vocoder(shifted(frames, found))))
    far, *_, near = (apart(each, wanted) for each in measured)
    assert near < 0.15 * far


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen, most",
    [
        (lambda p: np.arange(60) < 20, 0.4),
        (lambda p: np.arange(60) >= 40, 0.2),
        (lambda p: p > np.quantile(p, 0.6), 0.65),
        (lambda p: p < np.quantile(p, 0.4), 0.7),
    ],
    ids=["beginning", "end", "high", "low"],
)
def test_the_moments_of_all_are_found_in_a_third_of_it(minute, chosen, most):
    frames, _, truth = minute
    pieces = np.stack(np.split(frames[:12000], 60))  # a second each
    pitches = np.array([piece[piece[:, VOICING] > 0.5, LOG_F0].mean() for piece in pieces])
    sample = np.concatenate(pieces[chosen(pitches)])
    sound = features.decode(sample, FINE)
    own, found = moments_of(sound), moments_of_all(sound, sample, [frames[:7000], frames[7000:]])
    assert apart(found, truth) < most * apart(own, truth)
    assert all(np.allclose(*pair) for pair in zip(found.slopes, own.slopes))


def test_a_samples_own_chance_is_not_taken_for_colour(song):
    frames, _, whole = song
    part = with_envelope(frames, 1.03 * frames[:, -N_ENVELOPE:])  # by chance a little louder, wider, of another vowel
    part[:, -N_ENVELOPE:][:, :3] += 0.2
    sound = features.decode(part, FINE)
    measured = moments_of_all(sound, part, [frames]), moments_of(sound)
    granted, taken = (np.linalg.norm(moment_matching.match_moments(whole, found, SR)[0]) for found in measured)
    assert granted < 0.3 * taken


def test_when_all_has_become_sound_that_is_what_is_found(song):
    frames, y, whole = song
    found = moments_of_all(y, frames, [frames])
    # some hundredths of a second at the end are not in the frames
    assert apart(found, whole) < 1e-3 * np.linalg.norm(whole.mean)


def test_what_moves_too_much_is_to_be_smoothed_and_what_moves_too_little_less(song):
    frames, _, wanted = song
    trembling = frames.copy()
    trembling[:, -N_ENVELOPE:] += np.random.default_rng(0).normal(0, 0.4, (len(frames), N_ENVELOPE))
    still = postfilter.smooth(0.25 * np.eye(N_ENVELOPE), frames)
    more, same, less = (
        np.trace(moment_matching.match_moments(wanted, measured, SR)[1])
        for measured in (of_frames(trembling), wanted, of_frames(still))
    )
    assert more > 0.1 and abs(same) < 1e-6 and less < -0.01


def test_what_is_not_known_asks_for_nothing(song):
    frames, y, known = song
    unknown = moments_of_all(np.full_like(y, np.nan), frames, [frames])
    short = moments_of_all(y[:8000], frames[:100], [frames])
    for pair in ((known, unknown), (unknown, known), (known._replace(slopes=unknown.slopes), known), (known, short)):
        assert not any(part.any() for part in moment_matching.match_moments(*pair, SR))


def test_chains_that_are_never_voiced_have_moments_too(song):
    whispered = song[0].copy()
    whispered[:, VOICING] = 0
    found = moments_of_all(features.decode(whispered[:1000], FINE), whispered[:1000], [whispered])
    assert np.isfinite(found.mean).all() and found.slopes.known


def test_a_pitch_is_found_in_a_tone_and_none_in_noise():
    t = np.arange(20 * SR) / SR
    tone, noise = np.sign(np.sin(2 * np.pi * 200 * t)) * 0.1, np.random.default_rng(0).normal(0, 0.1, len(t))
    assert moment_matching.voiced_share(tone, SR) > 0.95 and moment_matching.voiced_share(noise, SR) < 0.2
    assert moment_matching.voiced_share(np.concatenate([tone, np.zeros_like(tone)]), SR) == pytest.approx(0.5, abs=0.02)
