"""Frames of WORLD networks, drawn in C++: the compiled graph without a trip through Python at each frame.

The equations are those of `losses.WorldHead` and `fused.layers`; the same random numbers give the same frames as the
compiled graph, up to rounding.
"""

import ctypes
import functools

import numpy as np

from .. import generation, losses, units
from ..fused import FusedLSTMLayer, native
from ..fused.layers import KINDS, PREFIXES
from .errors import Draws

_p, _long, _float = ctypes.c_void_p, ctypes.c_long, ctypes.c_float


def _structure(name, **fields):
    """A C structure of these fields."""
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_Layer = _structure("_Layer", shape=_p, workspace=_p, n_units=_long)
_Dense = _structure("_Dense", n_inputs=_long, n_outputs=_long, rectified=_long, packed=_p, b=_p, out=_p)
_SIZES = dict.fromkeys(("n_layers", "n_mixtures", "n_envelope", "n_given"), _long)
_PARTS = dict.fromkeys(("layers", "voicing", "pitch", "envelope", "given", "heard"), _p)
_TEMPERATURES = ("voicing_temperature", "pitch_temperature", "envelope_temperature")
_NUMBERS = ("unvoiced", "voiced", "min_pitch_sigma", "min_sigma", *_TEMPERATURES)
_Network = _structure("_Network", **_SIZES, **_PARTS, **dict.fromkeys(_NUMBERS, _float), low=_p, high=_p)


def can_sample(network):
    """True for a network that `WorldSampler` can run: fused LSTM layers under a `WorldHead`."""
    fused = all(isinstance(layer, FusedLSTMLayer) for layer in network.lstms)
    return isinstance(network.head, losses.WorldHead) and fused


def hooks(run, network, text=None):
    """What `generation.generate` is given for a run, by name: network, and of WORLD frames sampler and level.

    Parameters
    ----------
    run : runs.Run
    network : model.Network
    text : units.Text, optional
        Said by a run of two levels, in place of what its language model says.
    """
    if text and not run.recipe.has_text:
        raise ValueError(f"text is given, and {run.recipe.name!r} has one level; leave it out, or use world-units")
    if not run.recipe.has_world_heads:
        return {"network": network}
    if run.recipe.has_text:
        sampler = functools.partial(text_frames, recipe=run.recipe, text=text, errors=run.errors())
    else:
        sampler = world_frames
    return {"network": network, "sampler": sampler, "level": run.level}


def world_frames(network, primer, n_frames, temperature=1.0, seed=0, limits=None):
    """As `generation.network_frames`, in larger blocks, of `world_sampler`."""
    draws, step = generation.Draws(network.head, seed), generation.compile_chains(network, temperature, limits)
    sampler, first = world_sampler(network, step, primer, draws, temperature, limits)
    yield first
    for done in range(1, n_frames, sampler.block):
        yield sampler.follow(draws, min(sampler.block, n_frames - done))


def text_frames(network, primer, n_frames, temperature=1.0, seed=0, limits=None, *, recipe, text=None, errors=None):
    """As `world_frames`, of two levels: text that goes on, and frames given it; the temperature is that of the text.

    `text` are `units.Text` to be said after the primer; by default the language model says them.  `errors`, of
    `runs.Run.errors`, say how what is drawn goes together; by default each number is drawn alone.  As in `units.say`,
    every `n_follow` frames the state is made anew from the last `n_heard`.
    """
    if text and text.n_frames < n_frames:
        seconds = text.n_frames * recipe.frame_length / recipe.sample_rate
        raise ValueError(
            f"text lasts {seconds:.3f} s, shorter than what is to be generated; write more, or ask for less"
        )
    language = network.language
    draws = generation.Draws(network.head, seed) if errors is None else Draws(network.head, seed, errors)
    read = units.Centres(language.given.centres.get_value()).read(primer, recipe)
    saying = zip(*text) if text else units.say(language, read, np.random.default_rng([seed, 1]), temperature)
    step, sampler, n = generation.compile_chains(network, limits=limits), None, language.n_heard
    frames, known, left = primer[-n:], None, 0  # what went before, and what it was given; frames until all begins anew
    for given in units.blocks(saying, read):
        given = given[:n_frames]
        n_frames -= len(given)
        known = read.given(after=given[0, 0])[-n:] if known is None else known
        while len(given):
            if left:
                part = given[:left]
                drawn = sampler.follow(draws, len(part), language.given.vectors(part) if sampler.block > 1 else part)
            else:  # a step hears the frame before, and what its own is given
                part, left = given[:1], language.n_follow
                heard = np.concatenate([frames, np.concatenate([known[1:], part])], axis=1)
                sampler, drawn = world_sampler(network, step, heard, draws, limits=limits, sampler=sampler)
            yield drawn
            given, left = given[len(part) :], left - len(part)
            frames, known = (np.concatenate(pair)[-n:] for pair in ((frames, drawn), (known, part)))
        if not n_frames:
            return


