"""How far back the two levels hear, and what is told of the sound: 200 s of two seeds, by a validation part.

    python data/measured/hearing.py VOICE=RUN ... > data/measured/hearing.json

Needs the extra [ears] (`make EARS=1`).
"""

from noise import measured
from telling import tell

from vocalsynth_utils import evaluation, generation, pipeline, world_mdn

SECONDS, SEEDS, WITHOUT_END = 200, (0, 1), 10**9


def rows(voice, run):
    """Rows of one run: its network hears all that went before, or no more than as many steps as it was trained on."""
    data, sr, network = pipeline.own_dataset(run), run.recipe.sample_rate, generation.load_network(run)
    held, codec, language = data.signal("valid"), evaluation.codec_of(run.recipe), network.language
    reference, primer = evaluation.reference(data.signal("train"), held, sr, codec), pipeline.primer(run, "valid", 200)
    own = f"{language.n_heard} steps and the {language.n_follow} that follow"
    for what, lengths in {"all": 2 * (WITHOUT_END,), own: (language.n_heard, language.n_follow)}.items():
        language.n_heard, language.n_follow = lengths
        for seed in SEEDS:
            y = generation.generate(run, SECONDS, primer, seed=seed, **world_mdn.hooks(run, network))
            yield {"voice": voice, "heard": what, "seed": seed, **measured(y, reference, sr)}


if __name__ == "__main__":
    tell("hearing.py", rows)
