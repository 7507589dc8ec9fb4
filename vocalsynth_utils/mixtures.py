"""Mixtures of diagonal Gaussians: as Theano expressions, and as one Op each for the likelihood and the draw.

A dense layer's row ``out`` of K (1 + 2 D) numbers holds K logits, K means of D
and K raw sigmas of D; sigma is `min_sigma` + softplus(raw).

References
----------
C. Bishop, "Mixture density networks" (1994), eq. 22-28.
"""
import numpy as np
import theano
import theano.tensor as T

from . import native

MAX_MIXTURES = 64            # as in c_code/mixture.cpp
ROWS_WORTH_A_THREAD = 200_000  # numbers in the rows that a thread should get


def nll(out, n_mixtures, min_sigma, target):
    """-log of the density at `target` (n_rows, n_dims), in nats: (n_rows,); `mixture_nll` of `mixture_parameters` in one pass.

    Parameters
    ----------
    out : Theano matrix (n_rows, n_mixtures * (1 + 2 * n_dims))
    n_mixtures : int
    min_sigma : float
    target : Theano matrix (n_rows, n_dims)
        No gradient is sent to it.
    """
    target = theano.gradient.disconnected_grad(target)
    if native.unavailable() or n_mixtures > MAX_MIXTURES:
        return mixture_nll(*mixture_parameters(out, n_mixtures, target.shape[1], min_sigma), target)
    return MixtureNLL(n_mixtures, min_sigma)(out, target)[0]


def draw(out, n_mixtures, min_sigma, uniform, normal, temperature):
    """`mixture_sample` of `mixture_parameters` in one pass: (n_rows, n_dims)."""
    if native.unavailable() or n_mixtures > MAX_MIXTURES:
        return mixture_sample(*mixture_parameters(out, n_mixtures, normal.shape[1], min_sigma), uniform, normal, temperature)
    return MixtureDraw(n_mixtures, min_sigma)(out, uniform, normal, temperature)


def mixture_parameters(out, n_mixtures, n_dims, min_sigma):
    """Cut a dense output into logits, means and sigmas.

    Parameters
    ----------
    out : Theano matrix (n_rows, n_mixtures * (1 + 2 * n_dims))
    min_sigma : float

    Returns
    -------
    logits (n_rows, n_mixtures); means, sigmas (n_rows, n_mixtures, n_dims)
    """
    n = n_mixtures * n_dims
    means, raw = (part.reshape((-1, n_mixtures, n_dims), ndim=3) for part in (out[:, n_mixtures:n_mixtures + n], out[:, n_mixtures + n:]))
    return out[:, :n_mixtures], means, np.float32(min_sigma) + T.nnet.softplus(raw)


def logsumexp(x):
    """log(sum(exp(x))) over the last axis, safe for any finite x: the largest term is taken out first."""
    largest = theano.gradient.disconnected_grad(x.max(axis=-1, keepdims=True))
    return (largest + T.log(T.exp(x - largest).sum(axis=-1, keepdims=True)))[..., 0]


def log_softmax(logits):
    """Log of the weights that logits (n_rows, n_mixtures) stand for."""
    return logits - logsumexp(logits).dimshuffle(0, "x")


def mixture_nll(logits, means, sigmas, target):
    """-log sum_k w_k prod_d N(target_d; mean_kd, sigma_kd), in nats: (n_rows,)."""
    z = (target.dimshuffle(0, "x", 1) - means) / sigmas
    log_density = -(T.sqr(z) * np.float32(0.5) + T.log(sigmas)).sum(axis=2) - T.cast(means.shape[2], "float32") * np.float32(0.5 * np.log(2 * np.pi))
    return -logsumexp(log_softmax(logits) + log_density)


