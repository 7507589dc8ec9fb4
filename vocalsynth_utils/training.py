"""Log rows, one for each epoch: batches, schedules, the compiled functions and the loop that uses them.

`compile_trainer` compiles a recipe's two graphs; `train` is the loop over epochs.
"""

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import theano
import theano.tensor as T

from . import diagnostics, features, model, remedies, runs, updates
from .runs import checkpoints

DIAGNOSED_BATCHES = 4  # of training, on which the best parameters are diagnosed
COSINE_FLOOR = 0.03  # where the cosine schedule ends, as a fraction of the learning rate


def batches(dataset, recipe, epoch):
    """The first rows of each training batch of one epoch, int (n_batches, n_batch): of the seed and the epoch alone."""
    rng = np.random.default_rng([recipe.seed, epoch])
    if recipe.batches_per_epoch:
        first, end = dataset.ranges["train"]
        last = end - recipe.n_steps * dataset.rows_per_frame
        return rng.integers(first, last + 1, (recipe.batches_per_epoch, recipe.n_batch))
    starts = dataset.starts("train", recipe.n_steps, recipe.n_offsets)
    n_batches = len(starts) // recipe.n_batch
    if recipe.stateful:  # row i of each batch continues row i of the one before
        return starts[: n_batches * recipe.n_batch].reshape(recipe.n_batch, n_batches).T
    return rng.permutation(starts)[: n_batches * recipe.n_batch].reshape(n_batches, recipe.n_batch)


def schedule(recipe, update, n_updates):
    """The learning rate of update number `update` (from 0) of `n_updates`."""
    rate = recipe.learning_rate * min(1.0, (update + 1) / (recipe.warmup + 1))
    if recipe.schedule == "cosine":
        rate *= COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * update / n_updates)) / 2
    return rate


def save_at_once(trainer, run):
    """A context of ``save(rows, is_best)``, which has an epoch on disk when it returns."""
    return contextlib.nullcontext(lambda rows, is_best: run.save_epoch(trainer.checkpoint(), rows, is_best))


class Trainer(NamedTuple):
    """A network with its compiled functions; X is float32 (n_batch, n_steps, n_features).

    `train(X)` makes one update and returns the loss; `train(X, heard)` where the recipe has scheduled sampling: heard
    (n_batch, n_steps - 1, n_features) are the inputs, from `remedies.mixed_inputs`.  `valid(X)` returns the loss of the
    deterministic graph of each level, `free(X, n_free)` its squared error in free running.  `reset()` puts carried
    states back to zero.  `optimiser` holds the shared variables beside the parameters that training changes.  `emit` is
    what `remedies.mixed_inputs` needs; None without scheduled sampling.  `kept`: the language model's parameters at
    their best valid loss, by name; it learns by heart before the frames have learned their part.  `fed(dataset)` is one
    whose batches lie where they are trained on; `engine` says what runs all this, and `saving` when it is on disk.
    """

    network: model.Network
    parameters: dict
    optimiser: dict
    learning_rate: theano.compile.SharedVariable
    train: Callable
    valid: Callable
    free: Callable | None
    emit: Callable | None
    reset: Callable
    noise: list[theano.compile.SharedVariable]
    kept: dict
    fed: Callable = lambda dataset: dataset
    saving: Callable = save_at_once
    engine: str = "Theano on the CPU"

    @property
    def variables(self):
        """All shared variables that training changes, by name."""
        return {**self.parameters, **self.optimiser, **self.kept}

    def keep(self):
        """Let what is kept of the language model be what it is now."""
        for name, variable in self.kept.items():
            variable.set_value(self.parameters[name.removeprefix(checkpoints.KEPT)].get_value())

    def checkpoint(self):
        """Everything training changes, as arrays by name."""
        return {name: v.get_value(borrow=True) for name, v in self.variables.items()}


