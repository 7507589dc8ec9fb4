"""Recipe: everything that decides what a run does, as frozen data in which nothing contradicts itself."""

import dataclasses
from dataclasses import dataclass

from .choices import check_choice, check_known

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


def _field(default, meaning):
    """A field with its meaning, for people."""
    return dataclasses.field(default=default, metadata={"meaning": meaning})


class Contradiction(ValueError):
    """Values that are each fine and do not go together."""


@dataclass(frozen=True)
class Recipe:
    """One experiment's settings; the defaults are those of the headline run of 2016."""

    name: str
    purpose: str = ""
    # what one step of the network sees
    sample_rate: int = _field(16000, "Hz")
    features: str = _field("raw", "what a frame holds")
    frame_length: int = _field(16000, "samples from one step of the network to the next")
    scaling: str = _field("mean", "of frames; mean is (x - mean) / (max - min), the second version of 2016")
    # how the recording is cut into sequences
    n_steps: int = _field(50, "frames in a sequence")
    n_offsets: int = _field(1, "shifted copies of the recording")
    batches_per_epoch: int = _field(0, "0: every sequence once; else this many batches from random positions")
    stateful: bool = _field(False, "carry the state from one batch to the next, which continues it")
    # the network
    n_units: tuple[int, ...] = _field((600, 600, 600), "of each LSTM layer")
    lstm: str = _field("fused", "or lasagne (scan); ...-lasagne-0.1 with that release's own output gate")
    peepholes: bool = _field(True, "the gates see the cell")
    forget_bias: float = _field(0.0, "what the forget gate's bias begins at")
    nonlinearity: str = _field("tanh", "on the output of each LSTM layer")
    input_noise: float = _field(0.0, "standard deviation, in units of the data's")
    input_dropout: float = _field(0.0, "probability of zeroing an input")
    # two levels: sounds as text, and frames given it
    vocabulary: int = _field(0, "sound units that the text is written in; 0: one level, frames alone")
    language_units: int = _field(0, "of the LSTM that says how the text goes on")
    language_dropout: float = _field(0.0, "on either side of it")
    # remedies
    p_teacher: float = _field(
        1.0, "probability of the true frame as input: from 1 in the first epoch to this in the last"
    )
    free_steps: int = _field(0, "so many inputs at a training sequence's end are the network's own predictions")
    # what is minimised, and how
    loss: str = _field("mse", "mean squared error, or the negative log-likelihood of a mixture density")
    n_mixtures: int = _field(0, "Gaussians in it; 1 is a plain Gaussian")
    optimiser: str = _field("rmsprop", "how the gradient becomes an update")
    learning_rate: float = _field(0.01, "size of an update")
    schedule: str = _field("constant", "of the learning rate; cosine falls to 3 % by the last epoch")
    warmup: int = _field(0, "updates over which the learning rate rises from 0")
    momentum: float = _field(0.0, "share of the last update in the next; 2016 set 0.9 and applied it nowhere")
    rho: float = _field(0.9, "RMSProp's memory")
    epsilon: float = _field(1e-6, "inside RMSProp's root")
    grad_clipping: float = _field(0.0, "bound on each gate's gradient; 0: none")
    gradient_steps: int = _field(0, "truncated backpropagation through this many steps; 0: all")
    max_norm: float = _field(0.0, "bound on the norm of the whole gradient; 0: none")
    n_batch: int = _field(16, "sequences in a batch")
    n_epochs: int = _field(2000, "times through the recording, or its batches_per_epoch")
    patience: int = _field(0, "stop after this many epochs without a better one; 0: never")
    best_by: str = _field(
        "valid_loss", "the epoch that is kept: of the lowest loss, the lowest error in free_run, or the last"
    )
    seed: int = _field(0, "of all that is random")
    # when it runs free
    limits: bool = _field(True, "keep every feature within the training voice's range; raw samples have none")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        for message in _contradictions(self):
            raise Contradiction(message)

    @property
    def is_raw(self):
        """True where a frame holds the samples themselves."""
        return self.features == "raw"

    @property
    def draws(self):
        """True where the next frame is drawn from a density, not predicted as its mean."""
        return self.loss != "mse"

    @property
    def has_world_heads(self):
        """True where pitch, voicing and envelope have a density each."""
        return self.loss == "world"

    @property
    def has_text(self):
        """True where there are two levels: sound units, and frames given them."""
        return self.vocabulary > 0

    def loss_unit(self, variance):
        """What a loss is divided by for a person to read: the data's variance, or 1 for a likelihood in nats."""
        return 1.0 if self.draws else variance

    def replace(self, **changes):
        """A copy with some fields changed; raises ValueError on an unknown field or a bad value.

        At another sample rate frames take as long as before, unless their length is changed too.
        """
        sr = changes.get("sample_rate")
        if type(sr) is int and self.frame_length > 1 and "frame_length" not in changes:
            changes["frame_length"] = max(1, round(self.frame_length * sr / self.sample_rate))
        return dataclasses.replace(self, **_known_fields(changes))

    def to_dict(self):
        """The recipe as plain data that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`; an unknown field is an error."""
        if not isinstance(values, dict):
            raise ValueError("a recipe is an object with a value for each field")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in _known_fields(values).items()})


