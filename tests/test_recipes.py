"""Recipes: nothing unknown, nothing contradictory, nothing lost on the way to JSON."""
import dataclasses
import json

import pytest

from vocalsynth_utils.recipes import RECIPES, Recipe, get, parse_setting


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_recipe_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.purpose


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


@pytest.mark.parametrize("text, value", [
    ("n_steps=30", 30), ("learning_rate=1e-3", 0.001), ("peepholes=false", False), ("n_units=600,400", (600, 400)), ("n_units=3x", (3,)),
    ("optimiser=adam", "adam")])
def test_settings_are_read_in_their_fields_type(text, value):
    assert parse_setting(text)[1] == value


@pytest.mark.parametrize("text", ["n_steps", "n_steps=", "n_steps=3.5", "peepholes=yes", "n_units=a,b", "learning_rate=fast"])
def test_settings_of_another_type_are_refused(text):
    with pytest.raises(ValueError, match=text.partition("=")[0]):
        parse_setting(text)


@pytest.mark.parametrize("changes", [
    dict(n_units=()), dict(n_units=(3, 0)), dict(n_steps=1), dict(learning_rate=-1.0), dict(learning_rate=float("nan")), dict(n_batch=0),
    dict(input_dropout=1.0), dict(momentum=1.0), dict(optimiser="adam", momentum=0.9), dict(optimiser="nesterov"),
    dict(batches_per_epoch=3, n_offsets=2), dict(stateful=True, n_offsets=2), dict(gradient_steps=50), dict(features="world"),
    dict(p_teacher=1.1), dict(p_teacher=0.5, n_epochs=1), dict(free_steps=49), dict(free_steps=3, loss="mixture", n_mixtures=2),
    dict(free_steps=3, stateful=True), dict(free_steps=3, gradient_steps=5), dict(best_by="luck"), dict(patience=3, best_by="last"), dict(clamp=False),
    dict(scaling="standardise"), dict(seed=True), dict(features="mel")])
def test_bad_and_contradictory_values_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        get("2016").replace(**changes)
