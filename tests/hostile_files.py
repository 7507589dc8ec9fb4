"""Hostile checkpoints, datasets and run folders: what `fuzzing` puts before the command line.

Everything is altered where its structure has a meaning: zip records, array
headers, JSON values, rows of a log.
"""

import ast
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
import zlib

import hostile
import numpy as np
from hostile import Case, mutate

from vocalsynth_utils import audio, dataset, pipeline, runs, synthetic, training
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import checkpoints

RAW = get("2016-small").replace(frame_length=20, n_steps=4, n_offsets=1, n_units=(4,), n_batch=4, n_epochs=1)
SMALL = dict(n_steps=10, n_units=(8,), n_batch=4, batches_per_epoch=2, n_epochs=1, vocabulary=6, language_units=7)
WORLD = get("world-units").replace(**SMALL)


def make_material(folder):
    """A recording, a dataset and a run of raw samples; a run of two levels; recordings in every format."""
    folder.mkdir()
    hostile.make_audio(folder)
    os.chdir(folder)
    audio.write("recording.wav", 0.9 * synthetic.ar2(16000, seed=2))
    dataset.prepare("recording.wav", RAW, "dataset")
    list(training.train(RAW, dataset.prepare("recording.wav", RAW, "raw/dataset"), "raw"))
    synthetic.write_voice("voice.wav", 20)
    data = dataset.prepare("voice.wav", WORLD, "world/dataset")
    list(training.train(WORLD, data, "world"))
    pipeline.reference(runs.open_run("world"), data)  # of the other there is too little
    return 0


# arrays -----------------------------------------------------------------------------------------------------------


class Trap:
    """Unpickled, it leaves a folder behind."""

    def __reduce__(self):
        return os.mkdir, ("../elsewhere/sprung",)


HEADERS = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (300000000,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000 + ")" * 3000 + ", }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 65 + "), }",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': (4,), }",
    "{'descr': '<f4', 'shape': (4,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'extra': 1}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|V2000000000', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<U500000000', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000,), }",
    "{'descr': [('a', '<f4', (1000000, 1000000))], 'fortran_order': False, 'shape': (4,), }",
    "{'descr': [('a', '|O'), ('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': " + "[('a', " * 200 + "'<f4'" + ")]" * 200 + ", 'fortran_order': False, 'shape': (1,), }",
    "{'descr': None, 'fortran_order': False, 'shape': (4,), }",
    "{'descr': 'no such type', 'fortran_order': False, 'shape': (4,), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (4,), }",
    "__import__('os').mkdir('../elsewhere/sprung')",
    "{'descr': __import__('os').mkdir('../elsewhere/sprung'), 'fortran_order': False, 'shape': (4,), }",
    "-" * 9000 + "1",
    "1" * 9000,
    "[" * 150,
    "{" * 50,
    "",
    "\xff\xfe",
    "{'a': 1}",
    "None",
    "'" * 3,
    "9**9**9",
    "{**{}}",
    "0" + " " * 60000,
    "\n" * 5,
)


