"""Each independent measure against a closed form, and on the singer: the voice, a copy, a loop, confetti, another."""

import numpy as np
import pytest

from vocalsynth_utils import evaluation, synthetic
from vocalsynth_utils.evaluation import INDEPENDENT, modulation, sound_units

SR = 16000
rng = np.random.default_rng


def markov(transition, n, seed=0):
    """A sequence of n labels drawn from a matrix of transition probabilities."""
    ends, u, labels = np.cumsum(transition, axis=1), rng(seed).random(n), [0]
    for x in u[1:]:
        labels.append(int(np.searchsorted(ends[labels[-1]], x)))
    return np.array(labels)


# closed forms


def test_perplexity_of_a_markov_source_is_the_exponential_of_its_entropy_rate():
    transition = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.5, 0.25, 0.25]])
    values, vectors = np.linalg.eig(transition.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary = stationary / stationary.sum()
    entropy = -np.sum(stationary[:, None] * transition * np.log(transition))
    found = sound_units.perplexity(markov(transition, 30000), markov(transition, 30000, seed=1), 3)
    assert found == pytest.approx(np.exp(entropy), rel=0.02)


def test_perplexity_of_independent_uniform_labels_is_their_number():
    known, labels = rng(0).integers(5, size=(2, 30000))
    assert sound_units.perplexity(known, labels, 5) == pytest.approx(5, rel=0.02)


def test_probabilities_are_those_of_witten_and_bell():
    known = list("abcabd")  # ab is followed by c and by d, b by the same two, each once, of a, b, c, d and a fifth
    unigram = (1 + 4 / 5) / (6 + 4)
    bigram = (1 + 2 * unigram) / (2 + 2)
    trigram = (1 + 2 * bigram) / (2 + 2)
    assert sound_units.perplexity(known, list("abc"), 5) == pytest.approx(1 / trigram)
    assert sound_units.perplexity([], list("abc"), 5) == pytest.approx(5)
    assert np.isnan(sound_units.perplexity(known, ["a", "b"], 5))


def test_probabilities_of_all_that_can_follow_sum_to_one():
    known = rng(0).integers(4, size=50)
    for context in ([0, 1], [3, 3], [9, 9]):
        total = sum(1 / sound_units.perplexity(known, [*context, c], 6) for c in range(6))
        assert total == pytest.approx(1)


def test_what_recurs_of_a_known_loop():
    assert sound_units.repeated(np.tile(np.arange(7), 100)) == pytest.approx(1 - 7 / 698)
    assert sound_units.repeated(np.arange(500)) == 0
    twice = np.tile(np.arange(50), 2)
    assert sound_units.repeated(twice) == pytest.approx(1 - 50 / 98) and sound_units.repeated(twice, stretch=50) == 0
    assert np.isnan(sound_units.repeated([1, 2]))


def test_centres_are_the_means_of_far_apart_clusters():
    place = 100 * np.arange(sound_units.N_UNITS)[:, None] + np.zeros(3)
    vectors = (np.repeat(place, 20, axis=0) + rng(0).normal(size=(1280, 3))).astype(np.float32)
    centres = sound_units.learn(vectors)
    labels = sound_units.label(centres, vectors)
    for i in np.unique(labels):  # each a mean of its own members, whatever it began with
        assert np.allclose(centres[i], vectors[labels == i].mean(axis=0), rtol=1e-4)
    apart = np.linalg.norm(vectors[:, None] - centres, axis=2)
    assert np.allclose(apart[np.arange(1280), labels], apart.min(axis=1), atol=1e-2)


@pytest.mark.parametrize("hz, octave", [(0.75, 0), (1.5, 1), (3, 2), (6, 3), (12, 4)])
def test_a_level_that_swells_at_one_rate_has_that_octave_alone(hz, octave):
    bands = np.sin(2 * np.pi * hz * np.arange(3000) / 100)[:, None] + np.zeros(40)
    shares = modulation.spectrum(bands)
    assert shares.sum() == pytest.approx(1) and shares[octave] > 0.8
    assert np.allclose(shares, modulation.spectrum(bands + 3))
    still = modulation.spectrum(np.zeros((3000, 40)))
    assert modulation.distance(shares, shares) == 0 and modulation.distance(shares, still) == pytest.approx(0.5)


def test_two_samples_of_one_distribution_are_not_told_apart_and_disjoint_ones_always():
    a, b = rng(0).normal(size=(2, 2000, 10))
    assert modulation.two_sample(a, b) == pytest.approx(0.5, abs=0.03)
    assert modulation.two_sample(a, a) == 0.5
    assert modulation.two_sample(a, b + 20) == 1
    assert np.isnan(modulation.two_sample(a, b[:9]))


def test_two_gaussians_are_told_apart_as_often_as_bayes_says():
    from scipy.stats import norm

    a, b = rng(0).normal(size=(2, 20000, 5))
    b[:, 2] += 1.5
    for n in (20000, 4000):  # however many there are of one
        assert modulation.two_sample(a, b[:n]) == pytest.approx(norm.cdf(0.75), abs=0.01)


# known cases on the built-in singer


def resampled(y, ratio):
    """The same, all frequencies times `ratio`."""
    import soxr

    return soxr.resample(y, SR * ratio, SR)


@pytest.fixture(scope="module")
def song():
    return synthetic.sing(220, seed=11)


@pytest.fixture(scope="module")
def ref(song):
    return evaluation.reference(song[: 160 * SR], song[160 * SR :], SR)


@pytest.fixture(scope="module")
def measured(song, ref):
    train, heldout = song[: 160 * SR], song[160 * SR :]
    signals = {
        "itself": heldout,
        "another song": synthetic.sing(60, seed=12),
        "copy": train[20 * SR : 80 * SR],
        "quiet": 0.1 * heldout,
        "loop": np.tile(train[41 * SR : 45 * SR], 15),
        "confetti": rng(0).permutation(heldout.reshape(-1, 800)).ravel(),
        "other": resampled(synthetic.sing(80, seed=13), 1.3)[: 60 * SR],  # a shorter throat, and quicker
        "semitone": resampled(heldout, 2 ** (1 / 12)),
    }
    return {name: evaluation.independent_of(ref, y) for name, y in signals.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["itself", "another song", "quiet"])
def test_the_voice_itself_is_foreseen_varied_and_not_told_apart(ref, measured, name):
    r, real = measured[name], ref.figures
    assert r["unit_perplexity"] == pytest.approx(real["unit_perplexity_real"], rel=0.1)
    assert r["repeated_units"] == pytest.approx(r["repeated_units_real"], rel=0.1)
    assert r["modulation"] < 0.1 and 0.4 < r["two_sample"] < 0.6


@pytest.mark.slow
def test_a_copy_of_the_training_part_is_foreseen_better_than_the_voice_and_else_not_caught(measured):
    r, itself = measured["copy"], measured["itself"]
    assert r["unit_perplexity"] < 0.5 * itself["unit_perplexity"]
    assert r["repeated_units"] == pytest.approx(r["repeated_units_real"], rel=0.15)
    assert r["two_sample"] < 0.6 and r["modulation"] < 0.1


@pytest.mark.slow
def test_a_loop_is_foreseen_best_and_recurs(measured):
    r = measured["loop"]
    assert r["unit_perplexity"] < 0.5 * measured["itself"]["unit_perplexity"]  # cheap, as the next line says
    assert r["repeated_units"] > 0.9 > 2 * r["repeated_units_real"]
    assert r["two_sample"] > 0.75 and r["modulation"] > 0.15


@pytest.mark.slow
def test_confetti_is_caught_by_all_four(measured):
    r = measured["confetti"]
    assert r["unit_perplexity"] > 8 * measured["itself"]["unit_perplexity"]
    assert r["repeated_units"] < 0.2 * r["repeated_units_real"]
    assert r["two_sample"] > 0.95 and r["modulation"] > 0.2


@pytest.mark.slow
def test_another_speaker_is_caught_by_order_and_by_the_two_sample_test(measured):
    r = measured["other"]
    assert r["unit_perplexity"] > 2 * measured["itself"]["unit_perplexity"] and r["two_sample"] > 0.62
    assert r["repeated_units"] == pytest.approx(r["repeated_units_real"], rel=0.15) and r["modulation"] < 0.1


@pytest.mark.slow
def test_the_voice_a_semitone_higher_is_hardly_caught_but_by_perplexity(measured):
    r, itself = measured["semitone"], measured["itself"]
    assert 1.1 * itself["unit_perplexity"] < r["unit_perplexity"] < 2 * itself["unit_perplexity"]
    assert r["two_sample"] < 0.6 and r["modulation"] < 0.1


@pytest.mark.slow
def test_the_curve_of_order_over_variety_holds_the_figures_of_evaluate(song, ref, measured):
    perplexity, repeated, real = evaluation.order(ref, song[160 * SR :])
    r = measured["itself"]
    assert (perplexity, repeated, real) == (r["unit_perplexity"], r["repeated_units"], r["repeated_units_real"])
    shorter = evaluation.order(ref, song[160 * SR : 180 * SR])
    assert shorter[2] < real  # in stretches as short, less of the voice recurs too


@pytest.mark.slow
def test_every_independent_figure_stands_beside_floor_codec_and_ceilings(song, ref):
    codec = evaluation.reference(song[: 20 * SR], song[-20 * SR :], SR, lambda y: y, 10).figures
    ceilings = evaluation.ceilings(ref, song[160 * SR :], other=synthetic.sing(20, seed=13))
    for name in INDEPENDENT:
        assert f"{name}_real" in ref.figures and {f"{name}_shuffled", f"{name}_other"} <= set(ceilings)
        if name != "two_sample":  # whose floor is the training part, not the held-out one against itself
            assert codec[f"{name}_codec"] == codec[f"{name}_real"]
    assert codec["two_sample_codec"] == 0.5


def test_tuned_and_independent_measures_are_apart():
    assert not set(evaluation.TUNED) & set(INDEPENDENT)
