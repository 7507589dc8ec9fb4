"""Theano Ops around the package's own C++ and OpenBLAS: the LSTM layers, mixtures, the squared error, the updates.

`native` builds and calls the C++ in ``c_code/``; a module for each Op makes it part of Theano's graphs, with the
rewrites that put it in place; `layers` is what a network is made of.  Without a compiler, Lasagne's scan serves.
"""

from .layers import FusedLSTMLayer, ScanLSTMLayer, lstm_layer
from .mixture_ops import MAX_MIXTURES, MixtureDraw, MixtureNLL
from .noise import noise_layer
from .squared_error import SquaredError
from .update_ops import FusedUpdate, SquaredSum

__all__ = ["FusedLSTMLayer", "FusedUpdate", "MAX_MIXTURES", "MixtureDraw", "MixtureNLL"]
__all__ += ["ScanLSTMLayer", "SquaredError", "SquaredSum", "lstm_layer", "noise_layer"]
