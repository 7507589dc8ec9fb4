"""Kill what the commands do at random moments, many times, and look whether anything was lost.

    python tests/killing.py [--kills 200] [--seed 0]                training of one level, and generation
    python tests/killing.py --commands [--kills 200] [--seed 0]     two levels, prepare, generate, export, sweep

Every victim is a process of its own, forked from this one so that it need not
import and compile again, and ended by SIGKILL after a random while; a sweep is
a program, for its workers are.  Prints one line of JSON with what was seen;
fails at the first thing lost.
"""

import argparse
import contextlib
import glob
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hostile_files import SMALL as FIELDS
from hostile_files import WORLD
from tiny import TINY

from vocalsynth_utils import __main__, audio, dataset, generation, runs, synthetic, training
from vocalsynth_utils.runs import checkpoints
from vocalsynth_utils.sweeps import points

RECIPE = TINY.replace(n_units=(12,), n_epochs=12, learning_rate=0.01, input_noise=0.1, momentum=0.5)
COMPILE = training.compile_trainer
TIMES = ("duration", "cpu_seconds")
KILLS_PER_RUN = 6  # and then it may end
SECONDS = 20.0  # of generated audio
LONGEST = 2.0  # a victim's life is drawn up to this many times what the whole job takes


class Lost(Exception):
    """Something that a kill must not cost."""


def check(condition, what):
    if not condition:
        raise Lost(what)


