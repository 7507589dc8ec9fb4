"""What stands on the last LSTM layer, a head: its loss to train on, and the next frame it emits; mixtures of Gaussians.

A head owns Lasagne layers and offers expressions of ``hids`` (n_batch, n_steps, n_units), from the last LSTM layer, and
of ``current`` and ``target`` (n_batch, n_steps, n_features), the frames heard and the frames that follow:
``loss(hids, current, target)``, a scalar; ``predict(hids, current)``, the mean of what may follow; and
``sample(hid, current, uniform, normal, temperature)``, the next frames (n_rows, n_features), given hid (n_rows,
n_units) and random numbers (n_rows, n_uniform) and (n_rows, n_normal) as inputs, so that a seed decides all.

A mixture of K diagonal Gaussians in D dimensions is a dense layer's row ``out`` of K (1 + 2 D) numbers: K logits, K
means of D and K raw sigmas of D; sigma is `min_sigma` + softplus(raw).
"""

import numpy as np
import theano
import theano.tensor as T
from lasagne.layers import ConcatLayer, DenseLayer, InputLayer, get_output

from .features import LOG_F0, VOICING
from .fused import MAX_MIXTURES, MixtureDraw, MixtureNLL, SquaredError, native

MIN_SIGMA = 0.05  # of a standardised dimension: keeps a mixture from collapsing on one training frame
MIN_PITCH_SIGMA = 0.005  # log F0 moves far less from step to step
# what a temperature is multiplied by for voicing, pitch and envelope: of one level the pitch steps alone are narrowed,
# to vibrato, not tremble; given text, which varies enough, voicing and envelope are, for with less they move too little
TEMPERATURES, GIVEN_TEMPERATURES = (1.0, 0.85, 1.0), (0.5, 1.0, 0.5)
FRAME = 2  # columns before the envelope: log F0 and voicing
PITCH_UNITS, ENVELOPE_UNITS = 64, 256  # of the hidden layers before these two mixtures


def mean_squared_error(prediction, target):
    """Mean over all elements of the squared difference of two expressions of one shape, 1 to 3 axes, as a scalar."""
    if native.unavailable():
        return T.mean((prediction - target) ** 2)
    return SquaredError()(prediction, target)[0]


def nll(out, n_mixtures, min_sigma, target):
    """`mixture_nll` of `mixture_parameters` at `target` (n_rows, n_dims) in one pass; no gradient is sent to target."""
    target = theano.gradient.disconnected_grad(target)
    if native.unavailable() or n_mixtures > MAX_MIXTURES:
        return mixture_nll(*mixture_parameters(out, n_mixtures, target.shape[1], min_sigma), target)
    return MixtureNLL(n_mixtures, min_sigma)(out, target)[0]


def beta_nll(out, n_mixtures, min_sigma, target, counted):
    """`nll`, but the gradient of one Gaussian is weighted by its variance: means are fitted by their squared error.

    By likelihood alone a mean learns least where its sigma is largest: where sounds change, and where the pitch leaps.
    The weights are 1 on average over the rows of which `counted` (n_rows, 1) is 1 and not 0.

    M. Seitzer et al., "On the pitfalls of heteroscedastic uncertainty estimation", ICLR (2022), with beta = 1.
    """
    if n_mixtures == 1:
        variance = T.sqr(mixture_parameters(out, 1, target.shape[1], min_sigma)[2][:, 0])
        weight = variance * counted.sum() / T.maximum((counted * variance).sum(axis=0), np.float32(1e-9))
        out = theano.gradient.grad_scale(out, T.concatenate([T.ones_like(out[:, :1]), weight, weight], axis=1))
    return nll(out, n_mixtures, min_sigma, target)


def draw(out, n_mixtures, min_sigma, uniform, normal, temperature):
    """`mixture_sample` of `mixture_parameters` in one pass: (n_rows, n_dims)."""
    if native.unavailable() or n_mixtures > MAX_MIXTURES:
        mixture = mixture_parameters(out, n_mixtures, normal.shape[1], min_sigma)
        return mixture_sample(*mixture, uniform, normal, temperature)
    return MixtureDraw(n_mixtures, min_sigma)(out, uniform, normal, temperature)


def mixture_parameters(out, n_mixtures, n_dims, min_sigma):
    """Cut a dense output into logits (n_rows, n_mixtures), means and sigmas (n_rows, n_mixtures, n_dims)."""
    n = n_mixtures * n_dims
    parts = out[:, n_mixtures : n_mixtures + n], out[:, n_mixtures + n :]
    means, raw = (part.reshape((-1, n_mixtures, n_dims), ndim=3) for part in parts)
    return out[:, :n_mixtures], means, np.float32(min_sigma) + T.nnet.softplus(raw)


