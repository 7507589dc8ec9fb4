"""What becomes of an hour: with limits on frames alone, and with rejection sampling and the state reset at pauses.

    python data/measured/hours.py RUN RUN ... > data/measured/hours.json

Each run, of world-mdn, generates 3600 s twice from the same seed, its own,
and is measured beside the recording it was trained on.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np

from vocalsynth_utils import dataset, evaluation, pipeline, runs
from vocalsynth_utils.evaluation import descriptors, measures

SECONDS = 3600
WAYS = {"frames": False, "rejection": True}


def longest(outside):
    """Length of the longest run of true values."""
    return max((len(list(group)) for value, group in itertools.groupby(outside) if value), default=0)


def measured(voice, heldout, codec, y):
    """The measures of an hour's audio (n_samples,) beside those of a voice."""
    inside = measures.within(voice.region, descriptors.windows(y / np.float32(voice.std), voice.sr))
    generated = evaluation.standard_timbre(voice, y)
    outside = descriptors.WINDOW_HOP * (longest(~inside) - 1) + descriptors.WINDOW_SECONDS
    return {
        "seconds": SECONDS,
        "fd_codec": measures.frechet(heldout, codec),
        "fd": measures.frechet(heldout, generated),
        "fd_per_120s": measures.frechet_parts(heldout, generated),
        "survival_s": measures.survival(inside, SECONDS),
        "ok": float(inside.mean()),
        "ok_real": voice.figures["ok_real"],
        "longest_outside_s": outside * bool((~inside).any()),
    }


def main(folders):
    rows = []
    for folder in folders:
        run = runs.open_run(folder)
        data, seed = dataset.load(run.dataset_folder), run.recipe.seed
        voice, held = pipeline.reference(run, data), data.signal("test")
        through = evaluation.codec_of(run.recipe)(held)
        clouds = [evaluation.standard_timbre(voice, y) for y in (held, through)]
        primer = pipeline.primer(run, "valid", pipeline.PRIMER_FRAMES)
        for way, reject in WAYS.items():
            y = pipeline.generate(run, SECONDS, primer, seed=seed, reject=reject)
            row = {"recording": data.source["name"], "seed": seed, "kept": way, **measured(voice, *clouds, y)}
            print(row, file=sys.stderr)
            rows.append(row)
    command = "python data/measured/hours.py " + " ".join(Path(f).name for f in folders)
    json.dump({"command": command, "hours": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
