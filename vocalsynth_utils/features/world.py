"""Rows of WORLD vocoder parameters, pitch, voicing, breath and spectral envelope, and the sound of such rows.

M. Morise, F. Yokomori, K. Ozawa, "WORLD: a vocoder-based high-quality speech synthesis system", IEICE Trans. E99-D
(2016); here through PyPI's pyworld, which takes a second to load.
"""

import numpy as np
import soxr

from .pitch import F0_CEIL, F0_FLOOR, RATE, ROW_SECONDS, mains_hum, track, without_hum

# voicing is decided once, by the pitch tracker; D4C's own verdict makes noise of 5 % of the voiced rows
D4C_THRESHOLD = 0.0
LEAST_VOICED, MUCH_HUM = 0.1, 0.003  # share of a voice's rows; of its level, that is worth a word
F0_DEFAULT = 150.0  # Hz, held when a recording has no voiced frame at all
N_ENVELOPE = 60  # coefficients of the spectral envelope: of 24 the codec is heard, of 60 hardly
LOG_F0, VOICING, APERIODICITY = 0, 1, 2  # columns of a WORLD row, the last in dB; the coded log envelope follows


def n_features(sr):
    """Numbers in one row at a sample rate."""
    import pyworld

    return 2 + pyworld.get_num_aperiodicities(sr) + N_ENVELOPE


def row_length(sr):
    """Samples between rows at a sample rate."""
    return int(round(ROW_SECONDS * sr))


def analyse(y, sr):
    """WORLD rows of y, float64 (n_samples,), log F0 not held yet: float32 (n_samples // row_length, n_features)."""
    import pyworld

    f0, n_fft, y = track(y, sr), fft_length(sr), without_hum(y, sr)
    times = ROW_SECONDS * np.arange(len(f0))
    envelope = pyworld.code_spectral_envelope(pyworld.cheaptrick(y, f0, times, sr, fft_size=n_fft), sr, N_ENVELOPE)
    aperiodicity = pyworld.d4c(y, f0, times, sr, threshold=D4C_THRESHOLD, fft_size=n_fft)
    aperiodicity = pyworld.code_aperiodicity(aperiodicity, sr)
    log_f0 = np.log(np.clip(f0, F0_FLOOR, F0_CEIL))
    rows = np.concatenate([log_f0[:, None], (f0 > 0)[:, None], aperiodicity, envelope], axis=1)
    return rows[: len(y) // row_length(sr)].astype(np.float32)


def dio(y, sr):
    """As `pitch.track`, of a signal whose hum is taken out, by another tracker.

    M. Morise, H. Kawahara, H. Katayose, "Fast and reliable F0 estimation method based on the period extraction of
    vocal fold vibration", AES 35th conference (2009).
    """
    import pyworld

    y = soxr.resample(np.asarray(y, np.float64), sr, RATE)
    options = {"channels_in_octave": 4.0, "frame_period": 1000 * ROW_SECONDS}  # of 2 channels a third is an octave high
    return pyworld.dio(y - mains_hum(y), RATE, F0_FLOOR, F0_CEIL, **options)[0]


def fft_length(sr):
    """Length of the spectra that are coded: an int that suits the lowest pitch."""
    import pyworld

    return pyworld.get_cheaptrick_fft_size(sr, F0_FLOOR)


def remarks(rows, y, sr):
    """Lines on rows in which hardly a pitch is found, and on hum in a signal at `sr` Hz."""
    share, hum = rows[:, VOICING].mean(dtype=np.float64), y - without_hum(y, sr)
    if share < LEAST_VOICED:
        searched = f"a pitch of {F0_FLOOR:g} to {F0_CEIL:g} Hz is found in {share:.1%} of it"
        yield f"{searched}; it is no single voice, or all whisper, and what learns from it will hardly sing"
    if np.std(hum) > MUCH_HUM * np.std(y):
        yield f"mains hum, {20 * np.log10(np.std(y) / np.std(hum)):.0f} dB below the voice, is taken out"


def synthesise(frames, frame_length, sr):
    """Sound of WORLD frames, `frame_length` samples apart: float64 (n_frames * frame_length,)."""
    import pyworld

    frames = frames.astype(np.float64)
    voiced = frames[:, VOICING] > 0.5
    f0 = np.where(voiced, np.exp(np.clip(frames[:, LOG_F0], np.log(F0_FLOOR), np.log(F0_CEIL))), 0.0)
    n_fft = fft_length(sr)
    first = frames.shape[1] - N_ENVELOPE
    coded = np.ascontiguousarray(np.minimum(frames[:, APERIODICITY:first], 0) * voiced[:, None])
    aperiodicity = pyworld.decode_aperiodicity(coded, sr, n_fft)
    envelope = pyworld.decode_spectral_envelope(np.ascontiguousarray(frames[:, first:]), sr, n_fft)
    return pyworld.synthesize(f0, envelope, aperiodicity, sr, 1000 * frame_length / sr)


def hold_f0(rows):
    """WORLD rows, changed in place: log F0 keeps its last value through unvoiced ones, and its first before."""
    voiced = rows[:, VOICING] > 0.5
    last = np.maximum.accumulate(np.where(voiced, np.arange(len(rows)), 0))  # last voiced row up to each
    last[: voiced.argmax()] = voiced.argmax()
    rows[:, LOG_F0] = rows[last, LOG_F0] if voiced.any() else np.log(F0_DEFAULT)
    return rows
