"""Run every point of a sweep, each in a process of its own, on this machine or on a Dask cluster.

A sweep is a folder: ``data/`` the datasets, each prepared once; ``runs/`` the
runs, named by what they are, so that a point finished before is never run
again; ``table.csv`` and ``figure.png``, made anew whenever a run ends; and
``sweep.toml``, as it was given.  Whatever ends it, it goes on from there: each
run from its last whole epoch.
"""
import collections
import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import NamedTuple

from . import dataset, files, runs, sweep_points, sweep_report, sweep_worker
from . import voice as singer

ATTEMPTS = 3            # of a run whose process or machine dies
POLL_SECONDS = 0.5
DRAW_SECONDS = 10       # at least, between two drawings while runs end
CONNECT_SECONDS = 30    # for a Dask scheduler to answer, and to have workers
SHORTEST_TO_EVALUATE = 2  # seconds of the test part


class Task(NamedTuple):
    """A run to be made: what `sweep_worker.attempt` needs, and the folder."""

    folder: Path
    job: dict


def physical_cores():
    """Cores this process may use; two threads of one core count once.

    Returns
    -------
    int
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.exists() else cpu)
    with contextlib.suppress(OSError, ValueError):  # a container's share; "max" is no number
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        return max(1, min(len(cores), quota // period))
    return len(cores)


def run(path, out=None, data=None, workers=None, scheduler=None, on_change=lambda rows, done, total: None):
    """Run a sweep, or go on with it.

    Parameters
    ----------
    path : path
        A TOML file; see `sweep_points`.
    out : path, optional
        The sweep's folder; by default ``runs/sweeps/NAME``.
    data : path, optional
        A recording or prepared dataset, instead of the one in the file.
    workers : int, optional
        Runs at once, instead of the number in the file.
    scheduler : str, optional
        Address of a Dask scheduler whose workers see the sweep's folder under
        the same path; each run then has one thread.
    on_change : callable, optional
        ``on_change(rows, done, total)`` now and then: the table, and epochs
        done of those there can be.

    Returns
    -------
    rows : list of dict
        The table, as in ``table.csv``.
    folder : Path
    skipped : sequence of str
        The contradictions that were left out.

    Raises
    ------
    ValueError
        When anything about the file, the data, the folder or the scheduler is
        wrong, before anything runs.
    OSError
        When the scheduler goes while runs are on.
    """
    plan = sweep_points.read(path)
    out = Path(out or Path("runs") / "sweeps" / plan.name)
    workers = workers or plan.workers or physical_cores()
    threads = 1 if scheduler else max(1, physical_cores() // workers)
    source = Path(data) if data else plan.data
    if source is not None and not source.exists():
        raise ValueError(f"{source}: no such file; name a recording or a prepared dataset")
    new = _new_folders(out)
    with runs.locked(out):
        try:
            tasks = _tasks(plan, source, out, threads)
        except BaseException:
            _remove(new)
            raise
        with files.atomic(out / "sweep.toml", "wb") as file:
            file.write(Path(path).read_bytes())
        table = _Table(out, plan, tasks, on_change)
        _run_all(table, _dask(scheduler, out) if scheduler else _here(workers))
        return table.write(), out, plan.skipped


def _new_folders(out):
    """The sweep's folder and those above it that do not exist yet; ValueError where it is something else."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose another folder for the sweep by --out")
    if out.exists() and not (out / "sweep.toml").exists() and any(name != "data" and name[0] != "." for name in os.listdir(out)):
        raise ValueError(f"{out} exists and is no sweep; choose another folder by --out")
    return [folder for folder in (out, *out.parents) if not folder.exists()]


def _remove(new):
    """Remove the sweep's folder where it was made just now, and those above it unless they hold something by now."""
    for folder in new[:1]:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for folder in new[1:]:
            folder.rmdir()


def _tasks(plan, source, out, threads):
    """The task of each point, in order; equal points share one.  Prepares the datasets and checks each point against its own."""
    (out / "data").mkdir(exist_ok=True)
    for unfinished in (out / "data").glob(".*"):  # of a sweep that was killed here
        shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
    if source is None:
        source = singer.built_in() if plan.voice_seconds is None else singer.built_in(out / "data" / f"voice-{plan.voice_seconds:g}.wav", plan.voice_seconds)
    digest, prepared, tasks = _digest(source), {}, []
    for point in plan.points:
        recipe = point.recipe
        settings = {name: getattr(recipe, name) for name in dataset.PREPARED_FIELDS}
        try:
            data = source if source.is_dir() else out / "data" / _slug([f"{settings['features']}-{settings['frame_length']}",
                                                                       sweep_points.digest([settings, digest])])
            if data not in prepared:
                ready = source.is_dir() or (data / "dataset.json").exists()
                prepared[data] = dataset.load(data) if ready else dataset.prepare(source, recipe, data)
            dataset.check_fits(prepared[data], recipe)
            dataset.check_enough(prepared[data], recipe)
            if plan.evaluate_seconds:
                _check_evaluable(prepared[data])
        except ValueError as error:
            raise ValueError(f"{sweep_points.named(point)}: {error}") from None
        identity = sweep_points.identity(recipe, digest, plan.minutes)
        made = sorted((out / "runs").glob(f"*{identity}"))
        folder = made[0] if made else out / "runs" / _slug([*(f"{k}={v}" for k, v in point.swept.items()), f"seed={recipe.seed}", identity])
        tasks.append(Task(folder, {"folder": str(files.real(folder)), "dataset": str(files.real(data)), "recipe": recipe.to_dict(),
                                   "minutes": plan.minutes, "evaluate_seconds": plan.evaluate_seconds, "threads": threads,
                                   "keep_checkpoints": plan.keep_checkpoints}))
    return _one_folder_each(tasks)


