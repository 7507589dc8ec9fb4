"""Distances and shares between what `descriptors` says of two signals.

The reference comes first, the generated signal second.
"""
import numpy as np

from .descriptors import DB, FRAME_HOP, SEGMENT_SECONDS, SEGMENT_STRIDE, WINDOW_HOP, WINDOW_SECONDS, segments

QUANTILES = (0.005, 0.995)           # of the training voice: the bounds of its envelope
MARGIN = (3.0, 3.0, 0.0, 0.0)        # dB beyond them allowed to level and flatness
DEAD_SECONDS = 2.0                   # outside the envelope for longer, the voice has died
PART_SECONDS = 120.0                 # Frechet distance is also taken of each part this long
PITCH_STEP = 3                       # rows of 5 ms between which the melody's steps are measured
MAX_PITCH_STEP = np.log(2) / 2       # larger ones are the pitch tracker's octave jumps
N_QUERIES = 1200                     # generated segments looked up in the training voice
MEMORY_SECONDS = 30.0                # of its own past in which a signal is searched for repetition
GAP_SECONDS = 0.5                    # between a segment and the past it is looked up in: no overlap


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


def frechet_parts(reference, generated):
    """Frechet distance of each 120 s of a signal; its slope is drift.

    Parameters
    ----------
    reference, generated : float arrays of shape (n_frames, d), every 10 ms

    Returns
    -------
    list of float
        One of the whole when it is shorter than 120 s; a rest is left out.
    """
    n = round(PART_SECONDS / FRAME_HOP)
    parts = [generated[i:i + n] for i in range(0, len(generated), n) if len(generated[i:i + n]) > 0.99 * n] or [generated]
    return [frechet(reference, part) for part in parts]


def novelty(reference, generated):
    """Distance of half-second segments to the nearest one of the training voice.

    Parameters
    ----------
    reference, generated : float arrays of shape (n_frames, d), every 10 ms
        Standardised timbre of the training voice, and of what is asked about.

    Returns
    -------
    float array of shape (n_queries,)
        Root mean square over standardised coefficients: about 0 for a copy.
    """
    asked = segments(generated)
    step = max(_segments_in(SEGMENT_SECONDS), -(-len(asked) // N_QUERIES))
    return _nearest(segments(reference), np.ascontiguousarray(asked[::step]))


def repetition(generated):
    """Distance of half-second segments to the nearest one in the 30 s before them.

    Parameters
    ----------
    generated : float array of shape (n_frames, d), standardised timbre

    Returns
    -------
    float
        Median; about 0 for a loop, which keeps within the envelope and is
        caught here.  nan for a signal of less than two seconds.
    """
    rows = segments(generated)
    gap, memory = _segments_in(SEGMENT_SECONDS + GAP_SECONDS), _segments_in(MEMORY_SECONDS)
    asked = range(gap + 1, len(rows), max(gap, len(rows) // 200))
    near = [_nearest(rows[max(0, i - memory):i - gap], rows[i:i + 1])[0] for i in asked]
    return float(np.median(near)) if near else float("nan")


def _segments_in(seconds):
    """Segments that start in so many seconds."""
    return round(seconds / (SEGMENT_STRIDE * FRAME_HOP))


def _nearest(known, asked):
    """Root mean square distance from each row of asked (n, d) to its nearest row of known (m, d): (n,)."""
    length = np.einsum("ij,ij->i", asked, asked)
    nearest = np.full(len(asked), np.inf, np.float32)
    for start in range(0, len(known), 8192):
        block = np.ascontiguousarray(known[start:start + 8192])
        distance = np.einsum("ij,ij->i", block, block) - 2 * asked @ block.T  # + length: (n, n_block)
        nearest = np.minimum(nearest, distance.min(axis=1) + length)
    return np.sqrt(np.maximum(nearest, 0) / asked.shape[1])


def spectrum_distance(reference, generated):
    """Root mean square difference in dB of the long-term spectra in 40 mel bands; arguments as `descriptors.bands` gives them."""
    means = [DB * np.log(np.exp(b.astype(float)).mean(axis=0)) for b in (reference, generated)]
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
