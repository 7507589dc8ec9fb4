"""How one run of a sweep ended: what a Dask worker does, in its own process.

An outcome is ``status``: "finished"; "diverged", a result too; "failed", which would fail again; ``reason``, a line.
"""

import gc
import json
import shutil
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from .. import dataset, gpu, model, pipeline, runs, storage
from ..recipes import Recipe

POLL_SECONDS = 0.2
LOCK_SECONDS = 30  # for the worker of an attempt before to let go of the run
OVER = -1.0  # minutes that have passed already: training ends at once, with its result


@dataclass(frozen=True)
class Job:
    """A run to be made: its folder, the dataset's, and what the sweep says of it; None: no limit, not at all."""

    folder: Path
    dataset: Path
    recipe: Recipe
    minutes: float | None
    evaluate_seconds: float | None
    keep_checkpoints: bool
    engine: str = "theano"


def dask_setup(worker):
    """What a worker of this machine begins with: Ctrl-C is for the sweep, which then ends its workers; a card each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gpu.take_card(worker.name)


def work(job):
    """Bring one run to its end in this process, going on from its last whole epoch; returns its outcome, a dict."""
    from distributed import Reschedule

    should_stop = _cancelled()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ended = _train_and_measure(job, should_stop)
    except (ValueError, OSError, MemoryError) as error:
        memory = "out of memory: " if isinstance(error, MemoryError) else ""
        return {"status": "failed", "reason": " ".join(f"{memory}{error}".split())}
    finally:
        gc.collect()  # compiled functions are full of circles, and the next run comes in this process
    if ended is None:
        raise Reschedule  # nobody waits for it, or another attempt is to go on
    return ended


def outcome(folder):
    """How a run of a sweep ended, as `work` says; None before its end."""
    path = Path(folder) / "outcome.json"
    try:
        ended = storage.read_json(path)
        if ended.get("status") not in ("finished", "diverged", "failed") or type(ended.get("reason")) is not str:
            raise ValueError("it does not say how the run ended")
        return ended
    except FileNotFoundError:
        return None
    except ValueError as error:
        return {"status": "failed", "reason": f"{path} is damaged ({error}); remove it"}


def _cancelled():
    """A function that says whether this task of a Dask worker is to stop: its sweep, or its worker, may be going."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled():
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled" or worker.status.name not in ("running", "paused")

    return cancelled


def _train_and_measure(job, should_stop):
    """Train, evaluate and write ``outcome.json``, taking up whatever stands in the folder; None when asked to stop."""
    folder, data = Path(job.folder), dataset.load(job.dataset)
    _wait_until_free(folder)
    resume = any(folder.glob("last*.npz"))
    if not resume and folder.exists():
        shutil.rmtree(folder)  # it was ended in its first epoch, or its checkpoints were not kept
    ended = {"status": "finished", "reason": "", "evaluate_seconds": job.evaluate_seconds}
    ended["n_parameters"] = model.expected_parameters(job.recipe)
    try:
        minutes = _minutes_left(job, folder) if resume else job.minutes
        options = {"resume": resume, "minutes": minutes, "should_stop": should_stop, "engine": job.engine}
        for _ in pipeline.train(job.recipe, data, folder, **options):
            pass
        if should_stop():
            return None
        if job.evaluate_seconds:
            _evaluate(runs.open_run(folder), data, job.evaluate_seconds)
    except FloatingPointError as error:
        epoch = len(runs.open_run(folder).log()) + 1
        ended.update(status="diverged", reason=f"in epoch {epoch}: {error}")
    with storage.atomic(folder / "outcome.json", "w") as file:
        json.dump(ended, file, indent=1)
    if not job.keep_checkpoints:
        for checkpoint in folder.glob("*.npz"):
            checkpoint.unlink()
    return ended


def _minutes_left(job, folder):
    """What is left of a run's time after the epochs in its log; `OVER` where it has ended by itself before."""
    run = runs.open_run(folder)
    if (run.result() or {}).get("epochs") == len(run.log()):
        return OVER
    if job.minutes is None:
        return None
    return job.minutes - sum(row["duration"] for row in run.log()) / 60 or OVER


def _evaluate(run, data, seconds):
    """Write evaluate.json, as `evaluate` would print it."""
    try:
        measured, _ = pipeline.evaluate(run, data, seconds)
    except ValueError as error:  # what could be wrong but the voice itself was looked at before anything ran
        measured = {"seconds": seconds, "survival_s": 0.0, "ok": 0.0, "blown_up": str(error)}
    with storage.atomic(run.folder / "evaluate.json", "w") as file:
        json.dump(measured, file, indent=1)


def _wait_until_free(folder):
    """Return once no other process holds the run, or raise as `runs.locked` does."""
    deadline = time.monotonic() + LOCK_SECONDS
    while folder.exists():
        try:
            with runs.locked(folder):
                return
        except ValueError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)
