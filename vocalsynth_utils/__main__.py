"""The command line: `python -m vocalsynth_utils COMMAND`.  The notebooks call the same functions."""
import argparse
import errno
import math
import os
import signal
import sys
import warnings
from pathlib import Path


class _Parser(argparse.ArgumentParser):
    """A mistake of the caller's is one line and exit status 2."""

    def error(self, message):
        _say(f"{self.prog}: {message}; see {self.prog} --help")
        sys.exit(2)


def _say(message):
    """One line on standard error, whatever is in it; a terminal obeys no part of it."""
    print("".join(c if c.isprintable() else "?" for c in " ".join(str(message).split())), file=sys.stderr)


def _positive(text):
    """A command-line number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return value


def _whole(text):
    """A command-line whole number of at least 0."""
    if not text.isdecimal() or len(text) > 18:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} must be a whole number of at least 0, and of at most 18 digits")
    return int(text)


def _at_least_one(text):
    """A command-line whole number above 0."""
    if _whole(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _path(text):
    """A command-line path: anything but nothing."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path names no file; leave the option out, or name one")
    return text


def recipes(args):
    """Print the table of named recipes."""
    from . import model
    from .experiments import FAMILIES
    from .recipes import RECIPES

    def row(*cells):
        print("{:<26}{:<8}{:>6} {:>5}  {:<20}{:>12}{:>12}{:>9}  {}".format(*cells).rstrip())

    row("recipe", "holds", "frame", "steps", "units", "parameters", "-small", "2016", "purpose")
    for family, experiments in FAMILIES.items():
        print(f"\n{family}")
        for e in experiments:
            r, small = RECIPES[e.name], RECIPES.get(f"{e.name}-small") if e.small is not None else None
            units = f"{r.n_units[0]} x {len(r.n_units)}" if len(set(r.n_units)) == 1 else "-".join(map(str, r.n_units))
            row(r.name, r.features, r.frame_length, r.n_steps, units, f"{model.expected_parameters(r):,}",
                f"{model.expected_parameters(small):,}" if small else "", f"{e.recorded:.3f}" if e.recorded else "", r.purpose)
    print("\nframe: samples at 16 kHz.  -small: parameters of NAME-small, the same for the built-in voice and a minute of one core;"
          "\nwhere that is empty, the recipe is small itself.  2016: best valid loss / variance then, on three hours of another voice.")


def voice(args):
    """Write the built-in singer to a file."""
    from . import voice as singer
    singer.write_voice(args.out, args.seconds, seed=args.seed)
    print(f"{args.out}: {args.seconds:g} s at {singer.SAMPLE_RATE} Hz")


def prepare(args):
    """Make a dataset from a recording."""
    from . import dataset
    from .recipes import get
    data = dataset.prepare(args.recording, _with_settings(get(args.recipe), args.set), args.out_dir)
    for split, (first, end) in data.ranges.items():
        print(f"{split:<6}{(end - first) * data.row_length / data.settings['sample_rate']:>10.2f} s")
    print(f"variance of the scaled train part: {data.variance:.6g}\n{args.out_dir}")


def train(args):
    """Train a recipe, or go on training a run."""
    from tqdm import tqdm

    from . import calibration, dataset, memory, runs, training, voice as singer
    from .recipes import get
    folder = Path(args.run or Path("runs") / args.recipe)
    recipe = get(args.recipe)
    if args.resume and (folder / "recipe.json").exists():
        recipe = runs.open_run(folder).recipe
        if recipe.name != args.recipe:
            raise ValueError(f"the run in {folder} is of recipe {recipe.name!r}, not {args.recipe!r}; name its own recipe")
    recipe = _with_settings(recipe, args.set)
    if args.epochs is not None:
        recipe = recipe.replace(n_epochs=args.epochs)
    memory.check(recipe, aloud=False)  # before a recording is prepared
    data = _dataset(args, recipe, folder, dataset, runs, singer)
    print(memory.describe(recipe, data.n_features))
    done = len(runs.open_run(folder).log()) if args.resume else 0
    with tqdm(total=recipe.n_epochs, initial=done, unit="epoch", file=sys.stderr, disable=None) as bar:
        def on_batch(done, total):
            bar.set_description(f"batch {done}/{total}")
        for row in training.train(recipe, data, folder, resume=args.resume, minutes=args.minutes, on_batch=on_batch, watch=args.health):
            bar.update()
            unit = data.variance if recipe.loss == "mse" else 1.0
            bar.set_postfix(train=f"{row['train_loss'] / unit:.4f}", valid=f"{row['valid_loss'] / unit:.4f}")
    run = runs.open_run(folder)
    if recipe.loss == "world":
        calibration.calibrate(run, data)
    result = run.result()
    print(f"best epoch {result['best_epoch']} of {result['epochs']}: valid loss {result['valid_loss']:.5g}, test loss {result['test_loss']:.5g}")
    for split in ("valid", "test"):
        print(f"squared error / variance on {split}: {result[f'{split}_error_over_variance']:.4f}; without learning: "
              + ", ".join(f"{k} {v:.4f}" for k, v in result[f"{split}_baselines"].items()))
    print(folder)


