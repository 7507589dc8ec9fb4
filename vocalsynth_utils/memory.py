"""How much memory a training needs and how much there is, said before anything is compiled."""
import math
import warnings
from pathlib import Path

from . import features, model

PROGRAM = 120e6        # bytes: Python, Theano, and what compiling leaves behind
VOCODER = 500e6        # what analysing and making sound for the calibration takes
PER_UNIT, PER_INPUT = 7.5, 2           # numbers kept for one unit and one feature in one step: gates, cell, output, and the way back
JUDGED_UNIT, JUDGED_INPUT = 15, 5.5    # the same, more, when the best parameters are judged at the end
IN_HEAP, OF_HEAP = 32 << 20, 3         # bytes of an array that the allocator keeps once freed, and how many of each it comes to
STATES = {"sgd": 0, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adam": 2}  # an optimiser's, each as large as the parameters
CERTAIN = 0.8          # of the estimate: what it takes to refuse a training


def need(recipe, n_features=None):
    """Bytes that training a recipe takes at its peak: an estimate, to within a quarter, where its layers are fused ones.

    The parameters with the optimiser's state, what one batch leaves behind for
    the way back, and whatever is more of what comes at the end: the best
    parameters loaded beside the last, or judged.  The numbers above were
    measured.  The recording is not among it: it is mapped, and takes what is free.

    Parameters
    ----------
    recipe : Recipe
    n_features : int, optional
        Numbers in a frame; the recipe's own by default.

    Returns
    -------
    int

    Examples
    --------
    >>> from vocalsynth_utils.recipes import get
    >>> need(get("2016")) > 4 * need(get("2016-small"))
    True
    """
    width = n_features or features.n_features(recipe)
    parameters = 4 * model.expected_parameters(recipe) * (1 + STATES[recipe.optimiser] + bool(recipe.momentum and recipe.optimiser != "nesterov"))
    frames = 4 * recipe.n_batch * recipe.n_steps  # in a batch, by four bytes
    said = max(width, 0 if recipe.loss == "mse" else recipe.n_mixtures * (1 + 2 * width))
    passes = 2 if recipe.p_teacher < 1 else 1  # scheduled sampling hears the batch once more
    trained = frames * (passes * PER_UNIT * sum(recipe.n_units) + PER_INPUT * said)
    judged = frames * (JUDGED_UNIT * sum(recipe.n_units) + JUDGED_INPUT * said)
    return int(PROGRAM + VOCODER * (recipe.loss == "world") + parameters + OF_HEAP * _heap(recipe, width, said) + trained + max(parameters, judged))


def _heap(recipe, width, said):
    """Bytes of one set of those parameters whose arrays are small ones."""
    sizes, n_in = [], width
    for n in recipe.n_units:
        sizes += 4 * [4 * n_in * n, 4 * n * n]
        n_in = n
    return sum(size for size in sizes + [4 * n_in * said] if size < IN_HEAP)


def room():
    """Bytes that this process may still take, by the machine, its container and its own limits; infinity where nothing says so."""
    return max(0, min(_free(), _container(), _own_limit()))


def describe(recipe, n_features=None):
    """One line: what training the recipe needs, and what there is."""
    there = room()
    return f"needs about {size(need(recipe, n_features))} of memory" + (f"; {size(there)} are free" if there < math.inf else "")


def check(recipe, n_features=None, aloud=True):
    """Say before training when the memory will not do; a close call only if `aloud`.

    Raises
    ------
    ValueError
        When even `CERTAIN` of the estimate does not fit, with what would; a
        closer call is a warning.
    """
    more, there = need(recipe, n_features) - _own(), room()
    if more <= there:
        return
    text = f"training needs about {size(more)} more memory and {size(there)} are free; {_what_fits(recipe, n_features, there + _own())}"
    if CERTAIN * more > there:
        raise ValueError(text)
    if aloud:
        warnings.warn(text, stacklevel=2)


def check_network(recipe):
    """Raise ValueError before a network is built that cannot fit: for a run that comes from elsewhere, and only sings."""
    n_bytes, there = 4 * model.expected_parameters(recipe), room()
    if n_bytes > there:
        raise ValueError(f"the parameters of {recipe.name!r} take {size(n_bytes)} and {size(there)} are free; use a run of fewer n_units")


def size(n_bytes):
    """A number of bytes for people."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _what_fits(recipe, n_features, there):
    """The remedy: the largest batch that fits, else the largest layers."""
    n_batch = recipe.n_batch
    while n_batch > 1 and need(recipe.replace(n_batch=n_batch), n_features) > there:
        n_batch //= 2
    smaller = recipe.replace(n_batch=n_batch)
    if need(smaller, n_features) <= there:
        return f"n_batch={n_batch} would fit"
    n_units = recipe.n_units
    while max(n_units) > 1 and need(smaller.replace(n_units=n_units), n_features) > there:
        n_units = tuple(max(1, n // 2) for n in n_units)
    if need(smaller.replace(n_units=n_units), n_features) <= there:
        return f"n_batch=1 with n_units={','.join(map(str, n_units))} would fit"
    return "shorter frames or a recipe of another size would need less; close other programs"


def _own():
    """Bytes this process has already, not counting mapped files."""
    return 1024 * _kilobytes("/proc/self/status").get("RssAnon", 0)


def _free():
    """What the machine has left."""
    told = _kilobytes("/proc/meminfo")
    return 1024 * (told["MemAvailable"] + told.get("SwapFree", 0)) if "MemAvailable" in told else math.inf


def _own_limit():
    """What limits set for this process leave (`ulimit -v`, `ulimit -d`)."""
    import resource
    told = _kilobytes("/proc/self/status")
    left = [math.inf]
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY and used in told:
            left.append(most - 1024 * told[used])
    return min(left)


def _container():
    """What the control groups of this process leave; the files that they count as used give way."""
    left = [math.inf]
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, names = (("/sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")) if controllers == "" else
                       ("/sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")))
        folder = Path(root + path)
        for group in (folder, *folder.parents):
            most, used = (_lines(group / name) for name in names[:2])
            if str(group).startswith(root) and most and used and most[0].isdigit():
                idle = sum(int(value) for name, value in (entry.split() for entry in _lines(group / "memory.stat")) if name == names[2])
                left.append(int(most[0]) - int(used[0]) + idle)
    return min(left)


def _kilobytes(path):
    """Entries ``name: number kB`` of a file under /proc, as a dict; empty where there is none."""
    entries = (line.split(":", 1) for line in _lines(path) if line.endswith(" kB"))
    return {name: int(value.split()[0]) for name, value in entries}


def _lines(path):
    """The lines of a small text file; none where it cannot be read."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
