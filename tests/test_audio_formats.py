"""Recordings from any recorder: each is read as what was sung into it, or one line says what is not."""

import io
import re
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from encoding import encoded

from vocalsynth_utils import audio
from vocalsynth_utils.audio import AudioError, decoding

SR = 48000
T = np.arange(2 * SR) / SR
SUNG = 0.4 * np.sin(2 * np.pi * 220 * T) * (1 + 0.3 * np.sin(2 * np.pi * 3 * T))
NOISE = np.random.default_rng(0).normal(0, 0.1, 2 * 16000)


def save(path, content):
    path.write_bytes(content)
    return path


def of(kind, y, sr, **options):
    """A file that libsndfile makes, bytes."""
    out = io.BytesIO()
    soundfile.write(out, y, sr, format=kind, **options)
    return out.getvalue()


def heard(path, sr=SR):
    """(signal, warnings)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return audio.read(path, sr), [str(w.message) for w in caught]


# lossless and lossy -----------------------------------------------------------------------------------------------

LOSSLESS = [
    "aiff",
    "24.aiff",
    "caf",
    "24.caf",
    "flac",
    "24.flac",
    "alac.m4a",
    "alac24.m4a",
    "alac.caf",
    "mka",
    "au",
    "w64",
    "wv",
]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_read_to_within_one_step_of_16_bits(tmp_path, kind, channels):
    y = np.stack([SUNG, 0.5 * SUNG])[:channels]
    z, said = heard(save(tmp_path / "a", encoded(kind, y)))
    assert len(z) == len(SUNG) and not said
    assert np.abs(z - y.mean(axis=0)).max() <= 2**-15


@pytest.mark.parametrize("kind", ["aiff", "24.aiff", "caf", "au", "w64", "flac"])
def test_libsndfile_hears_the_same(tmp_path, kind):
    content = encoded(kind, SUNG)
    other, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    np.testing.assert_array_equal(heard(save(tmp_path / "a", content))[0], other)


@pytest.mark.parametrize("kind", ["aiff", "caf", "flac", "au", "w64", "wv", "mka"])
def test_16_bit_mono_comes_untouched_from_any_lossless_file(tmp_path, kind):
    x = np.random.default_rng(0).integers(-32768, 32768, 20000).astype(np.int16)
    recording = audio.open_recording(save(tmp_path / "a", encoded(kind, audio.from_int16(x), 16000)))
    assert recording.dtype == np.int16
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), x)


@pytest.mark.parametrize("kind, samples", [("m4a", 1024), ("mov", 1024), ("webm", 0), ("opus", 0), ("aac", 3 * 1024)])
def test_lossy_files_keep_length_and_shape(tmp_path, kind, samples):
    """ADTS alone does not say what the encoder put before the sound."""
    y = SUNG + 0.3 * np.sin(2 * np.pi * (300 * T + 200 * T**2))
    z, said = heard(save(tmp_path / "a", encoded(kind, y)))
    assert 0 <= len(z) - len(y) <= samples and not said
    lag = 1024 if kind == "aac" else 0
    assert np.corrcoef(z[lag : lag + len(y) - 2048], y[: len(y) - 2048])[0, 1] > 0.99


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("kind", ["24.aiff", "24.flac", "alac24.m4a"])
def test_a_resampled_tone_is_the_tone_at_the_new_rate_to_60_db(tmp_path, kind, sr):
    z, _ = heard(save(tmp_path / "a", encoded(kind, 0.5 * np.sin(2 * np.pi * 997 * T))), sr)
    exact = 0.5 * np.sin(2 * np.pi * 997 * np.arange(len(z)) / sr)
    inner = slice(sr // 10, -sr // 10)
    assert len(z) == 2 * sr
    assert 10 * np.log10(np.mean((z - exact)[inner] ** 2) / np.mean(exact[inner] ** 2)) < -60


def test_a_film_is_read_for_its_sound(tmp_path):
    z, said = heard(save(tmp_path / "a.mp4", film(SUNG)))
    assert len(z) == pytest.approx(len(SUNG), abs=1024) and not said
    with pytest.raises(AudioError, match="without sound"):
        audio.read(save(tmp_path / "mute.mp4", film(None)))


def film(y):
    """Two seconds of grey, with sound or without."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        video = file.add_stream("mpeg4", rate=5, width=32, height=32, pix_fmt="yuv420p")
        sound = None if y is None else file.add_stream("aac", rate=SR, layout="mono", format="fltp")
        for i in range(10):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 5)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if sound:
            frame = av.AudioFrame.from_ndarray(y[None].astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = SR, 0
            file.mux([*sound.encode(frame), *sound.encode(None)])
    return out.getvalue()


def test_streams_from_a_browser_which_announce_no_length_are_read_whole(tmp_path):
    for content in (encoded("webm", SUNG, live="1"), encoded("m4a", SUNG, movflags="frag_keyframe+empty_moov")):
        z, said = heard(save(tmp_path / "a", content))
        assert len(z) == pytest.approx(len(SUNG), abs=2048) and not said


# streams that do not tell all there is ----------------------------------------------------------------------------


def mp3_frames(content):
    """The frames of an MPEG-2 layer III stream."""
    rates, kbits = [22050, 24000, 16000], [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    at, found = 0, []
    while at + 4 <= len(content):
        n = 72000 * kbits[content[at + 2] >> 4] // rates[content[at + 2] >> 2 & 3] + (content[at + 2] >> 1 & 1)
        found.append(content[at : at + n])
        at += n
    return found


def test_an_mp3_without_the_header_that_tells_its_length_is_read_whole(tmp_path):
    y = np.concatenate([0.3 * np.sin(np.arange(32000) / 12), NOISE, 0.3 * np.sin(np.arange(48000) / 12)])
    content = of("MP3", y, 16000, bitrate_mode="VARIABLE", compression_level=0.3)
    z, said = heard(save(tmp_path / "a.mp3", b"".join(mp3_frames(content)[1:])), 16000)
    assert len(z) / 16000 == pytest.approx(7, abs=0.2) and not said


def test_a_flac_without_a_total_is_read(tmp_path):
    content = bytearray(of("FLAC", NOISE, 16000))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    z, said = heard(save(tmp_path / "a.flac", bytes(content)), 16000)
    np.testing.assert_array_equal(z, soundfile.read(io.BytesIO(of("FLAC", NOISE, 16000)), dtype="float32")[0])
    assert not said


@pytest.mark.parametrize(
    "kind, options", [("MP3", {}), ("FLAC", {}), ("OGG", {"subtype": "VORBIS"}), ("OGG", {"subtype": "OPUS"})]
)
def test_joined_files_are_read_one_after_the_other(tmp_path, kind, options):
    first, second = 0.3 * np.sin(np.arange(32000) / 12), 0.3 * np.sin(np.arange(48000) / 7)
    z, said = heard(save(tmp_path / "a", of(kind, first, 16000, **options) + of(kind, second, 16000, **options)), 16000)
    assert len(z) / 16000 == pytest.approx(5, abs=0.2) and not said
    tone = lambda part: np.argmax(np.abs(np.fft.rfft(part))) * 16000 / len(part)
    assert tone(z[:30000]) == pytest.approx(16000 / 2 / np.pi / 12, abs=2)
    assert tone(z[-40000:]) == pytest.approx(16000 / 2 / np.pi / 7, abs=2)


@pytest.mark.parametrize("kind", ["m4a", "alac.m4a", "aiff", "caf"])
def test_joined_files_of_which_one_part_alone_would_be_read_are_refused(tmp_path, kind):
    content = encoded(kind, SUNG)
    with pytest.raises(AudioError, match="cut the file into two|not audio that can be read"):
        audio.read(save(tmp_path / "a", content + content))


def test_a_second_half_at_another_rate_is_refused_with_its_place(tmp_path):
    content = of("FLAC", NOISE, 16000) + of("FLAC", NOISE, 32000)
    with pytest.raises(AudioError, match="format changes after 2.0 s, to 1 channels of s16 at 32000 Hz"):
        audio.read(save(tmp_path / "a.flac", content))


# damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("kind", ["flac", "mka", "webm", "opus", "aac", "aiff", "caf", "m4a", "mp3", "ogg"])
def test_what_a_cut_off_file_holds_is_read_and_it_is_said_after_how_many_seconds(tmp_path, kind, share):
    y = SUNG + np.random.default_rng(1).normal(0, 0.01, len(SUNG))
    content = of(kind.upper(), y, SR) if kind in ("mp3", "ogg") else encoded(kind, y)
    content = index_first(content) if kind == "m4a" else content
    z, said = heard(save(tmp_path / "a", content[: int(share * len(content))]))
    assert 0 < len(z) < 0.98 * len(y) and len(said) == 1
    assert re.search(f"damaged or cut off after {len(z) / SR:.1f} s", said[0])


def index_first(content):
    """An m4a with its index before its audio, as from the internet."""
    at, first = content.index(b"moov") - 4, content.index(b"mdat") - 4
    index = bytearray(content[at:])
    table = index.index(b"stco") + 8
    for place in range(table + 4, table + 4 + 4 * int.from_bytes(index[table : table + 4]), 4):
        index[place : place + 4] = (int.from_bytes(index[place : place + 4]) + len(index)).to_bytes(4)
    return content[:first] + bytes(index) + content[first:at]


def test_an_m4a_of_a_recorder_that_died_is_refused_in_one_line(tmp_path):
    content = encoded("m4a", SUNG)
    with pytest.raises(AudioError, match="a.m4a: not audio that can be read .moov atom not found.; "):
        audio.read(save(tmp_path / "a.m4a", content[: len(content) // 2]))


@pytest.mark.parametrize("kind", ["flac", "webm", "opus", "aac", "m4a", "mp3", "ogg", "mka"])
def test_garbage_inside_is_never_passed_over_in_silence(tmp_path, kind, capfd):
    y = SUNG + np.random.default_rng(1).normal(0, 0.01, len(SUNG))
    content = bytearray(of(kind.upper(), y, SR) if kind in ("mp3", "ogg") else encoded(kind, y))
    middle = len(content) // 2
    content[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    _, said = heard(save(tmp_path / "a", bytes(content)))
    assert said and re.search(r"a: damaged or cut off after [\d.]+ s \(.+\); [\d.]+ s are read", said[0])
    assert capfd.readouterr() == ("", "")


# strangers' files -------------------------------------------------------------------------------------------------

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n"
DESCRIPTION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"


@pytest.mark.parametrize(
    "text", [PLAYLIST, "ffconcat version 1.0\nfile '{0}'\n", "file '{0}'\n", DESCRIPTION, "[playlist]\nFile1={0}\n"]
)
@pytest.mark.parametrize("name", ["a.m3u8", "a.wav", "a.sdp", "a-%d.png"])
def test_no_file_that_another_names_is_opened(tmp_path, text, name):
    soundfile.write(tmp_path / "secret.wav", SUNG, SR)
    save(tmp_path / name, text.format(tmp_path / "secret.wav").encode())
    with pytest.raises(AudioError, match="not audio that can be read") as caught:
        audio.read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_ffmpeg_knows_every_format_named(tmp_path):
    known = {name for names in av.formats_available for name in names.split(",")}
    assert set(decoding.FORMATS.split(",")) <= known
    assert not {"concat", "hls", "dash", "image2", "lavfi", "sdp", "rtp", "rtsp", "tedcaptions"} & set(
        decoding.FORMATS.split(",")
    )
    assert {"aac", "alac", "opus", "mp3float"} <= set(decoding.SAFE["codec_whitelist"].split(","))
    assert "h264" not in decoding.SAFE["codec_whitelist"].split(",")


def test_a_lossy_copy_of_a_clipped_sound_overshoots_and_is_no_news(recwarn):
    clips = Path(__file__).resolve().parent.parent / "data" / "pretrained" / "remedies"
    for path in clips.glob("*.mp3"):  # one of them reaches 1.27
        assert np.abs(audio.read(path)).max() <= 1
    assert len(list(clips.glob("*.mp3"))) > 10 and not recwarn.list
