"""The command line, ``vocalsynth COMMAND``, as functions of parsed arguments; notebooks call what these call."""

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

from . import gpu, terminal
from . import recipes as named

PAGE = "evaluation.html"  # in a run's folder


def recipes(args):
    """List what can be trained, or one recipe in full."""
    if args.recipe:
        return print(named.described(args.recipe))
    from . import model

    print(named.listing(model.expected_parameters, args.all))


def voice(args):
    """Write the built-in singer to a file."""
    from . import features, synthetic

    with terminal.Stages() as stages:
        more = features.counting(stages, "singing", round(args.seconds * synthetic.SAMPLE_RATE))
        synthetic.write_voice(args.out, args.seconds, seed=args.seed, progress=more)
    print(f"{args.out}: {args.seconds:g} s at {synthetic.SAMPLE_RATE} Hz")


def prepare(args):
    """Make a dataset from a recording."""
    recipe = _recipe(args)
    from . import dataset

    with terminal.Stages() as stages:
        data = dataset.prepare(args.recording, recipe, args.out_dir, on_stage=stages)
    for split in dataset.SPLITS:
        print(f"{split:<6}{data.seconds(split):>10.2f} s")
    print(f"variance of the scaled train part: {data.variance:.6g}\n{args.out_dir}")


def train(args):
    """Train a voice, or go on training a run."""
    folder = _folder(args)
    started = args.resume and (folder / "recipe.json").exists()
    from . import runs

    recipe = _recipe(args, runs.open_run(folder).recipe if started else None)
    if recipe.name != args.recipe:
        raise ValueError(f"the run in {folder} is of recipe {recipe.name!r}, not {args.recipe!r}; name its own recipe")
    if args.epochs is not None:
        recipe = recipe.replace(n_epochs=args.epochs)
    more = ""
    if started and runs.open_run(folder).has_finished(recipe):
        print(terminal.nothing_left(folder, len(runs.open_run(folder).log())))
    else:
        data = _train(args, recipe, folder)
        more = terminal.more_voice(len(data.samples) / recipe.sample_rate) if args.data else ""
    run = runs.open_run(folder)
    if run.result():
        print(terminal.trained(run, run.result()), *filter(None, [more]), sep="\n")


def _train(args, recipe, folder):
    """The training itself, with its stages; the dataset."""
    with terminal.Stages() as stages:
        stages("starting")
        from . import diagnostics, pipeline, runs

        engine = gpu.chosen(args.engine, args.device, args.tf32)
        diagnostics.check_memory(recipe, aloud=False)  # before a recording is prepared
        data = pipeline.prepare(recipe, args.data, folder, args.resume, on_stage=stages)
        print(f"{diagnostics.describe_memory(recipe, data.n_features)}; by {engine or gpu.THEANO}")
        unit = recipe.loss_unit(data.variance)
        rows = runs.open_run(folder).log() if args.resume else []

        def on_batch(done, total):
            note = f"epoch {len(rows) + 1}" + (f", valid {rows[-1]['valid_loss'] / unit:.4f}" if rows else "")
            stages("training", len(rows) * total + done, recipe.n_epochs * total, note)

        options = {"minutes": args.minutes, "diagnose": args.diagnostics, "on_stage": stages, "engine": engine}
        for row in pipeline.train(recipe, data, folder, args.resume, on_batch=on_batch, **options):
            rows.append(row)
    return data


