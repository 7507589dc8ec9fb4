"""What a recording holds and whether it is good enough to learn from: figures, and what to do about them."""

from types import SimpleNamespace

import numpy as np

from .. import audio, features

FEW, ENOUGH = 5, 20  # minutes: learned by heart below the first, good from the second on
FULL_SCALE = 0.98  # of it, beyond which a sample counts as clipped: resampling leaves ripples on what was flat
SOFT, MUCH_SILENCE = -40.0, 0.3  # dB of full scale; share of the seconds
SOME = 1 << 22  # samples that a share is counted from


def survey(dataset):
    """What a prepared recording (`dataset.Dataset`) holds, dict of float by name and unit, and advice, list of str.

    Of WORLD features the share that is voiced is in it, and the pitches that 5, 50 and 95 % of that lie below.  There
    is a line of advice for everything that is worth one, none where the recording is good.
    """
    sr, y, rows = dataset.settings["sample_rate"], dataset.samples, dataset.rows
    full, level, remarks = np.float32(32768 if y.dtype == np.int16 else 1), audio.level(y), []
    figures = {
        "length (minutes)": len(y) / sr / 60,
        "level (dB of full scale)": -np.inf if level is None else level,
        "samples at full scale (%)": 100 * float(np.mean(np.abs(y[:: -(-len(y) // SOME)] / full) >= FULL_SCALE)),
        "silent seconds (%)": 100 * float(np.mean(~audio.heard(y, sr))),
    }
    advice = _advice(*figures.values())
    if dataset.settings["features"] == "world":
        voiced = rows[:, features.VOICING] > 0.5
        pitch = np.exp(rows[voiced, features.LOG_F0]) if voiced.any() else np.full(1, np.nan)
        figures["voiced (%)"] = 100 * float(voiced.mean())
        for name, share in {"low": 0.05, "median": 0.5, "high": 0.95}.items():
            figures[f"pitch, {name} (Hz)"] = float(np.quantile(pitch, share))
        remarks = features.remarks(rows, y[: 60 * sr] / full, SimpleNamespace(**dataset.settings))
    return figures, [*advice, *remarks]


def _advice(minutes, level, clipped, silent):
    """Lines on a recording's length, level and shares in per cent."""
    if minutes < ENOUGH:
        what = "a beginning" if minutes >= FEW else f"learned by heart; {FEW} are a beginning"
        yield f"{minutes:.1f} minutes are {what}, and {ENOUGH} make it good"
    if level < SOFT:
        yield f"it is soft ({level:.0f} dB of full scale) and its noise is learned with it; record from nearer by"
    if clipped > 100 * audio.TRACE:
        yield f"{clipped:.1f} % of the samples are at full scale: it was recorded too loud; record with less gain"
    if silent > 100 * MUCH_SILENCE:
        yield f"{silent:.0f} % of the seconds are silent, which is learned too; cut out the long pauses"
