"""One phrase of the built-in singer: a melody of syllables; glottal pulses and noise through formant resonators."""

import numpy as np
import scipy

from .processes import SAMPLE_RATE

CONTROL_RATE = 200  # Hz: articulation moves in steps of 5 ms
TONIC, HIGHEST = 45, 60  # MIDI notes, 110 to 262 Hz: harmonics close enough to show the formants
SCALE = (0, 2, 3, 5, 7, 9, 10)  # dorian, semitones above the tonic
LEVEL = 0.5  # gain after compression: the voice near -20 dB r.m.s.
PEAK = 0.7  # of full scale: the loudest sample stays near it, leaving headroom
NOISE_FLOOR = 10 ** (-50 / 20)  # r.m.s. of the room: without it the pauses are digital silence

VOWELS = {  # formant frequencies in Hz
    "a": (730, 1200, 2600, 3250, 4300),
    "ae": (640, 1650, 2500, 3250, 4300),
    "e": (470, 1850, 2550, 3300, 4300),
    "i": (310, 2200, 2900, 3400, 4400),
    "o": (460, 850, 2550, 3200, 4200),
    "u": (340, 760, 2450, 3150, 4200),
    "y": (500, 1450, 2450, 3250, 4250),
}
ABOVE = (5300, 6500)  # Hz, two more resonators that carry the brightness of every vowel
BANDWIDTHS = (75, 95, 130, 190, 260, 400, 600)  # Hz
AFTER_T, AFTER_K = (0.03, 0, 0, 0, 0.1, 0.6, 0.1, 0.1), (0.03, 0, 0, 0, 0.1, 0.6, 0, 0.1)  # the breath they end on
CONSONANTS = {  # parts of (seconds, F1, F2, F3, voice, aspiration, hiss, hush); formant 0: the vowel's own
    "": (),
    "m": ((0.07, 270, 1000, 2300, 0.35, 0, 0, 0),),
    "n": ((0.06, 270, 1500, 2500, 0.35, 0, 0, 0),),
    "l": ((0.06, 360, 1200, 2700, 0.5, 0, 0, 0),),
    "r": ((0.05, 390, 1250, 1700, 0.5, 0.02, 0, 0),),
    "s": ((0.11, 300, 1700, 2600, 0, 0.05, 1, 0.1),),
    "sh": ((0.11, 300, 1800, 2500, 0, 0.05, 0.2, 1),),
    "z": ((0.07, 280, 1600, 2600, 0.3, 0.03, 0.35, 0),),
    "f": ((0.09, 340, 1100, 2400, 0, 0.3, 0.15, 0.15),),
    "h": ((0.06, 0, 0, 0, 0.05, 0.7, 0, 0),),
    "d": ((0.04, 260, 1700, 2600, 0.12, 0, 0, 0), (0.015, 300, 1700, 2600, 0.3, 0.3, 0.5, 0.3)),
    "b": ((0.05, 250, 800, 2200, 0.12, 0, 0, 0), (0.01, 300, 850, 2300, 0.4, 0.3, 0, 0.1)),
    "t": ((0.05, 300, 1700, 2600, 0, 0, 0, 0), (0.015, 300, 1700, 2600, 0, 0.5, 1, 0.6), AFTER_T),
    "k": ((0.05, 300, 1900, 2300, 0, 0, 0, 0), (0.02, 300, 1900, 2300, 0, 0.8, 0.1, 0.9), AFTER_K),
}


def rosenberg(phase, opening=0.42, closing=0.16):
    """Flow of air through the glottis, in [0, 1], at `phase` periods: raised cosine up, quarter cosine down, closed.

    A. E. Rosenberg, "Effect of glottal pulse shape on the quality of natural vowels", JASA 49 (1971), pulse shape C.
    """
    phase = phase % 1.0
    rising = 0.5 - 0.5 * np.cos(np.pi * phase / opening)
    falling = np.cos(0.5 * np.pi * (phase - opening) / closing)
    return np.where(phase < opening, rising, np.where(phase < opening + closing, falling, 0.0))


