"""What an optimiser does to the parameters, each in one trip through memory.

Every function takes a loss or a list of gradients and returns an OrderedDict
of updates, as those of `lasagne.updates` do, and computes the same formula.
RMSProp and Adam run as one in-place Op per parameter; the others are Lasagne's.
"""
from collections import OrderedDict

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.updates import get_or_compute_grads

from . import native, rewrites
from .gate_products import InputWeightGradients

SLAB_BYTES = 32 << 20  # of a gradient at a time: more is faster until it leaves the last-level cache


def optimiser(recipe, loss_or_grads, params, learning_rate):
    """The updates a recipe asks for.

    Parameters
    ----------
    recipe : Recipe
        Its fields optimiser, momentum, rho, epsilon and max_norm count here.
    loss_or_grads : scalar expression or list of expressions
    params : list of shared variables
    learning_rate : float, shared variable or scalar expression

    Returns
    -------
    OrderedDict
        From shared variable to its new value.

    Raises
    ------
    ValueError
        When `recipe.optimiser` is none of rmsprop, sgd, nesterov, adagrad and adam.
    """
    options = {"max_norm": recipe.max_norm or None}
    if recipe.optimiser == "rmsprop":
        return rmsprop(loss_or_grads, params, learning_rate, recipe.rho, recipe.epsilon, recipe.momentum, **options)
    if recipe.optimiser == "sgd":
        return sgd(loss_or_grads, params, learning_rate, recipe.momentum, **options)
    if recipe.optimiser == "nesterov":
        return nesterov(loss_or_grads, params, learning_rate, recipe.momentum, **options)
    if recipe.optimiser == "adagrad":
        return adagrad(loss_or_grads, params, learning_rate, **options)
    if recipe.optimiser == "adam":
        return adam(loss_or_grads, params, learning_rate, **options)
    raise ValueError(f"optimiser is {recipe.optimiser!r}, must be rmsprop, sgd, nesterov, adagrad or adam")


