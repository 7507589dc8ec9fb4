"""Frames and sound that a network makes when it hears only itself, after some true frames to begin with.

`free_run` is the loop itself; `generate` is what it is for: a trained network, its frames as they come, and their sound
in pieces.  A recipe that needs more than the compiled graph gives its own sampler; see `pipeline.generate`.
"""

import warnings

import numpy as np
import theano
import theano.tensor as T

from . import audio, diagnostics, features, model
from .runs import checkpoints

BLOCK = 256  # frames whose random numbers are drawn together
PRIMER_MARGIN = 2  # s of a file beyond what is heard of it, which analysis looks at


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
        heard = generated[i : i + 1]
        if on_frame:
            on_frame(i + 1)
    return generated


class Draws:
    """The random numbers a head needs, from a seed, the same however many are taken at a time."""

    def __init__(self, head, seed):
        self._head, self._rng = head, np.random.default_rng(seed)
        self._held = self._block(0)

    def take(self, n):
        """Numbers for `n` frames: uniform (n, n_uniform) and normal (n, n_normal), float32."""
        while len(self._held[0]) < n:
            self._held = tuple(np.concatenate(pair) for pair in zip(self._held, self._block(BLOCK)))
        taken, self._held = zip(*((v[:n], v[n:]) for v in self._held))
        return taken

    def _block(self, n):
        return random_numbers(self._rng, n, self._head)


def random_numbers(rng, n, head):
    """What a head needs to draw `n` frames: float32 uniform in (0, 1), (n, n_uniform), and normal, (n, n_normal)."""
    uniform = rng.uniform(1e-12, 1, (n, head.n_uniform)).astype(np.float32)
    return uniform, rng.standard_normal((n, head.n_normal), np.float32)


def compile_step(network, temperature=1.0, seed=0, limits=None):
    """The network as `free_run`'s step: deterministic graph, state carried in and out.

    Parameters
    ----------
    network : model.Network
    temperature : float
        Of what is drawn, where the head draws.
    seed : int
        Of what is drawn.
    limits : (low, high), optional
        Every dimension is kept between these, float arrays of shape
        (n_features,) in scaled units.

    Returns
    -------
    callable
        ``step(frames, state) -> (frame, state)``; frames float32 (n_steps,
        n_features), state a list of arrays (1, n_units): hid and cell of each
        LSTM layer, or None for the layers' initial state of zeros.
    """
    chains, draws = compile_chains(network, temperature, limits), Draws(network.head, seed)

    def step(frames, state):
        frame, state = chains(frames[None], state, *draws.take(1))
        return frame[0], state

    return step


def compile_chains(network, temperature=1.0, limits=None):
    """As `compile_step`, for several chains at once, each with its own state: many cost little more than one.

    Returns ``step(frames, state, uniform, normal) -> (frame, state)``: frames float32 (n_chains, n_steps, n_features),
    frame (n_chains, n_features), state a list of arrays (n_chains, n_units), or None; numbers from `random_numbers`.
    """
    x, uniform, normal = T.tensor3("frames"), T.matrix("uniform"), T.matrix("normal")
    given = model.state_variables(network)
    hids, finals = model.run(network, x, given)  # (n_chains, n_steps, n_units)
    following = network.head.sample(hids[:, -1], x[:, -1], uniform, normal, np.float32(temperature))
    if limits is not None:
        following = T.clip(following, *(np.asarray(limit, np.float32) for limit in limits))
    flat = lambda states: [s for pair in states for s in pair]
    inputs = [x, uniform, normal] + flat(given)
    run_once = theano.function(inputs, [following] + flat(finals), on_unused_input="ignore")

    def step(frames, state, uniform, normal):
        if state is None:
            state = [np.zeros((len(frames), layer.num_units), np.float32) for layer in network.lstms for _ in range(2)]
        frame, *state = (np.array(v) for v in run_once(np.asarray(frames, np.float32), uniform, normal, *state))
        return frame, state  # copies: the compiled function reuses its own buffers

    return step


def network_frames(network, primer, n_frames, temperature=1.0, seed=0, limits=None):
    """The frames of a network that runs free, as they come, in blocks (1, n_features); see `compile_step`."""
    step, state, heard = compile_step(network, temperature, seed, limits), None, np.asarray(primer)
    for _ in range(n_frames):
        frame, state = step(heard, state)
        heard = frame[None]
        yield heard