_FIELDS = {f.name: f for f in dataclasses.fields(Recipe)}
_LEAST_WHOLE = {"n_steps": 2, **dict.fromkeys(("sample_rate", "frame_length", "n_offsets", "n_batch", "n_epochs"), 1)}
_MOST_WHOLE = 2**31 - 1  # what every library underneath takes for a size or a seed
MOST_EPOCHS = 100_000  # of which the log is read at once
_LEAST, _MOST = 1e-30, 1e30  # of a float's size: squares of it matter in float32, and beyond these are 0 or infinite
_MOST_LAYERS = 16  # a network of more takes minutes to compile
_MOST_SEQUENCES = 10**7  # of an epoch from random positions: their places are drawn before it begins
_READ_BY = {"momentum": ("rmsprop", "sgd", "nesterov"), "rho": ("rmsprop",), "epsilon": ("rmsprop", "adagrad")}


def _known_fields(values):
    for name in values:
        check_known("recipe field", name, _FIELDS)
    return values


def _checked(field, value):
    """The value in the field's own type, or ValueError with the remedy."""
    name, kind = field.name, field.type
    if name in CHOICES:
        return check_choice(name, value, CHOICES[name])
    if name == "n_units":
        fine = isinstance(value, (tuple, list)) and 0 < len(value) <= _MOST_LAYERS
        fine = fine and all(type(n) is int and 0 < n <= _MOST_WHOLE for n in value)
        each = "one whole number above 0 for each layer, as in 600,600,600"
        remedy = f"hold {each}, and at most {_MOST_LAYERS} of them"
    elif kind is bool:
        fine, remedy = type(value) is bool, "be true or false"
    elif kind is int:
        least, most = _LEAST_WHOLE.get(name, 0), MOST_EPOCHS if name == "n_epochs" else _MOST_WHOLE
        fine = type(value) is int and least <= value <= most
        remedy = f"be a whole number from {least} to {most}"
    elif kind is float:
        fine = type(value) in (int, float)
        size = abs(value) if fine and name == "forget_bias" else value
        fine = fine and (size == 0 or _LEAST <= size <= _MOST)
        remedy = f"be 0, or a number from {_LEAST:g} to {_MOST:g}"
    else:
        fine, remedy = type(value) is str, "be text"
    if not fine:
        raise ValueError(f"{name}={value!r:.80} must {remedy}")
    return tuple(value) if name == "n_units" else kind(value)


def _contradictions(r):
    """A line for each two settings that do not go together; one that would silently do nothing is among them."""
    for part in _in_training, _in_remedies, _in_levels, _in_frames_and_epochs:
        yield from part(r)


def _in_training(r):
    """Of batches, the optimiser and the layers."""
    if r.batches_per_epoch * r.n_batch > _MOST_SEQUENCES:
        of = f"batches_per_epoch={r.batches_per_epoch} of n_batch={r.n_batch}"
        yield f"{of} are too many sequences for an epoch; use at most {_MOST_SEQUENCES}, and more epochs"
    if r.learning_rate == 0:
        yield "learning_rate=0 trains nothing; use a number above 0"
    if r.input_dropout >= 1:
        yield f"input_dropout={r.input_dropout} drops every input; use a probability below 1"
    if r.momentum >= 1:
        yield f"momentum={r.momentum} never forgets and diverges; use a number below 1"
    if r.optimiser == "nesterov" and not r.momentum:
        yield "optimiser='nesterov' with momentum=0 is plain sgd; set momentum, e.g. 0.9"
    if r.batches_per_epoch and r.n_offsets > 1:
        yield f"n_offsets={r.n_offsets} has no effect on random positions; set batches_per_epoch=0 or n_offsets=1"
    if r.stateful and (r.batches_per_epoch or r.n_offsets > 1):
        yield "stateful=true needs each batch to continue the one before; set batches_per_epoch=0 and n_offsets=1"
    for name, optimisers in _READ_BY.items():
        value, default = getattr(r, name), _FIELDS[name].default
        if value != default and r.optimiser not in optimisers:
            yield f"{name}={value:g} has no effect on optimiser={r.optimiser!r}; set {name}={default:g}"
    if r.optimiser in _READ_BY["rho"] and r.rho >= 1:
        yield f"rho={r.rho} never takes in a gradient; use a number below 1"
    if r.optimiser in _READ_BY["epsilon"] and r.epsilon == 0:
        yield "epsilon=0 divides by zero where a gradient is zero; use a number above 0, as in 1e-12"
    if 0 < r.n_steps - 1 <= r.gradient_steps:  # the last frame of a sequence is only predicted
        fewer = f"use fewer than {r.n_steps - 1}, or 0 for all"
        yield f"gradient_steps={r.gradient_steps} truncates nothing in sequences of n_steps={r.n_steps}; {fewer}"
    if r.lstm.endswith("lasagne-0.1") and not r.peepholes:
        yield f"lstm={r.lstm!r} differs in the output gate's peephole alone; set lstm='fused' or peepholes=true"


