"""Each shim, by what Theano and Lasagne do with it, and by numpy 1's and the packages' own answers."""

import subprocess
import sys

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
from theano.tensor.signal import pool

from vocalsynth_utils import theano_setup


@pytest.mark.parametrize(
    "number, dtype",
    [(5, "int8"), (127, "int8"), (128, "int16"), (160, "int16"), (-129, "int16"), (40000, "int32"), (1 << 40, "int64")]
    + [(1 << 63, "uint64"), (1.5, "float32")],
)
def test_a_python_number_becomes_the_smallest_type_that_holds_it(number, dtype):
    constant = T.as_tensor_variable(number)
    assert constant.dtype == dtype and constant.eval() == number


def test_a_shape_with_a_large_number_stays_one_of_integers():
    x = T.matrix()
    assert theano.function([x], x.reshape((x.shape[0] // 2, 160)))(np.zeros((4, 80), "float32")).shape == (2, 160)


@pytest.mark.parametrize("wanted", ["int8", "uint8", "int16", "float32", "floatX", np.int64])
def test_asarray_gives_the_dtype_that_is_asked_for_and_wraps_as_c_does(wanted):
    array = theano._asarray([300, -1], dtype=wanted)
    kind = np.dtype("float32" if wanted == "floatX" else wanted)
    assert array.dtype.num == kind.num
    np.testing.assert_array_equal(array, np.array([300, -1], np.int64).astype(kind))


def test_a_number_beyond_64_bits_is_refused():
    with pytest.raises(OverflowError):
        theano._asarray(1 << 70, dtype="int8")


def test_a_float_function_of_integers_computes_in_the_floats_it_says():
    x = T.ivector()  # Theano asks numpy for the character of a type
    y = theano.function([x], T.exp(x))(np.arange(3, dtype="int32"))
    np.testing.assert_allclose(y, np.exp(np.arange(3)), rtol=1e-6)


def test_a_product_of_three_is_computed_without_numpys_old_name():
    assert theano.scalar.mul.impl(2, 3, 4) == 24


def test_scan_runs_on_a_cpu():
    x = T.vector()
    sums, _ = theano.scan(
        lambda value, total: total + value, sequences=[x], outputs_info=[T.constant(0.0, dtype="float32")]
    )
    np.testing.assert_allclose(theano.function([x], sums)(np.arange(5, dtype="float32")), [0, 1, 3, 6, 10])


def test_lasagne_knows_its_version_and_finds_what_theano_renamed():
    assert lasagne.__version__ == "0.1"
    module = sys.modules["theano.tensor.signal.downsample"]
    assert module.max_pool_2d is pool.pool_2d and module.DownsampleFactorMax is pool.Pool
    with pytest.raises(AttributeError):
        module.what_nobody_named  # noqa: B018


@pytest.mark.slow
def test_theano_is_imported_without_the_parts_of_scipy_that_it_does_not_need_and_finds_them_when_it_does():
    code = (
        "import sys, vocalsynth_utils, theano, lasagne, theano.tensor as T; from vocalsynth_utils import training; "
        "print([m for m in ('scipy.stats', 'scipy.signal', 'scipy.fft', 'IPython') if m in sys.modules]); "
        "print(float(theano.scalar.basic_scipy.chi2sf.impl(1.5, 3.0))); import scipy.signal, scipy.stats; "
        "print(float(scipy.stats.chi2.sf(1.5, 3.0)), scipy.signal.signaltools is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    missing, found, expected = done.stdout.splitlines() or [done.stderr] * 3
    assert missing == "[]" and expected.split() == [found, "True"]


def test_softplus_is_log1p_of_exp_and_does_not_overflow():
    x = np.array([-800.0, -1, 0, 2, 800])
    np.testing.assert_allclose(theano_setup.softplus(x)[1:4], np.log1p(np.exp(x[1:4])))
    np.testing.assert_allclose(theano_setup.softplus(x)[[0, 4]], [0, 800])


@pytest.mark.slow
def test_nothing_is_said_on_import_even_where_nothing_is_compiled_yet(tmp_path):
    code = (
        "import vocalsynth_utils, theano, lasagne, inspect; inspect.getsource(lasagne.layers.LSTMLayer); "
        "print(theano.config.blas.ldflags == '', theano.config.cxx == '')"
    )
    command = [sys.executable, "-X", f"pycache_prefix={tmp_path}", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True True\n", "")
