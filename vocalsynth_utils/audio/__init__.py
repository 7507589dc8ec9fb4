"""Audio in and out: recordings of any kind as mono samples, block by block; WAV files, whole or not at all; players.

A signal `y` is float32 of shape (n_samples,) at full scale 1, the whole range of a 16-bit sample: int16 / 32768.
"""

from .recording import Recording, open_recording, read
from .signal import TRACE, AudioError, from_int16, joined, level, levelled, limited, to_int16
from .silence import check_heard, heard
from .writing import check_place, wav_length, write, writer

__all__ = ["TRACE", "AudioError", "Player", "Players", "Recording", "check_heard", "check_place", "from_int16"]
__all__ += ["heard", "joined", "level", "levelled", "limited", "open_recording", "player", "players", "read"]
__all__ += ["to_int16", "to_mp3", "wav_length", "write", "writer"]


def __getattr__(name):
    if name not in ("Player", "Players", "player", "players", "to_mp3"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import playing  # loads IPython, which only a notebook needs

    return getattr(playing, name)
