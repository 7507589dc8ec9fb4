"""Half seconds that are taken back and drawn again, and pauses at which the state is reset."""

import types

import numpy as np
import pytest
import pyworld

from vocalsynth_utils import features, recipes, synthetic
from vocalsynth_utils.features import LOG_F0, N_ENVELOPE, VOICING
from vocalsynth_utils.preprocessing import Scaling
from vocalsynth_utils.world_mdn import rejection

N, HALF = 3 + N_ENVELOPE, 10
SCALING = Scaling.fit("standardise", np.random.default_rng(0).normal(2.0, 3.0, (500, N)))


def decoded_power(envelope):
    """Power spectrum (n_frames, n_frequencies) of coded envelopes (n_frames, n_envelope), as WORLD decodes it."""
    envelope = np.ascontiguousarray(envelope, dtype=float)
    return pyworld.decode_spectral_envelope(envelope, 16000, pyworld.get_cheaptrick_fft_size(16000))


def decoded_level(envelope):
    """Level in dB of coded envelopes (n_frames, n_envelope), from all frequencies that WORLD decodes."""
    return 10 * np.log10(decoded_power(envelope).mean())


def decoded_level_of_each(rows):
    """The same of each row, as the sum over every 4th frequency has it."""
    return 10 * np.log10(decoded_power(rows[:, -N_ENVELOPE:])[:, ::4].mean(axis=1))


ONE = np.eye(1, N_ENVELOPE)
LOUDER = decoded_level(ONE) - decoded_level(0 * ONE)  # dB for 1 in the first coefficient


def frames(n, voiced, step, level=0.0):
    """So many frames of a level in dB, a share of them voiced, whose envelope moves by `step` from each to the next."""
    made = np.zeros((n, N))
    made[:, -N_ENVELOPE] = (level - decoded_level(0 * ONE)) / LOUDER
    made[:, VOICING] = np.arange(n) % 10 < round(10 * voiced)
    made[:, -1] += step * (np.arange(n) % 2)
    return made


class Script:
    """A sampler whose blocks are written down beforehand, for each chain; draws are of no use to it."""

    def __init__(self, *blocks):
        n = len(blocks)
        self.blocks, self.at, self.asked, self.resets = blocks, np.zeros(n, int), [0] * n, [[] for _ in blocks]

    def advance(self, uniform, normal, which):
        made = []
        for i in which:
            self.at[i], self.asked[i] = self.at[i] + 1, self.asked[i] + 1
            block = self.blocks[i][min(self.asked[i], len(self.blocks[i])) - 1]
            made.append(scaled(block[: uniform.shape[1]]))
        return np.stack(made)

    def state(self, which=slice(None)):
        return [self.at[which].copy()]

    def restore(self, state, which=slice(None)):
        self.at[which] = state[0]

    def reset(self, which):
        for i in which:
            self.resets[i].append(self.at[i])


def scaled(frames):
    return SCALING.apply(frames).astype(np.float32)


NO_DRAWS = types.SimpleNamespace(take=lambda n: (np.zeros((n, 1)), np.zeros((n, 1))))
ANYTHING = [[-np.inf] * 4, [np.inf] * 4]
GOOD = frames(HALF, 0.6, 1.0)
BEFORE = frames(HALF + 1, 0.6, 1.0)  # heard


def region(low=(0.3, 0.5, -20.0), high=(0.9, 2.0, 20.0), longer=ANYTHING, pause=None):
    """A region of a second's voiced share, movement and level, and of twenty seconds; whatever a second's pitch."""
    return rejection.Region(np.array([[[*low, -np.inf], [*high, np.inf]], longer, ANYTHING]), pause)


INSIDE = region()


def judged(sampler, region, n_frames, heard):
    """Blocks of chains, not scaled."""
    chains = rejection.Rejection(SCALING, region, HALF, 16000).judging(sampler)
    return [SCALING.invert(block) for block in chains.blocks(len(heard) * [NO_DRAWS], n_frames, heard)]


def drawn(blocks, n_frames, region=INSIDE, heard=BEFORE):
    """What becomes of one chain: its frames, and how many blocks were asked for, and kept."""
    sampler = Script(blocks)
    made = judged(sampler, region, n_frames, scaled(heard)[None])
    return np.concatenate(made, axis=1)[0], sampler.asked[0], sampler.at[0]


