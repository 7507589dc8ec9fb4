"""The heads against scipy and numpy: likelihoods, draws, and which number reaches which parameter."""

import lasagne
import numpy as np
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as T

import vocalsynth_utils  # noqa: F401  sets Theano up
from vocalsynth_utils import features, losses

K, N_UNITS, N_FEATURES = 3, 5, 6  # mixtures; of the LSTM below; log F0, voicing and four more
N_ENVELOPE = N_FEATURES - losses.FRAME
UNVOICED, VOICED = -1.5, 0.5  # what 0 and 1 become by standardising


def parameters(rng, n_rows, n_dims, n_mixtures=K):
    """Logits, means and sigmas of a mixture, and a target, as float32 arrays."""
    shape = (n_rows, n_mixtures, n_dims)
    return [
        a.astype(np.float32)
        for a in (
            rng.normal(0, 2, shape[:2]),
            rng.normal(0, 1, shape),
            rng.uniform(0.3, 1.5, shape),
            rng.normal(0, 1.5, (n_rows, n_dims)),
        )
    ]


def scipy_nll(logits, means, sigmas, target):
    """-log of the mixture's density from scipy's normal distribution: (n_rows,)."""
    parts = scipy.stats.norm.logpdf(target[:, None], means, sigmas).sum(axis=2)
    return -scipy.special.logsumexp(scipy.special.log_softmax(logits.astype(float), axis=1) + parts, axis=1)


def evaluated(expression, *arrays):
    """A function of losses.py applied to arrays."""
    return expression(*(T.constant(a) for a in arrays)).eval()


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n_dims, n_mixtures", [(1, 1), (1, 8), (25, 8)])
def test_mixture_nll_is_that_of_scipys_normals(rng, n_dims, n_mixtures):
    made = parameters(rng, 40, n_dims, n_mixtures)
    assert np.allclose(evaluated(losses.mixture_nll, *made), scipy_nll(*made), rtol=1e-4, atol=1e-4)


def test_a_density_over_one_dimension_integrates_to_one(rng):
    logits, means, sigmas, _ = parameters(rng, 1, 1)
    grid = np.linspace(-15, 15, 6001, dtype=np.float32)[:, None]
    rows = [np.repeat(a, len(grid), axis=0) for a in (logits, means, sigmas)]
    density = np.exp(-evaluated(losses.mixture_nll, *rows, grid).astype(float))
    assert density.sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("x", [[1e4, 0, -1e4], [-1e30, -1e30, -1e30], [3e38, -3e38, 0], [0, 0, 0]])
def test_logsumexp_is_finite_and_right_at_extremes(x):
    x = np.array([x], np.float32)
    assert evaluated(losses.logsumexp, x) == pytest.approx(scipy.special.logsumexp(x.astype(float), axis=1), rel=1e-6)


def test_the_gradient_of_logsumexp_is_the_softmax_even_at_extremes():
    x = T.matrix("x")
    value = np.array([[1e4, 0, -1e4], [1, 2, 3]], np.float32)
    slope = T.grad(losses.logsumexp(x).sum(), x).eval({x: value})
    assert np.allclose(slope, scipy.special.softmax(value.astype(float), axis=1), atol=1e-6)


def test_far_targets_and_sure_weights_keep_loss_and_gradient_finite():
    logits, means, sigmas = (
        np.array([[500, -500, 0]], np.float32),
        np.zeros((1, K, 2), np.float32),
        np.full((1, K, 2), 0.05, np.float32),
    )
    x = T.matrix("x")
    nll = losses.mixture_nll(T.constant(logits), T.constant(means), T.constant(sigmas), x)
    value, slope = theano.function([x], [nll, T.grad(nll.sum(), x)])(np.full((1, 2), 1e3, np.float32))
    assert np.isfinite(value).all() and np.isfinite(slope).all() and value[0] > 1e8


def test_mixture_parameters_cut_and_floor_the_output(rng):
    out = rng.normal(0, 30, (4, K * (1 + 2 * 2))).astype(np.float32)
    logits, means, sigmas = (v.eval() for v in losses.mixture_parameters(T.constant(out), K, 2, 0.05))
    assert np.array_equal(logits, out[:, :K]) and np.array_equal(means, out[:, K : 3 * K].reshape(4, K, 2))
    assert np.allclose(sigmas, 0.05 + np.logaddexp(0, out[:, 3 * K :].astype(float)).reshape(4, K, 2), rtol=1e-5)
    assert sigmas.min() >= np.float32(0.05)


