"""One time step of an LSTM layer, forward and backward, in plain torch operations; `kernels` has each as one kernel.

Equations, forms and the order of the gates are those of `fused.layers`.  Arrays of a step: z, the gates (n_batch,
4 n_units), blocks i, f, g, o; hid and cell (n_batch, n_units); W (n_units, 4 n_units); w (3 n_units,), the peepholes.
"""

from typing import NamedTuple

import torch


class Choices(NamedTuple):
    """What a layer computes: nonlinearity of its output, the output peephole after the sigmoid, a bound on gradients.

    `steps`: so many from the end get a gradient, 0 for all; `tf32`: what products may be rounded to on a card.
    """

    nonlinearity: str = "tanh"
    late: bool = False
    clip: float = 0.0
    steps: int = 0
    tf32: bool = False


NONLINEARITIES = {  # a function of the cell, and its slope from the cell and the value
    "tanh": (torch.tanh, lambda _, a: 1 - a * a),
    "sigmoid": (torch.sigmoid, lambda _, a: a * (1 - a)),
    "rectify": (torch.relu, lambda cell, _: 0.5 * (1 + torch.sign(cell))),  # at 0 one half, as in Theano
}


def forward(z, hid, cell, W, w, choices, new_hid, new_cell):
    """Fill `new_hid` and `new_cell`; z holds x W_in + b before and the gates after their nonlinearities afterwards."""
    z.addmm_(hid, W)
    (i, f, g, o), (w_i, w_f, w_o) = z.chunk(4, dim=1), w.chunk(3)
    i.addcmul_(w_i, cell).sigmoid_()
    f.addcmul_(w_f, cell).sigmoid_()
    torch.mul(f, cell, out=new_cell).addcmul_(i, g.tanh_())
    if not choices.late:
        o.addcmul_(w_o, new_cell)
    o.sigmoid_()
    factor = o + w_o * new_cell if choices.late else o
    torch.mul(factor, NONLINEARITIES[choices.nonlinearity][0](new_cell), out=new_hid)


def backward(gates, cell_before, cell, W, w, choices, d_hid, d_cell, d_next, d_z, d_cut, d_peephole):
    """Fill `d_z`, the gradient of the gates before their nonlinearities; `d_cell` is of this cell, then of the last.

    d_next, of the gates of the step that follows, cut, or None, and d_hid are where the gradient comes from.  What
    `choices.clip` leaves goes into d_cut, which is d_z itself where it cuts nothing; peepholes carry the uncut one.
    d_peephole (n_batch, n_units) is what w_o c was given.
    """
    (i, f, g, o), (w_i, w_f, w_o) = gates.chunk(4, dim=1), w.chunk(3)
    d_i, d_f, d_g, d_o = d_z.chunk(4, dim=1)
    act, slope = NONLINEARITIES[choices.nonlinearity]
    to_hid = d_hid if d_next is None else torch.addmm(d_hid, d_next, W.t())
    a = act(cell)
    factor, d_factor = (o + w_o * cell if choices.late else o), to_hid * a
    torch.mul(d_factor, o * (1 - o), out=d_o)
    d_peephole.copy_(d_factor if choices.late else d_o)
    d = d_cell + to_hid * factor * slope(cell, a) + d_peephole * w_o
    torch.mul(d * g, i * (1 - i), out=d_i)
    torch.mul(d * cell_before, f * (1 - f), out=d_f)
    torch.mul(d * i, 1 - g * g, out=d_g)
    torch.mul(d, f, out=d_cell).addcmul_(d_i, w_i).addcmul_(d_f, w_f)
    if choices.clip:
        torch.clamp(d_z, -choices.clip, choices.clip, out=d_cut)
