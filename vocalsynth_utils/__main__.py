"""The command line, ``vocalsynth COMMAND``, as functions of parsed arguments; notebooks call what these call."""

import argparse
import errno
import json
import math
import os
import signal
import sys
import warnings
from pathlib import Path

from . import benchmark, storage
from . import recipes as named


class _Parser(argparse.ArgumentParser):
    """A mistake of the caller's is one line and exit status 2."""

    def error(self, message):
        _say(f"{self.prog}: {message}; see {self.prog} --help")
        sys.exit(2)


def _say(message):
    """One line on standard error, whatever is in it; a terminal obeys no part of it."""
    print("".join(c if c.isprintable() else "?" for c in " ".join(str(message).split())), file=sys.stderr)


def _bar(unit, **options):
    """A progress bar on standard error, where that is a terminal."""
    from tqdm import tqdm

    return tqdm(unit=unit, file=sys.stderr, disable=None, **options)


def _run(name):
    """A run by its folder, or the voice that ships by its name."""
    from . import runs

    package = Path(__file__).parent
    places = package / "pretrained", package.parent / "data" / "pretrained"  # installed; in a checkout
    shipped = [place / name for place in places if name == SHIPPED and (place / name).exists()]
    return runs.open_run(shipped[0] if shipped and not Path(name).exists() else name)


def recipes(args):
    """Print the table of named recipes."""
    from . import model

    print(named.listing(model.expected_parameters))


def voice(args):
    """Write the built-in singer to a file."""
    from . import synthetic

    synthetic.write_voice(args.out, args.seconds, seed=args.seed)
    print(f"{args.out}: {args.seconds:g} s at {synthetic.SAMPLE_RATE} Hz")


def prepare(args):
    """Make a dataset from a recording."""
    from . import dataset

    data = dataset.prepare(args.recording, _recipe(args), args.out_dir)
    for split in dataset.SPLITS:
        print(f"{split:<6}{data.seconds(split):>10.2f} s")
    print(f"variance of the scaled train part: {data.variance:.6g}\n{args.out_dir}")


def train(args):
    """Train a recipe, or go on training a run."""
    from . import diagnostics, pipeline, runs

    folder = Path(args.run or Path("runs") / args.recipe)
    started = args.resume and (folder / "recipe.json").exists()
    recipe = _recipe(args, runs.open_run(folder).recipe if started else None)
    if recipe.name != args.recipe:
        raise ValueError(f"the run in {folder} is of recipe {recipe.name!r}, not {args.recipe!r}; name its own recipe")
    if args.epochs is not None:
        recipe = recipe.replace(n_epochs=args.epochs)
    diagnostics.check_memory(recipe, aloud=False)  # before a recording is prepared
    data = pipeline.prepare(recipe, args.data, folder, args.resume)
    print(diagnostics.describe_memory(recipe, data.n_features))
    done, unit = len(runs.open_run(folder).log()) if args.resume else 0, recipe.loss_unit(data.variance)
    with _bar("epoch", total=recipe.n_epochs, initial=done) as bar:
        on_batch = lambda done, total: bar.set_description(f"batch {done}/{total}")
        options = {"minutes": args.minutes, "diagnose": args.diagnostics}
        for row in pipeline.train(recipe, data, folder, args.resume, on_batch=on_batch, **options):
            bar.update()
            bar.set_postfix(train=f"{row['train_loss'] / unit:.4f}", valid=f"{row['valid_loss'] / unit:.4f}")
    result = runs.open_run(folder).result()
    losses = f"valid loss {result['valid_loss']:.5g}, test loss {result['test_loss']:.5g}"
    print(f"best epoch {result['best_epoch']} of {result['epochs']}: {losses}")
    for split in ("valid", "test"):
        error, baselines = result[f"{split}_error_over_variance"], result[f"{split}_baselines"]
        without = ", ".join(f"{k} {v:.4f}" for k, v in baselines.items())
        print(f"squared error / variance on {split}: {error:.4f}; without learning: {without}")
    print(folder)