def test_seconds_against_plain_sums():
    x = np.random.default_rng(1).normal(0, 1, (47, N)) * 0.8 ** np.arange(N)  # smooth, as envelopes are
    found = rejection.spans(rejection.halves(x, HALF, 16000), 2)
    assert found.shape == (3, 4)
    for i, (voiced, movement, level, log_f0) in zip((0, 10, 20), found):
        second = x[i + 1 : i + 21]
        moves = [np.sqrt(np.sum((x[j, -N_ENVELOPE:] - x[j - 1, -N_ENVELOPE:]) ** 2)) for j in range(i + 1, i + 21)]
        assert np.isclose(voiced, np.mean(second[:, VOICING] > 0.5)) and np.isclose(movement, np.mean(moves))
        assert np.isclose(level, decoded_level(second[:, -N_ENVELOPE:]), atol=0.2)  # of every 4th frequency
        assert np.isclose(log_f0, np.mean(second[:, 0]))
    assert rejection.spans(rejection.halves(x[:20], HALF, 16000), 2).shape == (0, 4)


def test_longer_spans_against_plain_sums():
    x = np.random.default_rng(1).random((9, 4))
    expected = np.array([x[i : i + 4].mean(axis=0) for i in range(6)])
    expected[:, 2] = 10 * np.log10(expected[:, 2])
    assert np.allclose(rejection.spans(x, 4), expected)


@pytest.mark.slow
def test_the_level_is_that_of_the_sound():
    y = synthetic.sing(20, seed=2)
    found = rejection.spans(rejection.halves(features.encode(y, recipes.get("world-mdn"))[::3], 33, 16000), 2)
    power = [np.mean(np.square(y[i * 33 * 240 : (i + 2) * 33 * 240], dtype=float)) for i in range(len(found))]
    difference = found[:, 2] - 10 * np.log10(power)
    assert np.std(10 * np.log10(power)) > 1.5 and np.std(difference) < 0.75


def test_what_is_inside_is_kept_at_once():
    made, asked, kept = drawn([GOOD] * 3, 3 * HALF)
    assert (asked, kept) == (3, 3) and np.allclose(made, np.tile(GOOD, (3, 1)), atol=1e-5)


@pytest.mark.parametrize(
    "bad", [frames(HALF, 0.0, 0.0), frames(HALF, 1.0, 9.0), frames(HALF, 0.6, 0.0), frames(HALF, 0.6, 1.0, level=40.0)]
)
def test_what_is_not_is_taken_back_and_drawn_again(bad):
    inside = region((0.35, 0.6, -20.0), (0.75, 2.0, 20.0))
    made, asked, kept = drawn([GOOD, bad, bad, GOOD], 2 * HALF, inside)
    assert (asked, kept) == (4, 2) and np.allclose(made, np.tile(GOOD, (2, 1)), atol=1e-5)


def test_a_chain_that_cannot_do_better_goes_on():
    bad = frames(HALF, 1.0, 9.0)
    made, asked, kept = drawn([bad], 2 * HALF)
    assert asked == 2 * rejection.TRIES and kept == 2 and np.allclose(made, np.tile(bad, (2, 1)), atol=1e-4)


def test_where_none_will_do_the_least_bad_is_kept():
    worse, bad = frames(HALF, 1.0, 9.0), frames(HALF, 1.0, 4.0)
    made, asked, kept = drawn([worse, worse, bad] + [worse] * rejection.TRIES, HALF)
    assert asked == rejection.TRIES and kept == 1 and np.allclose(made, bad, atol=1e-4)


def test_the_first_half_second_and_a_shorter_last_one_are_not_judged():
    bad = frames(HALF, 1.0, 9.0)
    assert drawn([bad], HALF, heard=frames(1, 0.6, 1.0))[1] == 1
    made, asked, _ = drawn([GOOD, bad], HALF + 3)
    assert asked == 2 and len(made) == HALF + 3


def test_the_region_is_that_of_the_training_part():
    rng = np.random.default_rng(2)
    own, behind = frames(3000, 0.6, 1.0) + rng.normal(0, 0.01, (3000, N)), frames(1000, 0.0, 9.0)
    rows = np.concatenate([own, behind]).astype(np.float32)
    dataset = types.SimpleNamespace(rows=rows, ranges={"train": (0, 3000)}, rows_per_frame=3)
    recipe = types.SimpleNamespace(sample_rate=16000, frame_length=240)
    ((low, high), *longer), pause = rejection.measure(dataset, recipe)
    # nothing of the rows behind the train part
    assert 0.5 < low[0] <= 0.6 <= high[0] < 0.7 and low[1] > 0.3 and high[1] < 1.5
    # what is longer varies less
    assert all(np.all(span[0] > low - 1e-9) and np.all(span[1] < high + 1e-9) for span in longer)
    levels = decoded_level_of_each(rows[:3000:3])
    assert np.mean(levels <= pause) == pytest.approx(rejection.PAUSE_SHARE, abs=0.01)
    dataset.ranges = {"train": (0, 60)}
    assert rejection.measure(dataset, recipe) is None
    assert rejection.half_second(recipe) == 33


