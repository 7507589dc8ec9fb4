"""Hostile sizes and places: what `fuzzing` puts before the command line, and allows 2 s and 300 MB for.

Too many and too long entries, what never ends in place of files, numbers at
the edges of a float, paths longer than allowed.  One case in `PLAIN` is what
it should be, and works.
"""

import os
import socket
import stat
import struct

import hostile
import hostile_files
import numpy as np
from hostile import SMALL, Case

PLAIN = 25
SHARES = {"log size": 4, "entries": 4, "sweep size": 14, "place": 30, "edge": 23, "long path": 25}  # per cent of these
RESUME = ["train", "2016-small", "--run", "raw", "--resume", "--epochs", "2"]
GENERATE = ["generate", "raw", "o.wav", "--seconds", "0.05"]
HOLES = 1 << 36


def _plain(box):
    return box.number % PLAIN == 0


def _many(rng, low, high):
    """A whole number whose logarithm to 10 is anywhere from `low` to `high`."""
    return int(10 ** rng.uniform(low, high))


# logs, checkpoints, JSON ------------------------------------------------------------------------------------------


def log_size(rng, box):
    """A log with too many rows, columns or bytes, or a cell without end."""
    path = box.here / box.copy("raw") / "log.csv"
    header, row = path.read_bytes().splitlines()[:2]
    what = rng.integers(40)
    if _plain(box):
        pass
    elif what < 18:
        path.write_bytes(header + b"\n" + (row + b"\n") * _many(rng, 5.01, 5.6))
    elif what < 36:
        n = _many(rng, 2.05, 4.8)
        more = b"".join(b",c%d" % i for i in range(n))
        path.write_bytes(header + more + b"\n" + (row + b",1" * n + b"\n") * int(rng.integers(1, 4)))
    elif what < 39:
        os.truncate(path, (1 << 26) + _many(rng, 1, 8))
    else:
        path.write_bytes(header + b"\n" + row + (b"9", b"x", b'"', b",")[rng.integers(4)] * _many(rng, 3, 6.5) + b"\n")
    return Case(RESUME, ("here/raw",))


def entries(rng, box):
    """A checkpoint of too many arrays, or one or a JSON file of too many values, digits or brackets."""
    folder = box.here / box.copy("raw")
    if _plain(box) or rng.random() < 0.4:
        path = folder / "best.npz"
        members = hostile_files._members(path.read_bytes())
        for other in folder.glob("*.npz"):
            other.unlink()
        digest = members.pop("__digest__.npy")
        n, long = (3, 0) if _plain(box) else [(_many(rng, 3.65, 4), 0), (_many(rng, 2, 3), 3000)][rng.integers(2)]
        if not _plain(box) and rng.random() < 0.3:
            n, text = 0, b'{"epoch": 1, "x": ' + _exploding(rng) + b"}"
            members["__meta__.npy"] = hostile_files._array_of(np.frombuffer(text, np.uint8))
        members.update({f"x{i}{'x' * long}.npy": digest for i in range(n)})
        path.write_bytes(hostile_files.zip_file(hostile_files.sealed(members.items())))
        return Case(GENERATE, ("here/o.wav",))
    name = ("recipe.json", "result.json", "dataset/dataset.json")[rng.integers(3)]
    text = (folder / name).read_bytes()
    (folder / name).write_bytes(text.rstrip()[:-1] + b', "x": ' + _exploding(rng) + b"}")
    return Case(["evaluate", "raw", "--seconds", "2"] if name == "result.json" else GENERATE, ("here/o.wav",))