def npy(header, data=b"", version=(1, 0)):
    """An .npy file with whatever in its header."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H", len(text) % 65536) if version == (1, 0) else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


def odd_npy(rng, original):
    """The bytes of an .npy file that is not what it should be; `original` is what it was."""
    what, array = rng.integers(8), np.load(io.BytesIO(original))
    if what == 0:
        return mutate(original, rng, 128)
    if what == 1:
        return (
            original[: int(rng.integers(len(original)))]
            if rng.random() < 0.7
            else original + bytes(int(rng.integers(1, 99)))
        )
    if what == 2:
        data = pickle.dumps(np.array([Trap()], object)) if rng.random() < 0.3 else bytes(64)
        return npy(HEADERS[rng.integers(len(HEADERS))], data, [(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)][rng.integers(5)])
    if what == 3:
        return _of_another_shape(rng, original, array)
    out = io.BytesIO()
    np.save(out, _of_another_type(rng, array) if what < 6 else _of_other_values(rng, array))
    return out.getvalue() if rng.random() < 0.95 else pickle.dumps(Trap())


def _of_another_shape(rng, original, array):
    """The bytes of an .npy file whose header tells another shape than its data have."""
    fields = ast.literal_eval(original[10:128].decode())
    shape = fields["shape"]
    doubled = tuple(2 * n for n in shape)
    shapes = [(), (1,), shape[::-1], shape + (1,), (0,) + shape[1:], doubled, (array.size,), (10**6,) + shape]
    fields["shape"] = shapes[rng.integers(8)]
    return npy(repr(fields), original[128:])


def _of_another_type(rng, array):
    """The array in a type that nobody writes, now and then in records of two fields."""
    last = "M8[s]" if array.dtype.kind == "i" else "f4"
    types = ["<f8", "<f2", ">f4", ">i2", "i1", "u1", "?", "c8", "U5", "S3", "i8", "u8", "g", last]
    with np.errstate(all="ignore"):
        changed = array.astype(types[rng.integers(14)])
    return np.array([(1, 2.0)] * len(array), [("a", "i4"), ("b", "f4")]) if rng.random() < 0.15 else changed


def _of_other_values(rng, array):
    """The array with one value that is none, and transposed, emptied, flattened or the like."""
    x = array.copy()
    if x.dtype.kind == "f" and x.size:
        x.flat[rng.integers(x.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-44])
    return [x, x.T, x * 0, x[:1], x[:0], x.ravel(), x[None], np.asfortranarray(x)][rng.integers(8)]


# checkpoints ------------------------------------------------------------------------------------------------------


def checkpoint(rng, box):
    """A checkpoint whose bytes, arrays, zip records or meta data are altered, read by each command that reads one."""
    run, which = ("world", "best") if rng.random() < 0.15 else ("raw", ("best", "last")[rng.integers(2)])
    target = box.here / box.copy(run) / f"{which}.npz"
    whole = target.read_bytes()
    if rng.random() < 0.7:
        for other in target.parent.glob("*.npz"):  # nothing stands in for it
            other.unlink()
    members, seal = _members(whole), list
    if rng.random() < 0.6:  # with a digest that fits what was altered: none that answers before anything else does
        del members["__digest__.npy"]
        seal = sealed
        whole = zip_file(seal(members.items()))
    what = rng.integers(6)
    if what == 0:
        content = mutate(whole, rng, len(whole))
    elif what == 1:
        content = whole[: int(rng.integers(len(whole)))]
    elif what == 2:
        content = zip_file(seal(_odd_members(rng, members)))
    elif what == 3:
        content = _odd_zip(rng, dict(seal(members.items())))
    elif what == 4:
        members["__meta__.npy"] = _array_of(np.frombuffer(odd_json(rng, _meta(members)), np.uint8))
        content = zip_file(seal(members.items()))
    else:
        content = [
            pickle.dumps(Trap()),
            b"",
            b"PK\5\6" + bytes(18),
            b"PK\3\4",
            _array_of(np.zeros(3)),
            b"RIFF" + whole,
            whole + bytes(70000),
            whole + whole,
            bytes(len(whole)),
            zip_file([pair for pair in members.items() if "digest" not in pair[0]]),  # as an older version wrote it
        ][rng.integers(10)]
    target.write_bytes(content)
    if which == "last":
        return Case(["train", "2016-small", "--run", run, "--resume", "--epochs", "2"], (f"here/{run}",))
    if rng.random() < 0.05:
        return _evaluated(run)
    return Case(["generate", run, "o.wav", "--seconds", "0.05"], ("here/o.wav",))


def sealed(pairs):
    """(name, content) pairs, and a digest that is right for them, as `checkpoints.write` adds it."""
    pairs = list(pairs)
    digest = hashlib.blake2b(digest_size=checkpoints.DIGEST_BYTES)
    for name, content in pairs:
        digest.update(name.encode("utf-8", "surrogateescape") + content)
    return [*pairs, ("__digest__.npy", _array_of(np.frombuffer(digest.digest(), np.uint8)))]


def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def _array_of(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _meta(members):
    return json.loads(np.load(io.BytesIO(members["__meta__.npy"])).tobytes())


NAMES = (
    "../elsewhere/sprung",
    "/tmp/sprung",
    "..\\sprung",
    "C:\\sprung",
    "",
    ".npy",
    "lstm1",
    "lstm1.W\0.npy",
    "x" * 60000,
    "\u202e.npy",
    "caf\u00e9.npy",
    "a/b/c.npy",
    "__meta__",
    ".",
    "..",
)


def _odd_members(rng, members):
    """(name, content) pairs with some arrays altered, renamed, left out or doubled."""
    pairs = list(members.items())
    for _ in range(rng.integers(1, 3)):
        at, what = int(rng.integers(len(pairs))) if pairs else 0, rng.integers(5)
        if not pairs:
            break
        if what < 2:
            try:
                pairs[at] = pairs[at][0], odd_npy(rng, pairs[at][1])
            except (ValueError, SyntaxError, TypeError):  # it has been altered beyond reading before
                pass
        elif what == 2:
            pairs[at] = NAMES[rng.integers(len(NAMES))], pairs[at][1]
        elif what == 3:
            pairs.pop(at)
        else:
            pairs.append(
                (
                    pairs[at][0] if rng.random() < 0.5 else NAMES[rng.integers(len(NAMES))],
                    pairs[rng.integers(len(pairs))][1],
                )
            )
    return pairs


def zip_file(pairs, **lies):
    """A zip archive; `lies` replace fields of its first member: method, flags, crc, csize, usize, offset, n, data."""
    out, directory = bytearray(), bytearray()
    for i, (name, content) in enumerate(pairs):
        lie = lies if i == 0 else {}
        raw, start, content = name.encode("utf-8", "surrogateescape")[:65535], len(out), lie.get("data", content)
        sizes = struct.pack(
            "<III",
            lie.get("crc", zlib.crc32(content)),
            lie.get("csize", len(content)) % 2**32,
            lie.get("usize", len(content)) % 2**32,
        )
        head = (
            struct.pack("<HHHHH", 20, 0x800 | lie.get("flags", 0), lie.get("method", 0), 0, 33)
            + sizes
            + struct.pack("<HH", len(raw), 0)
        )
        out += b"PK\3\4" + head + raw + content
        directory += (
            b"PK\1\2"
            + struct.pack("<H", 20)
            + head
            + struct.pack("<HHHII", 0, 0, 0, 0, lie.get("offset", start) % 2**32)
            + raw
        )
    n = lies.get("n", len(pairs)) % 65536
    return bytes(out + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, n, n, len(directory), len(out), 0))


def bomb(n_megabytes, head=b""):
    """Zeros behind some first bytes, deflated a thousandfold: little on disk, `n_megabytes` once they are unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + one * n_megabytes + packer.flush()


