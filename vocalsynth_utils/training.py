"""Compiled training functions, and the loop over epochs."""
import json
import math
import time
from typing import Callable, List, NamedTuple

import lasagne
import numpy as np
import theano
import theano.tensor as T

from . import dataset as datasets
from . import losses, model, runs, updates

ADAM_BETA2 = 0.99     # forgets in 100 updates: runs here are short
COSINE_FLOOR = 0.03  # where the cosine schedule ends, as a fraction of the learning rate


class Trainer(NamedTuple):
    """A network with its compiled functions.

    `train(X)` makes one update and returns the loss; `valid(X)` returns the
    loss of the deterministic graph; X is float32 (n_batch, n_steps, n_features).
    `reset()` puts carried states back to zero.  `optimiser` holds the shared
    variables beside the parameters that training changes.
    """

    network: model.Network
    parameters: dict
    optimiser: dict
    learning_rate: theano.compile.SharedVariable
    train: Callable
    valid: Callable
    reset: Callable
    noise: List[theano.compile.SharedVariable]


def compile_trainer(recipe, n_features, scaling=None):
    """Build a recipe's network and compile its two graphs.

    The training graph has noise and dropout on; the validation graph is
    deterministic.  Both predict each frame from the ones before it.

    Parameters
    ----------
    recipe : Recipe
    n_features : int
    scaling : frames.Scaling, optional
        See `model.build_network`.

    Returns
    -------
    Trainer
    """
    network = model.build_network(recipe, n_features, scaling)
    X = T.tensor3("X")  # (n_batch, n_steps, n_features)
    frames_in, target = X[:, :-1], X[:, 1:]

    states, carried = None, {}
    if recipe.stateful:
        states = [tuple(theano.shared(np.zeros((recipe.n_batch, layer.num_units), np.float32), f"{layer.name}.carried_{kind}")
                        for kind in ("hid", "cell")) for layer in network.lstms]
    hids, finals = model.run(network, frames_in, states, deterministic=False)
    train_loss = network.head.loss(hids, frames_in, target)
    if recipe.stateful:
        carried = {old: new for pair, final in zip(states, finals) for old, new in zip(pair, final)}

    parameters = model.parameters(network)
    learning_rate = theano.shared(np.float32(recipe.learning_rate), "learning_rate")
    steps = _updates(recipe, train_loss, model.trainable(network), learning_rate)
    optimiser = {f"optimiser.{i}.{v.name}": v for i, v in enumerate(v for v in steps if v not in set(parameters.values()))}
    train = theano.function([X], train_loss, updates=list(steps.items()) + list(carried.items()))

    hids, _ = model.run(network, frames_in, deterministic=True)
    valid = theano.function([X], network.head.loss(hids, frames_in, target))

    def reset():
        for state in carried:
            state.set_value(np.zeros_like(state.get_value()))

    return Trainer(network, parameters, optimiser, learning_rate, train, valid, reset, model.noise_states(network))


def _updates(recipe, loss, params, learning_rate):
    """The recipe's optimiser applied to a loss: an ordered dict from shared variable to its new value."""
    max_norm = recipe.max_norm or None
    if recipe.optimiser == "rmsprop":
        return updates.rmsprop(loss, params, learning_rate, recipe.rho, recipe.epsilon, recipe.momentum, max_norm)
    if recipe.optimiser == "adam":
        return updates.adam(loss, params, learning_rate, beta2=ADAM_BETA2, max_norm=max_norm)
    if recipe.optimiser == "nesterov":
        return updates.nesterov(loss, params, learning_rate, recipe.momentum, max_norm)
    if recipe.optimiser == "adagrad":
        return updates.adagrad(loss, params, learning_rate, recipe.epsilon, max_norm)
    steps = updates.sgd(loss, params, learning_rate, max_norm)
    return lasagne.updates.apply_momentum(steps, params, recipe.momentum) if recipe.momentum else steps