def test_without_limits_or_a_region_there_is_none():
    recipe = types.SimpleNamespace(limits=False, sample_rate=16000, frame_length=240)
    run = types.SimpleNamespace(scaling=SCALING, recipe=recipe)
    assert rejection.rejection_for(run, region()) is None
    recipe.limits = True
    assert rejection.rejection_for(run, None) is None and rejection.rejection_for(run, region()).half == 33


@pytest.mark.parametrize(
    "quiet, voiced, level, resets",
    [(3, 0, -40.0, True), (3, 0, -20.0, False), (3, 1, -40.0, False), (2, 0, -40.0, False)],
)
def test_at_a_pause_the_state_is_reset(quiet, voiced, level, resets, monkeypatch):
    monkeypatch.setattr(rejection, "PAUSE_SECONDS", 0.15)  # 3 of these frames
    blocks = [GOOD, GOOD.copy(), GOOD]
    blocks[1][-quiet:] = frames(quiet, voiced, 0.0, level)  # it ends unvoiced and quiet, or not so
    anything, heard = region(ANYTHING[0][:3], ANYTHING[1][:3], pause=-30.0), np.stack(2 * [scaled(BEFORE)])
    sampler = Script(blocks, [GOOD])
    judged(sampler, anything, 3 * HALF, heard)
    assert sampler.resets == [[2] if resets else [], []]
    sampler = Script(blocks, blocks)
    judged(sampler, anything._replace(pause=None), 3 * HALF, heard)
    assert sampler.resets == [[], []]


def test_of_several_chains_only_those_outside_are_taken_back():
    bad, worse = frames(HALF, 1.0, 4.0), frames(HALF, 1.0, 9.0)
    sampler = Script([GOOD], [bad, GOOD], [worse, bad] + [worse] * rejection.TRIES)
    (made,) = judged(sampler, INSIDE, HALF, np.stack(3 * [scaled(BEFORE)]))
    assert sampler.asked == [1, 2, rejection.TRIES] and list(sampler.at) == [1, 1, 1]
    assert all(np.allclose(m, wanted, atol=1e-4) for m, wanted in zip(made, (GOOD, GOOD, bad)))


def pitched(log_f0):
    """Half a second at one pitch, inside by every second's region."""
    made = GOOD.copy()
    made[:, LOG_F0] = log_f0
    return made


LOW = region(longer=[[-np.inf] * 4, [np.inf, np.inf, np.inf, 5.5]])


@pytest.mark.parametrize("newest, stands", [(5.6, False), (5.4, True), (4.0, True)])
def test_a_melody_that_has_stayed_up_too_long_may_only_come_down(newest, stands):
    before = np.concatenate([pitched(5.7) for _ in range(rejection.SPANS[1])])
    blocks = [pitched(newest)] + [pitched(5.0)] * 9
    assert drawn(blocks, HALF, LOW, before)[1] == (1 if stands else 2)
    assert drawn(blocks, HALF, LOW, before[HALF * 3 :])[1] == 1  # not twenty seconds yet


def test_a_longer_span_that_is_inside_may_hold_any_half_second():
    before = np.concatenate([pitched(5.0) for _ in range(rejection.SPANS[1])])
    assert drawn([pitched(6.0)] * 3, HALF, LOW, before)[1] == 1


def test_a_region_may_be_moved():
    moved = region(pause=-30.0).moved([0.02, 0.1, -1.0, 0.0])
    assert np.allclose(moved.spans[0], [[0.32, 0.6, -21.0, -np.inf], [0.92, 2.1, 19.0, np.inf]])
    assert moved.pause == -30.0


def test_a_region_may_leave_level_and_pitch_alone():
    found = region(longer=[[0.1, 0.2, -40.0, 4.5], [0.9, 1.7, 3.0, 5.5]], pause=-30.0).without_level_and_pitch()
    assert np.array_equal(found.spans[1], [[0.1, 0.2, -np.inf, -np.inf], [0.9, 1.7, np.inf, np.inf]])
    assert found.pause == -30.0
    loud, moving = frames(HALF, 0.6, 1.0, level=60.0), frames(HALF, 0.6, 9.0)
    assert drawn([loud], HALF, found)[1] == 1 and drawn([loud] * 99, HALF)[1] == rejection.TRIES
    assert drawn([moving] * 99, HALF, found)[1] == rejection.TRIES


def test_what_is_typical_is_the_median_of_all_seconds_of_all_chains():
    recipe = types.SimpleNamespace(sample_rate=16000, frame_length=16000 // (2 * HALF))
    melodies = (5.0, 5.2), (5.2, 5.6, 6.6)  # one second, and two
    chains = [np.concatenate([pitched(5.0)[-1:], *map(pitched, melody)]) for melody in melodies]
    level = 10 * np.log10(np.mean(10 ** (decoded_level_of_each(pitched(5.0)) / 10)))
    assert rejection.typical_second(chains, recipe) == pytest.approx([0.6, 1.0, level, 5.4], abs=1e-3)
