"""Where the samples of a WAV file lie, as a `WavHeader`, and those samples as FFmpeg's frames.

A recorder that dies leaves the sizes of its last flush, a pipe leaves none, and past 4 GB they wrap. So the size of the
audio is believed where nothing but chunks follow it up to the end of the file; elsewhere all up to there is audio.
"""

import os
import re
import struct
from collections import namedtuple

import av

EXTENSIBLE, UNKNOWN = 0xFFFE, 0xFFFFFFFF  # a format told further on; a size told in the ds64 chunk, or not at all
CODECS = {(1, 8): "u8", (1, 16): "s16", (1, 24): "s24", (1, 32): "s32", (3, 32): "f32", (3, 64): "f64"}
CODECS |= {(6, 8): "alaw", (7, 8): "mulaw"}  # FFmpeg's names by the format's number and bits
MAX_CHUNKS = 256  # a real file has a handful
NAME = re.compile(rb"[ -~]{4}")
TAGS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML")  # what a file is cut off in once its audio is complete

# block, start and size in bytes; codec None if compressed
WavHeader = namedtuple("WavHeader", "codec sample_rate n_channels block start size note")


def wav_header(file):
    """Walk the chunks of a RIFF, RIFX or RF64 file: a `WavHeader`. Its note, and ValueErrors, follow "FILE: ".

    Microsoft, "Multiple channel audio data and WAVE files"; EBU Tech 3306 (RF64).
    """
    file.seek(0)
    magic, end = file.read(4), os.fstat(file.fileno()).st_size
    order, fmt, long_size, note = ">" if magic == b"RIFX" else "<", None, None, None
    for at, name, start, size, padded in _chunks(file, 12, order, end):
        if name == b"data" and fmt:
            break
        if start + size > end:
            said = f"its {name.decode('latin-1')!r} chunk at byte {at} counts {size} bytes, and {end - start} are left"
            raise ValueError(f"{said}; copy or record it again")
        file.seek(start)
        if name == b"fmt ":
            fmt = _format(file.read(min(size, 40)), order)
        elif name == b"ds64" and size >= 16:
            (long_size,) = struct.unpack("<8xQ", file.read(16))
        if not padded:
            note = f"its {name.decode('latin-1')!r} chunk at byte {at} has no pad byte; it is read all the same"
    else:
        what = f"no format and audio in its {end} bytes, or in its first {MAX_CHUNKS} chunks"
        raise ValueError(f"{what}; copy, record or export it again")
    counted, size = long_size if size == UNKNOWN and long_size is not None else size, end - start
    rest = list(_chunks(file, start + counted + _pad(file, start + counted, counted), order, end))
    if magic in (name for _, name, *_ in rest):
        raise ValueError("another WAV file follows at byte {}; cut it into two".format(*rest[-1]))
    if counted <= size and all(NAME.match(name) and (at + n <= end or name in TAGS) for _, name, at, n, _ in rest):
        size = counted
    else:
        note = f"its header counts {counted} bytes of audio, and {size} are there, all of which are read"
    if size < fmt[-1]:
        raise ValueError(f"holds no audio (a data chunk of {size} bytes); record it again")
    return WavHeader(*fmt, start, size - size % fmt[-1], note)


def wav_frames(file, header, n):
    """Yield the samples as `av.AudioFrame`s of one channel, in which `n` samples of all channels take turns."""
    decoder = av.CodecContext.create(header.codec, "r")
    decoder.layout, decoder.sample_rate = "mono", 16000  # whatever they are
    file.seek(header.start)
    for left in range(header.size, 0, -n * header.block):
        content = file.read(min(n * header.block, left))
        if len(content) < min(n * header.block, left):
            raise ValueError("truncated while it was read; read it again once it is complete")
        yield from decoder.decode(av.Packet(content))


def _chunks(file, at, order, end):
    """Yield (place, name, start, size, whether it is padded as it should be) of at most `MAX_CHUNKS` chunks."""
    for _ in range(MAX_CHUNKS):
        if at + 8 > end:
            return
        file.seek(at)
        name, size = struct.unpack(order + "4sI", file.read(8))
        pad = _pad(file, at + 8 + size, size)
        yield at, name, at + 8, size, pad == size % 2
        at += 8 + size + pad


def _pad(file, end, size):
    """Bytes between a chunk and the next: odd ones are padded with one, which some writers leave out."""
    file.seek(end)
    return int(size % 2 and not NAME.match(file.read(4)))


def _format(content, order):
    """(codec, sample_rate, n_channels, block) from the fmt chunk, with no contradiction in it."""
    if len(content) < 16:
        raise ValueError(f"its fmt chunk has {len(content)} bytes instead of 16, 18 or 40; export it again")
    tag, n_channels, sr, _, block, bits = struct.unpack(order + "HHIIHH", content[:16])
    if tag == EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack(order + "H", content[24:26])  # the sub-format's first two bytes
    if tag not in (1, 3, 6, 7):
        return None, sr, n_channels, 1
    stored = 8 * block / n_channels if n_channels else 0
    fits = (tag, stored) in CODECS and 0 < bits <= stored and (tag != 3 or bits == stored)
    if not fits or (bits > 8) != (stored > 8):
        said = f"{n_channels} channels in blocks of {block} bytes, {bits} bits a sample"
        raise ValueError(f"its header contradicts itself ({said}); save it as 16-bit PCM")
    ending = "" if stored == 8 else "be" if order == ">" else "le"
    return f"pcm_{CODECS[tag, stored]}{ending}", sr, n_channels, block
