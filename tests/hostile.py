"""Hostile audio, paths, settings and arguments: what `fuzzing` puts before the command line.

A kind is a function of a random generator and a `Box` that returns a `Case`.
Its number makes it again; what goes through every value of a list takes it
from the number, what draws takes it from the generator.
"""

import io
import os
import shutil
import socket
import stat
import struct
from typing import NamedTuple

import numpy as np
import soundfile
from encoding import encoded

from vocalsynth_utils.recipes import CHOICES, RECIPES, Recipe

SMALL = [f"--set={s}" for s in ("frame_length=20", "n_steps=4", "n_offsets=1", "n_units=4", "n_batch=4", "n_epochs=1")]
FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAVEX", "PCM_16"),
    ("WAVEX", "FLOAT"),
    ("RF64", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("m4a", "FFmpeg"),
    ("alac.m4a", "FFmpeg"),
    ("webm", "FFmpeg"),
    ("opus", "FFmpeg"),
    ("aiff", "FFmpeg"),
    ("caf", "FFmpeg"),
)
N_WAV = 10  # the first so many of them have a RIFF header
HEADER = 140  # bytes: the longest header of them, and a little of what follows
EXTREMES = (
    0,
    1,
    2,
    3,
    15,
    16,
    17,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    999,
    768001,
    2**31 - 1,
    2**31,
    2**32 - 2,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
SHARES = {
    "truncation": 9,
    "header field": 17,
    "mutation": 15,
    "chunks": 11,
    "path": 7,
    "checkpoint": 10,
    "dataset": 9,
    "run": 9,
    "setting": 7,
    "argument": 3,
    "sweep": 3,
}  # per cent of all cases


class Case(NamedTuple):
    """A command line, and the paths (relative to the sandbox) it may change when it succeeds."""

    args: list
    writes: tuple[str, ...] = ()


class Box:
    """Where a case is laid out: `here` is the command's working folder, `elsewhere` none of its business."""

    def __init__(self, material, sandbox, number):
        self.material, self.here, self.elsewhere, self.number = (
            material,
            sandbox / "here",
            sandbox / "elsewhere",
            number,
        )

    def copy(self, name):
        """A copy of some material in `here`; returns its name."""
        source = self.material / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, self.here / name)
        return name

    def save(self, name, content):
        """A file in `here`; returns its name."""
        (self.here / name).write_bytes(content)
        return name


def make_audio(folder):
    """The recordings that are mutated: one file per format and number of channels."""
    y = np.random.default_rng(0).normal(0, 0.1, (2000, 2)) * np.linspace(0.5, 2, 2000)[:, None]
    for i, (kind, subtype) in enumerate(FORMATS):
        for n_channels in (1, 2):
            if subtype == "FFmpeg":
                content = encoded(kind, y[:, :n_channels].T, 16000)
            else:
                out = io.BytesIO()
                soundfile.write(out, y[:, :n_channels], 16000, format=kind, subtype=subtype)
                content = out.getvalue()
            (folder / f"{i}-{n_channels}").write_bytes(content)


# audio ------------------------------------------------------------------------------------------------------------


