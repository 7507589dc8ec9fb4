"""The table of a sweep whose every point has been run, each by a Dask worker of this machine or of a cluster.

A sweep is a folder, as in docs/sweeps.md, its runs named by what they are: a point finished before is never run again,
and whatever ends the sweep, each run goes on from its last whole epoch.
"""

import collections
import concurrent.futures
import contextlib
import gc
import hashlib
import logging
import os
import shutil
import time
import warnings
from pathlib import Path

import psutil

from .. import audio, dataset, runs, storage, synthetic
from . import points, report, worker

ATTEMPTS = 3  # of a run whose worker dies
POLL_SECONDS = 0.5
DRAW_SECONDS = 10  # at least, between two drawings while runs end
CONNECT_SECONDS = 30  # for a Dask scheduler to answer, and to have workers
SHORTEST_TO_EVALUATE = 2  # seconds of the test part
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GONE = "the scheduler has gone; finished runs and whole epochs are kept: start the sweep again"


def run(path, out=None, data=None, workers=None, scheduler=None, on_change=lambda ended, done, total: None):
    """Run a sweep, or go on with it.

    A script calls it under ``if __name__ == "__main__":``, for its workers are processes that import the script.

    Parameters
    ----------
    path, out : path
        A TOML file, see docs/sweeps.md; the sweep's folder, by default ``runs/sweeps/NAME``.
    data : path, optional
        A recording or prepared dataset, instead of the one in the file.
    workers : int, optional
        Runs at once on this machine, instead of the number in the file; by default one for each core.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the sweep's folder under the same path.
    on_change : callable, optional
        ``on_change(ended, done, total)`` now and then: how each run ended that has, epochs done of those there can be.

    Returns
    -------
    rows, folder, skipped : list of dict, Path, sequence of str
        The table, as in ``table.csv``; the sweep's folder; the contradictions that were left out.

    Raises
    ------
    ValueError, OSError
        When the file, data, folder or scheduler is wrong, before anything runs; when the scheduler goes meanwhile.
    """
    plan = points.read(path)
    out = Path(out or Path("runs") / "sweeps" / plan.name)
    source = Path(data) if data else plan.data
    if source is not None and not source.exists():
        raise ValueError(f"{source}: no such file; name a recording or a prepared dataset")
    new = _new_folders(out)
    with runs.locked(out):
        try:
            jobs = _jobs(plan, source, out)
        except BaseException:
            _remove(new)
            raise
        with storage.atomic(out / "sweep.toml", "wb") as file:
            file.write(storage.read_bytes(path))
        table = _Table(out, plan, jobs, on_change)
        if waiting := table.waiting():
            n_workers = min(workers or plan.workers or physical_cores(), len(waiting))
            with _cluster(scheduler, out) if scheduler else _this_machine(n_workers) as client:
                _run_all(table, waiting, client)
        return table.write(), out, plan.skipped


def physical_cores():
    """Cores this process may use; two threads of one core count once."""
    from dask.system import cpu_count

    return min(cpu_count(), psutil.cpu_count(logical=False) or cpu_count())


def _new_folders(out):
    """The sweep's folder and those above it that do not exist yet; ValueError where it is something else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another folder for the sweep by --out")
    is_sweep = not out.exists() or (out / "sweep.toml").exists()
    if not is_sweep and any(name != "data" and name[0] != "." for name in os.listdir(out)):
        raise ValueError(f"{out} exists and is no sweep; choose another folder by --out")
    return [folder for folder in (out, *out.parents) if not folder.exists()]


def _remove(new):
    """Remove the sweep's folder where it was made just now, and those above it unless they hold something by now."""
    for folder in new[:1]:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in new[1:]:
            folder.rmdir()


