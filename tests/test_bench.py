"""The benchmark runs, its numbers have their names, and its lines grow as they must."""

import argparse
import json
import os
import platform
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vocalsynth_utils import benchmark, plots
from vocalsynth_utils.benchmark import timing, workers
from vocalsynth_utils.fused import native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))
MEASURED = Path(__file__).parents[1] / "data" / "measured"
growth = types.SimpleNamespace(**runpy.run_path(str(MEASURED / "growth.py")))  # a script beside what it measured


@pytest.fixture(scope="module")
def found():
    return benchmark.bench(quick=True)


def parsed(*words):
    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.slow
def test_every_promised_number_is_there(found):
    (train,) = found["train"].values()
    assert {"fused_cpu_s", "fused_wall_s", "fused_rss_mb", "gemm_floor_cpu_s", "gflops", "ratios"} <= set(train)
    assert {"cold_s", "warm_s", "first_update_s"} <= set(found["compile"])
    assert found["compile"]["first_update_s"] > found["compile"]["warm_s"]
    assert {"frames_per_s", "bandwidth_frames_per_s", "ratio"} <= set(found["generate"])
    assert {"prepare_s", "copy_s", "ratio"} <= set(found["prepare"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.slow
def test_all_times_are_positive(found):
    (train,) = found["train"].values()
    times = [
        value
        for group in (train, found["compile"], found["generate"], found["prepare"])
        for name, value in group.items()
        if name.endswith("_s") and "spread" not in name
    ]
    assert all(value > 0 for value in times)


@pytest.mark.slow
def test_the_table_names_every_shape(found):
    text = timing.table(found)
    assert all(shape in text for shape in found["train"]) and "frames/s" in text
    assert native.instructions() in text.splitlines()[0] and "PyTorch" in text.splitlines()[0]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86-64")
def test_the_instruction_set_that_is_named_is_one_that_the_processor_has():
    flags = {"AVX-512": "avx512f", "AVX2": "fma", "AVX": "avx"}.get(native.instructions(), "sse2")
    assert flags in str(native._cpu()).split()


def test_shapes_that_are_none_are_refused():
    for text in ("16000/600/50", "a/b/c/d", "1/2/0/4"):
        with pytest.raises(ValueError, match="inputs/units/steps/batch"):
            benchmark.main(parsed("--shapes", text))


@pytest.mark.slow
def test_a_worker_that_fails_says_why():
    with pytest.raises(ValueError, match="unexpected keyword"):
        timing.Worker("gemm", {"unexpected": 1})


def test_operations_of_the_floor_are_those_of_the_growth_line():
    sizes = timing.parse_shape("31/7/5/3")
    assert workers.gemm(**sizes).flops == growth.flops(**sizes)


@pytest.mark.slow
def test_growth_is_measured_at_every_value():
    rows = growth.growth("n_batch", (2, 4), dict(n_inputs=20, n_units=8, n_steps=3), repeats=2)
    assert [row["value"] for row in rows] == [2, 4]
    assert rows[1]["flops"] == 2 * rows[0]["flops"]
    assert rows[1]["expected_s"] == pytest.approx(2 * rows[0]["expected_s"])
    axes = plots.cost_growth({"n_batch": rows})
    assert [ax.get_xlabel() for ax in axes.ravel()] == ["batch", "batch"]
    with pytest.raises(ValueError, match="vary is 'layers'"):
        growth.growth("layers")


def test_the_growth_that_ships_is_what_the_script_measures():
    shipped = json.loads((MEASURED / "growth.json").read_text())
    assert set(shipped) == set(growth.GROWTH)
    for vary, rows in shipped.items():
        assert [row["value"] for row in rows] == list(growth.GROWTH[vary])
        assert [row["flops"] for row in rows] == [growth.flops(**{**growth.BASE, vary: row["value"]}) for row in rows]


def test_a_worker_imports_neither_theano_nor_the_package_until_its_subject_does():
    heavy = (
        "theano",
        "lasagne",
        "torch",
        "scipy",
        *(f"vocalsynth_utils.{name}" for name in ("fused", "audio", "dataset")),
    )
    code = f"import sys, vocalsynth_utils.benchmark.workers; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.stdout == "[]\n", done.stderr
