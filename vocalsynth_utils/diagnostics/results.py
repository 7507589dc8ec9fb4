"""What a finished run is worth and what it cost, ``result.json``; and how its frames err, ``errors.npz``."""

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


def frame_errors(network, dataset, recipe, split="valid"):
    """How a WORLD network's errors, in its own sigmas, go together: float64 (2, n_envelope, n_envelope).

    Mean products of each two numbers of a frame's envelope, and of each with each of the frame before.  The first
    quarter of every sequence, in which the network has not heard much yet, is left out.
    """
    X = T.tensor3("X")
    heard, target = network.steps(X)
    hids, _ = model.run(network, heard)
    error = theano.function([X], network.head.errors(hids, target))

    def products(X):
        z = error(X)[:, X.shape[1] // 4 :].astype(np.float64)
        together = lambda a, b: np.tensordot(a, b, axes=((0, 1), (0, 1))) / (a.shape[0] * a.shape[1])
        return np.stack([together(z, z), together(z[:, 1:], z[:, :-1])])

    return mean_over(products, dataset, recipe, split)


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
    if recipe.has_world_heads and recipe.n_mixtures == 1:
        run.save_errors(frame_errors(trainer.network, dataset, recipe), meta["epoch"])
    probe = compile_probe(trainer.network, recipe)
    sequences = (dataset.batch(starts, recipe.n_steps) for starts in batches)
    result["diagnostics"] = training_diagnostics(recipe, probe, sequences, arrays)
    with storage.atomic(run.folder / "result.json", "w") as file:
        json.dump(result, file, indent=1)