def batches(dataset, recipe, epoch):
    """The first rows of each training batch of one epoch, a function of the recipe's seed and the epoch alone.

    Returns
    -------
    int array of shape (n_batches, n_batch)
    """
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.batches_per_epoch:
        first, end = dataset.ranges["train"]
        last = end - recipe.n_steps * dataset.rows_per_frame
        return rng.integers(first, last + 1, (recipe.batches_per_epoch, recipe.n_batch))
    starts = dataset.starts("train", recipe.n_steps, recipe.n_offsets)
    n_batches = len(starts) // recipe.n_batch
    if recipe.stateful:  # row i of each batch continues row i of the one before
        return starts[:n_batches * recipe.n_batch].reshape(recipe.n_batch, n_batches).T
    return rng.permutation(starts)[:n_batches * recipe.n_batch].reshape(n_batches, recipe.n_batch)


def _mean_over(function, dataset, recipe, split):
    """Mean of a compiled loss over all sequences of one part, in its own units."""
    starts = dataset.starts(split, recipe.n_steps)
    groups = [starts[i:i + recipe.n_batch] for i in range(0, len(starts), recipe.n_batch)]
    total = sum(len(group) * float(function(dataset.batch(group, recipe.n_steps))) for group in groups)
    return total / len(starts)


def schedule(recipe, update, n_updates):
    """The learning rate of update number `update` (from 0) of `n_updates`."""
    rate = recipe.learning_rate * min(1.0, (update + 1) / (recipe.warmup + 1))
    if recipe.schedule == "cosine":
        rate *= COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * update / n_updates)) / 2
    return rate


def train(recipe, dataset, folder, resume=False, minutes=None, on_batch=None, should_stop=lambda: False):
    """Train a recipe on a dataset, one epoch for each row this generator yields.

    Everything is on disk before a row is yielded, so the caller may stop at
    any of them and go on later with ``resume=True``, to the same end as if
    nothing had happened.

    Parameters
    ----------
    recipe : Recipe
    dataset : dataset.Dataset
    folder : path
        The run's folder.
    resume : bool
        Go on from the folder's last checkpoint.
    minutes : float, optional
        Stop after the epoch in which this time is over.
    on_batch : callable, optional
        ``on_batch(done, n_batches)`` after each batch.
    should_stop : callable, optional
        Asked after each batch; the epoch in progress is then given up.

    Yields
    ------
    dict
        The columns of log.csv.

    Raises
    ------
    ValueError
        When dataset, recipe and folder do not fit each other.
    FloatingPointError
        When the loss is no longer finite; the last good checkpoint stands.
    """
    datasets.check_fits(dataset, recipe)  # what cannot work is said before anything is compiled or written
    datasets.check_enough(dataset, recipe)
    n_updates = recipe.n_epochs * len(batches(dataset, recipe, 1))
    with runs.locked(folder):
        run = _resumable(folder, recipe) if resume else runs.create(folder, recipe, dataset)
        trainer = compile_trainer(recipe, dataset.n_features, dataset.scaling)
        rows = restore(trainer, run) if resume else []
        deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        for epoch in range(len(rows) + 1, recipe.n_epochs + 1):
            if time.monotonic() > deadline or _out_of_patience(rows, recipe.patience):
                break
            started = time.monotonic()
            train_loss = _one_epoch(trainer, dataset, recipe, epoch, n_updates, on_batch, should_stop)
            if train_loss is None:
                return
            valid_loss = _mean_over(trainer.valid, dataset, recipe, "valid")
            rows.append(_log_row(rows, epoch, train_loss, valid_loss, time.monotonic() - started))
            run.append_log(rows[-1])
            run.save("last", checkpoint(trainer), epoch=epoch, valid_loss=valid_loss)
            if rows[-1]["has_valid_loss_improved"]:
                run.keep_as_best()
            yield rows[-1]
        if rows:
            _finish(trainer, run, dataset, rows)


