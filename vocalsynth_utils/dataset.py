"""A recording made ready for training, as a `Dataset`: rows on disk, memory-mapped, and batches of sequences of them.

A dataset is a folder with ``signal.npy``, the recording as mono samples, with ``rows.npy`` where a frame holds other
things than samples, and with ``dataset.json``.  The rows are unscaled: single samples for raw frames, one row of
parameters every few milliseconds for other features.  A batch is defined by the rows its sequences start at, so shifted
copies of the recording cost no disk and no memory.
"""

import contextlib
import dataclasses
import json
import os
import warnings
from pathlib import Path

import numpy as np

from . import audio, features, preprocessing, storage
from .recipes import Recipe

SPLITS = ("train", "valid", "test")
LIMITS = (0.001, 0.999)  # quantiles of a feature that generation is kept within
BLOCK = 1 << 17  # rows read or written at a time: what the processor's cache holds
PREPARED_FIELDS = ("sample_rate", "features", "frame_length", "scaling")  # what a dataset was made for
FILES = ("dataset.json", "signal.npy", "rows.npy")
ANALYSIS = 4  # goes up when the same recording would give other rows


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared recording.

    Attributes
    ----------
    folder : Path
    settings : dict
        The recipe fields the rows were made for.
    source : dict
        Name of the recording, its path from the folder, its size in bytes and its modification time (ns).
    rows : memory-mapped array of shape (n_rows,) or (n_rows, n_features)
        Samples (int16, float32) or features (float32); train, valid, test one after the other.
    samples : memory-mapped array of shape (n_samples,)
        The recording, int16 or float32; the rows themselves for raw frames.
    ranges : dict of str to (first, end)
        The rows of each part.
    row_length : int
        Samples between two rows.
    scaling : preprocessing.Scaling
        Fitted on the train part alone.
    limits : [low, high] or None
        Scaled quantiles of each feature in the train part, for generation; None for raw samples.
    """

    folder: Path
    settings: dict
    source: dict
    rows: np.ndarray
    samples: np.ndarray
    ranges: dict
    row_length: int
    scaling: preprocessing.Scaling
    limits: list | None

    @property
    def n_features(self):
        """Numbers in one frame."""
        return self.settings["frame_length"] if self.rows.ndim == 1 else self.rows.shape[1]

    @property
    def rows_per_frame(self):
        """Rows from one frame to the next."""
        return self.settings["frame_length"] // self.row_length

    @property
    def variance(self):
        """Variance of the scaled train part: the loss of always predicting its mean."""
        return self.scaling.variance

    @property
    def level(self):
        """Of the recording's training part, in dB of full scale; None of silence."""
        return audio.level(self.samples[: preprocessing.split_sizes(len(self.samples))[0]])

    def n_frames(self, split):
        """Whole frames in one part."""
        first, end = self.ranges[split]
        return (end - first) // self.rows_per_frame

    def seconds(self, split):
        """Length of one part."""
        first, end = self.ranges[split]
        return (end - first) * self.row_length / self.settings["sample_rate"]

    def signal(self, split):
        """The recording of one part: float32 (n_samples,), full scale 1."""
        part = preprocessing.split(len(self.samples))[SPLITS.index(split)]
        return np.array(as_float(self.samples[part]))

    def starts(self, split, n_steps, n_offsets=1):
        """First rows of the sequences in one part: int array (n_sequences,), in order of time within each copy.

        There are `n_offsets` shifted copies, evenly spread over one frame.  ValueError when the part is shorter than
        one sequence, or a shift is smaller than a row.
        """
        first, end = self.ranges[split]
        length = n_steps * self.rows_per_frame
        if end - first < length:
            raise ValueError(self._too_short(split, n_steps))
        if n_offsets > self.rows_per_frame:
            raise ValueError(f"n_offsets={n_offsets} shifts by less than a row; use n_offsets <= {self.rows_per_frame}")
        shifts = preprocessing.offsets(self.rows_per_frame, n_offsets)
        return np.concatenate([np.arange(first + shift, end - length + 1, length) for shift in shifts])

    def _too_short(self, split, n_steps):
        """What is wrong with a part shorter than one sequence, and what would fit everywhere."""
        frame_length, shortest = self.settings["frame_length"], min(b - a for a, b in self.ranges.values())
        seconds = n_steps * frame_length / self.settings["sample_rate"]
        remedy = f"frame_length <= {shortest * self.row_length // n_steps}"
        if shortest >= 2 * self.rows_per_frame:
            remedy = f"n_steps <= {shortest // self.rows_per_frame}"
        needs = f"less than one sequence of n_steps={n_steps} frames of {frame_length} samples ({seconds:g} s)"
        return f"the {split} part holds {self.seconds(split):g} s, {needs}; use {remedy} or a longer recording"

    def batch(self, starts, n_steps):
        """Scaled sequences from some starting rows on: float32 (n_batch, n_steps, n_features), time-major in memory."""
        X = np.empty((n_steps, len(starts), self.n_features), np.float32).transpose(1, 0, 2)
        for sequence, start in zip(X, starts):
            rows = self.rows[start : start + n_steps * self.rows_per_frame]
            rows = rows.reshape(n_steps, -1) if self.rows.ndim == 1 else rows[:: self.rows_per_frame]
            sequence[...] = self.scaling.apply(as_float(rows))
        return X

    def scaled(self, first, end):
        """Rows from `first` up to `end`, scaled: float32."""
        return self.scaling.apply(as_float(self.rows[first:end]))

    def sequence(self, split, n_frames):
        """The first `n_frames` frames of one part, scaled: float32 (n_frames, n_features)."""
        return self.batch(self.starts(split, n_frames)[:1], n_frames)[0]

    def check_fits(self, recipe):
        """Raise ValueError where this was prepared for other frames than the recipe's."""
        for name in PREPARED_FIELDS:
            was, wanted = self.settings[name], getattr(recipe, name)
            if was != wanted:
                what = f"{self.folder} was prepared with {name}={was!r}, the recipe has {wanted!r}"
                raise ValueError(f"{what}; prepare it again for this recipe")

    def check_enough(self, recipe):
        """Raise ValueError where a part is shorter than one of the recipe's sequences, or train than one batch."""
        n_train = len(self.starts("train", recipe.n_steps, recipe.n_offsets))
        for split in ("valid", "test"):
            self.starts(split, recipe.n_steps)
        if n_train < recipe.n_batch and not recipe.batches_per_epoch:
            what = f"the train part has {n_train} sequences, fewer than one batch of n_batch={recipe.n_batch}"
            raise ValueError(f"{what}; use n_batch <= {n_train}, more offsets or a longer recording")

    def is_of(self, recording, recipe):
        """Whether `prepare` would make the same again: by the settings, and the recording's path, size and date."""
        wanted = {name: getattr(recipe, name) for name in PREPARED_FIELDS}
        return self.settings == wanted and self.source == _source(recording, self.folder)


