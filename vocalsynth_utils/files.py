"""Files written whole or not at all, and brought to the disk: what a kill or a power cut leaves is the old file or the new one."""
import contextlib
import fcntl
import glob
import os
import secrets
import shutil
from pathlib import Path

from . import stored

NAME_BYTES = 100  # of the file's own name in that of its unfinished part: a name has room for 255


@contextlib.contextmanager
def atomic(path, mode):
    """Open a file to be written beside `path`, synced, and renamed over it when all went well.

    The part written so far is a hidden file, ``.NAME.xxxxxxxx.part``, and is
    removed when something fails.  A killed process cannot do that; the next
    one that writes the same name does it for it.

    Parameters
    ----------
    path : path
    mode : {"w", "wb"}

    Raises
    ------
    OSError
        No such folder, no permission, no room.
    """
    path = Path(path)
    part = _part(path)
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, mode, **({} if "b" in mode else {"newline": ""})) as file:
            with contextlib.suppress(OSError):  # of a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)  # held as long as its writer lives: `sweep` leaves it alone
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        if isinstance(error, OSError):
            name(error, path)
        raise


def name(error, path):
    """Let an OSError say which file it is about: a full disk does not."""
    error.filename = str(path)


def share(source, path):
    """Let `path` be what `source` is now: a second name for it, or a copy where the file system has none."""
    part = _part(path)
    try:
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
        os.replace(part, path)  # leaves `part` where both are one file already
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def real(path):
    """A path with its links followed; one that leads to itself is left as it is, where `Path.resolve` raises a RuntimeError."""
    return Path(os.path.realpath(path))


def sync_folder(folder):
    """Bring the names in a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder, name=None):
    """Remove what killed writers left unfinished in a folder, of one file or of all."""
    for part in Path(folder).glob(f".{glob.escape(name) if name else '*'}.????????.part"):
        with contextlib.suppress(OSError, ValueError), stored.open_regular(part) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(part)


def _part(path):
    """A new name for the unfinished part of `path`, once those of killed writers are removed."""
    name = os.fsdecode(os.fsencode(Path(path).name)[-NAME_BYTES:])
    sweep(Path(path).parent, name)
    return Path(path).parent / f".{name}.{secrets.token_hex(4)}.part"
