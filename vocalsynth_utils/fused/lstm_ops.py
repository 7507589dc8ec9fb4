"""The LSTM's recurrence as two Theano Ops, forward and backward, over the C++ of ``c_code/fused_lstm.cpp``.

Arrays are time-major, (n_steps, n_batch, .): then "all steps" is one matrix, and "all steps but the last" is a view of
it.  The equations are in `layers`.
"""

import itertools

import numpy as np
import theano
import theano.tensor as T
from theano.gradient import DisconnectedType
from theano.tensor import NoneConst

from . import gate_products, native, rewrites

OPERATIONS_WORTH_A_THREAD = 10**6


class _Recurrence(theano.Op):
    """What the forward and the backward Op share: the choices, and the sizes as C reads them."""

    __props__ = ("peepholes", "form", "cell_kind", "hid_kind", "gradient_steps", "grad_clipping", "backwards")

    def __init__(
        self,
        peepholes=True,
        form="textbook",
        cell_kind=0,
        hid_kind=0,
        gradient_steps=-1,
        grad_clipping=0.0,
        backwards=False,
    ):
        self.peepholes, self.form, self.cell_kind, self.hid_kind = peepholes, form, cell_kind, hid_kind
        self.gradient_steps, self.grad_clipping, self.backwards = gradient_steps, grad_clipping, backwards

    def sizes(self, n_steps, n_batch, n_inputs, n_units):
        steps = n_steps if self.gradient_steps < 0 else min(n_steps, self.gradient_steps)
        work = n_steps * n_batch * n_units**2
        threads = max(1, min(n_batch, native.threads_for(work, OPERATIONS_WORTH_A_THREAD)))
        kinds, late = (self.cell_kind, self.hid_kind), self.form == "lasagne-0.1"
        choices = *kinds, late, threads, self.grad_clipping, self.backwards
        return native.Lstm(n_steps, n_batch, n_inputs, n_units, steps, *choices)

    def call(self, name, dtype, sizes, *arguments):
        """Run a pass of the C++, which takes the sizes first and scratch memory last."""
        scratch = native.workspace(native.call("lstm_workspace", dtype, sizes), dtype)
        if native.call(name, dtype, sizes, *arguments, scratch):
            given = f"{sizes.n_steps} steps, {sizes.n_batch} sequences, {sizes.n_units} units"
            raise ValueError(f"{self}: {given}; a sequence needs at least one step")


class FusedLSTM(_Recurrence):
    """A whole sequence forward.

    Inputs: x (n_steps, n_batch, n_inputs); W_in, W_hid, b of the four gates; with peepholes W_cell of three; hid_init
    and cell_init (n_batch, n_units); and, where steps are to be skipped, a mask (n_steps, n_batch), 0 there, else 1.
    Outputs: hid and cell (n_steps, n_batch, n_units); and the gates (n_steps, n_batch, 4 n_units), which are for the
    gradient alone.
    """

    def make_node(self, x, *others):
        inputs = [T.as_tensor_variable(v) for v in (x,) + others]
        ndims = [3] + 8 * [2] + 4 * [1] + (3 * [1] if self.peepholes else []) + [2, 2]
        if [v.ndim for v in inputs] not in (ndims, [*ndims, 2]):
            raise TypeError(f"inputs have {[v.ndim for v in inputs]} dimensions, must have {ndims}")
        if {v.dtype for v in inputs} - {inputs[0].dtype} or inputs[0].dtype not in ("float32", "float64"):
            raise TypeError(f"inputs are {sorted({v.dtype for v in inputs})}; all must be float32, or all float64")
        return theano.Apply(self, inputs, [T.tensor3(dtype=inputs[0].dtype) for _ in range(3)])

    def split(self, inputs):
        """x, W_in, W_hid, b, W_cell, [hid_init, cell_init], [mask] or [], from the flat list of inputs."""
        end = 16 if self.peepholes else 13
        return (inputs[0], *(inputs[a:b] for a, b in itertools.pairwise([1, 5, 9, 13, end, end + 2, None])))

    def perform(self, node, inputs, output_storage):
        x, W_in, *others = self.split(inputs)
        W_hid, b, W_cell, start, mask = map(_contiguous, others)
        n_steps, n_batch, n_inputs = x.shape
        n_units = W_hid[0].shape[0]
        _check_shapes(W_in, (n_inputs, n_units), "W_in")
        _check_shapes(W_hid, (n_units, n_units), "W_hid")
        _check_shapes(b + W_cell, (n_units,), "b and W_cell")
        _check_shapes(start, (n_batch, n_units), "hid_init and cell_init")
        _check_shapes(mask, (n_steps, n_batch), "mask")
        if mask and not np.isin(mask[0], (0, 1)).all():
            raise ValueError(f"mask holds values from {mask[0].min():g} to {mask[0].max():g}; each must be 0 or 1")

        shapes = [(n_steps, n_batch, width) for width in (n_units, n_units, 4 * n_units)]
        hid, cell, gates = (native.output(s, shape, x.dtype) for s, shape in zip(output_storage, shapes))
        x = np.ascontiguousarray(x).reshape(-1, n_inputs)
        narrow = gate_products.is_narrow(len(x), W_in[0])
        if narrow:
            W_in = _contiguous(W_in)
        else:
            gate_products.times_gates(x, W_in, out=gates.reshape(-1, 4 * n_units))
        sizes = self.sizes(n_steps, n_batch, n_inputs if narrow else 0, n_units)
        given = x, W_in, W_hid, b, W_cell or None, *start, *(mask or [None])
        self.call("lstm_forward", x.dtype, sizes, *given, gates, hid, cell)

    def infer_shape(self, node, shapes):
        n_steps, n_batch, n_units = shapes[0][0], shapes[0][1], shapes[5][0]
        return [(n_steps, n_batch, n_units)] * 2 + [(n_steps, n_batch, 4 * n_units)]

    def connection_pattern(self, node):
        n_masks = len(self.split(node.inputs)[-1])
        return [[True, True, False]] * (len(node.inputs) - n_masks) + [[False] * 3] * n_masks

    def L_op(self, inputs, outputs, output_gradients):
        x, W_in, W_hid, b, W_cell, start, mask = self.split(inputs)
        hid, cell, gates = outputs
        d_hid, d_cell = (None if isinstance(g.type, DisconnectedType) else g for g in output_gradients[:2])
        d_hid, d_cell = T.zeros_like(hid) if d_hid is None else d_hid, NoneConst if d_cell is None else d_cell
        gradient = FusedLSTMGradient(**{prop: getattr(self, prop) for prop in self.__props__})
        d_gates, *others = gradient(*W_hid, *W_cell, *start, hid, cell, gates, d_hid, d_cell, *(mask or [NoneConst]))
        d_x, d_W_in = gate_products.InputGradient()(d_gates, *W_in), gate_products.InputWeightGradients()(x, d_gates)
        return [d_x, *d_W_in, *others, *(DisconnectedType()() for _ in mask)]


