"""Make Theano 1.0.5 and Lasagne 0.1 run on today's Python and numpy.

`configure()` runs when the package is imported, before anything imports
Theano.  Both libraries are from 2020 and earlier; each line below answers one
thing that has changed underneath them.  Whatever the user sets in
THEANO_FLAGS wins over the flags chosen here.
"""
import functools
import importlib
import logging
import os
import sys
import types
import warnings
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
    Fused elementwise Ops are switched off with it: without C they run one
    number at a time in Python, where each plain one is a numpy ufunc.
    """
    return ("floatX=float32,cxx=,allow_gc=False,tensor.local_elemwise_fusion=False,optimizer_excluding=inplace_elemwise_optimizer:gemm_optimizer:local_dot22_to_dot22scalar,"
            f"base_compiledir={cache_dir() / 'theano'}")


def use_ufuncs():
    """Give the elementwise Ops that Theano runs number by number in Python a numpy function each; imports Theano.

    These are sigmoid, softplus, casts, and sums and products of more than two terms.
    Harmless when called again.
    """
    from theano import scalar
    from theano.tensor.elemwise import Elemwise
    from theano.tensor.nnet import sigm
    for elementwise, ufunc in ((sigm.sigmoid, "scipy.special.expit"), (sigm.softplus, "vocalsynth_utils.theano_setup.softplus")):
        # on the class too: Theano makes new instances when it works in place
        type(elementwise.scalar_op).nfunc_spec = elementwise.nfunc_spec = (ufunc, 1, 1)
    if hasattr(Elemwise, "_prepare_node"):
        return
    Elemwise._prepare_node = Elemwise.prepare_node
    folds = {scalar.Add: _Fold(np.add), scalar.Mul: _Fold(np.multiply)}

    def prepare_node(self, node, *args, **kwargs):
        self._prepare_node(node, *args, **kwargs)
        if type(self.scalar_op) in folds and len(node.inputs) > 2:
            node.tag.ufunc = folds[type(self.scalar_op)]
        elif type(self.scalar_op) is scalar.Cast:
            self.ufunc = _Cast(node.outputs[0].dtype)
    Elemwise.prepare_node = prepare_node


class _Fold:
    """A ufunc of two arguments as one of many."""

    nout = 1

    def __init__(self, ufunc):
        self.ufunc = ufunc

    def __call__(self, *arrays):
        return functools.reduce(self.ufunc, arrays)


class _Cast:
    """A ufunc that changes the dtype."""

    nout = 1

    def __init__(self, dtype):
        self.dtype = dtype

    def __call__(self, x):
        return np.asarray(x).astype(self.dtype)


def softplus(x):
    """log(1 + exp(x)) for a numpy array, without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


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
    # both say that Theano itself compiles no C, which is the choice made above
    warnings.filterwarnings("ignore", message="DeprecationWarning: there is no c\\+\\+ compiler")
    logging.getLogger("theano.tensor.blas").setLevel(logging.ERROR)
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
