"""Layers of the two levels: `LanguageModel`, how text goes on, and `Given`, what a frame hears of the text.

The language model says each next unit given those before, and then its length given the unit: an LSTM with a softmax,
as in Lasagne's example of text generation (https://github.com/Lasagne/Recipes, examples/lstm_text_generation.py).
"""

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.layers import ConcatLayer, DenseLayer, InputLayer, Layer, ReshapeLayer, SliceLayer, get_output

from ..fused import lstm_layer, noise_layer
from .text import N_DESCRIBED, N_GIVEN, N_LENGTHS, N_TEXT, Centres, Labelled, Text

UNIT, LENGTH, GIVEN, HIDDEN = 96, 16, 64, 128  # of embeddings of a unit and a length, of a frame's units; hidden


def _embedded(W, index):
    """Rows of W (n, width) for indices held as floats, of any shape: one more axis."""
    flat = W[T.cast(index.flatten(), "int32")]
    return flat.reshape([*index.shape, W.shape[1]], ndim=index.ndim + 1)


def _surprise(logits, index):
    """-log of the softmax of logits (n_rows, n) at an index for each row: (n_rows,), in nats."""
    x = logits - theano.gradient.disconnected_grad(logits.max(axis=1, keepdims=True))
    return T.log(T.exp(x).sum(axis=1)) - x[T.arange(x.shape[0]), index]


class _Embedding(Layer):
    """Text (n_batch, n_segments, 2) as vectors (n_batch, n_segments, UNIT + LENGTH)."""

    def __init__(self, incoming, vocabulary, **kwargs):
        super().__init__(incoming, **kwargs)
        self.W_unit = self.add_param(lasagne.init.Normal(1.0), (vocabulary, UNIT), name="W_unit")
        self.W_length = self.add_param(lasagne.init.Normal(1.0), (N_LENGTHS + 1, LENGTH), name="W_length")

    def get_output_shape_for(self, input_shape):
        return *input_shape[:2], UNIT + LENGTH

    def get_output_for(self, text, **kwargs):
        return T.concatenate([_embedded(self.W_unit, text[:, :, 0]), _embedded(self.W_length, text[:, :, 1])], axis=2)


class Given(Layer):
    """What `Text.given` holds, (n_batch, n_steps, 5), as vectors (n_batch, n_steps, 3 GIVEN + 2)."""

    def __init__(self, incoming, vocabulary, **kwargs):
        super().__init__(incoming, **kwargs)
        self.W = self.add_param(lasagne.init.Normal(1.0), (vocabulary, GIVEN), name="W")
        nothing, shape = lasagne.init.Constant(0), (vocabulary, N_DESCRIBED)
        self.centres = self.add_param(nothing, shape, name="centres", trainable=False, regularizable=False)

    def get_output_shape_for(self, input_shape):
        return *input_shape[:2], 3 * GIVEN + N_GIVEN - 3

    def get_output_for(self, given, **kwargs):
        around = [_embedded(self.W, given[:, :, k]) for k in range(3)]
        return T.concatenate([*around, given[:, :, 3:]], axis=2)

    def vectors(self, given):
        """The same of numbers (n_steps, 5): float32 (n_steps, 3 GIVEN + 2)."""
        W = self.W.get_value(borrow=True)
        return np.concatenate([*(W[given[:, k].astype(int)] for k in range(3)), given[:, 3:]], axis=1)