def _exploding(rng):
    """A JSON value that takes much more room than its text."""
    n = _many(rng, 5.75, 6.6)
    one = (b"[]", b"{}", b"0", b'""', b"null", b"1.5")[rng.integers(6)]
    what = rng.integers(5)
    if what == 0:
        return b"{" + b",".join(b'"%d":0' % i for i in range(n // 4)) + b"}"
    if what == 1:
        return b"1" * n
    if what == 2:
        return b"[" * n + b"]" * n
    if what == 3:
        return b"0." + b"3" * n
    return b"[" + (one + b",") * n + one + b"]"


# sweeps -----------------------------------------------------------------------------------------------------------

SWEEP = ('recipe = "2016-small"', 'data = "nothing"', "epochs = 1", "set.frame_length = 20", "set.n_steps = 4")


def sweep_text(rng, plain):
    """A sweep file that asks for more than anybody has time for, or is long without asking for anything."""
    n, what = _many(rng, 4.05, 6) if not plain else int(rng.integers(2, 40)), rng.integers(11)
    lines, varied = list(SWEEP), "grid.learning_rate = [0.1]"
    if what == 0:
        varied = "\n".join(f'[[case]]\nlabel = "c{i}"' for i in range(n))
    elif what == 1:
        varied = "case = [" + ", ".join(f'{{label="{i}"}}' for i in range(n)) + "]"
    elif what == 2:
        lines.append("seeds = [" + ",".join(map(str, range(n))) + "]")
    elif what == 3:
        varied = "grid.learning_rate = [" + ",".join(f"{i + 1}e-9" for i in range(n)) + "]"
    elif what == 4:
        n = 6 if plain else max(101, n // 1000)
        rates, units = ",".join(f"{i + 1}e-9" for i in range(n)), ",".join(f"[{i + 1}]" for i in range(n))
        varied = f"grid.learning_rate = [{rates}]\ngrid.n_units = [{units}]"
    elif what == 5:
        varied = f"random.runs = {n}\nrandom.fields.learning_rate = {{low = 0.1, high = 1}}"
    elif plain:
        lines.append("# " + "x" * n)
    elif what == 6:
        lines += [f"set.x{i} = 1" for i in range(n)]
    elif what == 7:
        lines.append("a" + ".a" * n + " = 1")
    elif what == 8:
        lines.append("set.n_units = [" + ("0x", "", "0b", "1.")[rng.integers(4)] + "1" * n + "]")
    elif what == 9:
        lines.append("x = [" + ("0,", "[],", "{},", '"",')[rng.integers(4)] * n + "]")
    else:
        varied = f'case = [{{label = "{"l" * n}"}}]'
    return "\n".join([*lines, varied])


def sweep_size(rng, box):
    """A sweep's file of any of these kinds; it names no recording, so nothing is ever trained."""
    name = box.save("s.toml", sweep_text(rng, _plain(box)).encode())
    return Case(["sweep", name, "--out", "out"])


# what never ends --------------------------------------------------------------------------------------------------


def _node(kind, device=0):
    def make(box, path):
        try:
            os.mknod(path, kind | 0o666, device)
        except PermissionError:  # devices are root's
            os.mkfifo(path)

    return make


def _link(target):
    return lambda box, path: os.symlink(target, path)


def _holes(head=b""):
    def make(box, path):
        path.write_bytes(head)
        os.truncate(path, HOLES)

    return make


def _socket(box, path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.relpath(path))  # a socket's path must be short


RF64 = struct.pack("<4sI4s4sIQQQI", b"RF64", 2**32 - 1, b"WAVE", b"ds64", 28, HOLES, HOLES - 80, HOLES // 2 - 40, 0)
RF64 += struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 2**32 - 1)
NPY = hostile_files.npy(f"{{'descr': '<i2', 'fortran_order': False, 'shape': ({HOLES // 2 - 64},), }}")
ENDLESS = [_node(stat.S_IFIFO), *(_node(stat.S_IFCHR, os.makedev(1, n)) for n in (3, 5, 7)), _socket]
ENDLESS += [
    lambda box, path: path.mkdir(),
    _link("/dev/zero"),
    _link("/dev/full"),
    _link("/dev/stdin"),
    _link("itself"),
]
ENDLESS += [_link("nowhere"), _holes(), _holes(RF64), _holes(NPY), _holes(b"PK\3\4"), _holes(b"OggS"), _holes(b"fLaC")]
INPUTS = {  # a command, what it needs, and in place of which file of that the odd one stands
    "prepared": (["prepare", "2016-small", "recording.wav", "out", *SMALL], "recording.wav", ""),
    "primer": ([*GENERATE, "--primer", "raw/a.wav"], "raw", "a.wav"),
    "trained": (["train", "2016-small", "--data", "recording.wav", "--run", "new", *SMALL], "recording.wav", ""),
    "samples": (GENERATE, "raw", "dataset/signal.npy"),
    "dataset": (GENERATE, "raw", "dataset/dataset.json"),
    "recipe": (GENERATE, "raw", "recipe.json"),
    "best": ([*GENERATE, "--primer", "none"], "raw", "best.npz"),
    "swept": (["sweep", "s.toml", "--out", "out"], "dataset", "signal.npy"),
    "sweep data": (["sweep", "s.toml", "--out", "out", "--data", "recording.wav"], "recording.wav", ""),
    "sweep": (["sweep", "recording.wav", "--out", "out"], "recording.wav", ""),
}
OUTPUTS = {
    "generated": ["generate", "raw", "odd.wav", "--seconds", "0.05"],
    "voice": ["voice", "odd.wav", "--seconds", "0.05"],
    "dataset": ["prepare", "2016-small", "recording.wav", "odd.wav", *SMALL],
}


def place(rng, box):
    """A device, a pipe, a link or holes in place of a recording, of a file of ours, or of what is to be written."""
    if rng.random() < 0.3:
        command = list(OUTPUTS.values())[rng.integers(len(OUTPUTS))]
        box.copy("raw" if command[0] == "generate" else "recording.wav")
        links = [_link("../elsewhere/new.wav"), _link("../elsewhere/precious.txt"), _link("/dev/stdout")]
        odd = links if rng.random() < 0.4 or _plain(box) else ENDLESS
        odd[0 if _plain(box) else rng.integers(len(odd))](box, box.here / "odd.wav")
        return Case(command, ("here", "elsewhere"))
    command, needed, name = list(INPUTS.values())[rng.integers(len(INPUTS))]
    path = box.here / box.copy(needed) / name
    box.save("s.toml", "\n".join([*SWEEP, "grid.learning_rate = [0.1]"]).replace("nothing", "dataset").encode())
    if _plain(box) and command[0] != "sweep":
        kept = box.material / (needed if name in ("", "a.wav") else f"{needed}/{name}")
        kept = box.material / "recording.wav" if name == "a.wav" else kept
        path.unlink(missing_ok=True)
        os.symlink(kept, path)  # which is as good as the file
        command = command if command[0] != "train" else INPUTS["prepared"][0]
    else:
        for other in path.parent.glob("*.npz") if name == "best.npz" else [path]:
            other.unlink(missing_ok=True)
        ENDLESS[rng.integers(len(ENDLESS))](box, path)
    return Case(command, ("here/o.wav", "here/out", "here/new"))


# edges of a float -------------------------------------------------------------------------------------------------

EDGES = (
    "1e-320 5e-324 -5e-324 2.2e-308 1e-45 1e-9 -0.0 0 1e18 1e300 1.8e308 inf -inf nan 1e999 9007199254740993".split()
)
EDGES += ["1" * 400, "0." + "0" * 400 + "1", "1e" + "9" * 300, "0x1p3"]
OPTIONS = (
    (["voice", "o.wav"], "--seconds"),
    (["generate", "raw", "o.wav"], "--seconds"),
    (["generate", "raw", "o.wav", "--seconds=0.01"], "--temperature"),
    (["generate", "raw", "o.wav", "--seconds=0.01"], "--primer-frames"),
    (["generate", "raw", "o.wav", "--seconds=0.01"], "--seed"),
    (["evaluate", "raw"], "--seconds"),
    (["train", "2016-small", "--data", "nothing", "--run", "new"], "--minutes"),
    (["train", "2016-small", "--data", "nothing", "--run", "new"], "--epochs"),
    (["prepare", "2016-small", "recording.wav", "out", *SMALL], "--set=sample_rate"),
    (["sweep", "s.toml", "--out", "out"], "--workers"),
)
KEYS = "minutes voice_seconds evaluate_seconds epochs workers random.runs set.sample_rate set.learning_rate".split()


def edge(rng, box):
    """A number at the edge of what a float holds: an option, a key of a sweep, or a recording's sample rate."""
    value, what = EDGES[rng.integers(len(EDGES))], rng.random()
    box.save("s.toml", "\n".join([*SWEEP, "grid.n_units = [[4]]"]).encode())
    if what < 0.4 or _plain(box):
        box.copy("raw")
        box.copy("recording.wav")
        command, option = OPTIONS[0 if _plain(box) else rng.integers(len(OPTIONS))]
        return Case([*command, f"{option}={'0.01' if _plain(box) else value}"], ("here",))
    if what < 0.6:
        lines = [line for line in SWEEP if not line.startswith("epochs")]
        lines = [line for line in lines if not line.startswith("data")] if rng.random() < 0.2 else lines
        key = KEYS[rng.integers(len(KEYS))]
        fields = "\nrandom.fields.n_batch = [1]" if key == "random.runs" else "\ngrid.n_units = [[4]]"
        box.save("s.toml", ("\n".join([*lines, f"{key} = {value}"]) + fields).encode())
        return Case(["sweep", "s.toml", "--out", "out", "--data", "nothing"])
    which = ("0-1", "8-2", "19-1", "19-2", "20-1", "20-2")[rng.integers(6)]  # WAV, AIFF, CAF
    raw = bytearray((box.material / which).read_bytes())
    _set_rate(raw, rng, value)
    return hostile._heard(rng, box, bytes(raw))


def _set_rate(raw, rng, value):
    """Another sample rate in a WAV (4 bytes), an AIFF (10, an extended float) or a CAF file (8, a float)."""
    number = 7.5 if "x" in value else float(value)
    if raw[:4] == b"caff":
        at = raw.index(b"desc") + 12
        raw[at : at + 8] = struct.pack(">d", number)
    elif raw[:4] == b"FORM":
        at = raw.index(b"COMM") + 16
        exponent = (0, 1, 0x3FFF, 0x400C, 0x400D, 0x400E, 0x4010, 0x401E, 0x7FFE, 0x7FFF, 0xC00C, 0xFFFF)[
            rng.integers(12)
        ]
        raw[at : at + 10] = struct.pack(">HQ", exponent, (0, 1, 2**63, 2**64 - 1, 0xFA << 56)[rng.integers(5)])
    else:
        at = raw.index(b"fmt ") + 12
        raw[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 999, 768001, 2**31 - 1, 2**31, 2**32 - 1])))


