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

from vocalsynth_utils import calibration, dataset, descriptors, drift, generation, metrics, phrasing, runs, stepping

SECONDS = 3600
WAYS = "frames", "phrasing"


def hour(run, data, way):
    """An hour of new audio, float32 (n_samples,)."""
    recipe, calibrated = run.recipe, calibration.load(run)
    network = calibration.more_voiced(stepping.load_network(run), calibrated.voicing)
    primer = generation.primer_frames(run, data, "valid", drift.PRIMER_FRAMES)
    bounds = calibrated.bounds if way == "phrasing" else None
    blocks = generation.frame_blocks(network, primer, generation.length(recipe, SECONDS)[1], seed=recipe.seed, bounds=stepping.bounds(run),
                                     phrasing=phrasing.of(run, bounds))
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
            references[name] = drift.reference(data.signal("train"), data.signal("test"), sr, drift.codec_of(run.recipe))
        ref = references[name]
        held = data.signal("test")
        heard, codec = drift.timbre(ref, held), drift.timbre(ref, drift.codec_of(run.recipe)(held))
        for way in WAYS:
            y = hour(run, data, way)
            windows = descriptors.windows(y / np.float32(ref.std), sr)
            inside, sung = metrics.within(ref.bounds, windows), drift.timbre(ref, y)
            rows.append({"recording": name, "seed": run.recipe.seed, "kept": way, "seconds": SECONDS, "fd_codec": metrics.frechet(heard, codec),
                         "fd": metrics.frechet(heard, sung), "fd_per_120s": metrics.frechet_parts(heard, sung),
                         "survival_s": metrics.survival(inside, SECONDS), "ok": float(inside.mean()),
                         "ok_real": float(metrics.within(ref.bounds, ref.heldout.windows).mean()),
                         "longest_outside_s": (descriptors.WINDOW_HOP * (longest(~inside) - 1) + descriptors.WINDOW_SECONDS) * bool((~inside).any())})
            print(rows[-1], file=sys.stderr)
    json.dump({"command": "python data/measured/hours.py " + " ".join(Path(f).name for f in folders), "hours": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
