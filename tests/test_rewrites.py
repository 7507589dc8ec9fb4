"""What Theano's graphs turn into gives what numpy gives."""

import numpy as np
import pytest
import theano
import theano.tensor as T

from vocalsynth_utils.fused import native, rewrites

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))
RNG = np.random.default_rng(0)


def random(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ops(function):
    return {type(node.op) for node in function.maker.fgraph.toposort()}


def test_a_dense_layer_is_one_product_and_its_bias_gradient_one_sum():
    x, W, b = T.matrix(), T.matrix(), T.vector()
    y = T.dot(x, W) + b
    f = theano.function([x, W, b], [y] + T.grad(T.sum(y**3), [W, b]))
    assert {rewrites.Product, rewrites.ColumnSums} <= ops(f) and T.Sum not in ops(f)
    X, V, c = random(50, 6), random(6, 700), random(700)
    out, d_W, d_b = f(X, V, c)
    expected = X @ V + c
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(d_b, (3 * expected.astype(float) ** 2).sum(0), rtol=1e-4)
    np.testing.assert_allclose(d_W, X.T @ (3 * expected**2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "layout", [np.ascontiguousarray, np.asfortranarray, lambda a: np.repeat(a, 2, 0)[::2, ::-1][:, ::-1]]
)
def test_column_sums_of_any_layout(layout):
    x, X = T.matrix(), random(31, 1100)
    f = theano.function([x], x.sum(axis=0))
    assert rewrites.ColumnSums in ops(f)
    np.testing.assert_allclose(f(layout(X)), X.astype(float).sum(0), rtol=1e-6, atol=1e-6)


def test_what_is_not_a_plain_matrix_is_left_to_theano():
    i, r = T.imatrix(), T.row()
    f = theano.function([i, r], [i.sum(axis=0), r.sum(axis=0), T.dot(r, r.T), T.dot(i, i.T)])
    assert not {rewrites.Product, rewrites.ColumnSums} & ops(f)
    I, R = np.arange(6, dtype=np.int32).reshape(2, 3), random(1, 3)
    for actual, expected in zip(f(I, R), (I.sum(0), R[0], R @ R.T, I @ I.T)):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_results_outlive_the_next_call():
    x = T.matrix()
    f = theano.function([x], T.dot(x, x.T))
    first = f(random(4, 3))
    kept = first.copy()
    f(random(4, 3))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize(
    "of, to", [("float32", "int32"), ("float32", "float64"), ("int8", "float32"), ("bool", "float32")]
)
def test_a_cast_is_one_call_of_numpy(of, to):
    x = T.TensorType(of, (False, False))()
    f = theano.function([x], T.cast(x, to))
    X = (10 * random(40, 30)).astype(of)
    y = f(X)
    assert y.dtype == to and np.array_equal(y, X.astype(to))
    (node,) = (n for n in f.maker.fgraph.toposort() if isinstance(n.op, T.Elemwise))
    assert not isinstance(node.op.ufunc, np.ufunc)  # np.frompyfunc makes one that calls Python for each number
