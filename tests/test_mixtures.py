"""The mixture's one-pass Ops against its expressions, scipy and central differences."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as T

import vocalsynth_utils  # noqa: F401  sets Theano up
from vocalsynth_utils import losses
from vocalsynth_utils.fused import native

pytestmark = pytest.mark.skipif(
    native.unavailable() is not None, reason=f"the library is not built: {native.unavailable()}"
)
MIN_SIGMA = 0.0625  # the same in float32 and float64
SHAPES = [(1, 1, 1), (5, 3, 2), (40, 8, 25), (7, 2, 64)]  # n_rows, n_mixtures, n_dims


def case(shape, dtype, spread=1.0, seed=0):
    """A dense layer's rows and a target."""
    n_rows, n_mixtures, n_dims = shape
    rng = np.random.default_rng(seed)
    return (
        rng.normal(0, spread, (n_rows, n_mixtures * (1 + 2 * n_dims))).astype(dtype),
        rng.normal(0, spread, (n_rows, n_dims)).astype(dtype),
    )


def scipy_nll(out, target, n_mixtures):
    """-log density from scipy alone, in double precision: (n_rows,)."""
    n_rows, n_dims = target.shape
    out, target = out.astype(float), target.astype(float)
    logits, means, raw = np.split(out, [n_mixtures, n_mixtures * (1 + n_dims)], axis=1)
    means, raw = means.reshape(n_rows, n_mixtures, n_dims), raw.reshape(n_rows, n_mixtures, n_dims)
    parts = scipy.stats.norm.logpdf(target[:, None], means, MIN_SIGMA + np.logaddexp(0, raw)).sum(axis=2)
    return -scipy.special.logsumexp(scipy.special.log_softmax(logits, axis=1) + parts, axis=1)


def value_and_gradient(nll, out, target, weights):
    """nll(out, target), and the gradient of its weighted sum by out."""
    o, t = T.matrix(dtype=out.dtype), T.matrix(dtype=out.dtype)
    rows = nll(o, t)
    return theano.function([o, t], [rows, T.grad((rows * T.constant(weights.astype(out.dtype))).sum(), o)])(out, target)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype, tolerance", [("float32", 3e-6), ("float64", 1e-12)])
def test_likelihood_is_scipys_and_gradient_is_theanos(shape, dtype, tolerance):
    out, target = case(shape, dtype, 2.0)
    weights, K, n_dims = np.linspace(-1, 2, shape[0]), shape[1], shape[2]
    rows, gradient = value_and_gradient(lambda o, t: losses.nll(o, K, MIN_SIGMA, t), out, target, weights)
    assert rows.dtype == gradient.dtype == dtype
    assert np.allclose(rows, scipy_nll(out, target, K), rtol=tolerance, atol=10 * tolerance)
    _, expected = value_and_gradient(
        lambda o, t: losses.mixture_nll(*losses.mixture_parameters(o, K, n_dims, MIN_SIGMA), t),
        out.astype("float64"),
        target.astype("float64"),
        weights,
    )
    assert np.allclose(gradient, expected, rtol=10 * tolerance, atol=10 * tolerance * np.abs(expected).max())


def test_gradient_is_the_slope_by_central_differences():
    out, target = case((4, 3, 2), "float64")
    theano.gradient.verify_grad(
        lambda o: losses.nll(o, 3, MIN_SIGMA, T.constant(target)), [out], rng=np.random.RandomState(0)
    )


def test_the_gradient_of_beta_nll_is_weighted_by_the_variance_over_that_of_the_rows_that_count():
    out, target = case((40, 1, 6), "float64", 2.0)
    counted = (np.arange(40) % 3 > 0).astype(float)
    means, sigmas = out[:, 1:7], MIN_SIGMA + np.logaddexp(0, out[:, 7:])
    slope = (means - target) / sigmas**2, (1 / sigmas - (target - means) ** 2 / sigmas**3) / (1 + np.exp(-out[:, 7:]))
    weight = sigmas**2 / (sigmas**2)[counted > 0].mean(axis=0)
    expected = np.concatenate([np.zeros((40, 1)), *(weight * part for part in slope)], axis=1) * counted[:, None]
    beta_nll = lambda o, t: losses.beta_nll(o, 1, MIN_SIGMA, t, T.constant(counted[:, None]))
    rows, gradient = value_and_gradient(beta_nll, out, target, counted)
    assert np.allclose(rows, scipy_nll(out, target, 1), rtol=1e-12) and np.allclose(gradient, expected, rtol=1e-10)


