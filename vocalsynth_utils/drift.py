"""Does generated sound stay a voice?  Measures of drift, and what each can and cannot tell.

A teacher-forced loss says nothing about free running: networks of equal loss
die to a constant or sing on.  Level and spectrum alone cannot tell a voice
from a loop of its last 50 ms.  So several measures stand side by side, each
with the figures of real voice, of the codec alone, and of plain failures.

Metrics take the reference first and the generated signal second.
"""
import warnings
from typing import NamedTuple, Optional

import numpy as np

from . import descriptors
from .descriptors import STATISTICS, WINDOW_HOP, WINDOW_SECONDS

QUANTILES = (0.005, 0.995)           # of the training voice: the bounds of its envelope
MARGIN = (3.0, 3.0, 0.0, 0.0)        # dB beyond them allowed to level and flatness
DEAD_SECONDS = 2.0                   # outside the envelope for longer, the voice has died
PART_SECONDS = 120.0                 # Frechet distance is also taken of each part this long
PITCH_STEP = 3                       # rows of 5 ms between which the melody's steps are measured
MAX_PITCH_STEP = np.log(2) / 2       # larger ones are the pitch tracker's octave jumps
N_QUERIES = 1200                     # generated segments looked up in the training voice
SNIPPET_SECONDS = 0.05               # of the shuffled ceiling


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
    return partial._replace(novelty_heldout=novelty(partial, held))


def envelope(windows):
    """Bounds within which a voice keeps: quantiles of each statistic, with a margin.

    Parameters
    ----------
    windows : float array of shape (n_windows, 4), from `descriptors.windows`

    Returns
    -------
    float array of shape (2, 4): lowest and highest
    """
    low, high = np.quantile(windows, QUANTILES, axis=0)
    return np.stack([low - MARGIN, high + MARGIN])


def within(bounds, windows):
    """Which windows keep within the envelope in all four statistics: bool array (n_windows,)."""
    return np.all((windows >= bounds[0]) & (windows <= bounds[1]), axis=1)


def survival(inside, seconds):
    """Seconds until a voice has died: the start of the first run of more than 2 s outside its envelope.

    Parameters
    ----------
    inside : bool array of shape (n_windows,), from `within`
    seconds : float
        Length of the signal.

    Returns
    -------
    float
        `seconds` when it lives to the end.

    Examples
    --------
    >>> survival(np.array([True] * 9 + [False] * 9), 9.5)
    4.5
    """
    needed = int(np.floor((DEAD_SECONDS - WINDOW_SECONDS) / WINDOW_HOP)) + 2  # so many windows cover more than 2 s
    run = 0
    for i, ok in enumerate(inside):
        run = 0 if ok else run + 1
        if run == needed:
            return (i - needed + 1) * WINDOW_HOP
    return float(seconds)


def frechet(reference, generated):
    """Frechet distance between two clouds of points, each taken as a Gaussian.

    Parameters
    ----------
    reference, generated : float arrays of shape (n, d)

    Returns
    -------
    float
        |m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)); 0 for equal moments.

    References
    ----------
    D. Dowson, B. Landau, "The Frechet distance between multivariate normal
    distributions", J. Multivariate Analysis 12 (1982).
    """
    m1, m2 = reference.mean(axis=0, dtype=float), generated.mean(axis=0, dtype=float)
    c1, c2 = (np.atleast_2d(np.cov(x, rowvar=False, dtype=float)) for x in (reference, generated))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # C1^(1/2)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ c2 @ root), 0)).sum()
    return float(max(0.0, np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * cross))


def frechet_parts(ref, generated):
    """Frechet distance of each 120 s of a signal against the held-out voice; its slope is drift.

    Returns
    -------
    list of float
        One of the whole when it is shorter than 120 s; a rest is left out.
    """
    n = round(PART_SECONDS / descriptors.FRAME_HOP)
    rows, target = _standard(ref, generated.timbre), _standard(ref, ref.heldout.timbre)
    parts = [rows[i:i + n] for i in range(0, len(rows), n) if len(rows[i:i + n]) > 0.99 * n] or [rows]
    return [frechet(target, part) for part in parts]


