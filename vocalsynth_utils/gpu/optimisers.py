"""The optimisers of `updates` over flat vectors: one pass for all parameters of a level."""

import torch

from ..updates import ADAM_BETA2
from . import kernels


class Optimiser:
    """What a recipe's updates do to a `Store`, given the gradient of all its parameters as a vector of their layout.

    `rate` is a tensor (), the learning rate; nothing here waits for a device.
    """

    def __init__(self, recipe, store, rate):
        self.recipe, self.store, self.rate = recipe, store, rate
        self.numbers = recipe.rho, recipe.epsilon, recipe.momentum
        if recipe.optimiser == "adam":
            self.numbers = 0.9, 1e-8, ADAM_BETA2

    def step(self, gradient):
        """Change parameters and states in place."""
        for i, (first, end) in enumerate(self.store.levels):
            param, *states = (self.store.vector[k * self.store.n :][first:end] for k in range(1 + self.store.n_states))
            grad, rate = gradient[first:end], self.rate
            scale = torch.ones_like(rate)
            if self.recipe.max_norm:
                # in float64 and not in float32, as Theano's engine adds it up
                norm = torch.linalg.vector_norm(grad, dtype=torch.float64).float()
                scale = norm.clamp(max=self.recipe.max_norm) / (1e-7 + norm)
            if self.recipe.optimiser == "adam":
                t = self.store.steps[i].add_(1)
                beta1, _, beta2 = self.numbers
                rate = rate * torch.sqrt(1 - beta2**t) / (1 - beta1**t)
            rule = self.recipe.optimiser
            change = kernels.update if kernels.serve(param) and rule in ("rmsprop", "adam") else update
            change(rule, param, grad, states, (scale, rate, *self.numbers))


def update(rule, param, grad, states, numbers):
    """One pass over flat vectors, in place; numbers: factor on the gradient, rate, rho, epsilon, momentum."""
    scale, rate, rho, epsilon, momentum = numbers
    g = grad * scale
    if rule == "adam":
        mean, square = states
        mean.mul_(rho).add_(g, alpha=1 - rho)
        square.mul_(momentum).addcmul_(g, g, value=1 - momentum)
        param.sub_(rate * mean / (square.sqrt() + epsilon))
        return
    step, velocity = rate * g, states[-1] if states else None
    if rule == "rmsprop":
        states[0].mul_(rho).addcmul_(g, g, value=1 - rho)
        step, velocity = step / torch.sqrt(states[0] + epsilon), states[1] if len(states) > 1 else None
    elif rule == "adagrad":
        states[0].addcmul_(g, g)
        step, velocity = step / torch.sqrt(states[0] + epsilon), None
    if velocity is None:
        param.sub_(step)
        return
    velocity.mul_(momentum).sub_(step)
    param.add_(momentum * velocity - step if rule == "nesterov" else velocity)
