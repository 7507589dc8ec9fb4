"""Sweeps: every point once, nothing lost to whatever dies, and a table that says what the runs say."""

import concurrent.futures
import contextlib
import csv
import itertools
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

import distributed
import numpy as np
import psutil
import pytest

from vocalsynth_utils import dataset, pipeline, runs, sweeps, synthetic, training
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.recipes import get
from vocalsynth_utils.sweeps import SCORE, points, report, sweep

TINY = """
recipe = "2016-small"
voice_seconds = 4
epochs = 2
[set]
frame_length = 20
n_steps = 10
n_offsets = 1
n_batch = 32
"""
GRID = TINY + "[grid]\nn_units = [[4], [3, 2]]\nlearning_rate = [0.001, 0.01]\n"


def write(path, text, top=""):
    path.write_text(top + text)
    return path


def read(path, text, top=""):
    return points.read(write(path / "s.toml", text, top))


def start(*args):
    """A sweep as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vocalsynth_utils", "sweep", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(process):
    """The Dask workers under another process."""
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
        return [p for p in below if any("spawn_main" in word for word in p.cmdline())]
    return []


def wait_for(condition, process=None, seconds=200):  # a busy machine
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def logs(out):
    return sorted((out / "runs").glob("*/log.csv"))


def trained(folder):
    """A run's log without its clocks, and its last parameters."""
    run = runs.open_run(folder)
    rows = [{k: v for k, v in row.items() if k not in ("duration", "cpu_seconds")} for row in run.log()]
    return rows, run.load("last")[0]


# what a file asks for


def test_a_grid_is_every_combination_with_every_seed(tmp_path):
    plan = read(tmp_path, GRID, "seeds = [0, 7]\n")
    expected = set(itertools.product([(4,), (3, 2)], [0.001, 0.01], [0, 7]))
    assert len(plan.points) == len(expected) == 8
    assert {(p.recipe.n_units, p.recipe.learning_rate, p.recipe.seed) for p in plan.points} == expected
    assert all(p.recipe.frame_length == 20 and p.recipe.n_epochs == 2 for p in plan.points)
    assert plan.points[-1].swept == {"n_units": "3,2", "learning_rate": "0.01"}


def test_equal_points_are_one(tmp_path):
    assert len(read(tmp_path, TINY + "[grid]\nlearning_rate = [1, 1.0, 0.5]\n").points) == 2


def test_random_draws_stay_when_more_is_asked_for(tmp_path):
    text = (
        TINY
        + "[random]\nruns = {}\nseed = 3\n[random.fields]\nlearning_rate = {{low = 1e-4, high = 0.1, log = true}}\n"
    )
    few, many = (read(tmp_path, text.format(n)).points for n in (5, 40))
    more = read(tmp_path, text.format(40) + "n_batch = {low = 2, high = 5}\nn_units = [[3], [4]]\n").points
    rates = [p.recipe.learning_rate for p in many]
    assert [p.recipe for p in few] == [p.recipe for p in many[:5]] and [p.recipe.learning_rate for p in more] == rates
    assert all(1e-4 <= r <= 0.1 for r in rates) and len(set(rates)) > 35
    assert 8 < sum(r < np.sqrt(1e-4 * 0.1) for r in rates) < 32  # half of them, as the range is logarithmic
    assert {p.recipe.n_batch for p in more} == {2, 3, 4, 5} and {p.recipe.n_units for p in more} == {(3,), (4,)}


def test_cases_are_named_and_crossed_with_the_grid(tmp_path):
    plan = read(
        tmp_path,
        TINY + '[grid]\nn_units = [[3], [4]]\n[[case]]\n[[case]]\nlabel = "noisy"\ninput_noise = 0.5\n'
        '[[case]]\nrecipe = "frames-200"\nbatches_per_epoch = 0\n',
    )
    assert len(plan.points) == 6
    by_case = {p.swept["case"]: p for p in plan.points}
    assert list(by_case) == ["as it is", "noisy", "recipe=frames-200, batches_per_epoch=0"]
    assert by_case["as it is"].swept["input_noise"] == "0.0" and by_case["noisy"].recipe.input_noise == 0.5
    assert plan.points[-1].recipe.name == "frames-200" and plan.points[-1].recipe.optimiser == "adam"
    rows = [report.row(p, tmp_path, None) for p in plan.points]
    assert report.fields(rows) == ["case", "n_units"]


