"""Widgets, headless: they end, stop, fail and draw as they should."""

import threading
import time

import ipywidgets
import numpy as np
import pytest

from vocalsynth_utils import audio, evaluation
from vocalsynth_utils.plots.widgets import Chooser, Dashboard, FrameExplorer, Listening, SoundSlider, show
from vocalsynth_utils.preprocessing import frame, sequences

PNG = b"\x89PNG"


def rows(n):
    return [{"epoch": i + 1, "train_loss": 1 / (i + 1), "valid_loss": 1.1 / (i + 1), "duration": 0.5} for i in range(n)]


@pytest.mark.slow
def test_explorer_redraws_picture_and_sound_where_the_sliders_point():
    X = sequences(frame(np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32), 1000), 4)
    explorer = FrameExplorer(X)
    assert (explorer.sequence.max, explorer.step.max) == (7, 3)
    picture, sound = bytes(explorer._picture.value), explorer._sound.value
    assert picture.startswith(PNG) and "audio/mpeg" in sound
    explorer.step.value = 2
    assert bytes(explorer._picture.value) != picture and explorer._sound.value == sound
    explorer.sequence.value = 5
    assert explorer._sound.value != sound
    assert repr(explorer) == "<FrameExplorer of 8 sequences>"


def test_explorer_refuses_what_is_not_sequences():
    with pytest.raises(ValueError, match="X has shape"):
        FrameExplorer(np.zeros((4, 100), np.float32))


def test_sound_slider_plays_the_sound_it_stands_at():
    sounds = {t: np.random.default_rng(0).normal(0, t / 10, 4000).astype(np.float32) for t in (0.6, 1.0)}
    slider = SoundSlider(sounds, 1.0)
    at_one = slider._sound.value
    assert "temperature 1" in at_one and "audio/mpeg" in at_one
    slider.choice.value = 0.6
    assert slider._sound.value != at_one and repr(slider) == "<SoundSlider of 2 sounds>"
    with pytest.raises(ValueError, match="value=2"):
        SoundSlider(sounds, 2)


def test_dashboard_runs_to_the_end_and_shows_the_curve():
    board = Dashboard(rows(7), 7, 1.0, {"mean": 1.0}).start()
    assert board.wait() == rows(7)
    assert board._line.value == "finished after 7 epochs" and board._progress.value == 7
    assert bytes(board._curve.value).startswith(PNG) and board._button.disabled


def test_stop_button_ends_the_training_within_a_batch_and_closes_it():
    closed, started = threading.Event(), threading.Event()

    def train(should_stop, on_batch):
        try:
            for row in rows(100000):
                for batch in range(10):
                    time.sleep(0.001)
                    on_batch(batch + 1, 10)
                    if should_stop():
                        return
                started.set()
                yield row
        finally:
            closed.set()

    board = Dashboard(train, 100000).start()
    assert started.wait(5)
    board._button.click()
    began = time.monotonic()
    kept = board.wait()
    assert time.monotonic() - began < 20 and closed.is_set()  # 100,000 epochs take a quarter of an hour
    assert 0 < len(kept) < 100000 and "stopped after" in board._line.value


def test_interrupting_the_wait_stops_like_the_button(monkeypatch):
    def train(should_stop, on_batch):
        for row in rows(100000):
            time.sleep(0.001)
            yield row

    board = Dashboard(train, 100000).start()
    join, calls = board._thread.join, []

    def interrupted(timeout):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(board._thread, "join", interrupted)
    assert len(board.wait()) < 100000


def test_an_error_in_training_is_shown_and_raised_where_one_waits():
    def train(should_stop, on_batch):
        yield rows(1)[0]
        raise FloatingPointError("the training loss is nan <in> epoch 2")

    board = Dashboard(train, 5).start()
    with pytest.raises(FloatingPointError, match="nan"):
        board.wait()
    assert "failed: the training loss is nan &lt;in> epoch 2 after 1 epochs" in board._line.value


def test_the_curve_is_drawn_at_most_twice_a_second():
    drawn = []
    board = Dashboard(iter(rows(300)), 300)
    board._curve.observe(lambda change: drawn.append(time.monotonic()), names="value")
    began = time.monotonic()
    board.start().wait()
    assert len(drawn) <= 2 + 2 * (time.monotonic() - began)


def test_a_dashboard_starts_once():
    board = Dashboard(rows(1), 1)
    with pytest.raises(RuntimeError, match="not been started"):
        board.wait()
    board.start().wait()
    with pytest.raises(RuntimeError, match="started already"):
        board.start()


