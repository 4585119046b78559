# SPDX-License-Identifier: MIT
"""TaskletGroup and the Tasks that it makes: tasklets that end before the block that started them does.

Not for what these stand on: waiting is Event's (gate.c), interrupting a tasklet is the
extension's (waits.c).

A group's state is changed by its tasklets and by who spawns and waits. Of two lines of it
another thread's may come in between (a stray runs beside the others), so each step leaves
it right: a task is in _tasks from before it can run until after all that it has to report
is there, and _idle is set after that. Who waits clears _idle first and then looks.
"""

from types import GenericAlias

from ._stackless import Event, TaskletExit, _Block, _defuse, _interrupt, _watch, getcurrent, getmain, tasklet

ATTEMPTS = 10  # how often a group tries to wait for tasklets that do not end, as often as a finalizer tries to kill

_NEW, _OPEN, _CLOSING, _CLOSED = range(4)


class Task(tasklet):
    """A tasklet with an outcome, made by TaskletGroup.spawn().

    It belongs to its group: do not bind() it anew, and do not remove() it from the ring for good.
    """

    _outcome = None  # (result, exception) when it has ended

    def __init__(self, group, func, args, kwargs):
        tasklet.__init__(self, func, args, kwargs)
        self.name = getattr(func, "__qualname__", None) or type(func).__name__  # also when it has ended
        self._group = group
        self._ended = Event()
        self._callbacks = []
        _watch(self)

    def done(self):
        """Has it ended?"""
        return self._outcome is not None

    def cancelled(self):
        """Has it ended by TaskletExit?"""
        return self._outcome is not None and isinstance(self._outcome[1], TaskletExit)

    def wait(self, timeout=None):
        """Park the calling tasklet until it has ended, timeout seconds at most. Has it?"""
        return self._ended.wait(timeout)

    def exception(self, timeout=None):
        """What it raised, or None; waits for it as result() does."""
        if not self.wait(timeout):
            raise TimeoutError(f"the tasklet {self.name!r} has not ended within {timeout} seconds")
        exception = self._outcome[1]
        if isinstance(exception, TaskletExit):
            from concurrent.futures import CancelledError

            raise CancelledError(f"the tasklet {self.name!r} was killed") from None
        return exception

    def result(self, timeout=None):
        """What its function returned; raises what it raised.

        Parks the calling tasklet until it has ended. TimeoutError after timeout seconds,
        concurrent.futures.CancelledError if it was killed.
        """
        exception = self.exception(timeout)
        if exception is not None:
            try:
                raise exception
            finally:
                del exception, self  # the traceback refers to this frame
        return self._outcome[0]

    def add_done_callback(self, function, /):
        """Call function(task) when it has ended, in that tasklet, or at once if it has.

        It must not wait. What it raises is reported by sys.unraisablehook.
        """
        self._callbacks.append(function)
        if self._outcome is not None:
            self._call_back()

    def _call_back(self):
        while self._callbacks:
            try:
                function = self._callbacks.pop(0)
            except IndexError:  # another thread has called it
                return
            try:
                function(self)
            except BaseException as error:
                _report(error, function)

    def _end(self, result, exception, late):
        """Called by the extension at the end; again if an exception (late) spoiled it."""
        if self._outcome is None:
            if isinstance(exception, BaseExceptionGroup) and exception.split(TaskletExit)[1] is None:
                exception = TaskletExit()  # of an inner group, and nothing else
            self._outcome = result, exception
        self._ended.set()
        self._call_back()
        group = self._group
        if group is not None:
            if late is not None:
                group._add(late)
                group._abort()
            group._ended(self, self._outcome[1])
            self._group = None

    __class_getitem__ = classmethod(GenericAlias)


def _report(error, source):
    import sys
    from types import SimpleNamespace

    sys.unraisablehook(SimpleNamespace(
        exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__,
        err_msg="Exception ignored in a callback of a Task", object=source))


