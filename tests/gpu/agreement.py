"""What the tests of the engine by PyTorch and the check on a card share: small recipes, batches, and how far apart."""

import numpy as np

from vocalsynth_utils import features
from vocalsynth_utils.runs import checkpoints

NOT_IN_A_GRAPH = {"name": "any", "purpose": "", "n_offsets": 1, "batches_per_epoch": 0, "n_epochs": 9, "patience": 0}
NOT_IN_A_GRAPH |= {"schedule": "constant", "warmup": 0, "limits": True, "best_by": "valid_loss", "forget_bias": 0.5}


def small(recipe):
    """What is left of a recipe when it takes a second: its kinds of everything, and the smallest of each size."""
    changes = {"n_units": tuple(7 - i % 3 for i in range(len(recipe.n_units))), "n_batch": 4, "n_steps": 12}
    if recipe.is_raw or recipe.features == "fft":
        changes["frame_length"] = 20
    if recipe.has_text:
        changes |= {"vocabulary": 6, "language_units": 5, "language_dropout": 0.4}
    if recipe.optimiser in ("rmsprop", "adagrad"):
        changes["epsilon"] = 1e-6
    scaling = "std" if recipe.is_raw else "standardise"
    return recipe.replace(**changes, scaling=scaling, learning_rate=0.003, **NOT_IN_A_GRAPH)


def batch(recipe, rng):
    """Random frames, with a place in a random text where the recipe has one."""
    X = rng.standard_normal((recipe.n_batch, recipe.n_steps, features.n_features(recipe))).astype(np.float32)
    if not recipe.has_text:
        return X
    ints = lambda low, high, n: rng.integers(low, high, (*X.shape[:2], n))
    text = ints(0, recipe.vocabulary, 3), rng.random((*X.shape[:2], 2)), ints(0, recipe.vocabulary, 1), ints(1, 25, 1)
    return np.concatenate([X, *text], axis=2).astype(np.float32)


def seed(trainers, epoch):
    for trainer in trainers:
        trainer.reset()
        for i, state in enumerate(trainer.noise):
            state.set_value(np.random.RandomState([epoch, i]))


def all_from(arrays, *trainers):
    """Put the arrays of a checkpoint into trainers, and let them draw the same noise."""
    for trainer in trainers:
        checkpoints.set_parameters(trainer.variables, {name: value.copy() for name, value in arrays.items()})
    seed(trainers, 2)


def apart(a, b):
    """The largest difference of two arrays over the largest number in them."""
    return np.abs(np.asarray(a, float) - b).max() / max(np.abs(b).max(), 1e-30)
