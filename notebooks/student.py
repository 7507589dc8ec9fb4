"""A copy of the project to hand out: notebooks without outputs, and without solutions.

    python notebooks/student.py [FOLDER]

By default it goes to build/student, which is made anew.  It stands by itself: `make lab` in it sets everything up.
"""

import shutil
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("notebooks", "vocalsynth_utils", "data", "docs", "README.md", "LICENSE", "Makefile", "environment.yml")
KEPT += ("pyproject.toml", "setup.py", "requirements*")
LEFT = ("__pycache__", ".*", "solutions", "prepared", "*.wav")
MARK = "](solutions/"  # a line that leads to solutions


def bare(notebook):
    """A notebook, changed in place, without what its cells put out and without the lines that lead to solutions."""
    for cell in notebook.cells:
        cell.source = "\n".join(line for line in cell.source.splitlines() if MARK not in line).rstrip("\n")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    notebook.metadata.pop("widgets", None)
    return notebook


def hand_out(folder):
    """Make the copy in a folder that does not exist yet."""
    folder.mkdir(parents=True)
    for path in sorted(path for pattern in KEPT for path in ROOT.glob(pattern)):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(*LEFT))
        else:
            shutil.copy(path, folder)
    for path in folder.glob("notebooks/*.ipynb"):
        nbformat.write(bare(nbformat.read(path, as_version=4)), path)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "student"
    if len(sys.argv) > 1 and place.exists():
        print(f"{place} exists; name a folder that does not, or leave it out for build/student", file=sys.stderr)
        sys.exit(2)
    shutil.rmtree(place, ignore_errors=True)
    hand_out(place)
    print(f"{place}: hand it out as it is, or as an archive")