def draw(rng, temperature, n_rows=100_000):
    """Draws from one mixture in one dimension, with its weights, means and sigmas."""
    weights, means, sigmas = np.array([0.6, 0.3, 0.1]), np.array([-4.0, 0.0, 5.0]), np.array([0.5, 1.0, 0.2])
    rows = [
        np.repeat(a.astype(np.float32), n_rows, axis=0)
        for a in (np.log(weights)[None], means[None, :, None], sigmas[None, :, None])
    ]
    uniform = rng.uniform(1e-12, 1, (n_rows, 3)).astype(np.float32)
    normal = rng.standard_normal((n_rows, 1), np.float32)
    drawn = evaluated(lambda *a: losses.mixture_sample(*a, np.float32(temperature)), *rows, uniform, normal)
    return drawn[:, 0].astype(float), weights, means, sigmas


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.3])
def test_draws_have_the_mixtures_moments_at_every_temperature(rng, temperature):
    drawn, weights, means, sigmas = draw(rng, temperature)
    weights = weights ** (1 / temperature) / (weights ** (1 / temperature)).sum()
    sigmas = temperature * sigmas
    mean = weights @ means
    assert drawn.mean() == pytest.approx(mean, abs=0.05)
    assert drawn.var() == pytest.approx(weights @ (sigmas**2 + (means - mean) ** 2), rel=0.03)


def test_draws_follow_the_mixtures_distribution(rng):
    drawn, weights, means, sigmas = draw(rng, 1.0)
    distance = scipy.stats.kstest(
        drawn, lambda x: scipy.stats.norm.cdf(np.asarray(x)[:, None], means, sigmas) @ weights
    ).statistic
    assert distance < 0.01


def test_at_temperature_near_zero_the_likeliest_mean_is_drawn(rng):
    drawn, _, means, _ = draw(rng, 1e-4, n_rows=100)
    assert np.allclose(drawn, means[0], atol=1e-3)


@pytest.fixture(scope="module")
def head():
    lasagne.random.set_rng(np.random.RandomState(0))
    return losses.WorldHead(lasagne.layers.InputLayer((None, N_UNITS)), N_FEATURES, K, (UNVOICED, VOICED))


@pytest.fixture(scope="module")
def batch():
    """Hidden states, frames heard, frames that follow: (2, 7, ...), half of them voiced."""
    rng = np.random.default_rng(1)
    hids, current, target = (rng.normal(0, 1, (2, 7, n)).astype(np.float32) for n in (N_UNITS, N_FEATURES, N_FEATURES))
    target[..., features.VOICING] = np.where(rng.random((2, 7)) < 0.5, VOICED, UNVOICED)
    return hids, current, target


@pytest.fixture(scope="module")
def loss_and_gradients(head):
    """Compiled once: ``of(hids, current, target) -> (loss, gradient by parameter name)``."""
    given, params = [T.tensor3(), T.tensor3(), T.tensor3()], lasagne.layers.get_all_params(head.outputs)
    loss = head.loss(*given)
    compiled = theano.function(given, [loss] + T.grad(loss, params))

    def of(batch):
        loss, *slopes = (np.array(v) for v in compiled(*batch))
        return float(loss), {p.name: slope for p, slope in zip(params, slopes)}

    return of


def dense(head, name, x):
    """The sub-network `name` of a head in numpy: one hidden layer of rectifiers where there is one."""
    p = {v.name: v.get_value().astype(float) for v in lasagne.layers.get_all_params(head.outputs)}
    if f"{name}_hidden.W" in p:
        x = np.maximum(x @ p[f"{name}_hidden.W"] + p[f"{name}_hidden.b"], 0)
    return x @ p[f"{name}.W"] + p[f"{name}.b"]


def cut(out, n_dims, least):
    """Logits, means and sigmas of a dense output, in numpy."""
    n = K * n_dims
    return (
        out[:, :K],
        out[:, K : K + n].reshape(-1, K, n_dims),
        least + np.logaddexp(0, out[:, K + n :]).reshape(-1, K, n_dims),
    )


def test_world_loss_is_the_sum_of_its_three_parts(head, batch, loss_and_gradients):
    hid, current, target = (a.reshape(14, -1).astype(float) for a in batch)
    voiced, pitch, last = (target[:, features.VOICING] > 0) * 1.0, target[:, :1], current[:, :1]
    origin = last * (current[:, features.VOICING, None] > 0)  # where voice begins, the pitch is no step but itself
    assert 0 < np.count_nonzero(origin) < len(origin)
    voicing_nll = -scipy.stats.bernoulli.logpmf(
        voiced.astype(int), scipy.special.expit(dense(head, "voicing", hid)[:, 0])
    )
    logits, means, sigmas = cut(
        dense(head, "pitch", np.hstack([hid, voiced[:, None], last])), 1, losses.MIN_PITCH_SIGMA
    )
    pitch_nll = scipy_nll(logits, means + origin[:, None], sigmas, pitch)
    envelope = cut(dense(head, "envelope", np.hstack([hid, voiced[:, None], pitch])), N_ENVELOPE, losses.MIN_SIGMA)
    expected = (voicing_nll + voiced * pitch_nll + scipy_nll(*envelope, target[:, losses.FRAME :])).mean()
    assert loss_and_gradients(batch)[0] == pytest.approx(expected, rel=1e-4)


