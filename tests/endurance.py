"""Run a command and watch its memory and its open files from outside.

    python tests/endurance.py [--every SECONDS] COMMAND ...

Prints, as one line of JSON, how long it ran and, over the second half of that
time, the lowest and highest value and the slope of its own (anonymous) memory
and of its open files.  Mapped files, such as a recording, are not its own: the
system takes those pages back when it needs them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def sample(pid):
    """Own memory (bytes) and open files of a process; None once it has ended."""
    try:
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return 1024 * int(lines["RssAnon"].split()[0]), len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, KeyError):
        return None


def watch(command, every, **popen):
    """Run a command to its end.

    Returns
    -------
    status : int
    samples : float64 array of shape (n_samples, 3)
        Seconds since the start, bytes, open files.
    """
    started, samples = time.monotonic(), []
    process = subprocess.Popen(command, **popen)
    try:
        while process.poll() is None:
            seen = sample(process.pid)
            if seen:
                samples.append((time.monotonic() - started,) + seen)
            time.sleep(every)
    finally:
        process.kill()
        process.wait()
    return process.returncode, np.array(samples, float).reshape(-1, 3)


def summary(samples):
    """What the second half of the samples says: a dict of plain numbers, slopes per hour."""
    settled = samples[len(samples) // 2 :]
    slope = lambda values: float(np.polyfit(settled[:, 0] / 3600, values, 1)[0])
    megabytes, files = settled[:, 1] / 1e6, settled[:, 2]
    return {
        "seconds": round(float(samples[-1, 0])),
        "n_samples": len(samples),
        "mb": [round(float(megabytes.min()), 2), round(float(megabytes.max()), 2)],
        "mb_per_hour": round(slope(megabytes), 3),
        "files": [int(files.min()), int(files.max())],
        "files_per_hour": round(slope(files), 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples (default 10)")
    parser.add_argument("--samples", help="keep the samples in this .csv file")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    status, samples = watch(args.command, args.every)
    if args.samples:
        np.savetxt(args.samples, samples, fmt="%.1f,%d,%d", header="seconds,bytes,files", comments="")
    print(json.dumps(dict(summary(samples), status=status)))
    sys.exit(status)
