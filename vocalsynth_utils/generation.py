"""Free-running generation: prime the network, then let it hear only itself."""
import itertools
import warnings

import numpy as np

from . import audio, calibration, features, fused_voice, phrasing as phrasings
from .stepping import Draws, bounds, compile_step, compile_voices, load_network, sing_on  # noqa: F401


def free_run(step, primer, n_frames, state=None, on_frame=None):
    """Generate frames by feeding each prediction back as the next input.

    The primer is run once; from then on the only things that pass from one
    step to the next are the carried state and the newest frame.

    Parameters
    ----------
    step : callable
        ``step(frames, state) -> (prediction, state)`` with frames (n_steps,
        n_features); the prediction, one frame of shape (n_features,), is what
        follows the last of them.  State None is the initial one.
    primer : float array of shape (n_primer, n_features)
        True frames, at least one.
    n_frames : int
        How many new frames to make.
    state : optional
        The state before the primer.
    on_frame : callable, optional
        ``on_frame(done)`` after each frame.

    Returns
    -------
    float array of shape (n_frames, n_features)
        New frames alone, none of the primer.

    Raises
    ------
    ValueError
        When the primer is empty.

    Examples
    --------
    A model that adds up all it has heard continues 1, 2 with 3, 6, 12:

    >>> def step(frames, total):
    ...     total = (0 if total is None else total) + frames.sum(axis=0)
    ...     return total, total
    >>> free_run(step, np.array([[1.0], [2.0]]), 3).ravel().tolist()
    [3.0, 6.0, 12.0]
    """
    primer = np.asarray(primer)
    if primer.ndim != 2 or len(primer) == 0:
        raise ValueError(f"primer has shape {primer.shape}; it needs at least one frame, as in (n_primer, n_features)")
    generated = np.empty((n_frames, primer.shape[1]), np.float32)
    heard = primer
    for i in range(n_frames):
        prediction, state = step(heard, state)
        generated[i] = prediction
        heard = generated[i:i + 1]
        if on_frame:
            on_frame(i + 1)
    return generated


def frame_blocks(network, primer, n_frames, temperature=1.0, seed=0, bounds=None, phrasing=None, on_frame=None):
    """The frames of `free_run`, as they come: what is slow about a frame happens in C++ where it can.

    Parameters
    ----------
    network : model.Network
    primer, n_frames
        See `free_run`.
    temperature, seed, bounds
        See `stepping.compile_step`.
    phrasing : phrasing.Phrasing, optional
        Keeps seconds within bounds, as `bounds` keeps frames, and forgets at rests.
    on_frame : callable, optional
        ``on_frame(done)`` now and then.

    Yields
    ------
    float32 array of shape (n, n_features)
        n_frames together.
    """
    draws = Draws(network.head, seed)
    together = compile_voices(network, temperature, bounds)
    voices, first = fused_voice.begin(network, together, np.asarray(primer)[None], draws.take(1), temperature, bounds)
    done = 0
    for (block,) in itertools.chain([first[None]], sing_on(voices, [draws], n_frames - 1, np.concatenate([primer, first])[None], phrasing)):
        yield block
        done += len(block)
        if on_frame:
            on_frame(done)


def to_sound(generated, recipe, scaling, postfilter=None):
    """Scaled frames (n_frames, n_features) as a signal (n_frames * frame_length,), clipped to [-1, 1].

    `postfilter` is that of `calibration.load`.
    """
    return np.concatenate(list(_to_sound([generated], len(generated), recipe, scaling, postfilter)))


def _to_sound(blocks, n_frames, recipe, scaling, postfilter):
    """`to_sound` of frames that come in blocks, in pieces: earlier ones are sound while later ones are made."""
    unscaled = (scaling.invert(block) for block in blocks)
    n_broken = 0
    for y in features.decode_blocks(postfilter.blocks(unscaled) if postfilter else unscaled, n_frames, recipe):
        broken = ~np.isfinite(y)
        n_broken += np.count_nonzero(broken)
        yield np.clip(np.where(broken, 0, y) if broken.any() else y, -1, 1).astype(np.float32, copy=False)
    if n_broken:  # a vocoder driven far out of a voice's range
        share = n_broken / (n_frames * recipe.frame_length)
        warnings.warn(f"{share:.0%} of the generated samples are not finite and silenced: the network has blown up; use clamp=true")


def primer_frames(run, dataset, source, n_frames):
    """Frames to prime a run with.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset or None
        Needed where `source` names one of its parts.
    source : {"train", "valid", "test", "none"} or path
        A part of the dataset, a recording, or nothing but one mean frame.
    n_frames : int
        How many, from the beginning of the source.

    Returns
    -------
    float32 array of shape (n_frames, n_features)
        Scaled as the training data was.
    """
    recipe, scaling = run.recipe, run.scaling
    if source == "none":
        n_features = run.data["n_features"]
        return np.full((1, n_features), scaling.mean_of_scaled, np.float32)
    if source in ("train", "valid", "test"):
        return dataset.sequence(source, n_frames)
    y = audio.read(source, recipe.sample_rate)
    if recipe.features == "raw":
        rows, rows_per_frame = y[:len(y) // recipe.frame_length * recipe.frame_length].reshape(-1, recipe.frame_length), 1
    else:
        rows, rows_per_frame = features.encode(y, recipe), recipe.frame_length // features.row_length(recipe)
    rows = rows[::rows_per_frame][:n_frames]
    if len(rows) == 0:
        raise ValueError(f"{source} has {len(y)} samples, fewer than one frame of {recipe.frame_length}; use a longer primer")
    return scaling.apply(rows)


def length(recipe, seconds):
    """Samples and frames in so many seconds of new audio; ValueError for none, and for more than a WAV file holds."""
    n_samples = audio.wav_length(seconds, recipe.sample_rate)
    return n_samples, -(-n_samples // recipe.frame_length)


def generate(run, seconds, primer, temperature=1.0, seed=0, on_frame=None, checkpoint="best"):
    """Let a trained run sing.

    Parameters
    ----------
    run : runs.Run
    seconds : float
        Length of the new audio.
    primer : float32 array of shape (n_primer, n_features)
        From `primer_frames`.
    temperature, seed
        See `compile_step`.
    on_frame : callable, optional
        ``on_frame(done)`` now and then.
    checkpoint : {"best", "last"}

    Returns
    -------
    float32 array of shape (round(seconds * sample_rate),)
        New audio alone, in [-1, 1], none of the primer.
    """
    return np.concatenate(list(generate_pieces(run, seconds, primer, temperature, seed, on_frame, checkpoint)))


def generate_pieces(run, seconds, primer, temperature=1.0, seed=0, on_frame=None, checkpoint="best"):
    """As `generate`, a piece at a time: an hour of a WORLD voice takes no more memory than some minutes.

    Yields
    ------
    float32 array of shape (n,)
        round(seconds * sample_rate) together.
    """
    recipe, calibrated = run.recipe, calibration.load(run)
    missing, n_frames = length(recipe, seconds)
    network = calibration.more_voiced(load_network(run, checkpoint), calibrated.voicing)
    blocks = frame_blocks(network, primer, n_frames, temperature, seed, bounds(run), phrasings.of(run, calibrated.bounds), on_frame)
    for piece in _to_sound(blocks, n_frames, recipe, run.scaling, calibrated.postfilter):
        yield piece[:missing]
        missing -= len(piece[:missing])