def test_pitch_steps_from_the_frame_before_where_that_was_voiced_and_stands_alone_where_not(head, batch):
    hids, current, said = batch[0], batch[1].copy(), {}
    for before in (VOICED, UNVOICED):
        current[..., features.VOICING] = before
        said[before] = head.predict(T.constant(hids), T.constant(current)).eval()
    last, now = current[..., features.LOG_F0], said[VOICED][..., features.VOICING] > (VOICED + UNVOICED) / 2
    assert 0 < now.sum() < now.size
    pitch = {before: frames[..., features.LOG_F0] for before, frames in said.items()}
    assert np.allclose(pitch[VOICED] - pitch[UNVOICED], np.where(now, last, 0), atol=1e-5)
    assert np.array_equal(pitch[UNVOICED][~now], last[~now])  # held


def test_unvoiced_frames_give_the_pitch_no_gradient(batch, loss_and_gradients):
    hids, current, target = batch
    unvoiced = target.copy()
    unvoiced[..., features.VOICING] = UNVOICED
    _, of = loss_and_gradients((hids, current, unvoiced))
    assert not any(np.any(g) for name, g in of.items() if name.startswith("pitch"))
    assert all(np.any(g) for name, g in of.items() if name.startswith(("voicing.", "envelope")))
    assert all(np.any(g) for g in loss_and_gradients(batch)[1].values())


@pytest.mark.parametrize("which", ["voicing.W", "pitch.W", "pitch_hidden.W", "envelope.b", "envelope_hidden.W"])
def test_the_gradient_is_the_slope_of_the_loss(head, batch, loss_and_gradients, which):
    parameter = next(p for p in lasagne.layers.get_all_params(head.outputs) if p.name == which)
    slope = loss_and_gradients(batch)[1][which]
    kept, rng = parameter.get_value(), np.random.default_rng(2)
    direction = (slope / np.linalg.norm(slope) + 0.3 * rng.normal(size=slope.shape) / np.sqrt(slope.size)).astype(
        np.float32
    )
    try:
        ends = []
        for h in (1e-2, -1e-2):
            parameter.set_value(kept + np.float32(h) * direction)
            ends.append(loss_and_gradients(batch)[0])
    finally:
        parameter.set_value(kept)
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(float((slope * direction).sum()), rel=0.02)


def drawn_frames(head, n_rows, temperature=1.0):
    """Current frames and what is drawn after them, from states that leave voicing open."""
    rng = np.random.default_rng(3)
    hid, current, normal = (rng.standard_normal((n_rows, n), np.float32) for n in (N_UNITS, N_FEATURES, head.n_normal))
    uniform = rng.uniform(1e-12, 1, (n_rows, head.n_uniform)).astype(np.float32)
    return hid, current, evaluated(lambda *a: head.sample(*a, np.float32(temperature)), hid, current, uniform, normal)


def test_f0_is_held_where_nothing_is_voiced(head):
    _, current, drawn = drawn_frames(head, 400)
    voiced = drawn[:, features.VOICING] > 0
    assert set(np.unique(drawn[:, features.VOICING])) == {np.float32(UNVOICED), np.float32(VOICED)}
    assert np.array_equal(drawn[~voiced, features.LOG_F0], current[~voiced, features.LOG_F0])
    assert not np.any(drawn[voiced, features.LOG_F0] == current[voiced, features.LOG_F0])


def test_voicing_is_drawn_with_its_probability(head):
    hid, _, drawn = drawn_frames(head, 20_000)
    expected = scipy.special.expit(dense(head, "voicing", hid)[:, 0]).mean()
    assert np.mean(drawn[:, features.VOICING] > 0) == pytest.approx(expected, abs=0.015)


def test_one_gaussian_predicts_its_mean_and_residual_means_add_the_current_frame():
    rng = np.random.default_rng(4)
    hids, current = rng.normal(0, 1, (2, 3, N_UNITS)).astype(np.float32), rng.normal(0, 1, (2, 3, 4)).astype(np.float32)
    predicted = []
    for residual in (False, True):
        lasagne.random.set_rng(np.random.RandomState(0))
        head = losses.MixtureHead(lasagne.layers.InputLayer((None, N_UNITS)), 4, 1, residual)
        predicted.append(evaluated(head.predict, hids, current))
    assert np.allclose(predicted[1] - predicted[0], current, atol=1e-5)
