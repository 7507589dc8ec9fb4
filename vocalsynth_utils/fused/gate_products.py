"""Products with the weights of four gates, which Lasagne keeps as four matrices, and the gradients they give.

One wide product is faster than four narrow ones, but needs the four side by side: copied where there are rows enough
to pay for it.
"""

import numpy as np
import theano
import theano.tensor as T

from . import native

ROWS_TO_COPY_FOR = 2000  # from here on copying costs less than the narrow products lose
NARROW = 4 << 20  # bytes of weights that a core streams from its caches at every step


def is_narrow(n_rows, W):
    """Whether the input product is best taken step by step in the recurrence, for `n_rows` steps times sequences."""
    n_inputs, n_units = W.shape
    return n_rows >= ROWS_TO_COPY_FOR // 4 and 4 * (n_inputs + n_units) * n_units * W.itemsize <= NARROW


def times_gates(x, W, out):
    """``x (n_rows, n_inputs) @ W`` of each gate into `out` (n_rows, 4 n_units)."""
    if len(x) < ROWS_TO_COPY_FOR:
        for part, matrix in zip(_by_gate(out), W):
            native.product(x, matrix, out=part)
        return
    together = native.workspace((x.shape[1], out.shape[1]), x.dtype)
    for part, matrix in zip(_by_gate(together), W):
        part[...] = matrix
    native.product(x, together, out=out)


def weight_gradients(x, dz, out, add=False):
    """``x.T (n_inputs, n_rows) @ dz`` of each gate into the four of `out`, each (n_inputs, n_units)."""
    if add or len(x) < ROWS_TO_COPY_FOR:
        for part, matrix in zip(_by_gate(dz), out):
            native.product(x.T, part, out=matrix, add=add)
        return
    together = native.product(x.T, dz, out=native.workspace((x.shape[1], dz.shape[1]), x.dtype))
    for part, matrix in zip(_by_gate(together), out):
        matrix[...] = part


def _by_gate(wide):
    """The columns of each gate, views of (n_rows, 4 n_units)."""
    n_units = wide.shape[1] // 4
    return [wide[:, gate * n_units : (gate + 1) * n_units] for gate in range(4)]


class InputWeightGradients(theano.Op):
    """Gradients of the four W_in: from x (n_steps, n_batch, n_inputs) and d_gates (n_steps, n_batch, 4 n_units)."""

    __props__ = ()

    def make_node(self, x, d_gates):
        return theano.Apply(self, [x, d_gates], [T.matrix(dtype=x.dtype) for _ in range(4)])

    def perform(self, node, inputs, output_storage):
        x, d_gates = (np.ascontiguousarray(v).reshape(-1, v.shape[2]) for v in inputs)
        shape = x.shape[1], d_gates.shape[1] // 4
        weight_gradients(x, d_gates, [native.output(storage, shape, x.dtype) for storage in output_storage])

    def infer_shape(self, node, shapes):
        return [(shapes[0][2], shapes[1][2] // 4)] * 4


class InputGradient(theano.Op):
    """Gradient of x (n_steps, n_batch, n_inputs): d_gates (n_steps, n_batch, 4 n_units) and W_in of the four gates."""

    __props__ = ()

    def make_node(self, d_gates, *W_in):
        return theano.Apply(self, [d_gates, *W_in], [T.tensor3(dtype=d_gates.dtype)])

    def perform(self, node, inputs, output_storage):
        d_gates, W_in = np.ascontiguousarray(inputs[0]), inputs[1:]
        n_inputs = W_in[0].shape[0]
        d_x = native.output(output_storage[0], d_gates.shape[:2] + (n_inputs,), d_gates.dtype)
        for gate, part in enumerate(_by_gate(d_gates.reshape(-1, d_gates.shape[2]))):
            native.product(part, W_in[gate].T, out=d_x.reshape(-1, n_inputs), add=gate > 0)

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[0][1], shapes[1][0])]
