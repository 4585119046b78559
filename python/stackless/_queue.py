# SPDX-License-Identifier: MIT
"""Queue, LifoQueue and PriorityQueue of the package: where the items are kept.

Waiting, order of service and shutdown are the extension's (queue.c).
"""

import queue as _std
from collections import deque
from functools import partial
from heapq import heappop, heappush
from types import GenericAlias

from ._stackless import _Queue

Empty = _std.Empty
Full = _std.Full

try:
    ShutDown = _std.ShutDown
except AttributeError:  # before 3.13

    class ShutDown(Exception):
        """Raised by put() and get() of a queue that has been shut down."""

        __module__ = "stackless"


class Queue(_Queue):
    """A queue of items between tasklets, of one thread or of several, first in, first out.

    maxsize: put() parks the tasklet while that many items are there; 0 or less: no limit.
    Methods and errors (queue.Empty, queue.Full, ShutDown) are those of the standard
    library's class of 3.13; join() takes a timeout too. A subclass may define _init(maxsize),
    _qsize(), _put(item) and _get(), which must not lose an item when they raise.
    """

    _Empty = Empty
    _Full = Full
    _ShutDown = ShutDown

    def __init__(self, maxsize=0):
        self._init(maxsize)
        self._storage(maxsize, *self._direct())

    def _direct(self):
        """What stores and fetches without a Python call, unless a subclass has its own."""
        cls = type(self)
        if cls._put is not Queue._put or cls._get is not Queue._get or cls._init is not Queue._init:
            return None, None
        return self.queue.append, self.queue.popleft

    def qsize(self):
        """How many items there are; that may have changed when you look at it."""
        return self._qsize()

    def empty(self):
        """Is there no item? See qsize()."""
        return not self._qsize()

    def full(self):
        """Are there maxsize items? See qsize()."""
        return 0 < self.maxsize <= self._qsize()

    def _init(self, maxsize):
        self.queue = deque()

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        self.queue.append(item)

    def _get(self):
        return self.queue.popleft()

    __class_getitem__ = classmethod(GenericAlias)


class LifoQueue(Queue):
    """A Queue that gives out the latest item first."""

    def _init(self, maxsize):
        self.queue = []

    def _direct(self):
        cls = type(self)
        if cls._put is not LifoQueue._put or cls._get is not LifoQueue._get or cls._init is not LifoQueue._init:
            return None, None
        return self.queue.append, self.queue.pop

    def _put(self, item):
        self.queue.append(item)

    def _get(self):
        return self.queue.pop()


class PriorityQueue(Queue):
    """A Queue that gives out the smallest item first; items are often tuples (priority, data)."""

    def _init(self, maxsize):
        self.queue = []

    def _direct(self):
        cls = type(self)
        if cls._put is not PriorityQueue._put or cls._get is not PriorityQueue._get or cls._init is not PriorityQueue._init:
            return None, None
        return partial(self._push, heappush, self.queue), partial(self._pop, heappop, self.queue)

    def _put(self, item):
        self._push(heappush, self.queue, item)

    def _get(self):
        return self._pop(heappop, self.queue)