def logsumexp(x):
    """log(sum(exp(x))) over the last axis, safe for any finite x: the largest term is taken out first."""
    largest = theano.gradient.disconnected_grad(x.max(axis=-1, keepdims=True))
    return (largest + T.log(T.exp(x - largest).sum(axis=-1, keepdims=True)))[..., 0]


def log_softmax(logits):
    """Log of the weights that logits (n_rows, n_mixtures) stand for."""
    return logits - logsumexp(logits).dimshuffle(0, "x")


def mixture_nll(logits, means, sigmas, target):
    """-log sum_k w_k prod_d N(target_d; mean_kd, sigma_kd), in nats: (n_rows,).

    Parameters
    ----------
    logits : expression (n_rows, n_mixtures)
    means, sigmas : expressions (n_rows, n_mixtures, n_dims)
    target : expression (n_rows, n_dims)
    """
    z = (target.dimshuffle(0, "x", 1) - means) / sigmas
    constant = T.cast(means.shape[2], "float32") * np.float32(0.5 * np.log(2 * np.pi))
    log_density = -(T.sqr(z) * np.float32(0.5) + T.log(sigmas)).sum(axis=2) - constant
    return -logsumexp(log_softmax(logits) + log_density)


def mixture_sample(logits, means, sigmas, uniform, normal, temperature):
    """Draw from a mixture: the component by the Gumbel-max trick, then its Gaussian; (n_rows, n_dims).

    Parameters
    ----------
    logits, means, sigmas : as for `mixture_nll`
    uniform, normal : expressions (n_rows, n_mixtures), in (0, 1), and (n_rows, n_dims)
    temperature : scalar
        Divides the logits and multiplies sigma.
    """
    chosen = T.argmax(logits / temperature - T.log(-T.log(uniform)), axis=1)
    row = T.arange(chosen.shape[0])
    return means[row, chosen] + temperature * sigmas[row, chosen] * normal


def mixture_mean(out, n_mixtures, min_sigma, n_dims):
    """The mean of each row's mixture: (n_rows, n_dims)."""
    logits, means, _ = mixture_parameters(out, n_mixtures, n_dims, min_sigma)
    return (T.exp(log_softmax(logits)).dimshuffle(0, 1, "x") * means).sum(axis=1)


class LinearHead:
    """Emits the mean of what may follow; mean squared error.

    Parameters
    ----------
    hid : Lasagne layer with output (n_rows, n_units)
    n_features : int
    """

    n_uniform = n_normal = 0

    def __init__(self, hid, n_features):
        self.hid, self.n_features = hid, n_features
        self.output = DenseLayer(hid, n_features, nonlinearity=None, name="output")
        self.outputs = [self.output]

    @staticmethod
    def sizes(n_units, n_features, n_mixtures):
        return [(n_units, n_features)]

    def loss(self, hids, current, target):
        return mean_squared_error(self.predict(hids, current), target)

    def predict(self, hids, current):
        prediction = get_output(self.output, {self.hid: _rows(hids)})
        return prediction.reshape((hids.shape[0], hids.shape[1], self.n_features), ndim=3)

    def sample(self, hid, current, uniform, normal, temperature):
        """The prediction itself: there is nothing to draw."""
        return get_output(self.output, {self.hid: hid})


class MixtureHead:
    """A mixture of diagonal Gaussians over the whole next frame; negative log-likelihood in nats per frame.

    Parameters
    ----------
    hid : Lasagne layer with output (n_rows, n_units)
    n_features : int
    n_mixtures : int
        1 is a plain Gaussian.
    residual : bool
        Means are added to the current frame.  This is what blows up when the network runs free; kept to be shown.

    References
    ----------
    C. Bishop, "Mixture density networks" (1994), eq. 22-28.
    A. Graves, "Generating sequences with recurrent neural networks" (2013), sec. 4.
    """

    def __init__(self, hid, n_features, n_mixtures, residual=False):
        self.hid, self.n_features, self.n_mixtures, self.residual = hid, n_features, n_mixtures, residual
        self.n_uniform, self.n_normal = n_mixtures, n_features
        self.output = DenseLayer(hid, n_mixtures * (1 + 2 * n_features), nonlinearity=None, name="mixture")
        self.outputs = [self.output]

    @staticmethod
    def sizes(n_units, n_features, n_mixtures):
        return [(n_units, n_mixtures * (1 + 2 * n_features))]

    def _mixture(self, hid):
        return get_output(self.output, {self.hid: hid}), self.n_mixtures, MIN_SIGMA

    def loss(self, hids, current, target):
        moved = target - current if self.residual else target
        return nll(*self._mixture(_rows(hids)), _rows(moved)).mean()

    def predict(self, hids, current):
        means = mixture_mean(*self._mixture(_rows(hids)), self.n_features).reshape(current.shape, ndim=3)
        return current + means if self.residual else means

    def sample(self, hid, current, uniform, normal, temperature):
        drawn = draw(*self._mixture(hid), uniform, normal, temperature)
        return current + drawn if self.residual else drawn


