"""Audio files: what is read is what is there, or one line says why not."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import wave
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
import soxr
from scipy.io import wavfile

from vocalsynth_utils import audio
from vocalsynth_utils.audio import AudioError
from vocalsynth_utils.audio.wav import wav_header
from vocalsynth_utils.storage import limits


def voice(n=8000, seed=0):
    """A decaying hum with noise, well within full scale."""
    t = np.arange(n) / 16000
    return (0.4 * np.sin(2 * np.pi * 220 * t) * np.exp(-t) + 0.01 * np.random.default_rng(seed).normal(size=n)).astype(
        np.float32
    )


def wav_bytes(y=None, sr=16000, subtype="PCM_16", kind="WAV"):
    out = io.BytesIO()
    soundfile.write(out, voice() if y is None else y, sr, format=kind, subtype=subtype)
    return out.getvalue()


def save(path, content):
    path.write_bytes(content)
    return str(path)


def png():
    """An image of one pixel."""
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + pixel


def zipped(content):
    """An archive with something in it as it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("song.mp3", content)
    return out.getvalue()


# reading ----------------------------------------------------------------------------------------------------------


def test_16_bit_mono_file_passes_through_untouched(tmp_path):
    x = np.random.default_rng(0).integers(-32768, 32768, 10001).astype(np.int16)
    wavfile.write(tmp_path / "a.wav", 16000, x)
    recording = audio.open_recording(tmp_path / "a.wav")
    blocks = list(recording.blocks(1000))
    assert (recording.dtype, len(blocks)) == (np.int16, 11)
    np.testing.assert_array_equal(np.concatenate(blocks), x)
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), x)  # a second pass starts again


@pytest.mark.parametrize(
    "kind, subtype, step",
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-22),
        ("WAV", "PCM_32", 2**-22),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "ULAW", 0.02),
        ("WAV", "ALAW", 0.02),
        ("WAVEX", "PCM_16", 2**-15),
        ("WAVEX", "PCM_24", 2**-22),
        ("WAVEX", "FLOAT", 0),
        ("RF64", "PCM_16", 2**-15),
        ("RF64", "FLOAT", 0),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-22),
    ],
)
@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_every_sample_format_reads_to_within_its_own_step(tmp_path, kind, subtype, step, n_channels):
    y = voice()
    channels = np.stack([y * (1 + 0.1 * c) for c in range(n_channels)], axis=1)
    soundfile.write(tmp_path / "a", channels, 16000, format=kind, subtype=subtype)
    z = audio.read(tmp_path / "a")
    assert z.dtype == np.float32 and z.shape == y.shape
    assert np.abs(z - channels.mean(axis=1)).max() <= step + 1e-7


