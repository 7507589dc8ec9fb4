"""What a frame holds, `encode` of a signal into it and `decode` back to sound.

=========  ===========================================================  ==============
features   a frame of `frame_length` samples becomes                    rows stored
=========  ===========================================================  ==============
raw        the samples themselves                                       every sample
fft        real and imaginary parts of its spectrum                     every frame
world      log F0, voicing, aperiodicity, 60 of the spectral envelope   every 5 ms
logmel     64 log-mel bands                                             every frame
=========  ===========================================================  ==============

An LSTM step takes every ``frame_length // row_length``-th row.  A recipe is
here anything with the attributes `features`, `frame_length` and `sample_rate`.
"""

from .codec import FEATURES, decode, decode_blocks, encode, frames, n_features, remarks, row_length
from .cores import counting, over_cores
from .pitch import F0_CEIL, F0_FLOOR, ROW_SECONDS
from .world import LOG_F0, N_ENVELOPE, VOICING

__all__ = ["F0_CEIL", "F0_FLOOR", "FEATURES", "LOG_F0", "N_ENVELOPE", "ROW_SECONDS", "VOICING", "counting"]
__all__ += ["decode", "decode_blocks", "encode", "frames", "n_features", "over_cores", "remarks", "row_length"]
