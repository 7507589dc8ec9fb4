"""Ops for a mixture density's likelihood with its gradient, and for draws from it; the expressions are in `losses`."""

import numpy as np
import theano
import theano.tensor as T

from . import native

MAX_MIXTURES = 64  # as in c_code/mixture.cpp
NUMBERS_WORTH_A_THREAD = 200_000  # in the rows that a thread should get


class _MixtureOp(theano.Op):
    """What both Ops share: how many components a row of `out` holds, and the floor of their sigmas."""

    __props__ = ("n_mixtures", "min_sigma")

    def __init__(self, n_mixtures, min_sigma):
        self.n_mixtures, self.min_sigma = n_mixtures, float(min_sigma)

    def _checked(self, inputs, *widths):
        """The inputs, contiguous and of one dtype, each with a row for each of `out`'s and as wide as it must be."""
        n_dims, dtype = widths[-1], inputs[0].dtype
        arrays = [np.ascontiguousarray(v, dtype) for v in inputs]
        wanted = [(len(arrays[0]), width) for width in (self.n_mixtures * (1 + 2 * n_dims), *widths)]
        if [v.shape for v in arrays] != wanted:
            raise ValueError(f"{self}: inputs have shapes {[v.shape for v in inputs]}, expected {wanted}")
        return arrays


class MixtureNLL(_MixtureOp):
    """Inputs: out, and target (n_rows, n_dims).  Outputs: -log p (n_rows,), and its gradient by each row of out."""

    def make_node(self, out, target):
        out, target = T.as_tensor_variable(out), T.as_tensor_variable(target)
        if out.dtype != target.dtype or out.dtype not in ("float32", "float64"):
            raise TypeError(f"out is {out.dtype}, target {target.dtype}; both must be float32, or both float64")
        return theano.Apply(self, [out, target], [T.vector(dtype=out.dtype), T.matrix(dtype=out.dtype)])

    def perform(self, node, inputs, output_storage):
        n_dims, dtype = inputs[1].shape[1], inputs[0].dtype
        out, target = self._checked(inputs, n_dims)
        nll, d_out = (native.output(s, shape, dtype) for s, shape in zip(output_storage, (out.shape[:1], out.shape)))
        sizes, threads = (len(out), self.n_mixtures, n_dims), native.threads_for(out.size, NUMBERS_WORTH_A_THREAD)
        native.call("mixture_nll", dtype, *sizes, out, target, self.min_sigma, nll, d_out, threads)

    def infer_shape(self, node, shapes):
        return [shapes[0][:1], shapes[0]]

    def connection_pattern(self, node):
        return [[True, False], [False, False]]

    def L_op(self, inputs, outputs, output_gradients):
        return [output_gradients[0].dimshuffle(0, "x") * outputs[1], theano.gradient.DisconnectedType()()]


class MixtureDraw(_MixtureOp):
    """Inputs: out, uniform (n_rows, n_mixtures), normal (n_rows, n_dims), temperature.  Output: draws, as normal."""

    def make_node(self, out, uniform, normal, temperature):
        inputs = [T.as_tensor_variable(v) for v in (out, uniform, normal, temperature)]
        if inputs[0].dtype not in ("float32", "float64"):
            raise TypeError(f"out is {inputs[0].dtype}; it must be float32 or float64")
        return theano.Apply(self, inputs, [T.matrix(dtype=inputs[0].dtype)])

    def perform(self, node, inputs, output_storage):
        n_dims, dtype = inputs[2].shape[1], inputs[0].dtype
        out, uniform, normal = self._checked(inputs[:3], self.n_mixtures, n_dims)
        drawn = native.output(output_storage[0], normal.shape, dtype)
        sizes, temperature = (len(out), self.n_mixtures, n_dims), float(inputs[3])
        native.call("mixture_draw", dtype, *sizes, out, self.min_sigma, uniform, normal, temperature, drawn)

    def infer_shape(self, node, shapes):
        return [shapes[2]]

    def grad(self, inputs, output_gradients):
        why = "a draw is not differentiated"
        return [theano.gradient.grad_undefined(self, i, v, why) for i, v in enumerate(inputs)]