@pytest.mark.parametrize("kind, subtype", [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_files_keep_length_and_shape(tmp_path, kind, subtype):
    y = voice(16000)
    soundfile.write(tmp_path / "a", y, 16000, format=kind, subtype=subtype)
    z = audio.read(tmp_path / "a")
    assert len(z) == len(y) and np.corrcoef(y, z)[0, 1] > 0.99


def test_big_endian_wav_equals_little_endian(tmp_path):
    x = audio.to_int16(voice())
    n_bytes = 2 * len(x)
    head = (b"RIFX", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", n_bytes)
    save(tmp_path / "a.wav", struct.pack(">4sI8sIHHIIHH4sI", *head) + x.astype(">i2").tobytes())
    recording = audio.open_recording(tmp_path / "a.wav")
    np.testing.assert_array_equal(next(recording.blocks()), x)
    assert next(recording.blocks()).dtype == np.int16


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_resampling_in_blocks_equals_resampling_at_once(tmp_path, rate):
    y = voice(rate // 2 + 7)
    wavfile.write(tmp_path / "a.wav", rate, y)
    recording = audio.open_recording(tmp_path / "a.wav", 16000)
    z = np.concatenate(list(recording.blocks(1000)))
    np.testing.assert_allclose(z, soxr.resample(y, rate, 16000, quality="HQ"), atol=1e-6)


def test_a_tone_keeps_its_pitch_when_resampled(tmp_path):
    wavfile.write(
        tmp_path / "a.wav", 44100, (0.5 * np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)).astype(np.float32)
    )
    y = audio.read(tmp_path / "a.wav", 16000)
    assert np.argmax(np.abs(np.fft.rfft(y * np.hanning(len(y))))) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("peak", [1.02, 6, 3000])
def test_floats_over_full_scale_are_scaled_to_it_and_that_is_said(tmp_path, peak, subtype):
    y = voice() / np.abs(voice()).max()
    save(tmp_path / "a.wav", wav_bytes(peak * y, subtype=subtype))
    with pytest.warns(UserWarning, match=f"a.wav: its samples reach {peak} times full scale; all of it is scaled"):
        z = audio.read(tmp_path / "a.wav")
    np.testing.assert_allclose(z, y, atol=1e-6)


def test_floats_at_full_scale_are_left_alone(tmp_path, recwarn):
    y = voice() / np.abs(voice()).max()
    np.testing.assert_array_equal(audio.read(save(tmp_path / "a.wav", wav_bytes(y, subtype="FLOAT"))), y)
    assert not len(recwarn)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_of_channels_that_cancel_the_louder_is_taken_and_that_is_said(tmp_path, subtype):
    y = voice()
    save(tmp_path / "a.wav", wav_bytes(np.stack([-0.95 * y, y], 1), subtype=subtype))
    with pytest.warns(UserWarning, match="2 channels cancel each other out; the loudest, number 2"):
        z = audio.read(tmp_path / "a.wav")
    np.testing.assert_allclose(z, y, atol=2**-15)


def test_a_channel_that_is_silent_or_different_cancels_nothing(tmp_path, recwarn):
    y, other = voice(), voice(seed=1)[::-1]
    for channels in ([y, 0 * y], [y, other], [y] + 63 * [0 * y]):
        channels = np.stack(channels, 1)
        save(tmp_path / "a.wav", wav_bytes(channels, subtype="FLOAT"))
        np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), channels.mean(axis=1), atol=1e-6)
    assert not len(recwarn)


def test_foreign_chunks_before_and_after_the_audio_are_skipped(tmp_path, recwarn):
    raw = wav_bytes()
    odd = struct.pack("<4sI", b"odd!", 3) + b"abc\0"
    body = raw[12:36] + odd + raw[36:] + odd + b"xy"
    save(tmp_path / "a.wav", b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    assert len(audio.read(tmp_path / "a.wav")) == 8000
    assert not len(recwarn)


def test_reading_holds_one_block_and_not_the_recording(tmp_path):
    x = np.random.default_rng(0).integers(-9000, 9000, 20_000_000).astype(np.int16)
    wavfile.write(tmp_path / "a.wav", 16000, x)
    tracemalloc.start()
    total = sum(int(b.astype(np.int64).sum()) for b in audio.open_recording(tmp_path / "a.wav").blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == int(x.astype(np.int64).sum()) and peak < 8e6


def test_rf64_over_4_gb_is_counted_right(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HOLES_FROM", 2**40)
    n_bytes = 2**32 + 2_000_000
    head = struct.pack(
        "<4sI4s4sIQQQI", b"RF64", 0xFFFFFFFF, b"WAVE", b"ds64", 28, n_bytes + 72, n_bytes, n_bytes // 2, 0
    )
    head += struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 0xFFFFFFFF)
    with open(tmp_path / "a.wav", "wb") as f:
        f.write(head + b"\x01\x00" * 1000)
        f.truncate(len(head) + n_bytes)  # sparse: takes no room
    with open(tmp_path / "a.wav", "rb") as f:
        assert wav_header(f).size == n_bytes
    assert next(audio.open_recording(tmp_path / "a.wav").blocks())[999] == 1
    with pytest.raises(AudioError, match="too much for memory"):
        audio.read(tmp_path / "a.wav")


# bad input --------------------------------------------------------------------------------------------------------


def fails(path, match, sr=16000):
    with pytest.raises(AudioError, match=match) as caught:
        audio.read(path, sr)
    assert "\n" not in str(caught.value)


def test_each_bad_file_is_named_with_what_is_wrong(tmp_path):
    y = voice()
    fails(tmp_path / "none.wav", "none.wav: no such file")
    fails(tmp_path, "not a regular file")
    fails(save(tmp_path / "empty.wav", b""), "empty.wav: the file is empty")
    fails(save(tmp_path / "text.wav", b"Dear diary, " * 99), "text.wav: not audio")
    fails(save(tmp_path / "riff.avi", b"RIFF\x10\0\0\0AVI LIST" + bytes(99)), "not audio")
    fails(save(tmp_path / "image.png", png()), "image.png: not audio")
    fails(save(tmp_path / "some.zip", zipped(wav_bytes(kind="MP3", subtype="MPEG_LAYER_III"))), "not audio|no audio")
    fails(save(tmp_path / "silent.wav", wav_bytes(0 * y)), "silent.wav: the audio is silent")
    fails(save(tmp_path / "constant.wav", wav_bytes(0 * y + 0.5)), "constant at 16384")
    fails(save(tmp_path / "noaudio.wav", wav_bytes(y[:0])), "holds no audio")
    fails(save(tmp_path / "junk.flac", b"fLaC" + bytes(range(256)) * 9), "junk.flac: not audio that can be read")
    fails(save(tmp_path / "two\nlines.wav", b"RIFF"), r"two\?lines.wav: not audio")
    fails(save(tmp_path / "tiny.wav", wav_bytes(y[:2], 96000)), "tiny.wav: not one sample of it is left at 16000 Hz")
    fails("nul\0.wav", "null")
    fails("x" * 5000, "cannot be read")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_nan_infinite_and_unscaled_floats_are_refused(tmp_path, bad, subtype):
    y = voice().astype(np.float64)
    y[777] = bad
    fails(
        save(tmp_path / "a.wav", wav_bytes(y, subtype=subtype)),
        "NaN or infinite" if abs(bad) != 1e30 else "full scale is 1",
    )


@pytest.mark.parametrize(
    "field, value, match",
    [
        (22, struct.pack("<H", 0), "0 channels"),
        (24, struct.pack("<I", 0), "its sample rate is 0"),
        (24, struct.pack("<I", 2**32 - 1), "its sample rate is 4294967295"),
        (32, struct.pack("<H", 7), "blocks of 7 bytes"),
        (34, struct.pack("<H", 0), "0 bits a sample"),
        (16, struct.pack("<I", 2**32 - 2), "chunk at byte 12 counts 4294967294 bytes"),
        (36, b"list", "no format and audio"),
    ],
)
def test_each_lying_header_field_is_named(tmp_path, field, value, match):
    raw = bytearray(wav_bytes())
    raw[field : field + len(value)] = value
    fails(save(tmp_path / "a.wav", bytes(raw)), match)


def test_65535_channels_are_refused_before_anything_is_read(tmp_path):
    raw = bytearray(wav_bytes(subtype="PCM_U8"))
    raw[22:24] = raw[32:34] = struct.pack("<H", 65535)
    raw += bytes(70000)
    raw[4:8], raw[40:44] = struct.pack("<I", len(raw) - 8), struct.pack("<I", 65535)
    fails(save(tmp_path / "a.wav", bytes(raw)), "65535 channels")


@pytest.mark.parametrize("sr", [0, -1, 1.5, np.nan, 10**9, "16000", None, True])
def test_an_impossible_sample_rate_is_refused(tmp_path, sr):
    fails(save(tmp_path / "a.wav", wav_bytes()), "sr is", sr)


def test_truncation_at_every_byte_of_the_header_is_an_error(tmp_path):
    for kind in ("WAV", "WAVEX", "RF64"):
        raw = wav_bytes(kind=kind)
        for n in range(raw.index(b"data") + 9):
            fails(save(tmp_path / "a.wav", raw[:n]), "empty|not audio|no format and audio|holds no audio|are left")


@pytest.mark.parametrize("width, bits", [(8, 64), (5, 40)])
def test_integers_that_the_decoder_does_not_know_are_refused_in_a_line(tmp_path, width, bits):
    n_bytes = 1000 * width
    head = (b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, 16000, 16000 * width, width, bits, b"data", n_bytes)
    content = np.random.default_rng(0).bytes(n_bytes)
    fails(save(tmp_path / "a.wav", struct.pack("<4sI8sIHHIIHH4sI", *head) + content), "16-bit PCM")


def test_a_named_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    fails(tmp_path / "pipe.wav", "not a regular file")


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    save(tmp_path / "a.wav", wav_bytes(voice(80000)))
    blocks = audio.open_recording(tmp_path / "a.wav").blocks(1000)
    next(blocks)
    os.truncate(tmp_path / "a.wav", 44 + 40000)
    with pytest.raises(AudioError, match="truncated"):
        list(blocks)


def test_a_million_tiny_chunks_end_quickly(tmp_path):
    fails(
        save(tmp_path / "a.wav", b"RIFF\xff\xff\xff\x7fWAVE" + struct.pack("<4sI", b"abcd", 0) * 1_000_000),
        "no format and audio in its 8000012 bytes, or in its first 256 chunks",
    )


def test_the_header_check_agrees_with_the_standard_library(tmp_path):
    for sub in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"):
        raw = wav_bytes(np.stack([voice()] * 3, 1), 22050, sub)
        with wave.open(io.BytesIO(raw)) as w:
            expected = w.getframerate(), w.getnchannels(), w.getnframes() * w.getnchannels() * w.getsampwidth()
        with open(save(tmp_path / "a.wav", raw), "rb") as f:
            header = wav_header(f)
        assert (header.sample_rate, header.n_channels, header.size) == expected


# WAV headers that do not tell all there is ------------------------------------------------------------------------

TONE = (9000 * np.sin(np.arange(80000) / 12)).astype("<i2")  # 5 s
FMT = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
INFO = b"LIST" + struct.pack("<I", 18) + b"INFOIART\6\0\0\0Alice\0"


def riff(*chunks, size=None):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def data(size, content=None):
    return b"data" + struct.pack("<I", size) + (content or TONE.tobytes())


@pytest.mark.parametrize("size", [0, 32000, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFFE, TONE.nbytes + 2])
def test_all_that_is_there_is_read_whatever_the_header_counts_and_that_is_said(tmp_path, size):
    save(tmp_path / "a.wav", riff(FMT, data(size), size=min(36 + size, 2**32 - 1)))
    with pytest.warns(UserWarning, match=f"a.wav: its header counts {size} bytes of audio, and 160000 are there"):
        recording = audio.open_recording(tmp_path / "a.wav")
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), TONE)


@pytest.mark.parametrize(
    "content",
    [
        riff(FMT, data(TONE.nbytes), size=0),
        riff(FMT, INFO, data(TONE.nbytes), INFO),
        riff(FMT, data(TONE.nbytes), INFO[:-9]),  # cut off where no audio is
        riff(FMT, data(TONE.nbytes), b"\0\0\0"),
    ],
)
def test_what_is_no_audio_is_not_read_as_audio(tmp_path, content, recwarn):
    recording = audio.open_recording(save(tmp_path / "a.wav", content))
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), TONE)
    assert not len(recwarn)


