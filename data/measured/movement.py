"""Where generated frames move too little, and what noise costs: the validation part's own text, said by a run's frames.

    python data/measured/movement.py VOICE=RUN ... > data/measured/movement.json

Movement is `evaluation.descriptors`' flux, dB in 20 ms, by what the recording does there.  Needs the extra [ears].
"""

import numpy as np
from telling import tell

from vocalsynth_utils import features, generation, pipeline, units, world_mdn
from vocalsynth_utils.evaluation import descriptors, ears

PRIMER, TEMPERATURES, SEEDS = 200, (0.0, 0.3, 0.5, 0.7, 1.0), (0, 1)  # frames; of the envelope


def rows(voice, run):
    """Rows of one run: the codec, and frames given its text, the more of the envelope's noise the later."""
    data, recipe, network = pipeline.own_dataset(run), run.recipe, generation.load_network(run)
    sr, std = recipe.sample_rate, np.std(data.signal("train"))
    real = data.sequence("valid", data.n_frames("valid"))
    centres = units.Centres(network.language.given.centres.get_value())
    primer, real = real[:PRIMER], real[PRIMER:]
    text = centres.read(real, recipe)
    step = np.diff(np.repeat(np.arange(len(text.units)), text.lengths), prepend=-1, append=-1) != 0
    edge, voiced = step[1:] | step[:-1], real[:, features.VOICING] > 0
    soft = real[:, -features.N_ENVELOPE] < np.quantile(real[:, -features.N_ENVELOPE], 0.2)
    places = {"voiced, inside a segment": voiced & ~edge, "voiced, at its ends": voiced & edge}
    places |= {"unvoiced": ~voiced & ~soft, "soft": ~voiced & soft}

    def row(what, sounds):
        found = {"dnsmos": np.mean([ears.opinion(y)[0] for y in sounds])}
        moved = [descriptors.flux(descriptors.bands((y / std).astype(np.float32), sr)) for y in sounds]
        frame = np.round((np.arange(len(moved[0])) + 1) * descriptors.FRAME_HOP * sr / recipe.frame_length)
        for place, these in places.items():
            here = these[np.minimum(frame.astype(int), len(these) - 1)]
            found[place] = np.mean([m[here].mean() for m in moved])
        return {"voice": voice, "what": what, **{key: round(float(value), 3) for key, value in found.items()}}

    def said(seed):
        sampler = world_mdn.hooks(run, network, text)["sampler"]
        frames = np.concatenate(list(sampler(network, primer, len(real), seed=seed, limits=run.limits)))
        return features.decode(data.scaling.invert(frames), recipe)

    yield row("the codec", [features.decode(data.scaling.invert(real), recipe)])
    voicing, pitch, _ = network.head.temperatures
    for temperature in TEMPERATURES:
        network.head.temperatures = voicing, pitch, temperature
        yield row(f"envelope noise {temperature:g}", [said(seed) for seed in SEEDS])


if __name__ == "__main__":
    tell("movement.py", rows)
