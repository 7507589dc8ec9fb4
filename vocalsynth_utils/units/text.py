"""A voice as text: `Centres`, the sound units found in it, and `Text`, the units that its frames go through.

A unit is a centre of k-means; a segment is a unit and how long it lasts.  Where segments begin and end is decided for
all rows together: the units whose summed squared distance is least, with a price on each change.

H. Kamper, "Word segmentation on acoustic unit sequences with duration-penalised dynamic programming" (2022).
"""

from typing import NamedTuple

import numpy as np
import scipy

from ..features import N_ENVELOPE, VOICING, row_length

SMOOTHED = 0.045  # s, over which rows are averaged: a unit is no single glottal pulse
N_ROWS, N_ITERATIONS = 20_000, 15  # that the centres are found from, and how often they are moved
# of the envelope's first coefficients, in units of their spread, and of voicing: the level, which moves most within a
# sound, and the broad shape, which tells sounds apart
WEIGHTS = np.repeat([2.5, 1.5, 1.0, 0.7, 0.9], [1, 3, 8, 12, 1]).astype(np.float32)
N_DESCRIBED = len(WEIGHTS)  # numbers that a row is compared by
CHANGE = 8.0  # the price of a change, in squared distance
OTHER_CHANGES = 5.0, 12.0  # at which the training part is read too: the same sounds in finer and in coarser text
VOICED, UNVOICED, VOWELS = "mnlrwyvzjbdg", "hfsxcpkt", "uoaei"  # of the units' names
N_LENGTHS = 24  # frames of the longest segment; what goes on for longer is several
MOST_CHUNKS, CHUNK = 32, 2048  # read side by side, and the rows of each: what memory that takes
N_GIVEN, N_TEXT = 5, 2  # columns of a step beyond its frame: of its place in the text, and of a segment of the text


class Text(NamedTuple):
    """Text: the unit of each segment, and its length in frames, from 1 to N_LENGTHS: int arrays (n_segments,)."""

    units: np.ndarray
    lengths: np.ndarray

    @classmethod
    def parse(cls, text, names):
        """Those that ``"ma5 so3 ma4"`` says, by the `names` of units; ValueError on what is none."""
        known = {f"{name}{n}": (unit, n) for unit, name in enumerate(names) for n in range(1, N_LENGTHS + 1)}
        words = text.split()
        wrong = [repr(word[:30]) for word in words if word not in known] or ["an empty text"] * (not words)
        if wrong:
            said = f"a unit's name and 1 to {N_LENGTHS} frames"
            raise ValueError(f"{wrong[0]} is no segment; write {said}, as in {names[0]}5 {names[-1]}3")
        return cls(*map(np.array, zip(*(known[word] for word in words))))

    def text(self, names):
        """As it is written, the inverse of `parse`: each unit's name and how many frames it lasts."""
        return " ".join(f"{names[unit]}{length}" for unit, length in zip(self.units, self.lengths))

    @property
    def n_frames(self):
        """Frames in all of it."""
        return int(self.lengths.sum())

    @property
    def as_input(self):
        """What a `LanguageModel` hears: float32 (n_segments, 2)."""
        return np.stack([self.units, self.lengths], axis=1).astype(np.float32)

    def given(self, before=None, after=None):
        """What each frame is given, float32 (n_frames, 5); units `before` and `after` are by default those at the ends.

        The unit of its segment, of the one before and of the next; its place in the segment, from 0 on, in whole
        segments; and the segment's length over the longest there is.
        """
        ends = self.units[0] if before is None else before, self.units[-1] if after is None else after
        around = np.concatenate([[ends[0]], self.units, [ends[1]]])
        which = np.repeat(np.arange(len(self.units)), self.lengths)
        place = np.arange(len(which)) - np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        length = self.lengths[which]
        columns = around[which + 1], around[which], around[which + 2], place / length, length / N_LENGTHS
        return np.stack(columns, axis=1).astype(np.float32)


