# SPDX-License-Identifier: MIT
"""getcurrentid, getthreads, get_thread_info, getuncollectables, getdebug, enable_softswitch and the test helpers."""

import sys
import threading

import pytest
import stackless

from support import PATIENCE, noop, run_script, wait_for


class Other:
    """A plain thread that runs prepare() and then waits outside of stackless until finish()."""

    def __init__(self, prepare=noop):
        self.go = threading.Event()
        self.ready = threading.Event()
        self.made = None
        self.error = None
        self.thread = threading.Thread(target=self.body, args=(prepare,), daemon=True)
        with stackless.atomic():
            self.thread.start()
            assert self.ready.wait(PATIENCE)
        self.ident = self.thread.ident

    def body(self, prepare):
        try:
            self.made = prepare()
            self.ready.set()
            self.go.wait()
        except BaseException as error:
            self.error = error
        finally:
            self.ready.set()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.go.set()
        with stackless.atomic():
            self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


# getcurrentid


def test_getcurrentid_of_main_is_the_thread_id():
    assert stackless.getcurrentid() == threading.get_ident()
    with Other(lambda: (stackless.getcurrentid(), threading.get_ident(), stackless.getmain().thread_id)) as other:
        assert other.made == (other.ident,) * 3


def test_getcurrentid_of_tasklets():
    seen = []

    def body():
        seen.append(stackless.getcurrentid())
        stackless.schedule()
        assert stackless.getcurrentid() == seen[-2] or stackless.getcurrentid() == seen[-1]

    a, b = stackless.tasklet(body)(), stackless.tasklet(body)()
    stackless.run()
    assert len({*seen, threading.main_thread().ident}) == 3
    assert all(type(number) is int for number in seen)
    assert a is not b


def test_getcurrentid_does_not_make_a_scheduler():
    done = run_script(
        """
        import threading, stackless
        box = []
        thread = threading.Thread(target=lambda: box.append((stackless.getcurrentid(), threading.get_ident())))
        before = stackless.stats()["created"]
        thread.start()
        thread.join()
        print(box[0][0] == box[0][1])
        """)
    assert done.lines == ["True"]


# getthreads


def test_getthreads_starts_with_the_initial_thread():
    threads = stackless.getthreads()
    assert threads[0] == threading.main_thread().ident
    assert stackless.threads == threads
    assert type(threads) is list and stackless.getthreads() is not threads


def test_getthreads_equals_the_interpreters_frames(mode):
    done = run_script(
        """
        import sys, threading, stackless
        go = threading.Event()
        started = []
        for _ in range(4):
            started.append(threading.Thread(target=lambda: (stackless.getcurrent() if _ % 2 else None, go.wait())))
            started[-1].start()
        assert set(stackless.getthreads()) == set(sys._current_frames())
        assert stackless.getthreads() == [threading.main_thread().ident] + [t.ident for t in started]
        go.set()
        for t in started:
            t.join()
        assert stackless.threads == [threading.main_thread().ident] == list(sys._current_frames())
        print("fine")
        """, env=mode)
    assert done.lines == ["fine"]


def test_getthreads_asked_from_another_thread():
    with Other(stackless.getthreads) as other:
        assert other.made[0] == threading.main_thread().ident
        assert other.made[-1] == other.ident


def test_getthreads_leaves_the_pool_out(many_threads):
    done = run_script(
        """
        import stackless, threading, time
        seen = set()
        def body():
            seen.add(threading.get_ident())
            time.sleep(0.05)
            seen.add(threading.get_ident())
            stackless.schedule_remove()
        keep = [stackless.tasklet(body)() for _ in range(4)]
        stackless.run()
        assert seen - {threading.main_thread().ident}, "no other thread has run a tasklet"
        assert stackless.getthreads() == [threading.main_thread().ident]
        for ident in seen:
            main, current, count = stackless.get_thread_info(ident)
            assert main is stackless.getmain() and current is main and count == 1
        """)
    assert done.lines == []


# get_thread_info


