"""The measures that took no part in any choice: a voice as they know it, a signal's figures by name."""

from typing import NamedTuple

import numpy as np

from . import modulation, sound_units

INDEPENDENT = ("unit_perplexity", "repeated_units", "modulation", "two_sample")


class Heard(NamedTuple):
    """A voice as these measures know it, from `learn`."""

    centres: np.ndarray  # (n_units, 36) float32, of its sound units
    labels: np.ndarray  # (n,) int16, the training part in them
    heldout_labels: np.ndarray  # (n,) int16, the held-out part in them
    spectrum: np.ndarray  # (5,), the training part's `modulation.spectrum`
    movements: np.ndarray  # (n_windows, 65) float32, the held-out part's


def learn(train, heldout):
    """A voice and its own figures, from (bands, standard timbre) of both parts: `Heard`, dict of str to float."""
    vectors = sound_units.half_syllables(*train)
    centres = sound_units.learn(vectors)
    labels, held = (sound_units.label(centres, each) for each in (vectors, sound_units.half_syllables(*heldout)))
    heard = Heard(centres, labels, held, modulation.spectrum(train[0]), modulation.movements(heldout[1]))
    floor = modulation.two_sample(heard.movements, modulation.movements(train[1]))  # with itself it would be 0.5
    return heard, {**figures(heard, *heldout), "two_sample": floor}


def order(heard, bands, standard_timbre):
    """Perplexity of a signal's sound units, the share that recurs, and the held-out part's in stretches as long."""
    labels = sound_units.label(heard.centres, sound_units.half_syllables(bands, standard_timbre))
    foreseen = sound_units.perplexity(heard.labels, labels, len(heard.centres))
    stretch = min(sound_units.STRETCH, len(labels), len(heard.heldout_labels))
    return foreseen, *(sound_units.repeated(each, stretch) for each in (labels, heard.heldout_labels))


def figures(heard, bands, standard_timbre):
    """The measures of `INDEPENDENT` of a signal, and ``repeated_units_real`` in stretches as long: dict of floats."""
    foreseen, repeated, real = order(heard, bands, standard_timbre)
    rhythm = modulation.distance(heard.spectrum, modulation.spectrum(bands))
    told = modulation.two_sample(heard.movements, modulation.movements(standard_timbre))
    return {**dict(zip(INDEPENDENT, (foreseen, repeated, rhythm, told))), "repeated_units_real": real}
