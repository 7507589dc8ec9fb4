"""Whether what is generated keeps a recording's share of voice, its pitch and its level: 120 s of five seeds.

    python data/measured/any_voice.py VOICE=RUN ... > data/measured/any_voice.json

Pitch by DIO, which takes no part in training or generation, beside the recording's training part, hum taken out.
"""

import numpy as np
from noise import tell

from vocalsynth_utils import pipeline
from vocalsynth_utils.features import world

SECONDS, SEEDS, REFERENCE_SECONDS = 120, range(5), 240


def rows(voice, run):
    """A row for each seed: differences from the recording, in shares, semitones and dB; and the largest sample."""
    data, sr = pipeline.own_dataset(run), run.recipe.sample_rate
    real = world.without_hum(np.asarray(data.signal("train"), np.float64)[: REFERENCE_SECONDS * sr], sr)
    primer, theirs = pipeline.primer(run, "valid", min(200, data.n_frames("valid"))), world.dio(real, sr)
    middle = lambda f0: np.median(f0[f0 > 0])
    for seed in SEEDS:
        y = pipeline.generate(run, SECONDS, primer, seed=seed)
        f0 = world.dio(y, sr)
        found = {"voiced share": np.mean(f0 > 0) - np.mean(theirs > 0)}
        found["pitch"] = 12 * np.log2(middle(f0) / middle(theirs))
        found |= {"level": 20 * np.log10(np.std(y) / np.std(real)), "largest": np.abs(y).max()}
        said = {key: round(float(value), 3) for key, value in found.items()}
        yield {"voice": voice, "recipe": run.recipe.name, "seed": seed, **said}


if __name__ == "__main__":
    tell("any_voice.py", rows)
