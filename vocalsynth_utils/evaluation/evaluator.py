"""A voice described once, and all measures of any number of signals against it."""

import warnings
from typing import NamedTuple

import numpy as np

from .. import features
from . import descriptors, independent, measures
from .descriptors import STATISTICS
from .independent import Heard
from .measures import Gaussian, frechet, segment_rows, within

SNIPPET_SECONDS = 0.05  # of the shuffled ceiling
SAME_PITCH = 50 / 1200  # octaves
TUNED = ("survival_s", "ok", "outside", "fd", "spectrum_db", "voiced_share")  # what was corrected for


class Described(NamedTuple):
    """A signal as `descriptors` says: bands and timbre (n_frames, 40), windows (n_windows, 4), f0 (n_rows,) in Hz."""

    bands: np.ndarray
    timbre: np.ndarray
    windows: np.ndarray
    f0: np.ndarray


class Reference(NamedTuple):
    """A voice to be measured against, from `reference`: of it, no more than the measures read."""

    sr: int
    std: float  # of the training part, which all signals are divided by
    mean: np.ndarray  # (40,) float32, of its timbre
    scale: np.ndarray  # (40,) float32, in whose units timbre is compared
    region: np.ndarray  # (2, 4), in which windows are accepted
    rows: np.ndarray  # (n, 20) float32, the training part's `segment_rows`
    heldout: Gaussian  # of the held-out part's timbre, standardised
    spectrum: np.ndarray  # (40,) dB, its long-term spectrum
    roughness: float  # of its melody
    heard: Heard  # by the independent measures
    figures: dict  # of real voice, and of the codec: what stands in every result


def check(y, sr, name):
    """Raise ValueError on a signal that no measure can take; warn of a silent one."""
    if np.ndim(y) != 1:
        raise ValueError(f"{name} has shape {np.shape(y)}; expected one channel, (n_samples,)")
    if len(y) < 2 * sr:
        raise ValueError(f"{name} holds {len(y) / sr:g} s; the measures need at least 2 s")
    if not np.isfinite(y).all():
        raise ValueError(f"{name} holds NaN or infinite samples; what made it has blown up")
    if not np.any(y):
        warnings.warn(f"{name} is silent", stacklevel=3)


def describe(y, sr, on_samples=None):
    """A signal in units of the training voice's standard deviation, described."""
    bands, (f0, periodicity) = descriptors.bands(y, sr), descriptors.melody(y, sr, on_samples)
    return Described(bands, descriptors.timbre(bands), descriptors.windows(y, sr, bands, periodicity), f0)


def _of_pitch(f0, second):
    """What two trackers say of one signal, (n_rows,) Hz each: their figures, and how often they agree."""
    with np.errstate(divide="ignore", invalid="ignore"):
        agree = np.abs(np.log2(f0 / second)) < SAME_PITCH
    median = lambda f0: float(np.median(f0[f0 > 0])) if np.any(f0) else 0.0
    return {
        "voiced_share": float(np.mean(f0 > 0)),
        "voiced_share_second": float(np.mean(second > 0)),
        "pitch_hz": median(f0),
        "pitch_hz_second": median(second),
        "trackers_agree": float(np.mean(agree | (f0 + second == 0))),
    }


def _in_units(y, std):
    return np.asarray(y, np.float32) / np.float32(std)