def resonators(frequencies, bandwidths, sr):
    """Resonators at (..., n_sections) Hz with unit gain at 0 Hz: sections (..., n_sections, 6) for `sosfilt`.

    D. H. Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980), equation 2.
    """
    radius = np.exp(-np.pi * np.asarray(bandwidths) / sr)
    first = -2.0 * radius * np.cos(2.0 * np.pi * np.asarray(frequencies) / sr)
    sections = np.zeros(first.shape + (6,))
    sections[..., 0] = 1.0 + first + radius**2
    sections[..., 3], sections[..., 4], sections[..., 5] = 1.0, first, np.broadcast_to(radius**2, first.shape)
    return sections


def _notes(rng):
    """One phrase of melody: MIDI notes (n,), seconds (n,), and which notes begin a syllable (n,)."""
    n_notes = rng.integers(8, 17)
    beat = rng.uniform(0.22, 0.32)
    degrees = np.array([octave * 12 + step for octave in (0, 1) for step in SCALE])
    degrees = degrees[TONIC + degrees <= HIGHEST]
    steps = rng.choice([-3, -2, -1, 0, 1, 2, 4], size=n_notes, p=[0.06, 0.14, 0.26, 0.12, 0.24, 0.12, 0.06])
    arc = 2.5 * np.sin(np.pi * np.linspace(0, 1, n_notes)) + rng.uniform(1, 6)  # up and home again
    places = np.clip(np.round(arc + 0.7 * np.cumsum(steps)), 0, len(degrees) - 1).astype(int)
    seconds = beat * rng.choice([0.6, 1.0, 1.5, 2.0], size=n_notes, p=[0.35, 0.4, 0.15, 0.1])
    seconds = seconds * rng.uniform(0.93, 1.07, n_notes)
    seconds[-1] = beat * rng.uniform(1.8, 3.2)
    return TONIC + degrees[places].astype(float), seconds, np.append(True, rng.random(n_notes - 1) < 0.93)


def _segments(rng, notes, seconds, begins):
    """Rows (seconds, F1..F5, voice, aspiration, hiss, hush, note, onset, loudness) of a phrase, one per sound."""
    names, at_rest = list(VOWELS), (500, 1500, 2500, 3300, 4300, 0, 0, 0, 0, notes[0], 0, 0)
    inhale = rng.uniform(0.18, 0.4)
    rows = [(rng.uniform(0.05, 0.25), *at_rest)]
    breath = (600, rng.uniform(1200, 1700), 2600, 3400, 4400, 0, 0.16, 0.01, 0.03, notes[0], 0)
    rows.append((inhale, *breath, rng.uniform(0.5, 1)))
    rows.append((rng.uniform(0.04, 0.12), *at_rest))
    strength = rng.uniform(0.75, 1.0)
    for note, length, begin in zip(notes, seconds, begins):
        loudness = strength * rng.uniform(0.7, 1.1) * (1 + 0.02 * (note - 52))
        if begin:
            vowel = np.array(VOWELS[names[rng.integers(len(names))]]) * rng.normal(1, [0.06, 0.05, 0.03, 0.02, 0.02])
            for part, *sound in CONSONANTS[list(CONSONANTS)[rng.integers(len(CONSONANTS))]]:
                part = part * rng.uniform(0.8, 1.3)
                formants = np.where(np.array(sound[:3]) > 0, sound[:3], vowel[:3])
                rows.append((part, *formants, *vowel[3:], *sound[3:], note, 0, loudness))
                length -= part
        rows.append((max(length, 0.08), *vowel, 1, 0.07, 0.004, 0.006, note, 1, loudness))
    rows.append((0.12, *vowel, 0, 0.03, 0, 0, notes[-1], 0, 0.3))  # the voice lets go
    return np.array(rows, dtype=float)


def _smooth(x, seconds):
    """`x` (n_rows, ...) at the control rate, averaged twice over `seconds`: steps become glides."""
    options = dict(size=max(1, int(round(seconds * CONTROL_RATE))), axis=0, mode="nearest")
    return scipy.ndimage.uniform_filter1d(scipy.ndimage.uniform_filter1d(x, **options), **options)


