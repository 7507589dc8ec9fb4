"""Fused updates and loss against Lasagne's formulas and Theano's own gradient."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T

from vocalsynth_utils import recipes, updates
from vocalsynth_utils.fused import FusedLSTMLayer, native
from vocalsynth_utils.losses import mean_squared_error

RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.standard_normal(shape).astype(theano.config.floatX)


VALUES = random(300, 501), random(501), random(7)  # the first is large enough for two threads


def after_five_steps(rule, **options):
    """Parameters after five updates of a loss whose gradient changes with the parameters."""
    params = [theano.shared(v, name=f"p{k}") for k, v in enumerate(VALUES)]
    loss = sum(T.sum(T.sin(p + k)) for k, p in enumerate(params))
    step = theano.function([], loss, updates=rule(loss, params, **options))
    losses = [float(step()) for _ in range(5)]
    assert losses[-1] < losses[0]
    return [p.get_value() for p in params]


def lasagnes(rule, momentum=0.0, max_norm=None):
    """A rule of Lasagne with its own functions for momentum and for the norm."""

    def combined(loss, params, **options):
        grads = T.grad(loss, params)
        if max_norm:
            grads = lasagne.updates.total_norm_constraint(grads, max_norm)
        found = rule(grads, params, **options)
        return lasagne.updates.apply_momentum(found, params, momentum) if momentum else found

    return combined


def assert_same(actual, expected):
    for a, e in zip(actual, expected):
        np.testing.assert_allclose(a, e, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9}, {"max_norm": 5.0}, {"momentum": 0.5, "max_norm": 5.0}], ids=str
)
def test_rmsprop_matches_lasagnes_formula(options):
    common = dict(learning_rate=0.01, rho=0.8, epsilon=1e-4)
    assert_same(
        after_five_steps(updates.rmsprop, **common, **options),
        after_five_steps(lasagnes(lasagne.updates.rmsprop, **options), **common),
    )


@pytest.mark.parametrize("options", [{}, {"max_norm": 5.0}], ids=str)
def test_adam_matches_lasagnes_formula(options):
    common = dict(learning_rate=0.01, beta1=0.8, beta2=0.95)
    assert_same(
        after_five_steps(updates.adam, **common, **options),
        after_five_steps(lasagnes(lasagne.updates.adam, **options), **common),
    )


def test_the_number_of_threads_does_not_change_an_update():
    before, results = native.num_threads(), []
    try:
        for n in (1, 2):
            native.set_num_threads(n)
            results.append(after_five_steps(updates.rmsprop, learning_rate=0.01))
    finally:
        native.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*results))


def test_parameter_and_states_keep_their_memory():
    param = theano.shared(random(40, 30), name="p")
    found = updates.rmsprop(T.sum(param**2), [param], 0.01, momentum=0.9)
    shared = list(found)
    assert [v.name for v in shared] == ["p.accu", "p.velocity", "p"]
    step = theano.function([], [], updates=found)
    step()
    addresses = [v.get_value(borrow=True).ctypes.data for v in shared]
    step()
    assert addresses == [v.get_value(borrow=True).ctypes.data for v in shared]


def test_the_value_before_the_update_can_be_an_output():
    param = theano.shared(random(4, 3), name="p")
    before = param.get_value()
    step = theano.function([], param * 1 + 0, updates=updates.rmsprop(T.sum(param**2), [param], 0.1))
    assert np.array_equal(step(), before) and not np.array_equal(param.get_value(), before)


def test_learning_rate_may_be_shared_and_changes_between_steps():
    param, rate = theano.shared(random(4), name="p"), theano.shared(np.float32(0))
    step = theano.function([], [], updates=updates.rmsprop(T.sum(param**2), [param], rate))
    before = param.get_value()
    step()
    assert np.array_equal(param.get_value(), before)
    rate.set_value(np.float32(0.1))
    step()
    assert not np.array_equal(param.get_value(), before)


def test_not_a_number_in_a_gradient_reaches_the_parameter():
    param = theano.shared(random(40), name="p")
    gradient = np.ones(40, np.float32)
    gradient[17] = np.nan
    theano.function([], [], updates=updates.rmsprop([T.constant(gradient)], [param], 0.1))()
    assert np.flatnonzero(np.isnan(param.get_value())).tolist() == [17]


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(momentum=0.9),
        dict(optimiser="sgd"),
        dict(optimiser="sgd", momentum=0.9),
        dict(optimiser="nesterov", momentum=0.9),
        dict(optimiser="adagrad"),
        dict(optimiser="adam", max_norm=1.0),
    ],
    ids=str,
)
def test_every_optimiser_of_a_recipe_goes_down(options):
    recipe = recipes.Recipe(name="test", purpose="", **options)
    after_five_steps(lambda loss, params: updates.optimiser(recipe, loss, params, 0.01))


def test_a_recipe_names_all_optimisers_there_are():
    assert tuple(updates.OPTIMISERS) == recipes.CHOICES["optimiser"]


def test_an_unknown_optimiser_is_refused():
    class Unknown:
        optimiser, max_norm = "adadelta", 0

    with pytest.raises(ValueError, match="optimiser='adadelta' is not one of rmsprop, sgd, nesterov, adagrad, adam"):
        updates.optimiser(Unknown, [], [], 0.1)
    Unknown.optimiser = "rmsprob"
    with pytest.raises(ValueError, match="did you mean 'rmsprop'"):
        updates.optimiser(Unknown, [], [], 0.1)


@pytest.mark.parametrize("shape", [(37,), (5, 4000), (3, 4, 6)], ids=str)
def test_mean_squared_error_and_its_gradient(shape):
    prediction, target = random(*shape), random(*shape)
    p, t = T.TensorType("float32", (False,) * len(shape))("p"), T.TensorType("float32", (False,) * len(shape))("t")
    loss = mean_squared_error(p, t)
    value, d_p, d_t = theano.function([p, t], [loss] + T.grad(loss, [p, t]))(prediction, target)
    difference = prediction.astype(float) - target
    np.testing.assert_allclose(value, np.mean(difference**2), rtol=1e-6)
    np.testing.assert_allclose(d_p, 2 * difference / difference.size, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(d_t, -d_p)


def test_mean_squared_error_takes_any_strides_and_leaves_its_inputs_alone():
    prediction, target = random(4, 3, 10).transpose(1, 0, 2), random(3, 5, 20)[:, :-1, ::2]
    p, t = T.tensor3("p"), T.tensor3("t")
    loss = mean_squared_error(p, t)
    before = prediction.copy()
    value, d_p = theano.function([p, t], [loss, T.grad(loss, p)])(prediction, target)
    np.testing.assert_allclose(value, np.mean((prediction - target) ** 2), rtol=1e-6)
    np.testing.assert_allclose(d_p, 2 * (prediction - target) / prediction.size, rtol=1e-5, atol=1e-9)
    assert np.array_equal(prediction, before)


def test_mean_squared_error_of_a_nan_is_nan():
    p = random(3, 40)
    p[1, 38] = np.nan
    assert np.isnan(theano.function([], mean_squared_error(T.constant(p), T.constant(random(3, 40))))())


def test_gradient_scales_with_what_follows_the_loss():
    p = T.constant(random(3, 4))
    loss = mean_squared_error(p, T.zeros_like(p))
    once, thrice = theano.function([], [T.grad(loss, p), T.grad(3 * loss + 1, p)])()
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_mean_squared_error_refuses_other_shapes():
    with pytest.raises(ValueError, match="must be equal"):
        theano.function([], mean_squared_error(T.constant(random(3, 4)), T.constant(random(3, 5))))()
    with pytest.raises(TypeError, match="axes"):
        mean_squared_error(T.matrix(), T.vector())


def test_a_gradient_that_is_asked_for_itself_needs_no_update():
    from lasagne.layers import InputLayer, get_output

    layer, x = FusedLSTMLayer(InputLayer((None, None, 5)), 4), T.tensor3()
    with theano.configparser.change_flags(on_opt_error="raise"):
        gradient = theano.function([x], T.grad(get_output(layer, x).mean(), layer.get_params(trainable=True)))
    assert gradient(np.ones((2, 3, 5), np.float32))[0].shape == (5, 4)