def _one_folder_each(tasks):
    """Equal runs under different labels in the folder of the first."""
    first = {}
    return [first.setdefault(task.folder.name[-sweep_points.DIGITS:], task) for task in tasks]


def _check_evaluable(data):
    """ValueError where the measures of `drift` have too little held-out voice."""
    first, end = data.ranges["test"]
    seconds = (end - first) * data.row_length / data.settings["sample_rate"]
    if seconds < SHORTEST_TO_EVALUATE:
        raise ValueError(f"the test part holds {seconds:g} s, too little to evaluate against; leave out evaluate_seconds or use a longer recording")


def _digest(source):
    """A recording's content, or that of a prepared dataset, as a short text."""
    digest = hashlib.sha256()
    for path in [source] if source.is_file() else [p for p in (source / "signal.npy", source / "rows.npy") if p.exists()]:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _slug(parts):
    """A folder's name: words cut to a decent length, and the last of them whole."""
    *words, last = parts
    text = "".join(c if c.isascii() and c.isalnum() or c in "=.,_-" else "-" for c in "_".join(words))
    return f"{text[:80]}_{last}"


class _Table:
    """What has become of each point, on disk whenever it changes."""

    def __init__(self, out, plan, tasks, on_change):
        self.out, self.plan, self.tasks, self.on_change = out, plan, tasks, on_change
        self.ended, self.made, self.drawn = {}, {}, 0.0
        for task in tasks:
            ended = sweep_worker.outcome(task.folder)
            if ended and (ended["status"] == "diverged" or ended.get("evaluate_seconds") == plan.evaluate_seconds):
                self.ended[task.folder] = ended

    def waiting(self):
        """Tasks that have not ended, each once."""
        return list({task.folder: task for task in self.tasks if task.folder not in self.ended}.values())

    def rows(self):
        """The table; rows of runs that have ended are made once."""
        for i, (point, task) in enumerate(zip(self.plan.points, self.tasks)):
            if self.made.get(i, {}).get("status", "waiting") == "waiting":
                self.made[i] = sweep_report.row(point, task.folder, self.ended.get(task.folder))
        return list(self.made.values())

    def end(self, task, ended):
        """One run has ended."""
        self.ended[task.folder] = ended
        self.write(draw=time.monotonic() - self.drawn > DRAW_SECONDS)

    def write(self, draw=True):
        """table.csv, and the slower curves.csv and figure.png; returns the rows."""
        rows = self.rows()
        sweep_report.write_table(rows, self.out / "table.csv")
        if draw:
            sweep_report.write_curves(rows, self.out, self.out / "curves.csv")
            if any(row["status"] == "finished" for row in rows):
                sweep_report.write_figure(rows, self.out / "figure.png")
            self.drawn = time.monotonic()
        return rows

    def tell(self):
        """Say how far it is."""
        done = total = 0
        for folder, task in {task.folder: task for task in self.tasks}.items():
            n_epochs = task.job["recipe"]["n_epochs"]
            total += n_epochs
            done += n_epochs if folder in self.ended else min(n_epochs, sweep_report.n_epochs(folder))
        self.on_change(list(self.ended.values()), done, total)


def _run_all(table, place):
    """Make every run that is waiting; a run whose process dies is tried again a few times."""
    deaths, table_is_new = collections.Counter(), not (table.out / "table.csv").exists()
    if table_is_new:
        table.write(draw=False)
    if not table.waiting():
        return
    with place as submit:
        running = {submit(task.job): task for task in table.waiting()}
        while running:
            table.tell()
            done, _ = concurrent.futures.wait(running, POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
            for future in done:
                task, ended = running.pop(future), _result(future)
                if ended["status"] == "died":
                    deaths[task.folder] += 1
                    if deaths[task.folder] < ATTEMPTS:
                        running[submit(task.job)] = task
                        continue
                    ended = {"status": "failed", "reason": f"{ended['reason']}; tried {ATTEMPTS} times"}
                table.end(task, ended)
        table.tell()


def _result(future):
    """What an attempt returned; a worker that is gone counts as one that died."""
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise OSError("the scheduler has gone; finished runs and whole epochs are kept: start the sweep again") from None
    except Exception as error:  # whatever kept a cluster's worker from doing it
        return {"status": "died", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


@contextlib.contextmanager
def _here(workers):
    """A function that starts an attempt on this machine and returns its future."""
    stop = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(workers)  # each thread waits for one process
    try:
        yield lambda job: pool.submit(sweep_worker.attempt, job, stop.is_set)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _dask(address, out):
    """A function that starts an attempt on a Dask cluster and returns its future."""
    try:
        import distributed
    except ImportError:
        raise ValueError("--scheduler needs dask.distributed, which is not installed; pip install 'vocalsynth-utils[cluster]'") from None
    import logging
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is said in one line
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"no Dask scheduler answers at {address} ({' '.join(str(error).split())[:120]})") from None
    try:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (TimeoutError, distributed.TimeoutError):
            raise ValueError(f"the scheduler at {address} has no workers; start some with: dask worker {address} --nthreads 1") from None
        blind = [name for name, sees in client.run(_sees, str(files.real(out))).items() if not sees]
        if blind:
            raise ValueError(f"the Dask worker {blind[0]} does not see {files.real(out)}; put the sweep by --out where every worker has it under the same path")
        executor = client.get_executor(pure=False, retries=0)
        yield lambda job: executor.submit(sweep_worker.attempt_on_dask, job)
    finally:
        client.close()  # which cancels what is still running there


def _sees(folder):
    """True where a sweep's folder can be seen."""
    return (Path(folder) / "sweep.toml").exists()
