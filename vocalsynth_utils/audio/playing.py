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


class Players:
    """Several players side by side; `sounds` is a list of `Player`."""

    def __init__(self, sounds):
        self.sounds = sounds

    def _repr_html_(self):
        grid = (
            "display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0 1rem; align-items: end"
        )
        return f'<div style="{grid}">' + "".join(f"<div>{s._repr_html_()}</div>" for s in self.sounds) + "</div>"

    def __repr__(self):
        return f"<Players: {'; '.join(str(sound.title) for sound in self.sounds)}>"


def players(sounds, sr=16000, like=None):
    """A grid of `player`s; `sounds` is a dict of float arrays of shape (n_samples,) by title.

    Beside a signal `like`, what is over twice as loud or quiet is brought near its level, and its title says so.
    """
    made, rms = [], lambda y: float(np.sqrt(np.mean(np.square(y, dtype=float))))
    for title, y in sounds.items():
        if like is not None and np.any(y):
            gain = float(
                f"{min(rms(like) / rms(y), 1 / np.abs(y).max()):.0e}"
            )  # peaks stay within full scale, or nearly
            if not 0.5 <= gain <= 2:
                title += f" ({gain:.0f} x louder)" if gain > 1 else f" ({1 / gain:.0f} x quieter)"
                y = gain * y
        made.append(player(y, sr, title))
    return Players(made)
