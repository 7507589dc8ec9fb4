"""The one way to train, generate and evaluate: the command line does what these functions do, to the bit."""

import json
import os
import shutil

import numpy as np
import pytest
from hostile_files import SMALL, WORLD
from killing import ended
from tiny import SETTINGS, TINY

from vocalsynth_utils import audio, evaluation, generation, pipeline, runs, synthetic, training, units, world_mdn
from vocalsynth_utils.__main__ import main

WORLD_SETTINGS = [f"--set={name}={value[0] if name == 'n_units' else value}" for name, value in SMALL.items()]


@pytest.fixture(scope="module", autouse=True)
def compiled_once(compiled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "compile_trainer", compiled)
        yield


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return synthetic.write_voice(tmp_path_factory.mktemp("pipeline") / "voice.wav", 20)


@pytest.fixture(scope="module")
def world(voice):
    """The folder of a run of two levels; tests leave it as it is."""
    folder = voice.parent / "world"
    list(pipeline.train(WORLD, pipeline.prepare(WORLD, voice, folder), folder))
    return folder


@pytest.fixture
def world_run(world, tmp_path):
    """A copy of it, with which a test may do what it likes."""
    return runs.open_run(shutil.copytree(world, tmp_path / "world"))


def test_the_command_line_trains_as_the_pipeline_does(tiny_run, tiny_recording, tmp_path):
    other = tmp_path / "other"
    assert main(["train", "2016-small", "--data", str(tiny_recording), "--run", str(other), *SETTINGS]) == 0
    assert ended(other) == ended(tiny_run)


@pytest.mark.slow
def test_the_command_line_trains_two_levels_as_the_pipeline_does(world, voice):
    other = voice.parent / "other"
    assert main(["train", "world-units", "--data", str(voice), "--run", str(other), *WORLD_SETTINGS]) == 0
    assert ended(other) == ended(world)
    for name in ("signal.npy", "rows.npy"):  # nor has it analysed the recording again
        assert (other / "dataset" / name).samefile(world / "dataset" / name)


@pytest.mark.slow
def test_the_command_line_generates_what_the_pipeline_does(world, tmp_path):
    by_command, by_function = tmp_path / "a.wav", tmp_path / "b.wav"
    assert main(["generate", str(world), str(by_command), "--seconds", "1.5", "--seed", "3", "--primer", "train"]) == 0
    run = runs.open_run(world)
    y = pipeline.generate(run, 1.5, pipeline.primer(run, "train"), seed=3)
    assert y.shape == (24000,) and y.dtype == np.float32 and np.abs(y).max() <= 1
    audio.write(by_function, y, 16000)
    assert by_command.read_bytes() == by_function.read_bytes()


@pytest.mark.slow
def test_text_is_refused_where_it_is_too_short_or_nobody_says_it(world, tiny_run):
    run, short = runs.open_run(world), units.Text(np.array([1, 2]), np.array([3, 4]))
    with pytest.raises(ValueError, match=r"text lasts 0\.105 s, shorter than what is to be generated"):
        pipeline.generate(run, 1.0, pipeline.primer(run), text=short)
    run = runs.open_run(tiny_run)
    with pytest.raises(ValueError, match="text is given, and '2016-small' has one level"):
        pipeline.generate(run, 0.1, pipeline.primer(run), text=short)


@pytest.mark.slow
def test_pieces_are_what_generating_at_once_gives(world):
    run = runs.open_run(world)
    frames, seen = pipeline.primer(run), []
    pieces = list(pipeline.generate_pieces(run, 1.0, frames, seed=1, on_frame=seen.append))
    assert np.array_equal(np.concatenate(pieces), pipeline.generate(run, 1.0, frames, seed=1))
    assert seen[-1] == 67 and seen == sorted(seen)


@pytest.mark.slow
def test_a_run_of_world_frames_is_generated_from_with_its_sampler_at_the_recordings_level(world, voice):
    run = runs.open_run(world)
    frames, network = pipeline.primer(run), generation.load_network(run)
    hooks = world_mdn.hooks(run, network)
    y = pipeline.generate(run, 1.0, frames)
    assert np.array_equal(y, generation.generate(run, 1.0, frames, **hooks))
    recorded = audio.read(voice)[: 16 * 16000]  # the training part
    assert hooks["level"] == run.level == pytest.approx(20 * np.log10(np.std(recorded)), abs=0.01)
    quieter = generation.generate(run, 1.0, frames, **{**hooks, "level": run.level - 30})
    assert np.std(quieter) < 0.5 * np.std(y)