def _odd_zip(rng, members):
    """An archive whose records lie: sizes, methods, encryption, offsets, counts; and bombs."""
    pairs = list(members.items())
    pairs.insert(0, pairs.pop(int(rng.integers(len(pairs)))))
    size = len(pairs[0][1])
    what = rng.integers(9)
    if what == 0:
        n_floats = int(rng.choice([3, 700])) << 18
        head = npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_floats},), }}")
        n = 4 * n_floats + len(head)
        return zip_file(pairs, data=bomb(n_floats >> 18, head), method=8, usize=n if rng.random() < 0.7 else size)
    if what == 1:
        return zip_file(pairs, method=int(rng.choice([1, 6, 8, 9, 12, 14, 93, 99, 65535])))
    if what == 2:
        return zip_file(pairs, flags=int(rng.choice([1, 8, 0x20, 0x40, 0x2000])))
    if what == 3:
        return zip_file(pairs, crc=int(rng.integers(2**32)))
    if what == 4:
        return zip_file(
            pairs,
            **{
                ("csize", "usize")[rng.integers(2)]: int(
                    rng.choice([0, 1, size - 1, size + 1, 10**6, 2**31, 2**32 - 1])
                )
            },
        )
    if what == 5:
        return zip_file(pairs, offset=int(rng.choice([1, 10, 10**6, 2**31, 2**32 - 1])))
    if what == 6:
        return zip_file(pairs, n=int(rng.choice([0, 1, len(pairs) + 1, 65535])))
    if what == 7:  # every member the same bytes: much more than the file holds
        return zip_file(pairs + [(f"{i}.npy", b"") for i in range(2000)])
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA][rng.integers(3)]
    ) as file:
        for name, content in pairs:
            file.writestr(name, content)
    return out.getvalue()


