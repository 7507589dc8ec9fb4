"""One process for each thing that `bench` times: ``python -m vocalsynth_utils.benchmark.workers KIND JSON``.

Each function returns a step to be timed.  A worker builds its subject once, says so on standard output, and then does
one step for each line it reads: so steps of several workers can be interleaved, and each has a peak memory of its own.
Each imports what it needs itself: PyTorch's memory is measured without Theano's.
"""

import functools
import json
import resource
import sys
import time

import numpy as np

N_LAYERS = 3  # of the network in every comparison: LSTM layers, then one linear layer back to the input's width


def batch(n_inputs, n_units, n_steps, n_batch):
    """Random frames (n_steps + 1, n_batch, n_inputs): each step's input, and the next one as its target."""
    return np.random.default_rng(0).standard_normal((n_steps + 1, n_batch, n_inputs), dtype=np.float32)


def network(layer_class, n_inputs, n_units, **options):
    """The Lasagne network of the 2016 recipe, of any size: (input layer, output layer on (rows, n_units))."""
    from lasagne.layers import DenseLayer, InputLayer, ReshapeLayer

    first = layer = InputLayer((None, None, n_inputs))
    for _ in range(N_LAYERS):
        layer = layer_class(layer, n_units, **options)
    return first, DenseLayer(ReshapeLayer(layer, (-1, [2])), n_inputs, nonlinearity=None)


def theano_step(layer_class, squared_error, rmsprop, n_inputs, n_units, n_steps, n_batch):
    """A compiled training step of the network, as a function of nothing."""
    import lasagne
    import theano
    import theano.tensor as T

    frames = T.tensor3()  # (n_batch, n_steps + 1, n_inputs)
    first, last = network(layer_class, n_inputs, n_units)
    prediction = lasagne.layers.get_output(last, {first: frames[:, :-1]})
    target = frames[:, 1:]
    loss = squared_error(prediction.reshape(target.shape, ndim=3), target)
    params = lasagne.layers.get_all_params(last, trainable=True)
    step = theano.function([frames], loss, updates=rmsprop(loss, params, 1e-4))
    X = batch(n_inputs, n_units, n_steps, n_batch).transpose(1, 0, 2)
    return lambda: float(step(X))


def fused(**shape):
    """This package's layers, loss and optimiser."""
    from .. import losses, updates
    from ..fused import FusedLSTMLayer

    return theano_step(FusedLSTMLayer, losses.mean_squared_error, updates.rmsprop, **shape)


def scan(**shape):
    """Stock Lasagne on `theano.scan`; the caller sets Theano's flags for C."""
    import lasagne

    return theano_step(lasagne.layers.LSTMLayer, lambda a, b: ((a - b) ** 2).mean(), lasagne.updates.rmsprop, **shape)


def torch(n_inputs, n_units, n_steps, n_batch, device="cpu"):
    """PyTorch's own LSTM, which has no peepholes, with its RMSprop."""
    import torch

    lstm = torch.nn.LSTM(n_inputs, n_units, num_layers=N_LAYERS, device=device)
    linear = torch.nn.Linear(n_units, n_inputs, device=device)
    optimiser = torch.optim.RMSprop([*lstm.parameters(), *linear.parameters()], lr=1e-4, alpha=0.9, eps=1e-6)
    frames = torch.from_numpy(batch(n_inputs, n_units, n_steps, n_batch)).to(device)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(linear(lstm(frames[:-1])[0]), frames[1:])
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


def products(n_inputs, n_units, n_steps, n_batch):
    """The matrix products that a training step cannot do without: (m, k, n) of each, which factor comes transposed."""
    rows, gates = n_steps * n_batch, 4 * n_units
    plain, left, right = (False, False), (True, False), (False, True)  # which factor comes transposed
    found = []
    for k in range(N_LAYERS):
        below = n_units if k else n_inputs
        found += [(rows, below, gates, plain), (below, rows, gates, left)]  # x W_in, its gradient
        found += [(rows, n_units, gates, plain), (n_units, rows, gates, left)]  # h W_hid, its gradient
        found += [(rows, gates, n_units, right)]  # and that of h
        found += [(rows, gates, below, right)] if k else []  # the gradient of x
    return found + [(rows, n_units, n_inputs, plain), (n_units, rows, n_inputs, left), (rows, n_inputs, n_units, right)]


def gemm(**shape):
    """These, and nothing else."""
    from ..fused import native

    needed = products(**shape)

    @functools.cache
    def matrix(role, n_rows, n_columns, transposed):
        if transposed:
            return matrix(role, n_columns, n_rows, False).T
        return np.full((n_rows, n_columns), 0.5, np.float32)

    def step():
        for m, k, n, (A_turned, B_turned) in needed:
            native.product(matrix("A", m, k, A_turned), matrix("B", k, n, B_turned), out=matrix("C", m, n, False))

    step.flops = sum(2 * m * k * n for m, k, n, _ in needed)
    return step


def generate(n_inputs, n_units, **_):
    """One frame of free-running generation with carried state."""
    import lasagne
    import theano
    import theano.tensor as T

    from ..fused import FusedLSTMLayer

    x = T.matrix()
    first, last = network(FusedLSTMLayer, n_inputs, n_units)
    known, states, finals = {first: x.dimshuffle("x", 0, 1)}, [], []
    for layer in lasagne.layers.get_all_layers(last):
        if isinstance(layer, FusedLSTMLayer):
            given = [T.matrix(), T.matrix()]
            known[layer], *final = layer.run(known[layer.input_layer], *given)
            states, finals = states + given, finals + final
    run = theano.function([x] + states, [lasagne.layers.get_output(last, known)] + finals)
    held = [np.zeros((1, n_inputs), np.float32)] + [np.zeros((1, n_units), np.float32) for _ in states]

    def step():
        held[:] = run(*held)

    step.weights = sum(p.get_value(borrow=True).nbytes for p in lasagne.layers.get_all_params(last, regularizable=True))
    return step


def memory(n_bytes):
    """Read so many bytes once, vectorised: what bandwidth alone would allow."""
    from ..fused import native

    x = np.ones(n_bytes // 4, np.float32)
    return lambda: native.call("squared_sum", x.dtype, x.size, x, native.num_threads())


def main(kind, options):
    """Serve one subject over standard input and output."""
    step = {f.__name__: f for f in (fused, scan, torch, gemm, generate, memory)}[kind](**options)
    print(json.dumps({name: getattr(step, name, 0) for name in ("flops", "weights")}), flush=True)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        step()
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "rss_mb": rss_mb}
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
