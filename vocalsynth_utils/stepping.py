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


def sing_on(voices, draws, n_frames, heard, phrasing=None):
    """The next frames of some voices, in blocks.

    Parameters
    ----------
    voices : Voices
    draws : list of Draws
        One for each voice.
    n_frames : int
    heard : float32 array of shape (n_voices, n_heard, n_features)
        What came before.
    phrasing : phrasing.Phrasing, optional

    Yields
    ------
    float32 array of shape (n_voices, n, n_features)
        n_frames together.
    """
    if phrasing:
        yield from phrasing.sing(voices, draws, n_frames, heard)
        return
    for done in range(0, n_frames, voices.block):
        yield voices.sing(*take(draws, min(voices.block, n_frames - done)))


def take(draws, n):
    """The numbers for the next `n` frames of some voices, from a `Draws` for each: uniform (n_voices, n, n_uniform), normal (n_voices, n, n_normal)."""
    return tuple(map(np.stack, zip(*(d.take(n) for d in draws))))


EACH = slice(None)  # of the voices


class Voices:
    """Voices that go on singing, all of them or some, which an index array names.

    Parameters
    ----------
    frames : float array of shape (n_voices, n_features)
        The newest ones, which the network has not heard.
    state : list of arrays (n_voices, n_units)
        hid and cell of each LSTM layer.
    """

    def __init__(self, frames, state):
        self._carried = [np.array(array, np.float32, order="C") for array in (frames, *state)]
        self.n_voices = len(frames)

    def sing(self, uniform, normal, which=EACH):
        """Their next frames, given random numbers from `take`: (n_voices, n_frames, n_features)."""
        carried = self.state(which)
        sung = self._sing(*(np.ascontiguousarray(v, np.float32) for v in (uniform, normal)), carried[0], carried[1:])
        self.go_back(carried, which)
        return sung

    def _sing(self, uniform, normal, frames, state):
        """As `sing`; `frames` and `state` are changed in place."""
        raise NotImplementedError

    def state(self, which=EACH):
        """All that their next frames follow from, to `go_back` to: a list of arrays with a row for each."""
        return [np.array(array[which], order="C") for array in self._carried]

    def go_back(self, state, which=EACH):
        """Sing on from a `state` of before, as if nothing had come after it."""
        for array, rows in zip(self._carried, state):
            array[which] = rows

    def forget(self, which=EACH):
        """Sing on from the newest frame alone, in the state before any step."""
        for array in self._carried[1:]:
            array[which] = 0


class GraphVoices(Voices):
    """Voices that go on singing, a frame at a time by the compiled graph.

    Parameters
    ----------
    together : callable
        From `compile_voices`.
    frames, state
        See `Voices`.
    """

    block = 1  # frames that are worth being asked for at once

    def __init__(self, together, frames, state):
        super().__init__(frames, state)
        self._together = together

    def _sing(self, uniform, normal, frames, state):
        sung = np.empty((*uniform.shape[:2], frames.shape[1]), np.float32)
        for i in range(uniform.shape[1]):
            sung[:, i], now = self._together(frames[:, None], state, uniform[:, i], normal[:, i])
            frames[:] = sung[:, i]
            for array, rows in zip(state, now):
                array[:] = rows
        return sung


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
