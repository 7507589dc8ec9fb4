"""The loop in C++ against the compiled graph, frame by frame, with the same random numbers."""

import numpy as np
import pytest

import vocalsynth_utils  # noqa: F401  sets Theano up
from vocalsynth_utils import features, generation, model, recipes
from vocalsynth_utils.fused import native
from vocalsynth_utils.preprocessing import Scaling
from vocalsynth_utils.world_mdn import sampler

pytestmark = pytest.mark.skipif(
    native.unavailable() is not None, reason=f"the library is not built: {native.unavailable()}"
)
WORLD = recipes.get("world-mdn")
N = features.n_features(WORLD)
SCALING = Scaling.fit("standardise", np.random.default_rng(0).normal(0, 1, (500, N)).astype(np.float32) + 0.5)
BOUNDS = (np.full(N, -1.5, np.float32), np.full(N, 1.2, np.float32))
VARIANTS = [
    dict(n_units=(24,)),
    dict(n_units=(40, 17)),
    dict(n_units=(24,), peepholes=False),
    dict(n_units=(9,), nonlinearity="rectify", n_mixtures=1),
]


def network_of(**changes):
    """A small network whose every parameter is random, so that each matters, and small, so that rounding does not grow."""
    network, rng = model.build_network(WORLD.replace(**changes), N, SCALING), np.random.default_rng(1)
    for p in model.parameters(network).values():
        p.set_value(rng.normal(0, 0.2, p.get_value().shape).astype(np.float32))
    return network


def by_graph(network, primer, n, **options):
    return generation.free_run(generation.compile_step(network, **options), primer, n)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("options", [dict(seed=3), dict(seed=4, temperature=0.6, bounds=BOUNDS)])
def test_the_same_frames_as_the_compiled_graph(changes, options):
    network, primer = network_of(**changes), np.random.default_rng(2).normal(0, 1, (12, N)).astype(np.float32)
    sung = np.concatenate(list(generation.frame_blocks(network, primer, 300, **options)))  # more than one block
    expected = by_graph(network, primer, 300, **options)
    assert sung.shape == expected.shape == (300, N)
    assert len(np.unique(sung[:, features.VOICING].round(3))) == 2  # both kinds occur, or voicing would not be tested
    assert np.allclose(sung, expected, atol=2e-3)


def test_bounds_hold():
    sung = np.concatenate(
        list(generation.frame_blocks(network_of(n_units=(24,)), np.zeros((1, N), np.float32), 200, bounds=BOUNDS))
    )
    assert (sung >= BOUNDS[0]).all() and (sung <= BOUNDS[1]).all() and np.any(sung == BOUNDS[1])


def test_other_networks_are_left_to_the_graph():
    network = model.build_network(WORLD.replace(loss="mixture", n_units=(8,)), N, SCALING)
    assert not sampler.can_sample(network) and sampler.can_sample(network_of(n_units=(8,)))
    primer = np.zeros((2, N), np.float32)
    assert np.array_equal(
        np.concatenate(list(generation.frame_blocks(network, primer, 5, seed=1))), by_graph(network, primer, 5, seed=1)
    )


def test_progress_ends_at_the_number_of_frames():
    told = []
    frames_made = sum(
        map(
            len,
            generation.frame_blocks(network_of(n_units=(8,)), np.zeros((1, N), np.float32), 600, on_frame=told.append),
        )
    )
    assert frames_made == told[-1] == 600 and told == sorted(set(told))


def test_draws_do_not_depend_on_how_they_are_taken():
    head = network_of(n_units=(8,)).head
    one, many = generation.Draws(head, 5), generation.Draws(head, 5)
    singly = [np.concatenate(parts) for parts in zip(*(one.take(1) for _ in range(700)))]
    assert all(np.array_equal(a, np.concatenate([b, c])) for a, b, c in zip(singly, many.take(300), many.take(400)))


def test_random_numbers_that_do_not_fit_are_refused():
    network = network_of(n_units=(8,))
    voices = sampler.WorldSampler(network, 1.0, None, np.zeros((1, N)), [np.zeros((1, 8))] * 2)
    with pytest.raises(ValueError, match="expected"):
        voices.sing(np.zeros((1, 3, 4)), np.zeros((1, 3, 4)))


@pytest.mark.parametrize("lstm", ["fused", "lasagne"])
def test_a_voice_taken_back_sings_on_as_if_nothing_had_come_after(lstm):
    network = network_of(n_units=(24,), lstm=lstm)
    draws = [generation.Draws(network.head, seed) for seed in (1, 2, 3)]
    numbers = [v[:, 0] for v in generation.take(draws, 1)]
    voices, _ = sampler.begin(network, generation.compile_chains(network), np.zeros((3, 3, N), np.float32), numbers)
    assert isinstance(voices, sampler.WorldSampler if lstm == "fused" else generation.GraphSampler)
    voices.sing(*generation.take(draws, 5))
    before, numbers, others, some = voices.state(), generation.take(draws, 9), generation.take(draws, 9), [0, 2]
    once = voices.sing(*numbers)
    voices.go_back(before)
    voices.sing(*others)
    voices.go_back([rows[some] for rows in before], some)
    again = voices.sing(*(v[some] for v in numbers), some)
    assert np.allclose(again, once[some], atol=1e-5) and np.ptp(once, axis=1).max() > 0
    assert not np.allclose(
        voices.sing(*(v[[1]] for v in numbers), [1]), once[[1]], atol=1e-3
    )  # this one has sung others


@pytest.mark.parametrize("lstm", ["fused", "lasagne"])
def test_a_voice_that_forgets_sings_on_as_one_begun_with_its_newest_frame(lstm):
    network = network_of(n_units=(24,), lstm=lstm)
    draws, together = [generation.Draws(network.head, seed) for seed in (1, 2)], generation.compile_chains(network)
    voices, _ = sampler.begin(
        network, together, np.ones((2, 3, N), np.float32), [v[:, 0] for v in generation.take(draws, 1)]
    )
    newest, numbers = voices.sing(*generation.take(draws, 5))[:, -1:], generation.take(draws, 9)
    before = voices.state()
    expected = voices.sing(*numbers)
    voices.go_back(before)
    voices.forget([1])
    sung = voices.sing(*numbers)
    begun, first = sampler.begin(network, together, newest[1:], [v[1:, 0] for v in numbers])
    assert np.allclose(
        sung[1:], np.concatenate([first[:, None], begun.sing(*(v[1:, 1:] for v in numbers))], axis=1), atol=1e-4
    )
    assert np.allclose(sung[0], expected[0], atol=1e-5) and not np.allclose(sung[1], expected[1], atol=1e-2)


def test_voices_begun_together_sing_as_each_alone():
    network, rng = network_of(n_units=(24,)), np.random.default_rng(3)
    primers = rng.normal(0, 1, (3, 7, N)).astype(np.float32)
    numbers, later = (
        generation.random_numbers(rng, 3, network.head),
        generation.take([generation.Draws(network.head, seed) for seed in range(3)], 40),
    )
    together = generation.compile_chains(network)
    voices, frames = sampler.begin(network, together, primers, numbers)
    sung = voices.sing(*later)
    for i in range(3):
        alone, first = sampler.begin(network, together, primers[i : i + 1], [v[i : i + 1] for v in numbers])
        assert np.allclose(first[0], frames[i], atol=1e-5) and np.allclose(
            alone.sing(*(v[i : i + 1] for v in later))[0], sung[i], atol=1e-3
        )
