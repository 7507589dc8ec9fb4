"""Sound in a notebook cell: small inline MP3 players, as loud as the signal is."""

import html
import io

import numpy as np
import soundfile
import soxr
from IPython.display import Audio

from .signal import MP3_RATES, AudioError, check_rate, to_int16


def to_mp3(y, sr=16000):
    """A signal as MP3 bytes, the same for the same signal, about 4.5 kB per second at 16 kHz: small enough for a cell.

    Parameters
    ----------
    y : float array of shape (n_samples,), full scale 1, or int16
        Clipped, never normalised; an empty one, or one with NaN or infinite samples, is an `AudioError`.
    sr : int, Hz; one that MP3 does not know is resampled to the next it knows
    """
    x = to_int16(y)
    if not len(x):
        raise AudioError("y is empty; there is nothing to play")
    if check_rate(sr) not in MP3_RATES:
        rate = next((r for r in MP3_RATES if r >= sr), MP3_RATES[-1])
        x, sr = soxr.resample(x, sr, rate), rate
    out = io.BytesIO()
    soundfile.write(out, x, int(sr), format="MP3", compression_level=0.9)
    return out.getvalue()


class Player(Audio):
    """An `<audio>` element with its title above."""

    title = None

    def _repr_html_(self):
        title = f"<div>{html.escape(self.title)}</div>" if self.title else ""
        return title + super()._repr_html_()

    def __repr__(self):
        return f"<Player: {self.title}>" if self.title else "<Player>"


def player(y, sr=16000, title=None):
    """A small inline player for a notebook cell: a `Player`, an `IPython.display.Audio` whose data are MP3 bytes.

    It plays `y` (`y` and `sr` as `to_mp3` takes them) as loud as it is, under the line `title`: IPython's own player
    normalises by default, which makes near-silence loud.
    """
    sound = Player(data=to_mp3(y, sr))
    sound.mimetype = "audio/mpeg"  # Audio claims audio/wav for any bytes
    sound.title = title if title is None or np.any(y) else f"{title} (silent)"
    return sound
