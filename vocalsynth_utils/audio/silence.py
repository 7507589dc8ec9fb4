"""Whether each part of a recording can be heard: an error that says which seconds hold nothing, and what to cut."""

import numpy as np

from .signal import AudioError, printable

SILENT = -40.0  # dB from the recording's loud seconds; the softest singing is above, a room without a voice below
EVERY = 61  # samples, of those that the level is taken from: no tone keeps step with it


def heard(signal, sr):
    """Whether each second of a signal (n_samples,) is more than silence beside its loud ones: bool (n_seconds,)."""
    x = np.square(np.asarray(signal)[::EVERY], dtype=np.float64)
    seconds = -(-np.arange(0, len(signal), sr) // EVERY)  # where each begins in x, if it is long enough to
    seconds = seconds[seconds < len(x)]
    power = np.add.reduceat(x, seconds) / np.diff(seconds, append=len(x))
    if not power.any():
        return power == 0  # a few samples, of which those looked at are 0
    return power > 10 ** (SILENT / 10) * np.quantile(power[power > 0], 0.9)


def check_heard(signal, sr, parts, path):
    """AudioError when a part of a signal is silent beside the rest, as where a recorder was not stopped.

    Parameters
    ----------
    signal : int16 or float32 array of shape (n_samples,), may be memory-mapped
    sr : int, Hz
    parts : dict of names and slices of it
    path : path of the recording, for the error
    """
    loud = heard(signal, sr)
    edges = [-1, *np.flatnonzero(loud), len(loud)]
    gaps = [(before + 1, after) for before, after in zip(edges, edges[1:])]  # stretches of silence, s
    for name, part in parts.items():
        first, last = part.start // sr, -(-part.stop // sr)
        if np.mean(loud[first:last]) >= 0.1:
            continue
        start, end = max((min(b, last) - max(a, first), (a, b)) for a, b in gaps)[1]  # the longest of the part
        remedy = f"the sound ends at {start} s: cut the recording there"
        if end < len(loud):
            remedy = f"cut out the silence from {start} to {end} s"
        where = f"the {name} part ({part.start / sr:.0f} to {part.stop / sr:.0f} s)"
        raise AudioError(f"{printable(path)}: {where} is silent, {-SILENT:g} dB and more below the rest; {remedy}")