def compile_trainer(recipe, n_features, scaling=None):
    """Build a recipe's network and compile its two graphs.

    The training graph has noise and dropout on; the validation graph is
    deterministic.  Both predict each frame from the ones before it.

    Parameters
    ----------
    recipe : Recipe
    n_features : int
    scaling : preprocessing.Scaling, optional
        See `model.build_network`.

    Returns
    -------
    Trainer
    """
    network = model.build_network(recipe, n_features, scaling)
    X, heard = T.tensor3("X"), T.tensor3("heard")  # (n_batch, n_steps, n_features), (n_batch, n_steps - 1, n_features)
    frames_in, target = network.steps(X)
    sampled = recipe.p_teacher < 1  # scheduled sampling

    states = _carried_states(recipe, network) if recipe.stateful else None
    hids, x, finals = remedies.free_tail(network, heard if sampled else frames_in, recipe.free_steps, states)
    train_losses = network.losses(hids, x, target, X, deterministic=False)
    carried = {old: new for pair, final in zip(states or (), finals) for old, new in zip(pair, final)}

    parameters = model.parameters(network)
    learning_rate = theano.shared(np.float32(recipe.learning_rate), "learning_rate")
    levels = list(zip(train_losses, model.trainable(network)))
    steps = [updates.optimiser(recipe, loss, level, learning_rate) for loss, level in levels]
    beside = (v for each in steps for v in each if v not in set(parameters.values()))
    optimiser = {f"optimiser.{i}.{v.name}": v for i, v in enumerate(beside)}
    inputs = [X, heard] if sampled else [X]
    steps[0].update(carried)
    each = [theano.function(inputs, loss, updates=step) for (loss, _), step in zip(levels, steps)]

    def train(*batch):  # the levels share nothing: each on a core of its own
        return sum(features.over_cores(lambda function: function(*batch), each))

    hids, _ = model.run(network, frames_in, deterministic=True)
    valid = theano.function([X], T.stack(network.losses(hids, frames_in, target, X)))
    free = remedies.compile_free_error(network) if recipe.best_by == "free_run" else None
    emit = remedies.compile_emit(network, states) if sampled else None

    def reset():
        for state in carried:
            state.set_value(np.zeros_like(state.get_value()))

    above = sum(model.trainable(network)[1:], [])
    kept = {checkpoints.KEPT + v.name: theano.shared(v.get_value(), checkpoints.KEPT + v.name) for v in above}
    noise = model.noise_states(network)
    return Trainer(network, parameters, optimiser, learning_rate, train, valid, free, emit, reset, noise, kept)


def _carried_states(recipe, network):
    """(hid, cell) of each layer as shared variables, (n_batch, n_units), carried from one batch to the next."""

    def zeros(layer, kind):
        return theano.shared(np.zeros((recipe.n_batch, layer.num_units), np.float32), f"{layer.name}.carried_{kind}")

    return [(zeros(layer, "hid"), zeros(layer, "cell")) for layer in network.lstms]


def train(
    recipe,
    dataset,
    folder,
    resume=False,
    minutes=None,
    on_batch=None,
    should_stop=bool,
    diagnose=False,
    on_stage=None,
    compiler=None,
):
    """Train a recipe on a dataset, one epoch for each row this generator yields.

    Everything is on disk before a row is yielded, or when the caller stops at one (see `Trainer.saving`), who may go on
    later with ``resume=True``, to the same end as if nothing had happened.

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
        Asked after each batch; where it says yes, the epoch in progress is given up.
    diagnose : bool
        Take the `diagnostics` of each epoch on its first batch, as columns of
        the log; a run that was begun so goes on so.
    on_stage : callable, optional
        ``on_stage(name)`` before what comes before the first batch and after the last epoch.
    compiler : callable, optional
        What takes the place of `compile_trainer`: another engine, of `gpu`.

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
    dataset.check_fits(recipe)  # what cannot work is said before anything is compiled or written
    dataset.check_enough(recipe)
    diagnostics.check_memory(recipe, dataset.n_features)
    on_stage = on_stage or (lambda name: None)
    with runs.locked(folder):
        on_stage("compiling the network")
        run = runs.resumable(folder, recipe, dataset) if resume else runs.create(folder, recipe, dataset)
        trainer = (compiler or compile_trainer)(recipe, dataset.n_features, dataset.scaling)
        rows = restore(trainer, run, recipe) if resume else []
        if trainer.network.language:
            on_stage("reading the voice as text")
            dataset = trainer.network.language.read(dataset, recipe.seed, known=bool(rows))
        if rows:
            diagnose = "gradient_norm" in rows[0]
        probe = diagnostics.compile_probe(trainer.network, recipe) if diagnose else None
        deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        with trainer.saving(trainer, run) as save:
            for epoch in range(len(rows) + 1, recipe.n_epochs + 1):
                if rows and (time.monotonic() > deadline or _out_of_patience(rows, recipe)):
                    break
                row = _one_epoch(trainer, dataset, recipe, epoch, rows, probe, on_batch, should_stop)
                if row is None:
                    return
                rows.append(row)
                save(rows, _best_epoch(rows, recipe) == epoch)
                yield row
        if rows:
            on_stage("measuring what was learned")
            run.write_log(rows)  # brought to the disk by it
            first = batches(dataset, recipe, _best_epoch(rows, recipe))[:DIAGNOSED_BATCHES]
            diagnostics.write_result(trainer, run, dataset, rows, first)


def _one_epoch(trainer, dataset, recipe, epoch, rows, probe, on_batch, should_stop):
    """The updates of one epoch, then validation: the row of the log, or None when asked to stop."""
    started, fed = (time.monotonic(), time.process_time()), trainer.fed(dataset)
    train_loss = _updates(trainer, fed, recipe, epoch, on_batch, should_stop)
    if train_loss is None:
        return None
    valid_losses = diagnostics.mean_over(trainer.valid, fed, recipe, "valid")
    valid_loss = float(valid_losses.sum())
    if not math.isfinite(valid_loss):
        raise _blown_up(f"the valid loss is {valid_loss} after epoch {epoch}", recipe, epoch)
    row = {
        "epoch": epoch,
        "train_loss": train_loss,
        "valid_loss": valid_loss,
        "has_train_loss_improved": all(train_loss < r["train_loss"] for r in rows),
        "has_valid_loss_improved": all(valid_loss < r["valid_loss"] for r in rows),
        "duration": None,
        "cpu_seconds": None,
    }
    if trainer.kept:
        row["valid_text_loss"] = float(valid_losses[1])
        if all(row["valid_text_loss"] < r["valid_text_loss"] for r in rows):
            trainer.keep()
    if trainer.free:
        n_free = remedies.free_steps_judged(recipe)
        row["valid_free_run"] = diagnostics.mean_over(lambda X: trainer.free(X, n_free), fed, recipe, "valid")
    if probe:
        batch = dataset.batch(batches(dataset, recipe, epoch)[0], recipe.n_steps)
        row.update(diagnostics.training_diagnostics(recipe, probe, [batch], trainer.checkpoint()))
    row["duration"] = round(time.monotonic() - started[0], 3)
    row["cpu_seconds"] = round(time.process_time() - started[1], 3)
    return {name: row[name] for name in (rows or [row])[0]}  # a run keeps the columns it began with


def _updates(trainer, dataset, recipe, epoch, on_batch, should_stop):
    """Mean training loss over one epoch's batches, or None when asked to stop."""
    trainer.reset()
    for i, state in enumerate(trainer.noise):  # the noise is a function of seed and epoch, so that resuming repeats it
        state.set_value(np.random.RandomState([recipe.seed, epoch, i]))
    order = batches(dataset, recipe, epoch)
    n_updates, total = recipe.n_epochs * len(order), 0.0
    for i, starts in enumerate(order):
        trainer.learning_rate.set_value(np.float32(schedule(recipe, (epoch - 1) * len(order) + i, n_updates)))
        X = dataset.batch(starts, recipe.n_steps)
        inputs = [X]
        if trainer.emit:
            p, rng = remedies.teacher(recipe, epoch), np.random.default_rng([recipe.seed, epoch, i])
            inputs.append(remedies.mixed_inputs(trainer.emit, trainer.network.head, X, p, rng))
        loss = float(trainer.train(*inputs))
        if not math.isfinite(loss):
            raise _blown_up(f"the training loss is {loss} in batch {i + 1} of epoch {epoch}", recipe, epoch)
        total += loss
        if on_batch:
            on_batch(i + 1, len(order))
        if should_stop():
            return None
    return total / len(order)