class FusedLSTMGradient(_Recurrence):
    """The same sequence backward.

    Inputs: W_hid of the four gates, W_cell, hid_init, cell_init; the three outputs of `FusedLSTM`; the gradients of hid
    and of cell (or None); the mask (or None).  Outputs: the gradients of the gates before their nonlinearities
    (n_steps, n_batch, 4 n_units), then of W_hid, b, W_cell, hid_init and cell_init.
    """

    __props__ = _Recurrence.__props__ + ("inplace",)

    def __init__(self, *args, inplace=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.inplace = inplace
        if inplace:  # the first output over the gates
            self.destroy_map = {0: [11 if self.peepholes else 8]}

    def make_node(self, *inputs):
        matrix, vector = (lambda: T.matrix(dtype=inputs[0].dtype)), (lambda: T.vector(dtype=inputs[0].dtype))
        outputs = [T.tensor3(dtype=inputs[0].dtype)] + [matrix() for _ in range(4)]
        outputs += [vector() for _ in range(7 if self.peepholes else 4)] + [matrix(), matrix()]
        return theano.Apply(self, list(inputs), outputs)

    def perform(self, node, inputs, output_storage):
        hid_init, cell_init, hid, cell, gates = _contiguous(inputs[-8:-3])
        d_hid, d_cell = (None if v is None else native.rows_contiguous(v) for v in inputs[-3:-1])
        mask = None if inputs[-1] is None else np.ascontiguousarray(inputs[-1])
        W_hid, W_cell = _contiguous(inputs[:4]), _contiguous(inputs[4:-8])
        n_steps, n_batch, n_units = hid.shape
        dtype = hid.dtype
        if self.inplace and gates is inputs[-4]:
            output_storage[0][0] = gates
        d_gates = native.output(output_storage[0], gates.shape, dtype)
        d_start = [native.output(s, hid_init.shape, dtype) for s in output_storage[-2:]]
        d_b, d_W_cell = np.empty((4, n_units), dtype), np.empty((3, n_units), dtype)
        given = W_hid, W_cell or None, cell_init, mask, gates, cell, d_hid, native.element_strides(d_hid)
        d_cell_strides = [0, 0] if d_cell is None else native.element_strides(d_cell)
        made = d_gates, *d_start, d_b, d_W_cell
        sizes = self.sizes(n_steps, n_batch, 0, n_units)
        self.call("lstm_backward", dtype, sizes, *given, d_cell, d_cell_strides, *made)

        for storage, value in zip(output_storage[5:-2], list(d_b) + list(d_W_cell)):
            storage[0] = value
        dz, h = d_gates.reshape(-1, 4 * n_units), hid.reshape(-1, n_units)
        d_W_hid = [native.output(storage, (n_units, n_units), dtype) for storage in output_storage[1:5]]
        # the hid before a step lies n_batch rows above it, or below
        before, after, first = slice(-n_batch), slice(n_batch, None), slice(n_batch)
        if self.backwards:
            before, after, first = after, before, slice(-n_batch, None)
        gate_products.weight_gradients(h[before], dz[after], d_W_hid)
        gate_products.weight_gradients(hid_init, dz[first], d_W_hid, add=True)

    def infer_shape(self, node, shapes):
        units, start = (shapes[0][0],), shapes[-8]
        return [shapes[-4]] + [shapes[0]] * 4 + [units] * (7 if self.peepholes else 4) + [start, start]


rewrites.let_work_in_place("fused_lstm_gradient_in_place", FusedLSTMGradient)  # over the gates


def _contiguous(arrays):
    return [np.ascontiguousarray(v) for v in arrays]


def _check_shapes(arrays, shape, name):
    for array in arrays:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, must be {shape}")
