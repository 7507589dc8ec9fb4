"""Hostile input by the thousand, through the command line, each case in a process and a folder of its own.

    python tests/fuzzing.py --cases 20000                    a recorded run
    python tests/fuzzing.py --cases 20000 --sizes            the same, of the kinds in `hostile_sizes` alone
    python tests/fuzzing.py --kind checkpoint --case 1234    one case again, with what it said

Every case is a function of its kind and number alone (`hostile`, `hostile_files`,
`hostile_sweeps`, `hostile_sizes`).  A command may work, or end with status 2 and one line on standard error.  All
else is a fault: a traceback, death by a signal, more than 10 s
(not counting those in which a busy machine had no time for it), more than 1 GB
beyond what an idle process holds (2 s and 300 MB for hostile sizes), or a file changed that the command has
no business with.

The imports are done once; each case is a fork of this process, with its address
space limited and its standard streams in files.  One in four hundred starts
Python anew instead, to show that the fork hides nothing.
"""

import argparse
import collections
import contextlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import hostile
import hostile_files
import hostile_sizes
import hostile_sweeps
import numpy as np

from vocalsynth_utils import __main__, sweeps  # noqa: F401  imported once, as all that commands import

GIGABYTE = 1 << 30
SECONDS = 10
ANEW, ANEW_AT = 400, 41  # one case in so many starts Python anew
STARTING = 60  # s allowed to those: importing is not the input's fault
OUT_OF_MEMORY = (
    "out of memory",
    "MemoryError",
    "Unable to allocate",
    "Cannot allocate",
)  # the limit was met, not foreseen
KINDS = {**hostile.KINDS, **hostile_files.KINDS, **hostile_sweeps.KINDS, **hostile_sizes.KINDS}
SHARES = {**hostile.SHARES, **hostile_sizes.SHARES}
NARROW = dict.fromkeys(hostile_sizes.KINDS, (2, 300e6))  # s and bytes allowed to those that are refused by their size


class Outcome(collections.namedtuple("Outcome", "kind case what reason seconds peak argv said")):
    """`what` is "works", "refused" or "fault"; `peak` in bytes beyond the idle process."""


def main(argv=None):
    """Run the cases asked for; the exit status says whether there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, help="over all kinds together")
    parser.add_argument("--kind", choices=KINDS, action="append", help="one kind only; may be given again")
    parser.add_argument("--sizes", action="store_true", help="the kinds of `hostile_sizes` alone")
    parser.add_argument("--first", type=int, default=0, help="the number that each kind begins with")
    parser.add_argument("--case", type=int, help="one case only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    kinds = args.kind or list(hostile_sizes.KINDS if args.sizes else KINDS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what has been done by then is summed up
    with tempfile.TemporaryDirectory(prefix="fuzz.") as folder:
        material = Path(folder, "material")
        status, _, _ = _forked(lambda: hostile_files.make_material(material), Path(folder), None, 120)
        if status != 0:
            raise RuntimeError(Path(folder, "streams", "2").read_text())
        outcomes, total = [], sum(SHARES[kind] for kind in kinds)
        with contextlib.suppress(KeyboardInterrupt):
            for kind in kinds:
                n_cases = max(1, round(args.cases * SHARES[kind] / total))
                for case in [args.case] if args.case is not None else range(args.first, args.first + n_cases):
                    outcomes.append(run_case(kind, case, material, Path(folder)))
                    if outcomes[-1].what == "fault":
                        print(json.dumps(outcomes[-1]._asdict()), file=sys.stderr, flush=True)
    if args.case is not None:
        print(json.dumps(outcomes[0]._asdict(), indent=1))
    else:
        figures = summary(outcomes)
        print(json.dumps(figures) if args.json else table(figures))
    return int(any(o.what == "fault" for o in outcomes))


def run_case(kind, number, material, folder):
    """Lay out one case in a sandbox, run it, and judge what it did: an `Outcome`."""
    sandbox = folder / "sandbox"
    for name in ("here", "elsewhere", "tmp", "streams"):
        (sandbox / name).mkdir(parents=True)
    (sandbox / "elsewhere" / "precious.txt").write_text("years of work")
    os.chdir(sandbox / "here")  # only so that short relative names do while the case is laid out
    try:
        # not SeedSequence: a hundred thousand cases need no more than this
        case = KINDS[kind](
            np.random.default_rng([list(KINDS).index(kind), number]), hostile.Box(material, sandbox, number)
        )
        before = snapshot(sandbox)
        command = None
        if number % ANEW == ANEW_AT:
            command = [sys.executable, "-m", "vocalsynth_utils", *case.args]
        honest = (
            kind in NARROW and number % hostile_sizes.PLAIN == 0
        )  # nothing is wrong with it, so it may take its time
        allowed, most = (SECONDS, GIGABYTE) if honest else NARROW.get(kind, (SECONDS, GIGABYTE))
        status, peak, seconds = _forked(
            lambda: __main__.program(case.args), sandbox, command, STARTING if command else allowed
        )
        said = (sandbox / "streams" / "2").read_bytes().decode(errors="replace")
        what, reason = judge(case, status, peak / most if not command else 0, said, changes(before, snapshot(sandbox)))
        shown = [a if len(a) < 300 else a[:300] + "..." for a in case.args]
        return Outcome(
            kind, number, what, reason, seconds, peak, shown, said[-3000:] if what == "fault" else said[:300]
        )
    finally:
        os.chdir(folder)
        shutil.rmtree(sandbox)


def judge(case, status, peak, said, changed):
    """What an outcome is: (what, reason); `peak` is a share of what is allowed."""
    if status is None:
        return "fault", "hangs"
    if status < 0:
        return "fault", f"dies by {signal.Signals(-status).name}"
    if peak > 1 or any(words in said for words in OUT_OF_MEMORY):
        return "fault", "memory"
    if "Traceback" in said or status not in (0, 2):
        return "fault", f"status {status}"
    outside = [path for path in changed if not any(path == w or path.startswith(w + "/") for w in case.writes)]
    if outside:
        return "fault", f"changes {', '.join(outside[:3])}"
    if status == 0:
        return "works", ""
    besides = (f"vocalsynth {case.args[0]}: warning: ", "[")  # and what it was at for more than two seconds
    lines = [line for line in said.splitlines() if not line.startswith(besides)]
    if len(lines) != 1 or not all(line.isprintable() for line in said.splitlines()):
        return "fault", "not one printable line"
    left = [
        path
        for path in changed
        if not case.args[0] == "train" or (".part" in path or "/." in path and not path.endswith("/.lock"))
    ]
    return ("fault", f"refused, yet changes {', '.join(left[:3])}") if left else ("refused", said)


def snapshot(sandbox):
    """Everything in a sandbox but the streams: dict of relative path to what would show a change."""
    found, pending = {}, [sandbox / "here", sandbox / "elsewhere", sandbox / "tmp"]
    while pending:
        for entry in os.scandir(pending.pop()):
            status = entry.stat(follow_symlinks=False)
            is_dir = entry.is_dir(follow_symlinks=False)
            found[os.path.relpath(entry.path, sandbox)] = (status.st_mode, status.st_ino) + (
                () if is_dir else (status.st_size, status.st_mtime_ns)
            )
            if is_dir:
                pending.append(entry.path)
    return found


def changes(before, after):
    """Paths that came, went or changed."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


