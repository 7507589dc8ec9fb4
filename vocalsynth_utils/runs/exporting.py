"""A trained run made small enough to share: parameters without what only training needs.

python -m vocalsynth_utils.runs.exporting RUN FOLDER
"""

import json
import sys
from pathlib import Path

from .. import storage
from . import checkpoints
from .run import LOG, check_free, open_run

LEFT_OUT = ("optimiser.", LOG)  # what a checkpoint's names of optimiser state and log begin with


def export(run, folder):
    """Copy a `Run`'s best parameters, and all that generating from them needs, into a new folder; returns its `Run`.

    The optimiser's state stays behind, so the copy generates but cannot be trained on; so does the dataset, so it is
    primed with a recording, or with nothing. The folder appears when it is complete. ValueError when the run has no
    checkpoint, or the folder holds something.
    """
    arrays, meta = run.load("best", keep=lambda name: not name.startswith(LEFT_OUT))
    arrays = checkpoints.chosen(arrays)
    check_free(folder)
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; choose another folder for the run")
    # the dataset is not there: no path of this machine's
    shared = run._replace(folder=folder, data=dict(run.data, folder="dataset"))
    described = dict(storage.read_json(run.folder / "recipe.json"), data=shared.data)
    with storage.new_folder(folder) as part:
        filled = shared._replace(folder=part)
        filled.save("best", arrays, epoch=meta["epoch"], valid_loss=meta["valid_loss"])
        if (errors := run.errors()) is not None:
            filled.save_errors(errors, meta["epoch"])
        filled.write_log(run.log())  # what they say, for the files may lead anywhere
        for name, values in (("recipe.json", described), ("result.json", run.result())):
            if values is not None:
                with storage.atomic(part / name, "w") as file:
                    json.dump(values, file, indent=1)
    return shared


if __name__ == "__main__":
    try:
        export(open_run(sys.argv[1]), sys.argv[2])
    except (ValueError, OSError, IndexError) as error:
        sys.exit(f"{error}\nusage: python -m vocalsynth_utils.runs.exporting RUN FOLDER")
