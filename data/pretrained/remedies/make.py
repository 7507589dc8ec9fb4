"""Train every failure and remedy on the built-in voice with three seeds, let each run free, and measure it.

    python data/pretrained/remedies/make.py [SCRATCH_FOLDER]

Writes results.csv, one row for each run, and four seconds of each one's sound
at seed 0 beside it.  Runs that stand in the scratch folder are not trained again.
"""

import csv
import re
import shutil
import sys
import time
import warnings
from pathlib import Path

from vocalsynth_utils import audio, dataset, evaluation, generation, pipeline, runs, synthetic, training
from vocalsynth_utils.recipes import get

HERE = Path(__file__).parent
SEEDS, SECONDS, CLIP_SECONDS = (0, 1, 2), 30.0, 4
REMEDIES = {
    "none": {},
    "input noise 0.3": dict(input_noise=0.3),
    "dropout 0.3": dict(input_dropout=0.3),
    "scheduled sampling to 0.3": dict(p_teacher=0.3),
    "free-running loss, 10 steps": dict(free_steps=10),
    "checkpoint by free running": dict(best_by="free_run"),
    "truncated to 10 steps": dict(gradient_steps=10),
}
EXPERIMENTS = (
    [("raw 200, squared error", remedy, "frames-200", changes) for remedy, changes in REMEDIES.items()]
    + [("raw 2000, squared error", "none", "frames-200", dict(frame_length=2000, n_steps=20))]
    + [("WORLD, squared error", remedy, "world-mse", changes) for remedy, changes in REMEDIES.items()]
    + [
        ("raw 200, Gaussian", "none", "frames-200-gaussian", {}),
        ("WORLD, residual mixture", "none", "world-residual", {}),
        ("WORLD, absolute mixture", "none", "world-absolute", {}),
        ("one sample", "none", "samples", {}),
    ]
)


def slug(*words):
    """A file name of several words."""
    return re.sub("[^a-z0-9.]+", "-", " ".join(words).lower())


def prepared(recipe, recordings, scratch):
    """The dataset of a recipe, made once; one sample a step hears one minute, as in 2016."""
    folder = scratch / slug("data", recipe.features, str(recipe.frame_length))
    recording = recordings[60 if recipe.frame_length == 1 else 300]
    return dataset.load(folder) if folder.exists() else dataset.prepare(recording, recipe, folder)


def trained(recipe, data, folder):
    """A finished run, and the processor seconds its training took."""
    taken = folder / "cpu_seconds"
    if not taken.exists():
        shutil.rmtree(folder, ignore_errors=True)
        started = time.process_time()
        for _ in training.train(recipe, data, folder):
            pass
        taken.write_text(f"{time.process_time() - started:.1f}")
    return runs.open_run(folder), float(taken.read_text())


def measured(run, data, ref, seed, seconds):
    """The row of one run, and its sound."""
    primer = generation.primer_frames(run, data, "valid", min(pipeline.PRIMER_FRAMES, data.n_frames("valid")))
    y = generation.generate(run, seconds, primer, seed=seed)
    result = evaluation.evaluate(ref, y)
    row = {name: round(result[name], 4) for name in ("seconds", "survival_s", "ok", "fd", "fd_floor", "repetition")}
    row.update({f"outside_{name}": round(share, 4) for name, share in result["outside"].items()})
    row.update(valid_error=round(run.result()["valid_error_over_variance"], 4), best_epoch=run.result()["best_epoch"])
    return row, y


def main(scratch):
    """All experiments, the seeds outermost, so that a part of the table is one seed's whole."""
    warnings.simplefilter("ignore", UserWarning)  # of what has blown up, and of silence: the table says so
    recordings = {seconds: synthetic.built_in(scratch / f"voice-{seconds}.wav", seconds) for seconds in (60, 300)}
    references, rows = {}, []
    for seed in SEEDS:
        for frames, remedy, name, changes in EXPERIMENTS:
            recipe = get(name).replace(seed=seed, **changes)
            data = prepared(recipe, recordings, scratch)
            if recipe.features not in references:
                y = dataset.load(scratch / slug("data", recipe.features, str(recipe.frame_length)))
                references[recipe.features] = evaluation.reference(
                    y.signal("train"), y.signal("test"), recipe.sample_rate, evaluation.codec_of(recipe)
                )
            run, cpu = trained(recipe, data, scratch / slug(frames, remedy, str(seed)))
            row, y = measured(
                run, data, references[recipe.features], seed, 4.0 if recipe.frame_length == 1 else SECONDS
            )
            rows.append({"frames": frames, "remedy": remedy, "seed": seed, **row, "training_cpu_s": cpu})
            print(rows[-1], flush=True)
            if seed == 0:
                (HERE / f"{slug(frames, remedy)}.mp3").write_bytes(
                    audio.to_mp3(y[: CLIP_SECONDS * recipe.sample_rate], recipe.sample_rate)
                )
            with open(HERE / "results.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/remedies")
    folder.mkdir(parents=True, exist_ok=True)
    main(folder)