def reference(train, heldout, sr, resynthesise=None, calibrate_seconds=300, on_stage=None):
    """A voice described once, to measure any number of generated signals against: `Reference`.

    Parameters
    ----------
    train, heldout : float arrays of shape (n_samples,)
        What the network learned from, and of the same voice what it never heard: the test part.
    sr : int, Hz
    resynthesise : callable, optional
        As from `codec_of`.  It gives the codec's own figures; the acceptance region is widened to what it makes
        of `calibrate_seconds` of the training voice, else a generator is blamed for its codec.
    on_stage : callable, optional
        ``on_stage(name, done, total)`` now and then, in samples.

    Raises
    ------
    ValueError
        When a part cannot be measured, or `train` is constant.
    """
    check(train, sr, "train"), check(heldout, sr, "heldout")
    std = float(np.std(train))
    if std == 0:
        raise ValueError("train is constant; there is no voice to measure against")
    some = train[: int(calibrate_seconds * sr)]
    total = len(train) + len(heldout) + (0 if resynthesise is None else len(heldout) + len(some))
    more = features.counting(on_stage, "describing the voice", total)
    trained, held = (describe(_in_units(y, std), sr, more) for y in (train, heldout))
    mean, scale = trained.timbre.mean(axis=0), trained.timbre.std(axis=0) + 1e-6
    known, target = ((described.timbre - mean) / scale for described in (trained, held))
    rows, gaussian, region = segment_rows(known), Gaussian.of(target), measures.acceptance_region(trained.windows)
    heard, apart = independent.learn((trained.bands, known), (held.bands, target))
    codec = {}
    if resynthesise is not None:
        if on_stage:
            on_stage("passing the voice through its frames")
        coded, through = (describe(_in_units(resynthesise(y), std), sr, more) for y in (heldout, some))
        through = measures.acceptance_region(through.windows)
        region = np.stack([np.minimum(region[0], through[0]), np.maximum(region[1], through[1])])
        timbre = (coded.timbre - mean) / scale
        codec = {"fd": frechet(gaussian, timbre), "ok": float(within(region, coded.windows).mean())}
        codec |= independent.figures(heard, coded.bands, timbre)
    near = measures.novelty(rows, segment_rows(target))
    figures = {
        "ok_real": float(within(region, held.windows).mean()),
        "fd_floor": frechet(gaussian, known),
        "novelty_heldout": float(np.median(near)),
        "novelty_lowest_heldout": float(np.quantile(near, 0.05)),
        "repetition_real": measures.repetition(segment_rows(target)),
        **named("real", {**_of_pitch(held.f0, descriptors.second_pitch(heldout, sr)), **apart}),
        **named("codec", codec),
    }
    spectrum, roughness = measures.long_term_spectrum(held.bands), measures.f0_roughness(held.f0)
    return Reference(sr, std, mean, scale, region, rows, gaussian, spectrum, roughness, heard, figures)


def named(which, figures):
    """Figures of the real voice, of the codec or of a failure under their names; they hold none of another."""
    return {f"{name}_{which}": value for name, value in figures.items() if not name.endswith("_real")}


def order(ref, y):
    """Where a signal stands on the curve of order over variety, along which a temperature moves it.

    Parameters
    ----------
    ref : Reference
    y : float array of shape (n_samples,), full scale 1

    Returns
    -------
    perplexity : float
        Of its sound units, under the trigrams of the training part's.
    repeated, repeated_real : float
        Share of trigrams that occurred before in the same stretch, of it and of the held-out voice.  Perplexities are
        compared where these two are the same: a loop has a low one, and repeats all.

    Raises
    ------
    ValueError
        When the signal cannot be measured.
    """
    check(y, ref.sr, "y")
    return independent.order(ref.heard, *_heard(ref, y))


def independent_of(ref, y):
    """The measures of `INDEPENDENT` alone of a signal (n_samples,), full scale 1: much quicker than all; dict."""
    check(y, ref.sr, "y")
    return independent.figures(ref.heard, *_heard(ref, y))


def _heard(ref, y):
    """Bands and standard timbre of a signal (n_samples,), full scale 1: (n_frames, 40) each."""
    bands = descriptors.bands(_in_units(y, ref.std), ref.sr)
    return bands, (descriptors.timbre(bands) - ref.mean) / ref.scale


