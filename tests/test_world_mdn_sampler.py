"""The sampler in C++ against the compiled graph, frame by frame, with the same random numbers; of one level and two."""

import functools

import numpy as np
import pytest

from vocalsynth_utils import features, generation, model, recipes, units
from vocalsynth_utils.fused import native
from vocalsynth_utils.preprocessing import Scaling
from vocalsynth_utils.world_mdn.sampler import Sampler, WorldSampler, can_sample, take, text_frames, world_frames

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


def network_of(recipe=WORLD, **changes):
    """A network whose every parameter is random, so that each matters, and small, so that rounding does not grow."""
    network, rng = model.build_network(recipe.replace(**changes), N, SCALING), np.random.default_rng(1)
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


@pytest.mark.slow
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


TEXT = recipes.get("world-units").replace(n_units=(24,), vocabulary=6, language_units=7)
PRIMER = np.random.default_rng(4).normal(0, 1, (40, N)).astype(np.float32)


def given_of(n_frames, seed=5, n_units=6):
    """What so many frames are given of a text that comes by chance."""
    rng = np.random.default_rng(seed)
    return units.Text(rng.integers(0, n_units, n_frames), rng.integers(1, 24, n_frames)).given()[:n_frames]


@pytest.fixture(scope="module")
def two_levels():
    return network_of(TEXT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, temperatures",
    [
        (dict(), None),
        (dict(n_units=(20, 17), n_mixtures=3), (1.7, 0.4, 0.6)),
        (dict(vocabulary=2, peepholes=False), (0.3, 1.2, 1.1)),
    ],
    ids=str,
)
def test_given_text_the_same_frames_as_the_compiled_graph(changes, temperatures):
    network, given = network_of(TEXT, **changes), given_of(120, n_units=2)
    if temperatures:
        network.head.temperatures = temperatures
    assert network.head.temperatures != (1.0, 0.85, 1.0)
    step, draws = generation.compile_chains(network, 0.9, LIMITS), [generation.Draws(network.head, s) for s in (1, 2)]
    numbers, frames = take(draws, 121), np.zeros((2, N), np.float32)
    known = np.concatenate([np.zeros((2, 3, N)), given_of(6, 6, 2).reshape(2, 3, 5)], axis=2)
    frames, state = step(known, None, *(v[:, 0] for v in numbers))
    sampler, expected = WorldSampler(network, 0.9, LIMITS, frames, state), []
    more = np.stack([given, given[::-1]])  # another text for each chain
    for i in range(120):
        heard = np.concatenate([frames, more[:, i]], axis=1)[:, None]
        frames, state = step(heard, state, *(v[:, i + 1] for v in numbers))
        expected.append(frames)
    vectors = np.stack([network.language.given.vectors(rows) for rows in more])
    parts = []
    for a, b in ((0, 1), (1, 50), (50, 120)):
        parts.append(sampler.advance(*(v[:, a + 1 : b + 1] for v in numbers), more=vectors[:, a:b]))
    drawn, expected = np.concatenate(parts, axis=1), np.stack(expected, axis=1)
    assert len(np.unique(drawn[:, :, features.VOICING].round(3))) == 2
    assert np.allclose(drawn, expected, atol=2e-3) and np.abs(drawn).max() > 1


def test_what_is_given_has_its_effect_and_must_be_of_the_networks_width(two_levels, network):
    draws = generation.Draws(two_levels.head, 1)
    uniform, normal = (v[None] for v in draws.take(9))
    begun = lambda: WorldSampler(two_levels, 1.0, None, np.zeros((1, N)), [np.zeros((1, 24))] * 2)
    vectors = two_levels.language.given.vectors
    some, other = (begun().advance(uniform, normal, more=vectors(given_of(9, seed))[None]) for seed in (1, 2))
    assert not np.allclose(some, other, atol=1e-2)
    for more in (None, given_of(9)[None], vectors(given_of(8))[None]):
        with pytest.raises(ValueError, match=r"more has shape .*; expected \(1, 9, 194\)"):
            begun().advance(uniform, normal, more=more)
    plain = WorldSampler(network, 1.0, None, np.zeros((1, N)), [np.zeros((1, 24))] * 2)
    numbers = (v[None] for v in generation.Draws(network.head, 1).take(9))
    with pytest.raises(ValueError, match=r"more has shape \(1, 9, 194\); expected \(1, 9, 0\)"):
        plain.advance(*numbers, more=vectors(given_of(9))[None])


@pytest.fixture(scope="module", autouse=True)
def told_apart(two_levels):
    """The units are told apart."""
    rng = np.random.default_rng(7)
    two_levels.language.given.centres.set_value(rng.normal(0, 1, (6, units.text.N_DESCRIBED)).astype(np.float32))