def novelty(ref, generated):
    """Distance of half-second segments to the nearest one of the training voice.

    Parameters
    ----------
    ref : Reference
    generated : Described

    Returns
    -------
    float array of shape (n_queries,)
        Root mean square over standardised coefficients: about 0 for a copy.
    """
    known = descriptors.segments(_standard(ref, ref.train.timbre))
    asked = descriptors.segments(_standard(ref, generated.timbre))
    step = max(round(descriptors.SEGMENT_SECONDS / 0.02), -(-len(asked) // N_QUERIES))
    asked = np.ascontiguousarray(asked[::step])
    length = np.einsum("ij,ij->i", asked, asked)
    nearest = np.full(len(asked), np.inf, np.float32)
    for start in range(0, len(known), 8192):
        block = np.ascontiguousarray(known[start:start + 8192])
        distance = np.einsum("ij,ij->i", block, block) - 2 * asked @ block.T  # + length: (n_queries, n_block)
        nearest = np.minimum(nearest, distance.min(axis=1) + length)
    return np.sqrt(np.maximum(nearest, 0) / asked.shape[1])


def spectrum_distance(reference, generated):
    """Root mean square difference in dB of the long-term spectra in 40 mel bands; arguments as `descriptors.bands` gives them."""
    means = [descriptors.DB * np.log(np.exp(b.astype(float)).mean(axis=0)) for b in (reference, generated)]
    return float(np.sqrt(np.mean((means[0] - means[1]) ** 2)))


def f0_roughness(f0):
    """How much a melody moves: mean absolute step of log F0 over 15 ms, where both ends are voiced.

    Parameters
    ----------
    f0 : float array of shape (n_rows,), Hz every 5 ms, 0 unvoiced

    Returns
    -------
    float
        0 when nothing is voiced.
    """
    a, b = f0[:-PITCH_STEP], f0[PITCH_STEP:]
    both = (a > 0) & (b > 0)
    steps = np.abs(np.log(b[both] / a[both]))
    steps = steps[steps < MAX_PITCH_STEP]
    return float(steps.mean()) if len(steps) else 0.0


def boundary_clicks(generated, frame_length):
    """Roughness of the samples at frame boundaries over that inside frames; 1 means no clicks.

    Parameters
    ----------
    generated : float array of shape (n_samples,)
    frame_length : int, samples

    Returns
    -------
    float
        Ratio of mean absolute second differences; nan for silence.
    """
    bend = np.abs(np.diff(generated, 2))  # bend[i] is centred on sample i + 1
    place = (np.arange(len(bend)) + 1) % frame_length
    at = (place == 0) | (place == frame_length - 1)
    return float(bend[at].mean() / bend[~at].mean()) if bend[~at].any() else float("nan")


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
    target = _standard(ref, ref.heldout.timbre)
    return {name: frechet(target, _standard(ref, descriptors.timbre(descriptors.bands((y / ref.std).astype(np.float32), ref.sr))))
            for name, y in failures.items()}


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
        ``f0_roughness_ratio``: melody's steps over the held-out voice's;
        ``voiced_share``; and ``..._real``, ``..._codec`` where these mean
        something.
    """
    generated = np.asarray(generated)
    validate(np.array([0.0, 1.0] * ref.sr), generated, ref.sr)
    made = describe(generated, ref.sr, ref.std)
    inside, near = within(ref.bounds, made.windows), novelty(ref, made)
    target = _standard(ref, ref.heldout.timbre)
    own = f0_roughness(ref.heldout.f0)
    outside = (made.windows < ref.bounds[0]) | (made.windows > ref.bounds[1])
    result = {
        "seconds": made.seconds,
        "survival_s": survival(inside, made.seconds),
        "ok": float(inside.mean()),
        "ok_real": float(within(ref.bounds, ref.heldout.windows).mean()),
        "outside": dict(zip(STATISTICS, outside.mean(axis=0).tolist())),
        "fd": frechet(target, _standard(ref, made.timbre)),
        "fd_floor": frechet(target, _standard(ref, ref.train.timbre)),
        "fd_per_120s": frechet_parts(ref, made),
        "spectrum_db": spectrum_distance(ref.heldout.bands, made.bands),
        "novelty_min": float(np.median(near)),
        "novelty_heldout": float(np.median(ref.novelty_heldout)),
        "novelty_lowest": float(np.quantile(near, 0.05)),
        "novelty_lowest_heldout": float(np.quantile(ref.novelty_heldout, 0.05)),
        "f0_roughness_ratio": f0_roughness(made.f0) / own if own else float("nan"),
        "voiced_share": float(np.mean(made.f0 > 0)),
        "voiced_share_real": float(np.mean(ref.heldout.f0 > 0)),
    }
    if ref.codec is not None:
        result["fd_codec"] = frechet(target, _standard(ref, ref.codec.timbre))
        result["ok_codec"] = float(within(ref.bounds, ref.codec.windows).mean())
    if frame_length:
        result["boundary_clicks"] = boundary_clicks(generated, frame_length)
    return result


def _standard(ref, timbre):
    return (timbre - ref.mean) / ref.scale
