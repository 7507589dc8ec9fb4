"""Timing of training, compiling, generating and preparing, beside peers and beside what the machine can do at best.

`bench` measures, `add_arguments` and `main` are its command line.  They load when they are used: each process that is
timed (`workers`) passes through here, and what it does not need would count as its memory.
"""

__all__ = ["add_arguments", "bench", "main"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import timing

    return getattr(timing, name)
