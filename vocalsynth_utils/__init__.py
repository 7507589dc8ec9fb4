"""Generating vocals with a recurrent network: the helpers behind the notebooks."""

from .theano_setup import configure as _configure

_configure()

__version__ = "0.1.0"
