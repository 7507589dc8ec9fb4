"""How much of anything that may come from elsewhere is taken: looked at before it costs memory or time.

What is more is refused by a ValueError with what, how much, and the limit. No file of ours comes near one.
"""

import errno
import os

MOST_TEXT, MOST_LOG = 1 << 24, 1 << 26  # bytes of JSON or another text; of a log
MOST_VALUES = 1 << 19  # in a JSON file
MOST_ARRAYS = 1 << 12  # in a checkpoint
MOST_DIRECTORY = 1 << 20  # bytes in which a checkpoint lists them
MOST_COLUMNS = 100  # of a log; its epochs are limited by the recipe
MOST_SWEEP = 1 << 18  # bytes of a sweep's file: reading TOML takes a second or more for a megabyte
MOST_PARTS = 1 << 9  # of a key in it, joined by dots: the time it takes grows as their square
MOST_RUNS = 10_000  # that a sweep asks for, which is years
MOST_LABEL = 100  # characters
MOST_NAME, MOST_PATH = 255, 3840  # bytes, of a name and of all that leads to it: what Linux takes, less one more name
MOST_FOLDERS = 200  # above a file: Python makes them one within the other
HOLES_FROM, HOLES_SHARE = 10**9, 0.01  # bytes of a file that is looked at for holes; what at least must not be one


def check_most(n, most, what, where):
    """ValueError where something holds more than is taken."""
    if n > most:
        raise ValueError(f"{where} holds {n} {what}, and at most {most} are taken")


def check_path(path):
    """ValueError where a path, as seen from the root, or a name in it is longer than a file system takes."""
    check_most(os.path.abspath(path).count(os.sep), MOST_FOLDERS, "folders", f"the path {path[:40]!r}...")
    name = max(path.split(os.sep), key=lambda part: len(os.fsencode(part)))
    for what, start, part, most in (("path", path, os.path.abspath(path), MOST_PATH), ("name", name, name, MOST_NAME)):
        check_most(len(os.fsencode(part)), most, "bytes", f"the {what} {start[:40]!r}...")


def check_holes(handle, name):
    """ValueError for a large file that is nearly all holes, which reads as zeros for minutes: a download cut off."""
    size, there, at = os.fstat(handle).st_size, 0, 0
    if size < HOLES_FROM or not hasattr(os, "SEEK_DATA"):
        return
    try:
        while there < HOLES_SHARE * size:
            at = os.lseek(handle, at, os.SEEK_DATA)
            end = os.lseek(handle, at, os.SEEK_HOLE)
            there, at = there + end - at, end
    except OSError as error:
        if error.errno != errno.ENXIO:  # which says that no more of it follows; others, that nobody knows
            return
        what = f"counts {size / 1e9:.1f} GB, of which {there / 1e9:.1f} are there and the rest is holes"
        raise ValueError(f"{name} {what}; copy it again") from None
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
