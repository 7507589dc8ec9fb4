"""The losses of notebook 03's loop by PyTorch, for where that is not installed: what its own cells give.

python data/measured/torch_loop.py > data/measured/torch_loop.json
"""

import contextlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

import nbformat
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
CELLS = "03-01", "03-x1", "03-08", "03-32", "03-36"  # imports and recipe; recording; data; the loop


def main():
    os.chdir(ROOT / "notebooks")
    sys.path.insert(0, ".")
    cells = {cell.id: cell.source for cell in nbformat.read("03_gpu_training.ipynb", as_version=4).cells}
    program = [cells[name] for name in CELLS] + [cells["03-34"].partition("first =")[0]]  # what it begins with
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file, contextlib.redirect_stdout(sys.stderr):
        file.write("\n".join(program))
        file.flush()
        space = runpy.run_path(file.name)
        losses = space["torch_losses"](space["recipe"], space["data"], space["initial"])
    print(json.dumps({"torch": torch.__version__, "recipe": space["recipe"].name, "losses": losses}, indent=1))


if __name__ == "__main__":
    main()