def test_own_thread_info():
    main = stackless.getmain()
    for args in ((), (-1,), (threading.main_thread().ident,), (-1, 0)):
        assert stackless.get_thread_info(*args) == (main, main, 1)
    seen = []
    t = stackless.tasklet(lambda: seen.append(stackless.get_thread_info()))()
    assert stackless.get_thread_info() == (main, main, 2)
    stackless.run()
    assert seen == [(main, t, 1)]


def test_info_of_another_thread():
    def prepare():
        stackless.tasklet(noop)()
        return stackless.getmain()

    with Other(prepare) as other:
        assert stackless.get_thread_info(other.ident) == (other.made, other.made, 2)


def test_info_of_a_thread_that_has_not_used_the_module():
    """It is given a scheduler, which it then finds to be its own."""
    found = []
    go = threading.Event()
    with Other() as other:
        main, current, count = stackless.get_thread_info(other.ident)
        assert main is current and count == 1
        assert main.is_main and main.alive and main.thread_id == other.ident
        assert stackless.get_thread_info(other.ident)[0] is main
    assert main.thread_id == -1 and not main.alive

    def body():
        ready.set()
        go.wait()
        found.append((stackless.getmain(), stackless.getcurrent()))
        stackless.tasklet(found.append)("ran")
        stackless.run()

    ready = threading.Event()
    thread = threading.Thread(target=body)
    with stackless.atomic():
        thread.start()
        ready.wait(PATIENCE)
    main = stackless.get_thread_info(thread.ident)[0]
    go.set()
    thread.join()
    assert found == [(main, main), "ran"]


def test_info_of_a_parked_thread():
    channel = stackless.channel()
    thread = threading.Thread(target=channel.receive)
    with stackless.atomic():
        thread.start()
    wait_for(lambda: channel.balance == -1, "the thread to block")
    main, current, count = stackless.get_thread_info(thread.ident)
    assert main is channel.queue and current is None and count == 0
    channel.send(None)
    thread.join()


@pytest.mark.parametrize(
    "bad, error, text",
    [(12345, RuntimeError, "Thread id not found"), (-2, OverflowError, None), ("1", TypeError, "integer"),
     (None, TypeError, None), (1.5, TypeError, None), (2**80, OverflowError, None), (0, RuntimeError, "Thread id not found")])
def test_bad_thread_ids(bad, error, text):
    with pytest.raises(error, match=text):
        stackless.get_thread_info(bad)


def test_thread_info_takes_two_arguments():
    with pytest.raises(TypeError, match="at most 2 argument"):
        stackless.get_thread_info(-1, 0, 0)
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        stackless.get_thread_info(thread_id=-1)


def test_info_of_a_thread_that_has_ended():
    with Other(stackless.getcurrent) as other:
        assert stackless.get_thread_info(other.ident)[0] is other.made
    if other.ident not in sys._current_frames():
        with pytest.raises(RuntimeError, match="Thread id not found"):
            stackless.get_thread_info(other.ident)


def test_flags_append_more():
    stackless.tasklet(noop)()
    stackless.run()
    main = stackless.getmain()
    assert stackless.get_thread_info(-1, 1 << 31) == (main, main, 1, [None])
    assert stackless.get_thread_info(-1, 1 << 30)[3] == (0, 0, None)
    assert len(stackless.get_thread_info(-1, 3 << 30)) == 5
    seen = []
    t = stackless.tasklet(lambda: (stackless.tasklet(noop)(), seen.append(stackless.get_thread_info(-1, 1 << 31)[3])))()
    stackless.run()
    assert seen == [[None, main]]
    with Other(lambda: stackless.get_thread_info(-1, 1 << 31)) as other:
        assert other.made[3] is None


# cross-thread operations on who runs there at this moment


