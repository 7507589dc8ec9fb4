"""LSTM layers: a fused one at the speed of the matrix product, and its reference on `theano.scan`.

Both compute, with gates i, f, o, cell c and peepholes w (Graves 2013, eq. 7-11):

    i_t = sigmoid(x_t W_xi + h_{t-1} W_hi + w_ci * c_{t-1} + b_i)
    f_t = sigmoid(x_t W_xf + h_{t-1} W_hf + w_cf * c_{t-1} + b_f)
    c_t = f_t * c_{t-1} + i_t * tanh(x_t W_xc + h_{t-1} W_hc + b_c)
    o_t = sigmoid(x_t W_xo + h_{t-1} W_ho + w_co * c_t + b_o)
    h_t = o_t * tanh(c_t)

That is the form ``"textbook"``.  The form ``"lasagne-0.1"`` is what Lasagne's release on PyPI does: it adds the output
gate's peephole after the sigmoid, ``h_t = (sigmoid(o) + w_co * c_t) * tanh(c_t)``.
"""

import functools
import warnings

import theano
import theano.tensor as T
from lasagne import nonlinearities
from lasagne.layers import LSTMLayer

from .. import theano_setup
from ..recipes import CHOICES, check_choice
from . import native
from .lstm_ops import FusedLSTM

FORMS = ("textbook", "lasagne-0.1")
KINDS = {nonlinearities.tanh: 0, nonlinearities.rectify: 1, nonlinearities.sigmoid: 2, nonlinearities.identity: 3}
GATES = ("ingate", "forgetgate", "cell", "outgate")
PREFIXES = ("W_in_to_", "W_hid_to_", "b_")  # of the parameters that each gate has


class _StatefulLSTMLayer(LSTMLayer):
    """Lasagne's LSTM parameters, a choice of form, and states that go in and come out."""

    def __init__(self, incoming, num_units, *args, only_return_final=False, form="textbook", **kwargs):
        super().__init__(incoming, num_units, *args, **kwargs)
        self.form, self.only_return_final = check_choice("form", form, FORMS), only_return_final
        self.grad_clipping = float(self.grad_clipping)
        if self.gradient_steps == 0 or self.gradient_steps < -1:
            raise ValueError(f"gradient_steps is {self.gradient_steps}, must be positive, or -1 for all steps")
        if self.grad_clipping < 0:
            raise ValueError(f"grad_clipping is {self.grad_clipping}, must be positive, or 0 for none")

    @property
    def input_layer(self):
        """The layer below, as other layers of one input have it; the mask's is beside it."""
        return self.input_layers[0]

    def get_output_shape_for(self, input_shapes):
        n_batch, n_steps, n_units = super().get_output_shape_for(input_shapes)
        return (n_batch, n_units) if self.only_return_final else (n_batch, n_steps, n_units)

    def get_output_for(self, inputs, **kwargs):
        hid, hid_final, _ = self.run(inputs[0], mask=inputs[1] if len(inputs) > 1 else None, **kwargs)
        return hid_final if self.only_return_final else hid

    def run(self, input, hid_init=None, cell_init=None, mask=None, **kwargs):
        """Run over a sequence from a given state; of `input`, axes past the third are flattened into the third.

        Expressions: `input` (n_batch, n_steps, n_inputs), cheapest as a transposed (n_steps, n_batch, n_inputs), and
        the state before the first step, (n_batch, n_units) each, by default the layer's own; `mask` (n_batch, n_steps)
        is 0 where a step is skipped, and the state stays as it was, else 1.  Returned are hid (n_batch, n_steps,
        n_units), and hid_final and cell_final (n_batch, n_units) after the last step; a layer that runs backwards takes
        the last of the sequence first.
        """
        if input.ndim > 3:
            input = T.flatten(input, 3)
        x = input.dimshuffle(1, 0, 2)  # (n_steps, n_batch, n_inputs)
        hid_init = self._start(self.hid_init, x.shape[1]) if hid_init is None else hid_init
        cell_init = self._start(self.cell_init, x.shape[1]) if cell_init is None else cell_init
        mask = None if mask is None else T.cast(mask.dimshuffle(1, 0), x.dtype)  # (n_steps, n_batch)
        hid, cell = self.recurrence(x, hid_init, cell_init, mask)  # (n_steps, n_batch, n_units) each
        last = 0 if self.backwards else -1
        return hid.dimshuffle(1, 0, 2), hid[last], cell[last]

    @staticmethod
    def _start(state, n_batch):
        """The layer's own initial state: one row for all sequences, or an expression with a row for each."""
        return state if isinstance(state, T.TensorVariable) else T.dot(T.ones((n_batch, 1), state.dtype), state)

    def _gate_params(self, prefix, gates=GATES):
        return [getattr(self, prefix + gate) for gate in gates]

    def _peephole_params(self):
        return self._gate_params("W_cell_to_", ("ingate", "forgetgate", "outgate")) if self.peepholes else []


