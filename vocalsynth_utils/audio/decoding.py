"""The decoded frames of any file that FFmpeg reads, and a line on whatever in it is damaged, cut off or left over.

A file from anyone is known by its content alone: no name, address or playlist in it is followed, nothing but audio is
decoded, and nothing is printed.
"""

import io
import logging
import os

import av
import av.logging

from .signal import reason

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,ircam,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
)
FORMATS += "mxf,nistsphere,nut,ogg,qcp,shn,sox,tak,tta,voc,w64,wav,wv"
CODECS = "8svx aac ac3 adpcm alac als amr ape dca dsd eac3 flac g7 gsm mlp mp1 mp2 mp3 mpc opus pcm qcelp shorten "
CODECS = tuple(
    (CODECS + "speex tak truehd tta vorbis wavpack wma").split()
)  # what names of decoders for audio begin with
SAFE = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
SAFE["codec_whitelist"] = ",".join(name for name in sorted(av.codecs_available) if name.startswith(CODECS))
SLACK = 0.05  # s that a complete file may lack of what it announces
MAX_TAIL = 1 << 24  # bytes after the audio that are searched for another recording
JOINED = (b"ftyp", b"FORM", b"caff")  # magics of files that FFmpeg does not read on after the first

av.logging.set_level(av.logging.WARNING)  # what FFmpeg says is caught here
av.logging.set_skip_repeated(False)
logging.getLogger("libav").addHandler(logging.NullHandler())  # and what it says elsewhere is not printed


def frames(file, n, notes, options):
    """Yield the main audio of a file, `av.AudioFrame`s of `n` samples or more; `options` are FFmpeg's, for its format.

    What is wrong is added to the list `notes` once all is read. It follows "FILE: ", and so do ValueErrors.
    """
    file = _File(file.fileno(), closefd=False)
    head = file.read(8)
    file.seek(0)
    with av.logging.Capture() as log:
        try:
            container = av.open(file, options={**SAFE, **options})
        except (av.FFmpegError, OSError) as e:
            why = f"not audio that can be read ({_said(log) or reason(e)})"
            raise ValueError(f"{why}; give a recording, or convert it to WAV") from None
    packet, seconds, end, damage = True, 0.0, 0, _said(log) and (0.0, _said(log))
    held, kind = av.AudioFifo(), None
    with container:
        stream = container.streams.best("audio")
        if stream is None or (container.format.name == "mp3" and head[0] not in b"I\xff\0"):  # MP3 inside an archive
            raise ValueError("not audio, or without sound; give a recording")
        if container.format.name == "caf" and stream.codec_context.name == "alac":
            stream.codec_context.options = {"flags2": "+skip_manual"}  # or its last frame is shortened twice
        announced = float((stream.duration or 0) * stream.time_base)  # s
        if len(container.streams) == 1:
            announced = announced or (container.duration or 0) / av.time_base
        if any("Estimating" in line for _, _, line in log):
            announced = 0
        packets = container.demux(stream)
        while packet is not None:
            decoded, fault = [], None
            with av.logging.Capture() as log:
                try:
                    packet = next(packets, None)
                    decoded = packet.decode() if packet is not None else []
                except (av.FFmpegError, OSError) as e:
                    fault = reason(e)
            if packet is not None:
                end = max(end, (packet.pos or 0) + packet.size)
                fault = "a packet is cut off" if packet.is_corrupt else fault
            damage = damage or ((_said(log) or fault) and (seconds, _said(log) or fault))
            for frame in decoded:
                kind, before = (frame.layout.nb_channels, frame.format.name, frame.sample_rate), kind
                if kind != (before or kind):
                    new = "to {} channels of {} at {} Hz".format(*kind)
                    raise ValueError(f"its format changes after {seconds:.1f} s, {new}; cut it into two")
                seconds += frame.samples / frame.sample_rate
                frame.pts = None  # whatever it is, this frame is the next one
                held.write(frame)
            if held.samples and (held.samples >= n or packet is None):
                yield held.read()
    if not seconds:
        raise ValueError(f"holds no audio that can be decoded ({damage[1] if damage else 'no frames'}); copy it again")
    if announced > seconds + SLACK:
        damage = damage or (seconds, f"it should go on, to {announced:.1f} s")
    if head[:4] == b"OggS" and not _all_pages(file):
        damage = damage or (seconds, "a page is missing or broken")
    if damage:
        at = f"damaged or cut off after {damage[0]:.1f} s ({damage[1]})"
        notes.append(f"{at}; {seconds:.1f} s are read, copy or export it again")
    file.seek(end)
    tail, magic = file.read(MAX_TAIL), head[4:] if head[4:] == b"ftyp" else head[:4]
    if magic in JOINED and magic in tail:
        raise ValueError(f"another recording follows at byte {end + tail.index(magic)}; cut the file into two")


class _File(io.FileIO):
    """A file in which FFmpeg may seek any place; where there is none, PyAV would print an exception."""

    def seek(self, offset, whence=os.SEEK_SET):
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def _said(log):
    """The last error that FFmpeg tells of, in one line, or None; that it reads no pictures is none."""
    errors = [line for level, _, line in log if level <= av.logging.ERROR and "not on whitelist" not in line]
    return reason(errors[-1]) if errors else None


def _all_pages(file):
    """Whether an Ogg file is one whole page after the other, of which the last says so."""
    at, flags, size = 0, 0, os.fstat(file.fileno()).st_size
    while at < size:
        file.seek(at)
        page = file.read(27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            return False
        at, flags = at + 27 + page[26] + sum(page[27 : 27 + page[26]]), page[5]
    return at == size and bool(flags & 4)
