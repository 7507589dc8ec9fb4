"""Free-running generation: prime the network, then let it hear only itself."""
import warnings

import numpy as np
import theano
import theano.tensor as T

from . import audio, calibration, checkpoints, features, model

CALIBRATION_SECONDS = 60
CALIBRATION_VOICES = 16  # so many sing these seconds at once: what one sings in a minute and a half varies too much to be measured by
CODEC_VOICES = 2         # of them go through the vocoder, which colours them all alike
CALIBRATION_SEED = 1_000_003  # apart from the seeds people choose


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


def compile_step(network, temperature=1.0, seed=0, bounds=None):
    """The network as `free_run`'s step: deterministic graph, state carried in and out.

    Parameters
    ----------
    network : model.Network
    temperature : float
        Of what is drawn, where the head draws.
    seed : int
        Of what is drawn.
    bounds : (low, high), optional
        Every drawn dimension is kept between these, float arrays of shape
        (n_features,) in scaled units.

    Returns
    -------
    callable
        ``step(frames, state) -> (frame, state)``; frames float32 (n_steps,
        n_features), state a list of arrays (1, n_units): hid and cell of each
        LSTM layer, or None for the layers' initial state of zeros.
    """
    together, rng = compile_voices(network, temperature, bounds), np.random.default_rng(seed)

    def step(frames, state):
        frame, state = together(frames[None], state, rng)
        return frame[0], state
    return step


def compile_voices(network, temperature=1.0, bounds=None):
    """As `compile_step`, for several voices at once, each with its own state: many cost little more than one.

    Returns
    -------
    callable
        ``step(frames, state, rng) -> (frame, state)``; frames float32 (n_voices,
        n_steps, n_features), frame (n_voices, n_features), state a list of
        arrays (n_voices, n_units), or None.
    """
    x, uniform, normal = T.tensor3("frames"), T.matrix("uniform"), T.matrix("normal")
    given = model.state_variables(network)
    hids, finals = model.run(network, x, given)  # (n_voices, n_steps, n_units)
    following = network.head.sample(hids[:, -1], x[:, -1], uniform, normal, np.float32(temperature))
    if bounds is not None:
        following = T.clip(following, *(np.asarray(b, np.float32) for b in bounds))
    flat = [s for pair in given for s in pair]
    run_once = theano.function([x, uniform, normal] + flat, [following] + [s for pair in finals for s in pair], on_unused_input="ignore")

    def step(frames, state, rng):
        n = len(frames)
        if state is None:
            state = [np.zeros((n, layer.num_units), np.float32) for layer in network.lstms for _ in range(2)]
        uniform = rng.uniform(1e-12, 1, (n, network.head.n_uniform)).astype(np.float32)
        normal = rng.standard_normal((n, network.head.n_normal), np.float32)
        frame, *state = (np.array(v) for v in run_once(np.asarray(frames, np.float32), uniform, normal, *state))
        return frame, state  # copies: the compiled function reuses its own buffers
    return step


def load_network(run, checkpoint="best"):
    """A run's network with the parameters of one of its checkpoints.

    Raises
    ------
    ValueError
        When the checkpoint is missing, damaged, or of another shape.
    """
    arrays, _ = run.load(checkpoint)
    network = model.build_network(run.recipe, run.data["n_features"], run.scaling)
    checkpoints.set_parameters(model.parameters(network), arrays, run.path(checkpoint))
    return network


def to_sound(generated, recipe, scaling, correction=None):
    """Scaled frames (n_frames, n_features) as a signal (n_frames * frame_length,), clipped to [-1, 1].

    `correction` is what `calibration.load` gives for a run.
    """
    unscaled = scaling.invert(generated)
    if correction is not None:
        unscaled = calibration.apply(correction, unscaled)
    y = unscaled.ravel() if recipe.features == "raw" else features.decode(unscaled, recipe)
    broken = ~np.isfinite(y)
    if broken.any():  # a vocoder driven far out of a voice's range
        warnings.warn(f"{broken.mean():.0%} of the generated samples are not finite and silenced: the network has blown up; use clamp=true")
    return np.clip(np.where(broken, 0, y), -1, 1).astype(np.float32)


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
        ``on_frame(done)`` after each frame.
    checkpoint : {"best", "last"}

    Returns
    -------
    float32 array of shape (round(seconds * sample_rate),)
        New audio alone, in [-1, 1], none of the primer.
    """
    recipe = run.recipe
    n_samples = round(seconds * recipe.sample_rate)
    if n_samples < 1:
        raise ValueError(f"seconds={seconds} is less than one sample; use a positive length")
    if 2 * n_samples > audio.MAX_WAV_BYTES:
        longest = audio.MAX_WAV_BYTES // 2 // recipe.sample_rate
        raise ValueError(f"seconds={seconds:g} is more than a WAV file holds; use at most {longest}, and several files")
    n_frames = -(-n_samples // recipe.frame_length)
    step = compile_step(load_network(run, checkpoint), temperature, seed, run.data["bounds"] if recipe.clamp else None)
    return to_sound(free_run(step, primer, n_frames, on_frame=on_frame), recipe, run.scaling, calibration.load(run))[:n_samples]


def calibrate(run, dataset, checkpoint="best"):
    """Measure what a run of WORLD frames sings against its training part, and keep the correction beside its checkpoints.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on; only its train part is looked at.
    checkpoint : {"best", "last"}

    Returns
    -------
    float64 array of shape (2, 1 + n_envelope, n_envelope)
        See `calibration`; `generate` applies it from then on.
    """
    recipe = run.recipe
    first, end = dataset.ranges["train"]
    wanted = calibration.moments(dataset.rows[first:end])
    rng = np.random.default_rng(CALIBRATION_SEED)
    step = compile_voices(load_network(run, checkpoint), bounds=run.data["bounds"] if recipe.clamp else None)
    starts = rng.integers(first, end - recipe.n_steps * dataset.rows_per_frame + 1, CALIBRATION_VOICES)
    heard, state = dataset.batch(starts, recipe.n_steps), None
    n_frames = CALIBRATION_SECONDS * recipe.sample_rate // recipe.frame_length
    sung = np.empty((CALIBRATION_VOICES, n_frames, dataset.n_features), np.float32)
    for i in range(n_frames):
        sung[:, i], state = step(heard, state, rng)
        heard = sung[:, i:i + 1]
    sung = run.scaling.invert(sung.reshape(-1, dataset.n_features))
    correction = calibration.transport(wanted, calibration.moments(sung))
    part = calibration.apply(correction, sung[:CODEC_VOICES * n_frames])
    y = np.clip(features.decode(part, recipe), -1, 1)
    correction = calibration.without_colour(correction, wanted, calibration.moments(part), calibration.moments(features.encode(y, recipe)))
    calibration.save(run, correction)
    return correction
