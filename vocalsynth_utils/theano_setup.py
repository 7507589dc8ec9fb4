"""Flags and shims that make Theano 1.0.5 and Lasagne 0.1 run on today's Python and numpy.

`configure()` runs when the package is imported, before anything imports Theano.  Both libraries are from 2020 and
earlier; each line below answers one thing that has changed underneath them.  Whatever the user sets in THEANO_FLAGS
wins over the flags chosen here.
"""

import builtins
import contextlib
import functools
import importlib.metadata
import importlib.util
import logging
import os
import shlex
import stat
import sys
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np


@functools.cache
def cache_dir():
    """Folder for what is compiled on this machine, a Path: inside the environment, never in the home folder.

    ``<environment>/cache/vocalsynth_utils``, or a folder of this user's in the system's temporary directory when the
    environment is read-only.
    """
    inside = Path(sys.prefix) / "cache" / "vocalsynth_utils"
    try:
        inside.mkdir(parents=True, exist_ok=True)
        if os.access(inside, os.W_OK):
            return inside
    except OSError:
        pass
    outside = Path(tempfile.gettempdir()) / f"vocalsynth_utils-{os.getuid()}"  # a container's user may have no name
    with contextlib.suppress(FileExistsError):
        outside.mkdir(mode=0o700)
    found = outside.lstat()  # what lies in it is run: it must be nobody else's, and no link
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return outside if ours else Path(tempfile.mkdtemp(prefix=f"{outside.name}-"))


def theano_flags():
    """The flags this package runs Theano with on a CPU, as a THEANO_FLAGS string.

    ``cxx=`` switches Theano's own C compilation off: the heavy work happens in the Ops of `fused` and in OpenBLAS, so a
    graph is ready in seconds instead of minutes and there is no compilation cache to go stale.  Fused elementwise Ops
    are switched off with it: without C they run one number at a time in Python, where each plain one is a numpy ufunc.
    """
    excluded = "inplace_elemwise_optimizer:gemm_optimizer:local_dot22_to_dot22scalar"
    fusion = f"tensor.local_elemwise_fusion=False,optimizer_excluding={excluded}"
    return f"floatX=float32,cxx=,blas.ldflags=,allow_gc=False,{fusion},{_compiledir()}"


def _compiledir():
    """The flag for Theano's own folder, whatever is in the path: Theano splits its flags as a shell splits words."""
    return f"base_compiledir={shlex.quote(str(cache_dir() / 'theano'))}"


def use_ufuncs():
    """Give the elementwise Ops that Theano runs number by number in Python a numpy function each; imports Theano.

    These are sigmoid, softplus, casts, and sums and products of more than two terms.  Harmless when called again.
    """
    from theano import scalar
    from theano.tensor.elemwise import Elemwise
    from theano.tensor.nnet import sigm

    ufuncs = {sigm.sigmoid: "scipy.special.expit", sigm.softplus: f"{__name__}.softplus"}
    for elementwise, ufunc in ufuncs.items():
        # on the class too: Theano makes new instances when it works in place
        type(elementwise.scalar_op).nfunc_spec = elementwise.nfunc_spec = (ufunc, 1, 1)
    if hasattr(Elemwise, "_prepare_node"):
        return
    Elemwise._prepare_node = Elemwise.prepare_node
    folds = {scalar.Add: np.add, scalar.Mul: np.multiply}

    def prepare_node(self, node, *args, **kwargs):
        self._prepare_node(node, *args, **kwargs)
        if type(self.scalar_op) in folds and len(node.inputs) > 2:
            ufunc = folds[type(self.scalar_op)]
            node.tag.ufunc = _as_ufunc(lambda *arrays: functools.reduce(ufunc, arrays))
        elif type(self.scalar_op) is scalar.Cast:
            dtype = node.outputs[0].dtype
            self.ufunc = _as_ufunc(lambda x: np.asarray(x).astype(dtype))

    Elemwise.prepare_node = prepare_node


def _as_ufunc(function):
    """A function of arrays with what Theano asks of a ufunc: the number of its outputs."""
    function.nout = 1
    return function


