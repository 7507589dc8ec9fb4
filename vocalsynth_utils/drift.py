"""Does generated sound stay a voice?  Measures of drift, and what each can and cannot tell.

A teacher-forced loss says nothing about free running: networks of equal loss
die to a constant or sing on.  Level and spectrum alone cannot tell a voice
from a loop of its last 50 ms.  So several measures stand side by side, each
with the figures of real voice, of the codec alone, and of plain failures.

`reference` describes a voice once; `evaluate` measures any number of signals
against it.  The measures themselves are in `metrics`.
"""
import time
import warnings
from typing import NamedTuple, Optional

import numpy as np

from . import descriptors, features, generation
from .descriptors import STATISTICS
from .metrics import (boundary_clicks, envelope, f0_roughness, frechet, frechet_parts, novelty, repetition, spectrum_distance,
                      survival, within)

SNIPPET_SECONDS = 0.05               # of the shuffled ceiling
PRIMER_FRAMES = 200                  # heard before free running


class Described(NamedTuple):
    """A signal as the columns of `descriptors`: bands and timbre (n_frames, 40), windows (n_windows, 4), f0 (n_rows,)."""

    seconds: float
    bands: np.ndarray
    timbre: np.ndarray
    windows: np.ndarray
    f0: np.ndarray


class Reference(NamedTuple):
    """A voice to be measured against, from `reference`.

    `std` is the training part's, which all signals are divided by; `mean` and
    `scale` standardise timbre; `bounds` (2, 4) are the envelope; `segments`
    is the training part's timbre, standardised; `codec` the held-out part
    after analysis and resynthesis.
    """

    sr: int
    std: float
    mean: np.ndarray
    scale: np.ndarray
    bounds: np.ndarray
    train: Described
    heldout: Described
    codec: Optional[Described]
    novelty_heldout: np.ndarray


def validate(reference, generated, sr):
    """Raise ValueError on signals no metric can take; warn about degenerate ones.

    Parameters
    ----------
    reference, generated : float arrays of shape (n_samples,), full scale 1
    sr : int, Hz
    """
    for name, y in (("reference", reference), ("generated", generated)):
        if np.ndim(y) != 1:
            raise ValueError(f"{name} has shape {np.shape(y)}; expected one channel, (n_samples,)")
        if len(y) < 2 * sr:
            raise ValueError(f"{name} holds {len(y) / sr:g} s; the measures need at least 2 s")
        if not np.isfinite(y).all():
            raise ValueError(f"{name} holds NaN or infinite samples; what made it has blown up")
        if not np.any(y):
            warnings.warn(f"{name} is silent")
    if np.std(reference) == 0:
        raise ValueError("reference is constant; there is no voice to measure against")


def describe(y, sr, std):
    """A signal's descriptors.

    Parameters
    ----------
    y : float array of shape (n_samples,)
    sr : int, Hz
    std : float
        The training voice's standard deviation.

    Returns
    -------
    Described
    """
    y = np.asarray(y, np.float32) / np.float32(std)
    bands = descriptors.bands(y, sr)
    return Described(len(y) / sr, bands, descriptors.timbre(bands), descriptors.windows(y, sr, bands), descriptors.pitch(y, sr))


def reference(train, heldout, sr, resynthesise=None, calibrate_seconds=300):
    """Describe a voice once, to measure any number of generated signals against.

    Parameters
    ----------
    train : float array of shape (n_samples,)
        What the network learned from.
    heldout : float array of shape (n_samples,)
        Voice it never heard: the test part.
    sr : int, Hz
    resynthesise : callable, optional
        Analysis and resynthesis of a signal by the frames in use.  It gives
        the codec's own figures; the envelope is widened to what it makes of
        the training voice, else a generator is blamed for its codec.
    calibrate_seconds : float
        How much of the training voice is resynthesised for that.

    Returns
    -------
    Reference
    """
    validate(train, heldout, sr)
    std = float(np.std(train))
    trained, held = describe(train, sr, std), describe(heldout, sr, std)
    bounds, codec = envelope(trained.windows), None
    if resynthesise is not None:
        codec = describe(resynthesise(heldout), sr, std)
        through = envelope(describe(resynthesise(train[:int(calibrate_seconds * sr)]), sr, std).windows)
        bounds = np.stack([np.minimum(bounds[0], through[0]), np.maximum(bounds[1], through[1])])
    mean, scale = trained.timbre.mean(axis=0), trained.timbre.std(axis=0) + 1e-6
    partial = Reference(sr, std, mean, scale, bounds, trained, held, codec, np.zeros(1))
    return partial._replace(novelty_heldout=novelty(_standard(partial, trained), _standard(partial, held)))


