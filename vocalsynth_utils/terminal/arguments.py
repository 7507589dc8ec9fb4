"""`parsed`, what was typed as arguments that are checked: a mistake of the caller's is one line and exit status 2.

Nothing slow is imported before that.
"""

import argparse
import contextlib
import functools
import math
import os
import sys

from .. import __version__, benchmark, gpu, recipes, storage
from .endings import say

SHIPPED = "world-units"
START = f"""Hear the voice that ships:  vocalsynth generate {SHIPPED} hello.wav
Learn a voice of your own:  vocalsynth train {SHIPPED} --data my-voice.wav
vocalsynth COMMAND --help has the options of each."""


class Parser(argparse.ArgumentParser):
    """A mistake of the caller's is one line and exit status 2."""

    def error(self, message):
        say(f"{self.prog}: {message}{' ' if str(message).endswith('?') else '; '}see {self.prog} --help")
        sys.exit(2)


def checked(convert):
    """A type by a function of text that raises ValueError, whose message is shown."""

    def convert_or_say(text):
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert_or_say


def above_0(text):
    """A number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")


def whole(text, least=0):
    """A whole number of at least 0."""
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        what = f"{text[:30]!r} must be a whole number of at least {least}, and of at most 18 digits"
        raise argparse.ArgumentTypeError(what)
    return int(text)


at_least_1 = functools.partial(whole, least=1)


@checked
def checked_path(text):
    """A path that a file system takes."""
    storage.check_path(text)
    return text


def path(text):
    """A path: anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path names no file; leave the option out, or name one")
    return checked_path(text)


def existing(text):
    """A path to something that is there."""
    if not os.path.lexists(path(text)):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder; check the name")
    return text


def parsed(argv, functions):
    """What was typed, as an argparse namespace; `function` is the one of `functions` that its command names.

    Typed nothing at all, it is the list of commands.
    """
    about = {"description": "Generating vocals with a recurrent network.", "epilog": START}
    top = Parser(prog="vocalsynth", formatter_class=argparse.RawDescriptionHelpFormatter, **about)
    top.add_argument("--version", action="version", version=f"vocalsynth {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    known, wants = {function.__name__: function for function in functions}, argv[:1] == ["--completion"]
    shells = {"choices": ("bash", "zsh"), "help": "print what lets a shell complete what is typed"}
    top.add_argument("--completion", action=_Completion, metavar="SHELL", **shells)
    for name, function in known.items():
        text = function.__doc__.splitlines()[0]
        p = commands.add_parser(name, help=text, description=text)
        p.set_defaults(function=function)
        if wants or argv[:1] == [name]:
            _add_options(name, p)
    if argv and not argv[0].startswith("-"):
        try:
            recipes.check_known("command", argv[0], known)
        except ValueError as error:
            top.error(error)
    return top.parse_args(argv or ["--help"])


class _Completion(argparse.Action):
    """Print a shell's script that completes commands, their options, names of recipes and of files; and end."""

    def __call__(self, parser, namespace, shell, option=None):
        import shtab

        commands = next(a.choices for a in parser._actions if a.dest == "command")
        for action in (a for p in commands.values() for a in p._actions):
            if action.type in (path, existing):
                action.complete = shtab.FILE
            elif action.dest == "recipe":
                action.choices = list(recipes.RECIPES)
        print(shtab.complete(parser, shell))
        sys.exit()


def _add_options(command, p):
    """Add the arguments of a command to its parser."""

    def option(name, text, kind=None, **settings):
        if name.isupper():  # one without a name of its own
            name, settings["metavar"] = name.lower(), name
        p.add_argument(name, help=text, **({"type": kind} if kind else {"action": "store_true"}) | settings)

    def seconds(text, default):
        option("--seconds", f"{text} (default {default})", above_0, default=float(default))

    recipe, named = checked(lambda name: recipes.get(name).name), "a name from `recipes`"
    if command == "recipes":
        option("RECIPE", "show one in full, with what its fields mean", recipe, nargs="?")
        option("--all", "list the experiments of 2016 too")
    if command in ("train", "prepare"):
        option("RECIPE", named, recipe)
        change = {"action": "append", "metavar": "FIELD=VALUE"}
        option("--set", "change one field of the recipe; may be given again", checked(recipes.parse_setting), **change)
    if command in ("generate", "evaluate"):
        option("RUN", f"a run's folder, or {SHIPPED}: the voice that ships", path)
        option("--temperature", "below 1 duller, above 1 wilder (default 1)", above_0, default=1.0)
    if command in ("generate", "voice"):
        option("OUT", "the file to write: .wav, .flac, .ogg or .mp3", path)
    if command in ("generate", "evaluate", "voice"):
        option("--seed", "of what is drawn (default 0)", whole, default=0)
    if command in ("train", "sweep"):
        default = "the built-in voice" if command == "train" else "the file's own"
        text = f"a recording or a prepared dataset (default: {default})"
        option("--data", text, existing, metavar="RECORDING_OR_DIR")
    if command == "train":
        option("--run", "the run's folder (default runs/RECIPE)", path, metavar="DIR")
        option("--epochs", "train up to this many epochs", whole)
        option("--minutes", "stop after the epoch in which this time is over", above_0)
        option("--resume", "go on from the run's last epoch")
        gpu.add_arguments(p.add_argument)
        option("--diagnostics", "log gradient norm, epsilon, clipping and saturated gates too")
    elif command == "generate":
        seconds("length of the new audio", 10)
        first = "what it hears first (default valid, or none where its dataset is not there)"
        option("--primer", first, path, metavar="train|valid|test|FILE|none")
        option("--primer-frames", "length of the primer (default: one training sequence)", whole)
    elif command == "evaluate":
        seconds("how much to generate", 120)
        option("--out", "keep the generated audio in this file", path, metavar="FILE")
        option("--all", "print every measure too")
        option("--json", "print every measure as one line of JSON, and nothing else")
        option("--ears", "add predicted opinion and phones (needs `make EARS=1`; takes minutes)")
    elif command == "prepare":
        option("RECORDING", "any audio file", path)
        option("OUT_DIR", "the dataset's folder", path)
    elif command == "voice":
        seconds("length", 300)
    elif command == "sweep":
        option("SWEEP", "a TOML file; data/sweeps holds examples", path)
        option("--out", "the sweep's folder (default runs/sweeps/NAME)", path, metavar="DIR")
        option("--workers", "runs at once (default: the file's, or one for each core)", at_least_1)
        option(
            "--scheduler", "run on the Dask cluster of this scheduler, as in tcp://host:8786", str, metavar="ADDRESS"
        )
    elif command == "bench":
        benchmark.add_arguments(p)  # which imports what it times