def _in_remedies(r):
    """Of scheduled sampling and free steps."""
    sequences, free = f"sequences of n_steps={r.n_steps}", f"free_steps={r.free_steps}"
    if r.p_teacher > 1:
        yield f"p_teacher={r.p_teacher} is no probability; use a number from 0 to 1"
    if r.p_teacher < 1 and r.n_epochs == 1:
        yield f"p_teacher={r.p_teacher} is reached in the last epoch, from 1 in the first; use n_epochs of at least 2"
    if r.p_teacher < 1 and r.n_steps - r.free_steps < 3:
        nothing = f"p_teacher={r.p_teacher} has no frame to replace in {sequences} with {free}"
        yield f"{nothing}; use more steps, or fewer free ones"
    if r.free_steps and r.draws:
        yield f"{free} feeds back what is predicted, loss={r.loss!r} draws it; use loss='mse', or p_teacher"
    if r.free_steps > r.n_steps - 2:
        yield f"{free} leaves no true frame in {sequences}; use <= {r.n_steps - 2}"
    if r.free_steps and (r.stateful or r.gradient_steps):
        yield f"{free} goes with neither stateful=true nor gradient_steps={r.gradient_steps}; set these to false and 0"


def _in_levels(r):
    """Of what is drawn, and of the text above it."""
    if r.draws != (r.n_mixtures > 0):
        mixtures = f"n_mixtures={r.n_mixtures} does not go with loss={r.loss!r}"
        yield f"{mixtures}; a mixture needs at least 1, a mean squared error has none (0)"
    if r.has_world_heads and r.features != "world":
        yield f"loss='world' needs features='world', not {r.features!r}"
    if r.has_text and not r.has_world_heads:
        yield f"vocabulary={r.vocabulary} needs loss='world', not {r.loss!r}"
    if r.vocabulary == 1:
        yield "vocabulary=1 leaves nothing to say; use at least 2 sound units, or 0 for frames alone"
    if r.has_text and not r.language_units:
        yield f"vocabulary={r.vocabulary} needs a language model; set language_units, e.g. 256"
    for name in ("language_units", "language_dropout"):
        if getattr(r, name) and not r.has_text:
            yield f"{name}={getattr(r, name)} has no effect without text; set vocabulary, e.g. 128, or {name}=0"
    if r.language_dropout >= 1:
        yield f"language_dropout={r.language_dropout} drops all that is said; use a probability below 1"
    alone = {"p_teacher": r.p_teacher < 1, "stateful": r.stateful, "best_by": r.best_by == "free_run"}
    for name, asked in alone.items():
        if asked and r.has_text:
            value, given = str(getattr(r, name)).lower(), f"with vocabulary={r.vocabulary} they are given text"
            yield f"{name}={value} knows frames alone, {given}; leave one out"


def _in_frames_and_epochs(r):
    """Of what a frame holds, and how long training lasts."""
    if r.features in ("world", "logmel") and r.scaling != "standardise":
        mixes = f"features={r.features!r} mixes units, which scaling={r.scaling!r} leaves apart"
        yield f"{mixes}; set scaling='standardise'"
    if r.is_raw and not r.limits:
        yield "limits=false has no effect on raw samples, which have none; leave it out"
    if r.patience and r.patience > r.n_epochs - 2:
        yield f"patience={r.patience} never ends a run of n_epochs={r.n_epochs}; use at most n_epochs - 2, or 0"
    if r.patience and r.best_by == "last":
        yield f"patience={r.patience} never ends a run whose best epoch is the last; set best_by or patience=0"
    if r.is_raw and r.scaling == "standardise":
        yield "scaling='standardise' is for features of many dimensions; for raw samples set scaling='std'"


def parse_setting(text):
    """``"field=value"`` from a command line as ``(field, value)`` in the field's type, or ValueError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r:.80} is no setting; write field=value, as in n_epochs=100")
    kind = _FIELDS[check_known("recipe field", name, _FIELDS)].type
    try:
        if name == "n_units":
            return name, tuple(int(n) for n in value.replace("x", ",").split(",") if n)
        if kind is bool:
            return name, {"true": True, "false": False}[value.lower()]
        return name, kind(value)
    except (ValueError, KeyError):
        expected = {bool: "true or false", int: "a whole number", float: "a number"}
        expected = expected.get(kind, "whole numbers, as in 600,600,600")
        raise ValueError(f"{name}={value:.80} must be {expected}") from None
