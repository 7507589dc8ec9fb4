"""Where the samples of a WAV file lie, as a `WavHeader`, and those samples, block by block.

A recorder that dies leaves the sizes of its last flush, a pipe leaves none, and past 4 GB they wrap. So the size of the
audio is believed where nothing but chunks follow it up to the end of the file; elsewhere all up to there is audio.
"""

import os
import struct
from collections import namedtuple

import av

EXTENSIBLE, UNKNOWN = 0xFFFE, 0xFFFFFFFF  # a format told further on; a size told in the ds64 chunk, or not at all
CODECS = {(1, 8): "pcm_u8", (1, 16): "pcm_s16", (1, 24): "pcm_s24", (1, 32): "pcm_s32"}  # format, bits: FFmpeg's name
CODECS |= {(3, 32): "pcm_f32", (3, 64): "pcm_f64", (6, 8): "pcm_alaw", (7, 8): "pcm_mulaw"}
MAX_CHUNKS, MAX_FMT = 256, 1024  # a real file has a handful of chunks, and a fmt chunk of 16, 18 or 40 bytes
TAGS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML")  # what a file is cut off in once its audio is complete

WavHeader = namedtuple("WavHeader", "codec sr n_channels block start size notes")  # bytes; codec None if compressed


def wav_header(file):
    """Walk the chunks of a RIFF, RIFX or RF64 file: a `WavHeader`. Its notes, and ValueErrors, follow "FILE: ".

    Microsoft, "Multiple channel audio data and WAVE files"; EBU Tech 3306 (RF64).
    """
    end, (magic,) = os.fstat(file.fileno()).st_size, _take(file, 0, "4s")
    order, at, fmt, long_size, notes = ">" if magic == b"RIFX" else "<", 12, None, None, []
    for _ in range(MAX_CHUNKS):
        name, size = _take(file, at, order + "4sI")
        start = at + 8
        if name == b"data":
            break
        if start + size > end:
            left = f"its {name!r} chunk at byte {at} counts {size} bytes, and {end - start} are left"
            raise ValueError(f"{left}; copy or record it again")
        if name == b"fmt ":
            fmt = _format(file, start, size, order)
        elif name == b"ds64":
            (long_size,) = _take(file, start, "<8xQ")
        at = _after(file, start, size)
        if size % 2 and at == start + size:
            notes.append(f"its {name!r} chunk at byte {start - 8} has no pad byte; it is read all the same")
    else:
        raise ValueError(f"more than {MAX_CHUNKS} chunks before any audio; export it again as a plain WAV")
    if fmt is None:
        raise ValueError("its audio comes before its format (no fmt chunk); export it again as a plain WAV")
    counted, size = long_size if size == UNKNOWN and long_size is not None else size, end - start
    if counted <= size and _only_chunks(file, _after(file, start, counted), end, order, magic):
        size = counted
    else:
        said = f"its header counts {counted} bytes of audio, and {size} are there, all of which are read"
        notes.append(f"{said}; where that is too little, copy it again")
    if size < fmt[-1]:
        raise ValueError(f"holds no audio (a data chunk of {size} bytes); record it again")
    return WavHeader(*fmt, start, size - size % fmt[-1], notes)


def wav_samples(file, header, n):
    """Yield the samples, (n_block, n_channels) of int16, int32, uint8, float32 or float64, `n` at a time."""
    decoder = av.CodecContext.create(header.codec, "r")
    decoder.layout, decoder.sample_rate = "mono", 16000  # whatever the rate; channels are interleaved
    file.seek(header.start)
    for at in range(0, header.size, n * header.block):
        n_bytes = min(n * header.block, header.size - at)
        raw = file.read(n_bytes)
        if len(raw) < n_bytes:
            raise ValueError("truncated while it was read; read it again once it is complete")
        (frame,) = decoder.decode(av.Packet(raw))
        yield frame.to_ndarray().reshape(-1, header.n_channels)


def _take(file, at, layout):
    """Unpack the bytes at one place, or say that the file ends within them."""
    file.seek(at)
    n = struct.calcsize(layout)
    raw = file.read(n)
    if len(raw) < n:
        raise ValueError(f"ends at byte {at + len(raw)}, before any audio; copy or record it again")
    return struct.unpack(layout, raw)


def _after(file, start, size):
    """Where the next chunk begins: odd ones are padded with a byte, which some writers leave out."""
    file.seek(start + size)
    return start + size + (size % 2 and not _is_name(file.read(4)))


def _is_name(name):
    """Whether four bytes may name a chunk."""
    return len(name) == 4 and all(32 <= c < 127 for c in name)


def _only_chunks(file, at, end, order, magic):
    """Whether nothing but chunks follows up to the end of the file; ValueError for another file joined to this one."""
    while end - at >= 8:
        name, size = _take(file, at, order + "4sI")
        if name == magic:
            raise ValueError(f"another WAV file follows at byte {at}; cut it into two")
        if not _is_name(name) or (at + 8 + size > end and name not in TAGS):
            return False
        at = _after(file, at + 8, size)
    return True


def _format(file, at, size, order):
    """(codec, sr, n_channels, block) from the fmt chunk, with no contradiction in it."""
    if not 16 <= size <= MAX_FMT:
        raise ValueError(f"its fmt chunk has {size} bytes instead of 16, 18 or 40; export it again as a plain WAV")
    tag, n_channels, sr, _, block, bits, extra = _take(file, at, f"{order}HHIIHH{size - 16}s")
    if tag == EXTENSIBLE and len(extra) >= 24:
        (tag,) = struct.unpack(order + "H", extra[8:10])  # the sub-format's first two bytes
    if tag not in (1, 3, 6, 7):
        return None, sr, n_channels, 1
    stored = 8 * block / n_channels if n_channels else 0
    if (
        (tag, stored) not in CODECS
        or not 0 < bits <= stored
        or (tag == 3 and bits != stored)
        or (bits <= 8) != (stored == 8)
    ):
        said = f"{n_channels} channels in blocks of {block} bytes, {bits} bits a sample"
        raise ValueError(f"its header contradicts itself ({said}); save it as 16-bit PCM")
    return CODECS[tag, stored] + ({">": "be", "<": "le"}[order] if stored > 8 else ""), sr, n_channels, block