# JSON -------------------------------------------------------------------------------------------------------------

ODD_JSON = (
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "3",
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "1" + "0" * 30,
    "1" * 5000,
    '""',
    '"x"',
    '"' + "x" * 100000 + '"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\u001b[2J"',
    "[]",
    "{}",
    "[[]]",
    "[null]",
    '["a"]',
    "[1, 2, 3]",
    "[NaN, 1]",
    "[" * 100000 + "]" * 100000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "[" + "0," * 100000 + "0]",
    '"../../elsewhere"',
    '"/"',
    '"/dev/zero"',
    '{"a": 1, "a": 2}',
    "[0, 9223372036854775808]",
    "16000",
    '"raw"',
    '"world"',
    "-0.0",
    "1e-320",
    "100000000",
    "[1000000]",
    "[" + "4," * 300 + "4]",
    '"mixture"',
    '"lasagne-0.1"',
)
MARK = "\ue000 here \ue000"


def odd_json(rng, document):
    """A document with one or two of its values replaced, left out, doubled or renamed, or its text altered: bytes."""
    what = rng.integers(10)
    if what == 0:
        return mutate(json.dumps(document).encode(), rng, 4000)
    if what == 1:
        text = json.dumps(document)
        return [
            b"",
            ODD_JSON[rng.integers(len(ODD_JSON))].encode(),
            b"\xef\xbb\xbf" + text.encode(),
            text.encode("utf-16"),
            text.encode() + b"\xff",
            text.encode() + text.encode(),
            b" " * 100000 + text.encode(),
            b"\0" * 99,
            text.encode()[: int(rng.integers(len(text)))],
        ][rng.integers(9)]
    document, values = json.loads(json.dumps(document)), []
    for _ in range(1 + (rng.random() < 0.2)):
        parent = document
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            key = keys[rng.integers(len(keys))]
            if not (isinstance(parent[key], (dict, list)) and parent[key]) or rng.random() < 0.2:
                break
            parent = parent[key]
        if what < 8:
            values.append(ODD_JSON[rng.integers(len(ODD_JSON))])
            parent[key] = MARK
        elif what == 8 and len(parent) > 1:
            parent.pop(key)
        elif isinstance(parent, dict):
            parent[("x", "name", key + "s", "")[rng.integers(4)]] = parent[key]
        else:
            parent.append(parent[key])
    text = json.dumps(document, ensure_ascii=False)
    for value in values:
        text = text.replace(f'"{MARK}"', value, 1)
    return text.encode("utf-8", "surrogatepass")


# datasets and run folders -----------------------------------------------------------------------------------------


def dataset_folder(rng, box):
    """A dataset whose description or arrays are altered, or lead elsewhere, trained on, generated and measured with."""
    kind = "world" if rng.random() < 0.25 else "raw"
    folder = box.here / box.copy(kind) / "dataset"
    if kind == "world" and rng.random() < 0.2:
        return _described(rng, box, folder / "reference.npz")
    name = ("dataset.json", "dataset.json", "signal.npy", "rows.npy" if kind == "world" else "signal.npy")[
        rng.integers(4)
    ]
    if rng.random() < 0.1:
        _replace(rng, box, folder / name)
    elif name == "dataset.json":
        (folder / name).write_bytes(odd_json(rng, json.loads((folder / name).read_text())))
    else:
        (folder / name).write_bytes(odd_npy(rng, (folder / name).read_bytes()))
    return _used(rng, kind, folder=True)