def _blown_up(what, recipe, epoch):
    """The error of a training that cannot go on: what happened, what is left, what to change."""
    left = f"the checkpoints of epoch {epoch - 1} stand" if epoch > 1 else "there is no checkpoint yet"
    change = f"max_norm below {recipe.max_norm:g}" if recipe.max_norm else "max_norm=1"
    rate = f"a learning_rate below {recipe.learning_rate:g}"
    return FloatingPointError(f"{what}; {left}; start again with {rate} or with {change}")


def _out_of_patience(rows, recipe):
    """True when the best epoch is `patience` epochs ago."""
    return bool(recipe.patience and rows) and len(rows) - _best_epoch(rows, recipe) >= recipe.patience


def _best_epoch(rows, recipe):
    """The epoch whose parameters are kept as best, by the recipe's `best_by`."""
    if recipe.best_by == "last":
        return rows[-1]["epoch"]
    loss = _judged_by(recipe)
    finite = lambda row: row[loss] if math.isfinite(row[loss]) else math.inf  # free running may blow up
    return min(rows, key=finite)["epoch"]


def _judged_by(recipe):
    """The column of the log that tells epochs apart."""
    return "valid_free_run" if recipe.best_by == "free_run" else "valid_loss"


def restore(trainer, run, recipe):
    """Load the last checkpoint into a trainer and let the run's files agree with it: the log up to its epoch."""
    if not run.log() and not run.path("last").exists():  # interrupted in its first epoch
        run.write_log([])
        return []
    arrays, meta = run.load("last")
    checkpoints.set_parameters(trainer.variables, arrays, run.path("last"))
    if (before := meta.get("engine", Trainer._field_defaults["engine"])) != trainer.engine:
        what = f"{run.folder} was trained by {before} and goes on by {trainer.engine}"
        warnings.warn(f"{what}: near to what it would have been, not to the bit", stacklevel=3)
    rows = runs.logged(arrays)
    numbers = ["train_loss", "valid_loss", "duration", "cpu_seconds", _judged_by(recipe)]
    numbers += ["valid_text_loss"] if trainer.kept else []
    counted = all(row.get("epoch") == i for i, row in enumerate(rows, start=1))
    whole = counted and all(type(row.get(column)) in (int, float) for row in rows for column in numbers)
    if len(rows) != meta["epoch"] or not whole:
        raise ValueError(f"{run.path('last')} lacks log rows of the {meta['epoch']} epochs trained; start another run")
    run.settle(meta["epoch"], _best_epoch(rows, recipe))
    run.write_log(rows)
    return rows
