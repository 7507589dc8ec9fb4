"""How fast this machine trains and generates, beside what it could do at best and what others do on it.

Everything is timed in processes of its own (`bench_workers`), whose steps are
interleaved: a busy moment then hits all of them.  Medians are printed with
their spread, half the distance between the quartiles.
"""
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

SHAPES = ("16000/600/50/16", "800/300/100/32", "200/256/400/32", "26/256/80/16")  # inputs/units/steps/batch
QUICK_SHAPES = ("26/16/5/4",)
LARGE_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_TOP_PAD_": str(1 << 26)}


class Worker:
    """A process of `bench_workers` that does one step when asked.

    Parameters
    ----------
    kind : str
        A function of `bench_workers`.
    options : dict
        Its arguments.
    threads : int
        For BLAS and the package's own loops.
    environment : dict, optional
        Environment variables on top of this process's.
    """

    def __init__(self, kind, options, threads=1, environment=None):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "vocalsynth_utils.bench_workers", kind, json.dumps(options)], text=True,
            env={**os.environ, **dict.fromkeys(names, str(threads)), **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.built = self._read()
        self.ready_s = time.perf_counter() - started  # of the whole process, from its first breath
        self.steps = []

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a benchmark process failed: {self.process.stderr.read().strip()[-800:]}")
        return json.loads(line)

    def step(self):
        """One step; returns and keeps {cpu_s, wall_s, rss_mb}."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(self._read())
        return self.steps[-1]

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
    """``"16000/600/50/16"`` as the sizes it stands for.

    Raises
    ------
    ValueError
        When it is not four positive numbers.
    """
    parts = text.split("/")
    if len(parts) != 4 or not all(part.isdigit() and int(part) for part in parts):
        raise ValueError(f"shape is {text!r}, must be inputs/units/steps/batch, e.g. 800/300/100/32")
    return dict(zip(("n_inputs", "n_units", "n_steps", "n_batch"), map(int, parts)))


def interleaved(workers, repeats):
    """Let every worker take `repeats` steps and one before, in turns; closes them.

    Returns
    -------
    dict
        The same workers by the same names.
    """
    for _ in range(repeats + 1):
        for worker in workers.values():
            worker.step()
    for worker in workers.values():
        worker.close()
    return workers


def bench_train(shape, repeats=7, scan_environment=None):
    """One training step of the 2016 network of a shape: fused, its matrix products alone, scan, PyTorch.

    Parameters
    ----------
    shape : str
        inputs/units/steps/batch.
    repeats : int
        Timed steps of each.
    scan_environment : dict, optional
        Environment under which Theano compiles scan in C; leaves scan out if absent.

    Returns
    -------
    dict
        Medians ``<name>_cpu_s`` with ``<name>_cpu_spread_s``, ``<name>_wall_s``, ``<name>_rss_mb`` for
        the names fused, gemm_floor, scan, torch, torch_tuned and, where there
        is a second core, fused_2_threads; ``gflops`` of the products, and ``ratios``.
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
        found.update({f"{name}_cpu_s": worker.median("cpu_s"), f"{name}_cpu_spread_s": worker.spread("cpu_s"),
                      f"{name}_wall_s": worker.median("wall_s"), f"{name}_rss_mb": worker.median("rss_mb")})
    found["gflops"] = workers["gemm_floor"].built["flops"] / found["gemm_floor_cpu_s"] / 1e9
    found["ratios"] = {f"fused/{name}": _paired_ratio(workers["fused"], workers[name], "cpu_s")
                       for name in ("gemm_floor", "scan", "torch", "torch_tuned") if name in workers}
    if "fused_2_threads" in workers:
        found["ratios"]["two_threads_speedup_wall"] = _paired_ratio(workers["fused"], workers["fused_2_threads"], "wall_s")
    return found


def _paired_ratio(one, other, key):
    """Median over the rounds of one worker's time by the other's."""
    return float(np.median([a[key] / b[key] for a, b in zip(one.steps[1:], other.steps[1:])]))


def bench_compile(shape):
    """Seconds from starting Python to a compiled training function, with nothing cached and with everything cached."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {"THEANO_FLAGS": _flags(f"base_compiledir={cache}"), "VOCALSYNTH_CACHE": cache}
        workers = [Worker("fused", parse_shape(shape), environment=environment) for _ in range(2)]
        for worker in workers:
            worker.close()
        return {"cold_s": workers[0].ready_s, "warm_s": workers[1].ready_s}


def _flags(*more):
    return ",".join(filter(None, [os.environ.get("THEANO_FLAGS", ""), *more]))


def scan_environment(cache):
    """Environment in which Theano compiles in C, with the package's OpenBLAS, into the folder `cache`."""
    import scipy_openblas32
    blas = scipy_openblas32.get_lib_dir()
    names = " ".join(f"-D{name}_=scipy_{name}_" for name in ("sgemm", "dgemm", "sgemv", "dgemv", "sger", "dger", "sdot", "ddot"))
    return {"PYTHONHASHSEED": "0", "THEANO_FLAGS": _flags(
        "cxx=g++", f"base_compiledir={cache}", "tensor.local_elemwise_fusion=True", "reoptimize_unpickled_function=False",
        "optimizer_excluding=openblas_products:openblas_bias:fused_column_sums", f"blas.ldflags=-L{blas} -lscipy_openblas",
        f"gcc.cxxflags=-march=native {names}")}


def bench_generate(shape, frames=100):
    """Frames per second of free running, beside what reading all weights once per frame would allow."""
    sizes = parse_shape(shape)
    worker = Worker("generate", sizes)
    read = Worker("memory", {"n_bytes": worker.built["weights"]})
    interleaved({"generate": worker, "memory": read}, frames)
    return {"frames_per_s": 1 / worker.median("wall_s"), "bandwidth_frames_per_s": 1 / read.median("wall_s"),
            "ratio": _paired_ratio(read, worker, "wall_s"), "weights_mb": worker.built["weights"] / 1e6,
            "bandwidth_gb_per_s": worker.built["weights"] / read.median("wall_s") / 1e9, "rss_mb": worker.median("rss_mb")}


def bench_prepare(seconds, repeats=3):
    """Preparing a recording of the built-in voice for the 2016 recipe, beside copying its file."""
    from . import audio, dataset, recipes, voice
    recipe, times = recipes.get("2016"), {"prepare_s": [], "copy_s": []}
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "voice.wav"
        minute = voice.sing(60)
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
    """All benchmarks.

    Parameters
    ----------
    shapes : sequence of str
        inputs/units/steps/batch; the first is also compiled cold and generates.
    repeats : int
        Timed steps of each program in each comparison.
    scan : bool
        Time stock Lasagne too: some minutes, most of them compilation.
    quick : bool
        A tiny network, few repeats, no scan: whether it works, not how fast.

    Returns
    -------
    dict
        ``train[shape]`` as from `bench_train`, ``compile``, ``generate``,
        ``prepare`` and ``machine``; seconds, megabytes, frames per second.
    """
    if quick:
        shapes, repeats, scan = QUICK_SHAPES, 2, False
    found = {"machine": machine(), "train": {}}
    with tempfile.TemporaryDirectory() as cache:
        environment = scan_environment(cache) if scan else None
        found["compile"] = bench_compile(shapes[0])
        if scan:
            worker = Worker("scan", parse_shape(shapes[0]), environment=environment)
            worker.close()
            found["compile"]["scan_cold_s"] = worker.ready_s
        for shape in shapes:
            found["train"][shape] = bench_train(shape, repeats, environment)
    found["generate"] = bench_generate(shapes[0], frames=5 if quick else 100)
    found["prepare"] = bench_prepare(1500 if quick else 3 * 3600)
    return found


def machine():
    """What the numbers were measured on."""
    from . import native
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown", "cores": os.cpu_count(), "openblas_kernels": native.kernels(),
            "load": os.getloadavg()[0], "torch": bool(importlib.util.find_spec("torch"))}


