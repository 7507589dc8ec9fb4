"""The fused LSTM against numpy, against `theano.scan`, and against finite differences."""

import inspect
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.nonlinearities import identity, rectify, sigmoid, tanh

from vocalsynth_utils.fused import FusedLSTMLayer, ScanLSTMLayer, lstm_layer, native
from vocalsynth_utils.fused.lstm_ops import FusedLSTM

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))
RNG = np.random.default_rng(0)
ACTIVATIONS = {
    tanh: np.tanh,
    rectify: lambda x: np.maximum(x, 0),
    sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    identity: lambda x: x,
}


PLAIN = theano.compile.Mode(linker="py", optimizer=None)  # the graph as it was written: for scan in a tenth of the time


@pytest.fixture
def float64():
    before, theano.config.floatX = theano.config.floatX, "float64"
    yield
    theano.config.floatX = before


def random(*shape, dtype=None):
    return (0.5 * RNG.standard_normal(shape)).astype(dtype or theano.config.floatX)


def layer_with_random_values(cls=FusedLSTMLayer, n_inputs=4, n_units=5, values=None, **kwargs):
    layer = cls((None, None, n_inputs), n_units, **kwargs)
    for k, param in enumerate(layer.get_params()):
        param.set_value(values[k] if values else random(*param.get_value().shape))
    return layer


def compiled(layer, hid_init=None, cell_init=None):
    x = T.tensor3()
    return theano.function([x], layer.run(x, hid_init, cell_init))


def values_of(layer):
    return {p.name: p.get_value().astype(float) for p in layer.get_params()}


def numpy_lstm(layer, X, hid=None, cell=None, p=None):
    """(hid of all steps, last hid, last cell), straight from the equations, in double precision; `p` by name."""
    p = p or values_of(layer)
    gate = {
        g: (p["W_in_to_" + g], p["W_hid_to_" + g], p["b_" + g]) for g in ("ingate", "forgetgate", "cell", "outgate")
    }
    peephole = {g: p.get("W_cell_to_" + g, 0.0) for g in ("ingate", "forgetgate", "outgate")}
    hid = np.repeat(p["hid_init"], len(X), 0) if hid is None else hid
    cell = np.repeat(p["cell_init"], len(X), 0) if cell is None else cell
    sigma, hids = ACTIVATIONS[sigmoid], []
    for x in X.astype(float).transpose(1, 0, 2):
        z = {g: x @ W_in + hid @ W_hid + b for g, (W_in, W_hid, b) in gate.items()}
        i = sigma(z["ingate"] + peephole["ingate"] * cell)
        f = sigma(z["forgetgate"] + peephole["forgetgate"] * cell)
        cell = f * cell + i * ACTIVATIONS[layer.nonlinearity_cell](z["cell"])
        late = peephole["outgate"] * cell
        o = sigma(z["outgate"] + late) if layer.form == "textbook" else sigma(z["outgate"]) + late
        hid = o * ACTIVATIONS[layer.nonlinearity](cell)
        hids.append(hid)
    return np.stack(hids, 1), hid, cell


def gradients(layer, X, weights, mode=None):
    """Outputs, then gradients of the input and of all parameters, of a loss that uses every output."""
    x = T.tensor3()
    hid, hid_final, cell_final = layer.run(x)
    loss = T.sum(hid * weights) + T.sum(hid_final**2) + T.sum(cell_final * weights[:, 0])
    params = layer.get_params()
    names = ["hid", "hid_final", "cell_final", "x"] + [p.name for p in params]
    outputs = [hid, hid_final, cell_final] + T.grad(loss, [x] + params)
    return dict(zip(names, theano.function([x], outputs, mode=mode)(X)))


