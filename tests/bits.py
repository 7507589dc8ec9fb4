"""Digests of what training and generating give on one thread: what a change that is to change nothing leaves as it is.

    OMP_NUM_THREADS=1 python tests/bits.py [FILE]

Trains `2016-small` and `world-units` for a few epochs on the built-in voice and
generates from them and from the run that ships.  Prints a digest of the
parameters, of the optimiser's state, of the log's losses and of each piece of
audio; with FILE, compares them with those it holds, and exits with 1 where one
differs.  The digests are of one processor:
make FILE anew (``> FILE``) on the commit before the change.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from vocalsynth_utils import generation, pipeline, runs, synthetic
from vocalsynth_utils.recipes import get

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # of the built-in voice


def digest(*contents):
    """Bytes or arrays as a short text."""
    found = hashlib.sha256()
    for content in contents:
        found.update(content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes())
    return found.hexdigest()[:16]


def of_run(run):
    """The digests of a run's files, by name."""
    arrays, _ = run.load("last")
    state = {name: value for name, value in sorted(arrays.items()) if not name.startswith("log.")}
    losses = [(row["train_loss"], row["valid_loss"]) for row in run.log()]
    return {"checkpoint": digest(*state.values()), "losses": digest(json.dumps(losses).encode())}


def main(folder):
    """All digests, by what they are of."""
    recording = synthetic.built_in(folder / "voice.wav", SECONDS)
    found = {"voice": digest(recording.read_bytes())}
    for name, n_epochs, seconds in (("2016-small", 3, 5), ("world-units", 2, 20)):
        recipe = get(name).replace(n_epochs=n_epochs)
        data = pipeline.prepare(recipe, recording, folder / name)
        for _ in pipeline.train(recipe, data, folder / name):
            pass
        run = runs.open_run(folder / name)
        y = pipeline.generate(run, seconds, pipeline.primer(run))
        found[name] = {"rows": digest(data.rows), **of_run(run), "audio": digest(y)}
    shipped = runs.open_run(ROOT / "data" / "pretrained" / "world-units")
    y = pipeline.generate(shipped, 20, generation.primer_frames(shipped, None, "none", 1))
    found["shipped"] = {"audio": digest(y)}
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        bits = main(Path(scratch))
    print(json.dumps(bits, indent=1))
    if len(sys.argv) > 1 and json.loads(Path(sys.argv[1]).read_text()) != bits:
        sys.exit("these differ from " + sys.argv[1])
