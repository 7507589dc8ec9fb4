"""Work on every core, and how much of it is done, for whoever shows it."""

import contextlib
import os
from multiprocessing.pool import ThreadPool

MAX_THREADS = 4  # a chunk takes about 150 MB while it is worked on


def over_cores(function, items, on_item=None):
    """[function(item) for item in items], on every core: WORLD and the FFT let go of Python's lock.

    ``on_item(i)`` is called after each, in this thread and in their order.
    """
    found, many = [], len(items) > 1 and n_threads() > 1
    with ThreadPool(n_threads()) if many else contextlib.nullcontext() as pool:
        for result in pool.imap(function, items) if many else map(function, items):
            found.append(result)
            if on_item:
                on_item(len(found) - 1)
    return found


def counting(on_stage, stage, total):
    """A function ``more(n)`` that tells ``on_stage(stage, done, total)``, if there is one, how much is done."""
    done = 0

    def more(n=0):
        nonlocal done
        done += n
        if on_stage:
            on_stage(stage, done, total)

    more()
    return more


def n_threads():
    """How many threads `over_cores` takes: an int, at most MAX_THREADS."""
    return min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
