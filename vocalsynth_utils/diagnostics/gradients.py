"""Is training well? What the gradients, the optimiser and the gates do, on some training batches.

========================  ==============================================================================
gradient_norm             Euclidean norm of the whole gradient before any clipping, mean over batches
epsilon_share             RMSProp: share of parameters whose mean squared gradient is below epsilon,
                          so that epsilon decides the root
sgd_cosine                RMSProp: cosine between its step and the gradient; 1 is plain gradient descent
norm_clipped              share of batches whose gradient `max_norm` cuts, mean over levels, each cut by itself
gates_clipped             share of the gates' gradients, at single steps, that `grad_clipping` cuts
saturated_ingate, ...     share of a gate's values below 0.05 or above 0.95, where its slope is small
========================  ==============================================================================

What a recipe does not have is left out, and so is what the scan layers do not
give out (the gates).  The network hears true frames, without noise and dropout.
"""

import numpy as np
import theano
import theano.tensor as T

from .. import model
from ..fused.lstm_ops import FusedLSTM, FusedLSTMGradient

SATURATED = 0.05  # of the way from either end
GATES = {"ingate": 0, "forgetgate": 1, "outgate": 3}  # blocks of the gates' array; the third is the cell's input


def compile_probe(network, recipe):
    """What one batch shows of a network as it stands.

    Returns ``probe(X) -> (gradients, shares)``: X float32 (n_batch, n_steps, n_features); gradients by parameter
    name; shares by key of the table above, for what is measured in the graph.
    """
    X = T.tensor3("X")
    heard, target = network.steps(X)
    hids, _ = model.run(network, heard)
    loss, levels = sum(network.losses(hids, heard, target, X)), model.trainable(network)
    params = sum(levels, [])
    gradients = T.grad(loss, params)
    nodes = theano.gof.graph.io_toposort([X], gradients)
    gates = [node.outputs[2] for node in nodes if isinstance(node.op, FusedLSTM)]
    d_gates = [node.outputs[0] for node in nodes if isinstance(node.op, FusedLSTMGradient)]
    shares = {}
    if recipe.max_norm:
        by_param = dict(zip(params, gradients))
        norms = [T.sqrt(T.stack([T.sqr(by_param[p]).sum() for p in level]).sum()) for level in levels]
        shares["norm_clipped"] = _mean([T.gt(norm, np.float32(recipe.max_norm)) for norm in norms])
    if gates:
        n = [gate.shape[2] // 4 for gate in gates]
        for name, k in GATES.items():
            values = [gate[:, :, k * m : (k + 1) * m] for gate, m in zip(gates, n)]
            shares[f"saturated_{name}"] = _mean([T.or_(T.lt(v, SATURATED), T.gt(v, 1 - SATURATED)) for v in values])
    if d_gates and recipe.grad_clipping:
        shares["gates_clipped"] = _mean([T.ge(abs(d), np.float32(recipe.grad_clipping)) for d in d_gates])
    run = theano.function([X], gradients + list(shares.values()))

    def probe(batch):
        values = run(batch)
        return (
            {p.name: np.array(g) for p, g in zip(params, values)},  # the compiled function reuses its own buffers
            {name: float(share) for name, share in zip(shares, values[len(params) :])},
        )

    return probe


def _mean(masks):
    """Share of true entries in several arrays together."""
    return sum(T.cast(m, "float32").sum() for m in masks) / sum(T.cast(m.size, "float32") for m in masks)


def training_diagnostics(recipe, probe, batches, arrays=None):
    """What the table above says of a run, on some batches.

    Parameters
    ----------
    recipe : Recipe
    probe : callable
        From `compile_probe`.
    batches : iterable of float32 arrays (n_batch, n_steps, n_features)
    arrays : dict of str to array, optional
        A checkpoint's, with the optimiser's state; what needs it is left out without.

    Returns
    -------
    dict of str to float
        By the keys of the table above, those that apply.

    Raises
    ------
    ValueError
        Without a batch.
    """
    accu = {
        name.split(".", 2)[2][: -len(".accu")]: value
        for name, value in (arrays or {}).items()
        if recipe.optimiser == "rmsprop" and name.startswith("optimiser.") and name.endswith(".accu")
    }
    norms, readings = [], []
    for batch in batches:
        gradients, shares = probe(batch)
        norms.append(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in gradients.values())))
        readings.append({**shares, **(_rmsprop(recipe, gradients, accu) if accu else {})})
    if not norms:
        raise ValueError("there is no batch to measure; give at least one")
    return {
        "gradient_norm": float(np.mean(norms)),
        **{key: float(np.mean([r[key] for r in readings])) for key in readings[0]},
    }


def _rmsprop(recipe, gradients, accu):
    """How much of RMSProp is left in its next step."""
    below = total = dot = long = step_long = 0.0
    for name, g in gradients.items():
        g = g.astype(np.float64)
        a = recipe.rho * accu[name] + (1 - recipe.rho) * g**2
        step = g / np.sqrt(a + recipe.epsilon)
        below, total = below + np.sum(a < recipe.epsilon), total + a.size
        dot, long, step_long = dot + np.sum(step * g), long + np.sum(g * g), step_long + np.sum(step * step)
    return {"epsilon_share": below / total, "sgd_cosine": dot / np.sqrt(long * step_long) if long else 1.0}
