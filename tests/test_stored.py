"""Files that anyone may have written are read within bounds, or refused; no header is evaluated."""
import os
import signal

import numpy as np
import pytest

import hostile_files
from vocalsynth_utils import audio, corpora, dataset, stored, training
from vocalsynth_utils.__main__ import main


@pytest.mark.parametrize("array", [np.arange(7, dtype=np.int16), np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.eye(3)),
                                   np.arange(5, dtype=">f8"), np.ones((1, 2, 3), np.uint8)])
def test_mapped_array_is_what_numpy_saved(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    mapped = stored.map_array(tmp_path / "a.npy")
    assert np.array_equal(mapped, array) and mapped.dtype == array.dtype and not mapped.flags.writeable


@pytest.mark.parametrize("header", hostile_files.HEADERS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_no_hostile_header_is_mapped_or_evaluated(tmp_path, monkeypatch, header, version):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "a.npy").write_bytes(hostile_files.npy(header, bytes(64), version))
    with pytest.raises(ValueError, match="a.npy"):
        stored.map_array(tmp_path / "a.npy")
    assert not os.listdir(tmp_path / "elsewhere")


@pytest.mark.parametrize("array", [np.array([1, "a"], object), np.zeros(0), np.array(3.0), np.array(["a"]), np.zeros(3, bool), np.zeros(3, complex),
                                   np.zeros(2, [("a", "i4")]), np.zeros(3, "M8[s]")])
def test_what_is_no_row_of_numbers_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="a.npy"):
        stored.map_array(tmp_path / "a.npy")


def test_an_array_longer_or_shorter_than_its_header_says_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100.0))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:128], whole[:20]):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(ValueError, match="a.npy"):
            stored.map_array(tmp_path / "a.npy")


@pytest.mark.parametrize("text", [b"[1, 2]", b"", b"{", b"\xff{}", b"[" * 100000 + b"]" * 100000, b'{"a":' * 5000, b"{} {}", b"nul"])
def test_what_is_no_json_object_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError):
        stored.read_json(tmp_path / "a.json")


def test_endless_files_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 40)
    for path, words in ((tmp_path / "pipe", "not a regular file"), ("/dev/zero", "not a regular file"), (tmp_path, "not a regular file"),
                        (tmp_path / "holes", "longer than 16 MB")):
        with pytest.raises(ValueError, match=words):
            stored.read_json(path)


@pytest.mark.parametrize("name", ["recipe.json", "log.csv", "result.json", "best.npz", "last.npz", "dataset/dataset.json", "dataset/signal.npy", ".last.npz.0123abcd.part"])
def test_no_command_waits_for_a_pipe_in_a_run(tmp_path, capfd, name):
    audio.write(tmp_path / "a.wav", 0.9 * corpora.ar2(16000, seed=2))
    run = tmp_path / "run"
    data = dataset.prepare(tmp_path / "a.wav", hostile_files.RAW, run / "dataset")
    list(training.train(hostile_files.RAW, data, run))
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(30)
    try:
        for args in (["train", "2016-small", "--run", str(run), "--resume", "--epochs", "2"], ["evaluate", str(run), "--seconds", "2"],
                     ["generate", str(run), str(tmp_path / "o.wav"), "--seconds", "0.01"], ["train", "2016-small", "--data", str(tmp_path / "a.wav"), "--run", str(run)]):
            assert main(args) in (0, 2)
    finally:
        signal.alarm(0)
    assert "Traceback" not in capfd.readouterr().err


def test_numbers_of_another_kind_or_shape_are_named():
    assert stored.numbers([[1, 2.5]], (1, 2), "x").tolist() == [[1, 2.5]]
    for values, words in (([1, "a"], "something else"), ([[1], [2, 3]], "something else"), ([1, float("nan")], "NaN"), ([10 ** 400, 1], "something else"),
                          (None, "shape"), ([1, 2, 3], "shape"), ({}, "something else")):
        with pytest.raises(ValueError, match=f"x h.*{words}"):
            stored.numbers(values, (2,), "x")