class WorldHead:
    """Heads in sequence for WORLD frames: is there voice, at what pitch, with which envelope.

    Each hears what the ones before it decided: voicing from the state; log F0, where voiced; the envelope given both.
    Within a sound the pitch, which lives in small steps, is residual.  Where voice begins it is absolute, as the
    envelope always is: that is what keeps both from wandering off.

    Parameters
    ----------
    hid, n_mixtures : as for `MixtureHead`
    n_features : int
        Log F0, voicing, then aperiodicity and envelope, standardised.
    voicing_values : (float, float)
        What 0 and 1 have become by standardising.
    temperatures : (float, float, float)
        What a temperature is multiplied by for voicing, pitch and envelope.
    """

    def __init__(self, hid, n_features, n_mixtures, voicing_values, temperatures=TEMPERATURES):
        self.temperatures = temperatures
        self.hid, self.n_mixtures, self.n_envelope = hid, n_mixtures, n_features - FRAME
        self.unvoiced, self.voiced = (np.float32(v) for v in voicing_values)
        self.n_uniform, self.n_normal = 1 + 2 * n_mixtures, 1 + self.n_envelope
        self.melody = InputLayer((None, FRAME), name="melody")  # voicing (0 or 1); a log F0, the last or the new one
        self.voicing = DenseLayer(hid, 1, nonlinearity=None, name="voicing")
        given = ConcatLayer([hid, self.melody], name="given")
        pitch_hidden = DenseLayer(given, PITCH_UNITS, name="pitch_hidden")
        self.pitch = DenseLayer(pitch_hidden, 3 * n_mixtures, nonlinearity=None, name="pitch")
        envelope_hidden = DenseLayer(given, ENVELOPE_UNITS, name="envelope_hidden")
        width = n_mixtures * (1 + 2 * self.n_envelope)
        self.envelope = DenseLayer(envelope_hidden, width, nonlinearity=None, name="envelope")
        self.outputs = [self.voicing, self.pitch, self.envelope]

    @staticmethod
    def sizes(n_units, n_features, n_mixtures):
        given, envelope = n_units + FRAME, n_mixtures * (1 + 2 * (n_features - FRAME))
        pitch = [(given, PITCH_UNITS), (PITCH_UNITS, 3 * n_mixtures)]
        return [(n_units, 1), *pitch, (given, ENVELOPE_UNITS), (ENVELOPE_UNITS, envelope)]

    def _pitch(self, hid, voiced, last):
        """Mixture of what is added to `_origin` for the new log F0, given the last one (n_rows, 1)."""
        return self._given(self.pitch, hid, voiced, last), self.n_mixtures, MIN_PITCH_SIGMA

    def _envelope(self, hid, voiced, pitch):
        """Mixture of aperiodicity and envelope (n_rows, n_envelope) given the new log F0."""
        return self._given(self.envelope, hid, voiced, pitch), self.n_mixtures, MIN_SIGMA

    def _given(self, layer, hid, voiced, pitch):
        return get_output(layer, {self.hid: hid, self.melody: T.concatenate([voiced, pitch], axis=1)})

    def loss(self, hids, current, target):
        """Mean over frames of -log p(voicing) - [voiced] log p(F0) - log p(envelope)."""
        hid, current, target = _rows(hids), _rows(current), _rows(target)
        pitch, voiced = target[:, LOG_F0 : LOG_F0 + 1], T.cast(T.gt(target[:, VOICING : VOICING + 1], 0), "float32")
        logit = get_output(self.voicing, {self.hid: hid})
        voicing_nll = T.nnet.softplus(logit) - voiced * logit
        last = current[:, LOG_F0 : LOG_F0 + 1]
        pitch_nll = beta_nll(*self._pitch(hid, voiced, last), pitch - _origin(current), voiced)
        envelope_nll = beta_nll(*self._envelope(hid, voiced, pitch), target[:, FRAME:], T.ones_like(voiced))
        return (voicing_nll[:, 0] + voiced[:, 0] * pitch_nll + envelope_nll).mean()

    def errors(self, hids, target):
        """By how many sigmas a target's envelope differs from the mean, of one Gaussian: the shape of `target`."""
        hid, rows = _rows(hids), _rows(target)
        voiced = T.cast(T.gt(rows[:, VOICING : VOICING + 1], 0), "float32")
        out, *sizes = self._envelope(hid, voiced, rows[:, LOG_F0 : LOG_F0 + 1])
        _, means, sigmas = mixture_parameters(out, sizes[0], self.n_envelope, sizes[1])
        error = (rows[:, FRAME:] - means[:, 0]) / sigmas[:, 0]
        return error.reshape((target.shape[0], target.shape[1], self.n_envelope), ndim=3)

    def predict(self, hids, current):
        """Means, each head given the means of those before it."""
        hid, now = _rows(hids), _rows(current)
        probability = T.nnet.sigmoid(get_output(self.voicing, {self.hid: hid}))
        voiced, last = T.cast(T.gt(probability, 0.5), "float32"), now[:, LOG_F0 : LOG_F0 + 1]
        pitch = T.switch(voiced, _origin(now) + mixture_mean(*self._pitch(hid, voiced, last), 1), last)
        envelope = mixture_mean(*self._envelope(hid, voiced, pitch), self.n_envelope)
        voicing = self.unvoiced + probability * (self.voiced - self.unvoiced)
        frames = T.concatenate([pitch, voicing, envelope], axis=1)
        return frames.reshape((*hids.shape[:2], FRAME + self.n_envelope), ndim=3)

    def sample(self, hid, current, uniform, normal, temperature):
        """One draw: voicing, then pitch (held where unvoiced), then the envelope."""
        K = self.n_mixtures
        of_voicing, of_pitch, of_envelope = (temperature * np.float32(times) for times in self.temperatures)
        logit = get_output(self.voicing, {self.hid: hid})
        voiced = T.cast(T.lt(uniform[:, :1], T.nnet.sigmoid(logit / of_voicing)), "float32")
        last = current[:, LOG_F0 : LOG_F0 + 1]
        step = draw(*self._pitch(hid, voiced, last), uniform[:, 1 : 1 + K], normal[:, :1], of_pitch)
        pitch = T.switch(voiced, _origin(current) + step, last)
        envelope = draw(*self._envelope(hid, voiced, pitch), uniform[:, 1 + K :], normal[:, 1:], of_envelope)
        return T.concatenate([pitch, self.unvoiced + voiced * (self.voiced - self.unvoiced), envelope], axis=1)