def mixture_sample(logits, means, sigmas, uniform, normal, temperature):
    """Draw from a mixture: the component by the Gumbel-max trick, then its Gaussian; (n_rows, n_dims).

    Parameters
    ----------
    uniform : (n_rows, n_mixtures), in (0, 1)
    normal : (n_rows, n_dims)
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


class _MixtureOp(theano.Op):
    """What both Ops share: how many components a row of `out` holds, and the floor of their sigmas."""

    __props__ = ("n_mixtures", "min_sigma")

    def __init__(self, n_mixtures, min_sigma):
        self.n_mixtures, self.min_sigma = n_mixtures, min_sigma

    def _checked(self, inputs, n_dims, dtype):
        out = np.ascontiguousarray(inputs[0])
        others = [np.ascontiguousarray(v, dtype) for v in inputs[1:]]
        wanted = [(len(out), w) for w in self._widths(n_dims)]
        if [v.shape for v in [out] + others] != wanted:
            raise ValueError(f"{self}: inputs have shapes {[v.shape for v in inputs]}, expected {wanted}")
        return [out] + others


class MixtureNLL(_MixtureOp):
    """Inputs: out, and target (n_rows, n_dims).  Outputs: -log p (n_rows,), and its gradient by each row of out."""

    def make_node(self, out, target):
        out, target = T.as_tensor_variable(out), T.as_tensor_variable(target)
        if out.dtype != target.dtype or out.dtype not in ("float32", "float64"):
            raise TypeError(f"out is {out.dtype}, target {target.dtype}; both must be float32, or both float64")
        return theano.Apply(self, [out, target], [T.vector(dtype=out.dtype), T.matrix(dtype=out.dtype)])

    def _widths(self, n_dims):
        return [self.n_mixtures * (1 + 2 * n_dims), n_dims]

    def perform(self, node, inputs, output_storage):
        n_dims, dtype = inputs[1].shape[1], inputs[0].dtype
        out, target = self._checked(inputs, n_dims, dtype)
        nll, d_out = (native.output(s, shape, dtype) for s, shape in zip(output_storage, (out.shape[:1], out.shape)))
        threads = max(1, min(native.num_threads(), out.size // ROWS_WORTH_A_THREAD))
        native.function("mixture_nll", dtype)(
            *map(native.long, (len(out), self.n_mixtures, n_dims)), native.pointer(out), native.pointer(target),
            native.scalar(self.min_sigma, dtype), native.pointer(nll), native.pointer(d_out), native.long(threads))

    def infer_shape(self, node, shapes):
        return [shapes[0][:1], shapes[0]]

    def connection_pattern(self, node):
        return [[True, False], [False, False]]

    def L_op(self, inputs, outputs, output_gradients):
        return [output_gradients[0].dimshuffle(0, "x") * outputs[1], theano.gradient.DisconnectedType()()]


class MixtureDraw(_MixtureOp):
    """Inputs: out, uniform (n_rows, n_mixtures), normal (n_rows, n_dims), temperature.  Output: a draw (n_rows, n_dims)."""

    def make_node(self, out, uniform, normal, temperature):
        inputs = [T.as_tensor_variable(v) for v in (out, uniform, normal, temperature)]
        if inputs[0].dtype not in ("float32", "float64"):
            raise TypeError(f"out is {inputs[0].dtype}; it must be float32 or float64")
        return theano.Apply(self, inputs, [T.matrix(dtype=inputs[0].dtype)])

    def _widths(self, n_dims):
        return [self.n_mixtures * (1 + 2 * n_dims), self.n_mixtures, n_dims]

    def perform(self, node, inputs, output_storage):
        n_dims, dtype = inputs[2].shape[1], inputs[0].dtype
        out, uniform, normal = self._checked(inputs[:3], n_dims, dtype)
        drawn = native.output(output_storage[0], normal.shape, dtype)
        native.function("mixture_draw", dtype)(
            *map(native.long, (len(out), self.n_mixtures, n_dims)), native.pointer(out), native.scalar(self.min_sigma, dtype),
            native.pointer(uniform), native.pointer(normal), native.scalar(float(inputs[3]), dtype), native.pointer(drawn))

    def infer_shape(self, node, shapes):
        return [shapes[2]]

    def grad(self, inputs, output_gradients):
        return [theano.gradient.grad_undefined(self, i, v, "a draw is not differentiated") for i, v in enumerate(inputs)]
