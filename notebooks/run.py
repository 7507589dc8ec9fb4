"""Run the lessons, two at a time; the executed copies and their pages go to build/.

    python notebooks/run.py [NOTEBOOK ...]

Without names, those whose executed copy is older than they are or than the package.
"""

import copy
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pages
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER.parent / "build"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted(FOLDER.glob("solutions/*.ipynb"))
CELL_SECONDS = 900  # one that takes longer hangs
ENOUGH_MEMORY = 2.5e9  # for two: the hungriest lesson takes 1.1 GB
export_lock = threading.Lock()  # what makes pages was not written for threads


def page(notebook):
    """Where the page of a lesson, of a lesson's solutions or of any other notebook goes."""
    inside = notebook.relative_to(FOLDER) if notebook.is_relative_to(FOLDER) else Path(notebook.name)
    return BUILD / inside.with_suffix(".html")


def title(lesson):
    """Address and title of a lesson's page."""
    return page(lesson).name, pages.title(nbformat.read(lesson, as_version=4))


def write_page(text, place):
    """A page whole or not at all."""
    unfinished = place.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(place)


def lesson_page(lesson, notebook):
    """The page of an executed lesson, between its neighbours."""
    i = LESSONS.index(lesson) if lesson in LESSONS else -1
    before = title(LESSONS[i - 1]) if i > 0 else None
    after = title(LESSONS[i + 1]) if 0 <= i < len(LESSONS) - 1 else None
    return pages.page(notebook, before, after)


def make_pages():
    """Make what pages are missing or old: of lessons as run, of solutions as stored; and the index."""
    shown = [BUILD / lesson.name for lesson in LESSONS if (BUILD / lesson.name).exists()]
    executed = {ran.name: nbformat.read(ran, as_version=4) for ran in shown}
    for lesson in LESSONS:
        if lesson.name in executed and stale(page(lesson), BUILD / lesson.name):
            write_page(lesson_page(lesson, copy.deepcopy(executed[lesson.name])), page(lesson))
    for notebook in [notebook for notebook in SOLUTIONS if stale(page(notebook), notebook)]:
        address, text = title(FOLDER / notebook.name)
        stored = nbformat.read(notebook, as_version=4)
        write_page(pages.page(stored, (f"../{address}", text), up="../"), page(notebook))
    solved = {notebook.name: f"solutions/{notebook.stem}.html" for notebook in SOLUTIONS}
    rows = [(f"{Path(name).stem}.html", solved.get(name), notebook) for name, notebook in executed.items()]
    write_page(pages.index(rows), BUILD / "index.html")


def stale(place, shown):
    """Whether a page is missing, or older than the notebook it shows or than what makes pages."""
    changed = max(p.stat().st_mtime for p in (shown, Path(pages.__file__), Path(__file__)))
    return not place.exists() or place.stat().st_mtime < changed


def out_of_date():
    """The lessons whose executed copy is missing, or older than they are or than the package."""
    files = (p for p in (FOLDER.parent / "vocalsynth_utils").rglob("*") if p.suffix in (".py", ".toml", ".cpp", ".h"))
    changed = max(p.stat().st_mtime for p in files)
    done = ((lesson, BUILD / lesson.name) for lesson in LESSONS)
    return [a for a, p in done if not p.exists() or p.stat().st_mtime < max(changed, a.stat().st_mtime)]


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
    nbformat.write(notebook, page(lesson).with_suffix(".ipynb"))
    with export_lock:
        write_page(lesson_page(lesson, notebook), page(lesson))
    progress.end(name, f"done in {time.monotonic() - started:.0f} s: build/{page(lesson).name}")
    return True


def main(names):
    """Run the lessons named, or those out of date; returns the exit status."""
    lessons = [Path(name).resolve() for name in names] or out_of_date()
    lessons.sort(key=lambda lesson: len(nbformat.read(lesson, as_version=4).cells), reverse=True)  # the longest first
    for folder in ("audio", "solutions"):
        (BUILD / folder).mkdir(parents=True, exist_ok=True)
    n_at_once, progress = at_once(), Progress(len(lessons))
    if n_at_once > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # a core each
    with ThreadPoolExecutor(n_at_once) as pool:
        try:
            fine = all(list(pool.map(run, lessons, [progress] * len(lessons))))
        except KeyboardInterrupt:
            print("\ninterrupted; the pages that are done are in build/", file=sys.stderr)
            os._exit(130)  # the pool would wait for the cells to end; kernels end when they see us gone
    make_pages()
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