@pytest.mark.slow
def test_a_text_is_said_exactly_and_nothing_else(world, monkeypatch):
    run, given, vectors = runs.open_run(world), [], units.Given.vectors
    monkeypatch.setattr(units, "say", lambda *_: pytest.fail("the language model was asked"))
    monkeypatch.setattr(units.Given, "vectors", lambda self, rows: given.append(rows) or vectors(self, rows))
    centres = units.Centres(generation.load_network(run).language.given.centres.get_value())
    words = "{0}5 {1}24 {2}1 {1}3 {0}9 {3}8 {2}20 {1}1 ".format(*centres.names)
    text = units.Text.parse(20 * words, centres.names)
    frames = pipeline.primer(run)
    y = pipeline.generate(run, 3.0, frames, seed=1, text=text)
    before = centres.read(frames, WORLD).units[-1]
    assert y.shape == (48000,)  # where the state is made anew a frame's text is heard with it, else one by one
    anew = range(0, 200, WORLD.n_steps // 2)
    assert np.array_equal(np.concatenate(given), np.delete(text.given(before)[:200], anew, axis=0))
    assert np.array_equal(y, pipeline.generate(run, 3.0, frames, temperature=5.0, seed=1, text=text))
    other = units.Text((text.units + 1) % WORLD.vocabulary, text.lengths)
    assert not np.allclose(y, pipeline.generate(run, 3.0, frames, seed=1, text=other), atol=1e-3)
    assert np.array_equal(y, np.concatenate(list(pipeline.generate_pieces(run, 3.0, frames, seed=1, text=text))))


def test_a_run_of_samples_is_generated_from_without_more(tiny_run):
    run = runs.open_run(tiny_run)
    frames = pipeline.primer(run)
    assert np.array_equal(pipeline.generate(run, 0.1, frames), generation.generate(run, 0.1, frames))


@pytest.mark.slow
def test_a_primer_is_one_sequence_of_the_runs_own_dataset(world):
    run = runs.open_run(world)
    data = pipeline.prepare(WORLD, None, world, resume=True)
    assert data.folder == run.dataset_folder
    assert np.array_equal(pipeline.primer(run), data.sequence("valid", WORLD.n_steps))
    assert np.array_equal(pipeline.primer(run, "test", 7), data.sequence("test", 7))
    assert pipeline.primer(run, "none").shape == (1, 63)


KNOWN = []  # the voice of `world`, once it is described


@pytest.fixture
def described(monkeypatch):
    """How often a voice was described; done once, for it is the same voice in all tests."""
    seen, real = [], evaluation.reference

    def reference(*args, **options):
        seen.append(args)
        if not KNOWN:
            KNOWN.append(real(*args, **options))
        return KNOWN[0]

    monkeypatch.setattr(evaluation, "reference", reference)
    return seen


def timeless(result):
    """A result as text, but for how fast it was; what is undefined is null, as from the command line."""
    kept = {name: value for name, value in result.items() if name != "generation_x_real_time"}
    return json.dumps(kept).replace("NaN", "null")


@pytest.mark.slow
def test_a_voice_is_described_once_and_whatever_else_stands_there_is_ignored(world_run, described, capsys, tmp_path):
    data = pipeline.prepare(WORLD, None, world_run.folder, resume=True)
    path = data.folder / "reference.npz"
    assert not path.exists()
    first, y = pipeline.evaluate(world_run, data, 2.0, seed=5)
    whole = path.read_bytes()
    assert len(described) == 1 and first["test_loss"] == world_run.result()["test_loss"]
    again, y_again = pipeline.evaluate(world_run, data, 2.0, seed=5)
    assert len(described) == 1 and timeless(first) == timeless(again) and np.array_equal(y, y_again)

    out = tmp_path / "a.wav"
    capsys.readouterr()
    args = ["evaluate", str(world_run.folder), "--seconds", "2", "--seed", "5", "--json", "--out", str(out)]
    assert main(args) == 0 and len(described) == 1
    assert timeless(json.loads(capsys.readouterr().out)) == timeless(first)
    audio.write(tmp_path / "b.wav", y, 16000)
    assert out.read_bytes() == (tmp_path / "b.wav").read_bytes()

    for foreign in (whole[: len(whole) // 2], b"", world_run.path("best").read_bytes(), b"PK\5\6" + bytes(18)):
        path.write_bytes(foreign)
        described.clear()
        pipeline.reference(world_run, data)
        assert len(described) == 1 and path.read_bytes() == whole
    path.unlink()
    os.symlink("reference.npz", path)
    pipeline.reference(world_run, data)
    assert not path.is_symlink() and path.read_bytes() == whole


@pytest.mark.slow
def test_where_nothing_can_be_written_a_voice_is_described_all_the_same(world_run, described):
    data = pipeline.prepare(WORLD, None, world_run.folder, resume=True)
    (data.folder / "reference.npz" / "of a folder").mkdir(parents=True)
    for n_times in (1, 2):
        assert pipeline.reference(world_run, data).sr == 16000 and len(described) == n_times


def test_preparing_takes_a_recording_a_dataset_or_the_built_in_voice(
    tiny_run, tiny_data, tiny_recording, tmp_path, monkeypatch
):
    assert pipeline.prepare(TINY, tiny_data.folder, tmp_path / "a").folder == tiny_data.folder
    made = pipeline.prepare(TINY, tiny_recording, tmp_path / "b")
    assert made.folder == tmp_path / "b" / "dataset" and made.source["name"] == "ar2.wav"
    asked = []
    monkeypatch.setattr(synthetic, "built_in", lambda seconds: asked.append(seconds) or tiny_data.folder)
    pipeline.prepare(TINY, None, tmp_path / "c")
    pipeline.prepare(WORLD, None, tmp_path / "d")
    assert asked == [300, 1500]
    with pytest.raises(ValueError, match="holds a run of 3 epochs; go on with it by --resume"):
        pipeline.prepare(TINY, tmp_path / "none.wav", tiny_run)  # said before the recording is looked for
    assert pipeline.prepare(TINY, None, tiny_run, resume=True).folder == tiny_run / "dataset"
