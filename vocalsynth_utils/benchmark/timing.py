"""Seconds, megabytes and frames per second of this machine, beside what it could do at best and what others do on it.

Everything is timed in processes of its own (`workers`), whose steps are interleaved: a busy moment then hits all of
them.  Medians are printed with their spread, half the distance between the quartiles.
"""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .. import audio, dataset, recipes, synthetic
from ..fused import native
from . import card

SHAPES = ("16000/600/50/16", "800/300/100/32", "200/256/400/32", "26/256/80/16")  # inputs/units/steps/batch
QUICK_SHAPES = ("26/16/5/4",)
_SMALLEST = ("MALLOC_MMAP_THRESHOLD_", 30), ("MALLOC_TRIM_THRESHOLD_", 30), ("MALLOC_TOP_PAD_", 26)
LARGE_BLOCKS = {name: str(1 << bits) for name, bits in _SMALLEST}  # kept by malloc instead of asked for at every step
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MOST_REPEATS = 1000


class Worker:
    """A process of `workers` that does one step when asked: its function `kind` with the arguments `options` (a dict).

    `threads` are for BLAS and the package's own loops; `environment` comes on top of this process's.
    """

    def __init__(self, kind, options, threads=1, environment=None):
        started = time.perf_counter()
        program = [sys.executable, "-W", "ignore", "-m", "vocalsynth_utils.benchmark.workers"]
        variables = {**os.environ, **dict.fromkeys(THREADS, str(threads)), **(environment or {})}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([*program, kind, json.dumps(options)], text=True, env=variables, **pipes)
        self.built = self._read()
        self.ready_s = time.perf_counter() - started  # of the whole process, from its first breath
        self.steps = []

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            said = "".join(self.process.stderr.read().strip().splitlines()[-1:])
            raise ValueError(f"a benchmark process failed ({said[:200]}); use smaller shapes, or make memory free")
        return json.loads(line)

    def step(self):
        """One step, kept in `steps` as {cpu_s, wall_s, rss_mb}."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(self._read())

    def median(self, key):
        """Median over all steps but the first, which touches fresh memory."""
        return float(np.median([s[key] for s in self.steps[1:]]))

    def spread(self, key):
        """Half the distance between the quartiles."""
        low, high = np.percentile([s[key] for s in self.steps[1:]], [25, 75])
        return float(high - low) / 2

    def close(self):
        self.process.communicate()


def parse_shape(text):
    """``"16000/600/50/16"`` as the sizes it stands for; ValueError when it is not four positive numbers."""
    parts = text.split("/")
    if len(parts) != 4 or not all(p.isdecimal() and len(p) < 7 and int(p) for p in parts):
        raise ValueError(f"shape is {text!r:.80}, must be inputs/units/steps/batch, e.g. 800/300/100/32")
    return dict(zip(("n_inputs", "n_units", "n_steps", "n_batch"), map(int, parts)))


def interleaved(workers, repeats):
    """Let every worker of a dict take `repeats` steps and one before, in turns; closes them, and returns the dict."""
    for _ in range(repeats + 1):
        for worker in workers.values():
            worker.step()
    for worker in workers.values():
        worker.close()
    return workers


def bench_train(shape, repeats=7, scan_environment=None):
    """One training step of the 2016 network of a shape: fused, its matrix products alone, scan, PyTorch.

    Medians of `repeats` steps as ``<name>_cpu_s`` with ``<name>_cpu_spread_s``, ``<name>_wall_s``, ``<name>_rss_mb``
    for the names fused, gemm_floor, torch, torch_tuned and, where there is a second core, fused_2_threads; scan too
    where `scan_environment` is given, in which Theano compiles it in C; ``gflops`` of the products, and ``ratios``.
    """
    sizes = parse_shape(shape)
    workers = {"fused": Worker("fused", sizes), "gemm_floor": Worker("gemm", sizes)}
    if importlib.util.find_spec("torch"):
        workers.update(torch=Worker("torch", sizes), torch_tuned=Worker("torch", sizes, environment=LARGE_BLOCKS))
    if (os.cpu_count() or 1) > 1:
        workers["fused_2_threads"] = Worker("fused", sizes, threads=2)
    if scan_environment is not None:
        workers["scan"] = Worker("scan", sizes, environment=scan_environment)
    interleaved(workers, repeats)
    found = {}
    for name, worker in workers.items():
        found[f"{name}_cpu_s"], found[f"{name}_cpu_spread_s"] = worker.median("cpu_s"), worker.spread("cpu_s")
        found[f"{name}_wall_s"], found[f"{name}_rss_mb"] = worker.median("wall_s"), worker.median("rss_mb")
    found["gflops"] = workers["gemm_floor"].built["flops"] / found["gemm_floor_cpu_s"] / 1e9
    fused = workers["fused"]
    others = [name for name in ("gemm_floor", "scan", "torch", "torch_tuned") if name in workers]
    found["ratios"] = {f"fused/{name}": _paired_ratio(fused, workers[name], "cpu_s") for name in others}
    if "fused_2_threads" in workers:
        found["ratios"]["two_threads_speedup_wall"] = _paired_ratio(fused, workers["fused_2_threads"], "wall_s")
    return found


def _paired_ratio(one, other, key):
    """Median over the rounds of one worker's time by the other's."""
    return float(np.median([a[key] / b[key] for a, b in zip(one.steps[1:], other.steps[1:])]))


def bench_compile(shape, scan_environment=None):
    """Seconds from starting Python to a compiled training function: nothing cached, everything cached, and of scan.

    ``first_update_s`` is to the end of the first update, with everything cached.
    """
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        ours = {"THEANO_FLAGS": _flags(f"base_compiledir={cache}"), "VOCALSYNTH_CACHE": cache}
        for name, environment in {"cold_s": ours, "warm_s": ours, "scan_cold_s": scan_environment}.items():
            if environment is not None:
                worker = Worker("fused" if environment is ours else "scan", parse_shape(shape), environment=environment)
                worker.step()
                worker.close()
                found[name] = worker.ready_s
                if name == "warm_s":
                    found["first_update_s"] = worker.ready_s + worker.steps[0]["wall_s"]
    return found


def _flags(*more):
    return ",".join(filter(None, [os.environ.get("THEANO_FLAGS", ""), *more]))


def scan_environment(cache):
    """Environment in which Theano compiles in C, with the package's OpenBLAS, into the folder `cache`."""
    import scipy_openblas32

    functions = "sgemm", "dgemm", "sgemv", "dgemv", "sger", "dger", "sdot", "ddot"
    names = " ".join(f"-D{name}_=scipy_{name}_" for name in functions)
    plain = f"cxx=g++,base_compiledir={cache},tensor.local_elemwise_fusion=True,reoptimize_unpickled_function=False"
    without = "optimizer_excluding=openblas_products:openblas_bias:fused_column_sums"
    linked = f"blas.ldflags=-L{scipy_openblas32.get_lib_dir()} -lscipy_openblas,gcc.cxxflags=-march=native {names}"
    return {"PYTHONHASHSEED": "0", "THEANO_FLAGS": _flags(plain, without, linked)}


