"""What is heard of a sound, carried back to the frames it was made of."""
import types

import numpy as np
import pytest
import scipy.signal

from vocalsynth_utils import descriptors, features, hearing, postfilter, voice
from vocalsynth_utils.features import N_ENVELOPE, VOICING
from vocalsynth_utils.postfilter import envelope_moments

FINE = types.SimpleNamespace(features="world", frame_length=80, sample_rate=16000)
SR = 16000


@pytest.fixture(scope="module")
def song():
    """A minute of the built-in voice as WORLD frames, 5 ms apart, and the sound these make."""
    y = voice.sing(60, seed=3)
    frames = features.encode(y, FINE)
    return frames, features.decode(frames, FINE)


def cepstra(y, frames):
    return hearing.hear(y, frames[:, VOICING], SR, 1.0).cepstra


def test_the_cepstrum_follows_the_envelope_as_the_map_says(song):
    frames, y = song
    E, change = hearing.cepstrum_of_envelope(SR), np.zeros(N_ENVELOPE)
    change[:4] = 0.3, -0.4, 0.2, 0.1
    moved = frames.copy()
    moved[:, -N_ENVELOPE:] += change
    before, after = cepstra(y, frames), cepstra(features.decode(moved, FINE), frames)
    assert np.allclose((after - before)[1, 0], change @ E, atol=0.1 * np.abs(change @ E).max())


def test_a_colour_that_no_frame_shows_is_heard_and_undone(song):
    frames, clean = song
    wanted = cepstra(clean, frames)
    vocoder = lambda rows: scipy.signal.lfilter([1, -0.6], [1], features.decode(rows, FINE))  # treble up
    own = goal = envelope_moments(frames)
    for _ in range(2):
        part = postfilter.correct(postfilter.transport(goal, own), frames)
        goal = hearing.by_ear(goal, wanted, cepstra(vocoder(part), frames), envelope_moments(part), SR)
    corrected = postfilter.correct(postfilter.transport(goal, own), frames)
    far, near = (np.linalg.norm((cepstra(vocoder(rows), frames) - wanted)[1, 0]) for rows in (frames, corrected))
    assert near < 0.15 * far and not np.allclose(own, goal)


def test_a_samples_own_chance_is_not_taken_for_colour(song):
    frames, y = song
    part = frames.copy()  # by chance a little louder, wider and of another vowel
    part[:, -N_ENVELOPE:] *= 1.03
    part[:, -N_ENVELOPE:][:, :3] += 0.2
    whole, heard = cepstra(y, frames), cepstra(features.decode(part, FINE), frames)
    granted, taken = (np.linalg.norm(hearing.by_ear(goal, whole, heard, envelope_moments(part), SR) - goal)
                      for goal in (envelope_moments(frames), envelope_moments(part)))
    assert granted < 0.3 * taken


def test_a_kind_that_is_not_heard_stays_as_it_was(song):
    frames, y = song
    heard, goal = cepstra(y, frames), envelope_moments(frames)
    heard[0] = np.nan
    improved = hearing.by_ear(goal, heard + 0.1, heard, goal, SR)
    assert np.array_equal(improved[0], goal[0]) and np.isfinite(improved).all() and not np.array_equal(improved[1], goal[1])


def test_the_flux_is_that_of_the_windows(song):
    frames, y = song
    std = float(np.std(y))
    windows = descriptors.windows((y / std).astype(np.float32), SR)
    assert hearing.hear(y, frames[:, VOICING], SR, std).flux == pytest.approx(windows[:, descriptors.STATISTICS.index("flux")].mean(), rel=0.02)


def test_smoothed_frames_are_heard_to_move_less(song):
    frames, y = song
    flux = [hearing.hear(features.decode(postfilter.smooth(amount, frames), FINE), frames[:, VOICING], SR, 1.0).flux for amount in (0, 0.1, 0.25)]
    assert flux[0] > flux[1] > flux[2]


def test_a_pitch_is_heard_in_a_tone_and_none_in_noise():
    t = np.arange(70 * SR) / SR
    tone, noise = np.sign(np.sin(2 * np.pi * 200 * t)) * 0.1, np.random.default_rng(0).normal(0, 0.1, len(t))
    assert hearing.voiced(tone, SR) > 0.95 and hearing.voiced(noise, SR) < 0.2
    assert hearing.voiced(np.concatenate([tone, np.zeros_like(tone)]), SR) == pytest.approx(0.5, abs=0.02)
