"""Files that anyone may have written are read within bounds, or refused; no header is evaluated; a lock holds."""

import os
import resource
import shutil
import signal
import threading

import hostile_files
import numpy as np
import pytest

from vocalsynth_utils import audio, dataset, storage, synthetic, training
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.storage import memory


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.int16),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.arange(5, dtype=">f8"),
        np.ones((1, 2, 3), np.uint8),
    ],
)
def test_mapped_array_is_what_numpy_saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    mapped = storage.map_array(tmp_path / "a.npy")
    assert np.array_equal(mapped, array) and mapped.dtype == array.dtype and not mapped.flags.writeable


@pytest.mark.parametrize("header", hostile_files.HEADERS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_no_hostile_header_is_mapped_or_evaluated(tmp_path, monkeypatch, header, version):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "a.npy").write_bytes(hostile_files.npy(header, bytes(64), version))
    with pytest.raises(ValueError, match="a.npy"):
        storage.map_array(tmp_path / "a.npy")
    assert not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a"], object),
        np.zeros(0),
        np.array(3.0),
        np.array(["a"]),
        np.zeros(3, bool),
        np.zeros(3, complex),
        np.zeros(2, [("a", "i4")]),
        np.zeros(3, "M8[s]"),
    ],
)
def test_what_is_no_row_of_numbers_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="a.npy"):
        storage.map_array(tmp_path / "a.npy")


def test_an_array_longer_or_shorter_than_its_header_says_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100.0))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:128], whole[:20]):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(ValueError, match="a.npy"):
            storage.map_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "text", [b"[1, 2]", b"", b"{", b"\xff{}", b"[" * 100000 + b"]" * 100000, b'{"a":' * 5000, b"{} {}", b"nul"]
)
def test_what_is_no_json_object_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError):
        storage.read_json(tmp_path / "a.json")


def test_endless_files_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 40)
    with open(tmp_path / "long", "wb") as file:
        file.truncate((16 << 20) + 1)
    for path, words in (
        (tmp_path / "pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "holes", "holes counts 1099.5 GB, of which 0.0 are there"),
        (tmp_path / "long", "long holds 16777217 bytes, and at most 16777216 are taken"),
    ):
        with pytest.raises(ValueError, match=words):
            storage.read_json(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a recording, and a run on it with its dataset."""
    folder = tmp_path_factory.mktemp("made")
    audio.write(folder / "a.wav", 0.9 * synthetic.ar2(16000, seed=2))
    data = dataset.prepare(folder / "a.wav", hostile_files.RAW, folder / "run" / "dataset")
    list(training.train(hostile_files.RAW, data, folder / "run"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "recipe.json",
        "log.csv",
        "result.json",
        "best.npz",
        "last.npz",
        "dataset/dataset.json",
        "dataset/signal.npy",
        ".last.npz.0123abcd.part",
    ],
)
def test_no_command_waits_for_a_pipe_in_a_run(made, tmp_path, capfd, name):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "run"
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(30)
    try:
        for args in (
            ["train", "2016-small", "--run", str(run), "--resume", "--epochs", "2"],
            ["evaluate", str(run), "--seconds", "2"],
            ["generate", str(run), str(tmp_path / "o.wav"), "--seconds", "0.01"],
            ["train", "2016-small", "--data", str(tmp_path / "a.wav"), "--run", str(run)],
        ):
            assert main(args) in (0, 2)
    finally:
        signal.alarm(0)
    assert "Traceback" not in capfd.readouterr().err


def test_numbers_of_another_kind_or_shape_are_named():
    assert storage.numbers([[1, 2.5]], (1, 2), "x").tolist() == [[1, 2.5]]
    for values, words in (
        ([1, "a"], "something else"),
        ([[1], [2, 3]], "something else"),
        ([1, float("nan")], "NaN"),
        ([10**400, 1], "something else"),
        (None, "shape"),
        ([1, 2, 3], "shape"),
        ({}, "something else"),
    ):
        with pytest.raises(ValueError, match=f"x h.*{words}"):
            storage.numbers(values, (2,), "x")


@pytest.mark.parametrize("shape, dtype", [((100,), np.int16), ((100,), np.float32), ((10, 80), np.float32)])
def test_blocks_written_one_after_the_other_are_what_numpy_saves_of_them_all(tmp_path, shape, dtype):
    blocks = [(100 * np.random.default_rng(k).normal(size=shape)).astype(dtype) for k in range(12)]
    written = storage.write_array(tmp_path / "a.npy", iter(blocks), dtype)
    np.save(tmp_path / "b.npy", np.concatenate(blocks))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert isinstance(written, np.memmap) and np.array_equal(written, storage.map_array(tmp_path / "a.npy"))


def test_a_locked_file_is_refused_or_waited_for_and_keeps_what_it_holds(tmp_path):
    path, order = tmp_path / "a", []
    path.write_text("mine")

    def second():
        with storage.locked(path, wait=True):
            order.append("second")

    with storage.locked(path):
        with pytest.raises(BlockingIOError), storage.locked(path):
            pass
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.1)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"] and path.read_text() == "mine"


def test_a_lock_follows_no_link_and_waits_for_no_pipe(tmp_path):
    os.symlink(tmp_path / "elsewhere", tmp_path / "link")
    with pytest.raises(OSError), storage.locked(tmp_path / "link"):
        pass
    assert os.listdir(tmp_path) == ["link"]
    os.mkfifo(tmp_path / "pipe")
    with storage.locked(tmp_path / "pipe"):
        pass


def test_free_memory_is_the_least_of_machine_container_and_limits(monkeypatch):
    whole = storage.free_memory()
    assert 0 < whole < 1e15 and 1e6 < storage.used_memory() < 1e11
    monkeypatch.setattr(memory, "_container", lambda: 12345)
    assert storage.free_memory() == 12345
    monkeypatch.setattr(memory, "_container", lambda: -1)
    assert storage.free_memory() == 0


@pytest.mark.parametrize(
    "line, root, names",
    [
        ("0::/a/b", "/sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/a/b",
            "/sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_tightest_control_group_tells_what_the_container_leaves(monkeypatch, line, root, names):
    most, use, idle = names
    files = {
        "/proc/self/cgroup": ["7:cpu,cpuacct:/a", line],
        f"{root}/a/b/{most}": ["max"],
        f"{root}/a/b/{use}": ["100"],
        f"{root}/a/{most}": ["1000"],
        f"{root}/a/{use}": ["700"],
        f"{root}/a/memory.stat": ["anon 5", f"{idle} 50"],
        f"{root}/{most}": ["9000"],
        f"{root}/{use}": ["800"],
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files.get(str(path), []))
    assert memory._container() == 1000 - 700 + 50


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_itself_is_seen(name):
    limit, room = getattr(resource, name), 1 << 50
    before = resource.getrlimit(limit)
    try:
        resource.setrlimit(limit, (room, before[1]))
        assert room - 1e12 < memory._own_limit() < room - 1e7
    finally:
        resource.setrlimit(limit, before)
