# SPDX-License-Identifier: MIT
"""asyncio and tasklets side by side: coroutines wait for tasklets, and tasklets for coroutines.

run() runs an event loop in the calling tasklet and lets the others go on. In a coroutine,
await to_tasklet(function) for what a tasklet does; in a tasklet, call(coroutine, loop) for what
a coroutine does.
"""

# Not here: an event loop of our own. EventLoop is asyncio's; only what it waits in parks its
# tasklet instead of blocking the thread. So nothing has to notice a blocked thread, and it works
# with one thread too. Its tasklet may go on in another thread than it began in, which asyncio
# does not mind: what it keeps per thread is per tasklet here.

import asyncio
import contextvars
import inspect
import selectors
import threading
from concurrent.futures import CancelledError as _CallCancelled
from contextlib import nullcontext

from ._executor import Call
from ._stackless import READ, Event, TaskletExit, getcurrent, pinned, schedule, stats, wait

__all__ = ["EventLoop", "call", "run", "to_tasklet"]

ATTEMPTS = 10  # how often call() waits for a coroutine that does not end, as often as a group for a tasklet

# In a tasklet that to_tasklet() has started, and in those that it starts: where it came from.
_origin = contextvars.ContextVar("stackless.aio origin")


class _Selector(selectors.EpollSelector):
    def select(self, timeout=None):
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            schedule()  # a loop that is never idle must not keep the other tasklets from running
            return ready
        wait(self, READ, timeout)  # an epoll can itself be waited for
        return super().select(0)


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, parking its tasklet while it has nothing to do.

    For loop_factory= of asyncio.run() and asyncio.Runner(); in a tasklet other than main run()
    is better. As with threads, only call_soon_threadsafe() may be called from other tasklets.
    """

    def __init__(self):
        super().__init__(_Selector())
        self._tasklet = None   # the one that runs it
        self._stays = True     # on the initial thread, if it is run there
        self._calls = set()    # of call(), that have not ended

    def run_forever(self):
        """Run until stop() is called; other tasklets go on."""
        if self.is_running():
            super().run_forever()  # raises
        # asyncio.Runner sets a handler for SIGINT in the initial thread only, and must take it back there.
        stay = self._stays and threading.get_ident() == threading.main_thread().ident
        self._tasklet = getcurrent()
        try:
            with pinned() if stay else nullcontext():
                super().run_forever()
        finally:
            self._tasklet = None

    def _check_thread(self):
        # Of asyncio, for its debug mode: there a thread is what a tasklet is here.
        if self._tasklet is not None and getcurrent() is not self._tasklet:
            raise RuntimeError("another tasklet than the one that runs this event loop may only use call_soon_threadsafe()")

    def close(self):
        """Close the loop. What waits for it in call() raises RuntimeError."""
        super().close()
        while self._calls:
            try:
                call = self._calls.pop()
            except KeyError:  # it has ended just now
                break
            call.abandon()


def _running_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def run(main, *, debug=None):
    """Run a coroutine in a new EventLoop and return its result; other tasklets go on.

    As asyncio.run(), in any tasklet of any thread, which may run a loop each. KeyboardInterrupt
    cancels the coroutine if the main tasklet runs it. When the calling tasklet is killed, all
    tasks are cancelled before it ends.
    """
    if not inspect.iscoroutine(main):
        raise TypeError(f"run() needs a coroutine, got {main!r}")
    if _running_loop() is not None:
        main.close()
        raise RuntimeError("run() was called by a coroutine: await it instead")
    with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
        if getcurrent().is_main:
            return runner.run(main)
        loop = runner.get_loop()
        loop._stays = False  # nothing has been done about SIGINT
        return loop.run_until_complete(loop.create_task(main))


# ---- a coroutine waits for a tasklet ----


async def to_tasklet(func, /, *args, **kwargs):
    """Call func(*args, **kwargs) in a new tasklet, and return or raise what that does.

    It may wait in channels, locks and the like, which a coroutine must not. It runs in the
    thread of the loop, with a copy of the context variables.

    When this is cancelled, the tasklet is killed (TaskletExit), and CancelledError raised when it
    has ended; whatever else it raises then comes instead. If somebody else kills it: CancelledError.
    RuntimeError if the running loop would block the only thread that runs tasklets: see EventLoop.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, EventLoop) and stats()["threads_limit"] == 1:
        raise RuntimeError(f"{loop!r} blocks its thread, so that no tasklet could run: use stackless.aio.run()")
    outcome = []
    news = loop.create_future()

    def ended(result, exception):
        outcome[:] = result, exception
        if not news.done():
            news.set_result(None)

    def told(result, exception, late):
        try:
            loop.call_soon_threadsafe(ended, result, late if exception is None else exception)
        except RuntimeError:  # it has been closed: nobody waits any more
            if not loop.is_closed():
                raise

    context = contextvars.copy_context()
    context.run(_origin.set, loop)
    tasklet = Call(told, func, args, kwargs, context)
    tasklet.name = getattr(func, "__qualname__", None) or type(func).__name__
    tasklet.insert()
    cancelled = None
    while not outcome:
        try:
            await news
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
            news = loop.create_future()
            tasklet.kill(pending=True)
        except BaseException:  # thrown away: this is the end of the coroutine
            tasklet.kill(pending=True)
            raise
    return _conclude(*outcome, cancelled)


