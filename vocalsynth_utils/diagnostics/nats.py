"""Losses of predictors that learn nothing, in the unit of a recipe's own loss."""

import numpy as np

from .. import baselines
from ..features import LOG_F0, VOICING
from ..units import N_LENGTHS

SOME = 100_000  # frames of a part that tell: 25 minutes


def to_beat(recipe, dataset, split="valid"):
    """What a recipe's loss on a part of a dataset is to be compared with: dict of str to float.

    Of a squared error that is `baselines.losses`.  Of WORLD frames, in nats: ``"mean"`` says the same of every frame,
    with the train part's mean, spread and share of voice; ``"repeat"`` says the frame before, with the spread of the
    train part's steps; text is, to both, of units and lengths that are all as likely.  Of other densities, nothing.
    """
    if not recipe.draws:
        return baselines.losses(dataset, recipe.n_steps, split)
    if not recipe.has_world_heads:
        return {}
    text = np.log(recipe.vocabulary * N_LENGTHS) if recipe.has_text else 0.0
    step, parts = dataset.rows_per_frame, (dataset.ranges[part] for part in ("train", split))
    train, asked = (dataset.scaled(first, min(end, first + SOME * step))[::step] for first, end in parts)
    mean = train.mean(axis=0)
    mean[LOG_F0] = np.average(train[:, LOG_F0], weights=train[:, VOICING] > 0) if (train[:, VOICING] > 0).any() else 0
    says = {"mean": lambda X: np.broadcast_to(mean, X[1:].shape), "repeat": lambda X: X[:-1]}
    return {name: text + _nats(predict, train, asked) for name, predict in says.items()}


def _nats(predict, train, asked):
    """Mean of -log p(voicing) - [voiced] log p(F0) - log p(rest) of each frame but the first, of (n_frames, n)."""
    voiced = lambda X: (X[:, VOICING] > 0).astype(int)
    pairs, off = (voiced(predict(train)), voiced(train[1:])), np.square(train[1:] - predict(train), dtype=np.float64)
    counts = np.ones((2, 2))  # of what was said and what came; nothing is certain
    np.add.at(counts, pairs, 1)
    spread = np.sqrt(off.mean(axis=0) + 1e-6)
    spread[LOG_F0] = np.sqrt(np.average(off[:, LOG_F0], weights=pairs[1] + 1e-9))
    said, came = predict(asked), voiced(asked[1:])
    nats = np.log(spread * np.sqrt(2 * np.pi)) + 0.5 * np.square((asked[1:] - said) / spread)
    nats[:, VOICING] = -np.log((counts / counts.sum(axis=1, keepdims=True))[voiced(said), came])
    nats[:, LOG_F0] *= came
    return float(nats.sum(axis=1).mean())