class Centres(NamedTuple):
    """The sound units of a voice: float32 (n_units, n_described)."""

    centres: np.ndarray

    @classmethod
    def find(cls, dataset, n_units, seed=0):
        """Those of a dataset's training part, by k-means; ValueError where it has fewer different rows."""
        first, end = dataset.ranges["train"]
        rng = np.random.default_rng([seed, n_units])
        step = max(1, (end - first) // N_ROWS)
        known = np.concatenate([_described(dataset, *piece)[::step] for piece in _pieces(first, end)])
        n_different = len(np.unique(known, axis=0))
        if n_different < n_units:
            what = f"the train part has {n_different} different rows, fewer than vocabulary={n_units}"
            raise ValueError(f"{what}; use a smaller vocabulary, or a longer recording")
        centres, _ = scipy.cluster.vq.kmeans2(known.astype(np.float64), n_units, iter=N_ITERATIONS, minit="++", rng=rng)
        return cls(centres.astype(np.float32))

    @property
    def names(self):
        """A syllable for each unit, list of str: the first letters tell voiced from unvoiced, and soft from loud.

        m, n, l ... are voiced, h, f, s ... are not, each from soft to loud; from u to i they grow brighter.
        """
        level, brightness, voicing = self.centres[:, 0], -self.centres[:, 1], self.centres[:, -1]
        found = [""] * len(self.centres)
        for letters, these in (VOICED, voicing > 0), (UNVOICED, voicing <= 0):
            by_level = np.flatnonzero(these)[np.argsort(level[these], kind="stable")]
            for row in range(0, len(by_level), len(VOWELS)):
                units, onset = by_level[row : row + len(VOWELS)], row // len(VOWELS)
                onset = letters[onset % len(letters)] * (1 + onset // len(letters))
                for unit, vowel in zip(units[np.argsort(brightness[units], kind="stable")], VOWELS):
                    found[unit] = onset + vowel
        return found

    def label(self, described, price):
        """The unit of each row, (n_rows,), by least distance with a price on each change; rows from `describe`."""
        n = len(described)
        n_chunks = min(MOST_CHUNKS, -(-n // CHUNK))
        n_steps, chunk = -(-n // n_chunks), np.arange(n_chunks)
        padded = np.concatenate([described, np.repeat(described[-1:], n_steps * n_chunks - n, axis=0)])
        x = padded.reshape(n_chunks, n_steps, -1).transpose(1, 0, 2)  # side by side
        length = np.square(self.centres).sum(axis=1)
        came_from = np.empty((n_steps, n_chunks, len(self.centres)), bool)  # whether a change led here
        best, cost = np.empty((n_steps, n_chunks), int), 0.0
        for t in range(n_steps):
            distance = length - 2 * x[t] @ self.centres.T  # (n_chunks, n_units), but for the row's own square
            if t:
                best[t] = cost.argmin(axis=1)
                change = cost[chunk, best[t]] + price
                came_from[t] = change[:, None] < cost
                distance = distance + np.minimum(cost, change[:, None])
            cost = distance
        path, now = np.empty((n_steps, n_chunks), int), cost.argmin(axis=1)
        for t in reversed(range(n_steps)):
            path[t] = now
            if t:
                now = np.where(came_from[t][chunk, now], best[t], now)
        return path.T.ravel()[:n]

    def read(self, frames, recipe):
        """Scaled frames (n_frames, n_features) as `Text`: as rows, of which each frame stands for several."""
        row = row_length(recipe)
        described = describe(np.repeat(frames, recipe.frame_length // row, axis=0), recipe.sample_rate / row)
        frames_units = self.label(described, CHANGE)[:: recipe.frame_length // row]
        return as_text(frames_units, 1)[0]


def describe(X, rate):
    """What units are found by, of scaled rows (n_rows, n_features), `rate` a second: float32 (n_rows, n_described).

    Envelope and voicing, averaged over SMOOTHED seconds, weighted.
    """
    first = X.shape[1] - N_ENVELOPE
    heard = np.concatenate([X[:, first : first + N_DESCRIBED - 1], X[:, VOICING : VOICING + 1]], axis=1) * WEIGHTS
    half = round(SMOOTHED * rate) // 2
    total = np.cumsum(np.pad(heard, ((half + 1, half), (0, 0)), mode="edge"), axis=0, dtype=np.float64)
    return ((total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)).astype(np.float32)


def as_text(units, rows_per_frame):
    """The unit of each row, (n_rows,), as `Text`, and the first row of each segment and the end: (n_segments + 1,)."""
    most = N_LENGTHS * rows_per_frame
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
    ends = np.r_[starts[1:], len(units)]
    pieces = [np.arange(a, b, most) for a, b in zip(starts, ends)]
    starts = np.concatenate(pieces)
    ends = np.r_[starts[1:], len(units)]
    lengths = np.clip(np.round((ends - starts) / rows_per_frame), 1, N_LENGTHS).astype(int)
    return Text(units[starts], lengths), np.r_[starts, len(units)]


def _pieces(first, end, length=MOST_CHUNKS * CHUNK):
    """Ranges of rows from first to end, of a length each."""
    return [(i, min(i + length, end)) for i in range(first, end, length)]


def _described(dataset, first, end):
    """Rows of a dataset, described."""
    return describe(dataset.scaled(first, end), dataset.settings["sample_rate"] / dataset.row_length)


class Labelled:
    """A dataset whose batches hold the text too: at each step a frame, its place in the text, and a segment of it.

    All else is the dataset's.  The segments of a sequence's steps are as many from its beginning on, and so go on for
    longer than its frames; where a part ends they go on at its beginning.  `texts` are those of each part.
    """

    def __init__(self, dataset, centres):
        self._dataset = dataset
        self._read = {split: [self._text(centres, *part, CHANGE)] for split, part in dataset.ranges.items()}
        self._read["train"] += [self._text(centres, *dataset.ranges["train"], price) for price in OTHER_CHANGES]
        self.texts = {split: texts[0][0] for split, texts in self._read.items()}

    def _text(self, centres, first, end, price):
        """The `Text` of a stretch of rows, and the first row of each, with the end."""
        units = [centres.label(_described(self._dataset, *piece), price) for piece in _pieces(first, end)]
        return as_text(np.concatenate(units), self._dataset.rows_per_frame)

    def __getattr__(self, name):
        if name == "_dataset":  # of one that copy or pickle has begun to make
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def batch(self, starts, n_steps):
        """As a dataset's, with more columns: float32 (n_batch, n_steps, n_features + 5 + 2)."""
        frames = self._dataset.batch(starts, n_steps)
        width = frames.shape[2]
        X = np.empty((n_steps, len(starts), width + N_GIVEN + N_TEXT), np.float32).transpose(1, 0, 2)
        X[:, :, :width] = frames
        for sequence, start in zip(X[:, :, width:], starts):
            split = next(name for name, (first, end) in self.ranges.items() if first <= start < end)
            text, firsts = self._read[split][start // self.rows_per_frame % len(self._read[split])]
            row = start - self.ranges[split][0] + self.rows_per_frame * np.arange(n_steps)
            which = np.searchsorted(firsts, row, side="right") - 1
            length = firsts[which + 1] - firsts[which]
            for column, step in enumerate((0, -1, 1)):
                sequence[:, column] = text.units[np.clip(which + step, 0, len(text.units) - 1)]
            sequence[:, 3] = (row - firsts[which]) / length
            sequence[:, 4] = length / (N_LENGTHS * self.rows_per_frame)
            onwards = (which[0] + np.arange(n_steps)) % len(text.units)
            sequence[:, 5], sequence[:, 6] = text.units[onwards], text.lengths[onwards]
        return X
