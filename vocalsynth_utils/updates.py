"""What an optimiser does to the parameters: updates as `lasagne.updates` gives them, each in one trip through memory.

Every function takes a loss or a list of gradients and returns an OrderedDict of updates by the formula of Lasagne's.
RMSProp and Adam run as one in-place Op per parameter; the others are Lasagne's.
"""

import functools
from collections import OrderedDict

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.updates import get_or_compute_grads

from .fused import FusedUpdate, SquaredSum, native
from .recipes import check_choice

ADAM_BETA2 = 0.99  # of a recipe's Adam: forgets in 100 updates, as runs here are short


def gradient_norm(grads):
    """Euclidean norm of all gradients (a list of expressions) taken together, as a scalar expression."""
    if native.unavailable():
        return T.sqrt(sum(T.sum(g**2) for g in grads))
    return T.sqrt(SquaredSum()(*grads))


def _norm_factor(grads, max_norm):
    """What all gradients are multiplied by to keep their norm below max_norm, as `total_norm_constraint` of Lasagne."""
    if max_norm is None:
        return 1.0
    norm = gradient_norm(grads)
    return T.minimum(norm, max_norm) / (1e-7 + norm)


def _state(param, name):
    """A shared array of zeros like `param`, named after it."""
    value = np.zeros(param.get_value(borrow=True).shape, param.dtype)
    return theano.shared(value, f"{param.name}.{name}", borrow=True, broadcastable=param.broadcastable)


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

    ``accu = rho * accu + (1 - rho) * grad**2``, ``step = learning_rate * grad / sqrt(accu + epsilon)``; without
    momentum ``param -= step``, with it ``velocity = momentum * velocity - step`` and ``param += velocity``:
    `lasagne.updates.rmsprop` followed by `apply_momentum`.

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
        From shared variable to its new value: for each parameter its states (named ``<param>.accu`` and
        ``<param>.velocity``), then itself.

    References
    ----------
    Tieleman and Hinton, Coursera lecture 6.5, 2012; Lasagne 0.1, updates.py.
    """
    grads = get_or_compute_grads(loss_or_grads, params)
    if native.unavailable():
        updates = lasagne.updates.rmsprop(_clipped(grads, max_norm), params, learning_rate, rho, epsilon)
        return lasagne.updates.apply_momentum(updates, params, momentum) if momentum else updates
    states = ["accu", "velocity"] if momentum else ["accu"]
    numbers = [_norm_factor(grads, max_norm), learning_rate, rho, epsilon, momentum]
    return _fused("rmsprop", params, grads, states, numbers)


def adam(loss_or_grads, params, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, max_norm=None):
    """Adam, by the formula of `lasagne.updates.adam`; arguments as for `rmsprop`.

    Returns
    -------
    OrderedDict
        From shared variable to its new value: the number of steps so far (``adam.step``), then for each parameter
        ``<param>.mean``, ``<param>.square`` and itself.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980, end of section 2.
    """
    grads = get_or_compute_grads(loss_or_grads, params)
    if native.unavailable():
        return lasagne.updates.adam(_clipped(grads, max_norm), params, learning_rate, beta1, beta2, epsilon)
    step = theano.shared(np.asarray(0, theano.config.floatX), name="adam.step")
    size = learning_rate * T.sqrt(1 - beta2 ** (step + 1)) / (1 - beta1 ** (step + 1))
    numbers = [_norm_factor(grads, max_norm), size, beta1, epsilon, beta2]
    return OrderedDict([(step, step + 1), *_fused("adam", params, grads, ["mean", "square"], numbers).items()])


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


OPTIMISERS = {  # a recipe's name for it, and which of the recipe's fields it reads beside `max_norm`
    "rmsprop": (rmsprop, ("rho", "epsilon", "momentum")),
    "sgd": (sgd, ("momentum",)),
    "nesterov": (nesterov, ("momentum",)),
    "adagrad": (adagrad, ("epsilon",)),
    "adam": (functools.partial(adam, beta2=ADAM_BETA2), ()),
}


def optimiser(recipe, loss_or_grads, params, learning_rate):
    """The updates a recipe asks for by its fields optimiser, momentum, rho, epsilon and max_norm.

    The other arguments and what is returned are as for `rmsprop`; ValueError when `recipe.optimiser` is none of
    `OPTIMISERS`.
    """
    rule, fields = OPTIMISERS[check_choice("optimiser", recipe.optimiser, OPTIMISERS)]
    options = {name: getattr(recipe, name) for name in fields}
    return rule(loss_or_grads, params, learning_rate, max_norm=recipe.max_norm or None, **options)