def test_by_beta_nll_a_mean_is_that_of_rows_of_all_sigmas_and_by_likelihood_it_is_not():
    spread = np.repeat([0.5, 5.0], 500)
    target = (np.random.default_rng(0).normal(0, spread) + spread)[:, None]
    out = np.stack([np.zeros(1000), np.full(1000, target.mean()), np.log(np.expm1(spread - MIN_SIGMA))], axis=1)
    pull = lambda nll: value_and_gradient(nll, out, target, np.full(1000, 0.001))[1][:, 1].sum()
    assert abs(pull(lambda o, t: losses.beta_nll(o, 1, MIN_SIGMA, t, T.ones((1000, 1))))) < 1e-12
    assert abs(pull(lambda o, t: losses.nll(o, 1, MIN_SIGMA, t))) > 1


def test_several_gaussians_have_no_weights():
    out, target = case((40, 8, 6), "float64")
    beta_nll = lambda o, t: losses.beta_nll(o, 8, MIN_SIGMA, t, T.ones((40, 1)))
    weighted, plain = (
        value_and_gradient(nll, out, target, np.ones(40))
        for nll in (beta_nll, lambda o, t: losses.nll(o, 8, MIN_SIGMA, t))
    )
    assert all(np.array_equal(a, b) for a, b in zip(weighted, plain))


@pytest.mark.parametrize(
    "where, value",
    [("raw", 80), ("raw", -80), ("raw", 1e4), ("raw", -1e4), ("mean", 1e6), ("logit", 1e4), ("logit", -1e4)],
)
def test_extreme_outputs_keep_finite_likelihood_and_gradient(where, value):
    out, target = case((2, 3, 10), "float32")
    columns = {"logit": [0], "mean": range(3, 8), "raw": range(33, 43)}[where]
    out[:, list(columns)] = value
    rows, gradient = value_and_gradient(lambda o, t: losses.nll(o, 3, MIN_SIGMA, t), out, target, np.ones(2))
    assert np.allclose(rows, scipy_nll(out, target, 3), rtol=1e-5) and np.isfinite(gradient).all()


def test_a_nan_is_not_hidden():
    out, target = case((2, 3, 10), "float32")
    out[1, 20] = np.nan
    rows, _ = value_and_gradient(lambda o, t: losses.nll(o, 3, MIN_SIGMA, t), out, target, np.ones(2))
    assert np.isfinite(rows[0]) and np.isnan(rows[1])


def test_threads_change_nothing():
    out, target = case((3000, 8, 25), "float32")
    before = native.num_threads()
    try:
        results = []
        for n in (1, 2):
            native.set_num_threads(n)
            results.append(value_and_gradient(lambda o, t: losses.nll(o, 8, MIN_SIGMA, t), out, target, np.ones(3000)))
    finally:
        native.set_num_threads(before)
    assert all(np.array_equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_a_draw_is_the_expressions_draw_for_the_same_random_numbers(shape, temperature):
    n_rows, K, n_dims = shape
    out, _ = case(shape, "float32", 2.0)
    rng = np.random.default_rng(1)
    uniform, normal = (
        rng.uniform(1e-12, 1, (n_rows, K)).astype("float32"),
        rng.standard_normal((n_rows, n_dims)).astype("float32"),
    )
    given = [T.constant(v) for v in (out, uniform, normal)]
    drawn = losses.draw(given[0], K, MIN_SIGMA, given[1], given[2], np.float32(temperature)).eval()
    expected = losses.mixture_sample(
        *losses.mixture_parameters(given[0], K, n_dims, MIN_SIGMA), given[1], given[2], np.float32(temperature)
    ).eval()
    assert drawn.dtype == "float32" and np.allclose(drawn, expected, atol=1e-5)


def test_many_draws_have_the_mixtures_mean_and_its_weights():
    out = np.array(
        [[0.0, np.log(3), -4, 4, -20, -20]], "float32"
    )  # two components at -4 and 4, weights 1/4 and 3/4, sigma 0.0625
    rng, n = np.random.default_rng(2), 20000
    o = T.constant(np.repeat(out, n, axis=0))
    drawn = losses.draw(
        o,
        2,
        MIN_SIGMA,
        T.constant(rng.uniform(1e-12, 1, (n, 2)).astype("float32")),
        T.constant(rng.standard_normal((n, 1)).astype("float32")),
        np.float32(1),
    ).eval()
    assert np.mean(drawn > 0) == pytest.approx(0.75, abs=0.02)
    assert np.std(drawn[drawn > 0]) == pytest.approx(MIN_SIGMA, rel=0.03)
    assert losses.mixture_mean(T.constant(out), 2, MIN_SIGMA, 1).eval() == pytest.approx(2.0)


def test_shapes_that_do_not_fit_are_refused():
    out, target = case((4, 3, 2), "float32")
    with pytest.raises(ValueError, match="expected"):
        losses.nll(T.constant(out), 2, MIN_SIGMA, T.constant(target)).eval()
