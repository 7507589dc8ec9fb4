"""The network of a recipe, as Lasagne layers."""

from typing import NamedTuple

import lasagne
import numpy as np
import theano.tensor as T
from lasagne.layers import InputLayer, ReshapeLayer

from . import losses, units
from .features import n_features
from .fused import lstm_layer, noise_layer


class Network(NamedTuple):
    """The layers a caller needs by name; everything between hangs on the outputs.

    Where a recipe has two levels, `language` is the one above, a `units.LanguageModel`, and a step of the lower one
    hears after the frame what `units.Given` makes of its place in the text.
    """

    input: InputLayer
    lstms: list[lasagne.layers.Layer]
    head: object
    language: units.LanguageModel | None = None

    @property
    def outputs(self):
        """The last layers, of all levels."""
        return self.head.outputs + (self.language.outputs if self.language else [])

    def steps(self, X):
        """What is heard and what is to follow, of a batch X (n_batch, n_steps, width): a step less of each."""
        return self.language.steps(X) if self.language else (X[:, :-1], X[:, 1:])

    def losses(self, hids, heard, target, X, deterministic=True):
        """The loss of each level, scalars: of the frames, and of the text in X where there is one."""
        # every other sequence is enough to train on: a step of text is several frames long, so there is less of it
        some = X if deterministic else X[::2]
        text = [self.language.loss(some, deterministic)] if self.language else []
        return [self.head.loss(hids, heard, target), *text]


def build_network(recipe, n_features, scaling=None):
    """A recipe's `Network`: input, noise, dropout, LSTM layers, and the head of the recipe's loss.

    Parameters
    ----------
    recipe : Recipe
    n_features : int
        Numbers in one frame; `recipe.frame_length` for raw frames.
    scaling : preprocessing.Scaling, optional
        Of the data; for `recipe.input_noise`, which is in units of its standard deviation, and for WORLD's head.

    Examples
    --------
    >>> from vocalsynth_utils.recipes import get
    >>> count_parameters(build_network(get("2016"), 16000))
    55232200
    """
    lasagne.random.set_rng(np.random.RandomState(recipe.seed))
    sigma = recipe.input_noise * np.sqrt(scaling.variance if scaling else 1.0)

    def noisy(layer):
        layer = noise_layer(layer, "noise", sigma, recipe.seed, n_exact(recipe))
        return noise_layer(layer, "dropout", recipe.input_dropout, recipe.seed + 1)

    source = InputLayer((None, None, n_features + units.N_GIVEN * recipe.has_text), name="frames")
    text = units.conditioned(source, recipe.vocabulary, n_features, noisy) if recipe.has_text else None
    layer, given = text or (noisy(source), None)
    lstms = []
    for i, n_units in enumerate(recipe.n_units, start=1):
        layer = lstm_layer(
            recipe.lstm,
            layer,
            n_units,
            nonlinearity=getattr(lasagne.nonlinearities, recipe.nonlinearity),
            forgetgate=lasagne.layers.Gate(b=lasagne.init.Constant(recipe.forget_bias)),
            peepholes=recipe.peepholes,
            grad_clipping=recipe.grad_clipping,
            gradient_steps=recipe.gradient_steps or -1,
            name=f"lstm{i}",
        )
        lstms.append(layer)
    rows = ReshapeLayer(layer, (-1, [2]), name="rows")  # (n_batch * n_steps, n_units)
    language = units.LanguageModel(recipe, given) if recipe.has_text else None
    return Network(source, lstms, losses.build_head(recipe, rows, n_features, scaling), language)


def n_exact(recipe):
    """How many of a frame's numbers input noise leaves as they are: log F0, whose steps are smaller, and voicing."""
    return losses.FRAME * recipe.has_world_heads


def run(network, x, states=None, deterministic=True):
    """Run the LSTM layers over frames, with their state carried in and out.

    Parameters
    ----------
    network : Network
    x : Theano tensor of shape (n_batch, n_steps, n_features)
    states : list of (hid, cell), optional
        Tensors (n_batch, n_units) for each LSTM layer; the layers' own initial state if absent.
    deterministic : bool
        False switches input noise and dropout on.

    Returns
    -------
    hids : Theano tensor of shape (n_batch, n_steps, n_units)
        Of the last layer: what the head works on.
    states : list of (hid, cell)
        After the last step.
    """
    known, finals = {network.input: x}, []
    for i, layer in enumerate(network.lstms):
        below = lasagne.layers.get_output(layer.input_layers[0], known, deterministic=deterministic)
        hids, hid, cell = layer.run(below, *(states[i] if states else (None, None)), deterministic=deterministic)
        known[layer] = hids
        finals.append((hid, cell))
    return hids, finals


def state_variables(network):
    """Symbolic (hid, cell) for each LSTM layer, to pass to `run`."""
    return [(T.matrix(f"{layer.name}.hid"), T.matrix(f"{layer.name}.cell")) for layer in network.lstms]


def count_parameters(network):
    """Numbers in all parameters, initial states among them."""
    return sum(p.get_value(borrow=True).size for p in parameters(network).values())


def expected_parameters(recipe):
    """What `count_parameters` finds in a recipe's network, without building it.

    An LSTM layer of n units on d inputs has 4 (d + n + 1) n, with peepholes 3 n more, and 2 n of initial state; a dense
    layer (d + 1) n.
    """
    n_in = width = n_features(recipe)
    total, n_given = units.sizes(recipe) if recipe.has_text else (0, 0)
    n_in += n_given
    for n in recipe.n_units:
        total += 4 * (n_in + n + 1) * n + (5 if recipe.peepholes else 2) * n
        n_in = n
    return total + sum((n_inputs + 1) * n for n_inputs, n in losses.head_sizes(recipe, n_in, width))


def parameters(network):
    """All parameters by unique name, e.g. ``lstm1.W_in_to_ingate``, as an ordered dict of shared variables."""
    params = lasagne.layers.get_all_params(network.outputs)
    named = {p.name: p for p in params}
    assert len(named) == len(params), "parameter names must be unique"
    return named


def trainable(network):
    """The parameters that training changes, as a list of shared variables for each level."""
    levels = [network.head.outputs] + ([network.language.outputs] if network.language else [])
    return [lasagne.layers.get_all_params(outputs, trainable=True) for outputs in levels]


def noise_states(network):
    """The random-generator states behind input noise and dropout, as shared variables."""
    streams = [getattr(layer, "_srng", None) for layer in lasagne.layers.get_all_layers(network.outputs)]
    return [state for stream in streams for state, _ in getattr(stream, "state_updates", [])]
