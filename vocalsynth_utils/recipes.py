"""Recipes: everything that decides what a run does, as frozen data, and the table of named ones."""
import dataclasses
import difflib
import itertools
import json
from dataclasses import dataclass
from typing import Tuple

from .experiments import FAMILIES, small_form

CHOICES = {
    "features": ("raw", "fft", "world", "logmel"),
    "scaling": ("mean", "minmax", "std", "standardise", "none"),
    "lstm": ("fused", "fused-lasagne-0.1", "lasagne", "lasagne-0.1"),
    "nonlinearity": ("tanh", "rectify", "sigmoid"),
    "loss": ("mse", "mixture", "residual-mixture", "world"),
    "optimiser": ("rmsprop", "sgd", "nesterov", "adagrad", "adam"),
    "schedule": ("constant", "cosine"),
    "best_by": ("valid_loss", "free_run", "last"),
}


class Contradiction(ValueError):
    """Values that are each fine and do not go together."""


@dataclass(frozen=True)
class Recipe:
    """One experiment's settings.

    The defaults are those of the 2016 headline run, so that a named recipe
    says only where it differs.
    """

    name: str
    purpose: str = ""
    # what one step of the network sees
    sample_rate: int = 16000      # Hz
    features: str = "raw"         # what a frame holds
    frame_length: int = 16000     # samples from one step of the network to the next
    scaling: str = "mean"         # (x - mean) / (max - min), the second version of 2016
    # how the recording is cut into sequences
    n_steps: int = 50             # frames in a sequence
    n_offsets: int = 1            # shifted copies of the recording
    batches_per_epoch: int = 0    # 0: every sequence once; else this many batches from random positions
    stateful: bool = False        # carry the state from one batch to the next, which continues it
    # the network
    n_units: Tuple[int, ...] = (600, 600, 600)
    lstm: str = "fused"           # or "lasagne" (scan); "fused-lasagne-0.1" or "lasagne-0.1" with that release's own output gate
    peepholes: bool = True
    forget_bias: float = 0.0
    nonlinearity: str = "tanh"
    input_noise: float = 0.0      # standard deviation, in units of the data's
    input_dropout: float = 0.0    # probability of zeroing an input
    p_teacher: float = 1.0        # scheduled sampling: probability of hearing the true frame, from 1 in the first epoch to this in the last
    free_steps: int = 0           # so many inputs at the end of each training sequence are the network's own predictions
    # what is minimised, and how
    loss: str = "mse"             # or the negative log-likelihood of a mixture density
    n_mixtures: int = 0           # Gaussians in it; 1 is a plain Gaussian
    optimiser: str = "rmsprop"
    learning_rate: float = 0.01
    schedule: str = "constant"    # of the learning rate; "cosine" falls to 3 % by the last epoch
    warmup: int = 0               # updates over which the learning rate rises from 0
    momentum: float = 0.0         # 2016 set 0.9 everywhere and applied it nowhere
    rho: float = 0.9              # RMSProp's memory
    epsilon: float = 1e-6         # inside RMSProp's root
    grad_clipping: float = 0.0    # bound on each gate's gradient; 0: none
    gradient_steps: int = 0       # truncated backpropagation through this many steps; 0: all
    max_norm: float = 0.0         # bound on the norm of the whole gradient; 0: none
    n_batch: int = 16             # sequences in a batch
    n_epochs: int = 2000
    patience: int = 0             # stop after this many epochs without a better one; 0: never
    best_by: str = "valid_loss"   # which epoch is kept as best: lowest valid loss, lowest error in "free_run", or the "last" one
    seed: int = 0
    # when it runs free
    clamp: bool = True            # keep every feature within the training voice's range; raw samples have no such bounds

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        _refuse_contradictions(self)

    def replace(self, **changes):
        """A copy with some fields changed; raises ValueError on an unknown field or a bad value."""
        for name in changes:
            _known_field(name)
        return dataclasses.replace(self, **changes)

    def to_dict(self):
        """The recipe as plain data that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`; an unknown field is an error."""
        if not isinstance(values, dict):
            raise ValueError("a recipe is an object with a value for each field")
        for name in values:
            _known_field(name)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


