"""What is heard of a sound, carried back to the frames it was made of."""

import types

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import features, synthetic
from vocalsynth_utils.evaluation import descriptors
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import moment_matching, moments, postfilter

FINE = types.SimpleNamespace(features="world", frame_length=80, sample_rate=16000)
SR = 16000


@pytest.fixture(scope="module")
def song():
    """A minute of the built-in voice as WORLD frames, 5 ms apart, and the sound these make."""
    y = synthetic.sing(60, seed=3)
    frames = features.encode(y, FINE)
    return frames, features.decode(frames, FINE)


def cepstra(y):
    return moment_matching.cepstral_moments(y, SR, 1.0).cepstra


def envelope(frames):
    return moments.moments(frames[:, -N_ENVELOPE:])


def mapped(frames, affine):
    moved = frames.copy()
    moved[:, -N_ENVELOPE:] = frames[:, -N_ENVELOPE:] @ affine[1:] + affine[0]
    return moved


def test_the_cepstrum_follows_the_envelope_as_the_map_says(song):
    frames, y = song
    E, change = moment_matching.cepstrum_of_envelope(SR), np.zeros(N_ENVELOPE)
    change[:4] = 0.3, -0.4, 0.2, 0.1
    moved = frames.copy()
    moved[:, -N_ENVELOPE:] += change
    assert np.allclose(
        (cepstra(features.decode(moved, FINE)) - cepstra(y))[0], change @ E, atol=0.1 * np.abs(change @ E).max()
    )


def test_what_is_heard_is_the_timbre_that_distances_are_taken_of(song):
    y = song[1]
    std = float(np.std(y))
    timbre = descriptors.timbre(descriptors.bands((y / std).astype(np.float32), SR)).astype(np.float64)
    heard = moment_matching.cepstral_moments(y, SR, std)
    assert np.allclose(np.concatenate([heard.cepstra[0], heard.slopes[0]]), timbre.mean(axis=0), atol=1e-4)
    n = descriptors.N_MFCC
    covariance = np.cov(timbre, rowvar=False)
    assert np.allclose(heard.cepstra[1:], covariance[:n, :n], atol=1e-3) and np.allclose(
        heard.slopes[1:], covariance[n:, n:], atol=1e-3
    )


def test_a_colour_that_no_frame_shows_is_heard_and_undone(song):
    frames, clean = song
    wanted = moment_matching.cepstral_moments(clean, SR, 1.0)
    vocoder = lambda rows: scipy.signal.lfilter([1, -0.6], [1], features.decode(rows, FINE))  # treble up
    found = moments.nothing()
    for _ in range(2):
        part = mapped(frames, found)
        more, _ = moment_matching.match_moments(
            wanted, moment_matching.cepstral_moments(vocoder(part), SR, 1.0), envelope(part)[0], SR
        )
        found = moments.then(found, more)
    far, near = (
        np.linalg.norm((cepstra(vocoder(rows)) - wanted.cepstra)[0]) for rows in (frames, mapped(frames, found))
    )
    assert near < 0.15 * far


def test_a_spread_that_is_too_narrow_is_heard_and_undone(song):
    frames, clean = song
    wanted, mean = moment_matching.cepstral_moments(clean, SR, 1.0), envelope(frames)[0]
    narrow = frames.copy()
    narrow[:, -N_ENVELOPE:] = mean + 0.8 * (frames[:, -N_ENVELOPE:] - mean)
    heard = moment_matching.cepstral_moments(features.decode(narrow, FINE), SR, 1.0)
    more, _ = moment_matching.match_moments(wanted, heard, envelope(narrow)[0], SR)
    far, near = (
        np.linalg.norm((c - wanted.cepstra)[1:])
        for c in (heard.cepstra, cepstra(features.decode(mapped(narrow, more), FINE)))
    )
    assert near < 0.35 * far


