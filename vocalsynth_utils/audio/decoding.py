"""The decoded frames of any file that FFmpeg reads, and a line on whatever in it is damaged, cut off or left over.

A file from anyone is known by its content alone: no name, address or playlist in it is followed, nothing but audio is
decoded, and nothing is printed.
"""

import io
import logging
import os
from types import SimpleNamespace

import av
import av.logging

from .signal import reason

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,ircam,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nistsphere,nut,ogg,qcp,shn,sox,tak,tta,voc,w64,wav,wv"
)
CODECS = (  # what names of decoders for audio begin with
    "8svx aac ac3 adpcm alac als amr ape dca dsd eac3 flac g7 gsm mlp mp1 mp2 mp3 mpc opus pcm qcelp shorten speex tak "
    "truehd tta vorbis wavpack wma"
)
SAFE = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
SAFE["codec_whitelist"] = ",".join(
    name for name in sorted(av.codecs_available) if name.startswith(tuple(CODECS.split()))
)
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
    container, log = _opened(file, options)
    with container:
        stream = _audio(container, head)
        announced = 0 if any("Estimating" in line for _, _, line in log) else _announced(container, stream)
        read = SimpleNamespace(seconds=0.0, end=0, damage=_said(log) and (0.0, _said(log)))  # damage: when, and what
        held = av.AudioFifo()
        for frame in _decoded(container.demux(stream), read):
            held.write(frame)
            if held.samples >= n:
                yield held.read()
        if held.samples:
            yield held.read()
    if not read.seconds:
        raise ValueError(f"holds no audio that can be decoded ({(read.damage or (0, 'no frames'))[1]}); copy it again")
    if announced > read.seconds + SLACK:
        read.damage = read.damage or (read.seconds, f"it should go on, to {announced:.1f} s")
    if head[:4] == b"OggS" and not _all_pages(file):
        read.damage = read.damage or (read.seconds, "a page is missing or broken")
    if read.damage:
        at = "damaged or cut off after {:.1f} s ({})".format(*read.damage)
        notes.append(f"{at}; {read.seconds:.1f} s are read, copy or export it again")
    _check_alone(file, head, read.end)


def _opened(file, options):
    """FFmpeg's container of a file, and what was said of it."""
    with av.logging.Capture() as log:
        try:
            return av.open(file, options={**SAFE, **options}), log
        except (av.FFmpegError, OSError) as e:
            why = f"not audio that can be read ({_said(log) or reason(e)})"
            raise ValueError(f"{why}; give a recording, or convert it to WAV") from None


def _audio(container, head):
    """The main audio stream of a container."""
    stream = container.streams.best("audio")
    if stream is None or (container.format.name == "mp3" and head[0] not in b"I\xff\0"):  # MP3 inside an archive
        raise ValueError("not audio, or without sound; give a recording")
    if container.format.name == "caf" and stream.codec_context.name == "alac":
        stream.codec_context.options = {"flags2": "+skip_manual"}  # or its last frame is shortened twice
    return stream


def _announced(container, stream):
    """Seconds that the header promises; 0 where it does not say."""
    seconds = float((stream.duration or 0) * stream.time_base)
    whole = (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0
    return seconds or whole


def _decoded(packets, read):
    """Yield the frames of packets; `read` learns of the seconds, of the byte they end at, and of the first damage."""
    packet, kind = True, None
    while packet is not None:
        frames, fault = [], None
        with av.logging.Capture() as log:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else []
            except (av.FFmpegError, OSError) as e:
                fault = reason(e)
        if packet is not None:
            read.end = max(read.end, (packet.pos or 0) + packet.size)
            fault = "a packet is cut off" if packet.is_corrupt else fault
        said = _said(log) or fault
        read.damage = read.damage or (said and (read.seconds, said))
        for frame in frames:
            kind, before = (frame.layout.nb_channels, frame.format.name, frame.sample_rate), kind
            if kind != (before or kind):
                new = "to {} channels of {} at {} Hz".format(*kind)
                raise ValueError(f"its format changes after {read.seconds:.1f} s, {new}; cut it into two")
            read.seconds += frame.samples / frame.sample_rate
            frame.pts = None  # whatever it is, this frame is the next one
            yield frame


def _check_alone(file, head, end):
    """ValueError where another recording follows the audio's last byte, and FFmpeg would not read it."""
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
