"""The network of a recipe, as Lasagne layers."""
from typing import List, NamedTuple

import lasagne
import numpy as np
import theano.tensor as T
from lasagne.layers import DenseLayer, DropoutLayer, GaussianNoiseLayer, InputLayer, ReshapeLayer
from theano.tensor.shared_randomstreams import RandomStreams

from . import theano_setup
from .fused_lstm import lstm_layer

theano_setup.use_ufuncs()


class Network(NamedTuple):
    """The layers a caller needs by name; everything between hangs on `output`."""

    input: InputLayer
    lstms: List[lasagne.layers.Layer]
    output: lasagne.layers.Layer


def build_network(recipe, n_features, input_noise_std=None):
    """Lasagne layers: input, noise, dropout, LSTM layers, linear output.

    Parameters
    ----------
    recipe : Recipe
    n_features : int
        Numbers in one frame; `recipe.frame_length` for raw frames.
    input_noise_std : float, optional
        Standard deviation of the input noise in the scaled signal's units,
        where it is not `recipe.input_noise` itself.

    Returns
    -------
    Network
        `network.output` maps frames (n_batch, n_steps, n_features) to the
        prediction of each one's next frame, of the same shape.

    Examples
    --------
    >>> from vocalsynth_utils.recipes import get
    >>> count_parameters(build_network(get("2016"), 16000))
    55232200
    """
    lasagne.random.set_rng(np.random.RandomState(recipe.seed))
    source = layer = InputLayer((None, None, n_features), name="frames")
    n_batch, n_steps, _ = source.input_var.shape
    if recipe.input_noise:
        layer = _seeded(GaussianNoiseLayer(layer, input_noise_std or recipe.input_noise, name="noise"), recipe.seed)
    if recipe.input_dropout:
        layer = _seeded(DropoutLayer(layer, recipe.input_dropout, name="dropout"), recipe.seed + 1)
    lstms = []
    for i, n_units in enumerate(recipe.n_units, start=1):
        layer = lstm_layer(
            recipe.lstm, layer, n_units, nonlinearity=getattr(lasagne.nonlinearities, recipe.nonlinearity),
            forgetgate=lasagne.layers.Gate(b=lasagne.init.Constant(recipe.forget_bias)), peepholes=recipe.peepholes,
            grad_clipping=recipe.grad_clipping, gradient_steps=recipe.gradient_steps or -1, name=f"lstm{i}")
        lstms.append(layer)
    layer = ReshapeLayer(layer, (-1, [2]), name="rows")  # (n_batch * n_steps, n_units)
    layer = DenseLayer(layer, n_features, nonlinearity=None, name="output")
    layer = ReshapeLayer(layer, (n_batch, n_steps, n_features), name="prediction")
    return Network(source, lstms, layer)


def run(network, x, states=None, deterministic=True):
    """The network's prediction, with the LSTM state carried in and out.

    Parameters
    ----------
    network : Network
    x : Theano tensor of shape (n_batch, n_steps, n_features)
    states : list of (hid, cell), optional
        One pair of (n_batch, n_units) tensors for each LSTM layer; the layers'
        own initial state if absent.
    deterministic : bool
        False switches input noise and dropout on.

    Returns
    -------
    prediction : Theano tensor of shape (n_batch, n_steps, n_features)
    states : list of (hid, cell)
        After the last step.
    """
    known, finals = {network.input: x}, []
    for i, layer in enumerate(network.lstms):
        below = lasagne.layers.get_output(layer.input_layer, known, deterministic=deterministic)
        hids, hid, cell = layer.run(below, *(states[i] if states else (None, None)), deterministic=deterministic)
        known[layer] = hids
        finals.append((hid, cell))
    shape = x.shape  # the reshape at the end follows the frames that came in, not the input layer's own variable
    rows = network.output.input_layer
    prediction = lasagne.layers.get_output(rows, known, deterministic=deterministic).reshape(shape, ndim=3)
    return prediction, finals


def state_variables(network):
    """Symbolic (hid, cell) for each LSTM layer, to pass to `run`."""
    return [(T.matrix(f"{layer.name}.hid"), T.matrix(f"{layer.name}.cell")) for layer in network.lstms]


def count_parameters(network):
    """Numbers in all parameters, initial states among them."""
    return lasagne.layers.count_params(network.output)


def parameters(network):
    """All parameters by unique name, e.g. ``lstm1.W_in_to_ingate``, as an ordered dict of shared variables."""
    params = lasagne.layers.get_all_params(network.output)
    named = {p.name: p for p in params}
    assert len(named) == len(params), "parameter names must be unique"
    return named


def _seeded(layer, seed):
    """Give a noise layer numpy's generator: its state can be saved, and it needs no C compiler to be fast."""
    layer._srng = RandomStreams(seed)
    return layer



def trainable(network):
    """The parameters that training changes, as a list of shared variables."""
    return lasagne.layers.get_all_params(network.output, trainable=True)


def noise_states(network):
    """The random-generator states behind input noise and dropout, as shared variables."""
    return [state for layer in lasagne.layers.get_all_layers(network.output)
            for state, _ in getattr(getattr(layer, "_srng", None), "state_updates", [])]