class LanguageModel:
    """An LSTM over text; expressions of it are of text (n_batch, n_segments, 2), units and lengths.

    Parameters
    ----------
    recipe : Recipe
        Its `vocabulary`, `language_units`, `language_dropout`, `n_steps`, `lstm` and `seed`.
    given : Given
        The layer through which the frames hear the text; it knows what the units are.
    """

    def __init__(self, recipe, given):
        n, self.given = recipe.language_units, given
        # steps that a state is made of, and that follow: the first and the last steps of a sequence are left out
        self.n_heard, self.n_follow = max(1, recipe.n_steps // 4), max(1, recipe.n_steps // 2)
        self.text = InputLayer((None, None, N_TEXT), name="text")
        self.embedding = _Embedding(self.text, recipe.vocabulary, name="language.embedding")
        layer = noise_layer(self.embedding, "dropout", recipe.language_dropout, recipe.seed + 2)
        forget = lasagne.layers.Gate(b=lasagne.init.Constant(1.0))
        self.lstm = lstm_layer(recipe.lstm, layer, n, forgetgate=forget, name="language.lstm")
        layer = noise_layer(self.lstm, "dropout", recipe.language_dropout, recipe.seed + 3)
        self.rows = ReshapeLayer(layer, (-1, [2]), name="language.rows")
        self.unit = DenseLayer(self.rows, recipe.vocabulary, nonlinearity=None, name="language.unit")
        self.next = InputLayer((None, UNIT), name="next")  # the embedded unit that follows
        hidden = DenseLayer(ConcatLayer([self.rows, self.next]), HIDDEN, name="language.hidden")
        self.length = DenseLayer(hidden, N_LENGTHS + 1, nonlinearity=None, name="language.length")
        self.outputs = [self.unit, self.length]
        self._below = self.lstm.input_layers[0]

    def read(self, dataset, seed, known=False):
        """The dataset as `Labelled`, by the units that are `known`, or by those then found in it and kept."""
        if not known:
            self.given.centres.set_value(Centres.find(dataset, self.unit.num_units, seed).centres)
        return Labelled(dataset, Centres(self.given.centres.get_value()))

    @staticmethod
    def steps(X):
        """What frames hear and what is to follow, of a batch of `Labelled`: what is given is the following frame's."""
        n, end = -N_GIVEN - N_TEXT, -N_TEXT
        return T.concatenate([X[:, :-1, :n], X[:, 1:, n:end]], axis=2), X[:, 1:, :n]

    def loss(self, X, deterministic=False):
        """Mean over segments of -log p(unit) - log p(length), in nats, of each given those before.

        The text is in the last two columns of X (n_batch, n_segments, n).
        """
        text = X[:, :, -N_TEXT:]
        heard, following = text[:, :-1], text[:, 1:].reshape((-1, N_TEXT), ndim=2)
        known = {self.text: heard, self.next: _embedded(self.embedding.W_unit, following[:, 0])}
        said = get_output(self.outputs, known, deterministic=deterministic)
        index = T.cast(following, "int32")
        return sum(_surprise(logits, index[:, k]).mean() for k, logits in enumerate(said))


def sizes(recipe):
    """Numbers that two levels have beside the frames' LSTM and head, and how many more inputs that LSTM has."""
    n, words = recipe.language_units, recipe.vocabulary
    lstm = 4 * (UNIT + LENGTH + n + 1) * n + 5 * n
    dense = (n + 1) * words + (n + UNIT + 1) * HIDDEN + (HIDDEN + 1) * (N_LENGTHS + 1)
    return lstm + dense + words * (UNIT + GIVEN + N_DESCRIBED) + (N_LENGTHS + 1) * LENGTH, 3 * GIVEN + N_GIVEN - 3


def conditioned(source, vocabulary, n_features, noise):
    """The layer below the frames' LSTM, and its `Given`: of steps (n_batch, n_steps, n_features + 5).

    `noise` makes a layer of the frame's, what it is given is as it is.
    """
    frame = noise(SliceLayer(source, slice(0, n_features), axis=2, name="frame"))
    given = Given(SliceLayer(source, slice(n_features, None), axis=2), vocabulary, name="given")
    return ConcatLayer([frame, given], axis=2, name="conditioned"), given


def blocks(text, primer, least=64):
    """`Text` of text that goes on, with what comes before and after each, `least` segments at a time.

    Yields what `Text.given` is of each block's frames: the last segment waits for the one that follows, or for the end.
    """
    before, waiting = primer.units[-1], []
    for segment in text:
        waiting.append(segment)
        if len(waiting) > least:
            *said, last = waiting
            units, lengths = (np.array(v) for v in zip(*said))
            yield Text(units, lengths).given(before, last[0])
            before, waiting = units[-1], [last]
    if waiting:
        yield Text(*(np.array(v) for v in zip(*waiting))).given(before)
