"""Make Theano 1.0.5 and Lasagne 0.1 run on today's Python and numpy.

`configure()` runs when the package is imported, before anything imports
Theano.  Both libraries are from 2020 and earlier; each line below answers one
thing that has changed underneath them.  Whatever the user sets in
THEANO_FLAGS wins over the flags chosen here.
"""
import importlib
import os
import sys
import types
from pathlib import Path

import numpy as np


def cache_dir():
    """Folder for what is compiled on this machine: inside the environment, never in the home folder.

    Returns
    -------
    Path
        ``<environment>/cache/vocalsynth_utils``, or a folder of this user's in
        the system's temporary directory when the environment is read-only.
    """
    inside = Path(sys.prefix) / "cache" / "vocalsynth_utils"
    try:
        inside.mkdir(parents=True, exist_ok=True)
        if os.access(inside, os.W_OK):
            return inside
    except OSError:
        pass
    import getpass
    import tempfile
    outside = Path(tempfile.gettempdir()) / f"vocalsynth_utils-{getpass.getuser()}"
    outside.mkdir(mode=0o700, exist_ok=True)
    return outside


def theano_flags():
    """The flags this package runs Theano with on a CPU, as a THEANO_FLAGS string.

    ``cxx=`` switches Theano's own C compilation off: the heavy work happens in
    the fused Ops (`fused_lstm`) and in numpy's BLAS, so a graph is ready in
    seconds instead of minutes and there is no compilation cache to go stale.
    """
    return f"floatX=float32,cxx=,allow_gc=False,base_compiledir={cache_dir() / 'theano'}"


def device():
    """The device Theano trains on: ``"cpu"``, or e.g. ``"cuda"`` when the user asks for it in THEANO_FLAGS."""
    import theano
    return theano.config.device


def configure():
    """Set flags and shims; call it before the first ``import theano``.

    Raises
    ------
    RuntimeError
        When this Python is too new for Theano 1.0.5.
    """
    if sys.version_info >= (3, 12):
        raise RuntimeError(f"Theano 1.0.5 does not run on Python {sys.version.split()[0]}; use Python 3.9, 3.10 or 3.11")
    user_flags = os.environ.get("THEANO_FLAGS", "")
    if "device=cuda" not in user_flags.replace(" ", ""):  # a GPU run compiles with Theano's own defaults
        os.environ["THEANO_FLAGS"] = ",".join(filter(None, [theano_flags(), user_flags]))
    else:  # not run here: written for a machine with a GPU; an LSTM needs no cuDNN
        os.environ["THEANO_FLAGS"] = ",".join(
            ["floatX=float32,dnn.enabled=False", f"base_compiledir={cache_dir() / 'theano'}", user_flags])
    os.environ.setdefault("THEANORC", os.devnull)  # a .theanorc from another project must not change results here

    for name in ("bool", "int", "float", "complex", "object"):  # aliases that numpy 1.24 removed
        if name not in vars(np):
            setattr(np, name, getattr(importlib.import_module("builtins"), name))
    if sys.version_info >= (3, 10):  # its Cython scan does not compile any more; scan has a Python loop
        sys.modules.setdefault("theano.scan_module.scan_perform_ext", None)
    sys.modules.setdefault("theano.tensor.signal.downsample", _Downsample("theano.tensor.signal.downsample"))


class _Downsample(types.ModuleType):
    """The module Lasagne 0.1 imports and Theano 1.0 renamed; resolved when used."""

    def __getattr__(self, name):
        from theano.tensor.signal import pool
        try:
            return {"max_pool_2d": pool.pool_2d, "DownsampleFactorMax": pool.Pool}[name]
        except KeyError:
            raise AttributeError(name) from None