def _described(rng, box, path):
    """A run measured where the description of its voice is altered: it is ignored, and made anew."""
    whole = path.read_bytes()
    what = rng.integers(4)
    if what == 0:
        _replace(rng, box, path)
    elif what == 1:
        path.write_bytes(mutate(whole, rng, len(whole)))
    else:
        members = _odd_members(rng, _members(whole))
        if rng.random() < 0.7:  # with a digest that fits
            members = sealed([pair for pair in members if "__digest__" not in pair[0]])
        path.write_bytes(zip_file(members) if what == 2 or not members else _odd_zip(rng, dict(members)))
    return _evaluated("world")


def run_folder(rng, box):
    """A run whose recipe, log or result is altered, or leads elsewhere."""
    kind = "world" if rng.random() < 0.3 else "raw"
    folder = box.here / box.copy(kind)
    name = ("recipe.json", "recipe.json", "log.csv", "result.json", ".lock")[rng.integers(5)]
    source = box.material / kind / name
    if name == ".lock" or rng.random() < 0.08:
        _replace(rng, box, folder / name)
    elif name == "log.csv":
        (folder / name).write_bytes(_odd_log(rng, source.read_bytes()))
    else:
        (folder / name).write_bytes(odd_json(rng, json.loads(source.read_text())))
    return _used(rng, kind, resume=name in ("log.csv", ".lock"))


def _used(rng, kind, folder=False, resume=False):
    """A command that uses a run or its dataset."""
    what = rng.random()
    if folder and kind == "raw" and what < 0.4:
        return Case(["train", "2016-small", "--data", "raw/dataset", "--run", "new", *hostile.SMALL], ("here/new",))
    if kind == "raw" and (what < 0.6 or resume):
        return Case(["train", "2016-small", "--run", kind, "--resume", "--epochs", "2"], (f"here/{kind}",))
    if what < 0.9:
        return Case(
            ["generate", kind, "o.wav", "--seconds", "0.05", "--primer", ("train", "valid", "none")[rng.integers(3)]],
            ("here/o.wav",),
        )
    return _evaluated(kind, *["--json"][: rng.integers(2)])


def _evaluated(run, *options):
    """A run measured, for which its dataset's voice may have to be described again."""
    written = f"here/{run}/dataset/reference.npz", f"here/{run}/evaluation.html"
    return Case(["evaluate", run, "--seconds", "2", *options], written)


def _replace(rng, box, path):
    """Put something that is no file of ours where one stood."""
    if path.exists():
        path.unlink()
    what = rng.integers(6)
    if what == 0:
        os.mkfifo(path)
    elif what == 1:
        path.mkdir()
    elif what == 2:
        os.symlink(path.name, path)
    elif what == 3:
        os.symlink(box.elsewhere / "precious.txt", path)
    elif what == 4:
        os.symlink("/dev/zero", path)
    else:
        path.write_bytes(b"")
        os.truncate(path, 1 << 36)  # of holes


def _odd_log(rng, content):
    """A log with rows doubled, cut, misnamed or full of what is no number."""
    lines = content.decode().splitlines()
    what = rng.integers(9)
    if what == 0:
        return mutate(content, rng, len(content))
    if what == 1:
        return content[: int(rng.integers(len(content)))]
    if what == 2:
        return "\n".join(lines + lines[1:]).encode()
    if what == 3:
        return "\n".join(lines[:1]).encode()
    if what == 4:
        return "\n".join(lines[1:]).encode()
    if what == 5:
        return content + b"2,\0,3\n" * 3
    if what == 6:
        return content + b'"' + b"x" * 200000
    if what == 7:
        cells = lines[-1].split(",")
        cells[rng.integers(len(cells))] = [
            "",
            "nan",
            "inf",
            "1e999",
            "9" * 5000,
            "x",
            "-1",
            "True",
            "1,1",
            "\u0661",
            "\x1b[2J",
        ][rng.integers(11)]
        return "\n".join(lines[:-1] + [",".join(cells)]).encode()
    return "\n".join([lines[0].replace(rng.choice(lines[0].split(",")), "x")] + lines[1:]).encode()


KINDS = {"checkpoint": checkpoint, "dataset": dataset_folder, "run": run_folder}