def test_figures_for_widgets_leave_pyplot_alone():
    import matplotlib.pyplot as plt

    plt.close("all")
    image = ipywidgets.Image()
    show(image, lambda figure: figure.add_subplot(xlabel="time (s)").plot([1, 2]), (2, 1))
    assert bytes(image.value).startswith(PNG) and image.tooltip == "time (s)"
    assert plt.get_fignums() == []


def test_a_theano_function_trains_inside_the_thread():
    import theano
    import theano.tensor as T

    def train(should_stop, on_batch):
        w = theano.shared(np.float32(0), "w")
        loss = (w - 3) ** 2
        step = theano.function([], loss, updates=[(w, w - np.float32(0.1) * T.grad(loss, w))])
        for epoch in range(1, 31):
            value = float(step())
            yield {"epoch": epoch, "train_loss": value, "valid_loss": value, "duration": 0.0}

    kept = Dashboard(train, 30).start().wait()
    assert kept[-1]["valid_loss"] < 1e-3 < kept[0]["valid_loss"]


def test_a_sample_is_heard_after_ever_longer_waits_and_after_the_last_epoch():
    board = Dashboard(iter(rows(11)), 11, label="nats", listen=lambda row: np.full(800, row["epoch"] / 100))
    board.start().wait()
    assert [epoch for epoch, _ in board.samples] == [1, 2, 4, 8, 11]
    assert all((y == epoch / 100).all() for epoch, y in board.samples)
    assert board._sounds.value.count("<audio") == 5 and "after epoch 11" in board._sounds.value


def ways(y, turn):
    """Two seconds of a constant that says by how much they go on from what."""
    return [np.full(2000, 0.1 * i + 0.01 * turn + 0.001 * (len(y) > 4000)) for i in (1, 2, 3)]


def buttons(widget):
    """All buttons in a widget, by what is on them."""
    found = {widget.description: widget} if hasattr(widget, "click") else {}
    for child in getattr(widget, "children", ()):
        found |= buttons(child)
    return found


def test_a_chooser_goes_on_from_what_is_chosen_and_saves_it(tmp_path):
    chooser = Chooser(ways, np.zeros(4000), 1000, tmp_path / "song.wav")
    assert [round(float(y[0]), 3) for y in chooser.offers] == [0.11, 0.21, 0.31]
    buttons(chooser)["Save"].click()
    assert "nothing to save yet" in chooser._line.value and not (tmp_path / "song.wav").exists()
    chooser.choose(2)
    assert [round(float(y[0]), 3) for y in chooser.offers] == [0.121, 0.221, 0.321]  # heard what was chosen
    buttons(chooser)["Go on by 3"].click()
    assert len(chooser.song) == 4000 - 15 and np.allclose(chooser.song[:1900], 0.21) and chooser.song[-1] > 0.32
    buttons(chooser)["Save"].click()
    assert np.allclose(audio.read(tmp_path / "song.wav", 1000), chooser.song, atol=1e-4)
    with pytest.raises(ValueError, match="number=4 is no way on; choose one from 1 to 3"):
        chooser.choose(4)
    assert repr(chooser) == "<Chooser of 3 ways on>"


def test_a_button_of_an_earlier_turn_does_nothing():
    chooser = Chooser(ways, np.zeros(4000), 1000)
    old = buttons(chooser)
    old["Go on by 1"].click()
    old["Go on by 1"].click()
    assert chooser.turn == 2 and len(chooser.song) == 2000 and old["Save"].disabled


def test_the_listening_test_is_answered_by_its_buttons_and_gone_on_with(tmp_path):
    rng = np.random.default_rng(0)
    sounds = {name: rng.normal(0, 0.1, 8000) for name in ("real", "generated")}
    make = lambda: Listening(evaluation.BlindTest(sounds, 1000, n=2, seconds=1, path=tmp_path / "answers.csv"))
    listening = make()
    pressed = buttons(listening)
    assert list(pressed) == ["real", "generated", "back"] and "clip 1 of 4" in listening._sound.value
    for name in ("real", "real", "back", "generated"):
        pressed[name].click()
    assert listening.test.answers == {0: "real", 1: "generated"} and "clip 3 of 4" in make()._sound.value
    for _ in range(3):  # one too many
        pressed["real"].click()
    assert (
        listening._line.value == listening.test.verdict().replace("\n", "<br>")
        and "of 4 right" in listening._line.value
    )
    assert repr(listening) == "<Listening to 4 clips>" and not listening._sound.value