def test_a_size_that_has_wrapped_past_4_gb_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "HOLES_FROM", 2**40)
    n_bytes = 2**32 + 7 * 32000
    with open(tmp_path / "a.wav", "wb") as f:
        f.write(riff(FMT, data(7 * 32000, 2 * TONE.tobytes())))
        f.truncate(44 + n_bytes)  # sparse: takes no room
    with pytest.warns(UserWarning, match=f"counts 224000 bytes of audio, and {n_bytes} are there"):
        blocks = audio.open_recording(tmp_path / "a.wav").blocks()
    np.testing.assert_array_equal(next(blocks)[:160000], np.concatenate([TONE, TONE]))


def test_an_odd_chunk_without_its_pad_byte_is_passed_and_that_is_said(tmp_path):
    odd = b"LIST" + struct.pack("<I", 17) + b"INFOIART\5\0\0\0Alice"
    save(tmp_path / "a.wav", riff(FMT, odd, data(TONE.nbytes)))
    with pytest.warns(UserWarning, match="its 'LIST' chunk at byte 36 has no pad byte"):
        recording = audio.open_recording(tmp_path / "a.wav")
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), TONE)


def test_a_chunk_that_reaches_past_the_end_is_named_with_its_true_place(tmp_path):
    save(tmp_path / "a.wav", riff(FMT, b"LIST" + struct.pack("<I", 67109266), data(TONE.nbytes)))
    fails(tmp_path / "a.wav", "its 'LIST' chunk at byte 36 counts 67109266 bytes, and 160008 are left")


