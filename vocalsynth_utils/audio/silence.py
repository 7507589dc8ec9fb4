"""Whether each part of a recording can be heard: an error that says which seconds hold nothing, and what to cut."""

import numpy as np

from .signal import AudioError, printable

SILENT = -40.0  # dB from the recording's loud seconds; the softest singing is above, a room without a voice below
EVERY = 8  # samples, of those that the level is taken from


def check_heard(signal, sr, parts, path):
    """AudioError when a part of a signal is silent beside the rest, as where a recorder was not stopped.

    Parameters
    ----------
    signal : int16 or float32 array of shape (n_samples,), may be memory-mapped
    sr : int, Hz
    parts : dict of names and slices of it
    path : path of the recording, for the error
    """
    seconds = (signal[start : start + sr : EVERY] for start in range(0, len(signal), sr))
    levels = np.array([np.square(x, dtype=np.float64).mean() for x in seconds])  # (n_seconds,)
    level = 10 * np.log10(levels / np.quantile(levels, 0.9) + 1e-12) if levels.any() else levels
    for name, part in parts.items():
        first, last = part.start // sr, -(-part.stop // sr)
        if last - first < 1 or np.quantile(level[first:last], 0.9) > SILENT:
            continue
        heard = np.flatnonzero(level > SILENT)
        before, after = heard[heard < first], heard[heard >= last]
        if not len(after):
            remedy = f"the sound ends at {before[-1] + 1} s: cut the recording there"
        else:
            remedy = f"cut out the silence from {before[-1] + 1 if len(before) else 0} to {after[0]} s"
        where = f"the {name} part ({part.start / sr:.0f} to {part.stop / sr:.0f} s)"
        raise AudioError(f"{printable(path)}: {where} is silent, {-SILENT:g} dB and more below the rest; {remedy}")