def _dataset(args, recipe, folder, dataset, runs, singer):
    """The dataset to train on: the run's own, a prepared folder, or made from a recording."""
    if args.resume and not args.data:
        return dataset.load(runs.open_run(folder).dataset_folder)
    source = Path(args.data) if args.data else singer.built_in(seconds=singer.LONG_SECONDS if recipe.loss == "world" else singer.SECONDS)
    if source.is_dir():
        return dataset.load(source)
    if not args.resume:
        runs.check_free(folder)  # before the recording is prepared into it
    return dataset.prepare(source, recipe, folder / "dataset")


def generate(args):
    """Let a run sing into a file."""
    from tqdm import tqdm

    from . import audio, dataset, generation, runs
    run = runs.open_run(args.run)
    recipe = run.recipe
    audio.check_place(args.out)
    if recipe.loss == "mse" and args.temperature != 1:
        raise ValueError(f"temperature={args.temperature:g} has no effect on a run with loss='mse', which draws nothing; leave it out")
    data = None
    if args.primer in dataset.SPLITS:
        data = dataset.load(run.dataset_folder)
        run.check_data(data)
    primer = generation.primer_frames(run, data, args.primer, args.primer_frames or recipe.n_steps)
    with tqdm(total=generation.length(recipe, args.seconds)[1], unit="frame", file=sys.stderr, disable=None) as bar:
        pieces = generation.generate_pieces(run, args.seconds, primer, args.temperature, args.seed, lambda done: bar.update(done - bar.n))
        with audio.writer(args.out, recipe.sample_rate) as out:
            for piece in pieces:
                out.write(piece)
    print(f"{args.out}: {out.n_samples / recipe.sample_rate:g} s of new audio after {len(primer)} primer frames from {args.primer}")


def evaluate(args):
    """Generate from a run and measure what it has become, beside the voice it learned from."""
    import json

    from tqdm import tqdm

    from . import audio, dataset, drift, generation, runs
    if args.out is not None:
        audio.check_place(args.out)
    run = runs.open_run(args.run)
    data = dataset.load(run.dataset_folder)
    run.check_data(data)
    with tqdm(total=generation.length(run.recipe, args.seconds)[1], unit="frame", file=sys.stderr, disable=None) as bar:
        result, y = drift.evaluate_run(run, data, args.seconds, args.seed, args.temperature, lambda done: bar.update(done - bar.n))
    if args.out is not None:
        audio.write(args.out, y, run.recipe.sample_rate)
    if args.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, list):
            value = " ".join(f"{v:.3g}" for v in value)
        elif isinstance(value, dict):
            value = ", ".join(f"{k} {v:.4g}" for k, v in value.items())
        print(f"{name:<26}{value}")


def sweep(args):
    """Run a grid or a random search over recipe fields, or go on with it; one table and one figure come of it."""
    from tqdm import tqdm

    from . import sweep as sweeps, sweep_report
    with tqdm(unit="epoch", file=sys.stderr, disable=None) as bar:
        def on_change(ended, done, total):
            bar.total = total
            bar.set_postfix(runs_ended=len(ended))
            bar.update(done - bar.n)
        rows, folder, skipped = sweeps.run(args.sweep, args.out, args.data, args.workers, args.scheduler, on_change)
    print(sweep_report.summary(rows))
    if skipped:
        print(f"left out, as they contradict themselves: {len(skipped)}; the first: {skipped[0]}")
    print(f"{folder / 'table.csv'}\n{folder / 'figure.png'}")
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        raise ValueError(f"{len(failed)} of {len(rows)} runs failed, the first: {failed[0]['reason']}; start the sweep again to try them again")


