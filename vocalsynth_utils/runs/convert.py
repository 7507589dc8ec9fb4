"""A run of an older version made readable: names of its files' entries as they are today, checkpoints with a digest.

python -m vocalsynth_utils.runs.convert RUN
"""

import json
import sys
from pathlib import Path

from .. import storage
from . import checkpoints
from .run import open_run

RENAMED = {
    "recipe.json": {"clamp": "limits", "bounds": "limits"},
    "dataset/dataset.json": {"bounds": "limits"},
    "result.json": {"health": "diagnostics"},
    "evaluate.json": {"health": "diagnostics"},
}


def convert(folder):
    """Convert a run's files in place, each whole or not at all; returns the `Run`.

    ValueError when the folder holds no run, a file of it is damaged, or it is too old to be known.
    """
    folder = Path(folder)
    for path in sorted(folder.glob("*.npz")):
        arrays, meta = checkpoints.read(path, sealed=False)
        with storage.atomic(path, "wb") as file:
            checkpoints.write(file, arrays, _renamed(meta, RENAMED["recipe.json"]))
    for name, names in RENAMED.items():
        if (folder / name).exists():
            values = _renamed(storage.read_json(folder / name), names)
            with storage.atomic(folder / name, "w") as file:
                json.dump(values, file, indent=1)
    return open_run(folder)


def _renamed(values, names):
    """Plain data whose dicts have other names for some keys, in the same order."""
    if not isinstance(values, dict):
        return values
    return {names.get(key, key): _renamed(value, names) for key, value in values.items()}


if __name__ == "__main__":
    try:
        print(convert(sys.argv[1]).folder)
    except (ValueError, OSError, IndexError) as error:
        sys.exit(f"{error}\nusage: {checkpoints.CONVERT} RUN")
