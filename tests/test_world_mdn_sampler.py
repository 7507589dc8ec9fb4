"""The sampler in C++ against the compiled graph, frame by frame, with the same random numbers."""

import numpy as np
import pytest

from vocalsynth_utils import features, generation, model, recipes
from vocalsynth_utils.fused import native
from vocalsynth_utils.preprocessing import Scaling
from vocalsynth_utils.world_mdn.sampler import Sampler, WorldSampler, can_sample, take, world_frames

pytestmark = pytest.mark.skipif(
    native.unavailable() is not None, reason=f"the library is not built: {native.unavailable()}"
)
WORLD = recipes.get("world-mdn")
N = features.n_features(WORLD)
SCALING = Scaling.fit("standardise", np.random.default_rng(0).normal(0, 1, (500, N)).astype(np.float32) + 0.5)
LIMITS = (np.full(N, -1.5, np.float32), np.full(N, 1.2, np.float32))
VARIANTS = [
    dict(n_units=(24,)),
    dict(n_units=(40, 17)),
    dict(n_units=(24,), peepholes=False),
    dict(n_units=(9,), nonlinearity="rectify", n_mixtures=1),
]


def network_of(**changes):
    """A network whose every parameter is random, so that each matters, and small, so that rounding does not grow."""
    network, rng = model.build_network(WORLD.replace(**changes), N, SCALING), np.random.default_rng(1)
    for p in model.parameters(network).values():
        p.set_value(rng.normal(0, 0.12, p.get_value().shape).astype(np.float32))
    return network


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """No network is compiled twice with the same options."""
    made, compile_chains = {}, generation.compile_chains

    def once(network, temperature=1.0, limits=None):
        key = id(network), temperature, id(limits)
        if key not in made:
            made[key] = compile_chains(network, temperature, limits), network  # an id is taken while it is held
        return made[key][0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generation, "compile_chains", once)
        yield


@pytest.fixture(scope="module")
def network():
    """The first of VARIANTS."""
    return network_of(**VARIANTS[0])


def by_graph(network, primer, n, **options):
    return generation.free_run(generation.compile_step(network, **options), primer, n)


def sampled(network, primer, n, **options):
    return np.concatenate(list(world_frames(network, primer, n, **options)))


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("options", [dict(seed=3), dict(seed=4, temperature=0.6, limits=LIMITS)])
def test_the_same_frames_as_the_compiled_graph(changes, options, monkeypatch):
    monkeypatch.setattr(WorldSampler, "block", 50)
    network, primer = network_of(**changes), np.random.default_rng(2).normal(0, 1, (12, N)).astype(np.float32)
    drawn = sampled(network, primer, 120, **options)  # more than one block
    expected = by_graph(network, primer, 120, **options)
    assert drawn.shape == expected.shape == (120, N)
    assert len(np.unique(drawn[:, features.VOICING].round(3))) == 2  # both kinds occur, or voicing would not be tested
    assert np.allclose(drawn, expected, atol=2e-3)


def test_limits_hold(network):
    drawn = sampled(network, np.zeros((1, N), np.float32), 200, limits=LIMITS)
    assert (drawn >= LIMITS[0]).all() and (drawn <= LIMITS[1]).all() and np.any(drawn == LIMITS[1])


def test_other_networks_are_left_to_the_graph(network):
    other = model.build_network(WORLD.replace(loss="mixture", n_units=(8,)), N, SCALING)
    assert not can_sample(other) and can_sample(network)
    primer = np.zeros((2, N), np.float32)
    expected = by_graph(other, primer, 5, seed=1)
    assert np.array_equal(sampled(other, primer, 5, seed=1), expected)
    assert np.array_equal(np.concatenate(list(generation.network_frames(other, primer, 5, seed=1))), expected)


def test_progress_ends_at_the_number_of_frames(network):
    told = []
    blocks = generation.counted(world_frames(network, np.zeros((1, N), np.float32), 600), told.append)
    assert sum(map(len, blocks)) == told[-1] == 600
    assert told == sorted(set(told))


