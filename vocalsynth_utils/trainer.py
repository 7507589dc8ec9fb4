"""A network with its compiled functions: one update, the validation loss, and frames it makes of its own."""
from typing import Callable, List, NamedTuple, Optional

import numpy as np
import theano
import theano.tensor as T

from . import model, updates


class Trainer(NamedTuple):
    """A network with its compiled functions; X is float32 (n_batch, n_steps, n_features).

    `train(X)` makes one update and returns the loss; `train(X, heard)` where
    the recipe has scheduled sampling: heard (n_batch, n_steps - 1, n_features)
    are the inputs, from `mixed_inputs`.  `valid(X)` returns the loss of the
    deterministic graph, `free(X, n_free)` its squared error in free running.
    `reset()` puts carried states back to zero.  `optimiser` holds the shared
    variables beside the parameters that training changes.  `emit` is what
    `mixed_inputs` needs; None without scheduled sampling.
    """

    network: model.Network
    parameters: dict
    optimiser: dict
    learning_rate: theano.compile.SharedVariable
    train: Callable
    valid: Callable
    free: Optional[Callable]
    emit: Optional[Callable]
    reset: Callable
    noise: List[theano.compile.SharedVariable]


def compile_trainer(recipe, n_features, scaling=None):
    """Build a recipe's network and compile its two graphs.

    The training graph has noise and dropout on; the validation graph is
    deterministic.  Both predict each frame from the ones before it.

    Parameters
    ----------
    recipe : Recipe
    n_features : int
    scaling : frames.Scaling, optional
        See `model.build_network`.

    Returns
    -------
    Trainer
    """
    network = model.build_network(recipe, n_features, scaling)
    X, heard = T.tensor3("X"), T.tensor3("heard")  # (n_batch, n_steps, n_features), (n_batch, n_steps - 1, n_features)
    frames_in, target = X[:, :-1], X[:, 1:]
    sampled = recipe.p_teacher < 1

    states, carried = None, {}
    if recipe.stateful:
        states = [tuple(theano.shared(np.zeros((recipe.n_batch, layer.num_units), np.float32), f"{layer.name}.carried_{kind}")
                        for kind in ("hid", "cell")) for layer in network.lstms]
    x = heard if sampled else frames_in
    hids, x, finals = free_tail(network, x, recipe.free_steps, states)
    train_loss = network.head.loss(hids, x, target)
    if recipe.stateful:
        carried = {old: new for pair, final in zip(states, finals) for old, new in zip(pair, final)}

    parameters = model.parameters(network)
    learning_rate = theano.shared(np.float32(recipe.learning_rate), "learning_rate")
    steps = updates.optimiser(recipe, train_loss, model.trainable(network), learning_rate)
    optimiser = {f"optimiser.{i}.{v.name}": v for i, v in enumerate(v for v in steps if v not in set(parameters.values()))}
    train = theano.function([X, heard] if sampled else [X], train_loss, updates=list(steps.items()) + list(carried.items()))

    hids, _ = model.run(network, frames_in, deterministic=True)
    valid = theano.function([X], network.head.loss(hids, frames_in, target))

    def reset():
        for state in carried:
            state.set_value(np.zeros_like(state.get_value()))

    return Trainer(network, parameters, optimiser, learning_rate, train, valid,
                   compile_free_error(network) if recipe.best_by == "free_run" else None,
                   compile_emit(network, states) if sampled else None, reset, model.noise_states(network))


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
    if not n_free:
        hids, states = model.run(network, x, states, deterministic=False)
        return hids, x, states
    x = x[:, :-n_free]
    hids, states = model.run(network, x, states, deterministic=False)
    all_hids, all_x = [hids], [x]
    for _ in range(n_free):
        x = network.head.predict(all_hids[-1][:, -1:], all_x[-1][:, -1:])  # (n_batch, 1, n_features)
        hids, states = model.run(network, x, states, deterministic=False)
        all_hids.append(hids)
        all_x.append(x)
    return T.concatenate(all_hids, axis=1), T.concatenate(all_x, axis=1), states


def compile_emit(network, states=None):
    """What the network would say next at each step of a true sequence: `emit(X, uniform, normal)` for `mixed_inputs`."""
    X, uniform, normal = T.tensor3("X"), T.matrix("uniform"), T.matrix("normal")
    frames_in = X[:, :-1]
    hids, _ = model.run(network, frames_in, states, deterministic=True)
    rows = lambda v: v.reshape((-1, v.shape[2]), ndim=2)
    drawn = network.head.sample(rows(hids), rows(frames_in), uniform, normal, np.float32(1))
    return theano.function([X, uniform, normal], drawn.reshape(frames_in.shape, ndim=3), on_unused_input="ignore")


def mixed_inputs(trainer, X, p_teacher, rng):
    """Inputs for scheduled sampling: each frame the true one with probability `p_teacher`, else the network's own.

    In two passes: the first hears true frames alone and says what follows each
    of them, the second is trained on the mixture.  Where the head is a mixture
    density, its own frame is one draw, as in generation.  No gradient passes
    through the network's own frames.

    Parameters
    ----------
    trainer : Trainer
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
    n_rows, head = X.shape[0] * (X.shape[1] - 1), trainer.network.head
    uniform = rng.uniform(1e-12, 1, (n_rows, head.n_uniform)).astype(np.float32)
    normal = rng.standard_normal((n_rows, head.n_normal), np.float32)
    own = trainer.emit(X, uniform, normal)[:, :-1]  # own[:, i] stands for X[:, i + 1]
    heard = np.array(X[:, :-1])
    mine = rng.random(own.shape[:2]) >= p_teacher
    heard[:, 1:][mine] = own[mine]
    return heard


def compile_free_error(network):
    """Squared error of free running: `free(X, n_free)` primes with all but the last `n_free` frames and predicts those.

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
            heard, *states = (np.array(v) for v in ahead(heard, *states))  # the compiled function reuses its own buffers
            error += float(np.mean(np.square(heard[:, 0] - X[:, i], dtype=np.float64)))
        return error / n_free
    return free


def checkpoint(trainer):
    """Everything training changes, as arrays by name."""
    return {name: v.get_value(borrow=True) for name, v in {**trainer.parameters, **trainer.optimiser}.items()}
