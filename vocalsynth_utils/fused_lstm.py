"""LSTM layers: a fused one at the speed of the matrix product, and its reference on `theano.scan`.

Both compute, with gates i, f, o, cell c and peepholes w (Graves 2013, eq. 7-11):

    i_t = sigmoid(x_t W_xi + h_{t-1} W_hi + w_ci * c_{t-1} + b_i)
    f_t = sigmoid(x_t W_xf + h_{t-1} W_hf + w_cf * c_{t-1} + b_f)
    c_t = f_t * c_{t-1} + i_t * tanh(x_t W_xc + h_{t-1} W_hc + b_c)
    o_t = sigmoid(x_t W_xo + h_{t-1} W_ho + w_co * c_t + b_o)
    h_t = o_t * tanh(c_t)

That is the form ``"textbook"``.  The form ``"lasagne-0.1"`` is what Lasagne's
release on PyPI does: it adds the output gate's peephole after the sigmoid,
``h_t = (sigmoid(o) + w_co * c_t) * tanh(c_t)``.

Inside, arrays are time-major, (n_steps, n_batch, .): then "all steps" is one
matrix, and "all steps but the last" is a view of it.
"""
import functools
import warnings

import numpy as np
import theano
import theano.tensor as T
from lasagne import init, nonlinearities
from lasagne.layers import Gate, LSTMLayer
from theano.tensor import NoneConst

from . import gate_products, native, rewrites, theano_setup
from .fused_loss import mean_squared_error  # noqa: F401  the loss that goes with it

FORMS = ("textbook", "lasagne-0.1")
KINDS = {nonlinearities.tanh: 0, nonlinearities.rectify: 1, nonlinearities.sigmoid: 2, nonlinearities.identity: 3}
GATES = ("ingate", "forgetgate", "cell", "outgate")


