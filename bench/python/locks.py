#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an uncontended lock or queue costs: nanoseconds for each pair of calls, the best of many short runs.

    PYTHONPATH=$(tools/dev-build python3.11) python3.11 bench/python/locks.py

The table in docs/structured.md. gevent is measured where it can be imported. Not for contended locks: what counts
there is the switch, which run.py measures.
"""

import queue
import sys
import threading
import timeit

import stackless

REPEATS, COUNT = 30, 20000

KINDS = {"stackless": stackless, "threading": threading}
QUEUES = {"stackless": stackless.Queue, "threading": queue.Queue}

try:
    import gevent.lock
    import gevent.queue
except ImportError:
    pass
else:
    class KINDS_GEVENT:
        Lock, RLock, Semaphore = gevent.lock.Semaphore, gevent.lock.RLock, gevent.lock.Semaphore

    KINDS["gevent"] = KINDS_GEVENT
    QUEUES["gevent"] = gevent.queue.Queue

ROWS = {
    "Lock acquire and release": ("Lock", "acquire(); release()", "acquire, release = x.acquire, x.release"),
    "with lock": ("Lock", "with x: pass", "pass"),
    "RLock acquire and release": ("RLock", "acquire(); release()", "acquire, release = x.acquire, x.release"),
    "Semaphore acquire and release": ("Semaphore", "acquire(); release()", "acquire, release = x.acquire, x.release"),
    "Queue put and get": ("Queue", "put(1); get()", "put, get = x.put, x.get"),
}


def best(statement, setup, thing):
    timer = timeit.Timer(statement, setup, globals={"x": thing})
    return min(timer.repeat(REPEATS, COUNT)) / COUNT * 1e9


def main():
    print(f"CPython {sys.version.split()[0]}")
    print("".join(f"{name:>12}" for name in KINDS))
    for row, (kind, statement, setup) in ROWS.items():
        made = [QUEUES[name]() if kind == "Queue" else getattr(KINDS[name], kind)() for name in KINDS]
        print("".join(f"{best(statement, setup, one):9.0f} ns" for one in made), " ", row)


if __name__ == "__main__":
    main()
