"""Things to play with in a notebook: a frame explorer, a slider over sounds, a training dashboard, a chooser of ways to
go on, a blind test.

Figures are drawn without pyplot, which belongs to the notebook's own thread, and reach the page as PNG images.
What a widget shows by default is also a plain figure: `plots.frame_view`, `plots.learning_curve`; what its buttons do,
its methods do too.
"""

import io
import threading
import time

import ipywidgets
import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

from .. import audio
from ..audio import player
from .curves import learning_curve
from .diagrams import frame_view
from .style import describe

REDRAW_SECONDS = 0.5


def show(image, draw, size):
    """Put a figure into an Image widget, with its description: ``draw(figure)`` draws it, `size` is in inches."""
    figure, out = Figure(figsize=size, layout="constrained", dpi=90), io.BytesIO()
    draw(figure)
    figure.savefig(out, format="png")
    image.value, image.tooltip = out.getvalue(), describe(figure)
    image.layout.display = None


def _image():
    """A place for a figure, no wider than the page, and hidden while there is none."""
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", display="none"))


def _slider(description, n):
    """A slider from 0 to n - 1 that acts when it is let go."""
    options = {"layout": ipywidgets.Layout(width="95%"), "continuous_update": False}
    return ipywidgets.IntSlider(min=0, max=max(n - 1, 0), description=description, **options)


class FrameExplorer(ipywidgets.VBox):
    """Sliders that walk through sequences and frames, with picture and sound.

    `X` is a float array of shape (n_sequences, n_steps, frame_length), full scale 1; it is read as it is looked at.
    """

    def __init__(self, X, sr=16000):
        self._X, self._sr = X, sr
        self._picture, self._sound, self._frame = _image(), ipywidgets.HTML(), ipywidgets.HTML()
        self.sequence, self.step = _slider("sequence", len(X)), _slider("frame", X.shape[1] if X.ndim == 3 else 1)
        self._line = ipywidgets.HTML()
        sounds = ipywidgets.HBox([self._sound, self._frame], layout=ipywidgets.Layout(flex_flow="row wrap"))
        super().__init__([self.sequence, self.step, self._line, self._picture, sounds])
        self.sequence.observe(lambda change: (self._look(), self._listen()), names="value")
        self.step.observe(lambda change: self._look(), names="value")
        self._look()
        self._listen()

    def __repr__(self):
        return f"<FrameExplorer of {len(self._X)} sequences>"

    def _look(self):
        """Show the chosen frame, and let it be heard alone."""
        i, step = self.sequence.value, self.step.value
        self._line.value = f"drawing frame {step} of sequence {i} ..."
        draw = lambda figure: frame_view(self._X, i, step, self._sr, figure.subplot_mosaic("ss;fp").values())
        show(self._picture, draw, (9, 4))
        again = np.tile(self._X[i, step], 8)
        self._frame.value = player(again, self._sr, f"frame {step} alone, eight times")._repr_html_()
        self._line.value = ""

    def _listen(self):
        """A player for the chosen sequence, its first minute at most."""
        i = self.sequence.value
        y = self._X[i].reshape(-1)[: 60 * self._sr]
        self._sound.value = player(y, self._sr, f"sequence {i}, {len(y) / self._sr:.1f} s")._repr_html_()


class SoundSlider(ipywidgets.VBox):
    """A slider over sounds that were made beforehand, with a player of the one it stands at.

    `sounds` is a dict of float arrays of shape (n_samples,), full scale 1, by what `description` says that they differ
    in; at first it is at `value`.
    """

    def __init__(self, sounds, value, description="temperature", sr=16000):
        if value not in sounds:
            raise ValueError(f"value={value} is none of {list(sounds)}; choose one of the sounds")
        self._sounds, self._sr, self._sound = sounds, sr, ipywidgets.HTML()
        options = {"options": list(sounds), "value": value, "description": description}
        self.choice = ipywidgets.SelectionSlider(**options, layout=ipywidgets.Layout(width="24em"))
        super().__init__([self.choice, self._sound])
        self.choice.observe(lambda change: self._listen(), names="value")
        self._listen()

    def __repr__(self):
        return f"<SoundSlider of {len(self._sounds)} sounds>"

    def _listen(self):
        """A player for the chosen sound."""
        value = self.choice.value
        self._sound.value = player(self._sounds[value], self._sr, f"{self.choice.description} {value}")._repr_html_()


