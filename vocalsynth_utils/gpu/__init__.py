"""Training by PyTorch, on a card or on the CPU: `train`, where the engine can be chosen; `chosen`, which one is.

The engine supplies the compiled functions of `training.Trainer`, with the numbers, names and files of Theano's; the
loop over epochs is `training`'s.  PyTorch is an extra, and is imported when it is asked for.
"""

import glob
import importlib.util
import os
import warnings

from ..recipes import check_choice

__all__ = ["ENGINES", "add_arguments", "chosen", "take_card", "train"]
ENGINES, DEVICES, THEANO = ("theano", "torch", "auto"), ("cuda", "cpu"), "Theano on the CPU"
INSTALL = "pip install 'vocalsynth-utils[gpu]'"


def chosen(engine="theano", device=None, tf32=False):
    """What trains: an `engine.Engine`, which says as text what it is; None for Theano's.

    Parameters
    ----------
    engine : {"theano", "torch", "auto"}
        "auto" is torch where there are PyTorch and a GPU, else Theano.
    device : {"cuda", "cpu"}, optional
        Of torch; by default the GPU where there is one.
    tf32 : bool
        Products on a GPU of numbers rounded to 10 bits: faster, and not as exact.

    Raises
    ------
    ValueError
        Where PyTorch or the device is not there, and for what has no effect.
    """
    check_choice("engine", engine, ENGINES)
    if device is not None:
        check_choice("device", device, DEVICES)
    if engine == "theano" and (device or tf32):
        what = f"device={device!r}" if device else "tf32"
        raise ValueError(f"{what} is for engine='torch'; add that, or leave it out")
    if engine == "theano" or engine == "auto" and not importlib.util.find_spec("torch"):
        return None
    try:
        import torch
    except ImportError:
        raise ValueError(f"engine='torch' needs PyTorch, which is not installed; {INSTALL}") from None
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ValueError(f"device='cuda': torch {torch.__version__} sees no GPU here; use device='cpu', or Theano")
    device = device or ("cuda" if there else "cpu")
    if device == "cpu" and tf32:
        raise ValueError("tf32 has no effect on a CPU; leave it out")
    if device == "cpu" and engine == "auto":
        return None
    from .engine import Engine

    return Engine(device, tf32)


def train(recipe, dataset, folder, *args, engine="theano", device=None, tf32=False, **options):
    """`training.train` by the engine that is asked for, as for `chosen`, or by one from there."""
    from .. import training

    by = chosen(engine, device, tf32) if isinstance(engine, str) else engine
    if engine == "auto":
        warnings.warn(f"engine='auto' is {by or THEANO}", stacklevel=2)
    if by:
        by.check(recipe, dataset)
    return training.train(recipe, dataset, folder, *args, compiler=by, **options)


def add_arguments(option):
    """The command line's options, for `chosen`."""
    option("--engine", choices=ENGINES, default="theano", help="auto: torch where there is a GPU (default theano)")
    option("--device", choices=DEVICES, help="of torch (default: a GPU where there is one)")
    option("--tf32", action="store_true", help="on a GPU: faster products of rounded numbers")


def take_card(number):
    """Let this process see one GPU alone, of those there are the one whose turn it is; before it uses any."""
    cards = [card for card in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if card]
    cards = cards or [str(i) for i in range(len(glob.glob("/dev/nvidia[0-9]*")))]
    if cards:
        os.environ["CUDA_VISIBLE_DEVICES"] = cards[number % len(cards)]