def ceilings(ref, heldout, seed=0):
    """Frechet distances of plain failures, made from the held-out voice: a generator above "shuffled" is worse than confetti.

    Parameters
    ----------
    ref : Reference
    heldout : float array of shape (n_samples,)
    seed : int

    Returns
    -------
    dict of str to float: ``shuffled`` (50 ms snippets), ``white`` noise, ``silence``
    """
    rng, n = np.random.default_rng(seed), int(SNIPPET_SECONDS * ref.sr)
    snippets = np.array(heldout[:len(heldout) // n * n]).reshape(-1, n)
    failures = {"shuffled": rng.permutation(snippets).ravel(), "white": rng.normal(0, ref.std, len(heldout)),
                "silence": np.zeros(len(heldout))}
    target = _standard(ref, ref.heldout)
    return {name: frechet(target, timbre(ref, y)) for name, y in failures.items()}


def timbre(ref, y):
    """A signal's timbre alone, as it is compared: (n_samples,), full scale 1, to (n_frames, 40) in units of the training voice's own spread."""
    return (descriptors.timbre(descriptors.bands((y / ref.std).astype(np.float32), ref.sr)) - ref.mean) / ref.scale


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
        Plain numbers and lists, ready for JSON.  ``ok``: share of one-second
        windows inside the envelope; ``outside``: share outside by statistic;
        ``survival_s`` of ``seconds``; ``fd`` with ``fd_floor`` (training
        against held-out voice), ``fd_codec`` and ``fd_per_120s``;
        ``spectrum_db``; ``novelty_min``: median distance of half-second
        segments to the nearest of the training voice, and
        ``novelty_lowest``: its 5 % quantile, each beside held-out voice;
        ``repetition``: the same distance to the signal's own last 30 s;
        ``f0_roughness_ratio``: melody's steps over the held-out voice's;
        ``voiced_share``; and ``..._real``, ``..._codec`` where these mean
        something.
    """
    generated = np.asarray(generated)
    validate(np.array([0.0, 1.0] * ref.sr), generated, ref.sr)
    made = describe(generated, ref.sr, ref.std)
    sung, target, trained = (_standard(ref, d) for d in (made, ref.heldout, ref.train))
    inside, near = within(ref.bounds, made.windows), novelty(trained, sung)
    own = f0_roughness(ref.heldout.f0)
    outside = (made.windows < ref.bounds[0]) | (made.windows > ref.bounds[1])
    result = {
        "seconds": made.seconds,
        "survival_s": survival(inside, made.seconds),
        "ok": float(inside.mean()),
        "ok_real": float(within(ref.bounds, ref.heldout.windows).mean()),
        "outside": dict(zip(STATISTICS, outside.mean(axis=0).tolist())),
        "fd": frechet(target, sung),
        "fd_floor": frechet(target, trained),
        "fd_per_120s": frechet_parts(target, sung),
        "spectrum_db": spectrum_distance(ref.heldout.bands, made.bands),
        "novelty_min": float(np.median(near)),
        "novelty_heldout": float(np.median(ref.novelty_heldout)),
        "novelty_lowest": float(np.quantile(near, 0.05)),
        "novelty_lowest_heldout": float(np.quantile(ref.novelty_heldout, 0.05)),
        "repetition": repetition(sung),
        "repetition_real": repetition(target),
        "f0_roughness_ratio": f0_roughness(made.f0) / own if own else float("nan"),
        "voiced_share": float(np.mean(made.f0 > 0)),
        "voiced_share_real": float(np.mean(ref.heldout.f0 > 0)),
    }
    if ref.codec is not None:
        result["fd_codec"] = frechet(target, _standard(ref, ref.codec))
        result["ok_codec"] = float(within(ref.bounds, ref.codec.windows).mean())
    if frame_length:
        result["boundary_clicks"] = boundary_clicks(generated, frame_length)
    return result


def codec_of(recipe):
    """Analysis and resynthesis of a signal by a recipe's frames, or None for raw samples, which lose nothing."""
    if recipe.features == "raw":
        return None

    def resynthesise(y):
        step = recipe.frame_length // features.row_length(recipe)
        return features.decode(features.encode(y, recipe)[::step], recipe)
    return resynthesise


def evaluate_run(run, dataset, seconds=600.0, seed=0, temperature=1.0, on_frame=None):
    """Generate from a run and measure everything, beside what its training knows of its losses.

    Parameters
    ----------
    run : runs.Run
    dataset : dataset.Dataset
        What it was trained on: its train part is the voice, its test part the
        held-out voice, its valid part the primer.
    seconds : float
    seed, temperature, on_frame
        See `generation.generate`.

    Returns
    -------
    result : dict
        As `evaluate`, with ``generation_x_real_time`` and what result.json says.
    generated : float32 array of shape (n_samples,)
    """
    sr = run.recipe.sample_rate
    started = time.monotonic()
    primer = generation.primer_frames(run, dataset, "valid", min(PRIMER_FRAMES, dataset.n_frames("valid")))
    generated = generation.generate(run, seconds, primer, temperature, seed, on_frame)
    speed = seconds / (time.monotonic() - started)
    ref = reference(dataset.signal("train"), dataset.signal("test"), sr, codec_of(run.recipe))
    result = evaluate(ref, generated, run.recipe.frame_length if run.recipe.features == "raw" else None)
    ceiling = {f"fd_{name}": value for name, value in ceilings(ref, dataset.signal("test")).items()}
    return {**result, **ceiling, "generation_x_real_time": speed, **(run.result() or {})}, generated


def _standard(ref, described):
    """Timbre in units of the training voice's own spread, (n_frames, 40)."""
    return (described.timbre - ref.mean) / ref.scale
