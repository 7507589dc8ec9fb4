"""Half seconds that are taken back and drawn again."""
import types

import numpy as np
import pytest
import pyworld

from vocalsynth_utils import features, recipes, rejection, voice
from vocalsynth_utils.features import N_ENVELOPE, VOICING
from vocalsynth_utils.scaling import Scaling

N, HALF = 3 + N_ENVELOPE, 10
SCALING = Scaling.fit("standardise", np.random.default_rng(0).normal(2.0, 3.0, (500, N)))


def decoded_level(envelope):
    """Level in dB of coded envelopes (n_frames, n_envelope), from all frequencies that WORLD decodes."""
    power = pyworld.decode_spectral_envelope(np.ascontiguousarray(envelope, dtype=float), 16000, pyworld.get_cheaptrick_fft_size(16000))
    return 10 * np.log10(power.mean())


ONE = np.eye(1, N_ENVELOPE)
LOUDER = decoded_level(ONE) - decoded_level(0 * ONE)  # dB for 1 in the first coefficient


def frames(n, voiced, step, level=0.0):
    """So many frames of a level in dB, a share of them voiced, whose envelope moves by `step` from each to the next."""
    made = np.zeros((n, N))
    made[:, -N_ENVELOPE] = (level - decoded_level(0 * ONE)) / LOUDER
    made[:, VOICING] = np.arange(n) % 10 < round(10 * voiced)
    made[:, -1] += step * (np.arange(n) % 2)
    return made


class Plays:
    """A voice whose blocks are written down beforehand; draws are of no use to it."""

    def __init__(self, blocks):
        self.blocks, self.at, self.sung = blocks, 0, 0

    def sing(self, uniform, normal):
        self.at, self.sung = self.at + 1, self.sung + 1
        return SCALING.apply(self.blocks[min(self.sung, len(self.blocks)) - 1][:len(uniform)]).astype(np.float32)

    def state(self):
        return self.at

    def go_back(self, state):
        self.at = state


def sung(blocks, n_frames, bounds=((0.3, 0.5, -20.0), (0.9, 2.0, 20.0)), heard=None):
    """What `Rejection.sing` makes of a voice: the frames, not scaled, and how many blocks were asked for, and kept."""
    voice = Plays(blocks)
    draws = types.SimpleNamespace(take=lambda n: (np.zeros((n, 1)), np.zeros((n, 1))))
    heard = frames(HALF + 1, 0.6, 1.0) if heard is None else heard
    made = list(rejection.Rejection(SCALING, np.array(bounds), HALF, 16000).sing(voice, draws, n_frames, SCALING.apply(heard).astype(np.float32)))
    return SCALING.invert(np.concatenate(made)), voice.sung, voice.at


def test_seconds_against_plain_sums():
    x = np.random.default_rng(1).normal(0, 1, (47, N)) * 0.8 ** np.arange(N)  # smooth, as envelopes are
    found = rejection.seconds(x, HALF, 16000)
    expected = [[np.mean(x[i + 1:i + 21, VOICING] > 0.5),
                 np.mean([np.sqrt(np.sum((x[j, -N_ENVELOPE:] - x[j - 1, -N_ENVELOPE:]) ** 2)) for j in range(i + 1, i + 21)]),
                 decoded_level(x[i + 1:i + 21, -N_ENVELOPE:])] for i in (0, 10, 20)]
    assert np.allclose(found[:, :2], np.array(expected)[:, :2])
    assert np.allclose(found[:, 2], np.array(expected)[:, 2], atol=0.2)  # of every 4th frequency
    assert rejection.seconds(x[:20], HALF, 16000).shape == (0, 3)


def test_the_level_is_that_of_the_sound():
    y = voice.sing(20, seed=2)
    found = rejection.seconds(features.encode(y, recipes.get("world-mdn"))[::3], 33, 16000)
    power = [np.mean(np.square(y[i * 33 * 240:(i + 2) * 33 * 240], dtype=float)) for i in range(len(found))]
    difference = found[:, 2] - 10 * np.log10(power)
    assert np.std(10 * np.log10(power)) > 1.5 and np.std(difference) < 0.75


def test_what_is_within_bounds_is_kept_at_once():
    good = frames(HALF, 0.6, 1.0)
    made, asked, kept = sung([good] * 3, 3 * HALF)
    assert (asked, kept) == (3, 3) and np.allclose(made, np.tile(good, (3, 1)), atol=1e-5)


@pytest.mark.parametrize("bad", [frames(HALF, 0.0, 0.0), frames(HALF, 1.0, 9.0), frames(HALF, 0.6, 0.0), frames(HALF, 0.6, 1.0, level=40.0)])
def test_what_is_not_is_taken_back_and_drawn_again(bad):
    good = frames(HALF, 0.6, 1.0)
    made, asked, kept = sung([good, bad, bad, good], 2 * HALF, bounds=((0.35, 0.6, -20.0), (0.75, 2.0, 20.0)))
    assert (asked, kept) == (4, 2) and np.allclose(made, np.tile(good, (2, 1)), atol=1e-5)


def test_a_voice_that_cannot_do_better_goes_on():
    bad = frames(HALF, 1.0, 9.0)
    made, asked, kept = sung([bad], 2 * HALF)
    assert asked == 2 * rejection.TRIES and kept == 2 and np.allclose(made, np.tile(bad, (2, 1)), atol=1e-4)


def test_the_first_half_second_and_a_shorter_last_one_are_not_judged():
    bad = frames(HALF, 1.0, 9.0)
    assert sung([bad], HALF, heard=frames(1, 0.6, 1.0))[1] == 1
    made, asked, _ = sung([frames(HALF, 0.6, 1.0), bad], HALF + 3)
    assert asked == 2 and len(made) == HALF + 3


def test_bounds_are_those_of_the_training_part():
    rng = np.random.default_rng(2)
    rows = np.concatenate([frames(3000, 0.6, 1.0) + rng.normal(0, 0.01, (3000, N)), frames(1000, 0.0, 9.0)]).astype(np.float32)
    dataset = types.SimpleNamespace(rows=rows, ranges={"train": (0, 3000)}, rows_per_frame=3)
    recipe = types.SimpleNamespace(sample_rate=16000, frame_length=240)
    low, high = rejection.measure(dataset, recipe)
    assert 0.5 < low[0] <= 0.6 <= high[0] < 0.7 and low[1] > 0.3 and high[1] < 1.5  # nothing of the rows behind the train part
    dataset.ranges = {"train": (0, 60)}
    assert rejection.measure(dataset, recipe) is None
    assert rejection.half_second(recipe) == 33


def test_without_clamp_or_bounds_there_is_none():
    run = types.SimpleNamespace(scaling=SCALING, recipe=types.SimpleNamespace(clamp=False, sample_rate=16000, frame_length=240))
    assert rejection.of(run, np.zeros((2, 3))) is None
    run.recipe.clamp = True
    assert rejection.of(run, None) is None and rejection.of(run, np.zeros((2, 3))).half == 33