def bench_generate(shape, frames=100):
    """Frames per second of free running, beside what reading all weights once per frame would allow."""
    worker = Worker("generate", parse_shape(shape))
    read = Worker("memory", {"n_bytes": worker.built["weights"]})
    interleaved({"generate": worker, "memory": read}, frames)
    frame_s, read_s, n_bytes = worker.median("wall_s"), read.median("wall_s"), worker.built["weights"]
    speed = {"frames_per_s": 1 / frame_s, "bandwidth_frames_per_s": 1 / read_s}
    sizes = {"weights_mb": n_bytes / 1e6, "bandwidth_gb_per_s": n_bytes / read_s / 1e9}
    return {**speed, "ratio": _paired_ratio(read, worker, "wall_s"), **sizes, "rss_mb": worker.median("rss_mb")}


def bench_prepare(seconds, repeats=3):
    """Preparing a recording of the built-in voice for the 2016 recipe, beside copying its file."""
    recipe, times = recipes.get("2016"), {"prepare_s": [], "copy_s": []}
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "voice.wav"
        minute = synthetic.sing(60)
        with audio.writer(recording) as wav:
            for _ in range(seconds // 60):
                wav.write(minute)
        for k in range(repeats):
            started = time.perf_counter()
            shutil.copyfile(recording, recording.with_suffix(f".{k}"))
            copied = time.perf_counter()
            dataset.prepare(recording, recipe, Path(folder) / f"prepared{k}")
            times["prepare_s"].append(time.perf_counter() - copied)
            times["copy_s"].append(copied - started)
    found = {name: float(np.median(values)) for name, values in times.items()}
    return {"recording_s": seconds, **found, "ratio": found["prepare_s"] / found["copy_s"]}


def bench(shapes=SHAPES, repeats=7, scan=True, quick=False):
    """All benchmarks (s, MB, frames/s): dict of ``train[shape]``, ``compile``, ``generate``, ``prepare``, ``machine``.

    Parameters
    ----------
    shapes : sequence of str
        inputs/units/steps/batch; the first is also compiled cold and generates.
    repeats : int
        Timed steps of each program in each comparison.
    scan, quick : bool
        Time stock Lasagne too, which compiles for minutes; a tiny network, to see whether it works and not how fast.
    """
    if quick:
        shapes, repeats, scan = QUICK_SHAPES, 2, False
    found = {"machine": machine(), "train": {}}
    with tempfile.TemporaryDirectory() as cache:
        environment = scan_environment(cache) if scan else None
        found["compile"] = bench_compile(shapes[0], environment)
        found["train"] = {shape: bench_train(shape, repeats, environment) for shape in shapes}
    found["generate"] = bench_generate(shapes[0], frames=5 if quick else 100)
    found["prepare"] = bench_prepare(1500 if quick else 3 * 3600)
    return found


def machine():
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    hardware = {"cpu": cpu, "cores": os.cpu_count(), "instructions": native.instructions()}
    torch = f"PyTorch {importlib.metadata.version('torch')}" if importlib.util.find_spec("torch") else "no PyTorch"
    return {**hardware, "openblas_kernels": native.kernels(), "load": os.getloadavg()[0], "torch": torch}


def table(found):
    """`bench`'s result as text."""
    train = found["train"]
    title = "{cpu}, {cores} cores, {instructions}, OpenBLAS kernels {openblas_kernels}, {torch}, load {load:.1f}"
    lines = [title.format(**found["machine"]), "", "training step, CPU seconds on one thread: median +- spread"]
    columns = "fused", "gemm_floor", "scan", "torch", "torch_tuned"
    names = [name for name in columns if any(f"{name}_cpu_s" in times for times in train.values())]
    lines.append("inputs/units/steps/batch".ljust(26) + "".join(name.rjust(18) for name in names))
    for shape, times in train.items():
        lines.append(shape.ljust(26) + "".join(_cell(times, name).rjust(18) for name in names))
    for shape, times in train.items():
        ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in times["ratios"].items())
        speed = f"{times['fused_rss_mb']:.0f} MB, {times['gflops']:.0f} GFLOPS in the products"
        lines.append(f"{shape.ljust(26)}{speed}; {ratios}")
    compiled = ", ".join(f"{name[:-2]} {seconds:.1f}" for name, seconds in found["compile"].items())
    generated = "generate:     {frames_per_s:.1f} frames/s, bandwidth allows {bandwidth_frames_per_s:.1f} "
    generated += "({bandwidth_gb_per_s:.1f} GB/s): {ratio:.2f}"
    prepared = "prepare:      {recording_s:.0f} s of audio in {prepare_s:.2f} s, "
    prepared += "copying the file {copy_s:.2f} s: {ratio:.1f} times"
    lines += ["", f"compile, s:   {compiled}"]
    lines += [generated.format(**found["generate"]), prepared.format(**found["prepare"])]
    return "\n".join(lines)


