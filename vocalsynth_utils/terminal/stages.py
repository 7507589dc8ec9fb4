"""`Stages`: what a command is at, on standard error, as a bar with the time left, or as a line now and then."""

import os
import sys
import threading
import time

# s; what is over by then needs no announcement; with VOCALSYNTH_QUIET, for scripts that read it, nearly nothing does
QUIET = 3600.0 if os.environ.get("VOCALSYNTH_QUIET") else 2.0
BETWEEN_LINES = 15.0  # s, where there is no terminal


class Stages:
    """Entered, and called as ``stages(name, done, total, note)`` when a stage begins and as it goes on.

    On a terminal each stage is a bar with the time left, which `total` None leaves open; one of under two seconds
    leaves nothing behind.  Elsewhere it is a line once it has lasted two seconds, and another one every 15.
    """

    def __init__(self):
        self._at, self._began, self._first, self._task = (None, 0, None, ""), 0.0, 0, None
        self._bars = _bars() if sys.stderr.isatty() else None
        self._over, self._speaker = threading.Event(), threading.Thread(target=self._speak, daemon=True)

    def __enter__(self):
        (self._bars or self._speaker).start()
        return self

    def __exit__(self, *_):
        self._over.set()
        if self._bars:
            self._end_bar()
            self._bars.stop()
        else:
            self._speaker.join()

    def __call__(self, name, done=0, total=None, note=""):
        if name != self._at[0]:
            if self._bars:
                self._end_bar()
                self._task = self._bars.add_task(name, total=total, note="")
            self._began, self._first = time.monotonic(), done  # a run that is resumed has done some of it before
        self._at = name, done, total, note
        if self._bars:
            self._bars.update(self._task, completed=done, total=total, note=note)

    def _end_bar(self):
        """The bar of a stage that ends stays, full and with the time it took, or goes where that was short."""
        if self._task is not None and time.monotonic() - self._began < QUIET:
            self._bars.remove_task(self._task)
        elif self._task is not None:
            self._bars.update(self._task, completed=1, total=1)

    def _speak(self):
        """Lines, from a thread, for a stage that cannot be counted is spoken of too."""
        last = None, 0.0
        while not self._over.wait(0.2):
            now, (name, done, total, note) = time.monotonic(), self._at
            gone = now - self._began
            if name and gone >= QUIET and (name != last[0] or now - last[1] >= BETWEEN_LINES):
                at, last = f"{duration(gone)} so far", (name, now)
                if total and done > self._first:
                    left = gone * (total - done) / (done - self._first)
                    at = f"{done / total:.0%}, {duration(left)} left"
                print(f"[{name}] {at}{'; ' if note else ''}{note}", file=sys.stderr, flush=True)


def duration(seconds):
    """A length of time for a person: ``"8 s"``, ``"2 min 5 s"``, ``"1 h 4 min"``."""
    hours, seconds = divmod(round(seconds), 3600)
    if hours:
        return f"{hours} h {seconds // 60} min"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def _bars():
    """The bars of a terminal, within 80 columns."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    share, time_left = TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(True, elapsed_when_finished=True)
    redirected = {"redirect_stdout": sys.stdout.isatty()}  # what goes into a file goes there all the same
    name, note = columns
    return Progress(name, BarColumn(20), share, time_left, note, console=Console(stderr=True), **redirected)