def world_sampler(network, step, primer, draws, temperature=1.0, limits=None, sampler=None):
    """Prime a chain with what its steps hear (n_primer, n_heard): a sampler of it, and its first frame (1, n_features).

    `step` is the network's `generation.compile_chains`, of the same temperature and limits; a `sampler` of all that is
    used again.
    """
    begun = step(np.asarray(primer, np.float32)[None], None, *draws.take(1))
    if sampler is None:
        sampler = WorldSampler(network, temperature, limits, *begun) if can_sample(network) else Sampler(step, *begun)
    else:
        sampler.begin(*begun)
    return sampler, begun[0]


def take(draws, n):
    """The next numbers of each `generation.Draws`: uniform (n_chains, n, n_uniform), normal (n_chains, n, n_normal)."""
    return tuple(map(np.stack, zip(*(d.take(n) for d in draws))))


class Sampler:
    """Chains of frames that the network makes longer, all together.

    Given their newest `frames` (n_chains, n_features), which the network has not heard, `state`, a list of hid and
    cell (n_chains, n_units) of each LSTM layer, and `step`, from `generation.compile_chains`.
    """

    block = 1  # frames that are worth being asked for at once

    def __init__(self, step, frames, state):
        self._step, self.n_chains = step, len(frames)
        self.begin(frames, state)

    def begin(self, frames, state):
        """Go on from these."""
        self._carried = [np.array(array, np.float32, order="C") for array in (frames, *state)]

    def advance(self, uniform, normal, more=None):
        """The next frames, (n_chains, n_frames, n_features), given random numbers from `take`.

        Where the network hears more than frames, that is given too: (n_chains, n_frames, n_given).
        """
        given = [None if v is None else np.ascontiguousarray(v, np.float32) for v in (uniform, normal, more)]
        return self._advance(*given, self._carried[0], self._carried[1:])

    def follow(self, draws, n_frames, more=None):
        """The next frames of the only chain, (n_frames, n_features), with numbers from its `generation.Draws`."""
        return self.advance(*take([draws], n_frames), more=None if more is None else more[None])[0]

    def _advance(self, uniform, normal, more, frames, state):
        """As `advance`, a frame at a time by the compiled graph; `frames` and `state` are changed in place."""
        drawn = np.empty((*uniform.shape[:2], frames.shape[1]), np.float32)
        for i in range(uniform.shape[1]):
            heard = frames if more is None else np.concatenate([frames, more[:, i]], axis=1)
            drawn[:, i], now = self._step(heard[:, None], state, uniform[:, i], normal[:, i])
            frames[:] = drawn[:, i]
            for array, rows in zip(state, now):
                array[:] = rows
        return drawn