class _Recurrence(theano.Op):
    """What the forward and the backward Op share: the choices, and the sizes as C reads them."""

    __props__ = ("peepholes", "form", "cell_kind", "hid_kind", "gradient_steps", "grad_clipping")

    def __init__(self, peepholes=True, form="textbook", cell_kind=0, hid_kind=0, gradient_steps=-1, grad_clipping=0.):
        self.peepholes, self.form = peepholes, form
        self.cell_kind, self.hid_kind = cell_kind, hid_kind
        self.gradient_steps, self.grad_clipping = gradient_steps, grad_clipping

    def sizes(self, n_steps, n_batch, n_inputs, n_units):
        steps = n_steps if self.gradient_steps < 0 else min(n_steps, self.gradient_steps)
        work = n_steps * n_batch * n_units ** 2
        threads = max(1, min(native.num_threads(), n_batch, work // 1000000))  # a thread earns its start-up at 1e6
        return native.Lstm(n_steps, n_batch, n_inputs, n_units, steps, self.cell_kind, self.hid_kind,
                           self.form == "lasagne-0.1", threads, self.grad_clipping)

    def workspace(self, sizes, dtype):
        return native.workspace(native.function("lstm_workspace", dtype)(native.byref(sizes)), dtype)

    def check(self, status, sizes):
        if status:
            raise ValueError(f"{self}: {sizes.n_steps} steps, {sizes.n_batch} sequences, {sizes.n_units} units; "
                             "a sequence needs at least one step")


class FusedLSTM(_Recurrence):
    """A whole sequence forward.

    Inputs: x (n_steps, n_batch, n_inputs); W_in, W_hid, b of the four gates;
    with peepholes W_cell of three; hid_init and cell_init (n_batch, n_units).
    Outputs: hid and cell (n_steps, n_batch, n_units); and the gates
    (n_steps, n_batch, 4 n_units), which are for the gradient alone.
    """

    def make_node(self, x, *others):
        inputs = [T.as_tensor_variable(v) for v in (x,) + others]
        ndims = [3] + 8 * [2] + 4 * [1] + (3 * [1] if self.peepholes else []) + [2, 2]
        if [v.ndim for v in inputs] != ndims:
            raise TypeError(f"inputs have {[v.ndim for v in inputs]} dimensions, must have {ndims}")
        if {v.dtype for v in inputs} - {inputs[0].dtype} or inputs[0].dtype not in ("float32", "float64"):
            raise TypeError(f"inputs are {sorted({v.dtype for v in inputs})}; all must be float32, or all float64")
        return theano.Apply(self, inputs, [T.tensor3(dtype=inputs[0].dtype) for _ in range(3)])

    def split(self, inputs):
        """x, W_in, W_hid, b, W_cell, hid_init, cell_init from the flat list of inputs."""
        return (inputs[0], inputs[1:5], inputs[5:9], inputs[9:13], inputs[13:-2]) + tuple(inputs[-2:])

    def perform(self, node, inputs, output_storage):
        x, W_in, *others = self.split(inputs)
        W_hid, b, W_cell = ([np.ascontiguousarray(v) for v in group] for group in others[:3])
        hid_init, cell_init = (np.ascontiguousarray(v) for v in others[3:])
        n_steps, n_batch, n_inputs = x.shape
        n_units = W_hid[0].shape[0]
        _check_shapes(W_in, (n_inputs, n_units), "W_in")
        _check_shapes(W_hid, (n_units, n_units), "W_hid")
        _check_shapes(b + W_cell, (n_units,), "b and W_cell")
        _check_shapes([hid_init, cell_init], (n_batch, n_units), "hid_init and cell_init")

        hid, cell, gates = (native.output(storage, (n_steps, n_batch, width), x.dtype)
                            for storage, width in zip(output_storage, (n_units, n_units, 4 * n_units)))
        x = np.ascontiguousarray(x).reshape(-1, n_inputs)
        narrow = gate_products.is_narrow(len(x), W_in[0])
        if narrow:
            W_in = [np.ascontiguousarray(W) for W in W_in]
        else:
            gate_products.times_gates(x, W_in, out=gates.reshape(-1, 4 * n_units))
        sizes = self.sizes(n_steps, n_batch, n_inputs if narrow else 0, n_units)
        self.check(native.function("lstm_forward", x.dtype)(
            native.byref(sizes), native.pointer(x), native.pointers(W_in), native.pointers(W_hid), native.pointers(b), native.pointers(W_cell) if W_cell else None,
            *map(native.pointer, (hid_init, cell_init, gates, hid, cell, self.workspace(sizes, x.dtype)))), sizes)

    def infer_shape(self, node, shapes):
        n_steps, n_batch, n_units = shapes[0][0], shapes[0][1], shapes[5][0]
        return [(n_steps, n_batch, n_units)] * 2 + [(n_steps, n_batch, 4 * n_units)]

    def connection_pattern(self, node):
        return [[True, True, False] for _ in node.inputs]

    def L_op(self, inputs, outputs, output_gradients):
        x, W_in, W_hid, b, W_cell, hid_init, cell_init = self.split(inputs)
        hid, cell, gates = outputs
        d_hid, d_cell = (None if isinstance(g.type, theano.gradient.DisconnectedType) else g
                         for g in output_gradients[:2])
        options = {name: getattr(self, name) for name in self.__props__}
        d_gates, *others = FusedLSTMGradient(**options)(
            *W_hid, *W_cell, hid_init, cell_init, hid, cell, gates,
            T.zeros_like(hid) if d_hid is None else d_hid, NoneConst if d_cell is None else d_cell)
        return [gate_products.InputGradient()(d_gates, *W_in)] + gate_products.InputWeightGradients()(x, d_gates) + others


class FusedLSTMGradient(_Recurrence):
    """The same sequence backward.

    Inputs: W_hid of the four gates, W_cell, hid_init, cell_init; the three
    outputs of `FusedLSTM`; the gradients of hid and of cell (or None).
    Outputs: the gradients of the gates before their nonlinearities (n_steps,
    n_batch, 4 n_units), then of W_hid, b, W_cell, hid_init and cell_init.
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
        hid_init, cell_init, hid, cell, gates, d_hid, d_cell = inputs[-7:]
        W_hid, W_cell = ([np.ascontiguousarray(v) for v in group] for group in (inputs[:4], inputs[4:-7]))
        hid_init, cell_init = np.ascontiguousarray(hid_init), np.ascontiguousarray(cell_init)
        n_steps, n_batch, n_units = hid.shape
        dtype = hid.dtype
        hid, cell, gates = (np.ascontiguousarray(v) for v in (hid, cell, gates))
        d_hid = native.rows_contiguous(d_hid)
        d_cell = None if d_cell is None else native.rows_contiguous(d_cell)

        if self.inplace and gates is inputs[-3]:
            output_storage[0][0] = gates
        d_gates = native.output(output_storage[0], gates.shape, dtype)
        d_hid_init, d_cell_init = (native.output(s, hid_init.shape, dtype) for s in output_storage[-2:])
        d_b, d_W_cell = np.empty((4, n_units), dtype), np.empty((3, n_units), dtype)
        sizes = self.sizes(n_steps, n_batch, 0, n_units)
        self.check(native.function("lstm_backward", dtype)(
            native.byref(sizes), native.pointers(W_hid), native.pointers(W_cell) if W_cell else None,
            *map(native.pointer, (cell_init, gates, cell)),
            native.pointer(d_hid), native.longs(native.element_strides(d_hid)),
            native.pointer(d_cell), native.longs([0, 0] if d_cell is None else native.element_strides(d_cell)),
            *map(native.pointer, (d_gates, d_hid_init, d_cell_init, d_b, d_W_cell, self.workspace(sizes, dtype)))), sizes)

        for storage, value in zip(output_storage[5:-2], list(d_b) + list(d_W_cell)):
            storage[0] = value
        dz, h = d_gates.reshape(-1, 4 * n_units), hid.reshape(-1, n_units)
        d_W_hid = [native.output(storage, (n_units, n_units), dtype) for storage in output_storage[1:5]]
        gate_products.weight_gradients(h[:-n_batch], dz[n_batch:], d_W_hid)  # the hid before a step lies n_batch rows above it
        gate_products.weight_gradients(hid_init, dz[:n_batch], d_W_hid, add=True)

    def infer_shape(self, node, shapes):
        units, start = (shapes[0][0],), shapes[-7]
        return [shapes[-3]] + [shapes[0]] * 4 + [units] * (7 if self.peepholes else 4) + [start, start]


@theano.gof.local_optimizer([FusedLSTMGradient], inplace=True)
def _gradient_in_place(node):
    """Write the gates' gradient over the gates, which nothing else needs."""
    if isinstance(node.op, FusedLSTMGradient) and not node.op.inplace:
        options = {name: getattr(node.op, name) for name in _Recurrence.__props__}
        return FusedLSTMGradient(inplace=True, **options)(*node.inputs, return_list=True)


rewrites.register("fused_lstm_gradient_in_place", _gradient_in_place)


def _check_shapes(arrays, shape, name):
    for array in arrays:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, must be {shape}")


class _StatefulLSTMLayer(LSTMLayer):
    """Lasagne's LSTM parameters, a choice of form, and states that go in and come out."""

    def __init__(self, incoming, num_units, ingate=Gate(), forgetgate=Gate(),
                 cell=Gate(W_cell=None, nonlinearity=nonlinearities.tanh), outgate=Gate(),
                 nonlinearity=nonlinearities.tanh, cell_init=init.Constant(0.), hid_init=init.Constant(0.),
                 learn_init=False, peepholes=True, gradient_steps=-1, grad_clipping=0,
                 only_return_final=False, form="textbook", **kwargs):
        if form not in FORMS:
            raise ValueError(f"form is {form!r}, must be one of {FORMS}")
        if gradient_steps == 0 or gradient_steps < -1:
            raise ValueError(f"gradient_steps is {gradient_steps}, must be positive, or -1 for all steps")
        if grad_clipping < 0:
            raise ValueError(f"grad_clipping is {grad_clipping}, must be positive, or 0 for none")
        super().__init__(incoming, num_units, ingate=ingate, forgetgate=forgetgate, cell=cell, outgate=outgate,
                         nonlinearity=nonlinearity, cell_init=cell_init, hid_init=hid_init, learn_init=learn_init,
                         peepholes=peepholes, gradient_steps=gradient_steps, grad_clipping=float(grad_clipping), **kwargs)
        self.form, self.only_return_final = form, only_return_final

    @property
    def input_layer(self):
        """The layer below, as other layers of one input have it."""
        return self.input_layers[0]

    def get_output_shape_for(self, input_shapes):
        n_batch, n_steps, n_units = super().get_output_shape_for(input_shapes)
        return (n_batch, n_units) if self.only_return_final else (n_batch, n_steps, n_units)

    def get_output_for(self, inputs, **kwargs):
        hid, hid_final, _ = self.run(inputs[0], **kwargs)
        return hid_final if self.only_return_final else hid

    def run(self, input, hid_init=None, cell_init=None, **kwargs):
        """Run over a sequence from a given state.

        Parameters
        ----------
        input : expression of shape (n_batch, n_steps, n_inputs)
            Axes past the third are flattened into the third.  Cheapest when
            time-major in memory, i.e. a transposed (n_steps, n_batch, n_inputs).
        hid_init, cell_init : expression of shape (n_batch, n_units), optional
            The state before the first step; by default the layer's own.

        Returns
        -------
        hid : expression of shape (n_batch, n_steps, n_units)
        hid_final, cell_final : expression of shape (n_batch, n_units)
            The state after the last step.
        """
        if input.ndim > 3:
            input = T.flatten(input, 3)
        x = input.dimshuffle(1, 0, 2)  # (n_steps, n_batch, n_inputs)
        hid_init = self._start(self.hid_init, x.shape[1]) if hid_init is None else hid_init
        cell_init = self._start(self.cell_init, x.shape[1]) if cell_init is None else cell_init
        hid, cell = self.recurrence(x, hid_init, cell_init)  # (n_steps, n_batch, n_units) each
        return hid.dimshuffle(1, 0, 2), hid[-1], cell[-1]

    @staticmethod
    def _start(state, n_batch):
        """The layer's own initial state: one row for all sequences, or an expression with a row for each."""
        return state if isinstance(state, T.TensorVariable) else T.dot(T.ones((n_batch, 1), state.dtype), state)

    def _gate_params(self, prefix, gates=GATES):
        return [getattr(self, prefix + gate) for gate in gates]

    def _peephole_params(self):
        return self._gate_params("W_cell_to_", ("ingate", "forgetgate", "outgate")) if self.peepholes else []


class FusedLSTMLayer(_StatefulLSTMLayer):
    """An LSTM layer that runs at the speed of the machine's matrix product.

    Parameters, their names, shapes and order are those of Lasagne's
    `LSTMLayer`, so their values can be exchanged; so are the arguments, but for
    those that `theano.scan` alone needs.

    Parameters
    ----------
    incoming : Layer or tuple
        Gives (n_batch, n_steps, n_inputs).
    num_units : int
    ingate, forgetgate, cell, outgate : lasagne.layers.Gate
        Initial values; the three gates must be sigmoid, the cell's
        nonlinearity may be tanh, rectify, sigmoid or identity.
    nonlinearity : callable
        Of the output: tanh, rectify, sigmoid or identity of `lasagne.nonlinearities`.
    cell_init, hid_init : initialiser or expression of shape (n_batch, num_units)
    learn_init : bool
        Whether initial states are trained.
    peepholes : bool
    gradient_steps : int
        Only the last so many steps get a gradient, as with `theano.scan`'s
        ``truncate_gradient``; -1: all.
    grad_clipping : float
        The gradients of the gates before their nonlinearities are cut to
        ``[-grad_clipping, grad_clipping]`` at each step; 0: never.
    only_return_final : bool
        Give out the last step alone, (n_batch, num_units).
    form : "textbook" or "lasagne-0.1"
        Where the output gate's peephole goes; see the module.

    Raises
    ------
    ValueError
        When a nonlinearity is none of those the fused Op knows.

    References
    ----------
    Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850, eq. 7-11.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        gates = self._gate_params("nonlinearity_")
        if any(gates[k] is not nonlinearities.sigmoid for k in (0, 1, 3)):
            raise ValueError("ingate, forgetgate and outgate must be sigmoid; for another nonlinearity use ScanLSTMLayer")
        if not {self.nonlinearity, gates[2]} <= set(KINDS):
            raise ValueError(f"nonlinearity is {self.nonlinearity}, the cell's {gates[2]}; must be tanh, rectify, "
                             "sigmoid or identity of lasagne.nonlinearities; for another use ScanLSTMLayer")

    def recurrence(self, x, hid_init, cell_init):
        op = FusedLSTM(self.peepholes, self.form, KINDS[self.nonlinearity_cell], KINDS[self.nonlinearity],
                       self.gradient_steps, self.grad_clipping)
        hid, cell, _ = op(x, *self._gate_params("W_in_to_"), *self._gate_params("W_hid_to_"),
                          *self._gate_params("b_"), *self._peephole_params(), hid_init, cell_init)
        return hid, cell


class ScanLSTMLayer(_StatefulLSTMLayer):
    """The same layer as a loop of Theano's own Ops: `FusedLSTMLayer`'s reference, any nonlinearity, any device."""

    def recurrence(self, x, hid_init, cell_init):
        W_in, W_hid, b = (T.concatenate(self._gate_params(prefix), axis=-1) for prefix in ("W_in_to_", "W_hid_to_", "b_"))
        inside = self.form == "textbook"

        def step(z, cell, hid, W_hid, w_ci=0, w_cf=0, w_co=0):
            gates = z + T.dot(hid, W_hid)  # (n_batch, 4 n_units)
            if self.grad_clipping:
                gates = theano.gradient.grad_clip(gates, -self.grad_clipping, self.grad_clipping)
            i, f, g, o = (gates[:, k * self.num_units:(k + 1) * self.num_units] for k in range(4))
            i = self.nonlinearity_ingate(i + w_ci * cell)
            f = self.nonlinearity_forgetgate(f + w_cf * cell)
            cell = f * cell + i * self.nonlinearity_cell(g)
            peephole = w_co * cell
            o = self.nonlinearity_outgate(o + peephole) if inside else self.nonlinearity_outgate(o) + peephole
            return cell, o * self.nonlinearity(cell)

        (cell, hid), _ = theano.scan(step, sequences=T.dot(x, W_in) + b, outputs_info=[cell_init, hid_init],
                                     non_sequences=[W_hid] + self._peephole_params(),
                                     truncate_gradient=self.gradient_steps, strict=True)
        return hid, cell


def lstm_layer(kind, incoming, num_units, **kwargs):
    """An LSTM layer by the name a recipe uses.

    Parameters
    ----------
    kind : "fused", "lasagne" or "lasagne-0.1"
        The fused Op; the same function by `theano.scan`; the function of
        Lasagne's release on PyPI, by `theano.scan`.  Where the fused Op cannot
        be built (a warning says so once) or Theano runs on a GPU, "fused" is "lasagne".
    incoming, num_units, **kwargs
        As for `FusedLSTMLayer`.

    Returns
    -------
    FusedLSTMLayer or ScanLSTMLayer

    Raises
    ------
    ValueError
        When `kind` is none of the three.
    """
    if kind not in ("fused", "lasagne", "lasagne-0.1"):
        raise ValueError(f"lstm is {kind!r}, must be 'fused', 'lasagne' or 'lasagne-0.1'")
    if kind == "fused" and theano_setup.device() == "cpu" and _can_fuse():
        return FusedLSTMLayer(incoming, num_units, **kwargs)
    return ScanLSTMLayer(incoming, num_units, form="lasagne-0.1" if kind == "lasagne-0.1" else "textbook", **kwargs)


@functools.lru_cache(maxsize=None)
def _can_fuse():
    """Whether the library is at hand; warns once where it is not."""
    reason = native.unavailable()
    if reason:
        warnings.warn(f"the fused LSTM cannot be built, Lasagne's slower scan takes its place: {reason}")
    return not reason
