"""Ops that return parameters and optimiser states anew, in place, and the rewrites that put them there."""

import numpy as np
import theano
import theano.tensor as T

from . import native, rewrites
from .gate_products import InputWeightGradients

SLAB_BYTES = 32 << 20  # of a gradient at a time: more is faster until it leaves the last-level cache


def _apply(rule, param, states, grad, numbers):
    """One call of the C update, in place; grad (n_rows, n_columns) may be a block of columns."""
    states = [*states, None][:2]  # one that has no second gets a null pointer
    sizes = *grad.shape, grad.strides[0] // grad.itemsize
    native.call(rule, param.dtype, *sizes, param, *states, grad, *map(float, numbers), native.num_threads())


def _writable(arrays, inplace=True):
    """The arrays themselves where they can be written over, else copies."""
    return [v if inplace and v.flags.carray else np.array(v, order="C") for v in arrays]


class FusedUpdate(theano.Op):
    """One parameter's update by RMSProp (with or without momentum) or Adam.

    Inputs: the parameter, its gradient, one or two states of its shape, and five numbers: the factor on the gradient,
    step size, rho (or beta1), epsilon, momentum (or beta2).  Outputs: the parameter and the states, anew.
    """

    __props__ = ("rule", "n_states", "inplace")

    def __init__(self, rule, n_states, inplace=False):
        self.rule, self.n_states, self.inplace = rule, n_states, inplace
        if inplace:
            self.destroy_map = {0: [0], **{k + 1: [k + 2] for k in range(n_states)}}

    def make_node(self, param, grad, *others):
        states, numbers = others[: self.n_states], others[self.n_states :]
        numbers = [T.cast(T.as_tensor_variable(number), param.dtype) for number in numbers]
        return theano.Apply(self, [param, grad, *states, *numbers], [v.type() for v in (param, *states)])

    def perform(self, node, inputs, output_storage):
        param, grad, *others = inputs
        states, numbers = others[: self.n_states], others[self.n_states :]
        if any(v.shape != param.shape for v in (grad, *states)):
            raise ValueError(f"parameter, gradient and states have shapes {[v.shape for v in (param, grad, *states)]}")
        changed = _writable([param, *states], self.inplace)
        _apply(self.rule, changed[0], changed[1:], np.ascontiguousarray(grad).reshape(1, -1), numbers)
        for storage, value in zip(output_storage, changed):
            storage[0] = value

    def infer_shape(self, node, shapes):
        return [shapes[0]] * len(node.outputs)


class FusedProductUpdate(theano.Op):
    """The update, in place, of parameters whose gradients are blocks of columns of one product A.T D.

    The gradient never exists as a whole: a slab of its rows at a time is taken and used up while it lies in the cache.
    Inputs: A (..., n_rows) and D (..., n_params * n_columns), five numbers as for `FusedUpdate`, then the parameters
    (n_rows, n_columns), then the first states of all, then the second.  Outputs: parameters and states.
    """

    __props__ = ("rule", "n_params", "n_states")
    view_map = {}

    def __init__(self, rule, n_params, n_states):
        self.rule, self.n_params, self.n_states = rule, n_params, n_states
        self.destroy_map = {k: [7 + k] for k in range(n_params * (1 + n_states))}

    def make_node(self, A, D, *others):
        return theano.Apply(self, [A, D, *others], [v.type() for v in others[5:]])

    def perform(self, node, inputs, output_storage):
        A, D = (np.ascontiguousarray(v).reshape(-1, v.shape[-1]) for v in inputs[:2])
        numbers, changed = inputs[2:7], _writable(inputs[7:])
        n_rows, n_columns = changed[0].shape
        shapes, wanted = [v.shape for v in changed], (A.shape[1], D.shape[1] // self.n_params)
        if any(shape != wanted for shape in shapes):
            raise ValueError(f"parameters and states have shapes {shapes}, their gradients {wanted}")
        slab = max(1, min(n_rows, SLAB_BYTES // (D.shape[1] * D.itemsize)))
        gradient = native.workspace((slab, D.shape[1]), D.dtype)
        for first in range(0, n_rows, slab):
            rows = slice(first, min(first + slab, n_rows))
            here = native.product(A[:, rows].T, D, out=gradient[: rows.stop - first])
            for k in range(self.n_params):
                param, *states = (v[rows] for v in changed[k :: self.n_params])
                _apply(self.rule, param, states, here[:, k * n_columns : (k + 1) * n_columns], numbers)
        for storage, value in zip(output_storage, changed):
            storage[0] = value

    def infer_shape(self, node, shapes):
        return shapes[7:]


class SquaredSum(theano.Op):
    """Sum of the squares of all elements of all inputs, added up in double precision."""

    __props__ = ()

    def make_node(self, *arrays):
        return theano.Apply(self, list(arrays), [T.scalar(dtype=arrays[0].dtype)])

    def perform(self, node, inputs, output_storage):
        arrays = [np.ascontiguousarray(v) for v in inputs]
        total = sum(native.call("squared_sum", v.dtype, v.size, v, native.num_threads()) for v in arrays)
        output_storage[0][0] = np.asarray(total, node.outputs[0].dtype)

    def infer_shape(self, node, shapes):
        return [()]


class _UpdateFromProduct(theano.gof.Optimizer):
    """Join each product that is nothing but gradients of parameters with the updates of these parameters."""

    def add_requirements(self, fgraph):
        fgraph.attach_feature(theano.gof.toolbox.ReplaceValidate())

    def apply(self, fgraph):
        for node in fgraph.toposort():
            product = _transposed_product(node)
            users = [clients[0][0] for clients in (v.clients for v in node.outputs) if len(clients) == 1]
            if not product or len(users) < len(node.outputs):
                continue
            ops = {getattr(user, "op", None) for user in users}
            if len(ops) > 1 or not isinstance(next(iter(ops)), FusedUpdate) or users[0].op.inplace:
                continue  # a gradient that is asked for itself has the string "output" for its user
            numbers = users[0].inputs[-5:]
            if any(user.inputs[1] is not v or user.inputs[-5:] != numbers for user, v in zip(users, node.outputs)):
                continue
            (op,) = ops
            changed = [user.inputs[k] for k in [0, *range(2, 2 + op.n_states)] for user in users]
            joint = FusedProductUpdate(op.rule, len(users), op.n_states)
            new = joint(*product, *numbers, *changed, return_list=True)
            old = [user.outputs[k] for k in range(1 + op.n_states) for user in users]
            try:
                fgraph.replace_all_validate(list(zip(old, new)), reason="update_from_product")
            except theano.gof.InconsistencyError:
                pass  # an old value is still needed afterwards: the plain update copies it


def _transposed_product(node):
    """A and D of a node that computes A.T D, else None."""
    if isinstance(node.op, InputWeightGradients):
        return node.inputs
    if isinstance(node.op, rewrites.Product) and len(node.inputs) == 2:
        left = node.inputs[0].owner
        if left and isinstance(left.op, T.DimShuffle) and left.op.new_order == (1, 0):
            return [left.inputs[0], node.inputs[1]]
    return None


rewrites.register("update_from_product", _UpdateFromProduct(), rewrites.IN_PLACE - 1)
rewrites.let_work_in_place("fused_update_in_place", FusedUpdate)