class WorldSampler(Sampler):
    """Chains of WORLD frames, advanced together: so many take the weights from memory one time.

    The parameters of the network, for which `can_sample` is true, are copied; frames and state as in the base class.
    """

    block = generation.BLOCK

    def __init__(self, network, temperature, limits, frames, state):
        super().__init__(None, frames, state)
        self._kept = []  # every array that the structures point to
        head, n = network.head, network.lstms[-1].num_units
        layers = (_Layer * len(network.lstms))(*map(self._layer, network.lstms))
        dense = [self._denses(output) for output in (head.voicing, head.pitch, head.envelope)]
        numbers = (losses.MIN_PITCH_SIGMA, losses.MIN_SIGMA, *(temperature * times for times in head.temperatures))
        low, high = (self._pointer(limit) for limit in limits) if limits is not None else (None, None)
        n_heard = network.lstms[0].W_in_to_ingate.get_value(borrow=True).shape[0]
        sizes = (len(layers), head.n_mixtures, head.n_envelope, n_heard - losses.FRAME - head.n_envelope)
        given, heard = (self._pointer(np.zeros((self.n_chains, width))) for width in (n + losses.FRAME, n_heard))
        parts = (self._address(layers), *dense, given, heard)
        self._network = _Network(*sizes, *parts, head.unvoiced, head.voiced, *numbers, low, high)

    def _advance(self, uniform, normal, more, frames, state):
        network = self._network
        (n_chains, n_frames), widths = uniform.shape[:2], (1 + 2 * network.n_mixtures, 1 + network.n_envelope)
        if (uniform.shape[2], normal.shape[2]) != widths:
            expected = " and ".join(f"(n_chains, n_frames, {width})" for width in widths)
            raise ValueError(f"uniform has shape {uniform.shape} and normal {normal.shape}; expected {expected}")
        expected = (n_chains, n_frames, network.n_given)
        if ((n_chains, n_frames, 0) if more is None else more.shape) != expected:
            raise ValueError(f"more has shape {np.shape(more)}; expected {expected}")
        drawn = np.empty((n_chains, n_frames, 2 + network.n_envelope), np.float32)
        begun = frames, state[::2], state[1::2]
        native.call("world_voices", "float32", network, n_chains, n_frames, *begun, uniform, normal, more, drawn)
        return drawn

    def _pointer(self, array):
        self._kept.append(native.aligned(np.shape(array), np.float32))
        self._kept[-1][...] = array
        return self._kept[-1].ctypes.data

    def _address(self, structure):
        self._kept.append(structure)
        return ctypes.addressof(structure)

    def _pointers(self, variables):
        return self._address((_p * len(variables))(*(self._pointer(v.get_value(borrow=True)) for v in variables)))

    def _layer(self, layer):
        n, n_inputs = layer.num_units, layer.W_in_to_ingate.get_value(borrow=True).shape[0]
        kinds = KINDS[layer.nonlinearity_cell], KINDS[layer.nonlinearity]
        shape = native.Lstm(1, self.n_chains, n_inputs, n, 1, *kinds, layer.form == "lasagne-0.1", 1, 0)
        gates = [self._pointers(layer._gate_params(prefix)) for prefix in PREFIXES]
        peepholes = self._pointers(layer._peephole_params()) if layer.peepholes else None
        workspace = self._pointer(np.zeros(native.call("lstm_workspace", "float32", shape)))
        native.library().lstm_prepare_f32(ctypes.byref(shape), *map(ctypes.c_void_p, (*gates, peepholes, workspace)))
        return _Layer(self._address(shape), workspace, n)

    def _denses(self, output):
        """The dense layers that end in `output`, in order, as a C array's address."""
        chain = [output]
        while hasattr(chain[0].input_layer, "W"):
            chain.insert(0, chain[0].input_layer)
        made = []
        for layer in chain:
            W, b = (np.ascontiguousarray(v.get_value(borrow=True)) for v in (layer.W, layer.b))
            width = native.call("panel_width", "float32", len(b))
            packed = self._pointer(np.zeros((len(W), width)))
            native.call("pack", "float32", *W.shape, W, self._kept[-1])
            bias, out = self._pointer(np.pad(b, (0, width - len(b)))), self._pointer(np.zeros((self.n_chains, width)))
            made.append(_Dense(*W.shape, layer is not output, packed, bias, out))
        return self._address((_Dense * len(made))(*made))
