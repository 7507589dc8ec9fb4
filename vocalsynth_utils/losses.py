"""Heads: what stands on the last LSTM layer, as a loss to train on and a next frame to emit.

A head owns Lasagne layers and offers

``loss(hids, current, target)``
    a scalar expression; ``hids`` (n_batch, n_steps, n_units) from the last
    LSTM layer, ``current`` and ``target`` (n_batch, n_steps, n_features) the
    frames heard and the frames that follow;
``sample(hid, current, uniform, normal, temperature)``
    the next frames (n_rows, n_features), given hid (n_rows, n_units) and
    random numbers (n_rows, n_uniform) and (n_rows, n_normal) as inputs, so that
    a seed decides all and the graph has no random state.
"""
import numpy as np
import theano.tensor as T
from lasagne.layers import ConcatLayer, DenseLayer, InputLayer, get_output

from .features import LOG_F0, VOICING
from .fused_loss import mean_squared_error
from .mixtures import draw, log_softmax, logsumexp, mixture_mean, mixture_nll, mixture_parameters, mixture_sample, nll  # noqa: F401

MIN_SIGMA = 0.05         # of a standardised dimension: keeps a mixture from collapsing on one training frame
MIN_PITCH_SIGMA = 0.005  # log F0 moves far less from step to step
PITCH_TEMPERATURE = 0.85  # narrows the pitch steps alone: vibrato, not tremble
FRAME = 2                # columns before the envelope: log F0 and voicing


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

    def loss(self, hids, current, target):
        """Mean of (prediction - target)^2 over all numbers."""
        return mean_squared_error(self.predict(hids, current), target)

    def predict(self, hids, current):
        """The prediction of each next frame, (n_batch, n_steps, n_features)."""
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
        Means are added to the current frame.  This is what blows up when the
        network runs free; kept to be shown.

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

    def _mixture(self, hid):
        return get_output(self.output, {self.hid: hid}), self.n_mixtures, MIN_SIGMA

    def loss(self, hids, current, target):
        """Mean over frames of -log p(target)."""
        moved = target - current if self.residual else target
        return nll(*self._mixture(_rows(hids)), _rows(moved)).mean()

    def predict(self, hids, current):
        """The mixture's mean, (n_batch, n_steps, n_features)."""
        means = mixture_mean(*self._mixture(_rows(hids)), self.n_features).reshape(current.shape, ndim=3)
        return current + means if self.residual else means

    def sample(self, hid, current, uniform, normal, temperature):
        """One draw from the mixture for each row."""
        drawn = draw(*self._mixture(hid), uniform, normal, temperature)
        return current + drawn if self.residual else drawn


class WorldHead:
    """Heads in sequence for WORLD frames: is there voice, at what pitch, with which envelope.

    Each hears what the ones before it decided: voicing from the state; log F0
    as a step from the last one, where voiced; the envelope given both.  The
    pitch, which lives in small steps, is residual; the envelope is absolute,
    which is what keeps it from wandering off.

    Parameters
    ----------
    hid : Lasagne layer with output (n_rows, n_units)
    n_features : int
        Log F0, voicing, then aperiodicity and envelope, standardised.
    n_mixtures : int
    voicing_values : (float, float)
        What 0 and 1 have become by standardising.
    """

    def __init__(self, hid, n_features, n_mixtures, voicing_values):
        self.hid, self.n_mixtures, self.n_envelope = hid, n_mixtures, n_features - FRAME
        self.unvoiced, self.voiced = (np.float32(v) for v in voicing_values)
        self.n_uniform, self.n_normal = 1 + 2 * n_mixtures, 1 + self.n_envelope
        self.melody = InputLayer((None, FRAME), name="melody")  # voicing (0 or 1) and a log F0: the last one, or the new one
        self.voicing = DenseLayer(hid, 1, nonlinearity=None, name="voicing")
        given = ConcatLayer([hid, self.melody], name="given")
        self.pitch = DenseLayer(DenseLayer(given, 64, name="pitch_hidden"), 3 * n_mixtures, nonlinearity=None, name="pitch")
        self.envelope = DenseLayer(DenseLayer(given, 256, name="envelope_hidden"), n_mixtures * (1 + 2 * self.n_envelope),
                                   nonlinearity=None, name="envelope")
        self.outputs = [self.voicing, self.pitch, self.envelope]

    def _pitch(self, hid, voiced, last):
        """Mixture of the step from the last log F0 (n_rows, 1) to the new one."""
        return get_output(self.pitch, {self.hid: hid, self.melody: T.concatenate([voiced, last], axis=1)}), self.n_mixtures, MIN_PITCH_SIGMA

    def _envelope(self, hid, voiced, pitch):
        """Mixture of aperiodicity and envelope (n_rows, n_envelope) given the new log F0."""
        return get_output(self.envelope, {self.hid: hid, self.melody: T.concatenate([voiced, pitch], axis=1)}), self.n_mixtures, MIN_SIGMA

    def loss(self, hids, current, target):
        """Mean over frames of -log p(voicing) - [voiced] log p(F0) - log p(envelope)."""
        hid, current, target = _rows(hids), _rows(current), _rows(target)
        pitch, voiced = target[:, LOG_F0:LOG_F0 + 1], T.cast(T.gt(target[:, VOICING:VOICING + 1], 0), "float32")
        logit = get_output(self.voicing, {self.hid: hid})
        voicing_nll = T.nnet.softplus(logit) - voiced * logit
        last = current[:, LOG_F0:LOG_F0 + 1]
        pitch_nll = nll(*self._pitch(hid, voiced, last), pitch - last)
        envelope_nll = nll(*self._envelope(hid, voiced, pitch), target[:, FRAME:])
        return (voicing_nll[:, 0] + voiced[:, 0] * pitch_nll + envelope_nll).mean()

    def predict(self, hids, current):
        """Means, each head given the means of those before it, (n_batch, n_steps, n_features)."""
        hid, now = _rows(hids), _rows(current)
        probability = T.nnet.sigmoid(get_output(self.voicing, {self.hid: hid}))
        voiced, last = T.cast(T.gt(probability, 0.5), "float32"), now[:, LOG_F0:LOG_F0 + 1]
        pitch = last + voiced * mixture_mean(*self._pitch(hid, voiced, last), 1)
        envelope = mixture_mean(*self._envelope(hid, voiced, pitch), self.n_envelope)
        voicing = self.unvoiced + probability * (self.voiced - self.unvoiced)
        return T.concatenate([pitch, voicing, envelope], axis=1).reshape(current.shape, ndim=3)

    def sample(self, hid, current, uniform, normal, temperature):
        """One draw: voicing, then pitch (held where unvoiced), then the envelope."""
        K = self.n_mixtures
        logit = get_output(self.voicing, {self.hid: hid})
        voiced = T.cast(T.lt(uniform[:, :1], T.nnet.sigmoid(logit / temperature)), "float32")
        last = current[:, LOG_F0:LOG_F0 + 1]
        step = draw(*self._pitch(hid, voiced, last), uniform[:, 1:1 + K], normal[:, :1], np.float32(PITCH_TEMPERATURE * temperature))
        pitch = last + voiced * step
        envelope = draw(*self._envelope(hid, voiced, pitch), uniform[:, 1 + K:], normal[:, 1:], temperature)
        return T.concatenate([pitch, self.unvoiced + voiced * (self.voiced - self.unvoiced), envelope], axis=1)


def _rows(x):
    """(n_batch, n_steps, n) as (n_batch * n_steps, n)."""
    return x.reshape((-1, x.shape[2]), ndim=2)
