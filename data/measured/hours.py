"""What becomes of an hour, with frames alone kept within the voice, and with its phrasing: bounds on longer spans, and rests at which all is forgotten.

    python data/measured/hours.py RUN RUN ... > data/measured/hours.json

Each run, of world-mdn, sings 3600 s twice from the same seed, its own,
and is measured beside the recording it was trained on.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np

from vocalsynth_utils import dataset, evaluation, generation, pipeline, runs, world_mdn
from vocalsynth_utils.evaluation import descriptors, measures
from vocalsynth_utils.world_mdn import calibration, rejection

SECONDS = 3600
WAYS = "frames", "phrasing"


def hour(run, data, way):
    """An hour of new audio, float32 (n_samples,)."""
    recipe, calibrated = run.recipe, world_mdn.load_calibration(run)
    network = calibration.shift_voicing(generation.load_network(run), calibrated.voicing)
    primer = generation.primer_frames(run, data, "valid", pipeline.PRIMER_FRAMES)
    bounds = calibrated.bounds if way == "phrasing" else None
    blocks = generation.frame_blocks(
        network,
        primer,
        generation.length(recipe, SECONDS)[1],
        seed=recipe.seed,
        bounds=generation.limits_of(run),
        phrasing=rejection.rejection_for(run, bounds),
    )
    return generation.to_sound(np.concatenate(list(blocks)), recipe, run.scaling, calibrated.postfilter)


def longest(outside):
    """Length of the longest run of true values."""
    return max((len(list(group)) for value, group in itertools.groupby(outside) if value), default=0)


def main(folders):
    references, rows = {}, []
    for folder in folders:
        run = runs.open_run(folder)
        data, sr = dataset.load(run.dataset_folder), run.recipe.sample_rate
        name = data.source["name"]
        if name not in references:
            references[name] = evaluation.reference(
                data.signal("train"), data.signal("test"), sr, evaluation.codec_of(run.recipe)
            )
        ref = references[name]
        held = data.signal("test")
        heard, codec = (
            evaluation.standard_timbre(ref, held),
            evaluation.standard_timbre(ref, evaluation.codec_of(run.recipe)(held)),
        )
        for way in WAYS:
            y = hour(run, data, way)
            windows = descriptors.windows(y / np.float32(ref.std), sr)
            inside, sung = measures.within(ref.region, windows), evaluation.standard_timbre(ref, y)
            rows.append(
                {
                    "recording": name,
                    "seed": run.recipe.seed,
                    "kept": way,
                    "seconds": SECONDS,
                    "fd_codec": measures.frechet(heard, codec),
                    "fd": measures.frechet(heard, sung),
                    "fd_per_120s": measures.frechet_parts(heard, sung),
                    "survival_s": measures.survival(inside, SECONDS),
                    "ok": float(inside.mean()),
                    "ok_real": ref.figures["ok_real"],
                    "longest_outside_s": (descriptors.WINDOW_HOP * (longest(~inside) - 1) + descriptors.WINDOW_SECONDS)
                    * bool((~inside).any()),
                }
            )
            print(rows[-1], file=sys.stderr)
    json.dump(
        {"command": "python data/measured/hours.py " + " ".join(Path(f).name for f in folders), "hours": rows},
        sys.stdout,
        indent=1,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
