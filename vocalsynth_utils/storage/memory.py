"""Bytes of memory that this process has, and may still take."""

import math
import resource
from pathlib import Path

import psutil

GROUPS = {  # of versions 2 and 1: where they are mounted; the files that tell limit and use; what of the use gives way
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory():
    """Bytes that this process may still take: what the machine, its container and limits of its own leave."""
    machine = psutil.virtual_memory().available + psutil.swap_memory().free
    return max(0, min(machine, _container(), _own_limit()))


def used_memory():
    """Bytes this process has already, not counting mapped files."""
    told = psutil.Process().memory_info()
    return told.rss - getattr(told, "shared", 0)


def readable_size(n_bytes):
    """A number of bytes for people."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _own_limit():
    """What limits set for this process leave (`ulimit -v`, `ulimit -d`)."""
    told = psutil.Process().memory_info()
    used = {resource.RLIMIT_AS: told.vms, resource.RLIMIT_DATA: getattr(told, "data", 0)}
    most = {limit: resource.getrlimit(limit)[0] for limit in used}
    return min((most[limit] - used[limit] for limit in used if most[limit] != resource.RLIM_INFINITY), default=math.inf)


def _container():
    """What the control groups of this process leave; the files that they count as used give way."""
    left = [math.inf]
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers not in GROUPS:
            continue
        root, limit, use, idle = GROUPS[controllers]
        folder = Path(root + path)
        for group in (folder, *folder.parents):
            most, used = _lines(group / limit), _lines(group / use)
            if str(group).startswith(root) and most and used and most[0].isdigit():
                entries = dict(line.split() for line in _lines(group / "memory.stat"))
                left.append(int(most[0]) - int(used[0]) + int(entries.get(idle, 0)))
    return min(left)


def _lines(path):
    """The lines of a small text file; none where it cannot be read."""
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
