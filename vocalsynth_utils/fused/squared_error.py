"""An Op that returns the mean squared error and its gradient in one trip through memory."""

import numpy as np
import theano
import theano.tensor as T

from . import native, rewrites


class SquaredError(theano.Op):
    """Mean over all elements of (prediction - target)^2, and its gradient by the prediction.

    Inputs: two arrays of one shape, up to three axes, any strides.  Outputs: a scalar, and an array like the
    prediction, empty where the graph does not use it.
    """

    __props__ = ("inplace",)

    def __init__(self, inplace=False):
        self.inplace = inplace
        if inplace:
            self.destroy_map = {1: [0]}

    def make_node(self, prediction, target):
        prediction, target = T.as_tensor_variable(prediction), T.as_tensor_variable(target)
        axes, dtypes = (prediction.ndim, target.ndim), (prediction.dtype, target.dtype)
        if axes[0] != axes[1] or not 1 <= axes[0] <= 3:
            raise TypeError(f"prediction has {axes[0]} axes and target {axes[1]}; they need the same 1 to 3")
        if dtypes[0] != dtypes[1] or dtypes[0] not in rewrites.REALS:
            raise TypeError(f"prediction is {dtypes[0]}, target {dtypes[1]}; both must be float32, or both float64")
        return theano.Apply(self, [prediction, target], [T.scalar(dtype=prediction.dtype), prediction.type()])

    def perform(self, node, inputs, output_storage):
        if inputs[0].shape != inputs[1].shape:
            raise ValueError(f"prediction has shape {inputs[0].shape}, target {inputs[1].shape}; they must be equal")
        prediction, target = (native.rows_contiguous(v[(None,) * (3 - v.ndim)]) for v in inputs)
        gradient, dtype = None, prediction.dtype
        if getattr(node.outputs[1], "clients", True):  # a validation function asks for the value alone
            if self.inplace and inputs[0].flags.carray:
                output_storage[1][0] = inputs[0]
            gradient = native.output(output_storage[1], inputs[0].shape, dtype).reshape(prediction.shape)
        else:
            output_storage[1][0] = np.empty((0,) * inputs[0].ndim, dtype)
        arrays = prediction, target, gradient
        strides = [n for v in (prediction if v is None else v for v in arrays) for n in native.element_strides(v)]
        factor, threads = 2 / prediction.size, native.num_threads()
        total = native.call("squared_error", dtype, *prediction.shape, *arrays, strides, factor, threads)
        output_storage[0][0] = np.asarray(total / prediction.size, dtype)

    def infer_shape(self, node, shapes):
        return [(), shapes[0]]

    def connection_pattern(self, node):
        return [[True, False], [True, False]]

    def L_op(self, inputs, outputs, output_gradients):
        d_prediction = output_gradients[0] * outputs[1]  # Theano drops the factor where it is 1
        return [d_prediction, -d_prediction]


# the gradient over the prediction
rewrites.let_work_in_place("fused_error_in_place", SquaredError, where=lambda node: node.outputs[1].clients)