def as_float(rows):
    """Stored rows in full-scale units: int16 samples become float32 in [-1, 1)."""
    return audio.from_int16(rows) if rows.dtype == np.int16 else rows


def prepare(recording, recipe, folder, elsewhere=(), on_stage=None):
    """Make a dataset from a recording, or take the one that is there already.

    The recording is read block by block and split 80/10/10 in time before
    anything is framed, so memory stays small however long it is and no frame
    crosses from one part to another.  The folder appears when it is complete.

    Parameters
    ----------
    recording : path
        Anything `audio.open_recording` reads.
    recipe : Recipe
        Its `sample_rate`, `features`, `frame_length`, `scaling` and `n_steps`.
    folder : path
        A dataset of something else that stands there is replaced.
    elsewhere : iterable of paths
        Folders of other datasets: the files of an equal one are taken, as hard
        links, instead of analysing the recording again.
    on_stage : callable, optional
        ``on_stage(name, done, total)`` when a stage begins and as it goes on; total None where it cannot be counted.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        When the recording cannot be used or is too short for the recipe, or
        the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {*FILES, *MADE_LATER}):
        raise ValueError(f"{folder} exists and is no dataset alone; choose another folder")  # nothing else is removed
    opened = audio.open_recording(recording, recipe.sample_rate)
    equal = next(_equal([folder, *elsewhere], recording, recipe), None)
    if equal is None or equal.folder != folder:
        with storage.new_folder(folder, lambda: any(_equal([folder], recording, recipe))) as part:  # made meanwhile
            if equal is None:
                analysed = _analyse(opened, recording, recipe, folder, part, on_stage)
                analysed.check_enough(recipe)  # said now, not after an hour
            else:
                _link(equal, recording, folder, part)
    dataset = load(folder)
    dataset.check_enough(recipe)
    return dataset


MADE_LATER = ("reference.npz",)  # what evaluation keeps beside a dataset


def _equal(folders, recording, recipe):
    """Those of some folders' datasets that `prepare` would make the same again."""
    for folder in folders:
        with contextlib.suppress(ValueError):
            dataset, version = _open(Path(folder))
            if version == ANALYSIS and dataset.is_of(recording, recipe):
                yield dataset