# paths ------------------------------------------------------------------------------------------------------------

PATHS = (
    (["prepare", "2016-small", None, "out", *SMALL], "recording.wav"),
    (["prepare", "2016-small", "recording.wav", None, *SMALL], "recording.wav"),
    (["train", "2016-small", "--data", None, "--run", "new", *SMALL], "recording.wav"),
    (["train", "2016-small", "--data", "nothing", "--run", None, *SMALL], "recording.wav"),
    (["train", "2016-small", "--run", None, "--resume"], "raw"),
    (["generate", None, "o.wav", "--seconds", "0.05"], "raw"),
    (["generate", "raw", None, "--seconds", "0.05"], "raw"),
    (["generate", "raw", "o.wav", "--seconds", "0.05", "--primer", None], "raw"),
    (["evaluate", None, "--seconds", "2"], "raw"),
    (["evaluate", "raw", "--seconds", "2", "--out", None], "raw"),
    (["voice", None, "--seconds", "0.05"], "recording.wav"),
    (["sweep", None], "recording.wav"),
    (["sweep", "s.toml", "--out", None], "recording.wav"),
    (["sweep", "s.toml", "--data", None, "--out", "out"], "recording.wav"),
)


def long_path(rng, box):
    """A path or a name about as long as a file system takes, or longer, wherever a command takes one."""
    command, needed = PATHS[10 if _plain(box) else rng.integers(len(PATHS))]
    box.copy(needed)
    box.save("s.toml", "\n".join([*SWEEP, "grid.learning_rate = [0.1]"]).encode())
    letter = ("n", "é", "\u202e", " ", ".", "\n", "'", os.fsdecode(b"\xff"), "🙂", "~")[rng.integers(10)]
    n_bytes = len(os.fsencode(letter))
    end = ("", ".wav", "/", "/recording.wav")[rng.integers(4)]
    what = rng.integers(4)
    if _plain(box):
        path = "n" * int(rng.integers(1, 251)) + ".wav"
    elif what == 0:
        path = letter * (int(rng.integers(200, 300)) // n_bytes) + end
    elif what == 1:
        path = letter * (_many(rng, 2.4, 5) // n_bytes) + end
    elif what == 2:
        part = letter * (int(rng.integers(1, 250)) // n_bytes + 1) + "/"
        path = part * (int(rng.integers(3900, 4300)) // len(os.fsencode(part))) + end
    else:
        file = "nothing" if command[0] == "sweep" else "recording.wav"  # or it would train for a while
        path = ("../here/", "./", "d/", "//")[rng.integers(4)] * _many(rng, 2, 4) + file
    return Case([path if part is None else part for part in command], ("here",))


KINDS = {
    "log size": log_size,
    "entries": entries,
    "sweep size": sweep_size,
    "place": place,
    "edge": edge,
    "long path": long_path,
}