class _Abort(BaseException):
    """Interrupts the body of a group in which a tasklet has failed."""


def without(exception, mark):
    """The exception without mark, if it is a group that contains it; None if nothing is left."""
    if exception is mark:
        return None
    if not isinstance(exception, BaseExceptionGroup):
        return exception
    return exception.split(lambda one: one is mark)[1]


def replaced(group, mark, error):
    """The group with error in the place of mark, or None if that is not in it."""
    found, rest = group.split(lambda one: one is mark)
    if found is None:
        return None
    others = [] if rest is None else list(rest.exceptions)
    return BaseExceptionGroup(group.message, [error, *others]).with_traceback(group.__traceback__)


class TaskletGroup(_Block):
    """A block whose tasklets end before it does.

        with stackless.TaskletGroup() as group:
            one = group.spawn(fetch, "a")
            two = group.spawn(fetch, "b")
        print(one.result(), two.result())

    The end of the block parks its tasklet until all have ended. When one of them, or the
    block, raises, the others are killed (once each; TaskletExit) and the block is
    interrupted where it waits or at its next scheduling point; when all have ended, all
    that was raised, also during that, comes as one ExceptionGroup (a BaseExceptionGroup if
    one of them is no Exception).

    A tasklet that ends by TaskletExit (kill) is no failure. When the tasklet of the block
    is itself killed, or a timeout() around it is over, the others are killed and that goes
    on when they have ended: by itself, or within the group beside their errors. After
    KeyboardInterrupt or SystemExit, in any of them, that is raised by itself, the other
    exceptions as its cause.

    A tasklet that does not end in spite of TaskletExit is waited for; it is killed again
    each time the waiting one is disturbed. After ten disturbances (kills, or deadlocks) the
    group gives up and RuntimeError is among the exceptions, naming who lives on.
    """

    def __init__(self):
        self._state = _NEW
        self._aborting = False
        self._tasks = set()
        self._errors = []      # to be raised, in the order in which they came
        self._interrupts = []  # what asks the tasklet of the block to end
        self._fatal = None     # the first KeyboardInterrupt or SystemExit
        self._idle = Event()   # may be set while there is no task
        self._mark = _Abort()
        self._parent = self._main = self._verdict = None

    def __repr__(self):
        state = ("new", "open", "closing", "closed")[self._state]
        return f"<TaskletGroup {state}{', aborting' * self._aborting}, {len(self._tasks)} tasklets>"

    @property
    def tasks(self):
        """The tasklets that have not ended."""
        return frozenset(self._tasks)

    def spawn(self, func, /, *args, **kwargs):
        """A Task that will call func(*args, **kwargs). It does not run yet.

        RuntimeError outside of the block, after a failure or cancel(), or in another thread
        than the block's: each thread runs its own tasklets.
        """
        if self._state == _NEW:
            raise RuntimeError("this TaskletGroup has not been entered: use it in a with statement")
        if self._state == _CLOSED:
            raise RuntimeError("this TaskletGroup has ended: nothing can be spawned in it any more")
        if self._aborting:
            raise RuntimeError("this TaskletGroup is shutting down: one of its tasklets has failed, or it was cancelled")
        if getmain() is not self._main:
            raise RuntimeError("spawn() was called in another thread than the block of this TaskletGroup")
        if not callable(func):
            raise TypeError(f"spawn() needs a callable, got {func!r}")
        task = Task(self, func, args, kwargs)
        try:
            self._tasks.add(task)
            return task.insert()
        except BaseException:  # thrown at it from outside
            if task.paused:
                self._tasks.discard(task)
            raise

    def cancel(self):
        """Kill all its tasklets; that is no failure. The block goes on, but can spawn nothing more."""
        self._aborting = True
        self._kill()

    def wait(self, timeout=None):
        """Park the calling tasklet until no tasklet of the group is left, timeout seconds at most. Is none?"""
        deadline = None
        while self._tasks:
            if timeout is not None:
                from time import monotonic

                if deadline is None:
                    deadline = monotonic() + timeout
                elif deadline <= monotonic():
                    return False
                timeout = max(0, deadline - monotonic())
            self._idle.clear()
            if self._tasks:
                self._idle.wait(timeout)
                if timeout == 0:
                    return not self._tasks
        return True

    def _kill(self):
        current = getcurrent()
        for task in list(self._tasks):
            if task.done():
                pass  # it is just reporting that
            elif task is current:
                _interrupt(task, TaskletExit())  # at its next scheduling point
            else:
                task.kill(pending=True)

    def _abort(self):
        """After a failure: the tasklets, and the block if that still runs."""
        if self._aborting:
            return
        self._aborting = True
        self._kill()
        if self._state == _OPEN and self._parent is not getcurrent():
            _interrupt(self._parent, self._mark)

    def _ended(self, task, exception):
        if exception is not None and not isinstance(exception, TaskletExit):
            self._add(exception)
            self._abort()
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    def _add(self, exception):
        exception = without(exception, self._mark)
        if exception is None or any(exception is one for one in (self._fatal, *self._errors)):
            return
        if isinstance(exception, (Exception, BaseExceptionGroup)):
            self._errors.append(exception)
        elif isinstance(exception, (KeyboardInterrupt, SystemExit)) and not isinstance(exception, TaskletExit):
            if self._fatal is None:
                self._fatal = exception
            else:
                self._errors.append(exception)
        elif not any(exception is one or isinstance(exception, TaskletExit) and isinstance(one, TaskletExit)
                     for one in self._interrupts):  # to be killed twice is to be killed
            self._interrupts.append(exception)

    def __enter__(self):
        if self._state != _NEW:
            raise RuntimeError("a TaskletGroup can be entered once only; make another one")
        self._parent = getcurrent()
        self._main = getmain()
        self._state = _OPEN
        return self

    def _exit(self, exception, late):
        """Called by __exit__ (group.c); again if an exception (late) spoiled it. Returns what that is to raise or return."""
        if self._state != _CLOSED:
            self._state = _CLOSING
            _defuse(self._mark)
            for one in (exception, late):
                if one is not None:
                    self._add(one)
                    self._abort()
            self._wait_for_all()
            _defuse(self._mark)
            self._verdict = self._judge(exception)
            self._state = _CLOSED
        elif late is not None:
            if isinstance(self._verdict, BaseException):
                late.__context__ = self._verdict
            self._verdict = late
        self._parent = self._main = self._fatal = None
        self._errors = self._interrupts = ()  # their tracebacks may refer to this group; so may _verdict, see group.c
        return self._verdict

    def _wait_for_all(self):
        for _ in range(ATTEMPTS):
            try:
                self.wait()
                return
            except (TaskletExit, BaseException) as error:  # named, as it is not swallowed: the block raises it again
                self._add(error)
                if self._aborting:
                    self._kill()  # again
                else:
                    self._abort()
        if self._tasks:
            names = ", ".join(sorted(repr(task.name) for task in self._tasks))
            self._errors.append(RuntimeError(f"gave up waiting for tasklets that do not end: {names}"))

    def _judge(self, exception):
        """An exception to be raised at the end of the block, or whether the block's own is dealt with."""
        interrupt = self._fatal
        if interrupt is None:
            exits = [one for one in self._interrupts if isinstance(one, TaskletExit)]
            interrupt = (exits or self._interrupts or [None])[0]
        if self._fatal is not None:
            rest = self._interrupts + self._errors
            if rest:
                self._fatal.__cause__ = BaseExceptionGroup("raised beside it in a TaskletGroup", rest)
        elif self._errors:
            group = BaseExceptionGroup("raised in a TaskletGroup", self._interrupts + self._errors)
            group.__suppress_context__ = True
            return group
        if interrupt is None:
            return exception is not None and without(exception, self._mark) is None
        return False if interrupt is exception else interrupt
