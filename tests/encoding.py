"""Audio files of the kinds that phones, browsers and editors make, as bytes; FFmpeg encodes them."""

import io

import av
import numpy as np

KINDS = {  # by the end of a name: container, codec, sample format
    "m4a": ("ipod", "aac", "fltp"),
    "alac.m4a": ("ipod", "alac", "s16p"),
    "alac24.m4a": ("ipod", "alac", "s32p"),
    "aiff": ("aiff", "pcm_s16be", "s16"),
    "24.aiff": ("aiff", "pcm_s24be", "s32"),
    "caf": ("caf", "pcm_s16le", "s16"),
    "24.caf": ("caf", "pcm_s24le", "s32"),
    "alac.caf": ("caf", "alac", "s16p"),
    "flac": ("flac", "flac", "s16"),
    "24.flac": ("flac", "flac", "s32"),
    "webm": ("webm", "libopus", "s16"),
    "opus": ("ogg", "libopus", "s16"),
    "mka": ("matroska", "flac", "s16"),
    "aac": ("adts", "aac", "fltp"),
    "au": ("au", "pcm_s16be", "s16"),
    "w64": ("w64", "pcm_s16le", "s16"),
    "wv": ("wv", "wavpack", "s16p"),
    "mov": ("mov", "aac", "fltp"),
}


def encoded(kind, y, sr=48000, **options):
    """A file of one of the `KINDS`, bytes: `y` is (n_samples,) or (n_channels, n_samples), at full scale 1."""
    container, codec, sample_format = KINDS[kind]
    y = np.ascontiguousarray(np.atleast_2d(y), np.float64)
    layout = {1: "mono", 2: "stereo"}[len(y)]
    x = y.astype("f4")
    if sample_format[0] == "s":
        scale, dtype = {"s16": (2**15, "i2"), "s32": (2**31, "i4")}[sample_format.rstrip("p")]
        x = np.clip(np.rint(y * scale), -scale, scale - 1).astype(dtype)
    if not sample_format.endswith("p"):
        x = np.ascontiguousarray(x.T).reshape(1, -1)
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=sr, layout=layout, format=sample_format)
        stream.codec_context.thread_count = 1
        frame = av.AudioFrame.from_ndarray(x, format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = sr, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return out.getvalue()
