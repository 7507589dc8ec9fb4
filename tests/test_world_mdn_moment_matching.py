"""What a sound's cepstra lack of the voice's, carried back to the frames it was made of."""

import types

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import features, synthetic
from vocalsynth_utils.evaluation import descriptors
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.world_mdn import moment_matching, postfilter
from vocalsynth_utils.world_mdn.moments import AffineMap

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


def mean_envelope(frames):
    return frames[:, -N_ENVELOPE:].astype(np.float64).mean(axis=0)


def with_envelope(frames, envelope):
    changed = frames.copy()
    changed[:, -N_ENVELOPE:] = envelope
    return changed


def mapped(frames, affine):
    return with_envelope(frames, affine.apply(frames[:, -N_ENVELOPE:]))


def apart(found, expected):
    """How far one Gaussian is from another in its mean, and in its covariance."""
    return np.array([np.linalg.norm(a - b) for a, b in zip(found, expected)])


def test_the_cepstrum_follows_the_envelope_as_the_map_says(song):
    frames, _, whole = song
    E, change = moment_matching.cepstrum_of_envelope(SR), np.zeros(N_ENVELOPE)
    change[:4] = 0.3, -0.4, 0.2, 0.1
    moved = of_frames(with_envelope(frames, frames[:, -N_ENVELOPE:] + change))
    difference = moved.cepstra.mean - whole.cepstra.mean
    assert np.allclose(difference, change @ E, atol=0.1 * np.abs(change @ E).max())


def test_what_is_matched_is_the_timbre_that_distances_are_taken_of(song):
    y = song[1]
    std = float(np.std(y))
    timbre = descriptors.timbre(descriptors.bands((y / std).astype(np.float32), SR)).astype(np.float64)
    cepstra, slopes = moment_matching.cepstral_moments(y, SR, std)
    assert np.allclose(np.concatenate([cepstra.mean, slopes.mean]), timbre.mean(axis=0), atol=1e-4)
    n, covariance = descriptors.N_MFCC, np.cov(timbre, rowvar=False)
    assert np.allclose(cepstra.covariance, covariance[:n, :n], atol=1e-3)
    assert np.allclose(slopes.covariance, covariance[n:, n:], atol=1e-3)


def test_a_colour_that_no_frame_shows_is_found_and_undone(song):
    frames, _, wanted = song
    vocoder = lambda rows: scipy.signal.lfilter([1, -0.6], [1], features.decode(rows, FINE))  # treble up
    found, measured = AffineMap.identity(), [moments_of(vocoder(frames))]
    for _ in range(2):
        more, _ = moment_matching.match_moments(wanted, measured[-1], mean_envelope(mapped(frames, found)), SR)
        found = found.then(more)
        measured.append(moments_of(vocoder(mapped(frames, found))))
    far, *_, near = (apart(each.cepstra, wanted.cepstra)[0] for each in measured)
    assert near < 0.15 * far


def test_a_spread_that_is_too_narrow_is_found_and_undone_step_by_step(song):
    frames, _, wanted = song
    mean = mean_envelope(frames)
    narrow = with_envelope(frames, mean + 0.8 * (frames[:, -N_ENVELOPE:] - mean))
    measured = [of_frames(narrow)]
    for _ in range(3):
        more, _ = moment_matching.match_moments(wanted, measured[-1], mean_envelope(narrow), SR)
        narrow = mapped(narrow, more)
        measured.append(of_frames(narrow))
    far, *_, near = (apart(each.cepstra, wanted.cepstra)[1] for each in measured)
    assert near < 0.35 * far


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen, mean, covariance",
    [
        (lambda p: np.arange(60) < 20, 0.4, 0.6),
        (lambda p: np.arange(60) >= 40, 0.2, 0.5),
        (lambda p: p > np.quantile(p, 0.6), 0.65, 1.2),
        (lambda p: p < np.quantile(p, 0.4), 0.7, 0.8),
    ],
    ids=["beginning", "end", "high", "low"],
)
def test_the_moments_of_all_are_found_in_a_third_of_it(minute, chosen, mean, covariance):
    frames, _, truth = minute
    pieces = np.stack(np.split(frames[:12000], 60))  # a second each
    pitches = np.array([piece[piece[:, VOICING] > 0.5, LOG_F0].mean() for piece in pieces])
    sample = np.concatenate(pieces[chosen(pitches)])
    sound = features.decode(sample, FINE)
    own, found = moments_of(sound), moments_of_all(sound, sample, [frames[:7000], frames[7000:]])
    assert (apart(found.cepstra, truth.cepstra) < [mean, covariance] * apart(own.cepstra, truth.cepstra)).all()
    assert all(np.allclose(*pair) for pair in zip(found.slopes, own.slopes))