def test_joined_wav_files_are_refused_with_the_byte_that_the_second_begins_at(tmp_path):
    one = riff(FMT, data(TONE.nbytes), INFO)
    fails(save(tmp_path / "a.wav", one + one), f"another WAV file follows at byte {len(one)}; cut it into two")


# writing ----------------------------------------------------------------------------------------------------------


def test_int16_and_back_is_the_identity():
    x = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(audio.to_int16(audio.from_int16(x)), x)
    y = np.random.default_rng(0).uniform(-1, 1 - 2**-15, 9999).astype(np.float32)
    assert np.abs(audio.from_int16(audio.to_int16(y)) - y).max() <= 2**-16


def test_written_wav_reads_the_same_in_three_other_readers(tmp_path):
    y = voice()
    audio.write(tmp_path / "a.wav", y, 22050)
    x = audio.to_int16(y)
    rate, from_scipy = wavfile.read(tmp_path / "a.wav")
    with wave.open(str(tmp_path / "a.wav")) as w:
        from_wave = np.frombuffer(w.readframes(w.getnframes()), "<i2")
    assert rate == 22050
    for other in (from_scipy, from_wave, soundfile.read(tmp_path / "a.wav", dtype="int16")[0]):
        np.testing.assert_array_equal(other, x)


def test_samples_beyond_full_scale_are_clipped_and_do_not_wrap(tmp_path):
    audio.write(tmp_path / "a.wav", np.array([1.0, 1.5, 1e30, -1.0, -7.0, 0.0]))
    np.testing.assert_array_equal(wavfile.read(tmp_path / "a.wav")[1], [32767, 32767, 32767, -32768, -32768, 0])