def _forked(function, sandbox, command, seconds):
    """Run a function in a fork of this process, or a command: (exit status, or None when late; peak bytes; seconds)."""
    (sandbox / "streams").mkdir(exist_ok=True)
    idle = _memory("VmRSS") if command is None else 0
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _in_child(function, sandbox, command)
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status if isinstance(status, int) else 1)
    started, ended = time.monotonic(), select.poll()
    handle = os.pidfd_open(child)
    ended.register(handle, select.POLLIN)
    while True:
        ended.poll(1000)
        done = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        taken = time.monotonic() - started - _queued(child)
        if done or taken > seconds:
            os.kill(child, signal.SIGKILL)
            os.close(handle)
            _, status, usage = os.wait4(child, 0)
            return os.waitstatus_to_exitcode(status) if done else None, max(0, 1024 * usage.ru_maxrss - idle), taken


def _queued(child):
    """Seconds a process was ready to run and the machine had no time for it."""
    try:
        with open(f"/proc/{child}/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        return 0.0


def _in_child(function, sandbox, command):
    """Streams into files, memory limited, then the function; a command replaces this process."""
    for number, flags in (
        (0, os.O_RDONLY),
        (1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(sandbox / "streams" / str(number) if number else os.devnull, flags), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    tempfile.tempdir = os.environ["TMPDIR"] = str(sandbox / "tmp")
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (2 * GIGABYTE, 2 * GIGABYTE)
    )  # a runaway file ends the case, not the machine
    limit = _memory("VmSize") + GIGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if command:
        os.execve(command[0], command, dict(os.environ, PYTHONPATH=str(Path(__main__.__file__).parent.parent)))
    return function()


def _memory(field):
    """A field of this process's memory, in bytes."""
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return 1024 * int(line.split()[1])


def summary(outcomes):
    """Per kind: cases, works, refused, faults, slowest (s), peak (MB beyond an idle process)."""
    figures = {}
    for kind in dict.fromkeys(o.kind for o in outcomes):
        own = [o for o in outcomes if o.kind == kind]
        count = collections.Counter(o.what for o in own)
        figures[kind] = {
            "cases": len(own),
            "works": count["works"],
            "refused": count["refused"],
            "faults": count["fault"],
            "messages": len({_shape_of(o.reason) for o in own if o.what == "refused"}),
            "slowest_s": round(max(o.seconds for o in own if (o.case % ANEW != ANEW_AT) or len(own) == 1), 2),
            "peak_mb": round(max(o.peak for o in own if (o.case % ANEW != ANEW_AT) or len(own) == 1) / 1e6),
        }
    return figures


def _shape_of(message):
    """A message without its numbers: how many different refusals a kind reached."""
    return "".join(" " if c.isdigit() else c for c in message)[:80]


def table(figures):
    """The summary as a Markdown table."""
    columns = list(next(iter(figures.values())))
    lines = ["| kind | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {kind} | " + " | ".join(str(v) for v in row.values()) + " |" for kind, row in figures.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
