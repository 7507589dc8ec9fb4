"""A run's folder: its recipe, its log, its checkpoints.

``recipe.json``        the recipe, the scaling and variance of the data, and where the data is
``log.csv``            one row per epoch
``best.npz``           parameters and optimiser state of the best epoch, by the recipe's `best_by`
``last.npz``           the same after the last whole epoch, from which training resumes, and the log up to it
``best-previous.npz``, ``last-previous.npz``  what these were before, used when they are damaged
``result.json``        test loss and baselines, once training has ended
``errors.npz``         how frames of WORLD differ from what the network expects, once training has ended

Everything but the log is written beside and renamed over. What `last.npz` holds is the log: resuming writes it anew.
"""

import contextlib
import csv
import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import features, preprocessing, storage
from ..recipes import MOST_EPOCHS, Recipe
from ..storage import atomic, limits, link, remove_unfinished, sync_folder
from . import checkpoints

EQUATIONS = 2  # of WORLD's heads; goes up when the same parameters would sing otherwise
AGAIN = "train it again, into another folder"
NEEDED = ("epoch", "train_loss", "valid_loss", "duration")  # columns of every log
LOG = "log."  # what a checkpoint's names of log columns begin with
INSTEAD = {"last": ("last-previous",), "best": ("best-previous", "last", "last-previous")}  # of a damaged one