class Dashboard(ipywidgets.VBox):
    """Progress, a live learning curve and a Stop button for a training that runs in its own thread.

    A cell that blocks never lets a button fire: `start` returns at once, `wait` is for a later cell, as in
    ``board = Dashboard(...).start()`` and then ``rows = board.wait()``. The epochs so far are `rows`, a list of dict.

    Parameters
    ----------
    train : iterable of rows of log.csv, or a callable that returns one from ``train(should_stop=..., on_batch=...)``,
        as ``lambda **hooks: training.train(recipe, dataset, folder, **hooks)`` does
    variance, baselines : as `plots.learning_curve`
    label : what losses are, where they are no fraction of a variance
    listen : callable of a row, optional, that returns a sound (n_samples,) after epochs 1, 2, 4, 8, ... and the last:
        it is played below, and kept in `samples`, a list of (epoch, sound)
    """

    def __init__(self, train, n_epochs, variance=1.0, baselines=None, label="loss / variance", listen=None, sr=16000):
        self.rows, self.samples, self.error = [], [], None
        self._train, self._n_epochs, self._variance, self._baselines = train, n_epochs, variance, baselines
        self._label, self._listen, self._sr, self._sounds = label, listen, sr, ipywidgets.HTML()
        self._stop, self._thread, self._drawn = threading.Event(), None, 0.0
        self._progress = ipywidgets.FloatProgress(min=0, max=n_epochs, layout=ipywidgets.Layout(width="60%"))
        self._button = ipywidgets.Button(description="Stop", icon="stop", tooltip="End after this batch", disabled=True)
        self._button.on_click(lambda button: self.stop())
        self._line, self._curve = ipywidgets.HTML("not started"), _image()
        above = ipywidgets.HBox([self._progress, self._button])
        super().__init__([above, self._line, self._curve, self._sounds])

    def __repr__(self):
        return f"<Dashboard of {self._n_epochs} epochs>"

    def start(self):
        """Display the dashboard and begin; returns itself at once."""
        if self._thread is not None:
            raise RuntimeError("this dashboard has been started already; make a new one")
        display(self)  # before anything changes: from here on only traits are updated
        self._button.disabled = False
        self._line.value = "compiling ..."
        self._thread = threading.Thread(target=self._work, name="training", daemon=True)
        self._thread.start()
        return self

    def stop(self):
        """Ask the training to end; it does after the batch in progress."""
        self._stop.set()
        self._button.disabled = True

    def wait(self):
        """Wait for the end; the rows, or what the training raised. Kernel > Interrupt stops it like the button."""
        if self._thread is None:
            raise RuntimeError("the dashboard has not been started; call start() first")
        while self._thread.is_alive():
            try:
                self._thread.join(0.2)
            except KeyboardInterrupt:
                self.stop()
        if self.error is not None:
            raise self.error
        return self.rows

    def _work(self):
        """What the worker thread does."""
        rows = self._train
        try:
            if callable(rows):
                rows = rows(should_stop=self._stop.is_set, on_batch=self._on_batch)
            for row in rows:
                self.rows.append(row)
                self._show(f"epoch {row['epoch']} of {self._n_epochs}, {self._time_left()} left")
                self._sample(row)
                if self._stop.is_set():
                    break
        except Exception as e:  # of any kind: it is raised again in `wait`, in the notebook's own thread
            self.error = e
        finally:
            if hasattr(rows, "close"):
                rows.close()  # a generator gives up its run folder now, not when it is collected
            self._button.disabled = True
            ended = f"failed: {self.error}" if self.error else "stopped" if self._stop.is_set() else "finished"
            self._show(f"{ended} after {len(self.rows)} epochs", now=True)

    def _sample(self, row):
        """Let it be heard now and then: ever less often, for that takes seconds."""
        epoch = row["epoch"]
        if self._listen and (epoch & (epoch - 1) == 0 or epoch == self._n_epochs):
            self.samples.append((epoch, self._listen(row)))
            self._sounds.value += player(self.samples[-1][1], self._sr, f"after epoch {epoch}")._repr_html_()

    def _on_batch(self, done, n_batches):
        """Progress within an epoch."""
        self._progress.value = len(self.rows) + min(1.0, done / max(n_batches, 1))
        if not self.rows:
            self._line.value = f"epoch 1 of {self._n_epochs}"

    def _time_left(self):
        """From the mean duration of the last epochs, as text."""
        recent = [r["duration"] for r in self.rows[-10:] if r.get("duration")]
        seconds = (self._n_epochs - len(self.rows)) * sum(recent) / max(len(recent), 1)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

    def _show(self, text, now=False):
        """Update line, bar and curve; the curve at most twice a second."""
        if not now and time.monotonic() - self._drawn < REDRAW_SECONDS:
            return
        self._line.value = text.replace("&", "&amp;").replace("<", "&lt;")
        self._progress.value = len(self.rows)
        if self.rows:
            losses = self.rows, self._variance, self._baselines
            draw = lambda figure: learning_curve(*losses, figure.add_subplot()).set_ylabel(self._label)
            show(self._curve, draw, (9, 3.4))
        self._drawn = time.monotonic()


