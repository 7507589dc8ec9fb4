"""One run of a sweep in a process of its own: `attempt` starts it and waits; `python -m vocalsynth_utils.sweep_worker` is what it starts.

The process gets its job as one line on standard input and ends as soon as that
input ends: a parent that dies, however it dies, takes its workers with it.
"""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POLL_SECONDS = 0.2
GRACE_SECONDS = 5   # for a process told to end, to remove what it was writing
LOCK_SECONDS = 30   # for the process of an attempt before to let go of the run


def attempt(job, cancelled=lambda: False):
    """Bring one run to its end in a process of its own, going on from its last whole epoch.

    Parameters
    ----------
    job : dict
        Plain data: ``folder``, ``dataset`` (paths), ``recipe`` (its dict),
        ``minutes``, ``evaluate_seconds`` (None: no limit, not at all),
        ``keep_checkpoints`` and ``threads``.
    cancelled : callable, optional
        Asked now and then; the process is ended when it says so.

    Returns
    -------
    dict
        ``status``: "finished"; "diverged", a result too; "failed", which
        would fail again; "died", of a signal, worth another attempt;
        "cancelled".  ``reason``: a line on it.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(job["threads"]))}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "vocalsynth_utils.sweep_worker"], env=environment,
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said,
                                   start_new_session=True)  # Ctrl-C is for the sweep, which then ends its workers
        try:
            with contextlib.suppress(BrokenPipeError):  # it died already, as is found below
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            while process.poll() is None:
                if cancelled():
                    return {"status": "cancelled", "reason": "cancelled"}
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        finally:
            _end(process)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        return {"status": "died", "reason": f"its process was ended by {name}" + (", out of memory perhaps" if name == "SIGKILL" else "")}
    if process.returncode:
        return {"status": "failed", "reason": lines[-1] if lines else f"its process ended with status {process.returncode}"}
    return outcome(job["folder"])


def attempt_on_dask(job):
    """`attempt` as a task of a Dask worker, ended when the task is: the sweep that asked for it may be gone."""
    from distributed import get_worker
    worker = get_worker()
    key = worker.get_current_task()

    def cancelled():
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"
    return attempt(job, cancelled)


def outcome(folder):
    """How a run of a sweep ended: ``status`` and ``reason``, or None before its end."""
    try:
        return json.loads((Path(folder) / "outcome.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        return {"status": "failed", "reason": f"{folder}/outcome.json is damaged ({error}); remove it"}


def _end(process):
    """End a process and wait for it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    if process.poll() is None:
        process.kill()
    process.wait()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def work(job):
    """Train, evaluate and write ``outcome.json``, in this process; takes up whatever stands in the folder."""
    from . import dataset, files, model, runs, training
    from .recipes import Recipe
    folder, recipe = Path(job["folder"]), Recipe.from_dict(job["recipe"])
    data = dataset.load(job["dataset"])
    _wait_until_free(folder, runs)
    resume = any(folder.glob("last*.npz"))
    if not resume and folder.exists():
        shutil.rmtree(folder)  # it was ended in its first epoch, or its checkpoints were not kept
    ended = {"status": "finished", "reason": "", "evaluate_seconds": job["evaluate_seconds"],
             "n_parameters": model.expected_parameters(recipe)}
    try:
        if not (resume and _trained(runs.open_run(folder))):
            for _ in training.train(recipe, data, folder, resume=resume, minutes=_minutes_left(job["minutes"], folder, runs)):
                pass
        _finish(runs.open_run(folder), data, job["evaluate_seconds"])
    except FloatingPointError as error:
        epoch = len(runs.open_run(folder).log()) + 1
        ended.update(status="diverged", reason=f"in epoch {epoch}: {error}")
    with files.atomic(folder / "outcome.json", "w") as file:
        json.dump(ended, file, indent=1)
    if not job["keep_checkpoints"]:
        for checkpoint in folder.glob("*.npz"):
            checkpoint.unlink()


def _trained(run):
    """True when a run has ended by itself: its result is that of its whole log."""
    return (run.result() or {}).get("epochs") == len(run.log())


def _minutes_left(minutes, folder, runs):
    """What is left of a run's time after the epochs in its log; a little where nothing is, so that it ends at once."""
    if minutes is None:
        return None
    spent = sum(row["duration"] for row in runs.open_run(folder).log()) if (folder / "recipe.json").exists() else 0
    return max(1e-6, minutes - spent / 60)


def _finish(run, data, seconds):
    """What `train` and `evaluate` do after training."""
    from . import calibration, drift, files
    if run.recipe.loss == "world" and not (run.folder / "calibration.json").exists():
        calibration.calibrate(run, data)
    if seconds is None:
        return
    try:
        measured, _ = drift.evaluate_run(run, data, seconds)
    except ValueError as error:  # `check_evaluable` has been through everything else
        measured = {"seconds": seconds, "survival_s": 0.0, "ok": 0.0, "blown_up": str(error)}
    with files.atomic(run.folder / "evaluate.json", "w") as file:
        json.dump(measured, file, indent=1)


def _wait_until_free(folder, runs):
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


def _end_with_input():
    """End this process when its standard input ends."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main():
    """Do the job on standard input; returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        work(job)
    except (ValueError, OSError, MemoryError) as error:
        print(" ".join(f"{'out of memory: ' if isinstance(error, MemoryError) else ''}{error}".split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