def truncation(rng, box):
    """A file cut at every byte of its header, one after the other; past that, anywhere."""
    whole = _recording(box, box.number % len(FORMATS), 1 + box.number // len(FORMATS) % 2)
    n = (box.number * 61) % HEADER if box.number < 2 * HEADER * len(FORMATS) else int(rng.integers(len(whole)))
    return _heard(rng, box, whole[:n] if box.number % 50 else whole)


def header_field(rng, box):
    """Every field of a RIFF header, as 2, 4 or 8 bytes, set to every extreme."""
    sizes = (N_WAV, 3, len(EXTREMES), HEADER // 2)
    which, width, value, at = np.unravel_index((box.number * 7919) % int(np.prod(sizes)), sizes)
    raw, width = bytearray(_recording(box, which, 1 + box.number % 2)), (2, 4, 8)[width]
    raw[2 * at : 2 * at + width] = (EXTREMES[value] % 256**width).to_bytes(width, "little")
    return _heard(rng, box, bytes(raw))


def mutation(rng, box):
    """Bytes changed, fields replaced by extremes, pieces cut, doubled or inserted, in any format."""
    raw = mutate(_recording(box, box.number % len(FORMATS), int(rng.integers(1, 3))), rng)
    return _heard(rng, box, raw)


def mutate(raw, rng, head=HEADER):
    """One to three changes to some bytes, more of them near the beginning."""
    raw = bytearray(raw)
    for _ in range(rng.integers(1, 4)):
        if not raw:
            break
        at, what = int(rng.integers(min(len(raw), head if rng.random() < 0.7 else len(raw)))), rng.integers(7)
        if what == 0:
            raw[at] = rng.integers(256)
        elif what == 1:
            raw[at] ^= 1 << int(rng.integers(8))
        elif what == 2:
            width = int(rng.choice([2, 4, 8]))
            raw[at : at + width] = (EXTREMES[rng.integers(len(EXTREMES))] % 256**width).to_bytes(
                width, ("little", "big")[rng.integers(2)]
            )
        elif what == 3:
            del raw[at : at + int(rng.integers(1, 40)) if rng.random() < 0.7 else None]
        elif what == 4:
            raw[at:at] = raw[at : at + int(rng.integers(1, 60))]
        elif what == 5:
            raw[at:at] = rng.integers(0, 256, int(rng.integers(1, 20)), dtype=np.uint8).tobytes()
        else:
            raw[at : at + 64] = bytes(len(raw[at : at + 64]))
    return bytes(raw)


def chunks(rng, box):
    """A RIFF file put together chunk by chunk, each part of it right most of the time."""
    return _over_4_gb(rng, box) if box.number % 200 == 0 else _heard(rng, box, riff(rng, 0.12))


def riff(rng, odds):
    """Bytes of a RIFF file, extensible or not, each part of it wrong by these odds; with none of them it is valid."""
    odd = lambda: rng.random() < odds
    pick = lambda right, *wrong: wrong[rng.integers(len(wrong))] if odd() else right
    magic = pick(rng.choice([b"RIFF", b"RIFF", b"RIFX", b"RF64"]).tobytes().ljust(4, b"\0"), b"RIFF", b"riff", b"RIFE")
    order = ">" if magic == b"RIFX" else "<"
    tag, bits = [(1, 16), (1, 8), (1, 24), (1, 32), (1, 64), (3, 32), (3, 64), (6, 8), (7, 8)][rng.integers(9)]
    n_channels, sr = (
        pick(int(rng.integers(1, 7)), 0, 64, 65, 255, 65535),
        pick(int(rng.choice([8000, 16000, 44100])), 0, 1, 999, 1000, 768000, 768001, 2**31),
    )
    samples = _samples(rng, tag, bits, order, odd, n_channels if not odds else 1)
    block = pick(n_channels * bits // 8, 0, 1, 3, 65535)
    fmt = _format(rng, order, tag, bits, n_channels, sr, block, pick)
    parts = [(b"fmt ", fmt), (b"data", samples)]
    for _ in range(rng.integers(4) if odds else 0):
        inner = _chunk(rng, order, b"data", samples[:99], pick)
        others = [
            (b"LIST", b"INFO" + inner),
            (b"JUNK", bytes(27)),
            (b"fact", struct.pack(order + "I", 7)),
            (b"fmt ", fmt),
            (b"data", samples[:101]),
            (b"", b""),
            (b"id3 ", b"ID3" + bytes(7)),
            (b"RIFF", inner),
        ]
        parts.insert(int(rng.integers(len(parts) + 1)), others[rng.integers(8)])
    if magic == b"RF64":
        parts.insert(pick(0, 1, 2), (b"ds64", _sizes_of_64_bits(len(samples), block, pick)))
    body = b"WAVE" + b"".join(_chunk(rng, order, *part, pick) for part in parts)
    return magic + struct.pack(order + "I", pick(len(body), 0, len(body) - 7, len(body) + 7, 2**32 - 1)) + body


def _format(rng, order, tag, bits, n_channels, sr, block, pick):
    """What a format chunk holds, three times in ten in its extensible form."""
    written = pick(tag, 0, 2, 0x11, 0x55, 0xFFFF)
    rate = pick(sr * block % 2**32, 0, 2**32 - 1)
    fmt = struct.pack(order + "HHIIHH", written, n_channels, sr, rate, block % 65536, pick(bits, 0, 1, 12, 20, 65535))
    if rng.random() >= 0.3:
        return fmt
    guid = struct.pack(order + "IHH", tag, 0, 16) + bytes.fromhex("800000aa00389b71")  # 16 bytes
    speakers = (1 << n_channels % 32) - 1
    extra = struct.pack(order + "HHI", pick(22, 0, 24, 65535), pick(bits, 0, 1, 20), pick(speakers, 0, 2**32 - 1))
    extra += pick(guid, bytes(14), guid[::-1])
    extra = pick(extra, extra[:5], extra + bytes(900), extra + bytes(1100))
    return struct.pack(order + "H", 0xFFFE) + fmt[2:] + extra


def _sizes_of_64_bits(n_data, block, pick):
    """What the ds64 chunk of an RF64 file holds: sizes of file and data, the number of frames, and of a table."""
    file_size, data_size = pick(n_data + 100, 0, 2**64 - 1), pick(n_data, 0, n_data + 1, 2**40, 2**64 - 1)
    n_frames = pick(n_data // max(1, block), 0, 2**64 - 1)
    return struct.pack("<QQQI", file_size, data_size, n_frames, pick(0, 1, 2**32 - 1))


def _samples(rng, tag, bits, order, odd, n_channels):
    """Bytes of noise in one of WAV's sample formats, perhaps with what is no sample in it."""
    n = int(rng.integers(1500, 3000)) // n_channels * n_channels
    if tag != 3:
        return bytes(bits // 8 * n) if odd() else rng.integers(0, 256, bits // 8 * n, dtype=np.uint8).tobytes()
    y = rng.normal(0, 0.2, n).astype(f"{order}f{bits // 8}")
    if odd() or odd() or odd():
        y[rng.integers(n)] = rng.choice([np.nan, np.inf, -np.inf, 1e38, 9, -7.9, 1e-42])
    if bits == 64 and odd():
        y[rng.integers(n)] = 1e308
    return y.tobytes()


def _chunk(rng, order, name, content, pick):
    """A chunk, perhaps with a size that lies, or without its padding."""
    size = pick(len(content), 0, 1, len(content) - 1, len(content) + 1, 2**31, 2**32 - 1) % 2**32
    return name.ljust(4, b"\0") + struct.pack(order + "I", size) + content + bytes(pick(len(content) % 2, 0, 1))


def _over_4_gb(rng, box):
    """A true RF64 file of more than 4 GB, of holes."""
    n_bytes = 2**32 + 2 * int(rng.integers(10**6))
    head = struct.pack(
        "<4sI4s4sIQQQI", b"RF64", 2**32 - 1, b"WAVE", b"ds64", 28, n_bytes + 72, n_bytes, n_bytes // 2, 0
    )
    head += struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 2**32 - 1)
    box.save("a.wav", head)
    os.truncate(box.here / "a.wav", len(head) + n_bytes)
    return Case(["generate", box.copy("raw"), "o.wav", "--seconds", "0.01", "--primer", "a.wav"], ("here/o.wav",))


def _recording(box, which, n_channels):
    return (box.material / f"{which}-{n_channels}").read_bytes()


def _heard(rng, box, content):
    """A recording given to one of the three commands that read one."""
    name = box.save(("a.wav", "a", "a.m4a", "a.mp3")[rng.integers(4)], content)
    what = rng.random()
    if what < 0.65:
        return Case(["prepare", "2016-small", name, "out", *SMALL], ("here/out",))
    if what < 0.75:
        return Case(["prepare", "world-mse", name, "out", "--set=n_steps=2", "--set=n_batch=1"], ("here/out",))
    if what < 0.95:
        return Case(["generate", box.copy("raw"), "o.wav", "--seconds", "0.01", "--primer", name], ("here/o.wav",))
    return Case(["train", "2016-small", "--data", name, "--run", "new", *SMALL], ("here/new",))


# paths ------------------------------------------------------------------------------------------------------------


def path(rng, box):
    """Every place where a command takes a path, given every kind of thing a path can lead to."""
    box.copy("raw")
    box.copy("dataset")
    box.copy("recording.wav")
    odd = ODD_PATHS[box.number % len(ODD_PATHS)](box)
    commands = {
        "recording": ["prepare", "2016-small", odd, "out", *SMALL],
        "data": ["train", "2016-small", "--data", odd, "--run", "new", *SMALL],
        "primer": ["generate", "raw", "o.wav", "--seconds", "0.01", "--primer", odd],
        "generated": ["generate", odd, "o.wav", "--seconds", "0.01"],
        "evaluated": ["evaluate", odd, "--seconds", "2"],
        "resumed": ["train", "2016-small", "--run", odd, "--resume", "--epochs", "2"],
        "out": ["generate", "raw", odd, "--seconds", "0.01"],
        "voice": ["voice", odd, "--seconds", "0.01"],
        "kept": ["evaluate", "raw", "--seconds", "2", "--out", odd],
        "prepared": ["prepare", "2016-small", "recording.wav", odd, *SMALL],
        "run": ["train", "2016-small", "--data", "recording.wav", "--run", odd, *SMALL],
        "sweep": ["sweep", odd],
    }
    place = list(commands)[box.number // len(ODD_PATHS) % len(commands)]
    return Case(commands[place], ("here",))


def _node(kind, device=0):
    def make(box):
        try:
            os.mknod(box.here / "node", kind | 0o666, device)
        except PermissionError:  # devices are root's
            os.mkfifo(box.here / "node")
        return "node"

    return make


def _link(target, name="link"):
    def make(box):
        os.symlink(target, box.here / name)
        return name

    return make


def _socket(box):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket")  # in the working folder, as a socket's path must be short
    return "socket"


def _folder(box):
    (box.here / "folder").mkdir()
    return "folder"


ODD_PATHS = [
    lambda box, name=name: name
    for name in (
        "",
        " ",
        ".",
        "./",
        "missing/deeper/a.wav",
        "recording.wav/child",
        "n" * 300,
        "d/" * 3000 + "x",
        "two\nlines.wav",
        "\x1b[2J\x07.wav",
        "\u202ereversed\u2028.wav",
        os.fsdecode(b"\xff\xfe.wav"),
        "-",
        "--",
        "~",
        "{0}%s%n.wav",
        "none",
        "valid",
        "recording.wav",
        "raw",
        "dataset",
        "raw/last.npz",
        "dataset/signal.npy",
        "raw/../recording.wav",
        "CON.wav",
        "a.wav/",
    )
] + [
    _node(stat.S_IFIFO),
    _node(stat.S_IFCHR, os.makedev(1, 3)),
    _node(stat.S_IFCHR, os.makedev(1, 5)),
    _node(stat.S_IFCHR, os.makedev(1, 7)),
    _socket,
    _folder,
    _link("link"),
    _link("nowhere"),
    _link("../elsewhere/precious.txt"),
    _link("recording.wav"),
    _link("raw"),
    _link("dataset"),
    _link("/dev/zero"),
    lambda box: box.save("empty", b""),
    lambda box: box.save("text.wav", b"Dear diary, " * 99),
    lambda box: box.save("zeros", bytes(5000)),
]


# settings and arguments -------------------------------------------------------------------------------------------

VALUES = (
    "0",
    "1",
    "-1",
    "2",
    "3",
    "-0",
    "+1",
    "0.5",
    "1.0",
    "1.5",
    "1e308",
    "1e39",
    "1e-320",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1" * 5000,
    "0x10",
    "1_0",
    "\u0661",
    "\u00b2",
    "",
    " ",
    " 3",
    "true",
    "True",
    "yes",
    "None",
    "null",
    "[]",
    "{}",
    "=",
    "a=b",
    "\x1b[2J",
    "\u202e\u2028",
    "\u00e9",
    "'\"",
    "$(touch x)",
    "600,600",
    "6,,6",
    ",",
    "1x2x3",
    "0,1",
    "-1,2",
    "1," * 1000,
    "1," * 100000,
    "1000000",
    "100000000",
    "1000000000",
    "1000000000000",
    "10000000000000000000000",
    "4294967296",
    "-1000000",
    "0.999999999999",
    "two\nlines",
    os.fsdecode(b"\xff"),
) + tuple(v for values in CHOICES.values() for v in values)
FIELDS = tuple(Recipe.__dataclass_fields__)


def setting(rng, box):
    """Every recipe field given every value, and now and then a second one with it."""
    field, value = FIELDS[box.number % len(FIELDS)], VALUES[box.number // len(FIELDS) % len(VALUES)]
    settings = [f"--set={field}={value}"]
    if rng.random() < 0.3:
        other = FIELDS[rng.integers(len(FIELDS))]
        value = VALUES[rng.integers(len(VALUES))]
        settings.insert(
            int(rng.integers(2)),
            "--set="
            + rng.choice([f"{other}={value}", f"{field[:-1]}={value}", other, f"={value}", f"{field.upper()}={value}"]),
        )
    if rng.random() < 0.2:
        name = list(RECIPES)[rng.integers(len(RECIPES))]
        return Case(["prepare", name, box.copy("recording.wav"), "out", *settings], ("here/out",))
    return Case(
        [
            "train",
            "2016-small",
            "--data",
            box.copy("dataset"),
            "--run",
            "new",
            *SMALL,
            *settings,
            "--epochs",
            "2",
            "--minutes",
            "0.001",
        ],
        ("here/new",),
    )


ARGUMENTS = {  # options with values that work, and whether these are numbers
    "voice": (["v.wav"], {"--seconds": "0.01", "--seed": "1"}),
    "generate": (
        ["raw", "o.wav"],
        {"--seconds": "0.01", "--primer": "none", "--primer-frames": "2", "--temperature": "1", "--seed": "3"},
    ),
    "evaluate": (["raw"], {"--seconds": "2", "--seed": "3", "--temperature": "1", "--json": None, "--out": "o.wav"}),
    "train": (
        ["2016-small"],
        {
            "--data": "recording.wav",
            "--run": "new",
            "--epochs": "1",
            "--minutes": "0.001",
            "--resume": None,
            "--set": "n_units=4",
        },
    ),
    "prepare": (["2016-small", "recording.wav", "out"], {"--set": "n_batch=1"}),
    "recipes": ([], {}),
}
SLOW = {"--seconds": ("1000000", "3", "600,600"), "--epochs": ()}  # honest values that take their time are not hostile


def argument(rng, box):
    """A command line with values changed, options left out, doubled or unknown."""
    box.copy("raw")
    box.copy("recording.wav")
    command = list(ARGUMENTS)[box.number % len(ARGUMENTS)]
    positional, options = list(ARGUMENTS[command][0]), dict(ARGUMENTS[command][1])
    extra = list(SMALL) if command in ("train", "prepare") and rng.random() < 0.9 else []
    what = rng.integers(6)
    if what < 3 and options:
        name = list(options)[rng.integers(len(options))]
        if name not in ("--data", "--run", "--out"):  # paths have a kind of their own
            options[name] = VALUES[rng.integers(len(VALUES))]
    elif what == 3 and options:
        options.pop(list(options)[rng.integers(len(options))])
        if command == "train":
            options["--data"] = "recording.wav"  # or it would sing for a while
        elif command == "evaluate":
            options["--seconds"] = "2"  # or it would measure minutes
        elif command == "generate":
            options["--seconds"] = "0.01"
    elif what == 4:
        extra.append(
            rng.choice(
                [
                    "--no-such-option",
                    "-x",
                    "--",
                    "@file",
                    "--seconds",
                    "extra",
                    "--set",
                    "--json=3",
                    "--sec=1",
                    "two\nlines",
                ]
            )
        )
    elif positional:
        positional[rng.integers(len(positional))] = VALUES[rng.integers(len(VALUES))]
    if command == "evaluate" and rng.random() < 0.9:
        positional = ["no-run"]  # measuring takes a second
    if not rng.integers(20):
        command = VALUES[rng.integers(len(VALUES))]
    given = [part for name, value in options.items() for part in ([name] if value is None else [f"{name}={value}"])]
    return Case([command, *positional, *extra, *given], ("here",))


KINDS = {
    "truncation": truncation,
    "header field": header_field,
    "mutation": mutation,
    "chunks": chunks,
    "path": path,
    "setting": setting,
    "argument": argument,
}