def _apply(rule, param, states, grad, numbers):
    """One call of the C update, in place; grad (n_rows, n_columns) may be a block of columns."""
    velocity = states[1] if len(states) == 2 else None
    native.function(rule, param.dtype)(
        native.long(grad.shape[0]), native.long(grad.shape[1]), native.long(grad.strides[0] // grad.itemsize),
        *map(native.pointer, (param, states[0], velocity, grad)),
        *(native.scalar(number, param.dtype) for number in numbers), native.long(native.num_threads()))


class FusedUpdate(theano.Op):
    """One parameter's update by RMSProp (with or without momentum) or Adam.

    Inputs: the parameter, its gradient, one or two states of its shape, and
    five numbers: the factor on the gradient, step size, rho (or beta1),
    epsilon, momentum (or beta2).  Outputs: the parameter and the states, anew.
    """

    __props__ = ("rule", "n_states", "inplace")

    def __init__(self, rule, n_states, inplace=False):
        self.rule, self.n_states, self.inplace = rule, n_states, inplace
        if inplace:
            self.destroy_map = {0: [0], **{k + 1: [k + 2] for k in range(n_states)}}

    def make_node(self, param, grad, *others):
        states, numbers = others[:self.n_states], others[self.n_states:]
        numbers = [T.cast(T.as_tensor_variable(number), param.dtype) for number in numbers]
        return theano.Apply(self, [param, grad, *states, *numbers], [v.type() for v in (param, *states)])

    def perform(self, node, inputs, output_storage):
        param, grad, *others = inputs
        states, numbers = others[:self.n_states], others[self.n_states:]
        if any(v.shape != param.shape for v in (grad, *states)):
            raise ValueError(f"parameter, gradient and states have shapes {[v.shape for v in (param, grad, *states)]}")
        changed = [v if self.inplace and v.flags.carray else np.array(v, order="C") for v in (param, *states)]
        _apply(self.rule, changed[0], changed[1:], np.ascontiguousarray(grad).reshape(1, -1), numbers)
        for storage, value in zip(output_storage, changed):
            storage[0] = value

    def infer_shape(self, node, shapes):
        return [shapes[0]] * len(node.outputs)


class FusedProductUpdate(theano.Op):
    """The update, in place, of parameters whose gradients are blocks of columns of one product A.T D.

    The gradient never exists as a whole: a slab of its rows at a time is
    taken and used up while it lies in the cache, which saves an array of the
    parameters' size and the way to memory and back.

    Inputs: A (..., n_rows) and D (..., n_params * n_columns), five numbers as
    for `FusedUpdate`, then the parameters (n_rows, n_columns), then the first
    states of all, then the second.  Outputs: parameters and states.
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
        numbers, changed = inputs[2:7], [v if v.flags.carray else np.array(v, order="C") for v in inputs[7:]]
        n_rows, n_columns = changed[0].shape
        if any(v.shape != (A.shape[1], D.shape[1] // self.n_params) for v in changed):
            raise ValueError(f"parameters and states have shapes {[v.shape for v in changed]}, "
                             f"their gradients {(A.shape[1], D.shape[1] // self.n_params)}")
        slab = max(1, min(n_rows, SLAB_BYTES // (D.shape[1] * D.itemsize)))
        gradient = native.workspace(slab * D.shape[1], D.dtype)[:slab * D.shape[1]].reshape(slab, -1)
        for first in range(0, n_rows, slab):
            rows = slice(first, min(first + slab, n_rows))
            here = native.product(A[:, rows].T, D, out=gradient[:rows.stop - first])
            for k in range(self.n_params):
                param, *states = (v[rows] for v in changed[k::self.n_params])
                _apply(self.rule, param, states, here[:, k * n_columns:(k + 1) * n_columns], numbers)
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
        threads = native.long(native.num_threads())
        arrays = [np.ascontiguousarray(v) for v in inputs]
        total = sum(native.function("squared_sum", v.dtype)(native.long(v.size), native.pointer(v), threads) for v in arrays)
        output_storage[0][0] = np.asarray(total, node.outputs[0].dtype)

    def infer_shape(self, node, shapes):
        return [()]


@theano.gof.local_optimizer([FusedUpdate], inplace=True)
def _update_in_place(node):
    """Write over the parameter and its states where nothing else still needs their old values."""
    if isinstance(node.op, FusedUpdate) and not node.op.inplace:
        return FusedUpdate(node.op.rule, node.op.n_states, inplace=True)(*node.inputs, return_list=True)


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
            if any(user.inputs[1] is not v or user.inputs[-5:] != users[0].inputs[-5:] for user, v in zip(users, node.outputs)):
                continue
            op, = ops
            changed = [user.inputs[k] for k in [0, *range(2, 2 + op.n_states)] for user in users]
            new = FusedProductUpdate(op.rule, len(users), op.n_states)(*product, *users[0].inputs[-5:], *changed, return_list=True)
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
rewrites.register("fused_update_in_place", _update_in_place)


def gradient_norm(grads):
    """Euclidean norm of all gradients taken together.

    Parameters
    ----------
    grads : list of expressions

    Returns
    -------
    scalar expression
    """
    if native.unavailable():
        return T.sqrt(sum(T.sum(g ** 2) for g in grads))
    return T.sqrt(SquaredSum()(*grads))


def _norm_factor(grads, max_norm):
    """What all gradients are multiplied by, so that their norm stays below max_norm (`lasagne.updates.total_norm_constraint`)."""
    if max_norm is None:
        return 1.
    norm = gradient_norm(grads)
    return T.minimum(norm, max_norm) / (1e-7 + norm)


def _state(param, name):
    """A shared array of zeros like `param`, named after it."""
    value = param.get_value(borrow=True)
    return theano.shared(np.zeros(value.shape, value.dtype), name=f"{param.name}.{name}", broadcastable=param.broadcastable)


def _fused(rule, params, grads, state_names, numbers):
    """Updates of all parameters by one `FusedUpdate` each."""
    updates = OrderedDict()
    for param, grad in zip(params, grads):
        states = [_state(param, name) for name in state_names]
        new = FusedUpdate(rule, len(states))(param, grad, *states, *numbers, return_list=True)
        updates.update(zip(states + [param], new[1:] + new[:1]))
    return updates


def rmsprop(loss_or_grads, params, learning_rate=1.0, rho=0.9, epsilon=1e-6, momentum=0.0, max_norm=None):
    """RMSProp, with momentum where asked for.

    ``accu = rho * accu + (1 - rho) * grad**2``,
    ``step = learning_rate * grad / sqrt(accu + epsilon)``; without momentum
    ``param -= step``, with it ``velocity = momentum * velocity - step`` and
    ``param += velocity``: `lasagne.updates.rmsprop` followed by `apply_momentum`.

    Parameters
    ----------
    loss_or_grads : scalar expression or list of expressions
    params : list of shared variables
    learning_rate : float, shared variable or scalar expression
    rho, epsilon : float or scalar expression
    momentum : float
        0 leaves the velocity out, which saves an array of every parameter's size.
    max_norm : float, optional
        All gradients are scaled down together where their joint norm is larger.

    Returns
    -------
    OrderedDict
        From shared variable to its new value: for each parameter its states
        (named ``<param>.accu`` and ``<param>.velocity``), then itself.

    References
    ----------
    Tieleman and Hinton, Coursera lecture 6.5, 2012; Lasagne 0.1, updates.py.
    """
    grads = get_or_compute_grads(loss_or_grads, params)
    if native.unavailable():
        updates = lasagne.updates.rmsprop(_clipped(grads, max_norm), params, learning_rate, rho, epsilon)
        return lasagne.updates.apply_momentum(updates, params, momentum) if momentum else updates
    return _fused("rmsprop", params, grads, ["accu"] + (["velocity"] if momentum else []),
                  [_norm_factor(grads, max_norm), learning_rate, rho, epsilon, momentum])


def adam(loss_or_grads, params, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, max_norm=None):
    """Adam, by the formula of `lasagne.updates.adam`.

    Parameters
    ----------
    loss_or_grads : scalar expression or list of expressions
    params : list of shared variables
    learning_rate, beta1, beta2, epsilon : float or scalar expression
    max_norm : float, optional
        All gradients are scaled down together where their joint norm is larger.

    Returns
    -------
    OrderedDict
        From shared variable to its new value: the number of steps so far
        (``adam.step``), then for each parameter ``<param>.mean``,
        ``<param>.square`` and itself.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980, end of section 2.
    """
    grads = get_or_compute_grads(loss_or_grads, params)
    if native.unavailable():
        return lasagne.updates.adam(_clipped(grads, max_norm), params, learning_rate, beta1, beta2, epsilon)
    step = theano.shared(np.asarray(0, theano.config.floatX), name="adam.step")
    size = learning_rate * T.sqrt(1 - beta2 ** (step + 1)) / (1 - beta1 ** (step + 1))
    updates = OrderedDict([(step, step + 1)])
    updates.update(_fused("adam", params, grads, ["mean", "square"],
                          [_norm_factor(grads, max_norm), size, beta1, epsilon, beta2]))
    return updates


def _clipped(grads, max_norm):
    """The gradients times `_norm_factor`, as expressions."""
    return grads if max_norm is None else [g * _norm_factor(grads, max_norm) for g in grads]


def sgd(loss_or_grads, params, learning_rate, momentum=0.0, max_norm=None):
    """Gradient descent, with momentum where asked for; arguments as for `rmsprop`."""
    grads = _clipped(get_or_compute_grads(loss_or_grads, params), max_norm)
    updates = lasagne.updates.sgd(grads, params, learning_rate)
    return lasagne.updates.apply_momentum(updates, params, momentum) if momentum else updates


def nesterov(loss_or_grads, params, learning_rate, momentum=0.9, max_norm=None):
    """Gradient descent with Nesterov's momentum; arguments as for `rmsprop`."""
    grads = _clipped(get_or_compute_grads(loss_or_grads, params), max_norm)
    return lasagne.updates.nesterov_momentum(grads, params, learning_rate, momentum)


def adagrad(loss_or_grads, params, learning_rate=1.0, epsilon=1e-6, max_norm=None):
    """Adagrad; arguments as for `rmsprop`."""
    grads = _clipped(get_or_compute_grads(loss_or_grads, params), max_norm)
    return lasagne.updates.adagrad(grads, params, learning_rate, epsilon)