def _jobs(plan, source, out):
    """The job of each point, in order; equal points share one.  Prepares datasets and checks each point by its own."""
    (out / "data").mkdir(exist_ok=True)
    storage.remove_unfinished(out / "data")  # of a sweep that was killed here
    if source is None:
        voice = None if plan.voice_seconds is None else out / "data" / f"voice-{plan.voice_seconds:g}.wav"
        source = synthetic.built_in(voice, plan.voice_seconds or synthetic.SECONDS)
    content, prepared, first, jobs = _digest(source), {}, {}, []
    for point in plan.points:
        settings = {name: getattr(point.recipe, name) for name in dataset.PREPARED_FIELDS}
        key = points.digest([settings, content])
        values = {**point.swept, "seed": point.recipe.seed}
        try:
            if key not in prepared:
                name = _slug(f"{point.recipe.features}-{point.recipe.frame_length}", key)
                prepared[key] = _dataset(source, point.recipe, out / "data" / name)
            data = prepared[key]
            data.check_fits(point.recipe)
            data.check_enough(point.recipe)
            if plan.evaluate_seconds and data.seconds("test") < SHORTEST_TO_EVALUATE:
                short = f"the test part holds {data.seconds('test'):g} s, too little to evaluate against"
                raise ValueError(f"{short}; leave out evaluate_seconds or use a longer recording")
        except ValueError as error:
            raise ValueError(f"{points.named(values)}: {error}") from None
        identity = points.identity(point.recipe, content, plan.minutes)
        new = out / "runs" / _slug("_".join(f"{name}={value}" for name, value in values.items()), identity)
        folder = next(iter(sorted((out / "runs").glob(f"*{identity}"))), new)
        places = storage.real_path(folder), storage.real_path(data.folder)
        job = worker.Job(*places, point.recipe, plan.minutes, plan.evaluate_seconds, plan.keep_checkpoints, plan.engine)
        jobs.append(first.setdefault(identity, job))
    return jobs


def _dataset(source, recipe, folder):
    """The dataset for a recipe: the one given, one that is in the sweep's `folder` already, or a new one there."""
    if source.is_dir() or (folder / "dataset.json").exists():
        return dataset.load(source if source.is_dir() else folder)
    return dataset.prepare(source, recipe, folder)


def _digest(source):
    """The content of a recording, or of a prepared dataset, as a short text; ValueError where it is neither."""
    digest = hashlib.sha256()
    with warnings.catch_warnings():  # what these have to say is said when it is prepared or loaded
        warnings.simplefilter("ignore")
        dataset.load(source) if source.is_dir() else audio.open_recording(source)  # before it is read to its end
    arrays = [path for path in (source / "signal.npy", source / "rows.npy") if path.exists()]
    for path in arrays if source.is_dir() else [source]:
        with storage.open_regular(path) as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _slug(text, last):
    """A folder's name: a text cut to a decent length, and a last word that stays whole."""
    plain = "".join(c if c.isascii() and c.isalnum() or c in "=.,_-" else "-" for c in text)
    return f"{plain[:80]}_{last}"


class _Table:
    """What has become of each point, on disk whenever it changes."""

    def __init__(self, out, plan, jobs, on_change):
        self.out, self.plan, self.jobs, self.on_change = out, plan, jobs, on_change
        self.ended, self.made, self.drawn = {}, {}, 0.0
        for job in jobs:
            ended = worker.outcome(job.folder)
            if ended and (ended["status"] == "diverged" or ended.get("evaluate_seconds") == plan.evaluate_seconds):
                self.ended[job.folder] = ended

    def waiting(self):
        """Jobs that have not ended, each once."""
        return list({job.folder: job for job in self.jobs if job.folder not in self.ended}.values())

    def end(self, job, ended):
        """One run has ended."""
        self.ended[job.folder] = ended
        self.write(draw=time.monotonic() - self.drawn > DRAW_SECONDS)

    def write(self, draw=True):
        """table.csv, and the slower curves.csv and figure.png; returns the rows, which are made once for each end."""
        for i, (point, job) in enumerate(zip(self.plan.points, self.jobs)):
            if self.made.get(i, {}).get("status", "waiting") == "waiting":
                self.made[i] = report.row(point, job.folder, self.ended.get(job.folder))
        rows = list(self.made.values())
        report.write_table(rows, self.out / "table.csv")
        if draw:
            report.write_curves(rows, self.out, self.out / "curves.csv")
            if any(row[score] is not None for row in rows for score in report.SCORES):
                with storage.atomic(self.out / "figure.png", "wb") as file:
                    report.figure(rows).savefig(file, format="png", dpi=110)
            self.drawn = time.monotonic()
        return rows

    def tell(self):
        """Say how far it is."""
        n_epochs = {job.folder: job.recipe.n_epochs for job in self.jobs}
        done = (n if folder in self.ended else min(n, report.n_epochs(folder)) for folder, n in n_epochs.items())
        self.on_change(list(self.ended.values()), sum(done), sum(n_epochs.values()))