def test_a_samples_own_chance_is_not_taken_for_colour(song):
    frames, _, whole = song
    part = with_envelope(frames, 1.03 * frames[:, -N_ENVELOPE:])  # by chance a little louder, wider, of another vowel
    part[:, -N_ENVELOPE:][:, :3] += 0.2
    sound = features.decode(part, FINE)
    of_all = moment_matching.match_moments(whole, moments_of_all(sound, part, [frames]), mean_envelope(frames), SR)[0]
    of_part = moment_matching.match_moments(whole, moments_of(sound), mean_envelope(part), SR)[0]
    granted, taken = (np.linalg.norm(apart(more, AffineMap.identity())) for more in (of_all, of_part))
    assert granted < 0.3 * taken


def test_when_all_has_become_sound_that_is_what_is_found(song):
    frames, y, whole = song
    found = moments_of_all(y, frames, [frames]).cepstra
    # some hundredths of a second at the end are not in the frames
    size = np.linalg.norm(apart(whole.cepstra, (0, 0)))
    assert np.linalg.norm(apart(found, whole.cepstra)) < 1e-3 * size


def test_what_moves_too_much_is_to_be_smoothed_and_what_moves_too_little_less(song):
    frames, _, wanted = song
    trembling = frames.copy()
    trembling[:, -N_ENVELOPE:] += np.random.default_rng(0).normal(0, 0.4, (len(frames), N_ENVELOPE))
    still = postfilter.smooth(0.25 * np.eye(N_ENVELOPE), frames)
    more, same, less = (
        np.trace(moment_matching.match_moments(wanted, measured, mean_envelope(rows), SR)[1])
        for rows, measured in ((trembling, of_frames(trembling)), (frames, wanted), (still, of_frames(still)))
    )
    assert more > 0.1 and abs(same) < 1e-6 and less < -0.01


def test_what_is_not_known_asks_for_nothing(song):
    frames, y, known = song
    unknown = moments_of_all(np.full_like(y, np.nan), frames, [frames])
    short = moments_of_all(y[:8000], frames[:100], [frames])
    for pair in ((known, unknown), (unknown, known), (known._replace(slopes=unknown.slopes), known), (known, short)):
        more, smoother = moment_matching.match_moments(*pair, mean_envelope(frames), SR)
        assert all(np.array_equal(*parts) for parts in zip(more, AffineMap.identity())) and not smoother.any()


def test_chains_that_are_never_voiced_have_moments_too(song):
    whispered = song[0].copy()
    whispered[:, VOICING] = 0
    found = moments_of_all(features.decode(whispered[:1000], FINE), whispered[:1000], [whispered])
    assert found.cepstra.known


def test_a_pitch_is_found_in_a_tone_and_none_in_noise():
    t = np.arange(20 * SR) / SR
    tone, noise = np.sign(np.sin(2 * np.pi * 200 * t)) * 0.1, np.random.default_rng(0).normal(0, 0.1, len(t))
    assert moment_matching.voiced_share(tone, SR) > 0.95 and moment_matching.voiced_share(noise, SR) < 0.2
    assert moment_matching.voiced_share(np.concatenate([tone, np.zeros_like(tone)]), SR) == pytest.approx(0.5, abs=0.02)