class FusedLSTMLayer(_StatefulLSTMLayer):
    """An LSTM layer that runs at the speed of the machine's matrix product: a drop-in for Lasagne's `LSTMLayer`.

    Its arguments, in their order, are Lasagne's and two more; its parameters have Lasagne's names, shapes and order, so
    that values can be exchanged.  ``unroll_scan`` and ``precompute_input``, which only say how scan goes about it,
    change nothing.

    Parameters
    ----------
    incoming : Layer or tuple
        Gives (n_batch, n_steps, n_inputs).
    num_units, ingate, forgetgate, cell, outgate, nonlinearity, cell_init, hid_init, backwards, learn_init, peepholes
        As for Lasagne's.  The three gates must be sigmoid; the cell's nonlinearity and the output's may be tanh,
        rectify, sigmoid or identity of `lasagne.nonlinearities`.
    grad_clipping : float
        Bound on the gradients of the gates before their nonlinearities at each step; 0: none.
    gradient_steps : int
        Only the last so many steps get a gradient, as with `theano.scan`'s ``truncate_gradient``; -1: all.
    mask_input : Layer
        Gives (n_batch, n_steps), 0 where a step is skipped and the state stays as it was, else 1; no gradient.
    only_return_final : bool
        Give out the last step alone, (n_batch, num_units).
    form : "textbook" or "lasagne-0.1"
        Where the output gate's peephole goes; see the module.

    Raises
    ------
    ValueError
        For a nonlinearity that the fused Op does not know; when it runs, for a mask of other numbers than 0 and 1.

    References
    ----------
    Graves, "Generating sequences with recurrent neural networks", arXiv:1308.0850, eq. 7-11.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        gates = dict(zip(GATES, self._gate_params("nonlinearity_")))
        cell = gates.pop("cell")
        if set(gates.values()) != {nonlinearities.sigmoid}:
            raise ValueError(f"{', '.join(gates)} must be sigmoid; for another nonlinearity use ScanLSTMLayer")
        if not {self.nonlinearity, cell} <= set(KINDS):
            given = f"nonlinearity is {self.nonlinearity}, the cell's {cell}"
            remedy = (
                "must be tanh, rectify, sigmoid or identity of lasagne.nonlinearities; for another use ScanLSTMLayer"
            )
            raise ValueError(f"{given}; {remedy}")

    def recurrence(self, x, hid_init, cell_init, mask):
        kinds = KINDS[self.nonlinearity_cell], KINDS[self.nonlinearity]
        op = FusedLSTM(self.peepholes, self.form, *kinds, self.gradient_steps, self.grad_clipping, bool(self.backwards))
        gates = [param for prefix in PREFIXES for param in self._gate_params(prefix)]
        masks = [] if mask is None else [mask]
        hid, cell, _ = op(x, *gates, *self._peephole_params(), hid_init, cell_init, *masks)
        return hid, cell


class ScanLSTMLayer(_StatefulLSTMLayer):
    """The same layer as a loop of Theano's own Ops: `FusedLSTMLayer`'s reference, any nonlinearity, any device."""

    def recurrence(self, x, hid_init, cell_init, mask):
        W_in, W_hid, b = (T.concatenate(self._gate_params(prefix), axis=-1) for prefix in PREFIXES)
        inside = self.form == "textbook"

        def step(z, cell, hid, W_hid, w_ci=0, w_cf=0, w_co=0):
            gates = z + T.dot(hid, W_hid)  # (n_batch, 4 n_units)
            if self.grad_clipping:
                gates = theano.gradient.grad_clip(gates, -self.grad_clipping, self.grad_clipping)
            i, f, g, o = (gates[:, k * self.num_units : (k + 1) * self.num_units] for k in range(4))
            i = self.nonlinearity_ingate(i + w_ci * cell)
            f = self.nonlinearity_forgetgate(f + w_cf * cell)
            cell = f * cell + i * self.nonlinearity_cell(g)
            peephole = w_co * cell
            o = self.nonlinearity_outgate(o + peephole) if inside else self.nonlinearity_outgate(o) + peephole
            return cell, o * self.nonlinearity(cell)

        def masked_step(z, mask, *before_and_weights):
            return [T.switch(mask, *pair) for pair in zip(step(z, *before_and_weights), before_and_weights)]

        z, start, weights = T.dot(x, W_in) + b, [cell_init, hid_init], [W_hid] + self._peephole_params()
        fn, sequences = (step, z) if mask is None else (masked_step, [z, mask.dimshuffle(0, 1, "x")])
        options = dict(truncate_gradient=self.gradient_steps, go_backwards=self.backwards, strict=True)
        (cell, hid), _ = theano.scan(fn, sequences, start, weights, **options)
        return (hid[::-1], cell[::-1]) if self.backwards else (hid, cell)


def lstm_layer(kind, incoming, num_units, **kwargs):
    """A `FusedLSTMLayer` or `ScanLSTMLayer`, with their arguments, by the name a recipe uses; else ValueError.

    Parameters
    ----------
    kind : "fused", "fused-lasagne-0.1", "lasagne" or "lasagne-0.1"
        The fused Op; the same with the output gate of Lasagne's release on PyPI; the functions of both by
        `theano.scan`.  Where the fused Op cannot be built (a warning says so once) or Theano runs on a GPU, scan takes
        its place.
    """
    check_choice("lstm", kind, CHOICES["lstm"])
    form = "lasagne-0.1" if kind.endswith("lasagne-0.1") else "textbook"
    fuse = kind.startswith("fused") and theano_setup.device() == "cpu" and _can_fuse()
    return (FusedLSTMLayer if fuse else ScanLSTMLayer)(incoming, num_units, form=form, **kwargs)


@functools.cache
def _can_fuse():
    """Whether the library is at hand; warns once where it is not."""
    reason = native.unavailable()
    if reason:
        warnings.warn(f"the fused LSTM cannot be built, Lasagne's slower scan takes its place: {reason}", stacklevel=3)
    return not reason
