"""What the measures say of a generated voice, in four lines for a person who knows none of them."""

GOOD = 1.5  # times the distance of another part of the voice, or of the codec
COPIED, COPIED_IN_PART, LOOPED = 0.5, 0.4, 0.5  # of the real voice's own figures
ENDS = {
    "level": "its loudness left what the voice has",
    "flatness": "it became noise, or one tone",
    "flux": "it stood still, or changed faster than a voice can",
    "voicing": "it only breathed, or only hummed",
}


def verdict(result, recipe):
    """How long a voice lived and what ended it; how near in timbre; whether it is new; what to do: four lines.

    `result` is `pipeline.evaluate`'s, `recipe` the run's.
    """
    seconds, lived = result["seconds"], result["survival_s"]
    lives, near, good = lived >= seconds, result["fd"], GOOD * max(result["fd_floor"], result.get("fd_codec", 0.0))
    new, is_new = _novelty(result)
    if lives:
        life = f"It lived: for all of {seconds:.0f} s it kept within what this voice does."
    else:
        culprit = max(result["outside"], key=result["outside"].get)
        why = f"for more than two seconds {ENDS[culprit]} (`{culprit}`)"
        life = f"It died after {lived:.0f} of {seconds:.0f} s: {why}."
    how = "near" if near <= good else "some way off" if near <= result["fd_shuffled"] else "far off"
    others = f"this voice cut into snippets and shuffled has {result['fd_shuffled']:.2g}"
    timbre = f"Its timbre is {how}: a distance of {near:.2g}, where up to {good:.2g} is good and {others}."
    better = _advice(recipe, lives and near <= good, is_new)
    return [f"Life:   {life}", f"Timbre: {timbre}", f"New:    {new}", f"Better: {better}"]


def _novelty(result):
    """Whether it is new, a line and a word: "new", "looped" or "copied"."""
    share = lambda name, real: result[name] / result[real] if result[real] else float("nan")
    median = share("novelty_min", "novelty_heldout")
    lowest = share("novelty_lowest", "novelty_lowest_heldout")
    if share("repetition", "repetition_real") < LOOPED:
        return "It repeats itself: half seconds come again within the last 30 s, as real voice does not.", "looped"
    beside = f"as far from the recording's as {median:.0%} of what a new take of the voice is"
    if median < COPIED:
        return f"It copies: its half seconds are only {beside}.", "copied"
    if lowest < COPIED_IN_PART:
        return f"It is new in the main, but parts are copied: half seconds are {beside}, some hardly at all.", "copied"
    return f"It is no copy: its half seconds are {beside}.", "new"


def _advice(recipe, is_well, is_new):
    """What to do for a better voice: a line."""
    if not recipe.has_world_heads:
        return "train world-units on this recording; a network of this kind does not live, as notebooks 04 to 06 show."
    if is_new == "looped":
        return "generate at --temperature 1.2, and train on a longer recording."
    if not is_well:
        return f"train for longer, as in --resume --epochs {2 * recipe.n_epochs}, or generate at --temperature 0.8."
    if is_new == "copied":
        return "train on a longer recording; a short one is learned by heart."
    if not recipe.has_text:
        return "train world-units on this recording: its sounds follow each other as they do in speech and song."
    return "train world-units-large, or on a longer recording; listen, for no measure hears whether it is beautiful."
