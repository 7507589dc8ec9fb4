"""Sizes nobody asked for, places that are no files, other people's folders: refused in one line, or taken safely."""

import ast
import errno
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import hostile_files
import hostile_sizes
import nbformat
import numpy as np
import pytest
import soundfile
from tiny import SETTINGS, TINY

from vocalsynth_utils import audio, dataset, pipeline, runs, storage, sweeps, theano_setup
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.evaluation import stored
from vocalsynth_utils.evaluation.evaluator import Reference
from vocalsynth_utils.evaluation.independent import Heard
from vocalsynth_utils.evaluation.measures import Gaussian
from vocalsynth_utils.recipes import MOST_EPOCHS
from vocalsynth_utils.runs import checkpoints
from vocalsynth_utils.storage import limits
from vocalsynth_utils.sweeps import points, sweep

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ["train", "2016-small", *SETTINGS]


def refused(capfd, args, *words):
    """A command ends with status 2 and one line that holds these words."""
    capfd.readouterr()
    assert main([str(arg) for arg in args]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if ": warning: " not in line]
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines


# what is written --------------------------------------------------------------------------------------------------


def test_an_output_that_is_a_link_is_followed_and_stays_one(tiny_run, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "old.wav").write_bytes(b"old")
    for name in ("old.wav", "new.wav"):
        os.symlink(folder / name, tmp_path / name)
        assert main(["generate", str(tiny_run), str(tmp_path / name), "--seconds", "0.05"]) == 0
        assert (tmp_path / name).is_symlink() and soundfile.info(folder / name).frames == 800
    os.symlink(folder / "data", tmp_path / "data")
    audio.write(tmp_path / "a.wav", np.sin(np.arange(40000)))
    for _ in range(2):
        assert main(["prepare", "2016-small", str(tmp_path / "a.wav"), str(tmp_path / "data"), *SETTINGS]) == 0
    assert (tmp_path / "data").is_symlink() and sorted(os.listdir(folder)) == ["data", "new.wav", "old.wav"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/null", path), os.mkdir])
def test_an_output_that_is_no_file_is_refused_and_left_alone(tiny_run, tmp_path, capfd, make):
    make(tmp_path / "o.wav")
    before = os.lstat(tmp_path / "o.wav")
    refused(capfd, ["generate", tiny_run, tmp_path / "o.wav", "--seconds", 0.05], "not a regular file")
    refused(capfd, ["voice", tmp_path / "o.wav", "--seconds", 0.05], "not a regular file")
    assert os.lstat(tmp_path / "o.wav") == before


# numbers and paths ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("minutes", ["1e-9", "1e-300", "1e-320", "1e300"])
def test_any_minutes_train_at_least_one_epoch(tiny_data, compiled_once, tmp_path, minutes):
    args = [*TRAIN, "--data", str(tiny_data.folder), "--run", str(tmp_path / "run"), "--minutes", minutes]
    assert main(args) == 0
    assert len(runs.open_run(tmp_path / "run").log()) == (3 if minutes == "1e300" else 1)


@pytest.mark.parametrize(
    "path, words",
    [
        ("n" * 300, "holds 300 bytes"),
        ("d/" * 3000 + "x", "folders, and at most 200"),
        ("dddddddddddddddddddddddddddddd/" * 150 + "x", "bytes, and at most 3840"),
    ],
)
def test_a_path_longer_than_allowed_is_one_line_with_the_limit(path, words, capsys):
    for args in (
        ["train", "2016-small", "--run", path],
        ["train", "2016-small", "--data", path],
        ["prepare", "2016-small", path, "out"],
        ["generate", path, "o.wav", "--seconds", "1"],
        ["sweep", "s.toml", "--out", path],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(args)
        err = capsys.readouterr().err
        assert words in err and "at most" in err and len(err) < 300 and len(err.splitlines()) == 1


@pytest.mark.parametrize("option, value", [("--repeats", "0"), ("--repeats", "1e9"), ("--shapes", "9999999/1/1/1")])
def test_a_benchmark_without_end_is_refused(capfd, option, value):
    try:
        assert main(["bench", f"{option}={value}"]) == 2
    except SystemExit as end:
        assert end.code == 2
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_more_epochs_than_a_log_holds_are_refused_before_they_are_trained():
    TINY.replace(n_epochs=MOST_EPOCHS)
    with pytest.raises(ValueError, match=f"n_epochs={MOST_EPOCHS + 1} must .* to {MOST_EPOCHS}"):
        TINY.replace(n_epochs=MOST_EPOCHS + 1)


# logs, checkpoints, JSON ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_log_of_as_many_epochs_as_are_allowed_is_read_and_one_more_is_refused(tiny_run):
    run, path = runs.open_run(tiny_run), tiny_run / "log.csv"
    header, row = path.read_text().splitlines()[:2]
    path.write_text("\n".join([header, *[row] * MOST_EPOCHS, ""]))
    assert len(run.log()) == MOST_EPOCHS
    path.write_text("\n".join([header, *[row] * (MOST_EPOCHS + 1), ""]))
    with pytest.raises(ValueError, match="log.csv holds 100001 epochs, and at most 100000"):
        run.log()


def test_a_log_of_too_many_columns_is_refused_by_number(tiny_run, capfd):
    path = tiny_run / "log.csv"
    lines = [line + "," + ",".join(f"c{i}" for i in range(60000)) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    resume = ["train", "2016-small", "--run", tiny_run, "--resume", "--epochs", 4]
    refused(capfd, resume, "holds 60007 columns, and at most 100")


def with_members(path, n, **changed):
    """Let a checkpoint hold `n` more arrays, and others in place of some, under a digest that is right for them."""
    members = hostile_files._members(path.read_bytes())
    digest = members.pop("__digest__.npy")
    members.update({f"{name}.npy": content for name, content in changed.items()})
    members.update({f"x{i}.npy": digest for i in range(n)})
    path.write_bytes(hostile_files.zip_file(hostile_files.sealed(members.items())))


@pytest.mark.parametrize("n, words", [(5000, "arrays, and at most 4096"), (60000, "the list of its arrays holds")])
def test_a_checkpoint_of_too_many_arrays_is_refused_before_they_are_listed(tiny_run, n, words):
    with_members(tiny_run / "best.npz", 0)
    assert checkpoints.read(tiny_run / "best.npz")
    with_members(tiny_run / "best.npz", n)
    with pytest.raises(checkpoints.DamagedCheckpoint, match=words):
        checkpoints.read(tiny_run / "best.npz")


def test_meta_data_that_explodes_is_refused_by_the_number_of_its_values(tiny_run):
    text = b'{"epoch": 1, "x": [' + b"[]," * 600000 + b"0]}"
    with_members(tiny_run / "best.npz", 0, __meta__=hostile_files._array_of(np.frombuffer(text, np.uint8)))
    with pytest.raises(checkpoints.DamagedCheckpoint, match="its meta data holds 600002 values, and at most 524288"):
        checkpoints.read(tiny_run / "best.npz")


@pytest.mark.parametrize("name", ["recipe.json", "dataset/dataset.json"])
def test_json_that_explodes_is_refused_by_the_number_of_its_values(tiny_run, tmp_path, capfd, name):
    text = (tiny_run / name).read_text()
    (tiny_run / name).write_text(text.rstrip()[:-1] + ', "x": [' + "0," * 8_000_000 + "0]}")
    refused(
        capfd, ["generate", tiny_run, tmp_path / "o.wav", "--seconds", 0.05], "values, and at most 524288 are taken"
    )


def test_a_file_of_holes_is_refused_and_one_with_a_hole_in_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    with open(path, "wb") as file:
        file.truncate(1 << 36)
    for read in (storage.read_bytes, storage.map_array, audio.read, checkpoints.read):
        with pytest.raises(ValueError, match="a.npy counts 68.7 GB, of which 0.0 are there and the rest is holes"):
            read(path)
    monkeypatch.setattr(limits, "HOLES_FROM", 1 << 20)
    np.save(path, np.ones(1 << 16))
    os.truncate(path, 128 + (8 << 20))
    with open(path, "rb") as file:
        limits.check_holes(file.fileno(), "a.npy")
        assert file.tell() == 0
    fails = lambda *_: (_ for _ in ()).throw(OSError(errno.EINVAL, ""))
    os.truncate(path, 1 << 36)
    monkeypatch.setattr(os, "lseek", lambda handle, at, how: fails() if how == os.SEEK_DATA else at)
    with open(path, "rb") as file:
        limits.check_holes(file.fileno(), "a.npy")  # a file system that knows no holes


# sweeps -----------------------------------------------------------------------------------------------------------

TOP = 'recipe = "2016-small"\ndata = "nothing"\n'
GRID = "[grid]\nlearning_rate = [0.1]\n"


@pytest.mark.parametrize(
    "text, words",
    [
        (TOP + "".join(f'[[case]]\nlabel = "c{i}"\n' for i in range(40000)), "bytes, and at most 262144"),
        (TOP + "case = [" + "{}, " * 11000 + "]", "it asks for 11000 runs; at most 10000"),
        (TOP + "seeds = [" + "0," * 5_000_000 + "]\n" + GRID, "bytes, and at most 262144"),
        (TOP + "seeds = [" + "0," * 100_000 + "]\n" + GRID, "it asks for 100000 runs; at most 10000"),
        (TOP + "a" + ".a" * 100_000 + " = 1", "100001 parts joined by dots, and at most 512"),
        (TOP + "".join(f"a.b{i} = 1\n" for i in range(100_000)), "bytes, and at most 262144"),
        (TOP + "x = [" + "0," * 8_000_000 + "]", "bytes, and at most 262144"),
        (TOP + "set.n_units = [" + "1" * (16 << 20) + "]\n" + GRID, "bytes, and at most 262144"),
        (TOP + "set.n_units = [" + "1" * 200_000 + "]\n" + GRID, "limit"),
        (TOP + f'case = [{{label = "{"l" * 1000}"}}]', "at most 100 characters"),
        (TOP + 'case = [{label = "\\u001b[2J"}]', "printable"),
    ],
)
def test_a_sweep_file_that_explodes_is_refused_with_the_limit(tmp_path, capfd, text, words):
    (tmp_path / "s.toml").write_text(text)
    refused(capfd, ["sweep", tmp_path / "s.toml", "--out", tmp_path / "out"], words)
    assert os.listdir(tmp_path) == ["s.toml"]


@pytest.mark.parametrize("make", range(len(hostile_sizes.ENDLESS)))
@pytest.mark.parametrize("where", ["recording", "dataset/signal.npy"])
def test_a_sweep_of_what_never_ends_is_refused(tiny_data, tmp_path, monkeypatch, capfd, make, where):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_data.folder, "dataset")
    Path(where).unlink(missing_ok=True)
    hostile_sizes.ENDLESS[make](None, tmp_path / where)
    Path("s.toml").write_text(TOP.replace("nothing", where.split("/")[0]) + GRID)
    refused(capfd, ["sweep", "s.toml", "--out", "out"], where.split("/")[0])
    assert not Path("out").exists()


@pytest.fixture(scope="module")
def swept(tiny_recording, tmp_path_factory):
    """A finished sweep of one run: its file and its folder."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copy2(tiny_recording, folder / "a.wav")
    fields = "".join(f"{s.removeprefix('--set=')}\n".replace("n_units=8", "n_units=[8]") for s in SETTINGS)
    (folder / "s.toml").write_text(f'recipe = "2016-small"\ndata = "a.wav"\ncase = [{{label = "b"}}]\n[set]\n{fields}')
    plan = points.read(folder / "s.toml")
    (folder / "out").mkdir()
    (job,) = sweep._jobs(plan, plan.data, folder / "out")
    list(pipeline.train(job.recipe, dataset.load(job.dataset), job.folder))
    ended = {"status": "finished", "reason": "", "evaluate_seconds": None, "n_parameters": 1}
    (job.folder / "outcome.json").write_text(json.dumps(ended))
    (folder / "out" / "sweep.toml").write_text("")
    return folder


@pytest.fixture
def strange(swept, tmp_path, monkeypatch):
    """Its copy as a stranger may have left it: the folder of its run."""
    shutil.copytree(swept, tmp_path / "swept", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "swept")
    monkeypatch.setattr(sweep, "_this_machine", None)  # nothing is run again
    return next(Path("out/runs").iterdir())


@pytest.mark.parametrize(
    "name, text",
    [
        ("outcome.json", '{"status": "finished"}'),
        ("outcome.json", '{"status": [], "reason": ""}'),
        ("result.json", "x"),
        ("result.json", "[]"),
    ],
)
def test_a_run_of_a_sweep_with_a_damaged_end_is_said(strange, capfd, name, text):
    (strange / name).write_text(text)
    refused(capfd, ["sweep", "s.toml", "--out", "out"], name, "damaged")


@pytest.mark.parametrize(
    "name, text",
    [
        ("outcome.json", '{"status": "finished", "reason": "", "evaluate_seconds": null, "n_parameters": "x"}'),
        ("result.json", '{"valid_baselines": 3, "diagnostics": [1]}'),
        ("result.json", '{"valid_baselines": {"mean": null, "x": 1}, "best_epoch": {"a": 1}}'),
        ("result.json", '{"valid_error_over_variance": 1' + "0" * 400 + "}"),
        ("evaluate.json", '{"survival_s": "x", "fd": {}}'),
        ("log.csv", "epoch,train_loss\n1,2\n"),
        ("log.csv", "epoch,train_loss,valid_loss,duration\n1," + "9" * 400 + ",1,1\n"),
    ],
)
def test_what_is_no_number_in_a_sweeps_folder_is_left_out_of_its_table(strange, capfd, name, text):
    (strange / name).write_text(text)
    assert main(["sweep", "s.toml", "--out", "out"]) == 0
    (row,) = sweeps.read_table("out/table.csv")
    assert row["status"] == "finished"


def test_a_formula_that_is_none_in_a_label_is_drawn_as_it_is_written(strange):
    Path("s.toml").write_text(Path("s.toml").read_text().replace('"b"', r"'$\frac$ $x'"))
    assert main(["sweep", "s.toml", "--out", "out"]) == 0
    assert Path("out/figure.png").stat().st_size > 1000


def test_a_sweep_removes_nothing_that_is_not_its_own(strange, tmp_path):
    """Its data folder may be a link to anywhere; what it cleans up there are unfinished parts alone."""
    home = tmp_path / "home"
    shutil.copytree("out/data", home)
    shutil.rmtree("out/data")
    os.symlink(home, "out/data")
    kept = {".ssh", ".profile", ".git", *os.listdir(home)}
    (home / ".ssh").mkdir()
    (home / ".git").mkdir()
    (home / ".profile").write_text("years")
    (home / ".raw-20_f00.0123abcd.part").mkdir()
    assert main(["sweep", "s.toml", "--out", "out"]) == 0
    assert set(os.listdir(home)) == kept


# folders that are made whole --------------------------------------------------------------------------------------


def test_a_new_folder_is_there_when_it_is_whole_and_nothing_else_stays(tmp_path):
    path = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError), storage.new_folder(path) as part:
        (part / "x").write_text("x")
        1 / 0  # noqa: B018
    with pytest.raises(OSError, match="too long"), storage.new_folder(tmp_path / ("a/" * 3000)):
        pass
    assert not os.listdir(tmp_path)
    with storage.new_folder(path) as part:
        (part / "x").write_text("x")
        assert not path.exists()
        storage.remove_unfinished(tmp_path / "a")  # which leaves alone what somebody writes
        assert part.exists()
    assert os.listdir(tmp_path / "a") == ["b"] and os.listdir(path) == ["x"]
    (tmp_path / "a" / ".b.0123abcd.part").mkdir()
    with storage.new_folder(path, unwanted=lambda: True) as part:
        assert sorted(os.listdir(tmp_path / "a")) == sorted(["b", part.name])
    assert os.listdir(tmp_path / "a") == ["b"] and os.listdir(path) == ["x"]


def test_the_folder_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (".", tmp_path, "../" + tmp_path.name):
        with pytest.raises(ValueError, match="the folder you are in"), storage.new_folder(name):
            pass
    assert os.path.samefile(".", tmp_path)


def test_unfinished_parts_that_are_links_are_not_followed(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("years")
    os.symlink(tmp_path / "home", tmp_path / ".run.0123abcd.part")
    storage.remove_unfinished(tmp_path)
    assert (tmp_path / "home" / "thesis").exists()


def test_an_exported_run_holds_nothing_that_its_files_lead_to(tiny_run, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("epoch\nthe key to everything\n")
    run = runs.open_run(tiny_run)
    (tiny_run / "log.csv").unlink()
    os.symlink(secret, tiny_run / "log.csv")
    runs.export(run, tmp_path / "shared")
    assert not [path for path in (tmp_path / "shared").iterdir() if b"key" in path.read_bytes()]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("years")
    with pytest.raises(ValueError, match="not empty"):
        runs.export(run, tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["thesis"]


# other people's figures -------------------------------------------------------------------------------------------


def described(**changed):
    """A voice as `evaluation.stored` keeps it, of nothing but shapes, and changes to it."""
    sizes = {name: tuple(abs(n) for n in shape) for name, shape in stored.SHAPES.items()}
    arrays = {name: np.zeros(shape, "i2" if "labels" in name else "f4") for name, shape in sizes.items()}
    values = {**arrays, "sr": 16000, "std": 0.1, "roughness": 1.0, "figures": {"ok_real": math.nan}, **changed}
    heard = Heard(*(values.pop(f"heard_{name}") for name in Heard._fields))
    heldout = Gaussian(values.pop("heldout_mean"), values.pop("heldout_covariance"))
    return Reference(heldout=heldout, heard=heard, **values)


def test_a_described_voice_is_believed_where_it_is_one(tmp_path):
    path, wrong = tmp_path / "reference.npz", {name: np.zeros(7, "f4") for name in stored.SHAPES}
    stored.save_reference(path, described())
    assert stored.load_reference(path).figures.keys() == {"ok_real"}
    wrong |= {"sr": 1.5, "std": "x", "roughness": None, "figures": {"ok_real": [1]}}
    many = [*wrong.items(), ("std", 0.0), ("sr", -1), ("figures", 3), ("mean", np.full(40, np.nan, "f4"))]
    many += [("heard_labels", np.array([1], "i2")), ("rows", np.zeros((0, 20), "f4"))]
    for name, value in many:
        stored.save_reference(path, described(**{name: value}))
        with pytest.raises(ValueError, match="holds no described voice"):
            stored.load_reference(path)


def test_what_a_runs_result_says_stands_beside_what_is_measured_and_not_in_its_place(tiny_run, monkeypatch):
    (tiny_run / "result.json").write_text('{"ok": 1.0, "test_loss": 2.0}')
    for module, name, value in (
        (pipeline, "generate", np.zeros(9)),
        (pipeline, "reference", None),
        (pipeline.evaluation, "evaluate", {"ok": 0.25}),
        (pipeline.evaluation, "ceilings", {}),
    ):
        monkeypatch.setattr(module, name, lambda *_, value=value: value)
    result, _ = pipeline.evaluate(runs.open_run(tiny_run))
    assert (result["ok"], result["test_loss"]) == (0.25, 2.0)


# security ---------------------------------------------------------------------------------------------------------

UNSAFE = {"pickle", "cPickle", "dill", "marshal", "shelve", "joblib", "eval", "exec", "system", "popen", "getoutput"}


def test_no_code_of_ours_unpickles_evaluates_or_starts_a_shell():
    """What ruff's rules (S, in pyproject.toml) look for in modules, in notebooks too; and arrays without pickle."""
    sources = {
        path: path.read_text()
        for folder in ("vocalsynth_utils", "notebooks", "docs", "data")
        for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        sources[path] = "\n".join(line for cell in cells for line in cell.splitlines() if line[:1] not in "%!")
    for path, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            named = getattr(node, "id", None) or getattr(node, "attr", "").removeprefix("eval")  # Theano's own
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [named]
            named += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not UNSAFE & set(named), f"{path.name}: {named}"
            if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
                assert node.value.value is False, f"{path.name}: {node.arg}"


@pytest.mark.parametrize(
    "make", [lambda path: [path.mkdir(), path.chmod(0o777)], lambda path: os.symlink("/tmp", path), None]
)
def test_what_is_compiled_is_kept_where_nobody_else_can_put_anything(tmp_path, monkeypatch, make):
    """Where the environment is read-only: in the system's temporary folder, under a name that others can guess."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    usual, place = tmp_path / f"vocalsynth_utils-{os.getuid()}", theano_setup.cache_dir.__wrapped__
    if make:
        make(usual)
    first = place()
    assert (first == usual) == (make is None) and first.is_dir() and not first.stat().st_mode & 0o077
    assert make or place() == usual


def test_what_a_page_shows_of_a_strangers_name_is_escaped():
    name = "<script>alert(1)</script>&\"'"
    shown = audio.player(np.sin(np.arange(1600)), 16000, name)._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
