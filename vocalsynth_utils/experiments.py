"""The experiments of 2016, and ours, as data: where each differs from the defaults, and why.

Every experiment of 2016 is there twice: in full size, for a recording of
hours, and as ``NAME-small`` for the built-in voice, where it takes up to a
minute of one core.  `small_form` says how the second follows from the first;
`recipes` makes recipes of both.
"""
from typing import NamedTuple, Optional

SMALL_SECONDS = 4  # in a sequence of the small form: the valid part of five minutes holds seven
SMALL_OFFSETS = 8  # shifted copies, so that its epoch is 30 updates


class Experiment(NamedTuple):
    """A named recipe before it is one.

    `fields` says where it differs from the defaults of `recipes.Recipe`,
    `small` where its small form differs from what `small_form` makes of it
    (None: it has none, being small itself).  `recorded` is the best valid loss
    of 2016 over the variance, from the logs in the author's repository.
    """

    name: str
    purpose: str
    fields: dict
    small: Optional[dict] = None
    recorded: Optional[float] = None


def small_form(experiment):
    """The fields of an experiment's small form.

    Sequences of four seconds from shifted copies of the recording, a quarter
    of the units, ten epochs; and an epsilon that lets RMSProp be RMSProp, with
    a rate to go with it, as there are no thousands of epochs in a minute.
    """
    frame_length, n_units = (experiment.fields.get(name, default) for name, default in (("frame_length", 16000), ("n_units", _size("600x3"))))
    shorter = dict(n_steps=16000 * SMALL_SECONDS // frame_length, n_offsets=SMALL_OFFSETS, n_units=tuple(n // 4 for n in n_units), n_epochs=10)
    if experiment.fields.get("optimiser", "rmsprop") == "rmsprop":
        shorter.update(epsilon=1e-12, learning_rate=0.003)
    return {**experiment.fields, **shorter, **experiment.small}


def _size(text):
    """``"300x3"``: three layers of 300 units."""
    n_units, n_layers = map(int, text.split("x"))
    return (n_units,) * n_layers


def _plain(seconds, size, purpose, recorded=None, **small):
    """An experiment that is nothing but its frame and its network, and is named after them."""
    return Experiment(f"{seconds:g}s-{size}", purpose, dict(frame_length=round(16000 * seconds), n_units=_size(size)), small, recorded)


def _variant(base, suffix, purpose, fields, small=None, recorded=None):
    """An experiment that changes some fields of another, and is named after both."""
    return Experiment(f"{base.name}-{suffix}", purpose, {**base.fields, **fields}, {**(base.small or {}), **(small or {})}, recorded)


_HEADLINE = Experiment("2016", "the headline run: 1 s frames, 55 million parameters, trained on a Tesla K40 for 125 minutes", {}, None, 0.970)
_SECOND = Experiment("1s-600x3", "", {}, {})  # the headline run, as a base of variants
_EIGHTH = _plain(0.125, "300x3", "three layers: the most that paid in 2016", 0.307)
_TENTH = Experiment("0.1s-300x3", "x / std, so that losses are in units of the variance", dict(frame_length=1600, n_units=_size("300x3"), scaling="std"), {}, 0.574)
_QUARTER = _plain(0.25, "2000x1", "one wide layer, without offsets", 0.682, n_units=(125,), n_offsets=1, n_epochs=100)
_HALF = _plain(0.5, "300x1", "", 0.804)
_LAYER = dict(frame_length=200, scaling="std", n_steps=80, n_units=(128,))
_SHORT = dict(optimiser="adam", learning_rate=0.003, schedule="cosine", max_norm=1.0, batches_per_epoch=20, n_epochs=12)
_RECTIFIER = {**_LAYER, "n_offsets": 4, "epsilon": 1e-6, "learning_rate": 0.01, "n_epochs": 12}  # explodes within a minute
_FRAMES_200 = {**_LAYER, **_SHORT, "n_units": (256,)}
_WORLD = dict(features="world", frame_length=240, scaling="standardise", n_steps=50, n_units=(256,), forget_bias=1.0,
              optimiser="adam", learning_rate=0.004, schedule="cosine", warmup=20, max_norm=1.0, n_batch=32, batches_per_epoch=50, n_epochs=6)
_SAMPLES = dict(frame_length=1, scaling="std", n_steps=100, n_units=(128,), optimiser="adam", learning_rate=0.003, schedule="cosine",
                n_batch=64, batches_per_epoch=50, n_epochs=6)
_ONE_SAMPLE = Experiment("1sample-300x1", "the very first attempt, in sequences of 100 samples; give it a minute of voice",
                         dict(frame_length=1, n_steps=100, n_units=(300,)), dict(n_steps=100, n_offsets=1, batches_per_epoch=200, n_epochs=6))

FAMILIES = {
    "the headline run": (
        _HEADLINE,
        Experiment("2016-small", "the same idea for a laptop and a short recording: a minute of training",
                   dict(frame_length=2000, n_steps=20, n_offsets=4, n_units=(300,), n_epochs=40, learning_rate=0.001, epsilon=1e-12)),
        _variant(_HEADLINE, "lasagne", "as its code computed: Lasagne 0.1 adds the output gate's peephole after the sigmoid",
                 dict(lstm="fused-lasagne-0.1"))),
    "frame length": (
        Experiment("1s-600x3-small", "the headline run at a quarter of its units, to compare the shorter frames with", small_form(_SECOND)),
        _plain(0.5, "600x3", "half a second a frame"),
        _plain(0.25, "600x3", "a quarter of a second", 0.609),
        _plain(0.125, "600x3", "an eighth of a second"),
        _plain(0.1, "600x3", "a tenth of a second"),
        _plain(0.05, "600x3", "a twentieth of a second", 0.376),
        _plain(0.0125, "600x3", "200 samples, as Yoshua Bengio suggested in class")),
    "layers": (
        _plain(0.125, "300x1", "one layer", 0.419),
        _plain(0.125, "300x2", "two layers", 0.371),
        _EIGHTH,
        _plain(0.125, "300x4", "four layers"),
        _plain(0.125, "300x5", "five layers; the configuration of 2016 that built five had wired only the first"),
        _plain(0.125, "300x8", "eight layers")),
    "units": (
        _plain(1, "100x3", "a sixth of the headline's units", 0.977),
        _plain(1, "1000x3", "more units than the headline run", 0.995, n_epochs=5),
        _plain(1, "500x8", "more layers than the headline run", 0.995),
        Experiment("1s-tapered", "600-400-200-400-600: a waist in the middle", dict(n_units=(600, 400, 200, 400, 600)), {}),
        _plain(0.5, "100x1", "a small network for long frames", 0.840),
        _HALF._replace(purpose="three times the units"),
        _plain(0.5, "600x1", "six times the units", 0.783),
        _plain(0.5, "1000x1", "ten times the units", 0.768),
        _plain(0.5, "2000x1", "twenty times the units", 0.756, n_epochs=4),
        _plain(0.25, "300x1", "one layer on a quarter of a second", 0.547),
        _plain(0.25, "600x1", "twice the units", 0.567),
        _plain(0.05, "1024x1", "one wide layer on short frames", 0.415),
        _plain(0.05, "1024x2", "two wide layers on short frames", 0.400)),
    "noise and memory": (
        _variant(_EIGHTH, "noise", "input noise, really switched on", dict(input_noise=0.3), recorded=0.301),
        _variant(_EIGHTH, "dropout", "input dropout, really switched on", dict(input_dropout=0.3), recorded=0.287),
        _variant(_EIGHTH, "20s", "sequences of 20 s", dict(n_steps=160), dict(n_steps=160, n_epochs=50), 0.294),
        _variant(_EIGHTH, "stateful", "each batch goes on where the one before ended", dict(stateful=True),
                 dict(n_offsets=1, n_batch=4, n_epochs=20)),
        _variant(_HALF, "forget0.5", "forget-gate bias 0.5", dict(forget_bias=0.5), recorded=0.8031),
        _variant(_HALF, "forget1", "forget-gate bias 1", dict(forget_bias=1.0), recorded=0.8038)),
    "nonlinearity, and what made the rectifier explode": (
        Experiment("sigmoid", "sigmoid instead of tanh on the LSTM's output", dict(nonlinearity="sigmoid"), _RECTIFIER),
        Experiment("rectify", "a rectifier there, in Lasagne 0.1's form: explodes", dict(nonlinearity="rectify", lstm="fused-lasagne-0.1"), _RECTIFIER, 2.21),
        Experiment("rectify-clipped", "the gates' gradients clipped: explodes all the same",
                   dict(nonlinearity="rectify", lstm="fused-lasagne-0.1", grad_clipping=1.0), _RECTIFIER),
        Experiment("rectify-truncated", "backpropagation through five steps only: holds, and learns less",
                   dict(nonlinearity="rectify", lstm="fused-lasagne-0.1", gradient_steps=5), _RECTIFIER),
        Experiment("rectify-norm", "the norm of the whole gradient bounded", dict(nonlinearity="rectify", lstm="fused-lasagne-0.1", max_norm=1.0), _RECTIFIER),
        Experiment("rectify-textbook", "the textbook's output gate: no explosion to cure", dict(nonlinearity="rectify"), _RECTIFIER)),
    "optimiser": (
        _TENTH,
        _variant(_TENTH, "momentum", "the momentum of 0.9 that 2016 set and never passed on", dict(momentum=0.9), dict(learning_rate=0.0003)),
        _variant(_TENTH, "nesterov", "Nesterov's momentum instead of RMSProp", dict(optimiser="nesterov", momentum=0.9), recorded=1.007),
        _variant(_TENTH, "sgd", "plain gradient descent, at the rate RMSProp with that epsilon comes down to", dict(optimiser="sgd", learning_rate=10.0)),
        _variant(_TENTH, "adagrad", "Adagrad", dict(optimiser="adagrad")),
        _variant(_TENTH, "adam", "Adam", dict(optimiser="adam", learning_rate=0.001), dict(learning_rate=0.003))),
    "offsets and scaling": (
        _variant(_TENTH, "offsets", "ten shifted copies of the recording", dict(n_offsets=10), dict(n_offsets=40, n_epochs=2), 0.266),
        _QUARTER,
        _variant(_QUARTER, "offsets", "seven shifted copies: at first no more than seven times the updates", dict(n_offsets=7),
                 dict(n_offsets=7, n_epochs=12), 0.502),
        _variant(_SECOND, "minmax", "(x - min) / (max - min), the first version: the mean has to be learned", dict(scaling="minmax")),
        _variant(_SECOND, "std", "x / std: losses, and gradients, 70 times as large", dict(scaling="std"))),
    "what a frame holds": (
        Experiment("0.25s-600x1-fft", "real and imaginary parts of the spectrum, squared error", dict(features="fft", frame_length=4000, n_units=(600,)),
                   dict(n_offsets=1, n_epochs=100), 0.706),
        Experiment("fft-mixture", "spectra of 200 samples and a mixture that is sampled", dict(
            _FRAMES_200, features="fft", scaling="standardise", loss="mixture", n_mixtures=8)),
        Experiment("logmel-mixture", "log-mel bands, a mixture that is sampled, phases by Griffin-Lim", dict(_WORLD, features="logmel", loss="mixture", n_mixtures=8)),
        _ONE_SAMPLE,
        _variant(_ONE_SAMPLE, "1000", "sequences of 1000 samples", dict(n_steps=1000), dict(n_steps=1000, batches_per_epoch=20)),
        Experiment("samples", "one sample a step, 100 of them a sequence, trained well; give it a minute of voice", _SAMPLES)),
    "how a generated voice lives or dies": (
        Experiment("world-mdn", "the cure: WORLD vocoder frames and a mixture density that is sampled from; minutes of living voice",
                   dict(_WORLD, n_units=(192,), n_steps=160, loss="world", n_mixtures=8, n_batch=8, n_epochs=10,
                        best_by="last")),  # the likelihood does not rank how a network sings; the end of the annealing does as well as any epoch
        Experiment("frames-200", "frames of 200 samples and a squared error: a low loss, and it dies to a constant", _FRAMES_200),
        Experiment("frames-200-gaussian", "the same with a Gaussian that is sampled: noise", dict(_FRAMES_200, loss="mixture", n_mixtures=1)),
        Experiment("world-mse", "good frames and mean squared error: a loop without change", _WORLD),
        Experiment("world-residual", "mixture means added to the last frame, and no clamp: it wanders off for good",
                   dict(_WORLD, loss="residual-mixture", n_mixtures=8, clamp=False)),
        Experiment("world-absolute", "the same with absolute means, and no clamp: it stays", dict(_WORLD, loss="mixture", n_mixtures=8, clamp=False))),
}
