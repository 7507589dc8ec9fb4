"""Run the lessons, two at a time; the executed copies and their pages go to build/.

    python notebooks/run.py [NOTEBOOK ...]

Without names, those whose page is older than they are or than the package.
"""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER.parent / "build"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
CELL_SECONDS = 900  # one that takes longer hangs
ENOUGH_MEMORY = 2.5e9  # for two: the hungriest lesson takes 1.1 GB
export_lock = threading.Lock()  # what makes pages was not written for threads


def page(lesson):
    """Where the page of a lesson goes."""
    return BUILD / f"{lesson.stem}.html"


def out_of_date():
    """The lessons whose page is missing, or older than they are or than the package."""
    files = (p for p in (FOLDER.parent / "vocalsynth_utils").rglob("*") if p.suffix in (".py", ".toml", ".cpp", ".h"))
    newest = max(p.stat().st_mtime for p in files)
    pages = ((lesson, page(lesson)) for lesson in LESSONS)
    return [a for a, p in pages if not p.exists() or p.stat().st_mtime < max(newest, a.stat().st_mtime)]


def at_once():
    """How many lessons run side by side: two, where there are two cores and memory for both."""
    from vocalsynth_utils import storage

    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 if n_cores >= 2 and storage.free_memory() >= ENOUGH_MEMORY else 1


class Progress:
    """What runs and for how long: a line when a lesson begins and ends; on a terminal also the cell it is at."""

    def __init__(self, n_lessons):
        self.n_lessons, self.n_begun, self.at, self.lock = n_lessons, 0, {}, threading.Lock()

    def begin(self, name):
        with self.lock:
            self.n_begun += 1
            self._print(f"[notebook {self.n_begun} of {self.n_lessons}] {name} ...")

    def cell(self, name, index, n_cells):
        with self.lock:
            self.at[name] = f"{name[:2]}: cell {index + 1} of {n_cells}"
            if sys.stdout.isatty():
                self._print("    " + ", ".join(self.at.values()), end="")

    def end(self, name, text):
        with self.lock:
            self.at.pop(name, None)
            self._print(f"    {name} {text}")

    def _print(self, text, end="\n"):
        print(f"\r\033[K{text}" if sys.stdout.isatty() else text, end=end, flush=True)


def run(lesson, progress):
    """Execute one lesson in its folder, and write the copy and the page; True when no cell failed."""
    name, started = lesson.stem, time.monotonic()
    notebook = nbformat.read(lesson, as_version=4)
    place = {"metadata": {"path": str(FOLDER)}}
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(notebook, timeout=CELL_SECONDS, resources=place, extra_arguments=quiet)
    client.on_cell_start = lambda cell, cell_index: progress.cell(name, cell_index, len(notebook.cells))
    progress.begin(name)
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError, TimeoutError) as error:
        progress.end(name, f"failed: {error}")
        return False
    nbformat.write(notebook, BUILD / lesson.name)
    with export_lock:
        unfinished = page(lesson).with_suffix(".part")
        unfinished.write_text(HTMLExporter().from_notebook_node(notebook)[0], encoding="utf-8")
        unfinished.replace(page(lesson))
    progress.end(name, f"done in {time.monotonic() - started:.0f} s: build/{page(lesson).name}")
    return True


def main(names):
    """Run the lessons named, or those out of date; returns the exit status."""
    lessons = [Path(name).resolve() for name in names] or out_of_date()
    lessons.sort(key=lambda lesson: len(nbformat.read(lesson, as_version=4).cells), reverse=True)  # the longest first
    (BUILD / "audio").mkdir(parents=True, exist_ok=True)
    n_at_once, progress = at_once(), Progress(len(lessons))
    if n_at_once > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core each
    with ThreadPoolExecutor(n_at_once) as pool:
        try:
            return 0 if all(list(pool.map(run, lessons, [progress] * len(lessons)))) else 1
        except KeyboardInterrupt:
            print("\ninterrupted; the pages that are done are in build/", file=sys.stderr)
            os._exit(130)  # the pool would wait for the cells to end; kernels end when they see us gone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
