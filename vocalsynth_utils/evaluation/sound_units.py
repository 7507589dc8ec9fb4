"""Speech as text that nobody wrote: a voice's own sounds as labels, how well their order is foreseen, how much recurs.

A loop is foreseen best of all.  So a perplexity is read beside the share of what recurs, at the voice's own, as that of
generated spoken language is [1].

References
----------
[1] K. Lakhotia et al., "On generative spoken language modeling from raw audio", TACL 9 (2021), section 4.
"""

import warnings
from collections import Counter

import numpy as np
import scipy
from numpy.lib.stride_tricks import sliding_window_view

N_UNITS = 64
N_ITERATIONS = 20  # of k-means
N_FRAMES = 10  # of a half-syllable: 100 ms
SMOOTHING = 2.0  # frames, of the level whose extremes are looked for
CEPSTRA = slice(1, 13)  # without the first: level is a setting
N_COSINES = 3  # of each cepstrum's course: its mean, its slope, its bend
STRETCH = 1200  # units, about 120 s, in which what recurs is counted: the more there are, the more recurs
ORDER = 3  # units of an n-gram


def half_syllables(bands, standard_timbre):
    """Vectors of 100 ms around each maximum and minimum of level, which move with the sounds: float32 (n, 36)."""
    rising = np.diff(scipy.ndimage.gaussian_filter1d(bands.mean(axis=1), SMOOTHING)) > 0
    first = np.flatnonzero(rising[1:] != rising[:-1]) + 1 - N_FRAMES // 2
    first = first[(first >= 0) & (first + N_FRAMES <= len(bands))]
    courses = sliding_window_view(standard_timbre[:, CEPSTRA], N_FRAMES, axis=0)[first]  # (n, 12, N_FRAMES)
    cosines = scipy.fft.dct(courses, norm="ortho")[..., :N_COSINES].astype(np.float32)
    return cosines.reshape(len(first), N_COSINES * courses.shape[1])


def learn(vectors, seed=0):
    """Centres of a training part's `half_syllables`, by k-means from some of them: float32 (n_units, 36)."""
    if not len(vectors):
        return np.zeros((1, vectors.shape[1]), np.float32)
    n_units = min(N_UNITS, len(vectors))
    centres = vectors[np.random.default_rng(seed).choice(len(vectors), n_units, replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a centre without members stays where it is
        return scipy.cluster.vq.kmeans2(vectors, centres, N_ITERATIONS, minit="matrix")[0]


def label(centres, vectors):
    """Nearest centre of each of a signal's `half_syllables`: int16 (n,)."""
    return scipy.cluster.vq.vq(vectors, centres)[0].astype(np.int16) if len(vectors) else np.zeros(0, np.int16)


def perplexity(known, labels, n_labels):
    """Perplexity of a sequence under the trigrams of another: 1 where all is foreseen, n_labels where nothing is.

    Parameters
    ----------
    known, labels : sequences of what can be counted
        What the trigrams are of, and what is to be foreseen.
    n_labels : int
        How many kinds there can be.

    Returns
    -------
    float
        nan for less than three labels.

    References
    ----------
    I. Witten, T. Bell, "The zero-frequency problem", IEEE Trans. Information Theory 37 (1991), method C, each context
    interpolated with the one shorter: p(c | ab) = (n(abc) + t(ab) p(c | b)) / (n(ab) + t(ab)), where t(ab) is how many
    kinds have followed ab, and the shortest is followed by 1 / n_labels.
    """
    known, labels = (list(np.asarray(x).tolist()) for x in (known, labels))
    followed = Counter(_n_grams(known, ORDER)) + Counter(_n_grams(known, 2)) + Counter((c,) for c in known)
    total, kinds = Counter(), Counter(n_gram[:-1] for n_gram in followed)
    for n_gram, n in followed.items():
        total[n_gram[:-1]] += n

    def probability(n_gram):
        shorter = probability(n_gram[1:]) if len(n_gram) > 1 else 1 / n_labels
        n, t = total[n_gram[:-1]], kinds[n_gram[:-1]]
        return (followed[n_gram] + t * shorter) / (n + t) if n else shorter

    logs = [np.log(probability(n_gram)) for n_gram in _n_grams(labels, ORDER)]
    return float(np.exp(-np.mean(logs))) if logs else float("nan")


def repeated(labels, stretch=STRETCH):
    """Share of trigrams that occurred before in the same stretch of so many labels: 0 to 1; nan for less than three.

    >>> repeated([1, 2, 3] * 4)  # 3 of 10 are new
    0.7
    """
    labels, n = np.asarray(labels).tolist(), max(1, min(stretch, len(labels)))
    parts = [_n_grams(labels[i : i + n], ORDER) for i in range(0, len(labels) - n + 1, n)]
    counted = sum(map(len, parts))
    return 1 - sum(len(set(part)) for part in parts) / counted if counted else float("nan")


def _n_grams(labels, n):
    """All runs of n labels, as tuples."""
    return list(zip(*(labels[i:] for i in range(n))))
