"""Free running of a WORLD network in C++: `stepping.GraphVoice` without a trip through Python at each frame.

The equations are those of `losses.WorldHead` and `fused_lstm`; the same random
numbers give the same frames as the compiled graph, up to rounding.
"""
import ctypes

import numpy as np

from . import losses, native, stepping
from .fused_lstm import KINDS, FusedLSTMLayer

_p, _long, _float = ctypes.c_void_p, ctypes.c_long, ctypes.c_float


class _Layer(ctypes.Structure):
    _fields_ = [(name, _p) for name in ("shape", "W_in", "W_hid", "bias", "w_cell", "hid", "cell", "scratch", "workspace")] + [("n_units", _long)]


class _Dense(ctypes.Structure):
    _fields_ = [("n_inputs", _long), ("n_outputs", _long), ("rectified", _long), ("W", _p), ("b", _p), ("out", _p)]


class _Voice(ctypes.Structure):
    _fields_ = ([(name, _long) for name in ("n_layers", "n_mixtures", "n_envelope")]
                + [(name, _p) for name in ("layers", "voicing", "pitch", "envelope", "given")]
                + [(name, _float) for name in ("unvoiced", "voiced", "min_pitch_sigma", "min_sigma", "pitch_temperature", "temperature")]
                + [("low", _p), ("high", _p)])


def serves(network):
    """True for a network that `FusedVoice` can run: fused LSTM layers under a `WorldHead`."""
    return isinstance(network.head, losses.WorldHead) and all(isinstance(layer, FusedLSTMLayer) for layer in network.lstms)


def begin(network, together, primers, numbers, temperature=1.0, bounds=None):
    """Prime a voice, or several together, and draw the first frame of each.

    Parameters
    ----------
    network : model.Network
    together : callable
        Its `stepping.compile_voices`, of the same temperature and bounds.
    primers : float32 array of shape (n_voices, n_primer, n_features)
    numbers : (uniform, normal)
        From `stepping.random_numbers`, a row for each voice.
    temperature, bounds
        See `stepping.compile_step`.

    Returns
    -------
    voices : list of `FusedVoice`, or of `stepping.GraphVoice` where that does not serve
    frames : float32 array of shape (n_voices, n_features)
    """
    frames, state = together(primers, None, *numbers)
    voices = []
    for i, frame in enumerate(frames):
        own = [s[i:i + 1] for s in state]
        voices.append(FusedVoice(network, temperature, bounds, frame, own) if serves(network) else stepping.GraphVoice(together, frame, own))
    return voices, frames


class FusedVoice:
    """One voice that goes on singing.

    Parameters
    ----------
    network : model.Network
        For which `serves` is true; its parameters are copied.
    temperature : float
    bounds : (low, high), optional
        See `stepping.compile_step`.
    frame : float array of shape (n_features,)
        The newest frame, which the network has not heard.
    state : list of arrays (1, n_units)
        hid and cell of each LSTM layer.
    """

    block = stepping.BLOCK  # frames that are worth being asked for at once

    def __init__(self, network, temperature, bounds, frame, state):
        self._kept = []  # every array that the structures point to
        self._state = []  # those of them that change as it sings
        head, n = network.head, network.lstms[-1].num_units
        layers = (_Layer * len(network.lstms))(*(self._layer(layer, *pair) for layer, pair in zip(network.lstms, zip(state[::2], state[1::2]))))
        dense = [self._denses(output) for output in (head.voicing, head.pitch, head.envelope)]
        low, high = (self._pointer(b) for b in bounds) if bounds is not None else (None, None)
        self._kept.append(layers)
        self._voice = _Voice(len(layers), head.n_mixtures, head.n_envelope, ctypes.addressof(layers), *dense, self._pointer(np.empty(n + losses.FRAME)),
                             head.unvoiced, head.voiced, losses.MIN_PITCH_SIGMA, losses.MIN_SIGMA, losses.PITCH_TEMPERATURE * temperature, temperature,
                             low, high)
        self._frame = np.array(frame, np.float32)
        self._state.append(self._frame)

    def sing(self, uniform, normal):
        """The next frames.

        Parameters
        ----------
        uniform : float32 array of shape (n_frames, n_uniform), in (0, 1)
        normal : float32 array of shape (n_frames, n_normal)

        Returns
        -------
        float32 array of shape (n_frames, n_features)
        """
        v = self._voice
        uniform, normal = (np.ascontiguousarray(a, np.float32) for a in (uniform, normal))
        if uniform.shape[1:] != (1 + 2 * v.n_mixtures,) or normal.shape != (len(uniform), 1 + v.n_envelope):
            raise ValueError(f"uniform has shape {uniform.shape} and normal {normal.shape}; "
                             f"expected (n_frames, {1 + 2 * v.n_mixtures}) and (n_frames, {1 + v.n_envelope})")
        frames = np.empty((len(uniform), 2 + v.n_envelope), np.float32)
        native.library().world_voice_f32(native.byref(v), native.long(len(frames)),
                                         *map(native.pointer, (self._frame, uniform, normal, frames)))
        return frames

    def state(self):
        """All that the next frame follows from, to `go_back` to."""
        return [array.copy() for array in self._state]

    def go_back(self, state):
        """Sing on from a `state` of before, as if nothing had come after it."""
        for array, value in zip(self._state, state):
            array[:] = value

    def forget(self):
        """Sing on from the newest frame alone, in the state before any step."""
        for array in self._state:
            if array is not self._frame:
                array[:] = 0

    def _pointer(self, array):
        self._kept.append(np.array(array, np.float32, order="C"))
        return self._kept[-1].ctypes.data

    def _pointers(self, variables):
        table = (_p * len(variables))(*(self._pointer(v.get_value(borrow=True)) for v in variables))
        self._kept.append(table)
        return ctypes.addressof(table)

    def _layer(self, layer, hid, cell):
        n = layer.num_units
        shape = native.Lstm(1, 1, layer.W_in_to_ingate.get_value(borrow=True).shape[0], n, 1, KINDS[layer.nonlinearity_cell],
                            KINDS[layer.nonlinearity], layer.form == "lasagne-0.1", 1, 0)
        self._kept.append(shape)
        gates = [self._pointers(layer._gate_params(prefix)) for prefix in ("W_in_to_", "W_hid_to_", "b_")]
        peepholes = self._pointers(layer._peephole_params()) if layer.peepholes else None
        workspace = np.empty(native.function("lstm_workspace", "float32")(native.byref(shape)))
        moving = [self._pointer(hid[0]), self._pointer(cell[0])]
        self._state += self._kept[-2:]
        return _Layer(ctypes.addressof(shape), *gates, peepholes, *moving, self._pointer(np.empty(6 * n)), self._pointer(workspace), n)

    def _denses(self, output):
        """The dense layers that end in `output`, in order, as a C array's address."""
        chain = [output]
        while hasattr(chain[0].input_layer, "W"):
            chain.insert(0, chain[0].input_layer)
        made = []
        for layer in chain:
            W, b = layer.W.get_value(borrow=True), layer.b.get_value(borrow=True)
            made.append(_Dense(*W.shape, layer is not output, self._pointer(W), self._pointer(b), self._pointer(np.empty(len(b)))))
        array = (_Dense * len(made))(*made)
        self._kept.append(array)
        return ctypes.addressof(array)
