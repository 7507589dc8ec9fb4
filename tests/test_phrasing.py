"""Half seconds that are taken back and drawn again, and rests after which all is forgotten."""

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


def decoded_level(envelope):
    """Level in dB of coded envelopes (n_frames, n_envelope), from all frequencies that WORLD decodes."""
    power = pyworld.decode_spectral_envelope(
        np.ascontiguousarray(envelope, dtype=float), 16000, pyworld.get_cheaptrick_fft_size(16000)
    )
    return 10 * np.log10(power.mean())


def decoded_level_of_each(rows):
    """The same of each row, as the sum over every 4th frequency has it."""
    power = pyworld.decode_spectral_envelope(
        np.ascontiguousarray(rows[:, -N_ENVELOPE:], dtype=float), 16000, pyworld.get_cheaptrick_fft_size(16000)
    )
    return 10 * np.log10(power[:, ::4].mean(axis=1))


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
    """Voices whose blocks are written down beforehand; draws are of no use to them."""

    def __init__(self, *blocks):
        self.blocks, self.at, self.sung, self.forgot = (
            blocks,
            np.zeros(len(blocks), int),
            [0] * len(blocks),
            [[] for _ in blocks],
        )

    def sing(self, uniform, normal, which):
        made = []
        for i in which:
            self.at[i], self.sung[i] = self.at[i] + 1, self.sung[i] + 1
            made.append(
                SCALING.apply(self.blocks[i][min(self.sung[i], len(self.blocks[i])) - 1][: uniform.shape[1]]).astype(
                    np.float32
                )
            )
        return np.stack(made)

    def state(self, which=slice(None)):
        return [self.at[which].copy()]

    def go_back(self, state, which=slice(None)):
        self.at[which] = state[0]

    def forget(self, which):
        for i in which:
            self.forgot[i].append(self.at[i])


NO_DRAWS = types.SimpleNamespace(take=lambda n: (np.zeros((n, 1)), np.zeros((n, 1))))


ANYTHING = [[-np.inf] * 4, [np.inf] * 4]


def bounds_of(low=(0.3, 0.5, -20.0), high=(0.9, 2.0, 20.0), passage=ANYTHING, rest=None):
    """Bounds of a second's voiced share, movement and level, whatever its pitch."""
    return rejection.Bounds(np.array([[[*low, -np.inf], [*high, np.inf]], passage, ANYTHING]), rest)


def sung(blocks, n_frames, bounds=bounds_of(), heard=None):
    """What `Phrasing.sing` makes of a voice: the frames, not scaled, and how many blocks were asked for, and kept."""
    voices = Plays(blocks)
    heard = frames(HALF + 1, 0.6, 1.0) if heard is None else heard
    made = list(
        rejection.Rejection(SCALING, bounds, HALF, 16000).sing(
            voices, [NO_DRAWS], n_frames, SCALING.apply(heard).astype(np.float32)[None]
        )
    )
    return SCALING.invert(np.concatenate(made, axis=1)[0]), voices.sung[0], voices.at[0]


def test_seconds_against_plain_sums():
    x = np.random.default_rng(1).normal(0, 1, (47, N)) * 0.8 ** np.arange(N)  # smooth, as envelopes are
    found = rejection.spans(rejection.halves(x, HALF, 16000), 2)
    expected = [
        [
            np.mean(x[i + 1 : i + 21, VOICING] > 0.5),
            np.mean(
                [np.sqrt(np.sum((x[j, -N_ENVELOPE:] - x[j - 1, -N_ENVELOPE:]) ** 2)) for j in range(i + 1, i + 21)]
            ),
            decoded_level(x[i + 1 : i + 21, -N_ENVELOPE:]),
            np.mean(x[i + 1 : i + 21, 0]),
        ]
        for i in (0, 10, 20)
    ]
    assert np.allclose(found[:, [0, 1, 3]], np.array(expected)[:, [0, 1, 3]])
    assert np.allclose(found[:, 2], np.array(expected)[:, 2], atol=0.2)  # of every 4th frequency
    assert rejection.spans(rejection.halves(x[:20], HALF, 16000), 2).shape == (0, 4)


def test_longer_spans_against_plain_sums():
    x = np.random.default_rng(1).random((9, 4))
    found = rejection.spans(x, 4)
    expected = np.array([x[i : i + 4].mean(axis=0) for i in range(6)])
    assert np.allclose(found[:, [0, 1, 3]], expected[:, [0, 1, 3]]) and np.allclose(
        found[:, 2], 10 * np.log10(expected[:, 2])
    )


def test_the_level_is_that_of_the_sound():
    y = synthetic.sing(20, seed=2)
    found = rejection.spans(rejection.halves(features.encode(y, recipes.get("world-mdn"))[::3], 33, 16000), 2)
    power = [np.mean(np.square(y[i * 33 * 240 : (i + 2) * 33 * 240], dtype=float)) for i in range(len(found))]
    difference = found[:, 2] - 10 * np.log10(power)
    assert np.std(10 * np.log10(power)) > 1.5 and np.std(difference) < 0.75


