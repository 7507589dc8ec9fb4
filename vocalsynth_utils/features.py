"""What one frame holds, and back to sound.

=========  ===========================================================  ==============
features   a frame of `frame_length` samples becomes                    rows stored
=========  ===========================================================  ==============
raw        the samples themselves                                       every sample
fft        real and imaginary parts of its spectrum                     every frame
world      log F0, voicing, aperiodicity, 24 of the spectral envelope   every 5 ms
logmel     64 log-mel bands                                             every frame
=========  ===========================================================  ==============

`encode` gives rows as they are stored; an LSTM step takes every
``frame_length // row_length``-th of them, and `decode` turns such steps back
into sound.  A recipe is anything with the attributes `features`,
`frame_length` and `sample_rate`.
"""
import collections
import os
from multiprocessing.pool import ThreadPool

import numpy as np
import scipy.fft
from scipy.signal import get_window

from . import world
from .mel import griffin_lim, log_mel, mel_filters
from .world import APERIODICITY, F0_CEIL, F0_DEFAULT, F0_FLOOR, LOG_F0, N_ENVELOPE, ROW_SECONDS, VOICING, finer, hold_f0  # noqa: F401

FEATURES = ("raw", "fft", "world", "logmel")
N_MELS = 64
CHUNK_SECONDS = 60            # analysed at a time: bounds memory, feeds every core
PIECE_SECONDS = 15            # synthesised at a time: sound is soon there, and no core is left alone with the last of it for long
MAX_THREADS = 4               # a chunk takes about 150 MB while it is worked on
MOST_WAITING = 8              # pieces synthesised and not yet fetched
OVERLAP_SECONDS = 1.0         # of analysis on either side of a chunk, thrown away
SEEK_SECONDS = 5.0            # how far from a chunk's end synthesis looks for an unvoiced frame to cut at


def n_features(recipe):
    """Numbers in one row that the LSTM sees.

    Returns
    -------
    int
    """
    _check(recipe)
    if recipe.features == "world":
        return world.n_features(recipe.sample_rate)
    return N_MELS if recipe.features == "logmel" else recipe.frame_length


def row_length(recipe):
    """Samples between stored rows.

    Returns
    -------
    int
    """
    _check(recipe)
    if recipe.features == "world":
        return world.row_length(recipe.sample_rate)
    return 1 if recipe.features == "raw" else recipe.frame_length


def encode(y, recipe):
    """A signal as rows to store.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1, or int16
        May be memory-mapped: it is read in chunks.
    recipe : Recipe

    Returns
    -------
    float32 array of shape (n_samples // row_length, n_features)
        For "raw": `y` itself, (n_samples,).

    Raises
    ------
    ValueError
        When `y` is not finite, not one-dimensional, or shorter than a frame.
    """
    _check(recipe)
    if y.ndim != 1 or len(y) < recipe.frame_length:
        raise ValueError(f"y has shape {y.shape}; expected (n_samples,) with at least one frame of {recipe.frame_length}")
    if recipe.features == "raw":
        return np.asarray(y, np.float32)
    row, n_rows = row_length(recipe), len(y) // row_length(recipe)
    step = CHUNK_SECONDS * recipe.sample_rate // row
    overlap = int(np.ceil(OVERLAP_SECONDS * recipe.sample_rate / row))

    rows = np.empty((n_rows, n_features(recipe)), np.float32)

    def chunk(start):
        first, last = max(0, start - overlap), min(n_rows, start + step + overlap)
        part = np.asarray(y[first * row:last * row], dtype=np.float64)
        if y.dtype == np.int16:
            part /= 32768
        if not np.isfinite(part).all():
            raise ValueError("y holds NaN or infinite samples; repair the recording first")
        stop = min(start + step, n_rows)
        rows[start:stop] = _ENCODERS[recipe.features](part, recipe)[start - first:stop - first]
    over_cores(chunk, range(0, n_rows, step))
    if recipe.features == "world":
        rows[:, LOG_F0] = hold_f0(rows[:, LOG_F0], rows[:, VOICING] > 0.5)
    return rows


def decode(frames, recipe):
    """Sound of LSTM steps, `frame_length` samples each: the inverse of `encode`.

    Parameters
    ----------
    frames : float array of shape (n_frames, n_features)
        Not scaled.
    recipe : Recipe

    Returns
    -------
    float32 array of shape (n_frames * frame_length,)
        Not clipped.  The first sample of a frame is where `encode` placed it.

    Raises
    ------
    ValueError
    """
    frames = np.asarray(frames)
    return np.concatenate(list(decode_blocks([frames], len(frames), recipe)))


def decode_blocks(blocks, n_frames, recipe):
    """As `decode`, of frames that come in blocks: sound is made of the first ones while the last are still to come.

    Parameters
    ----------
    blocks : iterable of float arrays of shape (n, n_features)
        `n_frames` together.
    n_frames : int
    recipe : Recipe

    Yields
    ------
    float32 array of shape (n_samples,)
        n_frames * frame_length together.
    """
    if recipe.features in ("world", "logmel"):
        yield from _in_chunks(_SYNTHESISERS[recipe.features], _checked(blocks, recipe), n_frames, recipe)
        return
    for frames in _checked(blocks, recipe):
        yield frames.astype(np.float32).ravel() if recipe.features == "raw" else _inverse_fft(frames)


def _checked(blocks, recipe):
    """The blocks, each of the right width and finite."""
    width = n_features(recipe)
    for frames in blocks:
        if frames.ndim != 2 or frames.shape[1] != width or not len(frames):
            raise ValueError(f"frames have shape {frames.shape}; expected (n_frames, {width}) for features {recipe.features!r}")
        if not np.isfinite(frames).all() and recipe.features != "raw":
            raise ValueError("frames hold NaN or infinite numbers; what generated them has blown up")
        yield frames