def table(found):
    """`bench`'s result as text.

    Returns
    -------
    str
    """
    lines = ["{cpu}, {cores} cores, OpenBLAS kernels {openblas_kernels}, load {load:.1f}".format(**found["machine"]), "",
             "training step, CPU seconds on one thread: median +- spread"]
    names = [n for n in ("fused", "gemm_floor", "scan", "torch", "torch_tuned") if any(f"{n}_cpu_s" in t for t in found["train"].values())]
    lines.append("inputs/units/steps/batch".ljust(26) + "".join(name.rjust(18) for name in names))
    for shape, t in found["train"].items():
        cells = [f"{t[f'{n}_cpu_s']:.4f} +-{t[f'{n}_cpu_spread_s']:.4f}".rjust(18) if f"{n}_cpu_s" in t else "-".rjust(18) for n in names]
        lines.append(shape.ljust(26) + "".join(cells))
    for shape, t in found["train"].items():
        lines.append(f"{shape.ljust(26)}{t['fused_rss_mb']:.0f} MB, {t['gflops']:.0f} GFLOPS in the products; "
                     + ", ".join(f"{name} {ratio:.2f}" for name, ratio in t["ratios"].items()))
    lines += ["", "compile, s:   " + ", ".join(f"{k[:-2]} {v:.1f}" for k, v in found["compile"].items()),
              "generate:     {frames_per_s:.1f} frames/s, bandwidth allows {bandwidth_frames_per_s:.1f} "
              "({bandwidth_gb_per_s:.1f} GB/s): {ratio:.2f}".format(**found["generate"]),
              "prepare:      {recording_s:.0f} s of audio in {prepare_s:.2f} s, copying the file {copy_s:.2f} s: "
              "{ratio:.1f} times".format(**found["prepare"])]
    return "\n".join(lines)


def add_arguments(parser):
    """The command line's options."""
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--quick", action="store_true", help="a tiny network, in seconds: whether it works, not how fast")
    parser.add_argument("--no-scan", action="store_true", help="leave stock Lasagne out, which compiles for minutes")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="I/U/S/B", help="inputs/units/steps/batch")
    parser.add_argument("--growth", metavar="FILE", help="measure instead how cost grows with each size, and write it as JSON")
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each program")


def main(args):
    """Run the benchmarks of parsed arguments; returns what to print."""
    if args.growth:
        from . import cost, files
        grown = {vary: cost.growth(vary, repeats=args.repeats) for vary in cost.GROWTH}
        with files.atomic(args.growth, "w") as file:
            json.dump(grown, file, indent=1)
        return args.growth
    for shape in args.shapes:
        parse_shape(shape)
    found = bench(tuple(args.shapes), args.repeats, not args.no_scan, args.quick)
    return json.dumps(found, indent=1) if args.json else table(found)
