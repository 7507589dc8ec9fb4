"""A run's folder: its recipe, its log, its checkpoints.

``recipe.json``  the recipe, the scaling and variance of the data, and where the data is
``log.csv``      one row per epoch
``best.npz``     parameters and optimiser state of the best epoch, by the recipe's `best_by`
``last.npz``     the same after the last whole epoch, from which training resumes
``result.json``  test loss and baselines, once training has ended

Checkpoints hold named arrays and their own recipe as JSON text.  They are read
without pickle, so one from a stranger cannot run code.
"""
import contextlib
import csv
import fcntl
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import frames
from .recipes import Recipe

COLUMNS = ("epoch", "train_loss", "valid_loss", "has_train_loss_improved", "has_valid_loss_improved", "duration")


class Run(NamedTuple):
    """An opened run.

    `data` holds what was known of the training data: ``folder`` (relative to
    the run where it lies inside it), ``scaling``, ``variance``, ``n_features``,
    ``bounds``.
    """

    folder: Path
    recipe: Recipe
    data: dict

    @property
    def scaling(self):
        """The scaling that generated frames are undone with."""
        return frames.Scaling.from_json(self.data["scaling"])

    @property
    def dataset_folder(self):
        """Where the dataset was when the run was made."""
        return (self.folder / self.data["folder"]).resolve()

    def log(self):
        """The rows of log.csv, numbers as numbers: a list of dicts."""
        path = self.folder / "log.csv"
        if not path.exists():
            return []
        with open(path, newline="") as file:
            return [{k: _number(v) for k, v in row.items()} for row in csv.DictReader(file)]

    def write_log(self, rows):
        """Replace log.csv by these rows, whole or not at all."""
        with atomic(self.folder / "log.csv", "w") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def append_log(self, row):
        """Add one row to log.csv."""
        path = self.folder / "log.csv"
        new = not path.exists()
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())

    def save(self, name, arrays, **meta):
        """Write checkpoint `name` ("best" or "last"), beside and renamed over.

        Parameters
        ----------
        arrays : dict of str to array
        **meta
            Plain data kept beside them, e.g. ``epoch=3``.
        """
        meta = dict(meta, recipe=self.recipe.to_dict(), data=self.data)
        arrays = dict(arrays, __meta__=np.frombuffer(json.dumps(meta).encode(), np.uint8))
        # as np.savez does it, but closed in good order when interrupted
        with atomic(self.folder / f"{name}.npz", "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for key, array in arrays.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    def keep_as_best(self):
        """Let best.npz be what last.npz is now, without copying it."""
        beside = self.folder / f".best.{os.getpid()}"
        os.link(self.folder / "last.npz", beside)
        os.replace(beside, self.folder / "best.npz")

    def load(self, name):
        """Arrays and meta data of a checkpoint; ValueError when it is missing or damaged."""
        return load_checkpoint(self.folder / f"{name}.npz")

    def result(self):
        """What result.json says, or None before training has ended."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None


def check_free(folder):
    """Raise ValueError where a new run would meet an old one, or a file."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose another folder for the run")
    if (folder / "recipe.json").exists():
        raise ValueError(f"{folder} holds a run of {len(open_run(folder).log())} epochs; go on with it by --resume, or choose another folder")


def create(folder, recipe, dataset):
    """Start a run in a new folder.

    Raises
    ------
    ValueError
        As `check_free`.
    """
    check_free(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = {"folder": os.path.relpath(dataset.folder.resolve(), folder.resolve()), "scaling": dataset.scaling.to_json(),
            "variance": dataset.variance, "n_features": dataset.n_features, "bounds": dataset.bounds}
    with atomic(folder / "recipe.json", "w") as file:
        json.dump({"recipe": recipe.to_dict(), "data": data, "variance": dataset.variance}, file, indent=1)
    return Run(folder, recipe, data)


def open_run(folder):
    """Open a run that was started before; ValueError when there is none."""
    path = Path(folder) / "recipe.json"
    try:
        meta = json.loads(path.read_text())
        return Run(Path(folder), Recipe.from_dict(meta["recipe"]), meta["data"])
    except OSError:
        raise ValueError(f"{folder} holds no run (no recipe.json); make one with `train`") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); the checkpoints beside it carry the recipe too") from None


def load_checkpoint(path):
    """Arrays by name and the meta data of one checkpoint file.

    Raises
    ------
    ValueError
        When the file is missing, torn, or no checkpoint.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("__meta__").tobytes())
        return arrays, meta
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; train first, or wait for the first epoch to end") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise ValueError(f"{path} is no whole checkpoint ({str(error) or type(error).__name__}); use another one") from None


def set_parameters(parameters, arrays, path="the checkpoint"):
    """Put a checkpoint's arrays into shared variables of the same names and shapes.

    Parameters
    ----------
    parameters : dict of str to shared variable
    arrays : dict of str to array
        May hold more than the parameters.

    Raises
    ------
    ValueError
        Naming every array that is missing or of another shape; nothing has
        been changed then.
    """
    wrong = []
    for name, variable in parameters.items():
        expected = variable.get_value(borrow=True).shape
        if name not in arrays:
            wrong.append(f"{name} is missing")
        elif arrays[name].shape != expected:
            wrong.append(f"{name} has shape {arrays[name].shape}, the network needs {expected}")
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(f"{path} does not fit this recipe: {'; '.join(wrong[:4])}{more}")
    for name, variable in parameters.items():
        variable.set_value(arrays[name].astype(variable.dtype))


@contextlib.contextmanager
def atomic(path, mode):
    """Open a file to be written beside `path`, synced, and renamed over it when all went well."""
    path = Path(path)
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, mode, **({} if "b" in mode else {"newline": ""})) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


@contextlib.contextmanager
def locked(folder):
    """Hold a run's folder for writing; ValueError when another process does."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder) / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by another process; wait for it, or choose another folder") from None
        yield


def _number(text):
    """A log cell as int, float or bool."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return float(text)
