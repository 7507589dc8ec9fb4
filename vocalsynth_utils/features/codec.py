"""Frames of a signal and sound of frames, by a table of what each kind of features is; in parts, on every core."""

import collections
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
import scipy

from . import world
from .cores import n_threads, over_cores
from .mel import fft_length, griffin_lim, log_mel, mel_filters
from .world import VOICING

N_MELS = 64
CHUNK_SECONDS = 60  # analysed at a time: bounds memory, feeds every core
PIECE_SECONDS = 15  # synthesised at a time: sound is soon there, and no core is left alone with the last of it for long
MOST_WAITING = 8  # pieces synthesised and not yet fetched
FLOOR, FEW = -60.0, 8  # dB from a signal's level, of noise that is laid under it; every so many of its samples tell
OVERLAP_SECONDS = 1.0  # of analysis on either side of a chunk, thrown away
SEEK_SECONDS = 5.0  # how far from a piece's end synthesis looks for a frame to cut at


def n_features(recipe):
    """Numbers in one row that the LSTM sees: int."""
    return _kind(recipe).n_features(recipe)


def row_length(recipe):
    """Samples between stored rows: int."""
    return _kind(recipe).row_length(recipe)


def encode(y, recipe, on_samples=None):
    """A signal as rows to store, float32 (n_samples // row_length, n_features); of "raw", `y` itself, (n_samples,).

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1, or int16
        May be memory-mapped: it is read in chunks.
    recipe : Recipe
    on_samples : callable, optional
        ``on_samples(n)`` when so many more are done.

    Raises
    ------
    ValueError
        When `y` is not finite, not one-dimensional, or shorter than a frame.
    """
    kind, sr = _kind(recipe), recipe.sample_rate
    if y.ndim != 1 or len(y) < recipe.frame_length:
        expected = f"(n_samples,) with at least one frame of {recipe.frame_length}"
        raise ValueError(f"y has shape {y.shape}; expected {expected}")
    if kind.analyse is None:
        return np.asarray(y, np.float32)
    row, n_rows = kind.row_length(recipe), len(y) // kind.row_length(recipe)
    step, overlap = CHUNK_SECONDS * sr // row, int(np.ceil(OVERLAP_SECONDS * sr / row))
    rows, noise = np.empty((n_rows, kind.n_features(recipe)), np.float32), kind.floored and _floor(y, sr)

    def chunk(start):
        first, last = max(0, start - overlap), min(n_rows, start + step + overlap)
        part = np.asarray(y[first * row : last * row], dtype=np.float64)
        if y.dtype == np.int16:
            part /= 32768
        if not np.isfinite(part).all():
            raise ValueError("y holds NaN or infinite samples; repair the recording first")
        if kind.floored:
            part += np.resize(np.roll(noise, -first * row), len(part))
        stop = min(start + step, n_rows)
        rows[start:stop] = kind.analyse(part, recipe)[start - first : stop - first]

    over_cores(chunk, range(0, n_rows, step), on_samples and (lambda i: on_samples(row * min(step, n_rows - i * step))))
    return kind.completed(rows)


def remarks(rows, y, recipe):
    """Lines on what is odd about a recording, of which y (n_samples,) is a minute, and about its rows."""
    return list(_kind(recipe).remarks(rows, y, recipe.sample_rate))


def _floor(y, sr):
    """A second of soft noise to lie under y: what a noise gate has emptied would be boundless in the logarithm."""
    level = np.std(y[::FEW], dtype=np.float64) / (32768 if y.dtype == np.int16 else 1)
    return np.random.default_rng(0).normal(0, 10 ** (FLOOR / 20) * level, sr)