def test_draws_do_not_depend_on_how_they_are_taken(network):
    one, many = generation.Draws(network.head, 5), generation.Draws(network.head, 5)
    singly = [np.concatenate(parts) for parts in zip(*(one.take(1) for _ in range(700)))]
    assert all(np.array_equal(a, np.concatenate([b, c])) for a, b, c in zip(singly, many.take(300), many.take(400)))


def test_random_numbers_that_do_not_fit_are_refused(network):
    sampler = WorldSampler(network, 1.0, None, np.zeros((1, N)), [np.zeros((1, 24))] * 2)
    with pytest.raises(ValueError, match="expected"):
        sampler.advance(np.zeros((1, 3, 4)), np.zeros((1, 3, 4)))


def first_of(draws):
    """The next numbers of each, for one frame: (n_chains, n_uniform) and (n_chains, n_normal)."""
    return [v[:, 0] for v in take(draws, 1)]


@pytest.fixture(scope="module", params=["fused", "lasagne"])
def chains(request):
    """A network of either layer, its step, and the class that samples it."""
    network = network_of(n_units=(24,), lstm=request.param)
    sampled_by = WorldSampler if request.param == "fused" else Sampler
    return network, generation.compile_chains(network), sampled_by


def begun(network, step, primers, uniform, normal):
    """A sampler of chains primed together, of either class, and their first frames (n_chains, n_features)."""
    frames, state = step(primers, None, uniform, normal)
    if can_sample(network):
        return WorldSampler(network, 1.0, None, frames, state), frames
    return Sampler(step, frames, state), frames


def test_a_chain_restored_goes_on_as_if_nothing_had_come_after(chains):
    network, step, sampled_by = chains
    draws = [generation.Draws(network.head, seed) for seed in (1, 2, 3)]
    sampler, _ = begun(network, step, np.zeros((3, 3, N), np.float32), *first_of(draws))
    assert type(sampler) is sampled_by
    sampler.advance(*take(draws, 5))
    before, numbers, others, some = sampler.state(), take(draws, 9), take(draws, 9), [0, 2]
    once = sampler.advance(*numbers)
    sampler.restore(before)
    sampler.advance(*others)
    sampler.restore([rows[some] for rows in before], some)
    again = sampler.advance(*(v[some] for v in numbers), some)
    assert np.allclose(again, once[some], atol=1e-5) and np.ptp(once, axis=1).max() > 0
    third = sampler.advance(*(v[[1]] for v in numbers), [1])
    assert not np.allclose(third, once[[1]], atol=1e-3)  # this one has drawn others


def test_a_chain_reset_goes_on_as_one_begun_with_its_newest_frame(chains):
    network, step, _ = chains
    draws = [generation.Draws(network.head, seed) for seed in (1, 2)]
    sampler, _ = begun(network, step, np.ones((2, 3, N), np.float32), *first_of(draws))
    newest, numbers = sampler.advance(*take(draws, 5))[:, -1:], take(draws, 9)
    before = sampler.state()
    expected = sampler.advance(*numbers)
    sampler.restore(before)
    sampler.reset([1])
    drawn = sampler.advance(*numbers)
    anew, first = begun(network, step, newest[1:], *(v[1:, 0] for v in numbers))
    following = anew.advance(*(v[1:, 1:] for v in numbers))
    assert np.allclose(drawn[1:], np.concatenate([first[:, None], following], axis=1), atol=1e-4)
    assert np.allclose(drawn[0], expected[0], atol=1e-5) and not np.allclose(drawn[1], expected[1], atol=1e-2)


def test_chains_begun_together_go_on_as_each_alone(network):
    rng, step = np.random.default_rng(3), generation.compile_chains(network)
    primers = rng.normal(0, 1, (3, 7, N)).astype(np.float32)
    numbers = generation.random_numbers(rng, 3, network.head)
    later = take([generation.Draws(network.head, seed) for seed in range(3)], 40)
    sampler, frames = begun(network, step, primers, *numbers)
    drawn = sampler.advance(*later)
    for i in range(3):
        alone, first = begun(network, step, primers[i : i + 1], *(v[i : i + 1] for v in numbers))
        following = alone.advance(*(v[i : i + 1] for v in later))[0]
        assert np.allclose(first[0], frames[i], atol=1e-5) and np.allclose(following, drawn[i], atol=1e-3)