class Run(NamedTuple):
    """An opened run.

    `data` holds what was known of the training data: ``folder`` (relative to the run's), ``scaling``, ``variance``,
    ``n_features``, ``limits``, ``ranges``.
    """

    folder: Path
    recipe: Recipe
    data: dict

    @property
    def scaling(self):
        """The scaling that generated frames are undone with."""
        return preprocessing.Scaling.from_json(self.data["scaling"])

    @property
    def dataset_folder(self):
        """Where the dataset was when the run was made."""
        return storage.real_path(self.folder / self.data["folder"])

    @property
    def level(self):
        """What generated sound is brought to, in dB of full scale: the recording's; None where that is not known."""
        return self.data.get("level")

    @property
    def limits(self):
        """What generated frames are kept between, [low, high] in scaled units; None where its recipe has no limits."""
        return self.data["limits"] if self.recipe.limits else None

    def check_data(self, dataset):
        """ValueError where a dataset is not the one this run was made of, but for digits that machines differ in."""
        now = _known(dataset, self.folder)
        pairs = [(self.data[name], now[name]) for name in ("variance", "n_features", "ranges")]
        pairs += [(self.data["scaling"][name], now["scaling"][name]) for name in now["scaling"] if name != "kind"]
        arrays = [(np.ravel(was), np.ravel(is_now)) for was, is_now in pairs]
        if not all(a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=0) for a, b in arrays):
            what = f"{dataset.folder} is not what the run in {self.folder} was trained on"
            raise ValueError(f"{what}; name that by --data, or start another run")

    def log(self):
        """The rows of log.csv, numbers as numbers: a list of dicts, up to the first one that is not whole.

        ValueError where it holds more rows or columns than any run has.
        """
        try:
            text = storage.read_bytes(self.folder / "log.csv", limits.MOST_LOG).decode(errors="replace")
        except FileNotFoundError:
            return []
        header, where, rows = text.partition("\n")[0], f"{self.folder / 'log.csv'}", []
        if not {*NEEDED} <= {*header.rstrip("\r").split(",")}:
            return []
        _check_log(text.count("\n") - 1, header.count(",") + 1, where)
        with contextlib.suppress(csv.Error, TypeError, ValueError):
            for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
                rows.append({name: _number(value) for name, value in row.items()})
        return rows

    def write_log(self, rows):
        """Replace log.csv by these rows, whole or not at all."""
        if not rows:
            (self.folder / "log.csv").unlink(missing_ok=True)
            return
        with atomic(self.folder / "log.csv", "w") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def append_log(self, row):
        """Add one row to log.csv; not synced, for the checkpoint holds it too."""
        path = self.folder / "log.csv"
        try:
            with open(path, "a", newline="") as file:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
        except OSError as error:
            storage.name_file(error, path)
            raise

    def save(self, name, arrays, rows=(), **meta):
        """Write checkpoint `name` ("best" or "last"), whole or not at all; what it was before is kept as NAME-previous.

        `arrays` by name; `rows`, the log up to this epoch; `meta`, plain data kept beside them: ``epoch=3``.
        """
        columns = {LOG + column: np.array([row[column] for row in rows]) for column in (rows[0] if rows else ())}
        with atomic(self.path(name), "wb") as file:
            checkpoints.write(file, {**arrays, **columns}, dict(meta, recipe=self.recipe.to_dict(), data=self.data))
            if self.path(name).exists():
                link(self.path(name), self.path(f"{name}-previous"))

    def save_epoch(self, arrays, rows, is_best):
        """All that an epoch leaves behind, whose row is the last of `rows`: last.npz, the log, perhaps best.npz."""
        self.save("last", arrays, rows, epoch=rows[-1]["epoch"], valid_loss=rows[-1]["valid_loss"])
        self.append_log(rows[-1])  # after it, so that the log names no epoch that is not kept
        if is_best:
            self.keep_as_best()

    def save_errors(self, errors, epoch):
        """Keep what `diagnostics.frame_errors` says of the parameters of an epoch."""
        with atomic(self.path("errors"), "wb") as file:
            checkpoints.write(file, {"errors": errors.astype(np.float32)}, {"epoch": epoch})

    def errors(self):
        """`diagnostics.frame_errors` of the best parameters; None before training has ended, or where none are kept."""
        if not self.path("errors").exists():
            return None
        errors = checkpoints.read(self.path("errors"))[0].get("errors")
        n = features.n_features(self.recipe) - 2  # of the envelope and aperiodicity
        if errors is None or errors.shape != (2, n, n) or errors.dtype.kind != "f" or not np.isfinite(errors).all():
            raise ValueError(f"{self.path('errors')} is not of this run; remove it, and frames err without a pattern")
        return errors

    def keep_as_best(self):
        """Let best.npz be what last.npz is, without copying; not synced: after a power cut `settle` does it again."""
        best, last = self.path("best"), self.path("last")
        if best.exists() and not best.samefile(last):
            link(best, self.path("best-previous"))
        link(last, best)

    def load(self, name, keep=lambda name: True):
        """Arrays and meta data of a checkpoint, as `checkpoints.read`; with a warning those of the one before it.

        That is where it is damaged or missing; ValueError when none of them is whole.
        """
        try:
            return checkpoints.read(self.path(name), keep)
        except ValueError as error:
            for other in INSTEAD[name]:
                with contextlib.suppress(ValueError):
                    arrays, meta = checkpoints.read(self.path(other), keep)
                    what = f"{other}.npz, of epoch {meta['epoch']}, is used instead"
                    warnings.warn(f"{str(error).rpartition(';')[0]}; {what}", stacklevel=2)
                    return arrays, meta
            raise

    def settle(self, last_epoch, best_epoch):
        """After an interruption: let last.npz and best.npz be of these epochs, from whichever checkpoint is."""
        epochs = {name: self._epoch(name) for name in ("last", "last-previous", "best", "best-previous")}
        for name, epoch in (("last", last_epoch), ("best", best_epoch)):
            source = next((other for other, has in epochs.items() if has == epoch), name)
            if epochs[name] != epoch and source != name:
                link(self.path(source), self.path(name))

    def path(self, name):
        """The file of a checkpoint."""
        return self.folder / f"{name}.npz"

    def _epoch(self, name):
        """The epoch of a checkpoint, or None where it is not whole."""
        try:
            return checkpoints.read(self.path(name), keep=lambda _: False)[1]["epoch"]
        except ValueError:
            return None

    def has_finished(self, recipe):
        """Whether `recipe`, this run's own with as many epochs or others, has nothing left to train here."""
        result, n_epochs = self.result(), len(self.log())
        same = recipe.replace(n_epochs=self.recipe.n_epochs) == self.recipe
        return bool(result) and result.get("epochs") == n_epochs >= recipe.n_epochs and same

    def result(self):
        """What result.json says: numbers, or lists or dicts of numbers, by name; None before training has ended."""
        path = self.folder / "result.json"
        try:
            result = storage.read_json(path)
        except FileNotFoundError:
            return None
        for value in result.values():
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            if not all(v is None or type(v) in (int, float) for v in parts):
                remedy = "remove it, and train with --resume to have it made again"
                raise ValueError(f"{path} holds something else than numbers; {remedy}")
        return result