def victim(job, kill_after=None, once_writes=None):
    """Run ``job(report)`` in a process of its own; killed after so many seconds unless it has ended.

    With `once_writes`, a pattern of unfinished files' paths, the seconds count
    in milliseconds from when one is seen.

    Returns
    -------
    killed : bool
    reports : int
        How often the job called ``report()`` before.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            job(lambda: os.write(writing, b"."))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    status = None
    if kill_after is not None:
        ended = 0
        while once_writes and not ended and not glob.glob(once_writes):
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            time.sleep(kill_after / 1000 if once_writes else kill_after)
            os.kill(pid, signal.SIGKILL)
            status = None
    if status is None:
        _, status = os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        reports = len(pipe.read())
    killed = os.WIFSIGNALED(status)
    check(killed or os.WEXITSTATUS(status) == 0, "a victim failed of itself")
    return killed, reports


def compiled_once(trainer):
    """`training.compile_trainer` for forked processes: each has the fresh one this process never trains."""
    return lambda *_: trainer


def ended(folder):
    """All that a run has become, but for the time it took."""
    run = runs.open_run(folder)
    timeless = lambda known: {name: value for name, value in known.items() if name.replace("log.", "") not in TIMES}
    arrays = {
        name: {k: v.tobytes() for k, v in timeless(checkpoints.read(run.path(name))[0]).items()}
        for name in ("last", "best")
    }
    return arrays, [timeless(row) for row in run.log()], timeless(run.result() or {})


def kill_trainings(recipe, data, folder, n_kills, rng):
    """Kill and resume trainings until so many have died; counts of what was seen."""
    folder.mkdir(exist_ok=True)
    training.compile_trainer = compiled_once(COMPILE(recipe, data.n_features, data.scaling))

    def job(run):
        def train(report):
            for _ in training.train(recipe, data, run, resume=(run / "recipe.json").exists()):
                report()

        return train

    started = time.monotonic()
    victim(job(folder / "whole"))
    whole, took = ended(folder / "whole"), time.monotonic() - started
    seen = {"trainings": 0, "killed": 0, "while a file was being written": 0}
    while seen["killed"] < n_kills:
        run, kept = folder / f"run-{seen['trainings']}", 0
        for _ in range(min(KILLS_PER_RUN, n_kills - seen["killed"])):
            kill_after = rng.uniform(0, LONGEST * took / KILLS_PER_RUN)
            killed, n_rows = victim(
                job(run), kill_after, str(run / ".*.part") if seen["killed"] % 3 == 0 and run.exists() else None
            )
            if not killed:
                break
            kept += n_rows  # reported by the victim, so they must be there
            epoch = checkpoints.read(run / "last.npz")[1]["epoch"] if (run / "last.npz").exists() else 0
            check(kept <= epoch <= kept + 1, f"{kept} epochs were done, the checkpoint is of epoch {epoch}")
            logged = [row["epoch"] for row in runs.Run(run, None, None).log()]
            check(
                logged == list(range(1, len(logged) + 1)) and epoch - 1 <= len(logged) <= epoch,
                f"log of epochs {logged} at epoch {epoch}",
            )
            seen["killed"] += 1
            seen["while a file was being written"] += bool(list(run.glob(".*.part")))
            kept = epoch
        victim(job(run))
        check(ended(run) == whole, "a killed and resumed training ended differently")
        check(not list(run.glob(".*.part")), "unfinished files stayed")
        seen["trainings"] += 1
    return seen


def kill_generations(run, folder, n_kills, rng):
    """Kill generations until so many have died: the file is whole, or it is not there."""
    out = folder / "out.wav"

    def job(report):
        primer = generation.primer_frames(run, None, "none", 1)
        audio.write(out, generation.generate(run, SECONDS, primer), RECIPE.sample_rate)

    started = time.monotonic()
    victim(job)
    whole, took = out.read_bytes(), time.monotonic() - started
    out.unlink()
    seen = {"killed": 0, "whole": 0, "while the file was being written": 0}
    while seen["killed"] < n_kills:
        killed, _ = victim(
            job, rng.uniform(0.3, 1.1) * took, str(folder / ".*.part") if seen["killed"] % 3 == 0 else None
        )
        parts = list(folder.glob(".out.wav.*.part"))
        seen["while the file was being written"] += bool(parts and killed)
        if out.exists():
            check(out.read_bytes() == whole, "a generated file was neither whole nor absent")
            seen["whole"] += killed
            out.unlink()
        seen["killed"] += killed
    victim(job)
    check(
        out.read_bytes() == whole and not list(folder.glob(".*.part")),
        "the file after a kill differs, or something of it stayed",
    )
    return seen


def main(n_kills, seed):
    """Half of the kills on trainings, half on generations."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        audio.write(folder / "ar2.wav", synthetic.ar2(40000, seed=1), 16000)
        data = dataset.prepare(folder / "ar2.wav", RECIPE, folder / "data")
        seen = {"training": kill_trainings(RECIPE, data, folder, (n_kills + 1) // 2, rng)}
        seen["generation"] = kill_generations(runs.open_run(folder / "whole"), folder, n_kills // 2, rng)
        return seen


SHARES = {"two levels": 0.25, "prepare": 0.25, "generate": 0.2, "export": 0.2, "sweep": 0.1}  # of the kills
LEVELS = WORLD.replace(n_epochs=6)
SWEEP = 'recipe = "2016-small"\ndata = "ar2.wav"\nepochs = 30\n[set]\nframe_length = 20\nn_steps = 12\nn_batch = 8\n'
SWEEP += "n_offsets = 1\n[grid]\nn_units = [[3], [4, 2]]\n"


def files(path):
    """What stands at a path: bytes, or by name for a folder; None for nothing."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return path.read_bytes() if path.exists() else None


def kill_repeated(job, path, n_kills, rng):
    """Kill and repeat what makes a file or folder until so many have died: it is whole, or it is not there."""

    def remove():
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    started = time.monotonic()
    victim(job)
    whole, took, seen = files(path), time.monotonic() - started, {"killed": 0, "while it was being written": 0}
    remove()
    while seen["killed"] < n_kills:
        for _ in range(min(KILLS_PER_RUN, n_kills - seen["killed"])):
            pattern = str(path.parent / f".{path.name}.*.part") if seen["killed"] % 3 == 0 and not parts(path) else None
            killed, _ = victim(job, rng.uniform(0, 20) if pattern else rng.uniform(0, 1.1) * took, pattern)
            seen["killed"] += killed
            seen["while it was being written"] += bool(killed and parts(path))
            check(files(path) in (None, whole), f"{path.name} was neither whole nor absent")
            if path.exists():
                remove()
        victim(job)
        check(files(path) == whole, f"{path.name}, made again, differs")
        check(not parts(path), f"unfinished parts of {path.name} stayed")
        remove()
    return seen


def parts(path):
    """Names of unfinished parts of a file or folder."""
    return [part.name for part in path.parent.glob(f".{path.name}.*.part")]


def command(*args):
    """A command line as a victim's job; what it says goes nowhere."""

    def job(report):
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            if __main__.main([str(arg) for arg in args]):
                raise RuntimeError(args)

    return job


def kill_sweeps(folder, n_kills, rng):
    """Kill sweeps and start them again until so many have died; each ends as one that nobody killed."""
    (folder / "s.toml").write_text(SWEEP)
    program = [sys.executable, "-m", "vocalsynth_utils", "sweep", folder / "s.toml", "--workers", "2", "--out"]

    def run(out, seconds=None):
        process = subprocess.Popen([*program, out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            check(process.wait(seconds) == 0, "a sweep failed of itself")
            return False
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True

    def all_of(out):
        return {run.name: ended(run) for run in sorted((out / "runs").iterdir())}

    started = time.monotonic()
    run(folder / "whole")
    whole, took, seen = all_of(folder / "whole"), time.monotonic() - started, {"killed": 0, "sweeps": 0}
    while seen["killed"] < n_kills:
        out = folder / f"sweep-{seen['sweeps']}"
        for _ in range(min(KILLS_PER_RUN, n_kills - seen["killed"])):
            if not run(out, rng.uniform(0.1, 1) * took):
                break
            seen["killed"] += 1
        run(out)
        check(all_of(out) == whole, "a killed sweep ended differently")
        left = [path for path in out.rglob(".*") if path.name != ".lock"]
        check(not left, f"a killed sweep left {left[:2]}")
        seen["sweeps"] += 1
    return seen


def kill_commands(n_kills, seed):
    """Kills on what `main` has not: a training of two levels, and the other commands that write."""
    rng, n = random.Random(seed), {name: round(share * n_kills) for name, share in SHARES.items()}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        synthetic.write_voice(folder / "voice.wav", 20)
        audio.write(folder / "ar2.wav", synthetic.ar2(40000, seed=1), 16000)
        data = dataset.prepare(folder / "voice.wav", LEVELS, folder / "data")
        seen = {"two levels": kill_trainings(LEVELS, data, folder / "levels", n["two levels"], rng)}
        run, fields = (
            folder / "levels" / "whole",
            [f"--set={name}={points.as_text(value)}" for name, value in FIELDS.items()],
        )
        jobs = {
            "prepare": command("prepare", "world-units", folder / "voice.wav", folder / "made" / "dataset", *fields),
            "generate": command("generate", run, folder / "made" / "a.wav", "--seconds", SECONDS, "--primer", "none"),
            "export": lambda report: runs.export(runs.open_run(run), folder / "made" / "shared"),
        }
        (folder / "made").mkdir()
        for (name, job), made in zip(jobs.items(), ("dataset", "a.wav", "shared")):
            seen[name] = kill_repeated(job, folder / "made" / made, n[name], rng)
        return {**seen, "sweep": kill_sweeps(folder, n["sweep"], rng)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--commands", action="store_true", help="two levels, prepare, generate, export and sweep")
    args = parser.parse_args()
    try:
        print(json.dumps((kill_commands if args.commands else main)(args.kills, args.seed)))
    except Lost as lost:
        sys.exit(f"LOST: {lost}")
