"""Whether what is generated keeps a recording's share of voice, its pitch and its level: 120 s of three seeds.

    python data/measured/any_voice.py VOICE=RUN ... > data/measured/any_voice.json

Pitch by pyworld's DIO and Harvest, which take no part in training or generation, beside the recording's training part.
"""

import numpy as np
import pyworld
from noise import tell

from vocalsynth_utils import pipeline
from vocalsynth_utils.features import F0_CEIL, F0_FLOOR, world

SECONDS, SEEDS, REFERENCE_SECONDS = 120, (0, 1, 2), 240


def harvest(y, sr):
    """Pitch in Hz each 5 ms, 0 where there is none."""
    return pyworld.harvest(np.asarray(y, np.float64), sr, F0_FLOOR, F0_CEIL, frame_period=5.0)[0]


def rows(voice, run):
    """A row for each seed: differences from the recording, in shares, semitones and dB; and the largest sample."""
    data, sr = pipeline.own_dataset(run), run.recipe.sample_rate
    real = world.without_hum(np.asarray(data.signal("train"), np.float64)[: REFERENCE_SECONDS * sr], sr)
    primer = pipeline.primer(run, "valid", min(200, data.n_frames("valid")))
    known = {track: track(real, sr) for track in (world.dio, harvest)}
    middle = lambda f0: np.median(f0[f0 > 0])
    for seed in SEEDS:
        y = pipeline.generate(run, SECONDS, primer, seed=seed)
        found = {"voice": voice, "recipe": run.recipe.name, "seed": seed}
        for track, theirs in known.items():
            f0 = track(y, sr)
            found[f"voiced, {track.__name__}"] = np.mean(f0 > 0) - np.mean(theirs > 0)
            found[f"pitch, {track.__name__}"] = 12 * np.log2(middle(f0) / middle(theirs))
        found |= {"level": 20 * np.log10(np.std(y) / np.std(real)), "largest": np.abs(y).max()}
        yield {key: value if isinstance(value, (str, int)) else round(float(value), 3) for key, value in found.items()}


if __name__ == "__main__":
    tell("any_voice.py", rows)