def assert_close(actual, expected, tolerance=2e-6):
    """Within `tolerance` of the largest element."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-30))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(form="lasagne-0.1"),
        dict(peepholes=False, grad_clipping=0.05),
        dict(gradient_steps=2, grad_clipping=0.05),
        dict(nonlinearity=rectify),
        dict(cell=lasagne.layers.Gate(W_cell=None, nonlinearity=rectify), nonlinearity=identity),
    ],
    ids=lambda options: ",".join(options) or "defaults",
)
def test_fused_lstm_matches_scan(options):
    X, weights = random(3, 5, 4), random(3, 5, 5)
    fused = layer_with_random_values(**options)
    scan = layer_with_random_values(ScanLSTMLayer, values=[p.get_value() for p in fused.get_params()], **options)
    mode = PLAIN if options else None  # once as Theano makes it fast
    expected, actual = gradients(scan, X, weights, mode), gradients(fused, X, weights)
    if "gradient_steps" in options:
        del expected["x"], actual["x"]  # scan leaves the steps it skips uninitialised; see the test of truncation
    for name in expected:
        assert_close(actual[name], expected[name])


def test_lasagne_form_matches_lasagnes_own_layer():
    X, weights = random(3, 4, 4), random(3, 4, 5)
    fused = layer_with_random_values(form="lasagne-0.1", grad_clipping=0.05)
    values, results = [p.get_value() for p in fused.get_params()], []
    for layer in (fused, layer_with_random_values(lasagne.layers.LSTMLayer, values=values, grad_clipping=0.05)):
        hid, params = layer.get_output_for([T.constant(X)]), layer.get_params()
        slopes = T.grad(T.sum(hid * weights), params, disconnected_inputs="ignore")
        results.append(theano.function([], [hid] + slopes, mode=None if layer is fused else PLAIN)())
    for actual, expected in zip(*results):
        assert_close(actual, expected)


def test_parameters_are_those_of_lasagnes_layer():
    for peepholes in (True, False):
        layers = [
            cls((None, None, 4), 5, peepholes=peepholes, name="lstm")
            for cls in (FusedLSTMLayer, ScanLSTMLayer, lasagne.layers.LSTMLayer)
        ]
        described = [[(p.name, p.get_value().shape, layer.params[p]) for p in layer.get_params()] for layer in layers]
        assert described[0] == described[1] == described[2]


@pytest.mark.parametrize(
    "n_batch, n_steps, n_inputs, n_units",
    [(1, 1, 1, 1), (1, 7, 3, 2), (2, 1, 3, 16), (3, 4, 1, 17), (8, 2, 5, 48), (9, 3, 5, 50), (19, 3, 33, 97)],
)
def test_any_size_matches_numpy(n_batch, n_steps, n_inputs, n_units):
    layer, X = layer_with_random_values(n_inputs=n_inputs, n_units=n_units), random(n_batch, n_steps, n_inputs)
    for actual, expected in zip(compiled(layer)(X), numpy_lstm(layer, X)):
        assert_close(actual, expected)


@pytest.mark.parametrize("form", ["textbook", "lasagne-0.1"])
@pytest.mark.parametrize("kinds", [(0, 0), (2, 1), (3, 2)], ids=str)
def test_gradients_match_finite_differences(float64, form, kinds):
    n_batch, n_steps, n_inputs, n_units = 3, 4, 2, 3
    shapes = [(n_steps, n_batch, n_inputs)] + 4 * [(n_inputs, n_units)] + 4 * [(n_units, n_units)] + 7 * [(n_units,)]
    values = [random(*shape) for shape in shapes + 2 * [(n_batch, n_units)]]
    op = FusedLSTM(form=form, cell_kind=kinds[0], hid_kind=kinds[1])
    T.verify_grad(lambda *inputs: T.concatenate(op(*inputs)[:2], axis=2), values, rng=np.random.RandomState(0))


def test_truncation_leaves_earlier_steps_and_initial_states_without_gradient():
    layer = layer_with_random_values(gradient_steps=2)
    found = gradients(layer, random(3, 5, 4), random(3, 5, 5))
    assert not found["x"][:, :3].any() and found["x"][:, 3:].all()
    assert not found["hid_init"].any() and not found["cell_init"].any()


def test_truncation_longer_than_the_sequence_is_none():
    X, weights = random(3, 5, 4), random(3, 5, 5)
    layer = layer_with_random_values(gradient_steps=9)
    whole = layer_with_random_values(values=[p.get_value() for p in layer.get_params()])
    found, expected = gradients(layer, X, weights), gradients(whole, X, weights)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_two_halves_with_carried_state_are_the_whole():
    layer, X = layer_with_random_values(), random(3, 10, 4)
    h, c = T.matrices("h", "c")
    x = T.tensor3()
    run = theano.function([x, h, c], layer.run(x, h, c))
    start = random(3, 5), random(3, 5)
    first, hid, cell = run(X[:, :6], *start)
    second, *final = run(X[:, 6:], hid, cell)
    expected = numpy_lstm(layer, X, *start)
    for actual, wanted in zip([np.concatenate([first, second], 1)] + final, expected):
        assert_close(actual, wanted)


def test_state_carried_in_shared_variables_is_the_whole():
    layer, X = layer_with_random_values(), random(3, 12, 4)
    states = [theano.shared(np.zeros((3, 5), theano.config.floatX)) for _ in range(2)]
    x = T.tensor3()
    hid, *final = layer.run(x, *states)
    step = theano.function([x], hid, updates=list(zip(states, final)))
    hids = np.concatenate([step(X[:, t : t + 3]) for t in range(0, 12, 3)], 1)
    assert_close(hids, numpy_lstm(layer, X, np.zeros((3, 5)), np.zeros((3, 5)))[0])


def test_given_initial_states_are_expressions_with_gradients(float64):
    layer, X = layer_with_random_values(), random(2, 3, 4)
    T.verify_grad(
        lambda h, c: T.concatenate(layer.run(T.constant(X), h, c)[1:]),
        [random(2, 5), random(2, 5)],
        rng=np.random.RandomState(0),
    )


def test_any_strides_give_the_same_result():
    layer, X = layer_with_random_values(), random(6, 10, 8)[::2, 1:9, ::2]
    run = compiled(layer)
    expected = run(np.ascontiguousarray(X))[0]
    for same in (
        X,
        np.asfortranarray(X),
        np.ascontiguousarray(X.transpose(1, 0, 2)).transpose(1, 0, 2),
        np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    ):
        assert np.array_equal(run(same)[0], expected)


def test_weights_may_have_any_strides():
    layer, X = layer_with_random_values(), random(3, 4, 4)
    expected = compiled(layer)(X)[0]
    for param in layer.get_params():
        param.set_value(np.asfortranarray(param.get_value()), borrow=True)
    assert_close(compiled(layer)(X)[0], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("nonlinearity", [tanh, rectify])
def test_what_is_not_finite_comes_out_as_nan(value, n_steps, nonlinearity):
    layer, X = layer_with_random_values(nonlinearity=nonlinearity), random(3, n_steps, 4)
    X[1, n_steps // 2, 2] = value
    hid, hid_final, cell_final = compiled(layer)(X)
    assert np.isnan(hid[1, n_steps // 2 :]).all() and np.isnan(hid_final[1]).all() and np.isnan(cell_final[1]).all()
    assert np.isfinite(hid[[0, 2]]).all()


def test_results_outlive_the_next_call():
    layer = layer_with_random_values()
    run = compiled(layer)
    results = run(random(3, 4, 4))
    copies = [r.copy() for r in results]
    run(random(3, 4, 4))
    assert all(np.array_equal(a, b) for a, b in zip(results, copies))


def test_input_axes_past_the_third_are_flattened():
    layer, X = FusedLSTMLayer((None, None, 2, 3), 5), random(3, 4, 2, 3)
    assert_close(theano.function([], layer.get_output_for([T.constant(X)]))(), numpy_lstm(layer, X.reshape(3, 4, 6))[0])


def test_number_of_threads_does_not_change_the_result():
    layer, X, weights = layer_with_random_values(n_units=64), random(16, 40, 4), random(16, 40, 64)
    before, results = native.num_threads(), []
    try:
        for n in (1, 2, 3):
            native.set_num_threads(n)
            results.append(gradients(layer, X, weights))
    finally:
        native.set_num_threads(before)
    for name in results[0]:
        assert_close(results[1][name], results[0][name])
        assert_close(results[2][name], results[0][name])


def test_worker_threads_get_what_the_main_thread_gets():
    layer, X = layer_with_random_values(n_units=32), random(8, 30, 4)
    functions, results = [compiled(layer) for _ in range(3)], {}
    expected = functions[0](X)[0]

    def work(k):
        for _ in range(20):
            results[k] = functions[k](X)[0]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(results[k], expected) for k in range(3))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(form="graves"), "form='graves' is not one of textbook, lasagne-0.1"),
        (dict(nonlinearity=lasagne.nonlinearities.softmax), "ScanLSTMLayer"),
        (dict(ingate=lasagne.layers.Gate(nonlinearity=tanh)), "must be sigmoid"),
        (dict(gradient_steps=0), "gradient_steps is 0"),
        (dict(grad_clipping=-1.0), "grad_clipping is -1.0"),
    ],
)
def test_what_the_op_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FusedLSTMLayer((None, None, 4), 5, **options)


# ---- backwards, and with a mask ----------------------------------------------------------

MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0]])  # (n_batch, n_steps)


@pytest.mark.parametrize("cls", [FusedLSTMLayer, ScanLSTMLayer])
def test_a_layer_that_runs_backwards_is_one_on_the_sequence_turned_round(cls):
    X = random(3, 7, 4)
    layer = layer_with_random_values(cls, backwards=True)
    hid, hid_final, cell_final = compiled(layer)(X)
    for actual, expected in zip((hid[:, ::-1], hid_final, cell_final), numpy_lstm(layer, X[:, ::-1])):
        assert_close(actual, expected)
    assert np.array_equal(hid[:, 0], hid_final)


@pytest.mark.parametrize("cls", [FusedLSTMLayer, ScanLSTMLayer])
def test_a_step_that_the_mask_skips_leaves_the_state_as_it_is_whatever_it_hears(cls):
    layer, X, x, mask = layer_with_random_values(cls), random(4, 6, 4), T.tensor3(), T.imatrix()
    X[MASK == 0] = np.nan
    found = theano.function([x, mask], layer.run(x, mask=mask))(X, MASK.astype("int32"))
    p = values_of(layer)
    for row, (hid, *final) in enumerate(zip(*found)):
        heard = np.flatnonzero(MASK[row])
        start = p["hid_init"][0]
        if len(heard):
            expected, *ends = numpy_lstm(layer, X[row : row + 1, heard])
            assert_close(hid[heard], expected[0])
            assert all(np.allclose(a, b[0], atol=1e-6) for a, b in zip(final, ends))
        for t in np.flatnonzero(MASK[row] == 0):
            assert np.array_equal(hid[t], hid[t - 1] if t else start.astype(hid.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("clipping", [False, 0.0625])  # which Theano can say in float32
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_outputs_and_gradients_are_those_of_lasagnes_own_layer_backwards_and_with_a_mask(
    float64, backwards, masked, clipping
):
    X, weights, values, results = random(4, 6, 4), random(4, 6, 5), None, []
    for cls in (FusedLSTMLayer, lasagne.layers.LSTMLayer):
        form = dict(form="lasagne-0.1") if cls is FusedLSTMLayer else {}
        mask_input = lasagne.layers.InputLayer((None, None)) if masked else None
        options = dict(backwards=backwards, grad_clipping=clipping, mask_input=mask_input, learn_init=True, **form)
        layer = layer_with_random_values(cls, values=values, **options)
        x, params = T.tensor3(), layer.get_params()
        values = [param.get_value() for param in params]
        known = {layer.input_layers[0]: x, **({mask_input: T.constant(MASK.astype(float))} if masked else {})}
        hid = lasagne.layers.get_output(layer, known)
        slopes = T.grad(T.sum(hid * weights), [x, *params], disconnected_inputs="ignore")
        results.append(theano.function([x], [hid, *slopes], mode=PLAIN if form == {} else None)(X))
    for actual, expected in zip(*results):
        assert_close(actual, expected, tolerance=1e-12)


@pytest.mark.parametrize("backwards", [False, True])
def test_gradients_of_every_output_and_state_with_a_mask_match_finite_differences(float64, backwards):
    layer, mask = layer_with_random_values(n_units=3, backwards=backwards), T.constant(MASK[1:, :4].astype(float))

    def outputs(x, h, c):
        hid, *final = layer.run(x, h, c, mask=mask)
        return T.concatenate([hid.flatten(), *(v.flatten() for v in final)])

    T.verify_grad(outputs, [random(3, 4, 4), random(3, 3), random(3, 3)], rng=np.random.RandomState(0))


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_truncation_with_a_mask_is_scans(backwards):
    X, weights, mask = random(4, 6, 4), random(4, 6, 5), T.constant(MASK.astype("float32"))
    options = dict(gradient_steps=3, backwards=backwards)
    fused = layer_with_random_values(**options)
    scan = layer_with_random_values(ScanLSTMLayer, values=[p.get_value() for p in fused.get_params()], **options)
    found = []
    for layer, mode in ((fused, None), (scan, PLAIN)):
        slopes = T.grad(T.sum(layer.run(T.constant(X), mask=mask)[0] * weights), layer.get_params(trainable=True))
        found.append(theano.function([], slopes, mode=mode)())
    for actual, expected in zip(*found):
        assert_close(actual, expected)


def test_threads_share_a_masked_batch_and_a_mask_of_ones_is_none():
    X, weights, mask = random(16, 40, 4), random(16, 40, 64), RNG.integers(0, 2, (16, 40)).astype("float32")
    layer, x, m = layer_with_random_values(n_units=64, backwards=True), T.tensor3(), T.matrix()
    plain, masked = (
        [v, *T.grad(T.sum(v * weights), layer.get_params())] for v in (layer.run(x)[0], layer.run(x, mask=m)[0])
    )
    run, before, results = theano.function([x, m], masked), native.num_threads(), []
    for a, b in zip(run(X, np.ones_like(mask)), theano.function([x], plain)(X)):
        assert np.array_equal(a, b)
    try:
        for n in (1, 3):
            native.set_num_threads(n)
            results.append([v.copy() for v in run(X, mask)])
    finally:
        native.set_num_threads(before)
    for a, b in zip(*results):
        assert_close(a, b)


def test_masks_that_are_none_are_refused():
    layer, x, mask = layer_with_random_values(), T.tensor3(), T.matrix()
    run, X = theano.function([x, mask], layer.run(x, mask=mask)[0]), random(3, 4, 4)
    with pytest.raises(ValueError, match="mask holds values from 0 to 0.5; each must be 0 or 1"):
        run(X, np.float32([[0, 0.5, 0, 0]] * 3))
    with pytest.raises(ValueError, match=r"mask has shape \(3, 4\), must be \(4, 3\)"):
        run(X, np.ones((4, 3), "float32"))
    with pytest.raises(theano.gradient.DisconnectedInputError):
        T.grad(T.sum(layer.run(x, mask=mask)[0]), mask)


def test_what_lasagnes_layer_refuses_is_refused():
    with pytest.raises(ValueError, match="Gradient steps must be -1"):
        FusedLSTMLayer((2, 3, 4), 5, unroll_scan=True, gradient_steps=2)
    with pytest.raises(ValueError, match="cannot be specified as None"):
        FusedLSTMLayer((2, None, 4), 5, unroll_scan=True)


def test_one_function_takes_batches_and_sequences_of_any_size():
    layer = layer_with_random_values(mask_input=lasagne.layers.InputLayer((None, None)))
    x, mask = T.tensor3(), T.matrix()
    run = theano.function([x, mask], lasagne.layers.get_output(layer, dict(zip(layer.input_layers, (x, mask)))))
    for n_batch, n_steps in ((7, 4), (6, 3), (1, 9)):
        X = random(n_batch, n_steps, 4)
        assert_close(run(X, np.ones((n_batch, n_steps), "float32")), numpy_lstm(layer, X)[0])


def test_arguments_by_position_are_those_of_lasagnes_layer():
    names = list(inspect.signature(lasagne.layers.LSTMLayer).parameters)
    assert names[2:17] == [
        *(
            "ingate",
            "forgetgate",
            "cell",
            "outgate",
            "nonlinearity",
            "cell_init",
            "hid_init",
            "backwards",
            "learn_init",
        ),
        *("peepholes", "gradient_steps", "grad_clipping", "unroll_scan", "precompute_input", "mask_input"),
    ]
    gates = [lasagne.layers.Gate(b=lasagne.init.Constant(k)) for k in range(2)]
    cell = lasagne.layers.Gate(W_cell=None, nonlinearity=rectify)
    start = lasagne.init.Constant(0.25), lasagne.init.Constant(0.5)
    given = *gates, cell, gates[1], identity, *start, False, True, False, 2, 0.05, False, False, None
    layers = [cls((None, None, 4), 5, *given) for cls in (FusedLSTMLayer, ScanLSTMLayer, lasagne.layers.LSTMLayer)]
    values, X = [random(*p.get_value().shape) for p in layers[0].get_params()], random(3, 5, 4)
    for layer in layers:
        described = [(p.name, p.get_value().shape, layer.params[p]) for p in layer.get_params()]
        assert described == [(p.name, p.get_value().shape, layers[0].params[p]) for p in layers[0].get_params()]
        assert (layer.learn_init, layer.gradient_steps, layer.grad_clipping) == (True, 2, 0.05)
        for param, value in zip(layer.get_params(), values):
            param.set_value(value)
        hid = theano.function([], layer.get_output_for([T.constant(X)]), mode=PLAIN)()
        assert_close(hid, numpy_lstm(layers[0], X)[0])


@pytest.mark.parametrize("option", ["unroll_scan", "precompute_input"])
@pytest.mark.parametrize("backwards", [False, True])
def test_how_scan_goes_about_it_changes_nothing(option, backwards):
    X, mask_input, mask = random(4, 6, 4), lasagne.layers.InputLayer((4, 6)), T.constant(MASK.astype("float32"))
    plain = dict(backwards=backwards, mask_input=mask_input)
    layers = [layer_with_random_values(**plain)]
    layers += [FusedLSTMLayer((4, 6, 4), 5, **{**plain, option: on}) for on in (True, False)]
    outputs = []
    for layer in layers:
        for param, value in zip(layer.get_params(), layers[0].get_params()):
            param.set_value(value.get_value())
        hid = lasagne.layers.get_output(layer, {layer.input_layers[0]: T.constant(X), mask_input: mask})
        outputs.append(theano.function([], hid)())
    assert all(np.array_equal(hid, outputs[0]) for hid in outputs)


def slope_of_numpy(layer, X, loss):
    """A direction of all parameters, and the slope along it of ``loss(*numpy_lstm(...))`` by central differences."""
    p = values_of(layer)
    direction = {name: RNG.standard_normal(value.shape) for name, value in p.items()}
    ends = [
        loss(*numpy_lstm(layer, X, p={name: value + h * direction[name] for name, value in p.items()}))
        for h in (1e-5, -1e-5)
    ]
    return direction, (ends[0] - ends[1]) / 2e-5


@pytest.mark.slow
@pytest.mark.parametrize("cls", [FusedLSTMLayer, ScanLSTMLayer])
@pytest.mark.parametrize("learn_init", [False, True])
def test_learn_init_trains_the_initial_states(cls, learn_init):
    X, weights = random(3, 5, 4), random(3, 5, 5)
    layer, x = layer_with_random_values(cls, learn_init=learn_init), T.tensor3()
    trained, states = layer.get_params(trainable=True), [layer.hid_init, layer.cell_init]
    assert len(trained) == 15 + 2 * learn_init and all((state in trained) == learn_init for state in states)
    hid = lasagne.layers.get_output(layer, {layer.input_layer: x})
    slopes = T.grad(T.sum(hid * weights), trained)
    steps = [(p, p - np.float32(0.1) * slope) for p, slope in zip(trained, slopes)]
    before, (direction, expected) = (values_of(layer), slope_of_numpy(layer, X, lambda hid, *_: np.sum(hid * weights)))
    run = theano.function([x], [hid, *slopes], updates=steps, mode=PLAIN if cls is ScanLSTMLayer else None)
    found = run(X)
    assert_close(found[0], numpy_lstm(layer, X, p=before)[0])
    if learn_init:
        slope = sum(np.sum(direction[p.name] * value) for p, value in zip(trained, found[1:]))
        assert slope == pytest.approx(expected, rel=1e-4)
    for state in states:
        assert np.array_equal(state.get_value(), before[state.name].astype(np.float32)) != learn_init


@pytest.mark.slow
@pytest.mark.parametrize("cls", [FusedLSTMLayer, ScanLSTMLayer])
@pytest.mark.parametrize("form", ["textbook", "lasagne-0.1"])
def test_the_final_output_alone_is_the_last_step_with_its_gradient(cls, form):
    X, weights = random(3, 5, 4), random(3, 5)
    layer, x = layer_with_random_values(cls, only_return_final=True, form=form), T.tensor3()
    assert layer.output_shape == (None, 5)
    final, params = lasagne.layers.get_output(layer, {layer.input_layer: x}), layer.get_params()
    assert final.ndim == 2
    outputs = [final] + T.grad(T.sum(final * weights), params)
    found = theano.function([x], outputs, mode=PLAIN if cls is ScanLSTMLayer else None)(X)
    assert_close(found[0], numpy_lstm(layer, X)[1])
    direction, expected = slope_of_numpy(layer, X, lambda _, final, __: np.sum(final * weights))
    slope = sum(np.sum(direction[p.name] * value) for p, value in zip(params, found[1:]))
    assert slope == pytest.approx(expected, rel=1e-4)


def test_states_of_another_shape_are_refused():
    layer, X = layer_with_random_values(), random(3, 4, 4)
    with pytest.raises(ValueError, match="hid_init and cell_init"):
        compiled(layer, T.constant(random(2, 5)), T.constant(random(2, 5)))(X)
    with pytest.raises(ValueError, match="at least one step"):
        compiled(layer)(X[:, :0])


def test_recipes_names_give_their_layers():
    layers = {
        kind: lstm_layer(kind, (None, None, 4), 5) for kind in ("fused", "fused-lasagne-0.1", "lasagne", "lasagne-0.1")
    }
    assert [type(layer) for layer in layers.values()] == [FusedLSTMLayer, FusedLSTMLayer, ScanLSTMLayer, ScanLSTMLayer]
    assert [layer.form for layer in layers.values()] == ["textbook", "lasagne-0.1"] * 2
    with pytest.raises(ValueError, match="lstm='fussed' is not one of .*; did you mean 'fused'"):
        lstm_layer("fussed", (None, None, 4), 5)


# ---- building the library ---------------------------------------------------------------


def python(code, cache, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", "from vocalsynth_utils.fused import native; " + code],
        text=True,
        env={**os.environ, "VOCALSYNTH_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.long
def test_processes_that_build_at_once_both_work_and_the_next_one_does_not_build(tmp_path):
    fast = dict(VOCALSYNTH_CXXFLAGS=native.FLAGS.replace("-O3", "-O0"))
    both = [python("print(native.num_threads() > 0)", tmp_path, **fast) for _ in range(2)]
    for process in both:
        out, error = process.communicate()
        assert out == "True\n", error
    (built,) = tmp_path.iterdir()
    before = built.stat().st_mtime_ns, built.stat().st_ino
    out, error = python("print(native.num_threads() > 0)", tmp_path, **fast).communicate()
    assert out == "True\n", error
    assert before == (built.stat().st_mtime_ns, built.stat().st_ino)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86-64")
@pytest.mark.parametrize("machine", ["x86-64", "sandybridge", "haswell"])
def test_machines_with_less_than_this_one_match_numpy(tmp_path, machine):
    code = (
        "import sys; sys.path.insert(0, {tests!r}); import numpy as np; from test_fused_lstm import *; "
        "layer, X = layer_with_random_values(n_units=37), random(9, 3, 4); "
        "[assert_close(a, b) for a, b in zip(compiled(layer)(X), numpy_lstm(layer, X))]; print('equal')"
    )
    flags = native.FLAGS.replace("-O3", "-O1") + f" -march={machine}"
    if machine != "x86-64" and "avx2" not in str(native._cpu()):
        pytest.skip("this machine has no AVX2")
    out, error = python(code.format(tests=os.path.dirname(__file__)), tmp_path, VOCALSYNTH_CXXFLAGS=flags).communicate()
    assert out == "equal\n", error


@pytest.mark.long
def test_without_a_compiler_a_warning_says_so_once_and_scan_serves(tmp_path):
    code = (
        "import warnings, numpy as np; import theano, theano.tensor as T; "
        "from vocalsynth_utils import fused, losses, updates; warnings.simplefilter('always'); "
        "layers = [fused.lstm_layer('fused', (None, None, 2), 3) for _ in range(2)]; "
        "print([type(layer).__name__ for layer in layers]); x = T.tensor3(); "
        "loss = losses.mean_squared_error(layers[0].get_output_for([x])[:, :, :2], x); "
        "params = layers[0].get_params(trainable=True); "
        "f = theano.function([x], loss, updates=updates.rmsprop(loss, params, 0.01, momentum=0.5, max_norm=1.)); "
        "X = np.ones((1, 3, 2), 'float32'); print(f(X) > f(X))"
    )
    out, error = python(code, tmp_path, PATH=str(tmp_path), CXX="").communicate()
    assert out == "['ScanLSTMLayer', 'ScanLSTMLayer']\nTrue\n", error
    assert error.count("UserWarning: the fused LSTM cannot be built") == 1 and "install g++" in error


@pytest.mark.long
def test_the_compiler_of_the_package_index_serves_where_there_is_no_other(tmp_path):
    lock = Path(__file__).resolve().parent.parent / "requirements-zig.lock"
    place = ["--target", tmp_path / "zig", "--python", sys.executable]
    done = subprocess.run([f"{sys.prefix}/bin/uv", "pip", "install", *place, "--require-hashes", "-r", lock])
    if done.returncode:
        pytest.skip("the package index is not reached")
    (tmp_path / "built").mkdir()
    code = (
        "import sys; sys.path.insert(0, {tests!r}); import numpy as np; from test_fused_lstm import *; "
        "layer, X = layer_with_random_values(n_units=37), random(9, 3, 4); "
        "[assert_close(a, b) for a, b in zip(compiled(layer)(X), numpy_lstm(layer, X))]; print(native.compiler()[1:])"
    )
    found = dict(PATH=str(tmp_path), CXX="", PYTHONPATH=str(tmp_path / "zig"), HOME=str(tmp_path / "home"))
    out, error = python(code.format(tests=os.path.dirname(__file__)), tmp_path / "built", **found).communicate()
    assert out == "['-m', 'ziglang', 'c++']\n", error
    assert len(list((tmp_path / "built").iterdir())) == 1


@pytest.mark.slow
def test_flags_are_those_that_the_compiler_knows(tmp_path, monkeypatch):
    (command,), log = native.compiler()[:1], tmp_path / "log"
    script = f'for word; do case $word in -march=native|-nostdlib++) exit 1;; esac; done; echo "$@" >> {log}'
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\n{script}\nexec {command} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("VOCALSYNTH_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "FLAGS", native.FLAGS.replace("-O3", "-O0"))
    assert native.build().exists()
    used = log.read_text().splitlines()[-1].split()
    assert "-O0" in used and not {"-march=native", "-nostdlib++"} & set(used)


def test_a_failing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setattr(native, "cache_dir", lambda: tmp_path)
    with pytest.raises(native.BuildError, match="false failed"):
        native.build()
    assert not list(tmp_path.iterdir())


# ---- matrix products --------------------------------------------------------------------


@pytest.mark.parametrize("m, k, n", [(1, 5, 3), (3, 1, 4), (4, 5, 1), (7, 6, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_product_matches_numpy_for_any_layout(m, k, n, dtype):
    layouts = [
        np.ascontiguousarray,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 1)[:, ::2],
        lambda a: a[::-1].copy()[::-1],
    ]
    A, B = random(m, k, dtype=dtype), random(k, n, dtype=dtype)
    for left in layouts:
        for right in layouts:
            out = np.full((m, n + 2), np.nan, dtype)
            native.product(left(A), right(B), out=out[:, 1:-1])
            native.product(left(A), right(B), out=out[:, 1:-1], add=True)
            assert_close(out[:, 1:-1], 2 * A @ B)
            assert np.isnan(out[:, [0, -1]]).all()


def small_product(A, W, start, packed=None):
    """``A @ W + start`` by panels in `packed`, an aligned array by default, and the columns past the last."""
    (n_rows, depth), n_columns, dtype = A.shape, W.shape[1], A.dtype
    width = native.call("panel_width", dtype, n_columns)
    packed = native.aligned((depth, width), dtype) if packed is None else packed[: depth * width]
    native.call("pack", dtype, depth, n_columns, W, packed)
    C, padded = np.full((n_rows, width), np.nan, dtype), np.pad(start, (0, width - n_columns))
    native.call("small_product", dtype, n_rows, depth, n_columns, A, packed, padded, C)
    return C[:, :n_columns], C[:, n_columns:]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_product_matches_numpy_at_every_remainder(dtype):
    panel = native.call("panel_width", dtype, 1)
    for n_rows in range(1, 18):  # up to two tiles of the highest kind, and one more
        for n_columns in {*range(1, panel + 1), 2 * panel - 1, 2 * panel, 2 * panel + 1}:
            A, W, start = (random(*shape, dtype=dtype) for shape in ((n_rows, 5), (5, n_columns), (n_columns,)))
            found, beyond = small_product(A, W, start)
            np.testing.assert_allclose(found, A.astype(float) @ W + start, rtol=0, atol=8 * np.finfo(dtype).eps)
            assert not beyond.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("depth", [0, 1, 2, 257, 2400])
def test_small_product_of_any_depth_is_the_same_wherever_its_panels_lie(dtype, depth):
    A, W, start = (random(*shape, dtype=dtype) for shape in ((13, depth), (depth, 50), (50,)))
    found, _ = small_product(A, W, start)
    assert_close(found, A.astype(float) @ W + start)
    elsewhere = native.aligned((100 * depth + 1,), dtype)[1:]
    assert np.array_equal(small_product(A, W, start, packed=elsewhere)[0], found)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (1000, 7)])
def test_what_vectors_read_begins_at_a_cache_line(shape):
    made = (
        native.aligned(shape, "float32"),
        native.output([None], shape, np.float64),
        native.workspace(shape, "float32"),
    )
    assert all(array.shape == shape and array.flags.carray for array in made)
    assert [array.ctypes.data % 64 for array in made] == [0, 0, 0]


def test_product_refuses_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="must agree"):
        native.product(random(2, 3), random(4, 5))