def _cell(times, name):
    if f"{name}_cpu_s" not in times:
        return "-"
    return "{:.4f} +-{:.4f}".format(times[f"{name}_cpu_s"], times[f"{name}_cpu_spread_s"])


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    quick = "a tiny network, in seconds: whether it works, not how fast"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--no-scan", action="store_true", help="leave stock Lasagne out, which compiles for minutes")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="I/U/S/B", help="inputs/units/steps/batch")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each program")
    parser.add_argument(
        "--gpu", action="store_true", help="by PyTorch instead: this package's engine, peers and floors"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), help="of --gpu (default: a GPU where there is one)")


def main(args):
    """Run the benchmarks of parsed arguments; returns what to print."""
    for shape in args.shapes:
        parse_shape(shape)
    if not 1 <= args.repeats <= MOST_REPEATS:
        raise ValueError(f"repeats={args.repeats} must be a whole number from 1 to {MOST_REPEATS}")
    if args.gpu:
        shapes = QUICK_SHAPES if args.quick else args.shapes
        found = {shape: card.bench(parse_shape(shape), args.device, args.repeats) for shape in shapes}
        return json.dumps(found, indent=1) if args.json else card.table(found)
    if args.device:
        raise ValueError("--device is for --gpu; add that, or leave it out")
    found = bench(tuple(args.shapes), args.repeats, not args.no_scan, args.quick)
    return json.dumps(found, indent=1) if args.json else table(found)
