"""Recipes: nothing unknown, nothing contradictory, nothing lost on the way to JSON."""

import dataclasses
import hashlib
import json

import pytest

from vocalsynth_utils import model, preprocessing
from vocalsynth_utils.recipes import FAMILIES, RECIPES, Recipe, check_choice, get, parse_setting

BUILT_IN_SAMPLES = 300 * 16000
WORLD = dict(features="world", frame_length=240, scaling="standardise", loss="world", n_mixtures=2)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_recipe_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.purpose


def test_the_file_holds_the_experiments_as_they_were_run():
    """Field by field, in the same order; where an experiment is meant to change, the failure says what to write."""
    recipes = [recipe.to_dict() for recipe in RECIPES.values()]
    lines = [(e.name, e.purpose, e.recorded, e.small is not None) for family in FAMILIES.values() for e in family]
    digests = {"recipes": "ed3a15391a62a26f", "families": "9ac193e054b56dd3", "lines": "582c0f69fda7de42"}
    found = {"recipes": recipes, "families": list(FAMILIES), "lines": lines}
    found = {k: hashlib.sha256(json.dumps(v).encode()).hexdigest()[:16] for k, v in found.items()}
    assert found == digests, f"if this is meant, write here: digests = {found}"


def test_no_two_recipes_are_the_same_but_for_their_names():
    contents = [tuple(v for k, v in r.to_dict().items() if k not in ("name", "purpose")) for r in RECIPES.values()]
    assert len(set(contents)) == len(contents)


def test_every_family_of_2016_is_there():
    every = list(RECIPES.values())
    for name, values in {
        "frame_length": (1, 200, 800, 1600, 2000, 4000, 8000, 16000),
        "n_steps": (100, 1000),
        "optimiser": ("rmsprop", "nesterov", "adagrad", "adam"),
        "nonlinearity": ("tanh", "rectify", "sigmoid"),
        "scaling": ("mean", "minmax", "std"),
        "features": ("raw", "fft", "world", "logmel"),
        "stateful": (False, True),
        "forget_bias": (0.0, 0.5, 1.0),
        "momentum": (0.0, 0.9),
    }.items():
        assert set(values) <= {getattr(r, name) for r in every}, name
    assert {1, 2, 3, 4, 5, 8} <= {len(r.n_units) for r in every}
    assert {100, 300, 600, 1000, 2000} <= {r.n_units[0] for r in every if len(set(r.n_units)) == 1}
    assert (600, 400, 200, 400, 600) in {r.n_units for r in every}
    for name in ("grad_clipping", "gradient_steps", "max_norm", "input_noise", "input_dropout"):
        assert any(getattr(r, name) for r in every), name
    assert any(r.n_offsets > 1 for r in every)


@pytest.mark.parametrize(
    "name",
    [
        e.name if e.small is None else f"{e.name}-small"
        for family in FAMILIES.values()
        for e in family
        if e.name not in ("2016", "world-mdn")
    ],
)
def test_what_is_small_fits_the_built_in_voice(name):
    recipe = get(name)
    needed = recipe.n_steps * recipe.frame_length
    parts = preprocessing.split_sizes(BUILT_IN_SAMPLES)
    assert min(parts) >= needed
    assert recipe.batches_per_epoch or parts[0] // needed * recipe.n_offsets >= recipe.n_batch
    assert model.expected_parameters(recipe) < 25e6


@pytest.mark.parametrize("name, n_parameters", [("2016", 55_232_200), ("0.125s-300x3", 4_810_100)])
def test_parameter_counts_on_record_are_computed_without_building(name, n_parameters):
    assert model.expected_parameters(get(name)) == n_parameters


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(peepholes=False),
        dict(n_units=(5, 7, 3)),
        dict(loss="mixture", n_mixtures=3),
        dict(lstm="lasagne"),
        dict(features="fft", loss="residual-mixture", n_mixtures=2),
        dict(features="logmel", scaling="standardise"),
        WORLD,
        {**WORLD, "vocabulary": 9, "language_units": 7, "language_dropout": 0.2},
        {**WORLD, "vocabulary": 2, "language_units": 1, "peepholes": False, "n_units": (5, 4)},
    ],
    ids=str,
)
def test_parameters_of_the_built_network_are_as_many_as_expected(changes):
    recipe = get("2016").replace(**{"n_units": (6,), "frame_length": 240, **changes})
    network = model.build_network(recipe, model.n_features(recipe))
    assert model.count_parameters(network) == model.expected_parameters(recipe)
    assert [layer.num_units for layer in network.lstms] == list(recipe.n_units)


def test_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get("2016").n_steps = 3


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean '2016-small'"):
        get("2016-smal")
    with pytest.raises(ValueError, match="did you mean 'learning_rate'"):
        parse_setting("learningrate=1")
    with pytest.raises(ValueError, match="did you mean 'rmsprop'"):
        get("2016").replace(optimiser="rmspro")
    with pytest.raises(ValueError, match="unknown recipe field"):
        Recipe.from_dict({"name": "x", "grad_steps": 3})