@pytest.mark.parametrize(
    "y", [np.array([0.0, np.nan]), np.array([np.inf]), np.zeros((2, 2)), np.array([1, 2]), np.array([1j])]
)
def test_what_is_no_signal_is_refused_and_nothing_is_written(tmp_path, y):
    audio.write(tmp_path / "a.wav", voice())
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(AudioError, match="y (has|is)"):
        audio.write(tmp_path / "a.wav", y)
    assert (tmp_path / "a.wav").read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


def test_writer_in_pieces_equals_write_at_once(tmp_path):
    y = voice(10007)
    with audio.writer(tmp_path / "a.wav") as w:
        for start in range(0, len(y), 999):
            w.write(y[start : start + 999])
    audio.write(tmp_path / "b.wav", y)
    assert w.n_samples == len(y)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_writer_leaves_what_stood_there(tmp_path, error):
    audio.write(tmp_path / "a.wav", voice())
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(error):
        with audio.writer(tmp_path / "a.wav") as w:
            w.write(voice(99))
            raise error
    assert (tmp_path / "a.wav").read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudioError, match="a.wav: cannot be written .No space left"):
        audio.write(tmp_path / "a.wav", voice())
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(AudioError, match="folder does not exist"):
        audio.write(tmp_path / "no" / "a.wav", voice())
    with pytest.raises(AudioError, match="not a regular file"):
        audio.write(tmp_path, voice())


@pytest.mark.parametrize(
    "suffix, kind, tolerance", [("wav", "WAV", 0), ("FLAC", "FLAC", 0), ("ogg", "OGG", 0.1), ("mp3", "MP3", 0.1)]
)
def test_a_file_is_written_as_what_its_name_says(tmp_path, suffix, kind, tolerance):
    y, path = voice(50000), tmp_path / f"a.{suffix}"
    with audio.writer(path, 22050) as w:
        for start in range(0, len(y), 9999):
            w.write(y[start : start + 9999])
    z, sr = soundfile.read(path, dtype="float32")
    assert (soundfile.info(path).format, sr, len(z), w.n_samples) == (kind, 22050, len(y), len(y))
    assert np.abs(z - audio.from_int16(audio.to_int16(y))).max() <= tolerance
    assert np.corrcoef(audio.read(path, 22050), y)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["a.aac", "a", "a.wav.part", "mp3"])
def test_another_name_is_refused_before_anything_is_made(tmp_path, name):
    for refuses in (audio.check_place, lambda path: audio.write(path, voice())):
        with pytest.raises(AudioError, match="let it end in .wav, .flac, .ogg, .mp3"):
            refuses(tmp_path / name)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("suffix, sr", [("mp3", 10000), ("ogg", 384000), ("flac", 768000)])
