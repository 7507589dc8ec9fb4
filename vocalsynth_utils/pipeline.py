"""Whole recipes trained, generated from and evaluated: the one way, for the command line, notebooks and sweeps alike.

A lesson may walk through the steps that these call: `dataset`, `training`, `generation` and `evaluation`.
"""

import contextlib
import time
from pathlib import Path

import numpy as np

from . import dataset as datasets
from . import evaluation, features, generation, runs, synthetic, world_mdn
from .gpu import train

__all__ = ["default_primer", "evaluate", "generate", "generate_pieces", "own_dataset", "prepare", "primer"]
__all__ += ["reference", "train"]
PRIMER_FRAMES = 200  # heard before free running, where a run is evaluated
EVALUATED_SECONDS = 120.0  # generated and measured: a minute's work, and what the longest measure needs
REFERENCE = "reference.npz"  # beside a dataset: its voice, described


def prepare(recipe, recording=None, folder=None, resume=False, on_stage=None):
    """The dataset a run in `folder` is to be trained on.

    Parameters
    ----------
    recipe : Recipe
    recording : path, optional
        Or the folder of a prepared dataset; by default the built-in voice, five minutes or what the recipe needs.
    folder : path
        The run's; a recording is prepared into its ``dataset`` folder, from
        an equal dataset of a run beside it where there is one.
    resume : bool
        The run is there already: without `recording` its own dataset is taken.
    on_stage : callable, optional
        See `dataset.prepare`.
    """
    folder = Path(folder)
    if resume and not recording:
        return datasets.load(runs.open_run(folder).dataset_folder)
    if not recording:
        features.counting(on_stage, "singing the built-in voice", None)
        recording = synthetic.built_in(seconds=synthetic.LONG_SECONDS if recipe.has_world_heads else synthetic.SECONDS)
    if Path(recording).is_dir():
        return datasets.load(recording)
    if not resume:
        runs.check_free(folder)  # before the recording is prepared into it
    beside = sorted(folder.absolute().parent.glob("*/dataset"))
    return datasets.prepare(recording, recipe, folder / "dataset", beside, on_stage)


def own_dataset(run):
    """The dataset a run was trained on, or ValueError where another stands in its place, or none."""
    if not run.dataset_folder.exists():
        again = f"vocalsynth prepare {run.recipe.name} RECORDING {run.dataset_folder}"
        raise ValueError(f"the run in {run.folder} is here without its dataset; from its recording, {again} makes it")
    dataset = datasets.load(run.dataset_folder)
    run.check_data(dataset)
    return dataset


def default_primer(run):
    """Where a run's primer is taken from: its dataset's valid part, or nowhere ("none") where that is not there."""
    return "valid" if run.dataset_folder.is_dir() else "none"


def primer(run, source=None, n_frames=None):
    """Frames to prime a run with: `generation.primer_frames`, from its own dataset where `source` is a part of that."""
    source = source or default_primer(run)
    if source in datasets.SPLITS and not run.dataset_folder.is_dir():
        what = f"primer={source!r} is a part of the dataset, which is not at {run.dataset_folder}"
        raise ValueError(f"{what}; a primer of 'none' or a recording needs none")
    dataset = own_dataset(run) if source in datasets.SPLITS else None
    return generation.primer_frames(run, dataset, source, n_frames or run.recipe.n_steps)


def generate_pieces(run, seconds, frames, temperature=1.0, seed=0, on_frame=None, checkpoint="best", text=None):
    """As `generate`, a piece at a time."""
    network = generation.load_network(run, checkpoint)
    hooks = world_mdn.hooks(run, network, text)
    return generation.generate_pieces(run, seconds, frames, temperature, seed, on_frame=on_frame, **hooks)


def generate(run, seconds, frames, *args, **options):
    """New audio from a run, with all that its recipe has to make it a voice.

    Parameters
    ----------
    run : runs.Run
    seconds : float
    frames : float32 array of shape (n_primer, n_features)
        What it hears first, from `primer`.
    temperature, seed, on_frame
        See `generation.generate`, which says what is returned.
    checkpoint : {"best", "last"}
    text : units.Text, optional
        To be said by a run of two levels, at least so many seconds of it.
    """
    return np.concatenate(list(generate_pieces(run, seconds, frames, *args, **options)))


def reference(run, dataset, on_stage=None):
    """The voice of a dataset as an `evaluation.Reference`, described once for all evaluations and kept beside it."""
    path = dataset.folder / REFERENCE
    with contextlib.suppress(OSError, ValueError):  # none yet, of another version, or of no voice
        described = evaluation.load_reference(path)
        if described.sr == run.recipe.sample_rate:
            return described
    voice, recipe = (dataset.signal("train"), dataset.signal("test")), run.recipe
    described = evaluation.reference(*voice, recipe.sample_rate, evaluation.codec_of(recipe), on_stage=on_stage)
    with contextlib.suppress(OSError):  # a dataset that is not ours to write to
        evaluation.save_reference(path, described)
    return described


def evaluate(run, dataset=None, seconds=EVALUATED_SECONDS, seed=0, temperature=1.0, on_stage=None, ears=False):
    """Generate from a run and measure everything, beside what its training knows of its losses.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset, optional
        What it was trained on: its train part is the voice, its test part the held-out voice, valid the primer.
    seconds : float
    seed, temperature
        See `generation.generate`.
    on_stage : callable, optional
        See `dataset.prepare`.
    ears : bool
        Add what `evaluation.ears` hears, which takes minutes.

    Returns
    -------
    result : dict
        As `evaluation.evaluate`, with ``generation_x_real_time`` and what result.json says.
    generated : float32 array of shape (n_samples,)
    """
    if ears:
        evaluation.ears.check()  # before anything that takes its time
    dataset = dataset or own_dataset(run)
    recipe, started = run.recipe, time.monotonic()
    on_stage = on_stage or (lambda *_: None)
    on_stage("compiling the network")
    frames = generation.primer_frames(run, dataset, "valid", min(PRIMER_FRAMES, dataset.n_frames("valid")))
    n_frames = generation.length(recipe, seconds)[1]
    on_frame = lambda done: on_stage("generating", done, n_frames)
    generated = generate(run, seconds, frames, temperature, seed, on_frame)
    speed = seconds / (time.monotonic() - started)
    voice = reference(run, dataset, on_stage)
    on_stage("measuring")
    result = evaluation.evaluate(voice, generated, recipe.frame_length if recipe.is_raw else None)
    train, test = dataset.signal("train"), dataset.signal("test")
    result |= evaluation.ceilings(voice, test)
    if ears:
        on_stage("listening with the ears that others made")
        result |= evaluation.ears.listen(train, test, generated, recipe.sample_rate, evaluation.codec_of(recipe))
    result["generation_x_real_time"] = speed
    return {**result, **{k: v for k, v in (run.result() or {}).items() if k not in result}}, generated