def shuffled(y, sr, rng):
    """A signal's snippets of 50 ms in another order."""
    n = int(SNIPPET_SECONDS * sr)
    return rng.permutation(np.array(y[: len(y) // n * n]).reshape(-1, n)).ravel()


def ceilings(ref, heldout, other=None, seed=0):
    """Figures of plain failures, made from the held-out voice (n_samples,), as `evaluate` names them: dict of floats.

    ``shuffled``: snippets of 50 ms, and what lies beyond is worse than confetti; ``other``: another speaker
    (n_samples,), where one is given; of ``white`` noise and ``silence`` the Fréchet distance alone.
    """
    rng = np.random.default_rng(seed)
    failures = {"shuffled": shuffled(heldout, ref.sr, rng)} | ({} if other is None else {"other": other})
    plain = {"white": rng.normal(0, ref.std, len(heldout)), "silence": np.zeros(len(heldout))}
    result = {f"fd_{name}": frechet(ref.heldout, standard_timbre(ref, y)) for name, y in {**failures, **plain}.items()}
    for name, y in failures.items():
        result |= named(name, independent_of(ref, y))
    return result


def standard_timbre(ref, y):
    """Timbre of a signal (n_samples,), full scale 1, in units of the training voice's own spread: (n_frames, 40)."""
    return _heard(ref, y)[1]


def evaluate(ref, generated, frame_length=None):
    """All measures of one generated signal.

    Parameters
    ----------
    ref : Reference
    generated : float array of shape (n_samples,), full scale 1
    frame_length : int, optional
        Of raw frames: boundary clicks are measured too.

    Returns
    -------
    dict
        Plain numbers and lists, ready for JSON.  ``ok``: share of one-second windows inside the acceptance region;
        ``outside``: share outside by statistic; ``survival_s`` of ``seconds``; ``fd`` with ``fd_floor`` (training
        against held-out voice), ``fd_codec`` and ``fd_per_120s``; ``spectrum_db``; ``novelty_min``, ``novelty_lowest``:
        median and 5 % quantile of the distance of half-second segments to the nearest of the training voice;
        ``repetition``: the same distance to the signal's own last 30 s; ``f0_roughness_ratio``: melody's steps over
        the held-out voice's; ``voiced_share``; and ``..._real``, ``..._codec``, ``..._heldout`` for comparison.
        What took no part in any choice: ``unit_perplexity``, how little the order of its sounds is
        foreseen, to be read where ``repeated_units``, the share of their trigrams that recur, is the voice's own;
        ``modulation``: distance of rhythm; ``two_sample``: how often half seconds are told from the held-out voice's.

    Raises
    ------
    ValueError
        When the signal cannot be measured.
    """
    generated = np.asarray(generated)
    check(generated, ref.sr, "generated")
    y, seconds = _in_units(generated, ref.std), len(generated) / ref.sr
    made = describe(y, ref.sr)
    timbre = (made.timbre - ref.mean) / ref.scale
    rows, inside = segment_rows(timbre), within(ref.region, made.windows)
    near = measures.novelty(ref.rows, rows)
    outside = (made.windows < ref.region[0]) | (made.windows > ref.region[1])
    apart = ref.spectrum - measures.long_term_spectrum(made.bands)  # (40,) dB
    result = {
        "seconds": seconds,
        "survival_s": measures.survival(inside, seconds),
        "ok": float(inside.mean()),
        "outside": dict(zip(STATISTICS, outside.mean(axis=0).tolist())),
        "fd": frechet(ref.heldout, timbre),
        "fd_per_120s": measures.frechet_parts(ref.heldout, timbre),
        "spectrum_db": float(np.sqrt(np.mean(apart**2))),
        "novelty_min": float(np.median(near)),
        "novelty_lowest": float(np.quantile(near, 0.05)),
        "repetition": measures.repetition(rows),
        "f0_roughness_ratio": measures.f0_roughness(made.f0) / ref.roughness if ref.roughness else float("nan"),
        **_of_pitch(made.f0, descriptors.second_pitch(generated, ref.sr)),
        **ref.figures,
        **independent.figures(ref.heard, made.bands, timbre),
    }
    if frame_length:
        result["boundary_clicks"] = measures.boundary_clicks(generated, frame_length)
    return result


def codec_of(recipe):
    """Analysis and resynthesis of a signal by a recipe's frames, or None for raw samples, which lose nothing."""
    if recipe.is_raw:
        return None
    return lambda y: features.decode(features.frames(y, recipe), recipe)