def test_a_rate_that_a_format_does_not_know_is_refused(tmp_path, suffix, sr):
    with pytest.raises(AudioError, match=f"{sr} Hz is no rate of {suffix.upper()}"):
        audio.write(tmp_path / f"a.{suffix}", voice(), sr)
    assert not os.listdir(tmp_path)


FULL = """
import resource, signal, sys, numpy as np
from vocalsynth_utils import audio
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
audio.write(sys.argv[1], 0.1 * np.random.default_rng(0).normal(size=20000))
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_disk_that_fills_up_at_any_point_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    audio.write(path, 0.1 * np.random.default_rng(0).normal(size=20000))
    size = path.stat().st_size
    path.unlink()
    for room in (0, size // 2, size - 1):
        done = subprocess.run([sys.executable, "-c", FULL, str(path), str(room)], capture_output=True, text=True)
        assert done.stderr.splitlines()[-1].startswith("vocalsynth_utils.audio.signal.AudioError") and not os.listdir(
            tmp_path
        )


# players ----------------------------------------------------------------------------------------------------------


def decode(player):
    return soundfile.read(io.BytesIO(player.data))


def test_player_is_small_mp3_of_the_same_length_and_the_same_every_time():
    y = voice(160000)
    sound = audio.player(y, 16000, "hum & haw")
    z, sr = decode(sound)
    assert sound.mimetype == "audio/mpeg" and len(sound.data) < 60_000
    assert (len(z), sr) == (160000, 16000)
    assert audio.to_mp3(y) == sound.data
    markup = sound._repr_html_()
    assert "data:audio/mpeg;base64," in markup and "hum &amp; haw" in markup
    assert repr(sound) == "<Player: hum & haw>"


@pytest.mark.parametrize("level", [0.5, 0.05, 0.005])
def test_player_keeps_the_loudness(level):
    y = level * np.sin(np.arange(32000) / 10)
    z, _ = decode(audio.player(y))
    assert 20 * np.log10(np.std(z[4000:-4000]) / np.std(y)) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("sr", [16000, 24000])
def test_the_beginning_of_a_file_is_read_alone(tmp_path, sr):
    audio.write(tmp_path / "long.wav", 0.5 * np.sin(np.arange(700_000) / 20), 16000)
    whole, first = audio.read(tmp_path / "long.wav", sr), audio.read(tmp_path / "long.wav", sr, 5000)
    assert len(whole) == 700_000 * sr // 16000 and np.array_equal(first, whole[:5000])
    assert np.array_equal(audio.read(tmp_path / "long.wav", sr, 10**8), whole)


def test_silence_plays_silent_and_says_so():
    sound = audio.player(np.zeros(16000), title="the network")
    assert np.abs(decode(sound)[0]).max() < 1e-4 and "(silent)" in sound._repr_html_()


def test_player_clips_and_takes_odd_rates():
    z, sr = decode(audio.player(3 * voice(9000), sr=10000))
    assert sr == 11025 and len(z) == pytest.approx(9000 * 1.1025, abs=1)


@pytest.mark.parametrize("y", [np.array([]), np.array([np.nan])])
def test_player_refuses_what_cannot_be_heard(y):
    with pytest.raises(AudioError, match="y (is empty|has 1 NaN)"):
        audio.player(y)


def test_two_threads_read_at_once(tmp_path):
    save(tmp_path / "a.wav", wav_bytes(sr=44100))
    results = []
    threads = [threading.Thread(target=lambda: results.append(audio.read(tmp_path / "a.wav"))) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(results) == 4 and all(np.array_equal(r, results[0]) for r in results)


# level


@pytest.mark.parametrize("n", [5, 40001, (5 << 20) + 3])  # the last is more than its level is taken from
def test_the_level_of_integers_is_that_of_floats_and_silence_has_none(n):
    x = (3000 * np.random.default_rng(n).normal(size=n)).astype(np.int16)
    y = audio.from_int16(x)
    assert audio.level(x) == pytest.approx(audio.level(y), abs=1e-6)
    assert audio.level(x) == pytest.approx(20 * np.log10(np.std(y.astype(float))), abs=1e-9 if n < 1 << 20 else 0.05)
    assert audio.level(y / 2) == pytest.approx(audio.level(y) - 20 * np.log10(2), abs=1e-4)
    assert audio.level(0 * x) is audio.level(0 * y) is None and type(audio.level(x)) is float


def db(y):
    return 20 * np.log10(np.std(y))


@pytest.mark.parametrize("off", [-5, 0, 4, 13])
@pytest.mark.parametrize("seconds", [10, 60])
def test_a_signal_is_brought_to_a_level_and_keeps_its_swells(off, seconds):
    t = np.arange(seconds * 8000) / 8000
    swells = np.exp(0.7 * np.sin(2 * np.pi * t / 2.5))  # 12 dB from soft to loud
    y = 10 ** ((off - 20) / 20) * swells * np.random.default_rng(0).normal(size=len(t))
    held = np.concatenate(list(audio.levelled(np.array_split(y, 4), -20, 8000)))
    assert held.shape == y.shape and db(held) == pytest.approx(-20, abs=0.6)
    gain = (held / y)[len(y) // 2 :]
    assert 20 * np.log10(gain.max() / gain.min()) < 3


def test_a_voice_that_dies_away_is_not_made_loud_again():
    alive = 0.1 * np.random.default_rng(0).normal(size=80000)
    held = np.concatenate(list(audio.levelled([alive] + 9 * [alive * 1e-3], -20, 8000)))
    assert db(held[:80000]) == pytest.approx(-20, abs=0.2) and db(held[-80000:]) < -70
    assert not np.any(next(audio.levelled([np.zeros(100)], -20, 8000)))


def test_no_limited_sample_is_at_full_scale_and_soft_ones_are_as_they_were():
    y = np.linspace(-3, 3, 6001)
    bent, soft = audio.limited(y), np.abs(y) < 0.8
    assert bent.dtype == np.float32 and np.array_equal(bent[soft], y[soft].astype(np.float32))
    assert np.abs(bent).max() <= np.float32(0.98) and np.all(np.diff(bent) >= 0)
    assert np.abs(np.diff(bent)).max() < 1.01 * np.diff(y).max()  # without a step
    assert np.abs(audio.to_int16(bent)).max() < 32767


def test_joined_signals_keep_what_is_outside_the_fade_and_are_louder_than_neither():
    rng = np.random.default_rng(0)
    first, then = rng.uniform(-0.5, 0.5, 1000), rng.uniform(-0.7, 0.7, 2000)
    y, n = audio.joined(first, then, 16000), 240
    assert len(y) == 3000 - n and np.abs(y).max() <= 0.7
    assert np.allclose(y[: 1000 - n], first[:-n]) and np.allclose(y[1000:], then[n:])
    assert np.allclose(audio.joined(np.ones(500), np.ones(500), 16000), 1)
    assert np.array_equal(audio.joined(np.zeros(0), then.astype("f4"), 16000), then.astype("f4"))


def test_seconds_are_heard_where_they_are_not_40_db_below_the_loud_ones():
    rng = np.random.default_rng(0)
    levels = np.array([0, -20, -39, -41, -60, 0, 0, 0])  # dB
    y = 0.3 * rng.choice([-1.0, 1.0], 8 * 16000) * np.repeat(10 ** (levels / 20), 16000)
    assert audio.heard(y, 16000).tolist() == (levels > -40).tolist()
    assert audio.heard(np.zeros(32000), 16000).all()


def test_players_side_by_side_are_brought_near_a_voices_level_and_say_so():
    y = voice(16000)
    grid = audio.players({"itself": y, "faint": 0.01 * y, "loud": 3 * y, "nothing": 0 * y}, like=y)
    levels = [np.sqrt(np.mean(decode(sound)[0] ** 2)) for sound in grid.sounds[:3]]
    assert np.allclose(levels, np.sqrt(np.mean(y**2)), rtol=0.15)
    assert [sound.title for sound in grid.sounds][1:] == [
        "faint (100 x louder)",
        "loud (3 x quieter)",
        "nothing (silent)",
    ]
    assert repr(grid).startswith("<Players: itself; faint") and grid._repr_html_().count("<audio") == 4
    peak = np.eye(1, 16000)[0]  # as quiet as one sample at full scale is: louder it would clip
    assert audio.players({"click": peak}, like=y).sounds[0].title == "click"
