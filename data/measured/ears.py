"""What ears that took no part say of runs' voices: 120 s from the first and the last of 600 s, beside the test part.

    python data/measured/ears.py VOICE=RUN ... > data/measured/ears.json

Each run generates with the temperatures and seeds below.  Needs the extra [ears] (`make EARS=1`).
"""

import json
import sys

import numpy as np

from vocalsynth_utils import evaluation, pipeline, runs
from vocalsynth_utils.evaluation import ears

SECONDS, STRETCH = 600, 120
DRAWN = {"one level": [(1.0, 0), (0.6, 0)], "two levels": [(1.0, 0), (1.0, 1), (1.0, 2)]}
KEPT = ("unit_perplexity", "repeated_units", "modulation", "two_sample")
ALSO = ("survival_s", "ok", "fd", "f0_roughness_ratio", "voiced_share", "novelty_min")


def measured(voice, run):
    """Rows of one run: of its voice, of the codec, of snippets in another order, and of what it generates."""
    data, sr = pipeline.own_dataset(run), run.recipe.sample_rate
    train, held, codec = data.signal("train"), data.signal("test"), evaluation.codec_of(run.recipe)
    what = "two levels" if run.recipe.has_text else "one level"
    reference, primer, others = pipeline.reference(run, data), pipeline.primer(run, "valid", 200), None
    for temperature, seed in DRAWN[what]:
        y = pipeline.generate(run, SECONDS, primer, temperature, seed)
        ends = np.concatenate([y[: STRETCH * sr], y[-STRETCH * sr :]])
        found = evaluation.evaluate(reference, y)
        found |= evaluation.ceilings(reference, held) | ears.listen(train, held, ends, sr, codec)
        if others is None:
            for name, ending in {"voice": "real", "codec": "codec", "shuffled": "shuffled"}.items():
                others = {key: found[f"{key}_{ending}"] for key in (*ears.EARS, *KEPT)}
                yield {"voice": voice, "what": name, "temperature": None, "seed": None, "part": "test", **others}
        drawn = {"voice": voice, "what": what, "temperature": temperature, "seed": seed, "part": "test"}
        drawn |= {key: found[key] for key in (*ears.EARS, *KEPT, *ALSO)}
        drawn |= {f"{key}_real": found[f"{key}_real"] for key in ("ok", "voiced_share")}
        yield drawn | {"fd_codec": found["fd_codec"], "novelty_heldout": found["novelty_heldout"]}


def main(named):
    rows = []
    for name, _, folder in (text.partition("=") for text in named):
        for row in measured(name, runs.open_run(folder)):
            known = [(r["voice"], r["what"]) for r in rows if r["seed"] is None]
            if (row["voice"], row["what"]) not in known:  # two runs of one voice
                print(json.dumps(row), file=sys.stderr, flush=True)
                rows.append(row)
    names = " ".join(text.partition("=")[0] + "=RUN" for text in named)
    json.dump({"command": f"python data/measured/ears.py {names}", "rows": rows}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(sys.argv[1:])