def test_contradictions_are_refused_or_left_out_on_request(tmp_path):
    text = TINY + "[grid]\ngradient_steps = [0, 5, 10]\n"
    with pytest.raises(ValueError, match="point gradient_steps=10: .* truncates nothing .* skip_contradictions"):
        read(tmp_path, text)
    plan = read(tmp_path, text, "skip_contradictions = true\n")
    assert [p.recipe.gradient_steps for p in plan.points] == [0, 5] and len(plan.skipped) == 1
    with pytest.raises(ValueError, match="n_units"):  # a bad value is no contradiction
        read(tmp_path, TINY + "[grid]\nn_units = [[0]]\n", "skip_contradictions = true\n")


def test_a_run_is_what_is_in_it_and_not_how_it_was_written(tmp_path):
    recipe = get("2016-small")
    same = recipe.replace(n_batch=16, purpose="another")  # n_batch at its default
    assert points.identity(recipe, "data") == points.identity(same, "data")
    others = [
        (recipe.replace(seed=1), "data"),
        (recipe.replace(n_epochs=3), "data"),
        (recipe, "other data"),
        (recipe, "data", 5),
    ]
    assert len({points.identity(*other) for other in others} | {points.identity(recipe, "data")}) == 5


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "nothing is swept"),
        ("recipe = ", "is no TOML"),
        ("\0", "is no TOML"),
        ("x = " + "[" * 5000, "s.toml"),
        ("grdi = 1", "did you mean 'grid'"),
        ("grid = 3", "grid=3 must be a table"),
        ("[grid]\nn_unitz = [[3]]", "did you mean 'n_units'"),
        ("[grid]\nn_units = []", "must be a list of values"),
        ("[grid]\nn_steps = [5]", "no recipe is named"),
        ('recipe = "2016-smal"\n[grid]\nn_steps = [5]', "did you mean '2016-small'"),
        (TINY + "[grid]\nn_units = [3]", "n_units=3"),
        (TINY + "[grid]\nlearning_rate = [1" + "0" * 400 + "]", "must be 0, or a number from"),
        (TINY + '[grid]\noptimiser = ["adan"]', "did you mean 'adam'"),
        (TINY + "[grid]\npeepholes = [2016-01-01]", "peepholes"),
        (TINY + "[grid]\nseed = [1]", "use the key seeds"),
        (TINY + "n_epochs = 3\n[grid]\nn_batch = [3]", "both epochs and n_epochs"),
        (TINY + "[grid]\nn_batch = [3]\n[random]\nruns = 1", "both grid and random"),
        ("seeds = [0.5]\n" + GRID, "seeds=[0.5] must be a list of whole numbers"),
        ("seeds = [true]\n" + GRID, "seeds"),
        ("workers = 0\n" + GRID, "workers=0"),
        ("minutes = nan\n" + GRID, "minutes=nan"),
        ("evaluate_seconds = 1\n" + GRID, "evaluate_seconds=1"),
        ('data = "x.wav"\n' + GRID, "keep one of them"),
        ("case = [{label = 3}]\n" + TINY, "label=3"),
        ("case = [{n_batch = 4}, {n_batch = 4}]\n" + TINY, "two cases are called 'n_batch=4'"),
        ("case = [{n_units = [3]}]\n" + GRID, "n_units is in a case and in the grid"),
        (TINY + "[random]\nruns = 0\n[random.fields]\nn_batch = [3]", "random.runs=0"),
        (TINY + "[random]\nruns = 1\n", "random.fields must be a table"),
        (TINY + "[random]\nruns = 1\n[random.fields]\nrho = {low = 2, high = 1}", "needs low < high"),
        (TINY + "[random]\nruns = 1\n[random.fields]\nrho = {low = 0, high = 1, log = true}", "needs low above 0"),
        (TINY + "[random]\nruns = 1\n[random.fields]\nrho = {lo = 0, high = 1}", "did you mean 'low'"),
        (TINY + "[random]\nruns = 1\n[random.fields]\npeepholes = {low = 0, high = 1}", "only numbers have ranges"),
        (TINY + "[random]\nruns = 1\n[random.fields]\nn_batch = {low = 0.5, high = 1.5}", "both whole numbers"),
        (
            TINY
            + "[grid]\n"
            + "\n".join(
                f"{name} = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]"
                for name in ("rho", "momentum", "input_noise", "max_norm", "grad_clipping")
            ),
            "100000 runs",
        ),
        (GRID.replace("voice_seconds = 4", 'data = "none.wav"'), "no such file"),
        (GRID.replace("voice_seconds = 4", 'data = "s.toml"'), "s.toml"),
        (GRID.replace("voice_seconds = 4", 'data = "."'), "no prepared dataset"),
        (GRID.replace("n_batch = 32", "n_batch = 8000"), "use n_batch <="),
        ("evaluate_seconds = 5\n" + GRID, "too little to evaluate"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, text, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.toml", text)
    assert main(["sweep", "s.toml", "--out", "new/out"]) == 2
    err = capsys.readouterr().err.strip()
    assert words in err and len(err.splitlines()) == 1 and len(err) < 400
    assert os.listdir(tmp_path) == ["s.toml"]


def test_folders_of_something_else_are_left_alone(tmp_path, capsys):
    path = write(tmp_path / "s.toml", GRID)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for out, words in ((tmp_path / "mine", "is no sweep"), (path, "is a file")):
        assert main(["sweep", str(path), "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


# what becomes of it


def cluster_of(n_workers, processes, **options):
    return distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        processes=processes,
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        **options,
    )


@pytest.fixture(scope="module")
def here():
    """The address of a scheduler whose one worker is a thread of this process: nothing to start, nothing to import."""
    with cluster_of(1, processes=False) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def trained_here(monkeypatch):
    """The recipes that `pipeline.train` is given while a test runs; what `spoil` returns for one is raised."""
    made, train = [], pipeline.train

    def recorded(recipe, *args, **options):
        made.append(recipe)
        error = recorded.spoil(recipe)
        if error:
            raise error
        return train(recipe, *args, **options)

    recorded.spoil = lambda recipe: None
    monkeypatch.setattr(pipeline, "train", recorded)
    made_with = lambda spoil: setattr(recorded, "spoil", spoil)
    return made, made_with


@pytest.fixture(scope="module")
def swept(tmp_path_factory, here):
    folder = tmp_path_factory.mktemp("sweep")
    path = write(
        folder / "s.toml",
        TINY.replace("epochs", "evaluate_seconds = 2\nepochs").replace("= 4", "= 22").replace("= 20", "= 160")
        + "[grid]\nn_units = [[3], [2]]\n",
        "seeds = [0, 1]\n",
    )
    assert main(["sweep", str(path), "--out", str(folder / "out"), "--scheduler", here]) == 0
    return path, folder / "out"


@pytest.mark.slow
def test_the_table_says_what_the_runs_say(swept, capsys):
    path, out = swept
    with open(out / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    with open(out / "curves.csv", newline="") as file:
        curves = list(csv.DictReader(file))
    assert len(table) == 4 and {(r["n_units"], r["seed"]) for r in table} == set(itertools.product("32", "01"))
    for row in table:
        folder = out / "runs" / row["run"]
        result, evaluated = (json.loads((folder / name).read_text()) for name in ("result.json", "evaluate.json"))
        assert all(
            float(row[f"{part}_error_over_variance"]) == result[f"{part}_error_over_variance"]
            for part in ("valid", "test")
        )
        assert (
            float(row["best_baseline"])
            == min(result["valid_baselines"].values())
            == result["valid_baselines"][row["baseline"]]
        )
        assert float(row["fd"]) == evaluated["fd"] and float(row["survival_s"]) == evaluated["survival_s"]
        run = runs.open_run(folder)
        recipe, losses = run.recipe, [r["train_loss"] / run.data["variance"] for r in run.log()]
        assert (float(row["last_train_loss"]), float(row["max_train_loss"])) == pytest.approx((losses[-1], max(losses)))
        assert [float(c["train_loss"]) for c in curves if c["run"] == row["run"]] == pytest.approx(losses, rel=1e-4)
        assert int(row["n_parameters"]) == sum(
            a.size for name, a in run.load("best")[0].items() if not name.startswith(("optimiser.", "log."))
        )
        assert (",".join(map(str, recipe.n_units)), str(recipe.seed)) == (row["n_units"], row["seed"]) and int(
            row["epochs"]
        ) == 2
    for setting in sweeps.settings(sweeps.read_table(out / "table.csv")):
        scores = [float(r[SCORE]) for r in table if r["n_units"] == setting["n_units"]]
        assert setting[SCORE] == pytest.approx(statistics.mean(scores)) and setting[f"{SCORE}_std"] == pytest.approx(
            statistics.stdev(scores)
        )
        assert setting["finished"] == 2


@pytest.mark.slow
def test_a_run_of_two_levels_is_swept_as_any_other(tmp_path, here):
    path = write(
        tmp_path / "s.toml",
        """
        recipe = "world-units"
        voice_seconds = 4
        epochs = 1
        [set]
        n_steps = 10
        n_batch = 2
        n_units = [4]
        language_units = 5
        batches_per_epoch = 2
        [grid]
        vocabulary = [6, 4]
        """,
    )
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--scheduler", here]) == 0
    table = sweeps.read_table(tmp_path / "out" / "table.csv")
    assert [int(row["vocabulary"]) for row in table] == [6, 4] and all(float(row[SCORE]) > 0 for row in table)
    assert int(table[0]["n_parameters"]) > int(table[1]["n_parameters"])


@pytest.mark.slow
def test_the_figure_shows_each_setting_beside_the_best_baseline(swept):
    _, out = swept
    rows = sweeps.read_table(out / "table.csv")
    figure = report.figure(rows)
    ax = figure.axes[0]
    heights = ax.containers[0][0].get_ydata()
    means = {s["n_units"]: s[SCORE] for s in sweeps.settings(rows)}
    assert dict(zip((t.get_text() for t in ax.get_xticklabels()), heights)) == pytest.approx(means)
    dashes = ax.lines[-1].get_ydata()
    assert dashes == pytest.approx([rows[0]["best_baseline"]] * len(dashes))
    assert (out / "figure.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_a_finished_run_is_not_repeated_and_new_points_are_added(swept, here, trained_here):
    path, out = swept
    made, _ = trained_here
    before = (out / "table.csv").read_bytes()
    assert main(["sweep", str(path), "--out", str(out), "--scheduler", "not even asked for"]) == 0
    assert made == [] and (out / "table.csv").read_bytes() == before
    more = write(
        path.parent / "more.toml",
        path.read_text().replace("[2]]", "[2], [5]]\nlearning_rate = [0.001]").replace("[0, 1]", "[0]"),
    )
    assert main(["sweep", str(more), "--out", str(out), "--scheduler", here]) == 0
    assert [recipe.n_units for recipe in made] == [(5,)]
    assert len(sweeps.read_table(out / "table.csv")) == 3
    assert len(list((out / "data").glob("raw-*"))) == 1  # one dataset for them all


@pytest.mark.slow
def test_a_run_whose_outcome_is_missing_ends_without_training(swept, here):
    """A sweep that dies after training, or that asks for another evaluation, takes up what there is."""
    path, out = swept
    files = [logs(out)[0].with_name(name) for name in ("log.csv", "result.json", "evaluate.json", "outcome.json")]
    before = [file.read_bytes() for file in files]
    files[-1].unlink()
    assert main(["sweep", str(path), "--out", str(out), "--scheduler", here]) == 0
    after = [file.read_bytes() for file in files]
    assert (after[:2], after[3]) == (before[:2], before[3])
    measured, again = (json.loads(text) for text in (before[2], after[2]))
    assert {**again, "generation_x_real_time": 0} == {**measured, "generation_x_real_time": 0}


@pytest.mark.slow
def test_divergence_is_a_result_and_a_failure_is_said_at_the_end(tmp_path, here, trained_here, capsys):
    path = write(
        tmp_path / "s.toml",
        "keep_checkpoints = false\n"
        + TINY
        + 'optimiser = "sgd"\nepsilon = 1e-6\nn_units = [3]\n[grid]\nlearning_rate = [1e30, 0.02, 0.03, 0.04]\n',
    )
    made, spoil = trained_here
    errors = {0.02: MemoryError("70 GB"), 0.03: OSError(28, "No space left on device"), 0.04: ValueError("a\nb")}
    spoil(lambda recipe: errors.get(recipe.learning_rate))
    sweep_it = ["sweep", str(path), "--out", str(tmp_path / "out"), "--scheduler", here]
    assert main(sweep_it) == 2
    said = capsys.readouterr()
    rows = {r["learning_rate"]: r for r in sweeps.read_table(tmp_path / "out" / "table.csv")}
    assert rows["1e+30"]["status"] == "diverged" and "epoch 1" in rows["1e+30"]["reason"]
    assert rows["1e+30"][SCORE] is None
    assert [rows[f"{rate}"]["status"] for rate in errors] == ["failed"] * 3
    reasons = [rows[f"{rate}"]["reason"] for rate in errors]
    assert reasons == ["out of memory: 70 GB", "[Errno 28] No space left on device", "a b"]
    assert "1 diverged" in said.out and "3 of 4 runs failed" in said.err and len(said.err.strip().splitlines()) == 1
    del errors[0.02]  # what failed is tried again, what diverged is not
    made.clear()
    assert main(sweep_it) == 2 and [recipe.learning_rate for recipe in made] == [0.02, 0.03, 0.04]
    found = {r["learning_rate"]: r["status"] for r in sweeps.read_table(tmp_path / "out" / "table.csv")}
    assert found == {"1e+30": "diverged", "0.02": "finished", "0.03": "failed", "0.04": "failed"}
    assert not list((tmp_path / "out").glob("runs/*/*.npz"))


def test_a_run_whose_worker_dies_again_and_again_has_failed():
    future = concurrent.futures.Future()
    future.set_exception(distributed.KilledWorker("run", None, sweep.ATTEMPTS - 1))
    ended = sweep._result(future)
    assert ended["status"] == "failed" and f"died {sweep.ATTEMPTS} times" in ended["reason"]


def test_every_core_is_used_once():
    cores = sweep.physical_cores()
    assert 1 <= cores <= os.cpu_count()
    if hasattr(os, "sched_setaffinity"):
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            assert sweep.physical_cores() == 1
        finally:
            os.sched_setaffinity(0, allowed)


LONG = TINY.replace("epochs = 2", "epochs = 60") + "[grid]\nn_units = [[3], [4, 2]]\n"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The file, and both its runs as they become when nothing happens: without a sweep, by their layers."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    path, found = write(folder / "s.toml", LONG), {}
    synthetic.write_voice(folder / "voice.wav", 4)
    for point in points.read(path).points:
        data, run = dataset.prepare(folder / "voice.wav", point.recipe, folder / "data"), folder / str(len(found))
        assert len(list(training.train(point.recipe, data, run))) == 60
        found[point.recipe.n_units] = trained(run)
    return path, found


def assert_as_if_nothing_had_happened(out, uninterrupted):
    assert {r["status"] for r in sweeps.read_table(out / "table.csv")} == {"finished"}
    found = {runs.open_run(log.parent).recipe.n_units: trained(log.parent) for log in logs(out)}
    assert found.keys() == uninterrupted.keys()
    for n_units, (rows, arrays) in found.items():
        assert rows == uninterrupted[n_units][0]
        assert all(np.array_equal(arrays[k], uninterrupted[n_units][1][k]) for k in arrays if not k.startswith("log."))


@pytest.mark.slow
def test_killing_the_sweep_and_then_a_worker_changes_nothing(uninterrupted, tmp_path):
    path, expected = uninterrupted
    process = start(path, "--out", tmp_path, "--workers", 2)
    wait_for(lambda: len(logs(tmp_path)) == 2, process)
    orphans = workers_of(process)
    assert len(orphans) == 2
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(orphans, 60)[1]
    # the row of the epoch in progress may go
    before = {log: log.read_text().splitlines()[:-1] for log in logs(tmp_path)}

    process = start(path, "--out", tmp_path, "--workers", 2)
    wait_for(lambda: any(len(log.read_text().splitlines()) > len(before[log]) + 5 for log in logs(tmp_path)), process)
    victim = wait_for(lambda: workers_of(process), process)[0]
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.kill()
    assert process.wait(300) == 0, process.communicate()
    for log, lines in before.items():
        assert log.read_text().splitlines()[: len(lines)] == lines  # not even their clocks ran again
    assert_as_if_nothing_had_happened(tmp_path, expected)


@pytest.mark.slow
def test_an_interrupted_sweep_takes_its_workers_with_it(uninterrupted, tmp_path, capsys):
    process = start(uninterrupted[0], "--out", tmp_path)
    wait_for(lambda: logs(tmp_path), process)
    workers = workers_of(process)
    assert workers
    assert main(["sweep", str(uninterrupted[0]), "--out", str(tmp_path)]) == 2  # a second one meanwhile
    err = capsys.readouterr().err.strip()
    assert "in use by another process" in err and len(err.splitlines()) == 1
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130 and "Traceback" not in err
    assert time.monotonic() - started < 20
    assert not psutil.wait_procs(workers, 60)[1]


@pytest.mark.long
def test_a_run_that_kills_its_worker_each_time_has_failed_and_the_others_end(tmp_path):
    """Its workers are killed from here, as the system does when memory ends."""
    text = LONG.replace("[[3], [4, 2]]", "[[3]]").replace("epochs = 60", "epochs = 100000")
    process = start(write(tmp_path / "s.toml", text), "--out", tmp_path / "out", "--workers", 1)
    seen, epochs = 0, lambda: max(map(report.n_epochs, (tmp_path / "out" / "runs").glob("*")), default=0)
    for _ in range(sweep.ATTEMPTS):
        wait_for(lambda seen=seen: epochs() > seen + 1, process)  # the log may lose the last row
        for victim in workers_of(process):
            victim.kill()
        seen = epochs()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "its worker died 3 times" in err and len(err.strip().splitlines()) == 1
    assert "1 failed" in out


@pytest.mark.long
def test_on_a_cluster_a_dead_worker_and_a_dead_sweep_lose_nothing(uninterrupted, tmp_path):
    path, expected = uninterrupted
    with cluster_of(2, processes=True) as cluster:
        process = start(path, "--out", tmp_path, "--scheduler", cluster.scheduler_address)
        wait_for(lambda: len(logs(tmp_path)) == 2, process)
        process.kill()  # the cluster stays, and stops training
        process.communicate()
        for log in logs(tmp_path):
            wait_for(lambda log=log: is_free(log.parent))
        assert not all((log.parent / "outcome.json").exists() for log in logs(tmp_path))

        before = {log: report.n_epochs(log.parent) for log in logs(tmp_path)}
        process = start(path, "--out", tmp_path, "--scheduler", cluster.scheduler_address)
        wait_for(lambda: any(report.n_epochs(log.parent) > n for log, n in before.items()), process)
        psutil.Process(cluster.workers[0].pid).kill()
        assert process.wait(300) == 0, process.communicate()
    assert_as_if_nothing_had_happened(tmp_path, expected)


def is_free(folder):
    """True where no process is training a run."""
    with contextlib.suppress(ValueError), runs.locked(folder):
        return True
    return False


@pytest.fixture
def endless(monkeypatch):
    """Training that goes on until it is told to stop: events of its beginning and its end."""
    begun, stopped = threading.Event(), threading.Event()

    def train(recipe, data, folder, should_stop, **options):
        begun.set()
        while not should_stop():
            time.sleep(0.01)
            yield {}
        stopped.set()

    monkeypatch.setattr(pipeline, "train", train)
    return begun, stopped


ONE = TINY + "[grid]\nn_units = [[3]]\n"


@pytest.mark.slow
def test_training_that_nobody_waits_for_stops_at_the_next_batch(tmp_path, here, endless):
    """A sweep that is gone has its task cancelled by the scheduler."""
    begun, stopped = endless

    def interrupt(ended, done, total):
        if begun.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweeps.run(write(tmp_path / "s.toml", ONE), tmp_path / "out", scheduler=here, on_change=interrupt)
    assert stopped.wait(60) and not list((tmp_path / "out").glob("runs/*/outcome.json"))


@pytest.mark.slow
def test_a_scheduler_that_goes_is_said(tmp_path, endless, monkeypatch, capfd):
    monkeypatch.setattr(sweep, "CONNECT_SECONDS", 1)
    path, (begun, _) = write(tmp_path / "s.toml", ONE), endless
    with cluster_of(1, processes=False, protocol="tcp://") as cluster:
        go = lambda ended, done, total: begun.is_set() and cluster.close()
        with pytest.raises(OSError, match="the scheduler has gone; .* start the sweep again"):
            sweeps.run(path, tmp_path / "out", scheduler=cluster.scheduler_address, on_change=go)
    assert not capfd.readouterr().err


@pytest.mark.slow
def test_a_scheduler_that_cannot_be_used_is_one_line(tmp_path, here, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(sweep, "_sees", lambda folder: False)
    path = write(tmp_path / "s.toml", GRID)
    nobody = [(address, "no Dask scheduler answers") for address in ("tcp://127.0.0.1:1", "nonsense://x", "x")]
    with cluster_of(0, processes=False) as idle:
        for address, words in (*nobody, (idle.scheduler_address, "has no workers"), (here, "does not see")):
            assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--scheduler", address]) == 2
            err = capsys.readouterr().err.strip()
            assert (address in err or words == "does not see") and words in err and len(err.splitlines()) == 1
