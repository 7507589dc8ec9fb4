"""The loop over epochs: batches, schedules, the log and the checkpoints."""
import math
import time

import numpy as np

from . import dataset as datasets
from . import checkpoints, health, memory, results, runs
from .trainer import checkpoint, compile_trainer, mixed_inputs

HEALTH_BATCHES = 4  # of training, on which the health of the best parameters is measured
COSINE_FLOOR = 0.03  # where the cosine schedule ends, as a fraction of the learning rate


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


def schedule(recipe, update, n_updates):
    """The learning rate of update number `update` (from 0) of `n_updates`."""
    rate = recipe.learning_rate * min(1.0, (update + 1) / (recipe.warmup + 1))
    if recipe.schedule == "cosine":
        rate *= COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * update / n_updates)) / 2
    return rate


def teacher(recipe, epoch):
    """The probability of hearing the true frame in one epoch (from 1): 1 in the first, `p_teacher` in the last."""
    return 1 - (1 - recipe.p_teacher) * (epoch - 1) / max(1, recipe.n_epochs - 1)


def free_steps_judged(recipe):
    """Frames of free running that `best_by="free_run"` judges in each sequence: those trained on, or else half of it."""
    return recipe.free_steps or recipe.n_steps // 2


def train(recipe, dataset, folder, resume=False, minutes=None, on_batch=None, should_stop=lambda: False, watch=False):
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
    watch : bool
        Measure the `health` of each epoch on its first batch, as columns of
        the log; a run that was begun so goes on so.

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
    memory.check(recipe, dataset.n_features)
    n_updates = recipe.n_epochs * len(batches(dataset, recipe, 1))
    with runs.locked(folder):
        run = _resumable(folder, recipe, dataset) if resume else runs.create(folder, recipe, dataset)
        trainer = compile_trainer(recipe, dataset.n_features, dataset.scaling)
        rows = restore(trainer, run, recipe) if resume else []
        probe = health.compile_probe(trainer.network, recipe) if ("gradient_norm" in rows[0] if rows else watch) else None
        deadline = time.monotonic() + 60 * minutes if minutes else math.inf
        for epoch in range(len(rows) + 1, recipe.n_epochs + 1):
            if time.monotonic() > deadline or _out_of_patience(rows, recipe):
                break
            started = time.monotonic(), time.process_time()
            train_loss = _one_epoch(trainer, dataset, recipe, epoch, n_updates, on_batch, should_stop)
            if train_loss is None:
                return
            valid_loss = results.mean_over(trainer.valid, dataset, recipe, "valid")
            if not math.isfinite(valid_loss):
                raise _blown_up(f"the valid loss is {valid_loss} after epoch {epoch}", recipe, epoch)
            row = _log_row(rows, epoch, train_loss, valid_loss)
            if trainer.free:
                row["valid_free_run"] = results.mean_over(lambda X: trainer.free(X, free_steps_judged(recipe)), dataset, recipe, "valid")
            if probe:
                batch = dataset.batch(batches(dataset, recipe, epoch)[0], recipe.n_steps)
                row.update(health.measure(recipe, probe, [batch], checkpoint(trainer)))
            row.update(duration=round(time.monotonic() - started[0], 3), cpu_seconds=round(time.process_time() - started[1], 3))
            row = {name: row[name] for name in (rows or [row])[0]}  # a run keeps the columns it began with
            rows.append(row)
            run.save("last", checkpoint(trainer), rows, epoch=epoch, valid_loss=valid_loss)
            run.append_log(row)  # after it, so that the log names no epoch that is not kept
            if _best_epoch(rows, recipe) == epoch:
                run.keep_as_best()
            yield rows[-1]
        if rows:
            run.write_log(rows)  # brought to the disk by it
            first = batches(dataset, recipe, _best_epoch(rows, recipe))[:HEALTH_BATCHES]
            results.write(trainer, run, dataset, rows, first)


