"""Stackless Python's tasklets and channels for unforked CPython.

Tasklets run on a pool of OS threads: one that blocks in the operating system
(time.sleep, a database driver, getaddrinfo) stops nobody else.  See the names
below, and stackless.socket for cooperative sockets.
"""

import sys as _sys

from . import _stackless
from ._stackless import (
    READ, WRITE, TaskletExit, __version__, atomic, bomb, channel, getcurrent,
    getmain, getruncount, pinned, run, schedule, schedule_remove,
    set_error_handler, sleep, stats, switch_trap, tasklet, timeout, wait)

stackless = _sys.modules[__name__]

__all__ = [
    "READ", "WRITE", "TaskletExit", "atomic", "bomb", "channel", "getcurrent",
    "getmain", "getruncount", "pinned", "run", "schedule", "schedule_remove",
    "set_error_handler", "sleep", "stats", "stackless", "switch_trap",
    "tasklet", "timeout", "wait"]

_COMPUTED = {"current": getcurrent, "main": getmain, "runcount": getruncount}


def __getattr__(name):
    # A module subclass with properties would do the same and cost every
    # stackless.schedule() the interpreter's fast path for module attributes.
    try:
        return _COMPUTED[name]()
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__():
    return sorted([*globals(), *_COMPUTED])


def __reduce__():
    return "stackless"
