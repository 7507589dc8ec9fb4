"""Whether what is generated keeps a recording's share of voice, its pitch and its level: 120 s of five seeds.

    python data/measured/any_voice.py VOICE=RUN ... five=RUN hum=RUN > data/measured/any_voice.json

Pitch by DIO, which takes no part in training or generation, beside the recording's training part; "hum" is heard beside
"five", the same recording without it, named before.
"""

import numpy as np
from telling import tell

from vocalsynth_utils import pipeline
from vocalsynth_utils.features import world

SECONDS, SEEDS, REFERENCE_SECONDS = 120, range(5), 240
CLEAN, RECORDINGS = {"hum": "five"}, {}  # the voice without its hum; what is known of each voice's recording


def heard(y, sr):
    """What is compared of a sound: share of voiced rows, median pitch in semitones, level in dB."""
    f0 = world.dio(y, sr)
    return np.array([np.mean(f0 > 0), 12 * np.log2(np.median(f0[f0 > 0])), 20 * np.log10(np.std(y))])


def rows(voice, run):
    """A row for each seed: differences from the recording, and the largest sample."""
    data, sr, name = pipeline.own_dataset(run), run.recipe.sample_rate, CLEAN.get(voice, voice)
    if name not in RECORDINGS:
        RECORDINGS[name] = heard(np.asarray(data.signal("train"), np.float64)[: REFERENCE_SECONDS * sr], sr)
    primer = pipeline.primer(run, "valid", min(200, data.n_frames("valid")))
    for seed in SEEDS:
        y = pipeline.generate(run, SECONDS, primer, seed=seed)
        numbers = (*heard(y, sr) - RECORDINGS[name], np.abs(y).max())
        found = dict(zip(("voiced share", "pitch", "level", "largest"), (round(float(v), 3) for v in numbers)))
        yield {"voice": voice, "recipe": run.recipe.name, "seed": seed, **found}


if __name__ == "__main__":
    tell("any_voice.py", rows)