_FIELDS = {f.name: f for f in dataclasses.fields(Recipe)}
_AT_LEAST_ONE = ("sample_rate", "frame_length", "n_offsets", "n_batch", "n_epochs")
_MOST_WHOLE = 2 ** 31 - 1     # what every library underneath takes for a size or a seed
_LEAST, _MOST = 1e-30, 1e30   # of a float's size: squares of it matter in float32, and beyond these are 0 or infinite
_MOST_LAYERS = 16             # a network of more takes minutes to compile
_MOST_SEQUENCES = 10 ** 7     # of an epoch from random positions: their places are drawn before it begins


def _known_field(name):
    if name not in _FIELDS:
        near = difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.4)
        raise ValueError(f"unknown recipe field {name!r:.80}" + (f"; did you mean {near[0]!r}?" if near else
                         f"; the fields are {', '.join(_FIELDS)}"))


def _checked(field, value):
    """The value in the field's own type, or ValueError with the remedy."""
    name, kind = field.name, field.type
    wrong = f"{name}={value!r:.80}"
    if name in CHOICES:
        if value not in CHOICES[name]:
            near = difflib.get_close_matches(str(value), CHOICES[name], n=1)
            raise ValueError(f"{wrong} is not one of {', '.join(CHOICES[name])}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return value
    if name == "n_units":
        ok = isinstance(value, (tuple, list)) and 0 < len(value) <= _MOST_LAYERS and all(type(n) is int and 0 < n <= _MOST_WHOLE for n in value)
        if not ok:
            raise ValueError(f"{wrong} must hold one whole number above 0 for each layer, as in 600,600,600, and at most {_MOST_LAYERS} of them")
        return tuple(value)
    if kind is bool:
        if type(value) is not bool:
            raise ValueError(f"{wrong} must be true or false")
    elif kind is int:
        least = 2 if name == "n_steps" else 1 if name in _AT_LEAST_ONE else 0
        if type(value) is not int or not least <= value <= _MOST_WHOLE:
            raise ValueError(f"{wrong} must be a whole number from {least} to {_MOST_WHOLE}")
    elif kind is float:
        size = abs(value) if name == "forget_bias" and type(value) in (int, float) else value
        if type(value) not in (int, float) or not (size == 0 or _LEAST <= size <= _MOST):
            raise ValueError(f"{wrong} must be 0, or a number from {_LEAST:g} to {_MOST:g}")
        value = float(value)
    elif type(value) is not str:
        raise ValueError(f"{wrong} must be text")
    return value


_READ_BY = {"momentum": ("rmsprop", "sgd", "nesterov"), "rho": ("rmsprop",), "epsilon": ("rmsprop", "adagrad")}


def _refuse_contradictions(r):
    """Settings that would silently do nothing are errors."""
    def refuse(condition, message):
        if condition:
            raise Contradiction(message)

    refuse(r.batches_per_epoch * r.n_batch > _MOST_SEQUENCES,
           f"batches_per_epoch={r.batches_per_epoch} of n_batch={r.n_batch} are too many sequences for an epoch; "
           f"use at most {_MOST_SEQUENCES}, and more epochs")
    refuse(r.learning_rate == 0, "learning_rate=0 trains nothing; use a number above 0")
    refuse(r.input_dropout >= 1, f"input_dropout={r.input_dropout} drops every input; use a probability below 1")
    refuse(r.momentum >= 1, f"momentum={r.momentum} never forgets and diverges; use a number below 1")
    refuse(r.optimiser == "nesterov" and not r.momentum, "optimiser='nesterov' with momentum=0 is plain sgd; set momentum, e.g. 0.9")
    refuse(r.batches_per_epoch and r.n_offsets > 1,
           f"n_offsets={r.n_offsets} has no effect on random positions; set batches_per_epoch=0 or n_offsets=1")
    refuse(r.stateful and (r.batches_per_epoch or r.n_offsets > 1),
           "stateful=true needs each batch to continue the one before; set batches_per_epoch=0 and n_offsets=1")
    for name, optimisers in _READ_BY.items():
        refuse(getattr(r, name) != _FIELDS[name].default and r.optimiser not in optimisers,
               f"{name}={getattr(r, name):g} has no effect on optimiser={r.optimiser!r}; set {name}={_FIELDS[name].default:g}")
    refuse(r.optimiser in _READ_BY["rho"] and r.rho >= 1, f"rho={r.rho} never takes in a gradient; use a number below 1")
    refuse(r.optimiser in _READ_BY["epsilon"] and r.epsilon == 0, "epsilon=0 divides by zero where a gradient is zero; use a number above 0, as in 1e-12")
    refuse(0 < r.n_steps - 1 <= r.gradient_steps,  # the last frame of a sequence is only predicted
           f"gradient_steps={r.gradient_steps} truncates nothing in sequences of n_steps={r.n_steps}; use fewer than {r.n_steps - 1}, or 0 for all")
    refuse(r.lstm.endswith("lasagne-0.1") and not r.peepholes,
           f"lstm={r.lstm!r} differs in the output gate's peephole alone, and peepholes=false leaves none; set lstm='fused' or peepholes=true")
    refuse(r.p_teacher > 1, f"p_teacher={r.p_teacher} is no probability; use a number from 0 to 1")
    refuse(r.p_teacher < 1 and r.n_epochs == 1, f"p_teacher={r.p_teacher} is reached in the last epoch, from 1 in the first; use n_epochs of at least 2")
    refuse(r.p_teacher < 1 and r.n_steps - r.free_steps < 3,
           f"p_teacher={r.p_teacher} has no frame to replace in sequences of n_steps={r.n_steps} with free_steps={r.free_steps}; "
           "use more steps, or fewer free ones")
    refuse(r.free_steps and r.loss != "mse",
           f"free_steps={r.free_steps} feeds back what is predicted, loss={r.loss!r} draws it; use loss='mse', or p_teacher")
    refuse(r.free_steps > r.n_steps - 2, f"free_steps={r.free_steps} leaves no true frame in sequences of n_steps={r.n_steps}; use <= {r.n_steps - 2}")
    refuse(r.free_steps and (r.stateful or r.gradient_steps),
           f"free_steps={r.free_steps} goes neither with stateful=true nor with gradient_steps={r.gradient_steps}; set these to false and 0")
    refuse((r.loss == "mse") != (r.n_mixtures == 0),
           f"n_mixtures={r.n_mixtures} does not go with loss={r.loss!r}; a mixture needs at least 1, a mean squared error has none (0)")
    refuse(r.loss == "world" and r.features != "world", f"loss='world' needs features='world', not {r.features!r}")
    refuse(r.features in ("world", "logmel") and r.scaling != "standardise",
           f"features={r.features!r} mixes units, which scaling={r.scaling!r} leaves apart; set scaling='standardise'")
    refuse(r.features == "raw" and not r.clamp, "clamp=false has no effect on raw samples, which are not clamped; leave it out")
    refuse(r.patience and r.patience > r.n_epochs - 2,
           f"patience={r.patience} never ends a run of n_epochs={r.n_epochs}; use a patience of at most n_epochs - 2, or 0")
    refuse(r.best_by == "last" and r.patience, f"patience={r.patience} never ends a run whose best epoch is the last; set best_by or patience=0")
    refuse(r.features == "raw" and r.scaling == "standardise",
           "scaling='standardise' is for features of many dimensions; for raw samples set scaling='std'")


def parse_setting(text):
    """``"field=value"`` from a command line as ``(field, value)`` in the field's type.

    Raises
    ------
    ValueError
        When there is no ``=``, no such field, or a value of another type.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r:.80} is no setting; write field=value, as in n_epochs=100")
    _known_field(name)
    kind = _FIELDS[name].type
    try:
        if name == "n_units":
            return name, tuple(int(n) for n in value.replace("x", ",").split(",") if n)
        if kind is bool:
            return name, {"true": True, "false": False}[value.lower()]
        return name, kind(value)
    except (ValueError, KeyError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "whole numbers, as in 600,600,600")
        raise ValueError(f"{name}={value:.80} must be {expected}") from None


def _table():
    """Every experiment as a recipe, and the small forms of those that have one."""
    for experiment in itertools.chain(*FAMILIES.values()):
        yield Recipe(experiment.name, experiment.purpose, **experiment.fields)
        if experiment.small is not None:
            yield Recipe(f"{experiment.name}-small", experiment.purpose, **small_form(experiment))


RECIPES = {r.name: r for r in _table()}


def get(name):
    """The recipe of that name from the table, or ValueError with the nearest name."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(str(name), RECIPES, n=1, cutoff=0.4)
    raise ValueError(f"unknown recipe {name!r:.80}" + (f"; did you mean {near[0]!r}?" if near else "") + "; `recipes` lists them all")


def dumps(recipe):
    """The recipe as JSON text."""
    return json.dumps(recipe.to_dict(), indent=1)
