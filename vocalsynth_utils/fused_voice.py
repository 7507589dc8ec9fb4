"""Free running of a WORLD network in C++: `stepping.GraphVoices` without a trip through Python at each frame.

The equations are those of `losses.WorldHead` and `fused_lstm`; the same random
numbers give the same frames as the compiled graph, up to rounding.
"""
import ctypes

import numpy as np

from . import losses, native, stepping
from .fused_lstm import KINDS, FusedLSTMLayer

_p, _long, _float = ctypes.c_void_p, ctypes.c_long, ctypes.c_float


class _Layer(ctypes.Structure):
    _fields_ = [("shape", _p), ("workspace", _p), ("n_units", _long)]


class _Dense(ctypes.Structure):
    _fields_ = [("n_inputs", _long), ("n_outputs", _long), ("rectified", _long), ("packed", _p), ("b", _p), ("out", _p)]


class _Voices(ctypes.Structure):
    _fields_ = ([(name, _long) for name in ("n_layers", "n_mixtures", "n_envelope")]
                + [(name, _p) for name in ("layers", "voicing", "pitch", "envelope", "given")]
                + [(name, _float) for name in ("unvoiced", "voiced", "min_pitch_sigma", "min_sigma", "pitch_temperature", "temperature")]
                + [("low", _p), ("high", _p)])


def serves(network):
    """True for a network that `FusedVoices` can run: fused LSTM layers under a `WorldHead`."""
    return isinstance(network.head, losses.WorldHead) and all(isinstance(layer, FusedLSTMLayer) for layer in network.lstms)


def begin(network, together, primers, numbers, temperature=1.0, bounds=None):
    """Prime some voices, and draw the first frame of each.

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
    voices : `FusedVoices`, or `stepping.GraphVoices` where these do not serve
    frames : float32 array of shape (n_voices, n_features)
    """
    frames, state = together(primers, None, *numbers)
    return FusedVoices(network, temperature, bounds, frames, state) if serves(network) else stepping.GraphVoices(together, frames, state), frames


class FusedVoices(stepping.Voices):
    """Voices that go on singing, at once: so many take the weights from memory one time.

    Parameters
    ----------
    network : model.Network
        For which `serves` is true; its parameters are copied.
    temperature : float
    bounds : (low, high), optional
        See `stepping.compile_step`.
    frames : float array of shape (n_voices, n_features)
        The newest ones, which the network has not heard.
    state : list of arrays (n_voices, n_units)
        hid and cell of each LSTM layer.
    """

    block = stepping.BLOCK  # frames that are worth being asked for at once

    def __init__(self, network, temperature, bounds, frames, state):
        super().__init__(frames, state)
        self._kept = []  # every array that the structures point to
        head, n = network.head, network.lstms[-1].num_units
        layers = (_Layer * len(network.lstms))(*map(self._layer, network.lstms))
        dense = [self._denses(output) for output in (head.voicing, head.pitch, head.envelope)]
        low, high = (self._pointer(b) for b in bounds) if bounds is not None else (None, None)
        self._kept.append(layers)
        self._voices = _Voices(len(layers), head.n_mixtures, head.n_envelope, ctypes.addressof(layers), *dense,
                               self._pointer(np.empty((self.n_voices, n + losses.FRAME))), head.unvoiced, head.voiced, losses.MIN_PITCH_SIGMA,
                               losses.MIN_SIGMA, losses.PITCH_TEMPERATURE * temperature, temperature, low, high)

    def _sing(self, uniform, normal, frames, state):
        v = self._voices
        (n_voices, n_frames), widths = uniform.shape[:2], (1 + 2 * v.n_mixtures, 1 + v.n_envelope)
        if (uniform.shape[2], normal.shape[2]) != widths:
            raise ValueError(f"uniform has shape {uniform.shape} and normal {normal.shape}; "
                             f"expected (n_voices, n_frames, {widths[0]}) and (n_voices, n_frames, {widths[1]})")
        sung = np.empty((n_voices, n_frames, 2 + v.n_envelope), np.float32)
        native.library().world_voices_f32(native.byref(v), native.long(n_voices), native.long(n_frames), native.pointer(frames),
                                          native.pointers(state[::2]), native.pointers(state[1::2]), *map(native.pointer, (uniform, normal, sung)))
        return sung

    def _pointer(self, array):
        self._kept.append(np.array(array, np.float32, order="C"))
        return self._kept[-1].ctypes.data

    def _pointers(self, variables):
        table = (_p * len(variables))(*(self._pointer(v.get_value(borrow=True)) for v in variables))
        self._kept.append(table)
        return ctypes.addressof(table)

    def _layer(self, layer):
        n = layer.num_units
        shape = native.Lstm(1, self.n_voices, layer.W_in_to_ingate.get_value(borrow=True).shape[0], n, 1, KINDS[layer.nonlinearity_cell],
                            KINDS[layer.nonlinearity], layer.form == "lasagne-0.1", 1, 0)
        self._kept.append(shape)
        gates = [self._pointers(layer._gate_params(prefix)) for prefix in ("W_in_to_", "W_hid_to_", "b_")]
        peepholes = self._pointers(layer._peephole_params()) if layer.peepholes else None
        workspace = self._pointer(np.empty(native.function("lstm_workspace", "float32")(native.byref(shape))))
        native.library().lstm_prepare_f32(native.byref(shape), *map(ctypes.c_void_p, (*gates, peepholes, workspace)))
        return _Layer(ctypes.addressof(shape), workspace, n)

    def _denses(self, output):
        """The dense layers that end in `output`, in order, as a C array's address."""
        chain = [output]
        while hasattr(chain[0].input_layer, "W"):
            chain.insert(0, chain[0].input_layer)
        made = []
        for layer in chain:
            W, b = (np.ascontiguousarray(v.get_value(borrow=True)) for v in (layer.W, layer.b))
            width = native.library().panel_width_f32(native.long(len(b)))
            packed = self._pointer(np.empty((len(W), width)))
            native.library().pack_f32(*map(native.long, W.shape), native.pointer(W), ctypes.c_void_p(packed))
            made.append(_Dense(*W.shape, layer is not output, packed, self._pointer(np.pad(b, (0, width - len(b)))), self._pointer(np.empty((self.n_voices, width)))))
        array = (_Dense * len(made))(*made)
        self._kept.append(array)
        return ctypes.addressof(array)
