"""What 2016 thought of against drift, as parts of a training graph: scheduled sampling, and a loss in free running."""

import numpy as np
import theano
import theano.tensor as T

from . import model


def free_tail(network, x, n_free, states=None):
    """The training graph over inputs of which the last `n_free` are replaced by the network's own predictions.

    The loop through the predictions is unrolled, so that the gradient passes
    through it: the network learns what its errors lead to.

    Parameters
    ----------
    network : model.Network
    x : Theano tensor of shape (n_batch, n_steps, n_features)
    n_free : int
        0: the inputs are as given.
    states : list of (hid, cell), optional

    Returns
    -------
    hids : (n_batch, n_steps, n_units)
    x : (n_batch, n_steps, n_features)
        The inputs as they were heard.
    states : list of (hid, cell)
    """
    if n_free:
        x = x[:, :-n_free]
    hids, states = model.run(network, x, states, deterministic=False)
    all_hids, all_x = [hids], [x]
    for _ in range(n_free):
        x = network.head.predict(all_hids[-1][:, -1:], all_x[-1][:, -1:])  # (n_batch, 1, n_features)
        hids, states = model.run(network, x, states, deterministic=False)
        all_hids.append(hids)
        all_x.append(x)
    if not n_free:
        return hids, x, states
    return T.concatenate(all_hids, axis=1), T.concatenate(all_x, axis=1), states


def teacher(recipe, epoch):
    """The probability of hearing the true frame in one epoch (from 1): 1 in the first, `p_teacher` in the last."""
    return 1 - (1 - recipe.p_teacher) * (epoch - 1) / max(1, recipe.n_epochs - 1)


def compile_emit(network, states=None):
    """What the network would say next at each step of a true sequence: ``emit(X, uniform, normal)``."""
    X, uniform, normal = T.tensor3("X"), T.matrix("uniform"), T.matrix("normal")
    frames_in = X[:, :-1]
    hids, _ = model.run(network, frames_in, states, deterministic=True)
    rows = lambda v: v.reshape((-1, v.shape[2]), ndim=2)
    drawn = network.head.sample(rows(hids), rows(frames_in), uniform, normal, np.float32(1))
    return theano.function([X, uniform, normal], drawn.reshape(frames_in.shape, ndim=3), on_unused_input="ignore")


def mixed_inputs(emit, head, X, p_teacher, rng):
    """Inputs for scheduled sampling: each frame the true one with probability `p_teacher`, else the network's own.

    In two passes: the first hears true frames alone and says what follows each
    of them, the second is trained on the mixture.  Where the head is a mixture
    density, its own frame is one draw, as in generation.  No gradient passes
    through the network's own frames.

    Parameters
    ----------
    emit : callable
        From `compile_emit`.
    head : losses head
    X : float32 array of shape (n_batch, n_steps, n_features)
    p_teacher : float
    rng : numpy.random.Generator

    Returns
    -------
    float32 array of shape (n_batch, n_steps - 1, n_features)
        The first frame is always the true one.

    References
    ----------
    S. Bengio et al., "Scheduled sampling for sequence prediction with
    recurrent neural networks" (2015); in two passes: T. Mihaylova,
    A. Martins, "Scheduled sampling for transformers" (2019).
    """
    n_rows = X.shape[0] * (X.shape[1] - 1)
    uniform = rng.uniform(1e-12, 1, (n_rows, head.n_uniform)).astype(np.float32)
    normal = rng.standard_normal((n_rows, head.n_normal), np.float32)
    own = emit(X, uniform, normal)[:, :-1]  # own[:, i] stands for X[:, i + 1]
    heard = np.array(X[:, :-1])
    mine = rng.random(own.shape[:2]) >= p_teacher
    heard[:, 1:][mine] = own[mine]
    return heard


def free_steps_judged(recipe):
    """Frames of free running that ``best_by="free_run"`` judges in a sequence: those trained on, or else half of it."""
    return recipe.free_steps or recipe.n_steps // 2


def compile_free_error(network):
    """Squared error of free running: ``free(X, n_free)`` primes with all but the last frames and predicts those.

    Deterministic: each frame fed back is the head's mean.  Mean over
    sequences, frames and features, in the scaled signal's own units.
    """
    x, given = T.tensor3("x"), model.state_variables(network)
    hids, finals = model.run(network, x, given, deterministic=True)
    following = network.head.predict(hids[:, -1:], x[:, -1:])
    flat = lambda states: [s for pair in states for s in pair]
    ahead = theano.function([x] + flat(given), [following] + flat(finals))

    def free(X, n_free):
        states = [np.zeros((len(X), layer.num_units), np.float32) for layer in network.lstms for _ in range(2)]
        heard, error = X[:, :-n_free], 0.0
        for i in range(X.shape[1] - n_free, X.shape[1]):
            # copies: the compiled function reuses its own buffers
            heard, *states = (np.array(v) for v in ahead(heard, *states))
            error += float(np.mean(np.square(heard[:, 0] - X[:, i], dtype=np.float64)))
        return error / n_free

    return free