def _one_epoch(trainer, dataset, recipe, epoch, n_updates, on_batch, should_stop):
    """Mean training loss over one epoch's batches, or None when asked to stop."""
    trainer.reset()
    for i, state in enumerate(trainer.noise):  # the noise is a function of seed and epoch, so that resuming repeats it
        state.set_value(np.random.RandomState([recipe.seed, epoch, i]))
    order = batches(dataset, recipe, epoch)
    total = 0.0
    for i, starts in enumerate(order):
        trainer.learning_rate.set_value(np.float32(schedule(recipe, (epoch - 1) * len(order) + i, n_updates)))
        X = dataset.batch(starts, recipe.n_steps)
        if trainer.emit:
            heard = mixed_inputs(trainer, X, teacher(recipe, epoch), np.random.default_rng([recipe.seed, epoch, i]))
            loss = float(trainer.train(X, heard))
        else:
            loss = float(trainer.train(X))
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
    change = "max_norm=1" if not recipe.max_norm else f"max_norm below {recipe.max_norm:g}"
    return FloatingPointError(f"{what}; {left}; start again with a learning_rate below {recipe.learning_rate:g} or with {change}")


def _log_row(rows, epoch, train_loss, valid_loss):
    """One row of log.csv; what it took is filled in at the end."""
    return {"epoch": epoch, "train_loss": train_loss, "valid_loss": valid_loss,
            "has_train_loss_improved": all(train_loss < r["train_loss"] for r in rows),
            "has_valid_loss_improved": all(valid_loss < r["valid_loss"] for r in rows),
            "duration": None, "cpu_seconds": None}


def _out_of_patience(rows, recipe):
    """True when the best epoch is `patience` epochs ago."""
    return bool(recipe.patience and rows) and len(rows) - _best_epoch(rows, recipe) >= recipe.patience


def _best_epoch(rows, recipe):
    """The epoch whose parameters are kept as best, by the recipe's `best_by`."""
    if recipe.best_by == "last":
        return rows[-1]["epoch"]
    loss = _judged_by(recipe)
    return min(rows, key=lambda r: r[loss] if math.isfinite(r[loss]) else math.inf)["epoch"]  # free running may blow up


def _judged_by(recipe):
    """The column of the log that tells epochs apart."""
    return "valid_free_run" if recipe.best_by == "free_run" else "valid_loss"


def restore(trainer, run, recipe):
    """Load the last checkpoint into a trainer and let the run's files agree with it; returns the log up to its epoch."""
    if not run.log() and not run.path("last").exists():  # interrupted in its first epoch
        run.write_log([])
        return []
    arrays, meta = run.load("last")
    checkpoints.set_parameters({**trainer.parameters, **trainer.optimiser}, arrays, run.path("last"))
    rows = runs.logged(arrays) or run.log()[:meta["epoch"]]  # from log.csv where the checkpoint is of an older version
    whole = all(row.get("epoch") == i and type(row.get(column)) in (int, float)
                for i, row in enumerate(rows, start=1) for column in ("train_loss", "valid_loss", _judged_by(recipe)))
    if len(rows) != meta["epoch"] or not whole:
        raise ValueError(f"{run.folder / 'log.csv'} lacks rows of the {meta['epoch']} epochs trained; start another run")
    run.settle(meta["epoch"], _best_epoch(rows, recipe))
    run.write_log(rows)
    return rows


def _resumable(folder, recipe, dataset):
    """The run in `folder`, which must be of the same data, and of the same recipe but for how long it trains."""
    run = runs.open_run(folder)
    for name, value in recipe.to_dict().items():
        was = run.recipe.to_dict()[name]
        if was != value and name not in ("n_epochs", "patience", "purpose"):
            raise ValueError(f"the run in {folder} was started with {name}={was!r}, not {value!r}; resume it as it was, or start another run")
    run.check_data(dataset)
    return run._replace(recipe=recipe)