def _check(recipe):
    if recipe.features not in FEATURES:
        raise ValueError(f"features is {recipe.features!r}; choose one of {', '.join(FEATURES)}")
    if recipe.features == "fft" and recipe.frame_length % 2:
        raise ValueError(f"frame_length is {recipe.frame_length}; features 'fft' needs an even number of samples")
    if recipe.features == "world":
        row = ROW_SECONDS * recipe.sample_rate
        if recipe.sample_rate < 12000 or row != int(row):
            raise ValueError(f"sample_rate is {recipe.sample_rate}; features 'world' needs at least 12000 Hz "
                             "in whole multiples of 200: resample to 16000")
        if recipe.frame_length % int(row):
            raise ValueError(f"frame_length is {recipe.frame_length}; features 'world' needs a multiple of {int(row)} samples")


def over_cores(function, items):
    """[function(item) for item in items], on every core: WORLD and the FFT let go of Python's lock."""
    if len(items) < 2 or _n_threads() < 2:
        return [function(item) for item in items]
    with ThreadPool(_n_threads()) as pool:
        return pool.map(function, items, chunksize=1)


def _n_threads():
    return min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


# ---- fft: orthonormal, so that an error in it is an error in the samples; the imaginary
# parts of 0 Hz and Nyquist are always 0 and are left out, every other frequency counts for its mirror image too

def _fft_rows(y, recipe):
    spectrum = scipy.fft.rfft(y.reshape(-1, recipe.frame_length), norm="ortho")
    spectrum[:, 1:-1] *= np.sqrt(2)
    return np.concatenate([spectrum.real, spectrum.imag[:, 1:-1]], axis=1).astype(np.float32)


def _inverse_fft(frames):
    half = frames.shape[1] // 2 + 1
    spectrum = frames[:, :half].astype(complex)
    spectrum[:, 1:-1] += 1j * frames[:, half:]
    spectrum[:, 1:-1] /= np.sqrt(2)
    return scipy.fft.irfft(spectrum, frames.shape[1], norm="ortho").astype(np.float32).ravel()


# ---- logmel

def _log_mel_rows(y, recipe):
    hop = recipe.frame_length
    around = np.pad(y, (2 * hop, 2 * hop))  # row i is centred on sample i * hop, as WORLD's are
    return log_mel(around, recipe.sample_rate, 4 * hop, hop, N_MELS)[:len(y) // hop]


def _synthesise_log_mel(frames, recipe):
    hop = recipe.frame_length
    n_fft = 1 << (4 * hop - 1).bit_length()
    filters = mel_filters(N_MELS, n_fft, recipe.sample_rate)
    power = np.exp(np.minimum(frames, 10.0)) @ (filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-8))
    power /= np.maximum(filters.sum(axis=0), 1e-3)  # spread each band over its frequencies
    window_power = np.sum(np.square(get_window("hann", 4 * hop)))
    y = griffin_lim(np.sqrt(power * n_fft * window_power / 2), hop)
    return y[2 * hop:2 * hop + len(frames) * hop]


_ENCODERS = {"fft": _fft_rows, "world": lambda y, recipe: world.analyse(y, recipe.sample_rate), "logmel": _log_mel_rows}
_SYNTHESISERS = {"world": lambda frames, recipe: world.synthesise(frames, recipe.frame_length, recipe.sample_rate),
                 "logmel": _synthesise_log_mel}


def _in_chunks(synthesise, blocks, n_frames, recipe):
    """Synthesise long generations in pieces, cut where the voice rests, joined by a fade one frame long."""
    hop = recipe.frame_length
    step = max(2, PIECE_SECONDS * recipe.sample_rate // hop)
    reach = min(int(SEEK_SECONDS * recipe.sample_rate / hop), step // 2)
    fade = np.sin(0.5 * np.pi * np.arange(hop) / hop).astype(np.float32)  # equal power: the noises are not alike
    frames, have, cuts, tail = np.empty((n_frames, n_features(recipe)), np.float32), 0, [0], None
    waiting = collections.deque()

    def submit(first, last):
        waiting.append(pool.apply_async(lambda: np.asarray(synthesise(frames[first:last], recipe)[:(last - first) * hop], np.float32)))

    def joined():
        """The oldest piece, faded in; its last frame, but for the last piece, is to fade into the next one."""
        nonlocal tail
        piece = waiting.popleft().get()
        if tail is not None:
            piece[:hop] = piece[:hop] * fade + tail
        tail = piece[-hop:] * fade[::-1]
        return piece

    with ThreadPool(_n_threads()) as pool:
        for block in blocks:
            frames[have:have + len(block)] = block
            have += len(block)
            while n_frames - cuts[-1] > 1.5 * step and have >= min(n_frames, cuts[-1] + step + reach):
                cuts.append(_quietest(frames, cuts[-1] + step, reach, recipe))
                submit(cuts[-2], cuts[-1] + 1)  # one frame more, to fade over
            while waiting and (waiting[0].ready() or len(waiting) > MOST_WAITING):
                yield joined()[:-hop]
        submit(cuts[-1], n_frames)
        while len(waiting) > 1:
            yield joined()[:-hop]
        yield joined()


def _quietest(frames, middle, reach, recipe):
    """The frame nearest `middle` where a cut is not heard: unvoiced, or the softest of the log-mel ones."""
    near = np.arange(max(1, middle - reach), min(len(frames) - 1, middle + reach))
    if recipe.features == "world":
        loud = frames[near, VOICING] > 0.5
        return int(near[np.argmin(np.abs(near - middle) + 1e6 * loud)])
    return int(near[np.argmin(frames[near].mean(axis=1))])