def _origin(current):
    """The log F0 (n_rows, 1) that the next one is a step from: the last, or the mean, 0, where there was no voice."""
    return T.switch(T.gt(current[:, VOICING : VOICING + 1], 0), current[:, LOG_F0 : LOG_F0 + 1], np.float32(0))


def _rows(x):
    """(n_batch, n_steps, n) as (n_batch * n_steps, n)."""
    return x.reshape((-1, x.shape[2]), ndim=2)


HEADS = {  # a recipe's loss: its head, and what that takes beyond the layer below and the width of a frame
    "mse": (LinearHead, lambda recipe, scaling: ()),
    "mixture": (MixtureHead, lambda recipe, scaling: (recipe.n_mixtures,)),
    "residual-mixture": (MixtureHead, lambda recipe, scaling: (recipe.n_mixtures, True)),
    "world": (WorldHead, lambda recipe, scaling: (recipe.n_mixtures, *_of_world(recipe, scaling))),
}


def build_head(recipe, hid, n_features, scaling=None):
    """The head of a recipe's loss on `hid` (n_rows, n_units); the data's `scaling` says what voicing 0 and 1 became."""
    head, more = HEADS[recipe.loss]
    return head(hid, n_features, *more(recipe, scaling))


def head_sizes(recipe, n_units, n_features):
    """The (n_inputs, n_outputs) of each dense layer of the head that `build_head` makes, without building it."""
    return HEADS[recipe.loss][0].sizes(n_units, n_features, recipe.n_mixtures)


def _of_world(recipe, scaling):
    """A `WorldHead`'s voicing values and temperatures."""
    shift, scale = (scaling.shift[VOICING], scaling.scale[VOICING]) if scaling else (0.5, 0.5)
    return (np.array([0.0, 1.0]) - shift) / scale, GIVEN_TEMPERATURES if recipe.has_text else TEMPERATURES
