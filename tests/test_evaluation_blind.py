"""The blind test: matched clips, kept answers, and chances counted out one by one."""

import csv
import itertools

import numpy as np
import pytest

from vocalsynth_utils import evaluation

SR = 8000


@pytest.fixture
def sounds():
    rng = np.random.default_rng(0)
    swell = 0.2 + 0.8 * np.abs(np.sin(np.arange(30 * SR) / SR))
    voice = 0.05 * swell * np.sin(np.arange(30 * SR) * 0.2)
    spiky = np.where(rng.uniform(size=30 * SR) < 0.01, 0.9, 0.0) * rng.choice([-1, 1], 30 * SR)
    return {"real": voice, "codec": 5 * voice, "generated": rng.normal(0.3, 0.3, 30 * SR), "shuffled": spiky}


def test_clips_are_of_one_level_and_none_is_louder_than_the_voice(sounds):
    test = evaluation.BlindTest(sounds, SR)
    assert test.clips.shape == (12, 3 * SR)
    levels = np.sqrt(np.square(test.clips, dtype=float).mean(axis=1))
    assert np.ptp(levels) < 1e-6 * levels.max() and levels.max() <= np.std(sounds["real"]) * 1.000001
    assert np.abs(test.clips).max() <= np.abs(sounds["real"]).max() * 1.000001


def test_there_are_as_many_of_each_kind_in_an_order_of_the_seed(sounds, tmp_path):
    orders = set()
    for seed in range(5):
        test = evaluation.BlindTest(sounds, SR, seed=seed, path=tmp_path / f"{seed}.csv")
        for clip in range(12):
            test.answer(clip, "real")
        truth = [row["kind"] for row in csv.DictReader(open(tmp_path / f"{seed}.csv"))]
        assert sorted(truth) == sorted(3 * list(sounds))
        orders.add(tuple(truth))
    assert len(orders) > 1


def test_chance_is_the_share_of_all_guessers_who_do_as_well(sounds):
    test = evaluation.BlindTest(sounds, SR, n=1)
    truth = truth_of(test)
    every = [sum(a == b for a, b in zip(guess, truth)) for guess in itertools.product(test.kinds, repeat=4)]
    wrong = {kind: next(k for k in test.kinds if k != kind) for kind in test.kinds}
    for right in range(5):
        for clip, kind in enumerate(truth):
            test.answer(clip, kind if clip < right else wrong[kind])
        share = np.mean([n >= right for n in every])
        assert test.score() == (4, right, 0.25, pytest.approx(share))
    assert "4 of 4 right (100%, guessing gives 25%); 0.4% of guessers" in test.verdict()
    assert "you hear" in test.verdict() and "taken for real: real 1 of 1, codec 0 of 1" in test.verdict()


def truth_of(test):
    """What each clip is, found by answering: the score rises by a right answer alone."""
    truth = []
    for clip in range(len(test.clips)):
        for kind in test.kinds:
            before = test.score()[1] if clip not in test.answers else len(truth)
            test.answer(clip, kind)
            if test.score()[1] > before:
                truth.append(kind)
                break
    return truth


def test_answers_are_kept_and_found_again_and_the_last_word_counts(sounds, tmp_path):
    path = tmp_path / "deep" / "answers.csv"
    first = evaluation.BlindTest(sounds, SR, path=path)
    assert "not tried yet" in first.verdict() and not path.exists()
    first.answer(2, "codec")
    first.answer(2, "real")
    first.answer(5, "shuffled")
    with open(path, "a") as file:
        file.write("nonsense\n,,,\nother,3,real,real\n")
    assert evaluation.BlindTest(sounds, SR, path=path).answers == {2: "real", 5: "shuffled"}
    assert evaluation.BlindTest(sounds, SR, seed=1, path=path).answers == {}
    assert path.read_text().startswith("test,clip,kind,answer\n")


@pytest.mark.parametrize("clip, kind", [(12, "real"), (-1, "real"), (0, "human"), ("first", "real")])
def test_an_answer_that_is_none_is_refused(sounds, clip, kind):
    with pytest.raises(ValueError, match="clips are 0 to 11, kinds real, codec"):
        evaluation.BlindTest(sounds, SR).answer(clip, kind)


def test_a_sound_that_is_too_short_or_dead_is_named(sounds):
    with pytest.raises(ValueError, match="generated lasts 5.0 s, 1 clips of 3 s, fewer than n=3"):
        evaluation.BlindTest({**sounds, "generated": sounds["real"][: 5 * SR]}, SR)
    with pytest.raises(ValueError, match="generated lasts 30.0 s, 0 clips"):
        evaluation.BlindTest({**sounds, "generated": np.full(30 * SR, 0.5)}, SR)


def test_kinds_share_no_second_of_the_voice():
    voice = np.arange(30 * SR, dtype=np.float32)
    made = evaluation.kinds(voice, np.zeros(9), SR, lambda y: y)
    parts = [set(made[name].tolist()) for name in ("real", "codec", "shuffled")]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(parts, 2))
    assert list(made) == ["real", "codec", "generated", "shuffled"] and "codec" not in evaluation.kinds(
        voice, voice, SR
    )
    assert sorted(made["shuffled"]) == sorted(voice[-10 * SR :]) and list(made["shuffled"]) != sorted(made["shuffled"])
