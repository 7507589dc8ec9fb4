"""Layers of noise whose generator's state can be set anew, so that training can be resumed."""

import numpy as np
import theano
from lasagne.layers import ConcatLayer, DropoutLayer, GaussianNoiseLayer, SliceLayer
from theano.tensor.shared_randomstreams import RandomStreams

LAYERS = {"noise": GaussianNoiseLayer, "dropout": DropoutLayer}


def noise_layer(layer, kind, amount, seed, exact=0):
    """A layer of "noise" or "dropout" on `layer`, on numpy's generator, or `layer` itself where the amount is 0.

    The first `exact` numbers of a step stay as they are.
    """
    if not amount:
        return layer
    if exact:
        kept, rest = (SliceLayer(layer, part, axis=2) for part in (slice(0, exact), slice(exact, None)))
        return ConcatLayer([kept, noise_layer(rest, kind, amount, seed)], axis=2)
    noisy = LAYERS[kind](layer, amount, name=kind)
    noisy._srng = _NumpyStreams(seed)  # its state can be set, and it needs no C compiler to be fast
    return noisy


class _NumpyStreams(RandomStreams):
    """Theano's numpy random streams, with normal numbers in floatX as Lasagne expects them."""

    def normal(self, size, avg=0.0, std=1.0):
        # of these it takes its type; T.cast would loop in Python
        avg, std = (np.asarray(v, theano.config.floatX) for v in (avg, std))
        return super().normal(size, avg, std)