def check_free(folder):
    """Raise ValueError where a new run would meet an old one, or a file."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; choose another folder for the run")
    if (folder / "recipe.json").exists():
        what = f"{folder} holds a run of {len(open_run(folder).log())} epochs"
        raise ValueError(f"{what}; go on with it by --resume (resume=True in a notebook), or choose another folder")


def create(folder, recipe, dataset):
    """Start a run in a new folder; ValueError as `check_free`."""
    check_free(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = _known(dataset, folder)
    with atomic(folder / "recipe.json", "w") as file:
        meta = {"recipe": recipe.to_dict(), "data": data, "variance": dataset.variance, "equations": EQUATIONS}
        json.dump(meta, file, indent=1)
    sync_folder(folder.parent)
    return Run(folder, recipe, data)


def open_run(folder):
    """Open a run that was started before; ValueError when there is none."""
    path, remedy = Path(folder) / "recipe.json", None
    try:
        meta = storage.read_json(path)
        values, data = (storage.as_object(meta[name], name) for name in ("recipe", "data"))
        if meta.get("equations") != EQUATIONS:  # what does not fit is then no damage
            remedy = AGAIN
        recipe = Recipe.from_dict(values)
        if remedy and recipe.has_world_heads:
            raise ValueError("of other equations")
        return Run(Path(folder), recipe, _checked_data(data, recipe))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{folder} holds no run (no recipe.json); make one with `train`") from None
    except (KeyError, TypeError, ValueError) as error:
        if remedy:
            raise ValueError(f"{folder} is a run of an older version; {remedy}") from None
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is damaged ({what}); the checkpoints beside it carry the recipe too") from None


def resumable(folder, recipe, dataset):
    """The run in `folder`, which must be of the same data, and of the same recipe but for how long it trains."""
    run = open_run(folder)
    before = run.recipe.to_dict()
    for name, value in recipe.to_dict().items():
        if before[name] != value and name not in ("n_epochs", "patience", "purpose"):
            what = f"the run in {folder} was started with {name}={before[name]!r}, not {value!r}"
            raise ValueError(f"{what}; resume it as it was, or start another run")
    run.check_data(dataset)
    return run._replace(recipe=recipe)


def _checked_data(data, recipe):
    """What recipe.json says of the training data, or ValueError where that cannot be of this recipe."""
    n_features = features.n_features(recipe)
    shape = () if recipe.is_raw else (n_features,)
    if not isinstance(data["folder"], str) or data["n_features"] != n_features:
        said = f"the folder {data['folder']!r:.80} and n_features={data['n_features']!r:.80}"
        raise ValueError(f"data has {said}, the recipe has {n_features}")
    preprocessing.Scaling.from_json(data["scaling"], shape)
    preprocessing.checked_limits(data["limits"], shape)
    storage.numbers(data["variance"], (), "variance")
    if data.get("level") is not None:  # runs of before have none
        storage.numbers(data["level"], (), "level")
    storage.numbers(data["ranges"], (3, 2), "ranges")
    return data


def logged(arrays):
    """The log's rows that `Run.save` put into a checkpoint: a list of dicts."""
    found = {name: array for name, array in arrays.items() if name.startswith(LOG) and array.ndim == 1}
    _check_log(max(map(len, found.values()), default=0), len(found), "the checkpoint's log")
    columns = {name[len(LOG) :]: array.tolist() for name, array in found.items()}
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def _check_log(n_epochs, n_columns, where):
    """ValueError where a log is larger than any run's."""
    storage.check_most(n_epochs, MOST_EPOCHS, "epochs", where)
    storage.check_most(n_columns, limits.MOST_COLUMNS, "columns", where)


@contextlib.contextmanager
def locked(folder):
    """Hold a run's folder for writing; ValueError when another process does."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(storage.locked(Path(folder) / ".lock"))
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by another process; wait for it, or choose another folder") from None
        remove_unfinished(folder)
        yield


def _known(dataset, folder):
    """What a run in `folder` keeps of its dataset, as plain data."""
    path = os.path.relpath(storage.real_path(dataset.folder), storage.real_path(folder))
    ranges = [list(dataset.ranges[split]) for split in ("train", "valid", "test")]
    numbers = {"variance": dataset.variance, "n_features": dataset.n_features, "level": dataset.level}
    return {"folder": path, "scaling": dataset.scaling.to_json(), **numbers, "limits": dataset.limits, "ranges": ranges}


def _number(text):
    """A log cell as int, float or bool."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text) if len(text) < 19 else float(text)
    except ValueError:
        return float(text)