def counted(blocks, on_frame):
    """The blocks; ``on_frame(done)`` is called after each, if there is such a function."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        if on_frame:
            on_frame(done)


def to_sound(frames, recipe, scaling):
    """Scaled frames (n_frames, n_features) as a signal (n_frames * frame_length,), `audio.limited`."""
    return np.concatenate(list(sound_blocks([frames], len(frames), recipe, scaling)))


def sound_blocks(blocks, n_frames, recipe, scaling, level=None):
    """`to_sound` of frames that come in blocks: earlier ones are sound while later ones are made.

    The sound is brought to a `level`, in dB of full scale, where there is one.
    """
    frames = (scaling.invert(block) for block in blocks)
    sound = _finite(features.decode_blocks(frames, n_frames, recipe), n_frames * recipe.frame_length)
    yield from map(audio.limited, sound if level is None else audio.levelled(sound, level, recipe.sample_rate))


def _finite(pieces, n_samples):
    """Pieces of a sound, with 0 for what is not finite; a warning says how much that was."""
    n_broken = 0
    for y in pieces:
        n_broken += np.count_nonzero(~np.isfinite(y))
        yield np.nan_to_num(y, nan=0, posinf=0, neginf=0)
    if n_broken:  # a vocoder driven far out of a voice's range
        what = "of the generated samples are not finite and silenced: the network has blown up; use limits=true"
        warnings.warn(f"{n_broken / n_samples:.0%} {what}", stacklevel=2)


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
    float32 array of shape (n_frames, n_features), scaled
    """
    recipe, scaling = run.recipe, run.scaling
    if source == "none":
        return np.full((1, run.data["n_features"]), scaling.mean_of_scaled, np.float32)
    if source in ("train", "valid", "test"):
        return dataset.sequence(source, n_frames)
    y = audio.read(source, recipe.sample_rate, n_frames * recipe.frame_length + PRIMER_MARGIN * recipe.sample_rate)
    frames = features.frames(y, recipe)[:n_frames]
    if len(frames) == 0:
        what = f"{source} has {len(y)} samples, fewer than one frame of {recipe.frame_length}"
        raise ValueError(f"{what}; use a longer primer")
    return scaling.apply(frames)


def length(recipe, seconds):
    """Samples and frames in so many seconds of new audio; ValueError for none, and for more than a WAV file holds."""
    n_samples = audio.wav_length(seconds, recipe.sample_rate)
    return n_samples, -(-n_samples // recipe.frame_length)


def load_network(run, checkpoint="best"):
    """A run's network with the parameters of a checkpoint; ValueError where that is missing or does not fit."""
    diagnostics.check_network_memory(run.recipe)
    network = model.build_network(run.recipe, run.data["n_features"], run.scaling)
    parameters = model.parameters(network)
    arrays, _ = run.load(checkpoint, keep=lambda name: name.removeprefix(checkpoints.KEPT) in parameters)
    checkpoints.set_parameters(parameters, checkpoints.chosen(arrays), run.path(checkpoint))
    return network


def generate(run, seconds, primer, temperature=1.0, seed=0, network=None, on_frame=None, **hooks):
    """New audio from a trained run.

    Parameters
    ----------
    run : runs.Run
    seconds : float
        Length of the new audio.
    primer : float32 array of shape (n_primer, n_features)
        From `primer_frames`.
    temperature, seed
        See `compile_step`.
    network : model.Network, optional
        By default that of the run's best epoch, from `load_network`.
    on_frame : callable, optional
        ``on_frame(done)`` now and then.
    **hooks
        ``sampler``, called as `network_frames`; ``level`` for `sound_blocks`.

    Returns
    -------
    float32 array of shape (round(seconds * sample_rate),)
        New audio alone, `audio.limited`, none of the primer.
    """
    return np.concatenate(list(generate_pieces(run, seconds, primer, temperature, seed, network, on_frame, **hooks)))


def generate_pieces(run, seconds, primer, temperature=1.0, seed=0, network=None, on_frame=None, **hooks):
    """As `generate`, a piece at a time: an hour of a WORLD voice takes no more memory than some minutes."""
    missing, n_frames = length(run.recipe, seconds)
    network, sampler = network or load_network(run), hooks.pop("sampler", network_frames)
    blocks = counted(sampler(network, primer, n_frames, temperature, seed, run.limits), on_frame)
    for piece in sound_blocks(blocks, n_frames, run.recipe, run.scaling, **hooks):
        yield piece[:missing]
        missing -= len(piece[:missing])