def told(network, n, **options):
    return np.concatenate(list(text_frames(network, PRIMER, n, recipe=TEXT, **options)))


def read_by_hand(network, primer, recipe):
    """The text of a primer."""
    return units.Centres(network.language.given.centres.get_value()).read(primer, recipe)


@pytest.mark.slow
@pytest.mark.parametrize("lstm", ["fused", "lasagne"])
def test_a_text_that_is_given_is_the_one_that_frames_are_given(two_levels, lstm):
    network = two_levels if lstm == "fused" else network_of(TEXT, lstm=lstm)
    rng, n = np.random.default_rng(8), 300
    text = units.Text(rng.integers(0, 6, 80), rng.integers(1, 9, 80))
    read = read_by_hand(network, PRIMER, TEXT)
    whole = units.Text(*map(np.concatenate, zip(read, text))).given()
    assert np.array_equal(read.lengths.sum(), len(PRIMER))
    step, draws = generation.compile_chains(network), generation.Draws(network.head, 3)
    frames, kept, follow = list(PRIMER), network.language.n_heard, network.language.n_follow
    for i in range(len(PRIMER), len(PRIMER) + n):
        if (i - len(PRIMER)) % follow == 0:  # anew, from what was last
            state, first = None, max(0, i - kept)
        heard = np.concatenate([frames[first:], whole[first + 1 : i + 1]], axis=1)
        drawn, state = step(heard[None], state, *draws.take(1))
        frames.append(drawn[0])
        first = i
    expected = frames[len(PRIMER) :]
    assert np.allclose(told(network, n, seed=3, text=text), expected, atol=2e-3)


def test_a_text_that_ends_is_told_to_its_end(two_levels):
    text = units.Text(np.array([1, 2, 0]), np.array([3, 5, 1]))
    longer = units.Text(*(np.tile(v, 20) for v in text))
    assert told(two_levels, 9, text=text).shape == (9, N)
    with pytest.raises(ValueError, match="text lasts 0.135 s, shorter"):
        told(two_levels, 10, text=text)
    assert np.array_equal(told(two_levels, 9, text=text)[:8], told(two_levels, 8, text=longer))


def test_a_seed_decides_all_of_two_levels_and_there_are_as_many_frames_as_asked_for(two_levels):
    whole = told(two_levels, 700, seed=3, limits=LIMITS)
    assert whole.shape == (700, N) and (whole >= LIMITS[0]).all() and (whole <= LIMITS[1]).all()
    for n in (1, 2, 3, 64, 65, 500):
        assert np.array_equal(told(two_levels, n, seed=3, limits=LIMITS), whole[:n]), n
    other = told(two_levels, 64, seed=4, limits=LIMITS)
    assert not np.allclose(other, whole[:64])


def test_frames_do_not_depend_on_how_many_segments_are_said_at_a_time(two_levels, monkeypatch):
    whole, blocks = told(two_levels, 300, seed=5), units.blocks
    for least in (1, 5, 200):
        monkeypatch.setattr(units, "blocks", functools.partial(blocks, least=least))
        assert np.array_equal(told(two_levels, 300, seed=5), whole)


def test_the_temperature_of_two_levels_is_that_of_the_text(two_levels, monkeypatch):
    asked, say = [], units.say
    monkeypatch.setattr(units, "say", lambda *args: asked.append(args[3]) or say(*args))
    text = units.Text(np.resize(np.arange(6), 80), np.resize([3, 5], 80))
    as_it_is, warmer = (told(two_levels, 90, text=text, temperature=t) for t in (0.1, 9.0))
    assert np.array_equal(as_it_is, warmer) and not asked
    assert not np.array_equal(*(told(two_levels, 90, temperature=t) for t in (0.1, 9.0))) and asked == [0.1, 9.0]


def test_one_mean_frame_is_primer_enough(two_levels):
    frames = list(text_frames(two_levels, np.zeros((1, N), np.float32), 20, recipe=TEXT))
    assert sum(map(len, frames)) == 20 and np.isfinite(np.concatenate(frames)).all()


def test_nothing_is_taken_from_memory_that_was_not_written(network, monkeypatch):
    frames, state = np.zeros((1, N), np.float32), [np.zeros((1, 24), np.float32)] * 2
    empty = np.empty
    full = lambda shape, dtype=float, **more: np.full(shape, 1e300) if dtype is float else empty(shape, dtype, **more)
    monkeypatch.setattr(np, "empty", full)
    with np.errstate(over="raise"):  # such numbers do not fit float32
        WorldSampler(network, 1.0, None, frames, state)