class Chooser(ipywidgets.VBox):
    """Ways in which a sound goes on, side by side: one is chosen, and from its end there are new ones.

    `song` is what was chosen so far, float32 (n_samples,), after the sound `begun`, which is no part of it; `offers`
    are the ways on, float arrays (n_samples,), that ``go_on(y, turn)`` lists for all that was heard so far, `y`.  The
    buttons do what `choose` and `save` do, which saves the song at `path`, where one is given.
    """

    def __init__(self, go_on, begun, sr=16000, path=None):
        self._go_on, self._begun, self._sr, self.turn, self.song = go_on, begun, sr, 0, np.zeros(0, np.float32)
        self._ways, self._so_far, self._line = ipywidgets.HBox(), ipywidgets.HTML(), ipywidgets.HTML()
        save = ipywidgets.Button(description="Save", icon="save", disabled=path is None)
        save.on_click(lambda button: self.save(path))
        super().__init__([self._ways, self._so_far, ipywidgets.HBox([save, self._line])])
        self._offer()

    def __repr__(self):
        return f"<Chooser of {len(self.offers)} ways on>"

    def choose(self, number):
        """Go on by the offer of this number, from 1."""
        if number not in range(1, len(self.offers) + 1):
            raise ValueError(f"number={number!r} is no way on; choose one from 1 to {len(self.offers)}")
        self._line.value = "going on ..."
        self.song = audio.joined(self.song, self.offers[number - 1], self._sr)
        title = f"so far, {len(self.song) / self._sr:.0f} s"
        self._so_far.value = player(self.song, self._sr, title)._repr_html_()
        self._offer()
        self._line.value = ""

    def save(self, path):
        """Write the song so far, which must have begun."""
        if len(self.song):
            audio.write(path, self.song, self._sr)
        self._line.value = "saved" if len(self.song) else "nothing to save yet; go on by one of them first"

    def _offer(self):
        """Make new ways on, and show each with its button, which belongs to this turn alone."""
        self.turn += 1
        self.offers = self._go_on(audio.joined(self._begun, self.song, self._sr), self.turn)
        self._ways.children = [self._way(i, y, self.turn) for i, y in enumerate(self.offers, start=1)]

    def _way(self, number, y, turn):
        button = ipywidgets.Button(description=f"Go on by {number}")
        button.on_click(lambda _: self.choose(number) if turn == self.turn else None)
        return ipywidgets.VBox([ipywidgets.HTML(player(y, self._sr, f"way {number}")._repr_html_()), button])


class Listening(ipywidgets.VBox):
    """The clips of an `evaluation.BlindTest`, one after the other, with a button for each kind; then the verdict."""

    def __init__(self, test):
        self.test, self._sound, self._line = test, ipywidgets.HTML(), ipywidgets.HTML()
        buttons = [ipywidgets.Button(description=kind) for kind in (*test.kinds, "back")]
        for button in buttons:
            button.on_click(lambda button: self._press(button.description))
        super().__init__([self._sound, ipywidgets.HBox(buttons), self._line])
        self._show(next((i for i in range(len(test.clips)) if i not in test.answers), len(test.clips)))

    def __repr__(self):
        return f"<Listening to {len(self.test.clips)} clips>"

    def _press(self, said):
        if said == "back":
            self._show(max(0, self.at - 1))
        elif self.at < len(self.test.clips):
            self.test.answer(self.at, said)
            self._show(self.at + 1)

    def _show(self, at):
        """The clip of this number, from 0, or after the last one what came of it."""
        self.at, n, clips = at, len(self.test.clips), self.test.clips
        self._sound.value = player(clips[at], self.test.sr, f"clip {at + 1} of {n}")._repr_html_() if at < n else ""
        self._line.value = "" if at < n else self.test.verdict().replace("\n", "<br>")
