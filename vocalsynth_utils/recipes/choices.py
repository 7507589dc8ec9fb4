"""A name that is one of those there are, or ValueError with the nearest right one."""

import difflib


def check_choice(name, value, choices, cutoff=0.6):
    """The value of the argument or field `name`, or ValueError where it is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r:.80} is not one of {', '.join(choices)}{_nearest(value, choices, cutoff)}")
    return value


def check_known(what, name, known, otherwise=None):
    """`name`, or ValueError ``unknown WHAT 'name'`` with the nearest known one, or else all of them (`otherwise`)."""
    if name not in known:
        otherwise = otherwise or f"there are {', '.join(known)}"
        raise ValueError(f"unknown {what} {name!r:.80}{_nearest(name, known, cutoff=0.4) or f'; {otherwise}'}")
    return name


def _nearest(name, known, cutoff):
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]!r}?" if near else ""