def frames(y, recipe):
    """The frames that a network would hear of a signal, not scaled: float32 (n_frames, n_features).

    Arguments and errors are those of `encode`; of "raw", what does not fill the last frame is dropped, and a signal
    shorter than a frame has none.
    """
    length = recipe.frame_length
    if _kind(recipe).analyse is None:
        return np.asarray(y[: len(y) // length * length], np.float32).reshape(-1, length)
    return encode(y, recipe)[:: length // row_length(recipe)]


def decode(frames, recipe):
    """Sound of LSTM steps, not clipped, the inverse of `encode`: float32 (n_frames * frame_length,).

    Parameters
    ----------
    frames : float array of shape (n_frames, n_features), not scaled
        Each is put where `encode` found it.
    recipe : Recipe

    Raises
    ------
    ValueError
        When `frames` have another width, or are not finite and not "raw".
    """
    frames = np.asarray(frames)
    return np.concatenate(list(decode_blocks([frames], len(frames), recipe)))


def decode_blocks(blocks, n_frames, recipe):
    """As `decode`, of `n_frames` that come in blocks, a part at a time: sound is there before the last frame is."""
    kind, blocks = _kind(recipe), _checked(blocks, recipe)
    if kind.cost_of_cut is None:
        yield from (kind.synthesise(frames, recipe) for frames in blocks)
    else:
        yield from _faded_together(_pieces(kind, blocks, n_frames, recipe), recipe.frame_length)


def _checked(blocks, recipe):
    """The blocks, each of the right width and finite."""
    width, is_raw = n_features(recipe), _kind(recipe).analyse is None
    for frames in blocks:
        if frames.ndim != 2 or frames.shape[1] != width or not len(frames):
            expected = f"(n_frames, {width}) for features {recipe.features!r}"
            raise ValueError(f"frames have shape {frames.shape}; expected {expected}")
        if not is_raw and not np.isfinite(frames).all():
            raise ValueError("frames hold NaN or infinite numbers; what generated them has blown up")
        yield frames


def _pieces(kind, blocks, n_frames, recipe):
    """Sound of frames that come in blocks, in pieces of which each begins with the last frame of the one before."""
    hop, sr = recipe.frame_length, recipe.sample_rate
    step = max(2, PIECE_SECONDS * sr // hop)
    reach = min(int(SEEK_SECONDS * sr / hop), step // 2)
    frames, have, start = np.empty((n_frames, kind.n_features(recipe)), np.float32), 0, 0
    waiting = collections.deque()

    def submit(first, last):
        sound = lambda: np.asarray(kind.synthesise(frames[first:last], recipe)[: (last - first) * hop], np.float32)
        waiting.append(pool.apply_async(sound))

    def best_cut(middle):
        near = np.arange(max(1, middle - reach), min(n_frames - 1, middle + reach))
        return int(near[np.argmin(kind.cost_of_cut(frames[near], np.abs(near - middle)))])

    with ThreadPool(n_threads()) as pool:
        for block in blocks:
            frames[have : have + len(block)] = block
            have += len(block)
            while n_frames - start > 1.5 * step and have >= min(n_frames, start + step + reach):
                cut = best_cut(start + step)
                submit(start, cut + 1)  # one frame more, to fade over
                start = cut
            while waiting and (waiting[0].ready() or len(waiting) > MOST_WAITING):
                yield waiting.popleft().get()
        submit(start, n_frames)
        while waiting:
            yield waiting.popleft().get()


def _faded_together(pieces, hop):
    """Pieces that share a frame of `hop` samples with the next, as one sound."""
    fade = np.sin(0.5 * np.pi * np.arange(hop) / hop).astype(np.float32)  # equal power: the noises are not alike
    last = None
    for piece in pieces:
        if last is not None:
            piece[:hop] = piece[:hop] * fade + last * fade[::-1]
        last = piece[-hop:]
        yield piece[:-hop]
    yield last


# ---- fft: orthonormal, so that an error in it is an error in the samples; what is always 0, the imaginary
# parts of 0 Hz and Nyquist, is left out, and every other frequency counts for its mirror image too


def _analyse_fft(y, recipe):
    spectrum = scipy.fft.rfft(y.reshape(-1, recipe.frame_length), norm="ortho")
    spectrum[:, 1:-1] *= np.sqrt(2)
    return np.concatenate([spectrum.real, spectrum.imag[:, 1:-1]], axis=1).astype(np.float32)


def _synthesise_fft(frames, recipe):
    half = frames.shape[1] // 2 + 1
    spectrum = frames[:, :half].astype(complex)
    spectrum[:, 1:-1] += 1j * frames[:, half:]
    spectrum[:, 1:-1] /= np.sqrt(2)
    return scipy.fft.irfft(spectrum, frames.shape[1], norm="ortho").astype(np.float32).ravel()


def _check_fft(recipe):
    if recipe.frame_length % 2:
        raise ValueError(f"frame_length is {recipe.frame_length}; features 'fft' needs an even number of samples")


# ---- logmel: row i is centred on sample i * hop, as WORLD's are


def _analyse_log_mel(y, recipe):
    hop = recipe.frame_length
    return log_mel(np.pad(y, 2 * hop), recipe.sample_rate, 4 * hop, hop, N_MELS)[: len(y) // hop]


def _synthesise_log_mel(frames, recipe):
    hop = recipe.frame_length
    n_fft = fft_length(4 * hop)
    filters = mel_filters(N_MELS, n_fft, recipe.sample_rate)
    power = np.exp(np.minimum(frames, 10.0)) @ (filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-8))
    power /= np.maximum(filters.sum(axis=0), 1e-3)  # spread each band over its frequencies
    window_power = np.sum(np.square(scipy.signal.get_window("hann", 4 * hop)))
    y = griffin_lim(np.sqrt(power * n_fft * window_power / 2), hop)
    return y[2 * hop : 2 * hop + len(frames) * hop]


# ---- world, and the table


def _check_world(recipe):
    sr, length, row = recipe.sample_rate, recipe.frame_length, world.row_length(recipe.sample_rate)
    if not 12000 <= sr <= 96000 or sr % 200:
        fine = "a multiple of 200 from 12000 to 96000, as are 16000, 24000 and 48000"
        raise ValueError(f"sample_rate is {sr}; features 'world' needs {fine}")
    if length % row:
        raise ValueError(f"frame_length is {length}; features 'world' needs a multiple of {row} samples")


class _Kind(NamedTuple):
    """One kind of features: sizes, a check of recipes, and the way there and back."""

    synthesise: Callable  # (frames, recipe) -> sound
    analyse: Callable | None = None  # (float64 samples, recipe) -> rows; None: the rows are the samples
    n_features: Callable = lambda recipe: recipe.frame_length
    row_length: Callable = lambda recipe: recipe.frame_length
    check: Callable = lambda recipe: None  # raises ValueError on a recipe that does not go with it
    completed: Callable = lambda rows: rows  # what is done to the rows of a whole signal
    floored: bool = False  # whether noise is laid under the signal
    remarks: Callable = lambda rows, y, sr: ()  # lines on what is odd about a recording
    # (frames, their distance from the best place) -> how much a cut there is heard; None: each block is sound by itself
    cost_of_cut: Callable | None = None


FEATURES = {
    "raw": _Kind(lambda frames, recipe: frames.astype(np.float32).ravel(), row_length=lambda recipe: 1),
    "fft": _Kind(_synthesise_fft, _analyse_fft, check=_check_fft),
    "world": _Kind(
        lambda frames, recipe: world.synthesise(frames, recipe.frame_length, recipe.sample_rate),
        lambda y, recipe: world.analyse(y, recipe.sample_rate),
        n_features=lambda recipe: world.n_features(recipe.sample_rate),
        row_length=lambda recipe: world.row_length(recipe.sample_rate),
        check=_check_world,
        completed=world.hold_f0,
        floored=True,
        remarks=world.remarks,
        cost_of_cut=lambda frames, distance: distance + 1e6 * (frames[:, VOICING] > 0.5),  # where nothing is voiced
    ),
    "logmel": _Kind(
        _synthesise_log_mel,
        _analyse_log_mel,
        n_features=lambda recipe: N_MELS,
        cost_of_cut=lambda frames, distance: frames.mean(axis=1),  # where it is softest
    ),
}


def _kind(recipe):
    """What the table has for a recipe's features; ValueError where the two do not go together."""
    if recipe.features not in FEATURES:
        raise ValueError(f"features is {recipe.features!r}; choose one of {', '.join(FEATURES)}")
    FEATURES[recipe.features].check(recipe)
    return FEATURES[recipe.features]
