"""What a finished run is worth and what it cost: ``result.json``."""

import json

import numpy as np
import theano
import theano.tensor as T

from .. import baselines, model, storage
from ..runs import checkpoints
from .gradients import compile_probe, training_diagnostics

PARTS = 20  # of a frame, whose errors are kept apart


def mean_over(function, dataset, recipe, split):
    """Mean over all sequences of a part of what `function(X)` gives as the mean over those of X: a number or an array.

    X: float32 (n_batch, n_steps, n_features).
    """
    starts = dataset.starts(split, recipe.n_steps)
    groups = [starts[i : i + recipe.n_batch] for i in range(0, len(starts), recipe.n_batch)]
    total = sum(len(group) * np.array(function(dataset.batch(group, recipe.n_steps)), np.float64) for group in groups)
    return total / len(starts)


def errors_in_frame(network, dataset, recipe, split="valid"):
    """Squared error of a network's mean prediction at each place in the frame, over the variance.

    Parameters
    ----------
    network : model.Network
    dataset : dataset.Dataset
    recipe : Recipe
    split : {"train", "valid", "test"}

    Returns
    -------
    float64 array of shape (n_features,)
        Its mean is the squared error / variance.
    """
    X = T.tensor3("X")
    heard, target = network.steps(X)
    hids, _ = model.run(network, heard)
    error = theano.function([X], T.sqr(network.head.predict(hids, heard) - target).mean(axis=(0, 1)))
    return mean_over(error, dataset, recipe, split) / dataset.variance


def write_result(trainer, run, dataset, rows, batches):
    """Measure the best parameters, which a `training.Trainer` takes on, and write ``result.json``.

    `rows`: the log, dicts; `batches`: first rows of the training batches for the diagnostics, int (n_batches, n_batch).
    """
    arrays, meta = run.load("best")
    arrays = checkpoints.chosen(arrays)
    some = {**trainer.parameters, **trainer.optimiser}
    checkpoints.set_parameters(some, arrays, run.path("best"))  # of which there are no two then
    valid_loss = next((row["valid_loss"] for row in rows if row["epoch"] == meta["epoch"]), None)
    if valid_loss is None:
        what = f"{run.path('best')} is of epoch {meta['epoch']}, which the log does not have"
        raise ValueError(f"{what}; remove it, and resume")
    recipe, splits = run.recipe, ("valid", "test")
    if trainer.kept:  # the language model is of another epoch
        valid_loss = float(mean_over(trainer.valid, dataset, recipe, "valid").sum())
    errors = {split: errors_in_frame(trainer.network, dataset, recipe, split) for split in splits}
    result = {"epochs": len(rows), "best_epoch": meta["epoch"], "variance": dataset.variance, "valid_loss": valid_loss}
    result["test_loss"] = float(mean_over(trainer.valid, dataset, recipe, "test").sum())
    result.update({f"{split}_error_over_variance": float(errors[split].mean()) for split in splits})
    result.update({f"{split}_baselines": baselines.losses(dataset, recipe.n_steps, split) for split in splits})
    for name in ("duration", "cpu_seconds"):
        result[name] = round(sum(row[name] for row in rows), 3)
    if recipe.is_raw:
        parts = np.array_split(errors["valid"], min(PARTS, recipe.frame_length))
        result["valid_error_in_frame"] = [float(part.mean()) for part in parts]
    probe = compile_probe(trainer.network, recipe)
    sequences = (dataset.batch(starts, recipe.n_steps) for starts in batches)
    result["diagnostics"] = training_diagnostics(recipe, probe, sequences, arrays)
    with storage.atomic(run.folder / "result.json", "w") as file:
        json.dump(result, file, indent=1)