def _conclude(result, exception, cancelled):
    killed = isinstance(exception, TaskletExit)
    try:
        if exception is not None and not killed:
            raise exception
        if cancelled is not None:
            raise cancelled
        if killed:
            raise asyncio.CancelledError("the tasklet was killed")
        return result
    finally:
        del exception, cancelled  # their tracebacks refer to this frame


# ---- a tasklet waits for a coroutine ----


def call(awaitable, loop=None, *, timeout=None):
    """Have a loop that another tasklet or thread runs await this; return or raise what it does.

    Parks the calling tasklet. loop: by default the one whose to_tasklet() started it.

    After timeout seconds, or when something is thrown at the calling tasklet (a kill, a
    stackless.timeout()), the coroutine is cancelled, and the exception, else TimeoutError, raised
    when it has ended; if it raises another one then, that comes instead. If it is cancelled by
    others: concurrent.futures.CancelledError. RuntimeError if the loop is closed, or if a
    coroutine calls this: it can await.
    """
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"call() needs a coroutine or another awaitable, got {awaitable!r}")
    one = _Call(awaitable)
    try:
        if _running_loop() is not None:
            raise RuntimeError("call() was called by a coroutine: await it instead")
        if loop is None:
            loop = _origin.get(None)
        if loop is None:
            raise RuntimeError("call() needs a loop: this tasklet was not started by to_tasklet()")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must not be negative, got {timeout!r}")
        one.hand_over(loop)
        return one.wait(timeout)
    except BaseException:
        one.drop()
        raise


class _Call:
    """What call() waits for. begin, cancel and end run in the loop, one after the other."""

    def __init__(self, awaitable):
        self.todo = [awaitable]  # empty when it has begun or has been dropped
        self.ended = Event()
        self.loop = self.task = self.result = self.exception = None

    def hand_over(self, loop):
        self.loop = loop
        if isinstance(loop, EventLoop):
            loop._calls.add(self)
        loop.call_soon_threadsafe(self.begin)

    def begin(self):
        try:
            awaitable = self.todo.pop()
        except IndexError:
            return
        try:
            self.task = asyncio.ensure_future(awaitable, loop=self.loop)
            self.task.add_done_callback(self.end)
        except Exception as error:  # as for a future of another loop
            self.settle(None, error)

    def cancel(self):
        if self.task is not None:
            self.task.cancel()

    def end(self, task):
        if task.cancelled() or isinstance(task.exception(), TaskletExit):
            self.settle(None, _CallCancelled("the coroutine was cancelled"))
        elif task.exception() is not None:
            self.settle(None, task.exception())
        else:
            self.settle(task.result(), None)

    def settle(self, result, exception):
        if not self.ended.is_set():
            self.result, self.exception = result, exception
            self.ended.set()
        if isinstance(self.loop, EventLoop):
            self.loop._calls.discard(self)

    def drop(self):
        """If it has not begun, it will not."""
        try:
            awaitable = self.todo.pop()
        except IndexError:
            return
        if inspect.iscoroutine(awaitable):
            awaitable.close()  # or Python would warn that nobody has awaited it
        if isinstance(self.loop, EventLoop):
            self.loop._calls.discard(self)

    def abandon(self):
        self.drop()
        self.settle(None, RuntimeError("the event loop was closed before the coroutine had ended"))

    def wait(self, timeout):
        thrown, expired = None, False
        for _ in range(ATTEMPTS):
            try:
                if self.ended.wait(timeout):
                    break
                expired = True
            except (TaskletExit, BaseException) as error:  # named, as it is not swallowed: it is raised below
                thrown = thrown or error
            try:
                self.loop.call_soon_threadsafe(self.cancel)
            except RuntimeError:  # closed, so nothing will end it
                break
            if not self.loop.is_running():
                break
            timeout = None
        if expired and thrown is None and (not self.ended.is_set() or isinstance(self.exception, _CallCancelled)):
            thrown = TimeoutError("the coroutine did not end in time")
        return self.conclude(thrown)

    def conclude(self, thrown):
        exception = self.exception
        if exception is None or thrown is not None and isinstance(exception, _CallCancelled):
            exception = thrown
        try:
            if exception is not None:
                raise exception
            return self.result
        finally:
            del exception, thrown, self  # their tracebacks refer to this frame