@pytest.mark.parametrize("operation", ["kill", "throw", "instance", "pending"])
def test_throw_at_a_tasklet_that_runs_in_another_thread(operation):
    log = []
    running = threading.Event()

    def body():
        try:
            running.set()
            while True:
                pass
        except BaseException as error:
            log.append((type(error).__name__, error.args))

    def thread_body():
        stackless.tasklet(body)()
        stackless.run()

    thread = threading.Thread(target=thread_body)
    with stackless.atomic():
        thread.start()
        running.wait(PATIENCE)
        t = stackless.get_thread_info(thread.ident)[1]
        if operation == "kill":
            assert t.kill() is None
        elif operation == "throw":
            assert t.throw(LookupError) is None
        elif operation == "instance":
            assert t.throw(LookupError("far", 1)) is None
        else:
            assert t.throw(LookupError, "far", pending=True) is None
        thread.join(PATIENCE)
    assert not thread.is_alive()
    expected = {"kill": ("TaskletExit", ()), "throw": ("LookupError", ()), "instance": ("LookupError", ("far", 1)),
                "pending": ("LookupError", ("far",))}
    assert log == [expected[operation]]


def test_kill_the_main_of_a_thread_that_has_not_used_the_module():
    log = []
    running = threading.Event()

    def body():
        try:
            running.set()
            while True:
                pass
        except TaskletExit:
            log.append("killed")

    thread = threading.Thread(target=body)
    with stackless.atomic():
        thread.start()
        running.wait(PATIENCE)
        stackless.get_thread_info(thread.ident)[0].kill()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert log == ["killed"]


# the rest


def test_getuncollectables_lists_suspended_tasklets():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    fresh = stackless.tasklet(noop, ())
    assert t not in stackless.getuncollectables()
    stackless.run()
    listed = stackless.getuncollectables()
    assert t in listed and fresh not in listed and stackless.getcurrent() not in listed
    assert t in stackless.uncollectables and type(listed) is list
    channel.send(None)
    assert t not in stackless.getuncollectables()


def test_getdebug():
    assert stackless.getdebug() is hasattr(sys, "gettotalrefcount")
    assert stackless.debug is stackless.getdebug()


@pytest.mark.parametrize("flag", [None, True, False, 1, "x"])
def test_softswitch_is_never_on(flag):
    assert stackless.enable_softswitch(flag) is False
    assert stackless.enable_softswitch(None) is False


def test_arguments_of_the_getters():
    for name in ("getcurrentid", "getthreads", "getdebug", "getuncollectables"):
        with pytest.raises(TypeError, match="takes no arguments"):
            getattr(stackless, name)(1)
    with pytest.raises(TypeError, match="takes exactly one argument"):
        stackless.enable_softswitch()


def test_cframe_nr_schedules_that_often(trace):
    def body():
        for _ in range(5):
            trace.append("other")
            stackless.schedule()

    stackless.tasklet(body)()
    stackless.test_cframe_nr(3)
    assert trace == ["other"] * 3
    stackless.test_cframe_nr(switches=10)
    assert trace == ["other"] * 5
    stackless._stackless._test_cframe_nr(1)


def test_outside_runs_what_is_runnable(trace):
    channel = stackless.channel()
    blocked = stackless.tasklet(channel.receive)()
    for name in "ab":
        trace.logger(name)
    stackless.test_outside()
    assert trace == ["a", "b"] and stackless.getruncount() == 1 and blocked.blocked
    stackless._stackless._test_outside()
    channel.send(None)


def test_nostacklesscall_raises_the_nesting_level():
    levels = []

    def look(*args, **kwargs):
        levels.append(stackless.getcurrent().nesting_level)
        return args, kwargs

    def body():
        look()
        assert stackless._test_nostacklesscall(look, 1, key=2) == ((1,), {"key": 2})
        assert stackless._stackless._test_nostacklesscall(look) == ((), {})

    stackless.tasklet(body)()
    stackless.run()
    assert levels == [levels[0], levels[0] + 1, levels[0] + 1]


def test_unpicklable_state():
    import contextvars

    context = contextvars.Context()
    t = stackless.tasklet(noop).set_context(context)
    assert stackless._tasklet_get_unpicklable_state(t) == {"context": context}
