"""Draw docs/voices.png, the picture of the README: `python docs/picture.py`, from the checkout's root.

docs/voice.mp3, which it reads, is ten seconds of `generate data/pretrained/world-units voice.wav --seconds 10 --primer none`
put through `audio.to_mp3`.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from vocalsynth_utils import audio, plots, synthetic

HERE = Path(__file__).resolve().parent
SECONDS, SR = 4, 16000
FAILURE = HERE.parent / "data" / "pretrained" / "remedies" / "raw-200-squared-error-none.mp3"


def main():
    n = SECONDS * SR
    voices = {
        "the voice it learns from": ("reference", synthetic.sing(8.0)[n:]),
        "as in 2016: next samples by squared error": ("generated", audio.read(FAILURE)[:n]),
        "this workbook: two levels": ("generated", audio.read(HERE / "voice.mp3")[n : 2 * n]),
    }
    heights = dict(height_ratios=(1, 1.6))
    figure, axes = plt.subplots(2, 3, figsize=(11, 3.6), sharex=True, sharey="row", layout="constrained", **heights)
    limit = 1.1 * max(abs(y).max() for _, y in voices.values())
    for pair, (title, (role, y)) in zip(axes.T, voices.items()):
        plots.waveform_and_spectrogram(y, SR, role, title, pair, limit)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(128).save(HERE / "voices.png", optimize=True)


if __name__ == "__main__":
    main()
