"""A recording made ready for training: rows on disk, memory-mapped, and the baselines to beat.

A dataset is a folder with ``signal.npy``, the recording as mono samples, with
``rows.npy`` where a frame holds something else than samples, and with
``dataset.json``.  The rows are unscaled: single samples for raw frames, one row
of parameters every few milliseconds for other features.  A batch is defined by
the rows its sequences start at, so shifted copies of the recording cost no
disk and no memory.
"""
import dataclasses
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Optional

import numpy as np
from numpy.lib import format as npy

from . import audio, features, files, frames, stored
from .baselines import baselines, baselines_in_frame  # noqa: F401  of a dataset
from .recipes import Recipe

SPLITS = ("train", "valid", "test")
BOUNDS = (0.001, 0.999)  # quantiles of a feature that generation is kept within
BLOCK = 1 << 17  # rows read or written at a time: what the processor's cache holds
PREPARED_FIELDS = ("sample_rate", "features", "frame_length", "scaling")  # what a dataset was made for
FILES = {"dataset.json", "signal.npy", "rows.npy"}


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
        int16 or float32 samples, or float32 features; train, valid, test one
        after the other.
    samples : memory-mapped array of shape (n_samples,)
        The recording, int16 or float32; the rows themselves for raw frames.
    ranges : dict of str to (first, end)
        The rows of each part.
    row_length : int
        Samples between two rows.
    scaling : frames.Scaling
        Fitted on the train part alone.
    bounds : [low, high] or None
        Scaled quantiles of each feature in the train part, which generation
        stays within; None for raw samples.
    """

    folder: Path
    settings: dict
    source: dict
    rows: np.ndarray
    samples: np.ndarray
    ranges: dict
    row_length: int
    scaling: frames.Scaling
    bounds: Optional[list]

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

    def n_frames(self, split):
        """Whole frames in one part."""
        first, end = self.ranges[split]
        return (end - first) // self.rows_per_frame

    def signal(self, split):
        """The recording of one part: float32 (n_samples,), full scale 1."""
        first, end = dict(zip(SPLITS, frames.split(len(self.samples))))[split].indices(len(self.samples))[:2]
        return np.array(as_float(self.samples[first:end]))

    def starts(self, split, n_steps, n_offsets=1):
        """First rows of the sequences in one part.

        Parameters
        ----------
        split : {"train", "valid", "test"}
        n_steps : int
            Frames in a sequence.
        n_offsets : int
            Shifted copies, evenly spread over one frame.

        Returns
        -------
        int array of shape (n_sequences,)
            In order of time within each copy.

        Raises
        ------
        ValueError
            When the part is shorter than one sequence, or a shift is smaller
            than a row.
        """
        first, end = self.ranges[split]
        length = n_steps * self.rows_per_frame
        if end - first < length:
            sr, frame_length = self.settings["sample_rate"], self.settings["frame_length"]
            shortest = min(b - a for a, b in self.ranges.values())  # what fits there fits everywhere
            remedy = (f"n_steps <= {shortest // self.rows_per_frame}" if shortest >= 2 * self.rows_per_frame
                      else f"frame_length <= {shortest * self.row_length // n_steps}")
            raise ValueError(
                f"the {split} part holds {(end - first) * self.row_length / sr:g} s, less than one sequence of n_steps={n_steps} frames "
                f"of {frame_length} samples ({n_steps * frame_length / sr:g} s); use {remedy} or a longer recording")
        if n_offsets > self.rows_per_frame:
            raise ValueError(f"n_offsets={n_offsets} shifts by less than a row; use n_offsets <= {self.rows_per_frame}")
        shifts = frames.offsets(self.rows_per_frame, n_offsets)
        return np.concatenate([np.arange(first + shift, end - length + 1, length) for shift in shifts])

    def batch(self, starts, n_steps):
        """Scaled sequences.

        Parameters
        ----------
        starts : int array of shape (n_batch,)
            From `starts`, or any rows a whole sequence fits behind.
        n_steps : int

        Returns
        -------
        float32 array of shape (n_batch, n_steps, n_features)
        """
        X = np.empty((n_steps, len(starts), self.n_features), np.float32).transpose(1, 0, 2)  # time-major memory: the LSTM's own order
        for sequence, start in zip(X, starts):
            rows = self.rows[start:start + n_steps * self.rows_per_frame]
            rows = rows.reshape(n_steps, -1) if self.rows.ndim == 1 else rows[::self.rows_per_frame]
            sequence[...] = self.scaling.apply(as_float(rows))
        return X

    def scaled(self, first, end):
        """Rows from `first` up to `end`, scaled: float32."""
        return self.scaling.apply(as_float(self.rows[first:end]))

    def sequence(self, split, n_frames):
        """The first `n_frames` frames of one part, scaled: float32 (n_frames, n_features)."""
        return self.batch(self.starts(split, n_frames)[:1], n_frames)[0]


def as_float(rows):
    """Stored rows in full-scale units: int16 samples become float32 in [-1, 1)."""
    return audio.from_int16(rows) if rows.dtype == np.int16 else rows


def prepare(recording, recipe, folder):
    """Make a dataset from a recording.

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
        A dataset that stands there already is replaced.

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
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= FILES):  # nothing else is ever removed
        raise ValueError(f"{folder} exists and is no dataset alone; choose another folder")
    opened, source = audio.open_recording(recording, recipe.sample_rate), _source(recording, folder)
    existing = next(parent for parent in folder.absolute().parents if parent.is_dir())
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=existing))  # nothing of `folder` is made before all is well
    try:
        rows = signal = _write_rows(part / "signal.npy", opened.blocks(BLOCK), opened.dtype)
        if recipe.features != "raw":
            rows = _write_rows(part / "rows.npy", (features.encode(piece, recipe) for piece in frames.split(signal)), np.float32)
        ranges = _ranges(len(signal), recipe)
        n_train = ranges["train"][1]
        statistics = frames.Statistics()
        for start in range(0, n_train, BLOCK):
            statistics.update(as_float(rows[start:min(start + BLOCK, n_train)]))
        scaling, bounds = frames.Scaling.fit(recipe.scaling, statistics), None
        if rows.ndim == 2:
            bounds = scaling.apply(np.quantile(rows[:n_train], BOUNDS, axis=0)).tolist()
        meta = {
            "settings": {name: getattr(recipe, name) for name in PREPARED_FIELDS},
            "source": source,
            "ranges": ranges,
            "row_length": features.row_length(recipe),
            "scaling": scaling.to_json(),
            "bounds": bounds,
        }
        if _source(recording, folder) != source:
            raise ValueError(f"{recording} changed while it was read; prepare it once it is finished")
        (part / "dataset.json").write_text(json.dumps(meta, indent=1))
        dataset = _open(part)
        check_enough(dataset, recipe)  # too short for this recipe is said now, not after an hour
        del dataset, rows, signal
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        os.chmod(part, 0o755)
        os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return load(folder)


