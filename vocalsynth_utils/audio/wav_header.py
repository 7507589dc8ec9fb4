"""What the header of a WAV file says, believed only where the file bears it out.

libsndfile trusts the sizes it reads: a damaged header makes it return half of the recording in silence. So the chunks
are walked here first.
"""

import os
import struct
from collections import namedtuple

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
CONTAINERS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), ALAW: (8,), MULAW: (8,)}  # bits of a stored sample
MAX_CHUNKS, MAX_FMT = 256, 1024  # a real file has a handful of chunks, and a fmt chunk of 16, 18 or 40 bytes
UNKNOWN = 0xFFFFFFFF  # size field of RF64, and of files written into a pipe

WavHeader = namedtuple("WavHeader", "sr n_samples n_channels format bits")  # bits of a stored sample


def wav_header(path):
    """Walk the chunks of a RIFF, RIFX or RF64 file up to its audio: a `WavHeader`, all of whose samples are there.

    ValueErrors follow "FILE: ". Microsoft, "Multiple channel audio data and WAVE files"; EBU Tech 3306 (RF64).
    """
    with open(path, "rb") as f:
        file_size = os.fstat(f.fileno()).st_size
        magic, riff_size, kind = _take(f, "4s4s4s", "<", "the header")
        if kind != b"WAVE":
            raise ValueError(f"a RIFF file of kind {kind!r}, not WAVE; convert it to WAV, FLAC, OGG or MP3")
        order = ">" if magic == b"RIFX" else "<"
        riff_end = 8 + struct.unpack(order + "I", riff_size)[0]
        fmt, data_size_64 = None, None
        for _ in range(MAX_CHUNKS):
            name, size = _take(f, "4sI", order, "a chunk's header")
            if name == b"ds64" and magic == b"RF64":
                riff_64, data_size_64 = _take(f, "QQ", "<", "the ds64 chunk")
                riff_end = 8 + riff_64
                f.seek(max(size, 16) - 16, 1)
            elif name == b"fmt ":
                fmt = _fmt(f, size, order)
            elif name == b"data":
                if size == UNKNOWN and data_size_64 is not None:
                    size = data_size_64
                break
            else:
                f.seek(size, 1)
            f.seek(size % 2, 1)  # chunks are padded to an even length
        else:
            raise ValueError(f"more than {MAX_CHUNKS} chunks before any audio; export it again as a plain WAV")
        if fmt is None:
            raise ValueError("the audio comes before its format (no fmt chunk); export it again as a plain WAV")
        return _check_data(fmt, size, f.tell(), file_size, riff_end)


def _take(f, layout, order, what):
    """Unpack the next bytes, or say that the file ends within them."""
    n = struct.calcsize(order + layout)
    at, raw = f.tell(), f.read(n)
    if len(raw) < n:
        raise ValueError(f"ends at byte {at + len(raw)}, within {what}, before any audio; copy or record it again")
    return struct.unpack(order + layout, raw)


def _fmt(f, size, order):
    """The fmt chunk: (format, n_channels, sr, block_align, bits), with no contradiction in it."""
    if not 16 <= size <= MAX_FMT:
        raise ValueError(f"its fmt chunk has {size} bytes instead of 16, 18 or 40; export it again as a plain WAV")
    tag, n_channels, sr, _, block_align, bits = _take(f, "HHIIHH", order, "the fmt chunk")
    (extra,) = _take(f, f"{size - 16}s", order, "the fmt chunk")
    if tag == EXTENSIBLE and len(extra) >= 24:
        (tag,) = struct.unpack(order + "H", extra[8:10])  # the sub-format's first two bytes
    if tag not in CONTAINERS:
        raise ValueError(f"its audio is compressed inside the WAV (format {tag:#x}); save it as 16-bit PCM")
    if n_channels == 0:
        raise ValueError("0 channels in its header; export it again")
    container = 8 * block_align / n_channels
    if container not in CONTAINERS[tag]:
        made = f"{n_channels} channels in blocks of {block_align} bytes make {container:g}-bit samples"
        raise ValueError(f"{made}; save it as 16-bit PCM")
    if not 0 < bits <= container or (tag == FLOAT and bits != container) or (bits <= 8) != (container == 8):
        raise ValueError(f"{bits}-bit audio in {container:g}-bit samples; save it as 16-bit PCM")
    return tag, n_channels, sr, block_align, int(container)


def _check_data(fmt, size, start, file_size, riff_end):
    """The data chunk must lie within the file, and hold something: a `WavHeader`."""
    tag, n_channels, sr, block_align, bits = fmt
    present = max(0, file_size - start)
    if size == UNKNOWN:
        raise ValueError("its header does not say how long it is (written into a pipe?); save it again as a file")
    if size > present:
        promised = f"the header promises {size} bytes of audio and {present} are there"
        raise ValueError(f"truncated: {promised}; copy or record it again")
    if size < block_align:
        lost = f" though {present} bytes follow" if present else ""
        raise ValueError(f"holds no audio (data chunk of {size} bytes{lost}); record it again")
    if start + size > riff_end + 8:
        counts = f"its RIFF header counts {riff_end} bytes, its audio ends at byte {start + size}"
        raise ValueError(f"{counts}; export it again")
    return WavHeader(sr, size // block_align, n_channels, tag, bits)
