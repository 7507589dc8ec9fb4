"""A network one frame at a time: state carried in and out, and every random number from a seed."""
import numpy as np
import theano
import theano.tensor as T

from . import checkpoints, memory, model

BLOCK = 256  # frames whose random numbers are drawn together


class Draws:
    """The random numbers a head needs, the same however they are taken.

    Parameters
    ----------
    head : losses head
    seed : int
    """

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
    return rng.uniform(1e-12, 1, (n, head.n_uniform)).astype(np.float32), rng.standard_normal((n, head.n_normal), np.float32)


def compile_step(network, temperature=1.0, seed=0, bounds=None):
    """The network as `generation.free_run`'s step: deterministic graph, state carried in and out.

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
    together, draws = compile_voices(network, temperature, bounds), Draws(network.head, seed)

    def step(frames, state):
        frame, state = together(frames[None], state, *draws.take(1))
        return frame[0], state
    return step


def compile_voices(network, temperature=1.0, bounds=None):
    """As `compile_step`, for several voices at once, each with its own state: many cost little more than one.

    Returns
    -------
    callable
        ``step(frames, state, uniform, normal) -> (frame, state)``; frames
        float32 (n_voices, n_steps, n_features), frame (n_voices, n_features),
        state a list of arrays (n_voices, n_units), or None; the random numbers
        from `random_numbers`.
    """
    x, uniform, normal = T.tensor3("frames"), T.matrix("uniform"), T.matrix("normal")
    given = model.state_variables(network)
    hids, finals = model.run(network, x, given)  # (n_voices, n_steps, n_units)
    following = network.head.sample(hids[:, -1], x[:, -1], uniform, normal, np.float32(temperature))
    if bounds is not None:
        following = T.clip(following, *(np.asarray(b, np.float32) for b in bounds))
    flat = [s for pair in given for s in pair]
    run_once = theano.function([x, uniform, normal] + flat, [following] + [s for pair in finals for s in pair], on_unused_input="ignore")

    def step(frames, state, uniform, normal):
        if state is None:
            state = [np.zeros((len(frames), layer.num_units), np.float32) for layer in network.lstms for _ in range(2)]
        frame, *state = (np.array(v) for v in run_once(np.asarray(frames, np.float32), uniform, normal, *state))
        return frame, state  # copies: the compiled function reuses its own buffers
    return step


def sing_on(voice, draws, n_frames, heard, phrasing=None):
    """The next frames of a voice, in blocks.

    Parameters
    ----------
    voice : fused_voice.FusedVoice or GraphVoice
    draws : Draws
    n_frames : int
    heard : float32 array of shape (n_heard, n_features)
        What came before.
    phrasing : phrasing.Phrasing, optional

    Yields
    ------
    float32 array of shape (n, n_features)
        n_frames together.
    """
    if phrasing:
        yield from phrasing.sing(voice, draws, n_frames, heard)
        return
    for done in range(0, n_frames, voice.block):
        yield voice.sing(*draws.take(min(voice.block, n_frames - done)))


class GraphVoice:
    """One voice that goes on singing, a frame at a time by the compiled graph.

    Parameters
    ----------
    together : callable
        From `compile_voices`.
    frame : float32 array of shape (n_features,)
        The newest frame, which the network has not heard.
    state : list of arrays (1, n_units)
        hid and cell of each LSTM layer.
    """

    block = 1  # frames that are worth being asked for at once

    def __init__(self, together, frame, state):
        self._together, self._frame, self._state = together, frame, state

    def sing(self, uniform, normal):
        """The next frames (n_frames, n_features), given random numbers from `Draws.take`."""
        frames = np.empty((len(uniform), len(self._frame)), np.float32)
        for i in range(len(frames)):
            frame, self._state = self._together(self._frame[None, None], self._state, uniform[i:i + 1], normal[i:i + 1])
            frames[i] = self._frame = frame[0]
        return frames

    def state(self):
        """All that the next frame follows from, to `go_back` to."""
        return self._frame, self._state

    def go_back(self, state):
        """Sing on from a `state` of before, as if nothing had come after it."""
        self._frame, self._state = state

    def forget(self):
        """Sing on from the newest frame alone, in the state before any step."""
        self._state = None


def load_network(run, checkpoint="best"):
    """A run's network with the parameters of one of its checkpoints.

    Raises
    ------
    ValueError
        When the checkpoint is missing, damaged, or of another shape.
    """
    memory.check_network(run.recipe)
    network = model.build_network(run.recipe, run.data["n_features"], run.scaling)
    parameters = model.parameters(network)
    arrays, _ = run.load(checkpoint, keep=parameters.__contains__)
    checkpoints.set_parameters(parameters, arrays, run.path(checkpoint))
    return network


def bounds(run):
    """What a run's frames are kept between, for `compile_step`; None where its recipe has no clamp."""
    return run.data["bounds"] if run.recipe.clamp else None
