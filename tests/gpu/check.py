"""All that needs a card, in one command of under eight minutes: is it right there, and how fast?

python tests/gpu/check.py [--device cuda|cpu] [--quick] [--out FILE.json]

Prints a line for each check and writes the figures as JSON; the exit status is 1 where a limit is passed.  A check that
fails by an error says so, and the others go on.  ``--device cpu --quick`` tries the script itself, where no card is.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import torch  # noqa: E402
from gpu.agreement import all_from, apart, batch, seed, small  # noqa: E402

from vocalsynth_utils import audio, dataset, features, gpu, pipeline, runs, training  # noqa: E402
from vocalsynth_utils.benchmark import card  # noqa: E402
from vocalsynth_utils.gpu import kernels  # noqa: E402
from vocalsynth_utils.recipes import get  # noqa: E402

RECIPES = "2016-small", "2016-lasagne-small", "0.125s-300x3-noise", "0.125s-300x3-stateful", "rectify-clipped"
RECIPES += "rectify-truncated", "0.1s-300x3-adam", "fft-mixture", "world-mdn", "world-units"
LIMITS = {  # of differences from Theano's engine, relative: loss, loss within 20 updates, parameters after them
    "fp32": (2e-6, 1e-5, 1e-3),
    "tf32": (5e-3, 2e-2, 1.0),
}
REACH = {"engine": 8.0, "engine, TF32": 3.0}  # ms an update of 2016 on an H100 or H200
FULL, QUICK = "16000/600/49/16", "26/16/5/4"


def agreement(name, engine, precision):
    """The figures of one recipe beside Theano's, and whether two runs of a seed, and a resumed one, are equal."""
    recipe = small(get(name))
    n, rng = features.n_features(recipe), np.random.default_rng(0)
    theano = training.compile_trainer(recipe, n)
    ours, again, resumed = (engine(recipe, n) for _ in range(3))
    seed([theano], 1)
    for _ in range(5):
        theano.train(batch(recipe, rng))
    all_from(theano.checkpoint(), theano, ours, again)
    batches = [batch(recipe, rng) for _ in range(20)]
    found = {"valid": apart(ours.valid(batches[0]), theano.valid(batches[0]))}
    losses = [(float(theano.train(X)), ours.train(X)) for X in batches]
    found["loss"] = max(abs(a - b) / abs(a) for a, b in losses)
    a, b = ours.checkpoint(), theano.checkpoint()
    found["parameters"] = max(apart(a[name], b[name]) for name in ours.parameters)
    limits = LIMITS[precision]
    found["within"] = all(v <= limit for v, limit in zip((found[k] for k in ("valid", "loss", "parameters")), limits))
    found["repeats"] = [again.train(X) for X in batches] == [loss for _, loss in losses]
    all_from(ours.checkpoint(), resumed, ours)
    found["resumes"] = [resumed.train(X) for X in batches[:5]] == [ours.train(X) for X in batches[:5]]
    return found, found["within"] and found["repeats"] and found["resumes"]


def speed(device, quick):
    """Milliseconds of an update beside peers and floors; the most memory."""
    shape = QUICK if quick else FULL
    sizes = dict(zip(("n_inputs", "n_units", "n_steps", "n_batch"), map(int, shape.split("/"))))
    result = card.bench(sizes, device, repeats=3 if quick else 20)
    print(card.table({shape: result}))
    found = {"shape": shape, "ms": {name: 1000 * t["s"] for name, t in result["times"].items()}}
    if device == "cuda":
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    met = {name: found["ms"].get(name, 0) <= ms for name, ms in REACH.items()}
    return {**found, "reach": met}, device == "cpu" or all(met.values())


def whole_run(device, quick):
    """Some epochs of `train 2016` on three hours of noise, or of its small form on ten seconds: seconds of each."""
    recipe = get("2016-small" if quick else "2016").replace(n_epochs=3 if quick else 20)
    if quick:
        recipe = recipe.replace(frame_length=20, n_units=(8,), n_offsets=1)
    with tempfile.TemporaryDirectory() as folder:
        folder, rng = Path(folder), np.random.default_rng(0)
        with audio.writer(folder / "noise.wav", recipe.sample_rate) as out:
            for _ in range(1 if quick else 1080):
                out.write(0.1 * rng.standard_normal(10 * recipe.sample_rate, dtype=np.float32))
        data = dataset.prepare(folder / "noise.wav", recipe, folder / "data")
        rows, started = [], time.perf_counter()
        for row in pipeline.train(recipe, data, folder / "run", engine="torch", device=device):
            rows.append(row)
        wall = time.perf_counter() - started
        epochs = [row["duration"] for row in rows[2:]]
        kept = runs.open_run(folder / "run").load("last")[1]["epoch"]
    return {"epoch_s": float(np.median(epochs)), "wall_s": wall, "epochs": len(rows)}, kept == recipe.n_epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything: does the script work?")
    parser.add_argument("--out", default="build/check.json", help="where the figures go (default build/check.json)")
    args = parser.parse_args()
    on_card, found, failed = args.device == "cuda", {"device": str(gpu.chosen("torch", args.device))}, []

    def check(name, function, *given):
        started = time.perf_counter()
        try:
            figures, fine = function(*given)
        except Exception as error:  # the others go on
            traceback.print_exc()
            figures, fine = {"error": f"{type(error).__name__}: {error}"[:500]}, False
        found[name] = {**figures, "fine": fine, "took_s": time.perf_counter() - started}
        failed.extend([] if fine else [name])
        print(f"{'fine' if fine else 'FAILED'}: {name}: {json.dumps(found[name], default=float)}", flush=True)
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1, default=float))

    for precision in ("fp32", "tf32") if on_card else ("fp32",):
        engine = gpu.chosen("torch", args.device, precision == "tf32")
        for kernels.wanted in (True, False) if on_card else (False,):
            way = "kernels" if kernels.wanted else "plain"
            for name in RECIPES[-1:] if args.quick else RECIPES:
                check(f"{precision}, {way}, {name}", agreement, name, engine, precision)
    kernels.wanted = True
    check("speed", speed, args.device, args.quick)
    check("whole run", whole_run, args.device, args.quick)
    print(f"{len(found) - 1 - len(failed)} passed, {len(failed)} failed" + (f": {'; '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