def _run_all(table, waiting, client):
    """Make every run that is waiting."""
    if not (table.out / "table.csv").exists():
        table.write(draw=False)
    executor = client.get_executor(pure=False, retries=0)
    waiting, running = collections.deque(waiting), {}
    while waiting or running:
        try:
            n_threads = sum(client.nthreads().values())
        except OSError:
            raise OSError(GONE) from None
        # no more than there are threads: a run that queues behind one that kills its worker would be suspected too
        for _ in range(min(len(waiting), max(1, n_threads) - len(running))):
            job = waiting.popleft()
            running[executor.submit(worker.work, job)] = job
        table.tell()
        done, _ = concurrent.futures.wait(running, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
        for future in done:
            table.end(running.pop(future), _result(future))
    table.tell()


def _result(future):
    """What a worker returned; where it died again and again, or something kept it from doing it, the run has failed."""
    from distributed import KilledWorker

    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise OSError(GONE) from None
    except KilledWorker as error:
        times = error.allowed_failures + 1
        return {"status": "failed", "reason": f"its worker died {times} times, out of memory perhaps"}
    except Exception as error:  # whatever a cluster's worker may lack
        return {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


@contextlib.contextmanager
def _this_machine(n_workers):
    """A Dask client whose workers are processes of this machine, of one thread each, which end with this one."""
    import dask
    from distributed import Client, LocalCluster

    scheduler = {"allowed_failures": ATTEMPTS - 1, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    workers = {"n_workers": n_workers, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    options = {**workers, "preload": worker.__name__, "scheduler_kwargs": scheduler, "silence_logs": logging.CRITICAL}
    unwatched = {"distributed.worker.profile.enabled": False}  # samples of what a worker does pile up
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with _quiet(), dask.config.set(unwatched), LocalCluster(**options) as cluster, Client(cluster) as client:
            yield client
    finally:  # what Dask adds to the environment goes too
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _cluster(address, out):
    """A Dask client of a scheduler that is there already, once each of its workers has been seen to see the sweep."""
    from distributed import Client
    from distributed import TimeoutError as DaskTimeout

    folder = storage.real_path(out)
    gc.collect()  # a client that found no scheduler is closed now: while another starts, each waits for the other
    with _quiet(), contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:120]})") from None
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (TimeoutError, DaskTimeout):
            start = f"dask worker {address} --nthreads 1"
            raise ValueError(f"the scheduler at {address} has no workers; start some with: {start}") from None
        blind = [name for name, sees in client.run(_sees, folder).items() if not sees]
        if blind:
            where = "put the sweep by --out where every worker has it under the same path"
            raise ValueError(f"the Dask worker {blind[0]} does not see {folder}; {where}")
        yield client


def _sees(folder):
    """True where a sweep's folder can be seen."""
    return (folder / "sweep.toml").exists()


def _quiet():
    """Without Dask's log: what goes wrong is said in one line."""
    from distributed.utils import silence_logging_cmgr

    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return silence_logging_cmgr(logging.CRITICAL)
