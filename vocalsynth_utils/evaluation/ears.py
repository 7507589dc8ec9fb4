"""Ears that others made, of the extra ``[ears]``: predicted opinion, and phones as a recogniser of English hears them.

Opinion knows nothing of words: a murmur can please it.  The recogniser hears English in any language, so its figures
are compared within one voice alone.  Both took no part in anything that is generated.

References
----------
C. Reddy et al., "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric", ICASSP 2022; `speechmos`.
`pocketsphinx`: D. Huggins-Daines et al., "PocketSphinx", ICASSP 2006; its phone decoding of English.
"""

import importlib.util

import numpy as np

from .evaluator import named, shuffled
from .sound_units import perplexity, repeated

EARS = ("dnsmos", "p808", "phone_perplexity", "repeated_phones")
NEEDED = ("speechmos", "onnxruntime", "librosa", "requests", "pocketsphinx")
RATE = 16000  # Hz, of both
OPINION_SECONDS = 10  # heard at a time
UTTERANCE_SECONDS = 20  # recognised at a time
TRAIN_SECONDS = 360  # of the training part, whose phones the order is judged by
STRETCH_SECONDS = 120
N_PHONES = 42
DECODING = {"lw": 2.0, "pip": 0.3, "beam": 1e-20, "pbeam": 1e-20, "loglevel": "FATAL"}


def check():
    """Raise ValueError where the extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        how = "type `make EARS=1`, or pip install 'vocalsynth-utils[ears]'"
        raise ValueError(f"the ears need {', '.join(missing)}, not installed here; {how}")


def opinion(y):
    """Predicted opinions, 1 to 5, of a signal at 16 kHz, full scale 1: overall (P.835), and P.808."""
    from speechmos import dnsmos

    n = OPINION_SECONDS * RATE
    pieces = [y[i : i + n] for i in range(0, max(1, len(y) - n + 1), n)]
    heard = [dnsmos.run(piece / max(1, np.abs(piece).max()), RATE) for piece in pieces]
    return tuple(float(np.mean([each[name] for each in heard])) for name in ("ovrl_mos", "p808_mos"))


def phones(y):
    """Phones of a signal at 16 kHz, full scale 1: a list of names, ``SIL`` for silence."""
    from pocketsphinx import Decoder, get_model_path

    place, n = get_model_path(), UTTERANCE_SECONDS * RATE
    decoder = Decoder(hmm=f"{place}/en-us/en-us", allphone=f"{place}/en-us/en-us-phone.lm.bin", **DECODING)
    found = []
    for start in range(0, len(y), n):
        decoder.start_utt()
        samples = np.clip(y[start : start + n], -1, 1) * 32767
        decoder.process_raw(samples.astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found += [segment.word for segment in decoder.seg() or ()]
    return found


def listen(train, heldout, generated, sr, resynthesise=None):
    """What the ears say of a generated signal, beside the held-out voice, the codec and shuffled snippets.

    Parameters
    ----------
    train, heldout, generated : float arrays of shape (n_samples,), full scale 1
    sr : int, Hz
    resynthesise : callable, optional
        As from `codec_of`.

    Returns
    -------
    dict
        ``dnsmos`` and ``p808``: predicted opinions; ``phone_perplexity`` under the trigrams of the training part's
        phones; ``repeated_phones``: share of their trigrams, without silence, that occurred before.  Each is the mean
        over stretches of 120 s, or of as much as there is of both; ``..._per_120s`` holds all; ``..._real``,
        ``..._codec`` and ``..._shuffled`` are of the held-out voice's first.

    Raises
    ------
    ValueError
        Where the extra is not installed.
    """
    check()
    others = {"real": heldout, "shuffled": shuffled(heldout, sr, np.random.default_rng(0))}
    if resynthesise is not None:
        others["codec"] = resynthesise(heldout)
    train, generated = _resampled(train[: TRAIN_SECONDS * sr], sr), _resampled(generated, sr)
    others, known = {name: _resampled(y, sr) for name, y in others.items()}, phones(train)
    n = min(STRETCH_SECONDS * RATE, len(others["real"]), len(generated))
    parts = [_hear(known, generated[i : i + n]) for i in range(0, len(generated) - n + 1, n)]
    result = {name: float(np.mean([part[name] for part in parts])) for name in EARS}
    result |= {f"{name}_per_120s": [part[name] for part in parts] for name in EARS}
    for name, y in others.items():
        result |= named(name, _hear(known, y[:n]))
    return result


def _hear(known, y):
    """The four figures of one stretch."""
    heard = phones(y)
    return dict(
        zip(EARS, (*opinion(y), perplexity(known, heard, N_PHONES), repeated([p for p in heard if p != "SIL"])))
    )


def _resampled(y, sr):
    """A signal at the rate that both ears hear."""
    import soxr

    y = np.asarray(y, np.float32)
    return y if sr == RATE else soxr.resample(y, sr, RATE)