def _analyse(opened, recording, recipe, folder, part, on_stage):
    """Fill a folder with what `folder` is to hold of a recording; the dataset in it."""
    source = _source(recording, folder)
    features.counting(on_stage, "reading the recording", None)
    rows = signal = storage.write_array(part / "signal.npy", opened.blocks(BLOCK), opened.dtype)
    audio.check_heard(signal, recipe.sample_rate, dict(zip(SPLITS, preprocessing.split(len(signal)))), recording)
    if not recipe.is_raw:
        more = features.counting(on_stage, "analysing the voice", len(signal))
        pieces = (features.encode(piece, recipe, more) for piece in preprocessing.split(signal))
        rows = storage.write_array(part / "rows.npy", pieces, np.float32)
    ranges = _ranges(len(signal), recipe)
    n_train = ranges["train"][1]
    for odd in features.remarks(rows[:n_train], as_float(signal[: recipe.sample_rate * 60]), recipe):
        warnings.warn(f"{recording}: {odd}", stacklevel=2)
    statistics = preprocessing.Statistics()
    for start in range(0, n_train, BLOCK):
        statistics.update(as_float(rows[start : min(start + BLOCK, n_train)]))
    scaling, limits = preprocessing.Scaling.fit(recipe.scaling, statistics), None
    if rows.ndim == 2:
        limits = scaling.apply(np.quantile(rows[:n_train], LIMITS, axis=0)).tolist()
    if _source(recording, folder) != source:
        raise ValueError(f"{recording} changed while it was read; prepare it once it is finished")
    settings = {name: getattr(recipe, name) for name in PREPARED_FIELDS}
    meta = {"analysis": ANALYSIS, "settings": settings, "source": source, "ranges": ranges}
    meta.update(row_length=features.row_length(recipe), scaling=scaling.to_json(), limits=limits)
    (part / "dataset.json").write_text(json.dumps(meta, indent=1))
    return _open(part)[0]


def _link(equal, recording, folder, part):
    """Fill a folder with the files of an equal dataset, seen from `folder`."""
    for name in (*FILES[1:], *MADE_LATER):
        if (equal.folder / name).exists():
            storage.link(equal.folder / name, part / name)
    meta = storage.read_json(equal.folder / "dataset.json")
    (part / "dataset.json").write_text(json.dumps({**meta, "source": _source(recording, folder)}, indent=1))


def load(folder):
    """Open a dataset that `prepare` made, or ValueError where it is not whole; warns when its recording has changed."""
    dataset, _ = _open(Path(folder))
    path = dataset.source.get("path")
    recording = dataset.folder / (path if isinstance(path, str) else "")
    if recording.is_file() and _source(recording, dataset.folder) != dataset.source:
        changed = f"{storage.real_path(recording)} has changed since {folder} was prepared from it"
        warnings.warn(f"{changed}; the dataset holds it as it was, `prepare` makes it anew", stacklevel=2)
    return dataset


def _open(folder):
    """`load` without a look at the recording, and the version of its analysis."""
    try:
        meta = storage.read_json(folder / "dataset.json")
        settings = storage.as_object(meta["settings"], "settings")
        recipe = Recipe.from_dict({"name": "prepared", **{name: settings[name] for name in PREPARED_FIELDS}})
        samples = storage.map_array(folder / "signal.npy")
        rows = samples if recipe.is_raw else storage.map_array(folder / "rows.npy")
        shape = () if recipe.is_raw else (features.n_features(recipe),)
        fine = samples.dtype in (np.int16, np.float32) and samples.ndim == 1 and rows.shape[1:] == shape
        if not fine or (shape and rows.dtype != np.float32):
            raise ValueError(f"its arrays are {samples.dtype} {samples.shape} and {rows.dtype} {rows.shape}")
        scaling = preprocessing.Scaling.from_json(meta["scaling"], shape)
        limits = preprocessing.checked_limits(meta["limits"], shape)
        source = storage.as_object(meta["source"], "source")
    except (OSError, KeyError, TypeError, ValueError) as error:
        what = f"dataset.json lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{folder} is no prepared dataset ({what}); make it again with `prepare`") from None
    ranges, row_length = _ranges(len(samples), recipe), features.row_length(recipe)
    said = meta.get("ranges"), meta.get("row_length")
    if said != ({k: list(v) for k, v in ranges.items()}, row_length) or ranges["test"][1] != len(rows):
        what = f"it has {len(rows)} rows, dataset.json says otherwise"
        raise ValueError(f"{folder} is damaged: {what}; make it again with `prepare`")
    dataset = Dataset(folder, settings, source, rows, samples, ranges, row_length, scaling, limits)
    return dataset, meta.get("analysis")


def _ranges(n_samples, recipe):
    """The rows of each part of a recording."""
    # split first: a frame, or a shifted copy of one, must not reach both sides
    n_rows = [n // features.row_length(recipe) for n in preprocessing.split_sizes(n_samples)]
    ends = np.cumsum([0] + n_rows).tolist()
    return {name: (a, b) for name, a, b in zip(SPLITS, ends, ends[1:])}


def _source(recording, folder):
    """What is remembered of a recording."""
    recording, seen = storage.real_path(recording), os.stat(recording)
    path = os.path.relpath(recording, storage.real_path(folder))
    return {"name": recording.name, "path": path, "bytes": seen.st_size, "modified": seen.st_mtime_ns}
