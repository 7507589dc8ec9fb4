"""A trained run made small enough to share: parameters without what only training needs.

python -m vocalsynth_utils.runs.exporting RUN FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

from .. import storage
from . import checkpoints
from .run import LOG, check_free, open_run

KEPT = ("log.csv", "result.json", "errors.npz")
LEFT_OUT = ("optimiser.", LOG)  # what a checkpoint's names of optimiser state and log begin with


def export(run, folder):
    """Copy a `Run`'s best parameters, and all that generating from them needs, into a new folder; returns its `Run`.

    The optimiser's state stays behind, so the copy generates but cannot be trained on; so does the dataset, so it is
    primed with a recording, or with nothing. ValueError when the run has no checkpoint, or the folder holds a run.
    """
    arrays, meta = run.load("best", keep=lambda name: not name.startswith(LEFT_OUT))
    arrays = checkpoints.chosen(arrays)
    check_free(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # the dataset is not there: no path of this machine's
    shared = run._replace(folder=folder, data=dict(run.data, folder="dataset"))
    shared.save("best", arrays, epoch=meta["epoch"], valid_loss=meta["valid_loss"])
    described = json.loads((run.folder / "recipe.json").read_text())
    with storage.atomic(folder / "recipe.json", "w") as file:
        json.dump(dict(described, data=shared.data), file, indent=1)
    for name in KEPT:
        if (run.folder / name).exists():
            shutil.copyfile(run.folder / name, folder / name)
    return shared


if __name__ == "__main__":
    try:
        export(open_run(sys.argv[1]), sys.argv[2])
    except (ValueError, OSError, IndexError) as error:
        sys.exit(f"{error}\nusage: python -m vocalsynth_utils.runs.exporting RUN FOLDER")