@pytest.mark.parametrize(
    "chosen, mean, covariance",
    [
        (lambda p: np.arange(60) < 20, 0.4, 0.6),
        (lambda p: np.arange(60) >= 40, 0.2, 0.5),
        (lambda p: p > np.quantile(p, 0.6), 0.65, 1.2),
        (lambda p: p < np.quantile(p, 0.4), 0.65, 0.8),
    ],
    ids=["beginning", "end", "high", "low"],
)
def test_all_is_heard_in_a_third_of_it(song, chosen, mean, covariance):
    frames, y = song
    pieces = np.stack(np.split(frames[:12000], 60))  # a second each
    sample = np.concatenate(
        pieces[chosen(np.array([piece[piece[:, VOICING] > 0.5, LOG_F0].mean() for piece in pieces]))]
    )
    sound = features.decode(sample, FINE)
    truth, own, found = (
        moment_matching.cepstral_moments(y, SR, 1.0),
        moment_matching.cepstral_moments(sound, SR, 1.0),
        moment_matching.moments_of_all(sound, sample, [frames[:7000], frames[7000:]], FINE, 1.0),
    )
    for part, factor in ((0, mean), (slice(1, None), covariance)):
        assert np.linalg.norm(found.cepstra[part] - truth.cepstra[part]) < factor * np.linalg.norm(
            own.cepstra[part] - truth.cepstra[part]
        )
    assert np.allclose(found.slopes, own.slopes)


def test_a_samples_own_chance_is_not_taken_for_colour(song):
    frames, y = song
    part = frames.copy()  # by chance a little louder, wider and of another vowel
    part[:, -N_ENVELOPE:] *= 1.03
    part[:, -N_ENVELOPE:][:, :3] += 0.2
    whole, sound = moment_matching.cepstral_moments(y, SR, 1.0), features.decode(part, FINE)
    heard = (
        moment_matching.moments_of_all(sound, part, [frames], FINE, 1.0),
        moment_matching.cepstral_moments(sound, SR, 1.0),
    )
    granted, taken = (
        np.linalg.norm(moment_matching.match_moments(whole, h, envelope(rows)[0], SR)[0] - moments.nothing())
        for h, rows in zip(heard, (frames, part))
    )
    assert granted < 0.3 * taken


def test_when_all_is_listened_to_that_is_what_is_heard(song):
    frames, y = song
    whole, found = (
        moment_matching.cepstral_moments(y, SR, 1.0).cepstra,
        moment_matching.moments_of_all(y, frames, [frames], FINE, 1.0).cepstra,
    )
    assert np.linalg.norm(found - whole) < 1e-3 * np.linalg.norm(
        whole
    )  # some hundredths of a second at the end are not in the frames


def test_what_moves_too_much_is_to_be_smoothed_and_what_moves_too_little_less(song):
    frames, y = song
    trembling = frames.copy()
    trembling[:, -N_ENVELOPE:] += np.random.default_rng(0).normal(0, 0.4, (len(frames), N_ENVELOPE))
    still = postfilter.smooth(0.25 * np.eye(N_ENVELOPE), frames)
    asked = [
        np.trace(
            moment_matching.match_moments(
                moment_matching.cepstral_moments(y, SR, 1.0),
                moment_matching.cepstral_moments(features.decode(rows, FINE), SR, 1.0),
                envelope(rows)[0],
                SR,
            )[1]
        )
        for rows in (trembling, frames, still)
    ]
    assert asked[0] > 0.1 and abs(asked[1]) < 1e-6 and asked[2] < -0.01


def test_what_is_not_heard_asks_for_nothing(song):
    frames, y = song
    heard, own = moment_matching.cepstral_moments(y, SR, 1.0), envelope(frames)[0]
    unknown = moment_matching.moments_of_all(np.full_like(y, np.nan), frames, [frames], FINE, 1.0)
    short = moment_matching.moments_of_all(y[:8000], frames[:100], [frames], FINE, 1.0)
    for pair in ((heard, unknown), (unknown, heard), (heard._replace(slopes=unknown.slopes), heard), (heard, short)):
        more, smoother = moment_matching.match_moments(*pair, own, SR)
        assert np.array_equal(more, moments.nothing()) and not smoother.any()


def test_voices_that_are_never_voiced_are_heard_too(song):
    frames, _ = song
    whispered = frames.copy()
    whispered[:, VOICING] = 0
    found = moment_matching.moments_of_all(
        features.decode(whispered[:4000], FINE), whispered[:4000], [whispered], FINE, 1.0
    )
    assert np.isfinite(found.cepstra).all()


def test_a_pitch_is_heard_in_a_tone_and_none_in_noise():
    t = np.arange(70 * SR) / SR
    tone, noise = np.sign(np.sin(2 * np.pi * 200 * t)) * 0.1, np.random.default_rng(0).normal(0, 0.1, len(t))
    assert moment_matching.voiced_share(tone, SR) > 0.95 and moment_matching.voiced_share(noise, SR) < 0.2
    assert moment_matching.voiced_share(np.concatenate([tone, np.zeros_like(tone)]), SR) == pytest.approx(0.5, abs=0.02)