def generate(args):
    """Generate new audio from a run into a file."""
    run, started = _run(args.run), time.monotonic()
    from . import audio

    audio.check_place(args.out)
    if not run.recipe.draws and args.temperature != 1:
        what = f"temperature={args.temperature:g} has no effect on a run with loss='mse', which draws nothing"
        raise ValueError(f"{what}; leave it out")
    with terminal.Stages() as stages:
        stages("loading the network")
        from . import generation, pipeline

        source, total = args.primer or pipeline.default_primer(run), generation.length(run.recipe, args.seconds)[1]
        primer = pipeline.primer(run, source, args.primer_frames)
        on_frame = lambda done: stages("generating", done, total)
        pieces = pipeline.generate_pieces(run, args.seconds, primer, args.temperature, args.seed, on_frame)
        with audio.writer(args.out, run.recipe.sample_rate) as out:
            for piece in pieces:
                out.write(piece)
    if out.n_loud > audio.TRACE * out.n_samples:
        warnings.warn(f"{out.n_loud / out.n_samples:.1%} of the samples were too loud and are limited", stacklevel=2)
    begun = "begun from nothing" if source == "none" else f"after {len(primer)} frames from {source}"
    seconds = out.n_samples / run.recipe.sample_rate
    print(terminal.generated(args.out, seconds, time.monotonic() - started, begun))


def evaluate(args):
    """Say whether what a run generates lives, is near its voice, and is new."""
    run = _run(args.run)
    with terminal.Stages() as stages:
        stages("starting")
        from . import audio, evaluation, pipeline

        if args.out is not None:
            audio.check_place(args.out)
        data = pipeline.own_dataset(run)  # what is wrong with it is said first
        result, y = pipeline.evaluate(run, data, args.seconds, args.seed, args.temperature, stages, args.ears)
        if args.out is not None:
            audio.write(args.out, y, run.recipe.sample_rate)
        if args.json:
            plain = json.loads(json.dumps(result), parse_constant=lambda name: None)  # NaN, which is no JSON
            return print(json.dumps(plain))
        stages("writing a page")
        more, table = terminal.more_voice(len(data.samples) / run.recipe.sample_rate), evaluation.table(result)
        lines, page = [*evaluation.verdict(result, run.recipe), *([more] if more else [])], run.folder / PAGE
        try:
            terminal.write_page(page, f"{run.folder.name}: {run.recipe.name}", lines, data, y, run.recipe, table)
            lines.append(f"To listen and compare: {page}")
        except OSError as error:
            warnings.warn(f"{page}: no page could be written ({error.strerror})", stacklevel=2)
    print("\n".join([*lines, *([f"\n{table}"] if args.all else [])]))


def sweep(args):
    """Run a grid or a random search over recipe fields, or go on with it; one table and one figure come of it."""
    with terminal.Stages() as stages:
        stages("starting")
        from . import sweeps

        on_change = lambda ended, done, total: stages("training", done, total, f"{len(ended)} runs ended")
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
    from . import benchmark

    with terminal.Stages() as stages:
        stages("timing this machine and its peers")
        text = benchmark.main(args)
    print(text)


def _run(name):
    """A run by its folder, or the voice that ships by its name."""
    from . import runs

    package = Path(__file__).parent
    places = package / "pretrained", package.parent / "data" / "pretrained"  # installed; in a checkout
    shipped = [place / name for place in places if name == terminal.SHIPPED and (place / name).exists()]
    return runs.open_run(shipped[0] if shipped and not Path(name).exists() else name)


def _recipe(args, recipe=None):
    """The recipe named, or one given, changed by --set field=value."""
    return (recipe or named.get(args.recipe)).replace(**dict(args.set or ()))


def _folder(args):
    """Where a training's run is to be."""
    return Path(args.run or Path("runs") / args.recipe)


def main(argv=None):
    """Run one command; returns the exit status."""
    for polite in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background jobs are started deaf to it
        signal.signal(polite, signal.default_int_handler)
    argv = sys.argv[1:] if argv is None else argv
    args = terminal.parsed(argv, [recipes, train, generate, evaluate, sweep, prepare, voice, bench])

    def say(text):
        terminal.say(f"vocalsynth {args.command}: {text}")

    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")  # without our source
            args.function(args)
    except (ValueError, OSError, FloatingPointError) as error:
        say(f"{error}{terminal.remedy(error, args.command)}")
        return 2
    except MemoryError as error:
        say(f"out of memory ({error}); use a smaller recipe, n_batch or length")
        return 2
    except KeyboardInterrupt:
        say(terminal.interrupted(args.command, argv, _folder(args) if args.command == "train" else None))
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
