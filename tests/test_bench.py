"""The benchmark runs, its numbers have their names, and its lines grow as they must."""
import argparse
import json

import pytest

from vocalsynth_utils import bench, cost, native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))


@pytest.fixture(scope="module")
def found():
    return bench.bench(quick=True)


def parsed(*words):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(words)


def test_every_promised_number_is_there(found):
    (train,) = found["train"].values()
    assert {"fused_cpu_s", "fused_wall_s", "fused_rss_mb", "gemm_floor_cpu_s", "gflops", "ratios"} <= set(train)
    assert {"cold_s", "warm_s"} <= set(found["compile"])
    assert {"frames_per_s", "bandwidth_frames_per_s", "ratio"} <= set(found["generate"])
    assert {"prepare_s", "copy_s", "ratio"} <= set(found["prepare"])
    assert json.loads(json.dumps(found)) == found


def test_all_times_are_positive(found):
    (train,) = found["train"].values()
    times = [value for group in (train, found["compile"], found["generate"], found["prepare"])
             for name, value in group.items() if name.endswith("_s") and "spread" not in name]
    assert all(value > 0 for value in times)


def test_the_table_names_every_shape(found):
    text = bench.table(found)
    assert all(shape in text for shape in found["train"]) and "frames/s" in text


def test_shapes_that_are_none_are_refused():
    for text in ("16000/600/50", "a/b/c/d", "1/2/0/4"):
        with pytest.raises(ValueError, match="inputs/units/steps/batch"):
            bench.main(parsed("--shapes", text))


def test_a_worker_that_fails_says_why():
    with pytest.raises(RuntimeError, match="unexpected keyword"):
        bench.Worker("gemm", {"unexpected": 1})


def test_operations_of_the_floor_are_those_of_the_growth_line():
    from vocalsynth_utils import bench_workers
    sizes = bench.parse_shape("31/7/5/3")
    assert bench_workers.gemm(**sizes).flops == cost.flops(**sizes)


def test_growth_is_measured_at_every_value():
    rows = cost.growth("n_batch", (2, 4), dict(n_inputs=20, n_units=8, n_steps=3), repeats=2)
    assert [row["value"] for row in rows] == [2, 4]
    assert rows[1]["flops"] == 2 * rows[0]["flops"]
    assert rows[1]["expected_s"] == pytest.approx(2 * rows[0]["expected_s"])
    figure = cost.plot_growth({"n_batch": rows})
    assert [ax.get_xlabel() for ax in figure.axes] == ["batch", "batch"]
    with pytest.raises(ValueError, match="vary is 'layers'"):
        cost.growth("layers")