def generate(args):
    """Generate new audio from a run into a file."""
    from . import audio, generation, pipeline

    run = _run(args.run)
    audio.check_place(args.out)
    if not run.recipe.draws and args.temperature != 1:
        what = f"temperature={args.temperature:g} has no effect on a run with loss='mse', which draws nothing"
        raise ValueError(f"{what}; leave it out")
    primer = pipeline.primer(run, args.primer, args.primer_frames)
    with _bar("frame", total=generation.length(run.recipe, args.seconds)[1]) as bar:
        on_frame = lambda done: bar.update(done - bar.n)
        pieces = pipeline.generate_pieces(run, args.seconds, primer, args.temperature, args.seed, on_frame)
        with audio.writer(args.out, run.recipe.sample_rate) as out:
            for piece in pieces:
                out.write(piece)
    if out.n_loud > audio.TRACE * out.n_samples:
        warnings.warn(f"{out.n_loud / out.n_samples:.1%} of the samples were too loud and are limited", stacklevel=2)
    seconds = out.n_samples / run.recipe.sample_rate
    print(f"{args.out}: {seconds:g} s of new audio after {len(primer)} primer frames from {args.primer}")


def evaluate(args):
    """Measure what a run generates beside its voice; what generation is tuned to and what took no part stand apart."""
    from . import audio, evaluation, generation, pipeline

    if args.out is not None:
        audio.check_place(args.out)
    run = _run(args.run)
    data = pipeline.own_dataset(run)  # what is wrong with it is said first
    with _bar("frame", total=generation.length(run.recipe, args.seconds)[1]) as bar:
        on_frame = lambda done: bar.update(done - bar.n)
        result, y = pipeline.evaluate(run, data, args.seconds, args.seed, args.temperature, on_frame, args.ears)
    if args.out is not None:
        audio.write(args.out, y, run.recipe.sample_rate)
    if args.json:
        print(json.dumps(json.loads(json.dumps(result), parse_constant=lambda name: None)))  # NaN, which is no JSON
        return
    print(evaluation.table(result))


def sweep(args):
    """Run a grid or a random search over recipe fields, or go on with it; one table and one figure come of it."""
    from . import sweeps

    with _bar("epoch") as bar:

        def on_change(ended, done, total):
            bar.total = total
            bar.set_postfix(runs_ended=len(ended))
            bar.update(done - bar.n)

        rows, folder, skipped = sweeps.run(args.sweep, args.out, args.data, args.workers, args.scheduler, on_change)
    print(sweeps.summary(rows))
    if skipped:
        print(f"left out, as they contradict themselves: {len(skipped)}; the first: {skipped[0]}")
    print(f"{folder / 'table.csv'}\n{folder / 'figure.png'}")
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        what = f"{len(failed)} of {len(rows)} runs failed, the first: {failed[0]['reason']}"
        raise ValueError(f"{what}; start the sweep again to try them again")


def bench(args):
    """Time training, compiling, generating and preparing on this machine, beside what it could do at best."""
    print(benchmark.main(args))


def _recipe(args, recipe=None):
    """The recipe named, or one given, changed by --set field=value."""
    return (recipe or named.get(args.recipe)).replace(**dict(map(named.parse_setting, args.set or ())))


def _positive(text):
    """A command-line number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def _whole(text, least=0):
    """A command-line whole number of at least 0."""
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        what = f"{text[:30]!r} must be a whole number of at least {least}, and of at most 18 digits"
        raise argparse.ArgumentTypeError(what)
    return int(text)


def _at_least_one(text):
    """A command-line whole number above 0."""
    return _whole(text, 1)


def _path(text):
    """A command-line path: anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path names no file; leave the option out, or name one")
    try:
        storage.check_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


SHIPPED = "world-units"
RECIPE, RUN = ("RECIPE", "a name from `recipes`"), ("RUN", f"a run's folder, or {SHIPPED}: the voice that ships")
OUT = ("OUT", "the file to write: .wav, .flac, .ogg or .mp3")
SET = {"action": "append", "metavar": "FIELD=VALUE", "help": "change one field of the recipe; may be given again"}
DATA = {"type": _path, "metavar": "RECORDING_OR_DIR"}


