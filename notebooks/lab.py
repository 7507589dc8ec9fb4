"""What `make lab` opens: copies of the notebooks in lab/, made once, never overwritten, and trusted: players play.

    python notebooks/lab.py [FOLDER]

A copy that is deleted is made again.  JupyterLab's question about news is answered with no, for this environment alone.
"""

import json
import shutil
import sys
from pathlib import Path

import nbformat
from jupyter_core.paths import jupyter_config_dir
from nbformat.reader import NotJSONError
from nbformat.sign import NotebookNotary

FOLDER = Path(__file__).resolve().parent
LAB = FOLDER.parent / "lab"  # beside notebooks/, so that a path in a notebook means the same in its copy
SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def copies(place):
    """Make the copies that are missing; the paths of all."""
    found = []
    for original in sorted([*FOLDER.glob("[0-9]*.ipynb"), *FOLDER.glob("solutions/*.ipynb"), FOLDER / "checks.py"]):
        found.append(place / original.relative_to(FOLDER))
        found[-1].parent.mkdir(parents=True, exist_ok=True)
        if not found[-1].exists():
            shutil.copyfile(original, found[-1])
    return [copy for copy in found if copy.suffix == ".ipynb"]


def trust(notebooks):
    """Sign notebooks as `jupyter trust` does; one that cannot be read is left to JupyterLab to complain of."""
    notary = NotebookNotary()
    for notebook in notebooks:
        try:
            notary.sign(nbformat.read(notebook, as_version=4))
        except (NotJSONError, nbformat.ValidationError):
            continue


def settle(place):
    """JupyterLab's settings for this environment."""
    folder = Path(place) / "labconfig"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))


if __name__ == "__main__":
    settle(jupyter_config_dir())
    trust(copies(Path(sys.argv[1]) if len(sys.argv) > 1 else LAB))
    print("[lab] your copies of the notebooks are in lab/; to have one as it was, delete it and type make lab again")
    print("[lab] a notebook keeps its memory, 03 over 1 GB, until File > Close and Shut Down Notebook")
