"""Three things to play with in a notebook: a frame explorer, a slider over sounds, a training dashboard.

Figures are drawn without pyplot, which belongs to the notebook's own thread, and reach the page as PNG images.
What a widget shows by default is also a plain figure: `plots.frame_view`, `plots.learning_curve`.
"""

import io
import threading
import time

import ipywidgets
import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

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
    """

    def __init__(self, train, n_epochs, variance=1.0, baselines=None):
        self.rows, self.error = [], None
        self._train, self._n_epochs, self._variance, self._baselines = train, n_epochs, variance, baselines
        self._stop, self._thread, self._drawn = threading.Event(), None, 0.0
        self._progress = ipywidgets.FloatProgress(min=0, max=n_epochs, layout=ipywidgets.Layout(width="60%"))
        self._button = ipywidgets.Button(description="Stop", icon="stop", tooltip="End after this batch", disabled=True)
        self._button.on_click(lambda button: self.stop())
        self._line, self._curve = ipywidgets.HTML("not started"), _image()
        super().__init__([ipywidgets.HBox([self._progress, self._button]), self._line, self._curve])

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
            show(self._curve, lambda figure: learning_curve(*losses, figure.add_subplot()), (9, 3.4))
        self._drawn = time.monotonic()