def softplus(x):
    """log(1 + exp(x)) for a numpy array, without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def device():
    """The device Theano trains on: ``"cpu"``, or e.g. ``"cuda"`` when the user asks for it in THEANO_FLAGS."""
    import theano

    return theano.config.device


def configure():
    """Set flags and shims, before the first ``import theano``."""
    if os.path.expanduser("~") == "~":  # a container's user may have no home; Theano asserts one
        os.environ["HOME"] = tempfile.gettempdir()
    user_flags = os.environ.get("THEANO_FLAGS", "")
    if "device=cuda" not in user_flags.replace(" ", ""):
        flags = theano_flags()
        # scan looks whether a GPU is in use; the real one imports what Python 3.12 and numpy 2 dropped
        no_gpu = {"pygpu": None, "pygpu_activated": False, "GpuArrayType": type("GpuArrayType", (), {})}
        _stand_in("theano.gpuarray", **no_gpu)
    else:  # not run here: a GPU run compiles with Theano's own defaults; an LSTM needs no cuDNN
        flags = f"floatX=float32,blas.ldflags=,dnn.enabled=False,{_compiledir()}"
    os.environ["THEANO_FLAGS"] = ",".join(filter(None, [flags, user_flags]))
    # both say that Theano itself compiles no C, which is the choice made above
    warnings.filterwarnings("ignore", message="DeprecationWarning: there is no c\\+\\+ compiler")
    logging.getLogger("theano.tensor.blas").setLevel(logging.ERROR)
    # what Python 3.12 says of their docstrings as it compiles them, or parses them for inspect.getsource
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*[/\\.](theano|lasagne)[/\\.]|<unknown>")
    os.environ.setdefault("THEANORC", os.devnull)  # a .theanorc from another project must not change results here

    removed = {name: getattr(builtins, name) for name in ("bool", "int", "float", "complex", "object")}  # by numpy 1.24
    removed |= {"product": np.prod, "sctype2char": lambda kind: np.dtype(kind).char}  # by numpy 2.0
    for name in removed.keys() - vars(np).keys():
        setattr(np, name, removed[name])
    # its Cython scan does not compile from Python 3.10 on; scan has a Python loop
    sys.modules.setdefault("theano.scan_module.scan_perform_ext", None)
    _stand_in("numpy.distutils")  # gone from Python 3.12's numpy: asked for a BLAS, which the flags name
    if "theano" not in sys.modules:
        sys.meta_path.insert(0, _Slim)
    # gone from setuptools 82; Lasagne reads its own version there
    if importlib.util.find_spec("pkg_resources") is None:
        _stand_in("pkg_resources", get_distribution=importlib.metadata.distribution)
    _stand_in("theano.misc.safe_asarray", _asarray=_asarray)
    _stand_in("theano.tensor.signal.downsample", __getattr__=_downsample)


class _Slim:
    """Finds Theano, and has it imported without the parts of scipy that it asks for and does not need: 1 to 2 s.

    Its `chi2sf` looks for scipy.stats again when it is computed; what it wants of scipy.signal went out of there with
    scipy 1.8, which it finds after it has loaded the rest.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "theano":
            return None
        sys.meta_path.remove(_Slim)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module if spec else None

        def exec_module(module):
            absent = {"scipy.stats": types.ModuleType("scipy.stats"), "scipy.signal.signaltools": None}
            absent = {name: stand_in for name, stand_in in absent.items() if name not in sys.modules}
            sys.modules.update(absent)
            try:
                execute(module)
            finally:
                for name in absent:
                    del sys.modules[name]

        if spec:
            spec.loader.exec_module = exec_module
        return spec


def _stand_in(name, **contents):
    """Have `import` find a module of these contents, unless one of that name is imported already."""
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(contents)


def _asarray(a, dtype, order=None):
    """theano._asarray: an array of exactly this dtype, whole numbers wrapped into it, as numpy did before 2.0.

    Theano finds the smallest dtype that holds a number by trying each; numpy 2 would have every int above 127 a uint64.
    """
    import theano

    dtype = np.dtype(theano.config.floatX if str(dtype) == "floatX" else dtype)
    try:
        array = np.asarray(a, dtype, order)
    except OverflowError:
        array = np.asarray(a, np.int64, order).astype(dtype)
    return array if array.dtype.num == dtype.num else array.view(dtype)


def _downsample(name):
    """What Lasagne 0.1 imports from theano.tensor.signal.downsample and Theano 1.0 renamed; looked up when used."""
    names = {"max_pool_2d": "pool_2d", "DownsampleFactorMax": "Pool"}
    if name not in names:  # whoever goes through all modules, as PyTorch does, is not to import Theano by it
        raise AttributeError(name)
    from theano.tensor.signal import pool

    return getattr(pool, names[name])
