"""Files written whole or not at all, and brought to the disk: a kill or a power cut leaves the old one or the new."""

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
import stat
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

NAME_BYTES = 100  # of the file's own name in that of its unfinished part: a name has room for 255
HEADER_BYTES = 128  # what numpy pads the header of a .npy file to


@contextlib.contextmanager
def atomic(path, mode):
    """Open a file to be written, "w" or "wb", beside `path`, synced, and renamed over it when all went well.

    The part written so far is a hidden file, ``.NAME.xxxxxxxx.part``, and is removed when something fails. A killed
    process cannot do that; the next one that writes the same name does it for it. An OSError names `path`.
    """
    path, part = Path(path), _part(path)
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, mode, **({} if "b" in mode else {"newline": ""})) as file:
            with contextlib.suppress(OSError):  # of a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # while its writer lives, `remove_unfinished` leaves it alone
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
        sync_folder(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            name_file(error, path)
        raise


@contextlib.contextmanager
def new_folder(folder, unwanted=lambda: False):
    """A folder beside, to fill; it becomes `folder` when all went well, in place of one that stands there.

    With `unwanted` it does not where that says so by then. Until then it is hidden, ``.NAME.xxxxxxxx.part``, as the
    unfinished part of a file is, and goes as that does. Folders above it are made, and go where it does not come.
    """
    folder = real_path(folder)
    if folder == real_path("."):
        raise ValueError(f"{folder} is the folder you are in, which another cannot take the place of; name one in it")
    made = [above for above in folder.parents if not above.exists()]
    with contextlib.ExitStack() as ended:
        for above in reversed(made):
            ended.callback(_remove_empty, above)
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = _part(folder)
        part.mkdir()
        ended.callback(shutil.rmtree, part, ignore_errors=True)
        handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        ended.callback(os.close, handle)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield part
        if not unwanted():
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(part, folder)


def write_array(path, blocks, dtype):
    """Write blocks of rows, (n,) or (n, n_features), one after the other as one .npy file; returns it memory-mapped."""
    n_rows, tail = 0, ()
    with open(path, "wb") as out:
        out.seek(HEADER_BYTES)
        for block in blocks:
            out.write(np.ascontiguousarray(block, dtype=dtype).data)  # which says what is wrong; tofile does not
            n_rows, tail = n_rows + len(block), block.shape[1:]
        out.seek(0)
        descr = npy.dtype_to_descr(np.dtype(dtype))
        npy.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": (n_rows, *tail)})
        assert out.tell() == HEADER_BYTES
        out.flush()
        os.fsync(out.fileno())
    return np.load(path, mmap_mode="r")


@contextlib.contextmanager
def locked(path, wait=False):
    """Hold a file against every other process that asks for it here; it is made where it is missing, and stays.

    Another process's hold is waited for, or, without `wait`, a BlockingIOError at once.
    """
    # no link is followed and nothing is emptied: the folder may come from anyone
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644)) as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def name_file(error, path):
    """Let an OSError say which file it is about: a full disk does not."""
    error.filename = str(path)


def link(source, path):
    """Let `path` be what `source` is now: a second name for it, or a copy where the file system has none."""
    part = _part(path)
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
        os.replace(part, path)  # leaves `part` where both are one file already
    finally:
        part.unlink(missing_ok=True)


def real_path(path):
    """A path with its links followed; one that leads to itself is left, where `Path.resolve` is a RuntimeError."""
    return Path(os.path.realpath(path))


def _remove_empty(folder):
    with contextlib.suppress(OSError):  # something is in it
        os.rmdir(folder)


def sync_folder(folder):
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_unfinished(folder, name=None):
    """Remove what killed writers left unfinished in a folder, of one file or of all; a link is not followed."""
    for part in Path(folder).glob(f".{glob.escape(name) if name else '*'}.????????.part"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            handle = os.open(part, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            opened.callback(os.close, handle)
            kind = os.fstat(handle).st_mode
            if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part) if stat.S_ISDIR(kind) else os.unlink(part)


def _part(path):
    """A new name for the unfinished part of `path`, once those of killed writers are removed."""
    name = os.fsdecode(os.fsencode(Path(path).name)[-NAME_BYTES:])
    remove_unfinished(Path(path).parent, name)
    return Path(path).parent / f".{name}.{secrets.token_hex(4)}.part"