def test_a_wrong_choice_is_answered_with_what_there_is_and_the_nearest():
    assert check_choice("kind", "mean", ("mean", "std")) == "mean"
    with pytest.raises(ValueError, match="^kind='men' is not one of mean, std; did you mean 'mean'\\?$"):
        check_choice("kind", "men", ("mean", "std"))
    with pytest.raises(ValueError, match="^kind=3 is not one of mean, std$"):
        check_choice("kind", 3, ("mean", "std"))


@pytest.mark.parametrize(
    "name, draws, world_heads, unit",
    [("2016", False, False, 7.0), ("world-mse", False, False, 7.0), ("fft-mixture", True, False, 1.0)]
    + [("world-residual", True, False, 1.0), ("world-mdn", True, True, 1.0)],
)
def test_what_a_loss_implies_is_asked_of_the_recipe(name, draws, world_heads, unit):
    recipe = get(name)
    assert (recipe.draws, recipe.has_world_heads, recipe.loss_unit(7.0)) == (draws, world_heads, unit)
    assert recipe.is_raw == (name == "2016")


@pytest.mark.parametrize(
    "text, value",
    [
        ("n_steps=30", 30),
        ("learning_rate=1e-3", 0.001),
        ("peepholes=false", False),
        ("n_units=600,400", (600, 400)),
        ("n_units=3x", (3,)),
        ("optimiser=adam", "adam"),
    ],
)
def test_settings_are_read_in_their_fields_type(text, value):
    assert parse_setting(text)[1] == value


@pytest.mark.parametrize(
    "text", ["n_steps", "n_steps=", "n_steps=3.5", "peepholes=yes", "n_units=a,b", "learning_rate=fast"]
)
def test_settings_of_another_type_are_refused(text):
    with pytest.raises(ValueError, match=text.partition("=")[0]):
        parse_setting(text)


@pytest.mark.parametrize(
    "changes",
    [
        dict(n_units=()),
        dict(n_units=(3, 0)),
        dict(n_steps=1),
        dict(learning_rate=-1.0),
        dict(learning_rate=float("nan")),
        dict(n_batch=0),
        dict(input_dropout=1.0),
        dict(momentum=1.0),
        dict(optimiser="adam", momentum=0.9),
        dict(optimiser="nesterov"),
        dict(batches_per_epoch=3, n_offsets=2),
        dict(stateful=True, n_offsets=2),
        dict(gradient_steps=50),
        dict(features="world"),
        dict(p_teacher=1.1),
        dict(p_teacher=0.5, n_epochs=1),
        dict(free_steps=49),
        dict(free_steps=3, loss="mixture", n_mixtures=2),
        dict(free_steps=3, stateful=True),
        dict(free_steps=3, gradient_steps=5),
        dict(best_by="luck"),
        dict(patience=3, best_by="last"),
        dict(limits=False),
        dict(scaling="standardise"),
        dict(seed=True),
        dict(features="mel"),
        dict(rho=0.5, optimiser="sgd"),
        dict(epsilon=1e-8, optimiser="adam"),
        dict(rho=1.0),
        dict(epsilon=0.0),
        dict(gradient_steps=49),
        dict(lstm="lasagne-0.1", peepholes=False),
        dict(p_teacher=0.5, n_steps=2),
        dict(p_teacher=0.5, free_steps=48),
        dict(patience=1999),
    ],
)
def test_bad_and_contradictory_values_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        get("2016").replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        dict(vocabulary=1),
        dict(vocabulary=-1),
        dict(vocabulary=0),
        dict(vocabulary=0, language_dropout=0.0),
        dict(language_units=0),
        dict(language_dropout=1.0),
        dict(loss="mixture"),
        dict(p_teacher=0.5),
        dict(free_steps=3),
        dict(stateful=True, batches_per_epoch=0),
        dict(best_by="free_run"),
    ],
    ids=str,
)
def test_two_levels_refuse_what_does_nothing_to_them_or_breaks_them(changes):
    with pytest.raises(ValueError, match=next(iter(changes))) as raised:
        get("world-units").replace(**changes)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 160


@pytest.mark.parametrize("changes", [dict(language_units=3), dict(language_dropout=0.1), dict(vocabulary=5)], ids=str)
def test_one_level_refuses_what_is_of_two(changes):
    with pytest.raises(ValueError, match=f"(?s)^{next(iter(changes))}="):
        get("world-mdn").replace(**changes)
    with pytest.raises(ValueError, match=f"(?s)^{next(iter(changes))}="):
        get("2016").replace(**changes)


def test_frames_take_as_long_at_another_sample_rate():
    world, headline = get("world-mdn"), get("2016")
    assert world.replace(sample_rate=24000).frame_length == 360 and world.replace(sample_rate=48000).frame_length == 720
    assert headline.replace(sample_rate=44100).frame_length == 44100
    assert world.replace(sample_rate=24000, frame_length=120).frame_length == 120
    assert get("samples").replace(sample_rate=24000).frame_length == 1
    with pytest.raises(ValueError, match="sample_rate=0 must be"):
        world.replace(sample_rate=0)
