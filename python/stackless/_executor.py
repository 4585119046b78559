# SPDX-License-Identifier: MIT
"""TaskletExecutor: concurrent.futures on tasklets.

The futures are the standard library's with locks that park tasklets. Their inner
attributes (_condition, _waiters) have been the same in all versions from 3.11 to 3.15;
tests/python/test_executor.py would notice a change.
"""

import contextvars
from collections import deque
from concurrent import futures as _futures

from ._stackless import Condition, Event, Semaphore, TaskletExit, _watch, getmain, tasklet

_CANCELLED = object()  # the result of a call that was cancelled before it began


class Call(tasklet):
    """A tasklet that calls told(result, exception, late) when it has ended, whatever ends it.

    told is called again, with late, if an exception from outside has cut it short.
    """

    def __init__(self, told, func, args, kwargs, context):
        tasklet.__init__(self, func, args, kwargs)
        self.set_context(context)
        self._told = told
        _watch(self)

    def _end(self, result, exception, late):
        self._told(result, exception, late)
        self._told = None


class _Waiters(list):
    """A future's waiters: those of wait() and as_completed() get an event that parks tasklets."""

    def append(self, waiter):
        if not isinstance(waiter.event, Event):
            waiter.event = Event()
        list.append(self, waiter)


class Future(_futures.Future):
    """A concurrent.futures.Future whose waiting calls park the calling tasklet, of any thread."""

    def __init__(self):
        super().__init__()
        self._condition = Condition()
        self._waiters = _Waiters()

    def _settle(self, result, exception, late):
        if self.done():  # set, and then an exception came: wake who may not have been woken
            with self._condition:
                for waiter in self._waiters:
                    waiter.event.set()
                self._condition.notify_all()
        elif exception is None and late is None:
            self.set_result(result)
        else:
            self.set_exception(late if exception is None else exception)


class TaskletExecutor(_futures.Executor):
    """Runs each call in a tasklet of its own, max_workers at most at a time (None: any number).

    As ThreadPoolExecutor, with tasklets: submit(), map(), shutdown(), also as a context
    manager. The tasklets belong to the thread that makes the executor: they run when that
    lets them, as when it waits for one of the futures. submit() may be called in any thread;
    RuntimeError if the executor's has ended. A call sees the context variables of submit().

    A call that is killed makes its future raise concurrent.futures.CancelledError. At the end
    of the program calls that have not ended are killed, not waited for: use the context
    manager or shutdown(). There is no initializer: no worker outlives its call.
    """

    def __init__(self, max_workers=None):
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        self._places = None if max_workers is None else Semaphore(max_workers)
        self._main = getmain()
        self._pending = deque()
        self._unfinished = set()  # futures
        self._idle = Event()      # may be set while there is none
        self._shut = False
        self._door = tasklet(self._open_door, ())

    def submit(self, fn, /, *args, **kwargs):
        """A Future for fn(*args, **kwargs). Never switches; RuntimeError after shutdown()."""
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        self._unfinished.add(future)
        self._pending.append((future, fn, args, kwargs, contextvars.copy_context()))
        if getmain() is self._main:
            self._start()
        else:
            self._knock()
        return future

    # Another thread cannot make tasklets here, but can insert one that has been made. This
    # first puts the next one in its place and then looks for work; who brings work first puts
    # it down and then looks for the door.

    def _knock(self):
        while True:
            door = self._door
            try:
                door.insert()
                return
            except RuntimeError as error:
                if door is self._door:
                    raise RuntimeError("the thread of this TaskletExecutor has ended") from error

    def _open_door(self):
        self._door = tasklet(self._open_door, ())
        self._start()

    def _start(self):
        while self._pending:
            if self._places is not None and not self._places.acquire(False):
                return
            try:
                future, fn, args, kwargs, context = self._pending.popleft()
            except IndexError:  # another one took it
                if self._places is not None:
                    self._places.release()
                continue

            def told(result, exception, late, future=future):
                self._ended(future, result, exception, late)

            call = Call(told, _call, (future, fn, args, kwargs), None, context)
            call.name = getattr(fn, "__qualname__", None) or type(fn).__name__
            call.insert()

    def _ended(self, future, result, exception, late):
        if isinstance(exception, TaskletExit):
            exception = _futures.CancelledError("the tasklet of this call was killed")
            if future.cancelled():
                result, exception = _CANCELLED, None
        if result is not _CANCELLED:
            future._settle(result, exception, late)
        if future in self._unfinished:
            self._unfinished.discard(future)
            if self._places is not None:
                self._places.release()
        self._start()
        if not self._unfinished:
            self._idle.set()

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Accept no more calls; wait (park) until all have ended. cancel_futures: cancel those that have not begun."""
        self._shut = True
        while cancel_futures and self._pending:
            try:
                future = self._pending.popleft()[0]
            except IndexError:
                break
            self._unfinished.discard(future)
            future.cancel()
        if cancel_futures:
            for future in list(self._unfinished):  # in a tasklet already, but not begun
                future.cancel()
        while wait and self._unfinished:
            self._idle.clear()
            if self._unfinished:
                self._idle.wait()


def _call(future, fn, args, kwargs):
    if not future.set_running_or_notify_cancel():
        return _CANCELLED
    return fn(*args, **kwargs)
