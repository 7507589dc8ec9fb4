"""What the strength at which a voice begins does to the codec: 60 s of the validation part of each voice.

    python data/measured/voicing.py VOICE=RECORDING ... > data/measured/voicing.json

Needs the extra [ears] (`make EARS=1`).  The voice is described by one tracker, whatever made the frames.
"""

import json
import sys

from vocalsynth_utils import audio, evaluation, features, recipes
from vocalsynth_utils.evaluation import ears
from vocalsynth_utils.features import VOICING, pitch

SECONDS, DESCRIBED = 60, 100
RULES = {"from .62 on": (0.62, 0.62), "from .45 on": (0.45, 0.45), "from .45 on, .7 where breath rings": pitch.VOICED}
KEPT = "fd", "two_sample", "trackers_agree", "voiced_share_second", "voiced_share_second_real"


def measured(voice, path):
    """Rows of one recording."""
    recipe = recipes.get("world-units")
    sr, y = recipe.sample_rate, audio.read(path, recipe.sample_rate)
    held = y[int(0.8 * len(y)) : int(0.9 * len(y))][: SECONDS * sr]
    reference, used = evaluation.reference(y[: DESCRIBED * sr], held, sr), pitch.VOICED
    for name, rule in RULES.items():
        pitch.VOICED = rule
        rows = features.frames(held, recipe)
        pitch.VOICED = used
        sound = features.decode(rows, recipe)
        found = evaluation.evaluate(reference, sound)
        dnsmos, p808 = ears.opinion(sound)
        row = {"voice": voice, "voiced": name, "share": float((rows[:, VOICING] > 0.5).mean())}
        yield {**row, "dnsmos": dnsmos, "p808": p808, **{key: found[key] for key in KEPT}}


if __name__ == "__main__":
    rows = [row for text in sys.argv[1:] for row in measured(*text.split("=", 1))]
    json.dump({"command": "python data/measured/voicing.py VOICE=RECORDING ...", "rows": rows}, sys.stdout, indent=1)
    print()