def test_what_is_within_bounds_is_kept_at_once():
    good = frames(HALF, 0.6, 1.0)
    made, asked, kept = sung([good] * 3, 3 * HALF)
    assert (asked, kept) == (3, 3) and np.allclose(made, np.tile(good, (3, 1)), atol=1e-5)


@pytest.mark.parametrize(
    "bad", [frames(HALF, 0.0, 0.0), frames(HALF, 1.0, 9.0), frames(HALF, 0.6, 0.0), frames(HALF, 0.6, 1.0, level=40.0)]
)
def test_what_is_not_is_taken_back_and_drawn_again(bad):
    good = frames(HALF, 0.6, 1.0)
    made, asked, kept = sung([good, bad, bad, good], 2 * HALF, bounds=bounds_of((0.35, 0.6, -20.0), (0.75, 2.0, 20.0)))
    assert (asked, kept) == (4, 2) and np.allclose(made, np.tile(good, (2, 1)), atol=1e-5)


def test_a_voice_that_cannot_do_better_goes_on():
    bad = frames(HALF, 1.0, 9.0)
    made, asked, kept = sung([bad], 2 * HALF)
    assert asked == 2 * rejection.TRIES and kept == 2 and np.allclose(made, np.tile(bad, (2, 1)), atol=1e-4)


def test_where_none_will_do_the_least_bad_is_kept():
    worse, bad = frames(HALF, 1.0, 9.0), frames(HALF, 1.0, 4.0)
    made, asked, kept = sung([worse, worse, bad] + [worse] * rejection.TRIES, HALF)
    assert asked == rejection.TRIES and kept == 1 and np.allclose(made, bad, atol=1e-4)


def test_the_first_half_second_and_a_shorter_last_one_are_not_judged():
    bad = frames(HALF, 1.0, 9.0)
    assert sung([bad], HALF, heard=frames(1, 0.6, 1.0))[1] == 1
    made, asked, _ = sung([frames(HALF, 0.6, 1.0), bad], HALF + 3)
    assert asked == 2 and len(made) == HALF + 3


def test_bounds_are_those_of_the_training_part():
    rng = np.random.default_rng(2)
    rows = np.concatenate([frames(3000, 0.6, 1.0) + rng.normal(0, 0.01, (3000, N)), frames(1000, 0.0, 9.0)]).astype(
        np.float32
    )
    dataset = types.SimpleNamespace(rows=rows, ranges={"train": (0, 3000)}, rows_per_frame=3)
    recipe = types.SimpleNamespace(sample_rate=16000, frame_length=240)
    ((low, high), *longer), rest = rejection.measure(dataset, recipe)
    assert (
        0.5 < low[0] <= 0.6 <= high[0] < 0.7 and low[1] > 0.3 and high[1] < 1.5
    )  # nothing of the rows behind the train part
    assert all(
        np.all(span[0] > low - 1e-9) and np.all(span[1] < high + 1e-9) for span in longer
    )  # what is longer varies less
    levels = decoded_level_of_each(rows[:3000:3])
    assert np.mean(levels <= rest) == pytest.approx(rejection.PAUSE_SHARE, abs=0.01)
    dataset.ranges = {"train": (0, 60)}
    assert rejection.measure(dataset, recipe) is None
    assert rejection.half_second(recipe) == 33


def test_without_clamp_or_bounds_there_is_none():
    run = types.SimpleNamespace(
        scaling=SCALING, recipe=types.SimpleNamespace(clamp=False, sample_rate=16000, frame_length=240)
    )
    bounds = bounds_of()
    assert rejection.rejection_for(run, bounds) is None
    run.recipe.clamp = True
    assert rejection.rejection_for(run, None) is None and rejection.rejection_for(run, bounds).half == 33


@pytest.mark.parametrize(
    "quiet, voiced, level, forgets",
    [(3, 0, -40.0, True), (3, 0, -20.0, False), (3, 1, -40.0, False), (2, 0, -40.0, False)],
)
def test_at_a_rest_all_is_forgotten(quiet, voiced, level, forgets, monkeypatch):
    monkeypatch.setattr(rejection, "REST_SECONDS", 0.15)  # 3 of these frames
    blocks = [frames(HALF, 0.6, 1.0), frames(HALF, 0.6, 1.0), frames(HALF, 0.6, 1.0)]
    blocks[1][-quiet:] = frames(quiet, voiced, 0.0, level)  # it ends unvoiced and quiet, or not so
    voices = Plays(blocks, [frames(HALF, 0.6, 1.0)])
    bounds = bounds_of(ANYTHING[0][:3], ANYTHING[1][:3], rest=-30.0)
    heard = np.stack(2 * [SCALING.apply(frames(HALF + 1, 0.6, 1.0)).astype(np.float32)])
    list(rejection.Rejection(SCALING, bounds, HALF, 16000).sing(voices, 2 * [NO_DRAWS], 3 * HALF, heard))
    assert voices.forgot == [[2] if forgets else [], []]
    voices = Plays(blocks, blocks)
    list(
        rejection.Rejection(SCALING, bounds._replace(rest=None), HALF, 16000).sing(
            voices, 2 * [NO_DRAWS], 3 * HALF, heard
        )
    )
    assert voices.forgot == [[], []]


