"""All that training changes as one vector on a device, `Store`: parameters, the optimiser's states, what is kept.

Names, order and shapes are those of Theano's engine, so that a checkpoint is a checkpoint.  The matrices of an LSTM's
four gates lie side by side, as one matrix that a step is multiplied by; each gate's own is a view of some columns.
"""

import math
import re
from typing import NamedTuple

import numpy as np
import torch

from .. import model
from ..fused.layers import GATES
from ..runs import checkpoints

ALIGNED = 64  # numbers: where each array begins, as products on a card like it
# of a parameter's states, names as Theano's engine has them (Lasagne's own have none); with momentum, and without
STATES = {
    "rmsprop": (["accu"], ["accu", "velocity"]),
    "sgd": ([], [None]),
    "nesterov": ([None], [None]),
    "adagrad": ([None], [None]),
    "adam": (["mean", "square"], ["mean", "square"]),
}
GATE = re.compile(rf"(.*\.(?:W_in_to_|W_hid_to_|b_|W_cell_to_))({'|'.join(GATES)})")


class Place(NamedTuple):
    """Where an array lies in the vector: in a block from `start` on, of a shape, in some of its columns."""

    start: int
    block: tuple
    columns: slice
    shape: tuple

    def of(self, vector):
        """The array, a view of the vector, numpy's or torch's."""
        block = vector[self.start : self.start + math.prod(self.block)].reshape(self.block)
        return block[..., self.columns].reshape(self.shape)

    def after(self, distance):
        """The same array of a copy of the layout so much further on."""
        return self._replace(start=self.start + distance)


class Variable:
    """One array of a `Store`, with what a shared variable of Theano's offers.

    `shared`, the variable of the Lasagne network that it stands for, where there is one, has its value from when it was
    set or last asked for: what is measured by Theano's graph is measured of that.
    """

    dtype = "float32"

    def __init__(self, view, shared=None):
        self.view, self.shared = view, shared

    def get_value(self, borrow=False):
        value = np.array(self.view.detach().cpu().numpy())
        if self.shared is not None:
            self.shared.set_value(value, borrow=True)
        return value

    def set_value(self, value, borrow=False):
        value = np.array(value, np.float32)
        self.view.copy_(torch.from_numpy(value))
        if self.shared is not None:
            self.shared.set_value(value, borrow=True)


class Store:
    """The `vector` of a recipe and its Lasagne network, with the parameters that this has, but for those not trained.

    It is copies of one layout of `n` numbers: the parameters, each of `n_states` of the optimiser, what is kept; at the
    end `steps`, Adam's counts.  `levels` are (first, end) of each level's parameters; `blocks` the `Place` of arrays as
    they are computed with, the gates' under the name without the gate; `places` those of a checkpoint; `parameters`,
    `optimiser` and `kept` its variables by name.
    """

    def __init__(self, recipe, network, device):
        shared, levels = model.parameters(network), [[p.name for p in level] for level in model.trainable(network)]
        self.blocks, self.levels, self.n = {}, [], 0
        for level in levels:
            first, self.n = self.n, self._lay(level, shared)
            self.levels.append((first, self.n))
        states, kept = STATES[recipe.optimiser][bool(recipe.momentum)], sum(levels[1:], [])
        self.n_states, end = len(states), self.n * (1 + len(states) + bool(kept))
        own, beside = {name: self._place(name, shared) for level in levels for name in level}, []
        for i, level in enumerate(levels):
            beside += [("adam.step", Place(end + i, (1,), slice(None), ()))] if recipe.optimiser == "adam" else []
            of_each = [(name, k, state) for name in level for k, state in enumerate(states, start=1)]
            beside += [(state and f"{name}.{state}", own[name].after(k * self.n)) for name, k, state in of_each]
        optimiser = {f"optimiser.{i}.{name}": place for i, (name, place) in enumerate(beside)}
        kept = {checkpoints.KEPT + name: own[name].after((1 + self.n_states) * self.n) for name in kept}
        self.places, self.vector = {**own, **optimiser, **kept}, torch.zeros(end + len(levels), device=device)
        self.steps = self.vector[end:]
        of = lambda places: {name: Variable(place.of(self.vector), shared.get(name)) for name, place in places.items()}
        self.optimiser, self.kept = of(optimiser), of(kept)
        self.parameters = {**shared, **of(own)}  # in the network's order; what is not trained stays where it is
        for name, variable in {**of(own), **self.kept}.items():
            variable.set_value(shared[name.removeprefix(checkpoints.KEPT)].get_value())

    def _lay(self, names, shared):
        """Give each block of some parameters its place, after those that have one; returns where they end."""
        at = self.n
        for name in names:
            gate = GATE.fullmatch(name)
            block = gate[1] if gate else name
            if block not in self.blocks:
                *rows, n = shared[name].get_value(borrow=True).shape
                shape = *rows, n * max(1, sum(f"{block}{g}" in shared for g in GATES))
                self.blocks[block] = Place(at, shape, slice(None), shape)
                at += -(-math.prod(shape) // ALIGNED) * ALIGNED
        return at

    def _place(self, name, shared):
        """The place of one parameter."""
        gate = GATE.fullmatch(name)
        if not gate:
            return self.blocks[name]
        shape = shared[name].get_value(borrow=True).shape
        k = [g for g in GATES if f"{gate[1]}{g}" in shared].index(gate[2])
        return self.blocks[gate[1]]._replace(columns=slice(k * shape[-1], (k + 1) * shape[-1]), shape=shape)

    def arrays(self, vector):
        """Arrays by name, as a checkpoint holds them, of a copy of the vector on the host."""
        variables = {**self.parameters, **self.optimiser, **self.kept}
        here = lambda name, v: self.places[name].of(vector) if name in self.places else v.get_value()
        return {name: here(name, v) for name, v in variables.items()}
