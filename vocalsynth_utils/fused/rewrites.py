"""Theano graph rewrites: products and sums of matrices by the package's library, and Ops that may work in place.

A rewrite is registered once, when its module is imported, and then acts in every `theano.function`; the expressions a
reader sees stay Theano's own.
"""

import theano
import theano.tensor as T
from theano.compile import optdb
from theano.gof import TopoOptimizer, local_optimizer
from theano.tensor.blas import Dot22

from .. import theano_setup
from . import native

BEFORE_IN_PLACE, IN_PLACE = 48, 60  # positions in Theano's sequence of rewrites
REALS = "float32", "float64"


def register(name, rewrite, position=IN_PLACE):
    """Let Theano apply a local rewrite, or a global one, to every function it compiles."""
    if not isinstance(rewrite, theano.gof.Optimizer) or isinstance(rewrite, theano.gof.LocalOptimizer):
        rewrite = TopoOptimizer(rewrite, failure_callback=TopoOptimizer.warn_inplace)
    optdb.register(name, rewrite, position, "fast_run", "fast_compile", *(["inplace"] if position == IN_PLACE else []))


def let_work_in_place(name, kind, where=lambda node: True):
    """Let Ops of a kind write over their inputs where nothing else still needs these, by its property `inplace`."""

    @local_optimizer([kind], inplace=True)
    def in_place(node):
        if isinstance(node.op, kind) and not node.op.inplace and where(node):
            options = {prop: getattr(node.op, prop) for prop in kind.__props__}
            return kind(**{**options, "inplace": True})(*node.inputs, return_list=True)
        return None

    register(name, in_place)


class Product(theano.Op):
    """Product of two matrices: A (m, k) and B (k, n) to (m, n); with a third input b (n,), A B + b."""

    __props__ = ()

    def make_node(self, A, B, *b):
        return theano.Apply(self, [A, B, *b], [T.matrix(dtype=A.dtype)])

    def perform(self, node, inputs, output_storage):
        A, B, *b = inputs
        out = native.output(output_storage[0], (A.shape[0], B.shape[1]), A.dtype)
        if b:
            out[...] = b[0]
        native.product(A, B, out=out, add=bool(b))

    def infer_shape(self, node, shapes):
        return [(shapes[0][0], shapes[1][1])]


class ColumnSums(theano.Op):
    """Sums of a matrix's columns, (m, n) to (n,), added up in double precision: the gradient of a bias."""

    __props__ = ()

    def make_node(self, x):
        return theano.Apply(self, [x], [T.vector(dtype=x.dtype)])

    def perform(self, node, inputs, output_storage):
        x = native.rows_contiguous(inputs[0])
        out = native.output(output_storage[0], x.shape[1:], x.dtype)
        stride, threads = x.strides[0] // x.itemsize, native.num_threads()
        native.call("column_sums", x.dtype, *x.shape, stride, x, out, threads)

    def infer_shape(self, node, shapes):
        return [shapes[0][1:]]


@local_optimizer([Dot22, T.Dot])
def _use_openblas(node):
    """numpy carries an older OpenBLAS of its own, and a new result is new memory each time."""
    if not isinstance(node.op, (Dot22, T.Dot)):
        return None
    out = node.outputs[0]
    matrices = all(v.ndim == 2 and v.dtype == out.dtype for v in node.inputs) and not any(out.broadcastable)
    return [Product()(*node.inputs)] if matrices and out.dtype in REALS else None


@local_optimizer([T.Elemwise])
def _add_bias_within(node):
    """A B + b: the product starts from the bias instead of from zero."""
    if node.op != T.add or len(node.inputs) != 2:
        return None
    for product, bias in (node.inputs, node.inputs[::-1]):
        if not (bias.owner and isinstance(bias.owner.op, T.DimShuffle) and bias.owner.op.new_order == ("x", 0)):
            continue
        if not (product.owner and isinstance(product.owner.op, Product) and len(product.owner.inputs) == 2):
            continue
        row = bias.owner.inputs[0]
        if len(product.clients) == 1 and row.dtype == product.dtype and not any(row.broadcastable):
            return [Product()(*product.owner.inputs, row)]
    return None


@local_optimizer([T.Sum])
def _sum_columns(node):
    """numpy sums columns in double precision through a buffer, several times slower."""
    if isinstance(node.op, T.Sum) and node.op.axis == (0,):
        x, out = node.inputs[0], node.outputs[0]
        if x.ndim == 2 and x.dtype == out.dtype and x.dtype in REALS and not any(out.broadcastable):
            return [ColumnSums()(x)]
    return None


theano_setup.use_ufuncs()
if not native.unavailable():
    register("fused_column_sums", _sum_columns, BEFORE_IN_PLACE)
    register("openblas_products", _use_openblas, BEFORE_IN_PLACE)
    register("openblas_bias", _add_bias_within, BEFORE_IN_PLACE + 0.1)