def test_of_several_voices_only_those_out_of_bounds_are_taken_back():
    good, bad, worse = frames(HALF, 0.6, 1.0), frames(HALF, 1.0, 4.0), frames(HALF, 1.0, 9.0)
    voices = Plays([good], [bad, good], [worse, bad] + [worse] * rejection.TRIES)
    heard = np.stack(3 * [SCALING.apply(frames(HALF + 1, 0.6, 1.0)).astype(np.float32)])
    (made,) = rejection.Rejection(SCALING, bounds_of(), HALF, 16000).sing(voices, 3 * [NO_DRAWS], HALF, heard)
    assert voices.sung == [1, 2, rejection.TRIES] and list(voices.at) == [1, 1, 1]
    assert all(np.allclose(SCALING.invert(m), wanted, atol=1e-4) for m, wanted in zip(made, (good, good, bad)))


def pitched(log_f0):
    """Half a second at one pitch, within every second's bounds."""
    made = frames(HALF, 0.6, 1.0)
    made[:, LOG_F0] = log_f0
    return made


@pytest.mark.parametrize("newest, stands", [(5.6, False), (5.4, True), (4.0, True)])
def test_a_melody_that_has_stayed_up_too_long_may_only_come_down(newest, stands):
    high = np.array([np.inf, np.inf, np.inf, 5.5])
    bounds = bounds_of(passage=[[-np.inf] * 4, high])
    before = np.concatenate([pitched(5.7) for _ in range(rejection.SPANS[1])])
    asked = sung([pitched(newest)] + [pitched(5.0)] * 9, HALF, bounds, heard=before)[1]
    assert asked == (1 if stands else 2)
    asked = sung([pitched(newest)] + [pitched(5.0)] * 9, HALF, bounds, heard=before[HALF * 3 :])[1]
    assert asked == 1  # not a whole passage yet


def test_a_passage_within_its_bounds_may_hold_any_half_second():
    bounds = bounds_of(passage=[[-np.inf] * 4, np.array([np.inf, np.inf, np.inf, 5.5])])
    before = np.concatenate([pitched(5.0) for _ in range(rejection.SPANS[1])])
    assert sung([pitched(6.0)] * 3, HALF, bounds, heard=before)[1] == 1


def test_bounds_may_be_moved():
    moved = rejection.moved(bounds_of(rest=-30.0), [0.02, 0.1, -1.0, 0.0])
    assert np.allclose(moved.spans[0], [[0.32, 0.6, -21.0, -np.inf], [0.92, 2.1, 19.0, np.inf]]) and moved.rest == -30.0
    assert rejection.moved(None, [0.02, 0, 0, 0]) is None


def test_bounds_may_leave_level_and_pitch_alone():
    of_both = rejection.without_level_and_pitch(
        bounds_of(passage=[[0.1, 0.2, -40.0, 4.5], [0.9, 1.7, 3.0, 5.5]], rest=-30.0)
    )
    assert of_both.rest == -30.0 and np.array_equal(
        of_both.spans[1], [[0.1, 0.2, -np.inf, -np.inf], [0.9, 1.7, np.inf, np.inf]]
    )
    assert (
        sung([frames(HALF, 0.6, 1.0, level=60.0)], HALF, of_both)[1] == 1
        and sung([frames(HALF, 0.6, 1.0, level=60.0)] * 99, HALF)[1] == rejection.TRIES
    )
    assert (
        sung([frames(HALF, 0.6, 9.0)] * 99, HALF, of_both)[1] == rejection.TRIES
        and rejection.without_level_and_pitch(None) is None
    )


def test_what_is_typical_is_the_median_of_all_seconds_of_all_voices():
    recipe = types.SimpleNamespace(sample_rate=16000, frame_length=16000 // (2 * HALF))
    voices = [
        np.concatenate([pitched(5.0)[-1:], *map(pitched, melody)]) for melody in ((5.0, 5.2), (5.2, 5.6, 6.6))
    ]  # one second, and two
    level = 10 * np.log10(np.mean(10 ** (decoded_level_of_each(pitched(5.0)) / 10)))
    assert rejection.typical_second(voices, recipe) == pytest.approx([0.6, 1.0, level, 5.4], abs=1e-3)
