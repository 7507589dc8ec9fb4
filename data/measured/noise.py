"""What noise the frames of two levels are drawn with, and what ears say of it: 100 s of one seed, by a validation part.

    python data/measured/noise.py RUN > data/measured/noise.json

Needs the extra [ears] (`make EARS=1`).
"""

import json
import sys

import numpy as np

from vocalsynth_utils import evaluation, generation, pipeline, runs, world_mdn
from vocalsynth_utils.evaluation import descriptors, ears

SECONDS = 100
DRAWN = {
    "each number alone": (0.5, 0.7),
    "persisting as the errors do": (0.5, 0.7),
    "and correlated in frequency as they are": (0.5, 0.7, 1.0),
    "with their covariance": (0.5, 0.6, 0.7),
}
KEPT = ("two_sample", "unit_perplexity", "repeated_units", "modulation", "fd", "survival_s")


def patterns(errors):
    """What `world_mdn` draws by, for each name in DRAWN, of a run's own errors (2, n, n)."""
    spread = np.sqrt(np.diag(errors[0]))
    correlation = errors / np.outer(spread, spread)
    persisting = np.stack([np.eye(len(spread)), np.diag(np.diag(correlation[1]))])
    return dict(zip(DRAWN, (None, persisting, correlation, errors)))


def measured(y, reference, sr):
    """What is told of a sound."""
    flux = descriptors.windows((y / reference.std).astype(np.float32), sr)[:, descriptors.STATISTICS.index("flux")]
    dnsmos, p808 = ears.opinion(y)
    found = evaluation.evaluate(reference, y)
    return {"dnsmos": dnsmos, "p808": p808, "flux": float(flux.mean()), **{key: found[key] for key in KEPT}}


def main(run):
    data, recipe, network = pipeline.own_dataset(run), run.recipe, generation.load_network(run)
    sr, held, codec = recipe.sample_rate, data.signal("valid"), evaluation.codec_of(recipe)
    reference, primer = evaluation.reference(data.signal("train"), held, sr, codec), pipeline.primer(run, "valid", 200)
    rows = [{"noise": "the codec", "temperature": None, **measured(codec(held), reference, sr)}]
    voicing, pitch, _ = network.head.temperatures
    for name, errors in patterns(run.errors()).items():
        for temperature in DRAWN[name]:
            network.head.temperatures = voicing, pitch, temperature
            hooks = world_mdn.hooks(run, network)
            hooks["sampler"].keywords["errors"] = errors
            y = generation.generate(run, SECONDS, primer, **hooks)
            rows.append({"noise": name, "temperature": temperature, **measured(y, reference, sr)})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    json.dump({"command": "python data/measured/noise.py RUN", "voice": "fr", "rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main(runs.open_run(sys.argv[1]))
