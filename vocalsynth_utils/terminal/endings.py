"""Words with which commands end: what came of them, what is kept, what to type next."""

import errno
import math
import shlex
import sys
from pathlib import Path

from .stages import duration

ENOUGH_SECONDS = 600  # of a recording; of less, more is worth the time
NAMES = {"mean": "the mean", "repeat": "the last frame again", "linear": "linear prediction"}


def say(message):
    """One line on standard error, whatever is in it; a terminal obeys no part of it."""
    print("".join(c if c.isprintable() else "?" for c in " ".join(str(message).split())), file=sys.stderr)


def remedy(error, command):
    """What to do about an error of the operating system's."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a place that is yours"
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    kept = "; what was trained up to the last whole epoch is kept, --resume goes on from there"
    return "; make room" + (kept if command == "train" else "")


def interrupted(command, argv, folder=None):
    """What is kept after Ctrl-C of a command, typed as `argv`, that trains in `folder`; and what to type to go on."""
    from .. import runs

    if command == "sweep":
        return f"interrupted; the runs that have ended are kept; go on with: {_typed(*argv)}"
    if command != "train":
        return "interrupted; nothing of it is kept"
    if not (Path(folder) / "recipe.json").exists():
        return f"interrupted; nothing is kept yet; begin again with: {_typed(*argv)}"
    n_epochs = len(runs.open_run(folder).log())
    kept = f"epochs 1 to {n_epochs} are kept in {folder}" if n_epochs else "no epoch has ended, so none is kept"
    return f"interrupted; {kept}; go on with: {_typed(*argv, *([] if '--resume' in argv else ['--resume']))}"


def nothing_left(folder, n_epochs):
    """That a finished run is finished."""
    more = f"to train on, ask for more than its {n_epochs} epochs: --epochs {2 * n_epochs}"
    return f"Nothing to do: the run in {folder} has finished. {more[0].upper()}{more[1:]}"


def trained(run, result):
    """What a training came to, of a finished run and its `result`: learned or not, beside what learns nothing; text."""
    error, baselines = _number(result["test_error_over_variance"]), result["test_baselines"]
    rules = {NAMES.get(name, name): _number(value) for name, value in baselines.items()}
    best = min(rules, key=rules.get)
    if not error < _number(baselines["mean"]):
        came_of_it = "Learned nothing: always saying the mean is as good"
    elif not error < rules[best]:
        came_of_it = f"Learned a little: better than always saying the mean, not better than {best}"
    else:
        came_of_it = "Learned: better than all that predict without a network"
    rules = ", ".join(f"{name} {value:.3f}" for name, value in rules.items())
    unit = "nats, which may fall below 0" if run.recipe.draws else "units of the variance"
    losses = (_number(result[f"{part}_loss"]) / run.recipe.loss_unit(result["variance"]) for part in ("valid", "test"))
    losses = ", ".join(f"{loss:.4g} on {part}" for loss, part in zip(losses, ("valid", "test")))
    return f"""{came_of_it}.
On the test part, which it never heard, its squared error is {error:.3f} of the voice's variance.
Without a network: {rules}.
Best epoch {result["best_epoch"]} of {result["epochs"]}; loss {losses}, in {unit}: the lower the better.
Hear it:    {_typed("generate", run.folder, "sung.wav", "--seconds", "10")}
Measure it: {_typed("evaluate", run.folder)}"""


def generated(path, seconds, took, begun):
    """What was generated: where, how long it is, after what it begins, and how long it took; text."""
    speed = f"in {duration(took)}, {seconds / took:.1f} times real time" if took else "at once"
    return f"{path}: {seconds:g} s of new audio, {begun}; made {speed}"


def more_voice(seconds):
    """What a longer recording would bring, of so many seconds; nothing where it is long enough."""
    if seconds >= ENOUGH_SECONDS:
        return ""
    has = f"The recording has {duration(seconds)}"
    return f"{has}. So little is learned by heart; from twenty minutes on a voice says new things in its own way."


def _typed(*words):
    """A command as it is typed."""
    return shlex.join(["vocalsynth", *map(str, words)])


def _number(value):
    """A number of a result; nan where it holds none."""
    return math.nan if value is None else value