def bench(args):
    """Time training, compiling, generating and preparing on this machine, beside what it could do at best."""
    from . import bench as benchmarks
    print(benchmarks.main(args))


def _with_settings(recipe, settings):
    """A recipe changed by --set field=value."""
    from .recipes import parse_setting
    return recipe.replace(**dict(parse_setting(s) for s in settings or ()))


def parser():
    """The command line as an argparse parser."""
    top = _Parser(prog="python -m vocalsynth_utils", description="Generating vocals with a recurrent network.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(function, *positional, **extra):
        p = commands.add_parser(function.__name__, help=function.__doc__.splitlines()[0], description=function.__doc__.splitlines()[0])
        for name, text in positional:
            p.add_argument(name.lower(), metavar=name, help=text, type=str if name == "RECIPE" else _path)
        p.set_defaults(function=function)
        return p

    def drawing(p):
        p.add_argument("--temperature", type=_positive, default=1.0, help="below 1 duller, above 1 wilder (default 1)")
        p.add_argument("--seed", type=_whole, default=0, help="of what is drawn (default 0)")

    setting = dict(action="append", metavar="FIELD=VALUE", help="change one field of the recipe; may be given again")
    command(recipes)
    p = command(voice, ("OUT", "the WAV file to write"))
    p.add_argument("--seconds", type=_positive, default=300.0, help="length (default 300)")
    p.add_argument("--seed", type=_whole, default=0, help="another seed, another song (default 0)")
    p = command(prepare, ("RECIPE", "a name from `recipes`"), ("RECORDING", "WAV, FLAC, OGG or MP3"), ("OUT_DIR", "the dataset's folder"))
    p.add_argument("--set", **setting)
    p = command(train, ("RECIPE", "a name from `recipes`"))
    p.add_argument("--data", type=_path, metavar="RECORDING_OR_DIR", help="a recording or a prepared dataset (default: the built-in voice, 300 s of it, or 1500 s for world-mdn)")
    p.add_argument("--run", type=_path, metavar="DIR", help="the run's folder (default runs/RECIPE)")
    p.add_argument("--epochs", type=_whole, help="train up to this many epochs")
    p.add_argument("--minutes", type=_positive, help="stop after the epoch in which this time is over")
    p.add_argument("--resume", action="store_true", help="go on from the run's last epoch")
    p.add_argument("--health", action="store_true", help="log gradient norm, epsilon, clipping and saturated gates of each epoch too")
    p.add_argument("--set", **setting)
    p = command(generate, ("RUN", "a run's folder"), ("OUT", "the WAV file to write"))
    p.add_argument("--seconds", type=_positive, required=True, help="length of the new audio")
    p.add_argument("--primer", type=_path, default="valid", metavar="train|valid|test|FILE|none", help="what the network hears first (default valid)")
    p.add_argument("--primer-frames", type=_whole, help="length of the primer (default: one training sequence)")
    drawing(p)
    p = command(evaluate, ("RUN", "a run's folder"))
    p.add_argument("--seconds", type=_positive, default=600.0, help="how much to generate (default 600)")
    p.add_argument("--out", type=_path, metavar="FILE", help="keep the generated audio in this WAV file")
    p.add_argument("--json", action="store_true", help="print one line of JSON")
    drawing(p)
    p = command(sweep, ("SWEEP", "a TOML file; data/sweeps holds examples"))
    p.add_argument("--out", type=_path, metavar="DIR", help="the sweep's folder (default runs/sweeps/NAME)")
    p.add_argument("--data", type=_path, metavar="RECORDING_OR_DIR", help="a recording or a prepared dataset, instead of the file's own")
    p.add_argument("--workers", type=_at_least_one, help="runs at once (default: the file's, or one for each core)")
    p.add_argument("--scheduler", metavar="ADDRESS", help="run on the Dask cluster of this scheduler, as in tcp://host:8786")
    from .bench import add_arguments
    add_arguments(command(bench))
    return top


def _remedy(error, command):
    """What to do about an error of the operating system's."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; choose a place that is yours"
    if number not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ""
    return "; make room" + ("; what was trained up to the last whole epoch is kept, --resume goes on from there" if command == "train" else "")


def main(argv=None):
    """Run one command; returns the exit status."""
    for polite in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs are started deaf to it
        signal.signal(polite, signal.default_int_handler)
    args = parser().parse_args(argv)

    def say(text):
        _say(f"vocalsynth_utils {args.command}: {text}")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")  # in one line, without our source
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
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return main(argv)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(program())