def _articulation(rng):
    """A phrase at the control rate: f0 and glottal opening (n,), sources (4, n), formants (n, 5)."""
    segments = _segments(rng, *_notes(rng))
    n_rows = np.maximum(1, np.round(segments[:, 0] * CONTROL_RATE)).astype(int)
    rows = np.repeat(segments, n_rows, axis=0)  # (n_rows, 13): what is aimed at
    formants = _smooth(rows[:, 1:6], 0.035)
    sources = _smooth(rows[:, 6:10] * _smooth(rows[:, 12], 0.04)[:, None], 0.012).T  # voice, aspiration, hiss, hush
    time = np.arange(len(rows)) / CONTROL_RATE
    changes = np.append(True, np.diff(rows[:, 10]) != 0)
    since = time - np.maximum.accumulate(np.where(changes, time, 0))  # s into the note
    sources[0] = sources[0] * (0.65 + 0.35 * np.clip(since / 0.15, 0, 1)) * np.exp(-0.3 * since)  # swells and fades
    vibrato = np.clip((since - 0.15) / 0.3, 0, 1) * rng.uniform(0.25, 0.7)
    wander = scipy.signal.lfilter([1], [1, -0.97], rng.normal(size=len(rows))) * 0.02
    semitones = _smooth(rows[:, 10], 0.05) + vibrato * np.sin(2 * np.pi * rng.uniform(4.8, 6.0) * time) + wander
    f0 = 440.0 * 2.0 ** ((semitones - 69.0) / 12.0)
    formants[:, 0] = np.maximum(formants[:, 0], 1.05 * f0)  # singers open the jaw when the note passes the formant
    formants += 12.0 * wander[:, None]
    opening = np.clip(0.52 - 0.14 * _smooth(rows[:, 12], 0.1), 0.34, 0.52)  # loud is bright: it closes sooner
    return f0, opening, sources, formants


def phrase(rng, sr):
    """One breath and one sung phrase, about four seconds: float (n_samples,) in [-1, 1]; `sr` a multiple of 200 Hz."""
    f0, opening, (voice, aspiration, hiss, hush), formants = _articulation(rng)
    hop, n = sr // CONTROL_RATE, len(f0)
    at = np.arange(n * hop) / hop  # each sample's place among the controls

    def per_sample(control):
        return np.interp(at, np.arange(n), control)

    phase = np.cumsum(per_sample(f0)) / sr
    opening = per_sample(opening)
    flow = rosenberg(phase, opening, 0.28 * opening)
    noise = rng.normal(size=len(at))
    pulses = per_sample(voice) * np.diff(flow, prepend=flow[0]) * 6 * (sr / SAMPLE_RATE)
    source = pulses + 0.12 * noise * per_sample(aspiration) * (0.4 + flow)
    above = np.broadcast_to(ABOVE, (n, 2))
    sections = resonators(np.hstack([formants, above]), BANDWIDTHS, sr)  # (n, 7, 6)
    y, state = np.empty(len(at)), np.zeros((len(BANDWIDTHS), 2))
    for row in range(n):
        part = slice(row * hop, (row + 1) * hop)
        y[part], state = scipy.signal.sosfilt(sections[row], source[part], zi=state)
    for loudness, band in ((hiss, [4300, 7400]), (hush, [2000, 4600])):
        sections = scipy.signal.butter(2, band, "bandpass", fs=sr, output="sos")
        y += 0.20 * per_sample(loudness) * scipy.signal.sosfilt(sections, noise)
    return _compress(y, sr, rng)


def _compress(y, sr, rng):
    """Even out loud and soft (ratio 1.6:1 over 60 ms), add the room's noise, keep within `PEAK`."""
    size = int(0.06 * sr)
    power = scipy.ndimage.uniform_filter1d(scipy.ndimage.uniform_filter1d(y**2, size), size)
    level = np.sqrt(np.maximum(power, 0) + 1e-4)
    room = scipy.signal.lfilter([1], [1, -0.6], rng.normal(size=len(y))) * NOISE_FLOOR * 0.8
    return PEAK * np.tanh((LEVEL * y * (0.1 / level) ** 0.38 + room) / PEAK)