def parser():
    """The command line as an argparse parser."""
    top = _Parser(prog="vocalsynth", description="Generating vocals with a recurrent network.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(function, *positional):
        text = function.__doc__.splitlines()[0]
        p = commands.add_parser(function.__name__, help=text, description=text)
        for name, text in positional:
            p.add_argument(name.lower(), metavar=name, help=text, type=str if name == "RECIPE" else _path)
        p.set_defaults(function=function)
        return p

    _training_commands(command)
    _commands_on_runs(command)
    return top


def _training_commands(command):
    """What makes voices, datasets and runs."""
    command(recipes)
    option = command(voice, OUT).add_argument
    option("--seconds", type=_positive, default=300.0, help="length (default 300)")
    option("--seed", type=_whole, default=0, help="another seed, another song (default 0)")
    option = command(prepare, RECIPE, ("RECORDING", "any audio file"), ("OUT_DIR", "the dataset's folder")).add_argument
    option("--set", **SET)
    option = command(train, RECIPE).add_argument
    default = "(default: the built-in voice, 300 s of it, or 1500 s for WORLD voices)"
    option("--data", **DATA, help=f"a recording or a prepared dataset {default}")
    option("--run", type=_path, metavar="DIR", help="the run's folder (default runs/RECIPE)")
    option("--epochs", type=_whole, help="train up to this many epochs")
    option("--minutes", type=_positive, help="stop after the epoch in which this time is over")
    option("--resume", action="store_true", help="go on from the run's last epoch")
    option("--diagnostics", action="store_true", help="log gradient norm, epsilon, clipping and saturated gates too")
    option("--set", **SET)


def _commands_on_runs(command):
    """What uses runs, or makes many."""

    def drawing(option):
        option("--temperature", type=_positive, default=1.0, help="below 1 duller, above 1 wilder (default 1)")
        option("--seed", type=_whole, default=0, help="of what is drawn (default 0)")

    option = command(generate, RUN, OUT).add_argument
    option("--seconds", type=_positive, required=True, help="length of the new audio")
    sources = "train|valid|test|FILE|none"
    option("--primer", type=_path, default="valid", metavar=sources, help="what it hears first (default valid)")
    option("--primer-frames", type=_whole, help="length of the primer (default: one training sequence)")
    drawing(option)
    option = command(evaluate, RUN).add_argument
    option("--seconds", type=_positive, default=600.0, help="how much to generate (default 600)")
    option("--out", type=_path, metavar="FILE", help="keep the generated audio in this file")
    option("--json", action="store_true", help="print one line of JSON")
    option("--ears", action="store_true", help="add predicted opinion and phones (needs `make EARS=1`; takes minutes)")
    drawing(option)
    option = command(sweep, ("SWEEP", "a TOML file; data/sweeps holds examples")).add_argument
    option("--out", type=_path, metavar="DIR", help="the sweep's folder (default runs/sweeps/NAME)")
    option("--data", **DATA, help="a recording or a prepared dataset, instead of the file's own")
    option("--workers", type=_at_least_one, help="runs at once (default: the file's, or one for each core)")
    option("--scheduler", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, as in tcp://host:8786")
    benchmark.add_arguments(command(bench))


def _remedy(error, command):
    """What to do about an error of the operating system's."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a place that is yours"
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    kept = "; what was trained up to the last whole epoch is kept, --resume goes on from there"
    return "; make room" + (kept if command == "train" else "")


def main(argv=None):
    """Run one command; returns the exit status."""
    for polite in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs are started deaf to it
        signal.signal(polite, signal.default_int_handler)
    args = parser().parse_args(argv)

    def say(text):
        _say(f"vocalsynth {args.command}: {text}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")  # without our source
            args.function(args)
    except (ValueError, OSError, FloatingPointError) as error:
        say(f"{error}{_remedy(error, args.command)}")
        return 2
    except MemoryError as error:
        say(f"out of memory ({error}); use a smaller recipe, n_batch or length")
        return 2
    except KeyboardInterrupt:
        say("interrupted; everything up to the last whole epoch is kept")
        return 130
    sys.stdout.flush()
    return 0


def program(argv=None):
    """`main` as a program of its own: any name can be printed, and nobody need listen; returns the exit status."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `>&-`
            setattr(sys, name, open(os.devnull, "w"))
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return main(argv)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(program())
