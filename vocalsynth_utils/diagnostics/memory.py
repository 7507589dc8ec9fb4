"""How much memory a training needs and how much there is, said before anything is compiled."""

import math
import warnings

from .. import features, model
from ..storage import free_memory, readable_size, used_memory

PROGRAM = 120e6  # bytes: Python, Theano, and what compiling leaves behind
VOCODER = 500e6  # what analysing a recording of WORLD frames takes
# numbers kept for one unit and one feature in one step: gates, cell, output, and the way back
PER_UNIT, PER_INPUT = 7.5, 2
JUDGED_UNIT, JUDGED_INPUT = 15, 5.5  # the same, more, when the best parameters are judged at the end
# bytes of an array that the allocator keeps once freed, and how many of each it comes to
IN_HEAP, OF_HEAP = 32 << 20, 3
# of an optimiser, each as large as the parameters
STATES = {"sgd": 0, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adam": 2}
CERTAIN = 0.8  # of the estimate: what it takes to refuse a training


def memory_needed(recipe, n_features=None):
    """Bytes that training a recipe takes at its peak, to within a quarter where its layers are fused ones: int.

    The parameters with the optimiser's state, what one batch leaves behind for the way back, and whatever is more of
    what comes at the end: the best parameters loaded beside the last, or judged.  The numbers above were measured.
    The recording is mapped, and takes what is free.  `n_features` in a frame are the recipe's own by default.

    >>> from vocalsynth_utils.recipes import get
    >>> memory_needed(get("2016")) > 4 * memory_needed(get("2016-small"))
    True
    """
    width = n_features or features.n_features(recipe)
    states = STATES[recipe.optimiser] + bool(recipe.momentum and recipe.optimiser != "nesterov")
    parameters = 4 * model.expected_parameters(recipe) * (1 + states)
    frames = 4 * recipe.n_batch * recipe.n_steps  # in a batch, by four bytes
    said = max(width, recipe.n_mixtures * (1 + 2 * width))
    passes = 2 if recipe.p_teacher < 1 else 1  # scheduled sampling hears the batch once more
    n_units = sum(recipe.n_units) + recipe.language_units
    trained = frames * (passes * PER_UNIT * n_units + PER_INPUT * said)
    judged = frames * (JUDGED_UNIT * n_units + JUDGED_INPUT * said)
    program = PROGRAM + VOCODER * recipe.has_world_heads
    return int(program + parameters + OF_HEAP * _heap(recipe, width, said) + trained + max(parameters, judged))


def _heap(recipe, width, said):
    """Bytes of one set of those parameters whose arrays are small ones."""
    sizes, n_in = [], width
    for n in recipe.n_units:
        sizes += 4 * [4 * n_in * n, 4 * n * n]
        n_in = n
    return sum(size for size in sizes + [4 * n_in * said] if size < IN_HEAP)


def describe_memory(recipe, n_features=None):
    """One line: what training the recipe needs, and what there is."""
    there, needed = free_memory(), readable_size(memory_needed(recipe, n_features))
    return f"needs about {needed} of memory" + (f"; {readable_size(there)} are free" if there < math.inf else "")


def check_memory(recipe, n_features=None, aloud=True):
    """Say before training when the memory will not do: a close call by a warning, if `aloud`.

    Raises
    ------
    ValueError
        When even `CERTAIN` of the estimate does not fit, with what would.
    """
    own, there = used_memory(), free_memory()
    more = memory_needed(recipe, n_features) - own
    if more <= there:
        return
    needed, remedy = readable_size(more), _what_fits(recipe, n_features, there + own)
    text = f"training needs about {needed} more memory and {readable_size(there)} are free; {remedy}"
    if CERTAIN * more > there:
        raise ValueError(text)
    if aloud:
        warnings.warn(text, stacklevel=2)


def check_network_memory(recipe):
    """Raise ValueError before a network is built that cannot fit: for a run from elsewhere, which only generates."""
    n_bytes, there = 4 * model.expected_parameters(recipe), free_memory()
    if n_bytes > there:
        needed = f"the parameters of {recipe.name!r} take {readable_size(n_bytes)}"
        raise ValueError(f"{needed} and {readable_size(there)} are free; use a run of fewer n_units")


def _what_fits(recipe, n_features, there):
    """The remedy: the largest batch that fits, else the largest layers."""
    fits = lambda changed: memory_needed(changed, n_features) <= there
    while recipe.n_batch > 1 and not fits(recipe):
        recipe = recipe.replace(n_batch=recipe.n_batch // 2)
    if fits(recipe):
        return f"n_batch={recipe.n_batch} would fit"
    while max(recipe.n_units) > 1 and not fits(recipe):
        recipe = recipe.replace(n_units=tuple(max(1, n // 2) for n in recipe.n_units))
    if fits(recipe):
        return f"n_batch=1 with n_units={','.join(map(str, recipe.n_units))} would fit"
    return "shorter frames or a recipe of another size would need less; close other programs"