def _one_epoch(trainer, dataset, recipe, epoch, n_updates, on_batch, should_stop):
    """Mean training loss over one epoch's batches, or None when asked to stop."""
    trainer.reset()
    for i, state in enumerate(trainer.noise):  # the noise is a function of seed and epoch, so that resuming repeats it
        state.set_value(np.random.RandomState([recipe.seed, epoch, i]))
    order = batches(dataset, recipe, epoch)
    total = 0.0
    for i, starts in enumerate(order):
        trainer.learning_rate.set_value(np.float32(schedule(recipe, (epoch - 1) * len(order) + i, n_updates)))
        loss = float(trainer.train(dataset.batch(starts, recipe.n_steps)))
        if not math.isfinite(loss):
            raise FloatingPointError(f"the training loss is {loss} in batch {i + 1} of epoch {epoch}; the checkpoints of epoch {epoch - 1} stand; "
                                     f"start again with a learning_rate below {recipe.learning_rate:g} or with max_norm=1")
        total += loss
        if on_batch:
            on_batch(i + 1, len(order))
        if should_stop():
            return None
    return total / len(order)


def _log_row(rows, epoch, train_loss, valid_loss, duration):
    """One row of log.csv."""
    return {"epoch": epoch, "train_loss": train_loss, "valid_loss": valid_loss,
            "has_train_loss_improved": all(train_loss < r["train_loss"] for r in rows),
            "has_valid_loss_improved": all(valid_loss < r["valid_loss"] for r in rows),
            "duration": round(duration, 3)}


def _out_of_patience(rows, patience):
    """True when the best valid loss is `patience` epochs old."""
    return bool(patience and rows) and len(rows) - min(rows, key=lambda r: r["valid_loss"])["epoch"] >= patience


def checkpoint(trainer):
    """Everything training changes, as arrays by name."""
    return {name: v.get_value(borrow=True) for name, v in {**trainer.parameters, **trainer.optimiser}.items()}


def restore(trainer, run):
    """Load the last checkpoint into a trainer; returns the log up to its epoch and drops rows after it."""
    arrays, meta = run.load("last")
    runs.set_parameters({**trainer.parameters, **trainer.optimiser}, arrays, run.folder / "last.npz")
    rows = run.log()[:meta["epoch"]]
    run.write_log(rows)
    return rows


def _resumable(folder, recipe):
    """The run in `folder`, which must be of the same recipe but for how long it trains."""
    run = runs.open_run(folder)
    for name, value in recipe.to_dict().items():
        was = run.recipe.to_dict()[name]
        if was != value and name not in ("n_epochs", "patience", "purpose"):
            raise ValueError(f"the run in {folder} was started with {name}={was!r}, not {value!r}; resume it as it was, or start another run")
    return run._replace(recipe=recipe)


def _finish(trainer, run, dataset, rows):
    """Losses of the best parameters, squared error of their mean prediction, and the baselines, into result.json."""
    arrays, meta = run.load("best")
    runs.set_parameters(trainer.parameters, arrays, run.folder / "best.npz")
    variance = dataset.variance
    X = T.tensor3("X")
    hids, _ = model.run(trainer.network, X[:, :-1])
    error = theano.function([X], losses.mean_squared_error(trainer.network.head.predict(hids, X[:, :-1]), X[:, 1:]))
    result = {"epochs": len(rows), "best_epoch": meta["epoch"], "variance": variance,
              "valid_loss": meta["valid_loss"], "test_loss": _mean_over(trainer.valid, dataset, run.recipe, "test"),
              "valid_error_over_variance": _mean_over(error, dataset, run.recipe, "valid") / variance,
              "test_error_over_variance": _mean_over(error, dataset, run.recipe, "test") / variance,
              "valid_baselines": datasets.baselines(dataset, run.recipe.n_steps, "valid"),
              "test_baselines": datasets.baselines(dataset, run.recipe.n_steps, "test")}
    with runs.atomic(run.folder / "result.json", "w") as file:
        json.dump(result, file, indent=1)