def load(folder):
    """Open a dataset that `prepare` made; warns when its recording has changed since.

    Raises
    ------
    ValueError
        When the folder is not a whole dataset.
    """
    dataset = _open(Path(folder))
    path = dataset.source.get("path")
    recording = dataset.folder / (path if isinstance(path, str) else "")
    if recording.is_file() and _source(recording, dataset.folder) != dataset.source:
        warnings.warn(f"{files.real(recording)} has changed since {folder} was prepared from it; the dataset holds it as it was, `prepare` makes it anew")
    return dataset


def _open(folder):
    """`load` without a look at the recording, whose path is not this folder's while it is being made."""
    try:
        meta = stored.read_json(folder / "dataset.json")
        settings = stored.as_object(meta["settings"], "settings")
        recipe = Recipe.from_dict({"name": "prepared", **{name: settings[name] for name in PREPARED_FIELDS}})
        samples = stored.map_array(folder / "signal.npy")
        rows = samples if recipe.features == "raw" else stored.map_array(folder / "rows.npy")
        shape = () if recipe.features == "raw" else (features.n_features(recipe),)
        if samples.dtype not in (np.int16, np.float32) or samples.ndim != 1 or rows.shape[1:] != shape or (shape and rows.dtype != np.float32):
            raise ValueError(f"its arrays are {samples.dtype} {samples.shape} and {rows.dtype} {rows.shape}")
        scaling, bounds = frames.Scaling.from_json(meta["scaling"], shape), frames.checked_bounds(meta["bounds"], shape)
        source = stored.as_object(meta["source"], "source")
    except (OSError, KeyError, TypeError, ValueError) as error:
        what = f"dataset.json lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{folder} is no prepared dataset ({what}); make it again with `prepare`") from None
    ranges, row_length = _ranges(len(samples), recipe), features.row_length(recipe)
    if (meta.get("ranges"), meta.get("row_length")) != ({k: list(v) for k, v in ranges.items()}, row_length) or ranges["test"][1] != len(rows):
        raise ValueError(f"{folder} is damaged: it has {len(rows)} rows, dataset.json says otherwise; make it again with `prepare`")
    return Dataset(folder, settings, source, rows, samples, ranges, row_length, scaling, bounds)


def _ranges(n_samples, recipe):
    """The rows of each part of a recording."""
    # split first: a frame, or a shifted copy of one, must not reach both sides
    ends = np.cumsum([0] + [n // features.row_length(recipe) for n in frames.split_sizes(n_samples)]).tolist()
    return {name: (a, b) for name, a, b in zip(SPLITS, ends, ends[1:])}


def check_enough(dataset, recipe):
    """Raise ValueError where a part is shorter than one of the recipe's sequences, or train than one of its batches."""
    n_train, _, _ = (len(dataset.starts(split, recipe.n_steps, recipe.n_offsets if split == "train" else 1)) for split in SPLITS)
    if n_train < recipe.n_batch and not recipe.batches_per_epoch:
        raise ValueError(f"the train part has {n_train} sequences, fewer than one batch of n_batch={recipe.n_batch}; "
                         f"use n_batch <= {n_train}, more offsets or a longer recording")


def check_fits(dataset, recipe):
    """Raise ValueError where a dataset was prepared for other frames than the recipe's."""
    for name in PREPARED_FIELDS:
        if dataset.settings[name] != getattr(recipe, name):
            raise ValueError(f"{dataset.folder} was prepared with {name}={dataset.settings[name]!r}, the recipe has {getattr(recipe, name)!r}; "
                             "prepare it again for this recipe")


def _source(recording, folder):
    """What is remembered of a recording."""
    recording, seen = files.real(recording), os.stat(recording)
    return {"name": recording.name, "path": os.path.relpath(recording, files.real(folder)), "bytes": seen.st_size, "modified": seen.st_mtime_ns}


def _write_rows(path, blocks, dtype):
    """Write blocks of rows one after the other as one .npy file; returns it memory-mapped."""
    n_rows, tail = 0, ()
    with open(path, "wb") as out:
        header = lambda: {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (n_rows,) + tail}
        npy.write_array_header_1_0(out, header())
        length = out.tell()
        for block in blocks:
            np.ascontiguousarray(block, dtype=dtype).tofile(out)
            n_rows, tail = n_rows + len(block), block.shape[1:]
        out.seek(0)
        npy.write_array_header_1_0(out, header())  # numpy pads headers so that the length can grow in place
        assert out.tell() == length
        out.flush()
        os.fsync(out.fileno())
    return np.load(path, mmap_mode="r")
