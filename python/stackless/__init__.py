"""Stackless Python's tasklets and channels for unforked CPython.

Tasklets run on a pool of OS threads: one that blocks in the operating system
(time.sleep, a database driver, getaddrinfo) stops nobody else.  See the names
below, and stackless.socket for cooperative sockets.
"""

import sys as _sys
from os.path import join as _join

from . import _stackless
from ._inert import cframe, cstack
from ._stackless import (
    _C_API, READ, WRITE, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore, TaskletExit, __version__, atomic,
    bomb, channel, enable_softswitch, get_channel_callback, get_schedule_callback, get_thread_info, getcurrent,
    getcurrentid, getdebug, getmain, getruncount, getthreads, getuncollectables, pickle_flags, pickle_flags_default,
    pinned, run, schedule, schedule_remove, select, set_channel_callback, set_error_handler, set_schedule_callback,
    sleep, stats, switch_trap, tasklet, timeout, wait)
from ._testing import (
    tasklet_get_unpicklable_state as _tasklet_get_unpicklable_state, test_cframe_nr,
    test_nostacklesscall as _test_nostacklesscall, test_outside)

stackless = _sys.modules[__name__]

# Without what is named as in threading and queue: a star import must not put other classes in their place.
__all__ = [
    "READ", "WRITE", "TaskletExit", "atomic", "bomb", "channel", "enable_softswitch", "get_channel_callback",
    "get_schedule_callback", "get_thread_info", "getcurrent", "getcurrentid", "getdebug", "getmain", "getruncount",
    "getthreads", "getuncollectables", "pickle_with_tracing_state", "pinned", "run", "schedule", "schedule_remove",
    "select", "set_channel_callback", "set_error_handler", "set_schedule_callback", "sleep", "stats", "stackless",
    "switch_trap", "tasklet", "timeout", "wait"]

PICKLEFLAGS_PRESERVE_TRACING_STATE = 1
PICKLEFLAGS_PRESERVE_AG_FINALIZER = 2  # accepted; generators are not pickled
PICKLEFLAGS_RESET_AG_FINALIZER = 4
PICKLEFLAGS_PICKLE_CONTEXT = 8

_COMPUTED = {
    "current": getcurrent, "main": getmain, "runcount": getruncount, "threads": getthreads,
    "debug": getdebug, "uncollectables": getuncollectables,
    "pickle_with_tracing_state": lambda: bool(pickle_flags() & PICKLEFLAGS_PRESERVE_TRACING_STATE)}


# Imported when first asked for: import stackless should cost what it did.
_LAZY = {
    "Queue": "_queue", "LifoQueue": "_queue", "PriorityQueue": "_queue", "ShutDown": "_queue",
    "Task": "_group", "TaskletGroup": "_group",
    "TaskletExecutor": "_executor"}


def get_include():
    """get_include() -> str

    The directory of the header <stackless/python.h>, for extension modules that use
    tasklets and channels from C.
    """
    return _join(__path__[0], "include")


def __getattr__(name):
    # A module subclass with properties would do the same and cost every
    # stackless.schedule() the interpreter's fast path for module attributes.
    if name in _COMPUTED:
        return _COMPUTED[name]()
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    thing = globals()[name] = getattr(import_module("." + _LAZY[name], __name__), name)
    return thing


def __dir__():
    return sorted({*globals(), *_COMPUTED, *_LAZY})


# copy and pickle give the module itself; they look for these in the instance.
__module__ = "stackless"


def __reduce__():
    return "stackless"


def __reduce_ex__(protocol):
    return "stackless"
