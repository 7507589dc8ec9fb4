"""Words, seconds and memory of each lesson, for docs/teaching.md: runs them one after the other, each in a process.

    python data/measured/lessons.py [NAME ...]

Seconds are those of a core, whatever else the machine does; memory is that of the kernel at its largest.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
FOLDER, OUT = HERE.parents[1] / "notebooks", HERE / "lessons.json"
RUN = """
import resource, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=900, extra_arguments=["--log-level=ERROR"]).execute(cwd=".")
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def measured(lesson):
    """Words to read, seconds of a core to run, and the most memory, MB."""
    cells = nbformat.read(lesson, as_version=4).cells
    words = sum(len(re.findall(r"\w+", cell.source)) for cell in cells if cell.cell_type == "markdown")
    command = [sys.executable, "-c", RUN, lesson.name]
    said = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, peak = map(float, said.split()[-2:])
    return {"words": words, "seconds": round(seconds), "memory_mb": round(peak / 1024)}


if __name__ == "__main__":
    held = json.loads(OUT.read_text()) if OUT.exists() else {"lessons": {}}
    for lesson in sorted(FOLDER.glob("[0-9]*.ipynb")):
        if len(sys.argv) < 2 or lesson.stem in sys.argv[1:]:
            held["lessons"][lesson.stem] = measured(lesson)
            print(lesson.stem, held["lessons"][lesson.stem], flush=True)
            OUT.write_text(json.dumps({**held, "lessons": dict(sorted(held["lessons"].items()))}, indent=1) + "\n")
