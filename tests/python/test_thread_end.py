# SPDX-License-Identifier: MIT
"""The end of a thread and what it leaves behind; bind_thread.

Not for channels between threads and operations that reach across: test_threads.py.
"""

import gc
import threading
import weakref

import pytest
import stackless

from support import PATIENCE, noop, run_script


# A survivor's stack (and its part of a slab), thread state and what its frames hold are lost (9.8).
SURVIVES = pytest.mark.grows("leaves a survivor", stacks=1, mallocs=3.25, heap=1600, blocks=8, objects=4, rss=16)


def in_dead_thread(prepare):
    """What prepare() returned in a plain thread that has ended since."""
    box = []
    thread = threading.Thread(target=lambda: box.append(prepare()))
    with stackless.atomic():  # else the join hands the lane on
        thread.start()
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread hangs"
    return box[0]


def started(function, *args):
    """A tasklet that has run to its first switch."""
    t = stackless.tasklet(function)(*args)
    stackless.run()
    assert t.alive
    return t


class Victim:
    """The function of a tasklet that waits somehow and records what it sees when its thread ends."""

    def __init__(self, wait):
        self.wait = wait
        self.seen = None

    def __call__(self):
        self.first_main = stackless.main
        self.thread = threading.get_ident()
        try:
            self.wait()
        except TaskletExit as error:
            t = stackless.current
            self.seen = error.args, threading.get_ident() == self.thread, t.alive, t.thread_id == self.thread
            self.last_main = stackless.main
            self.main_state = stackless.main.is_main, stackless.main.alive, stackless.main.thread_id == self.thread
            raise


channel = stackless.channel()
WAITS = {
    "blocked": lambda: channel.receive(),
    "paused": stackless.schedule_remove,
    "scheduled": lambda: [stackless.schedule_remove(), stackless.schedule()],
    "asleep": lambda: stackless.sleep(PATIENCE),
    "selecting": lambda: stackless.select([channel]),
    "in run()": lambda: stackless.run(threadblock=True),
}


def start_victim(victim, how):
    t = stackless.tasklet(victim)()
    stackless.schedule()
    if how == "scheduled":
        t.insert()
        stackless.schedule()
        assert t.scheduled
    return t


@pytest.mark.parametrize("how", [name for name in WAITS if name != "in run()"])
def test_started_tasklets_are_killed_in_their_thread(how):
    victim = Victim(WAITS[how])
    t = in_dead_thread(lambda: start_victim(victim, how))
    assert victim.seen == ((), True, True, True)
    assert victim.main_state == (True, True, True)
    assert channel.balance == 0
    assert not t.alive and not t.paused and not t.scheduled and not t.blocked and not t.is_current
    assert t.thread_id == -1 and t.frame is None and t.recursion_depth == 0
    assert t.next is None and t.prev is None


def test_the_main_of_a_dying_thread_is_a_temporary_one():  # Appendix A 18
    victim = Victim(WAITS["blocked"])
    box = in_dead_thread(lambda: (start_victim(victim, "blocked"), stackless.main))
    assert victim.first_main is box[1]
    assert victim.last_main is not box[1]
    for main in (victim.first_main, victim.last_main):
        assert not main.alive and not main.is_main and not main.is_current and main.thread_id == -1


def test_nobody_else_runs_while_they_are_killed():
    log = []

    def prepare():
        victims = [start_victim(Victim(WAITS[how]), how) for how in ("scheduled", "blocked", "paused")]
        fresh = [stackless.tasklet(log.append)("fresh") for _ in range(3)]
        return victims, fresh

    victims, fresh = in_dead_thread(prepare)
    assert log == []
    assert not any(t.alive for t in victims + fresh)
    assert all(t.thread_id == -1 for t in victims + fresh)


@SURVIVES
def test_they_are_killed_once_and_may_switch_in_finally():
    log = []

    def cleans():
        try:
            channel.receive()
        finally:
            log.append("begin")
            stackless.schedule()
            log.append("end")

    def refuses():
        while True:
            try:
                channel.receive()
            except TaskletExit:
                log.append("refused")

    in_dead_thread(lambda: started(cleans))
    assert log == ["begin", "end"]
    log.clear()
    t = in_dead_thread(lambda: started(refuses))
    assert log == ["refused"]
    t.kill()


def test_a_trap_does_not_keep_them_alive():
    victim = Victim(WAITS["blocked"])
    in_dead_thread(lambda: (start_victim(victim, "blocked"), stackless.switch_trap(1)))
    assert victim.seen


def test_tasklets_started_by_dying_ones_end_too():
    log = []

    def dies():
        try:
            channel.receive()
        finally:
            stackless.tasklet(channel.receive)().run()
            stackless.tasklet(log.append)("runs, since main has a turn")

    in_dead_thread(lambda: started(dies))
    assert channel.balance == 0


def test_errors_of_dying_tasklets_are_reported():
    done = run_script(
        """
        import stackless, threading

        def dies():
            try:
                stackless.schedule_remove()
            finally:
                raise LookupError("on the way out")

        keep = []
        def body():
            keep.append(stackless.tasklet(dies)())
            stackless.run()

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        print(keep[0].alive)
        """, quiet=False)
    assert done.lines == ["False"]
    assert "LookupError: on the way out" in done.stderr


# who has refused to die


def refuser():
    while True:
        try:
            channel.receive()
        except TaskletExit:
            pass


@pytest.fixture
def survivor():
    t = in_dead_thread(lambda: started(refuser))
    yield t
    t.kill()
    assert channel.balance == 0


@SURVIVES
def test_a_survivor_cannot_be_started_again(survivor):
    t = survivor
    assert not t.alive and not t.paused and not t.scheduled and t.thread_id == -1 and t.frame is None
    for operation in (lambda: t.bind_thread(), lambda: t.bind(noop), lambda: t.bind(None), lambda: t.bind(noop, ())):
        with pytest.raises(RuntimeError, match="C state|scheduled"):
            operation()
    with pytest.raises(RuntimeError, match="C state"):
        t.bind_thread()
    with pytest.raises(RuntimeError, match="tasklet has no thread"):
        t.setup()
    assert t in stackless.getuncollectables()


@SURVIVES
def test_throw_at_a_survivor(survivor):
    for operation in (lambda: survivor.throw(TaskletExit), lambda: survivor.raise_exception(LookupError)):
        with pytest.raises(RuntimeError, match="tasklet has no thread"):
            operation()


@SURVIVES
def test_a_sender_to_a_receiver_whose_thread_has_ended(survivor):  # 5.4
    assert channel.balance == -1
    with pytest.raises(RuntimeError, match="tasklet has no thread"):
        channel.send("lost")
    assert channel.balance == -1 and channel.queue is survivor
    assert stackless.getcurrent().tempval is None


@SURVIVES
def test_a_receiver_from_a_sender_whose_thread_has_ended():
    def sends():
        while True:
            try:
                channel.send("never")
            except TaskletExit:
                pass

    t = in_dead_thread(lambda: started(sends))
    with pytest.raises(RuntimeError, match="tasklet has no thread"):
        channel.receive()
    assert channel.balance == 1
    t.kill()
    assert channel.balance == 0


@SURVIVES
def test_kill_discards_the_state_of_a_survivor():
    log = []

    def refuses():
        try:
            while True:
                try:
                    channel.receive()
                except TaskletExit:
                    pass
        finally:
            log.append("never")

    t = in_dead_thread(lambda: started(refuses))
    t.kill()
    assert channel.balance == 0 and not t.blocked
    assert t.throw(TaskletExit) is None
    t.bind_thread()
    assert t.bind(log.append)("again") is t
    stackless.run()
    assert log == ["again"]


@pytest.mark.parametrize("operation", ["stackless.sleep(1000)", "stackless.schedule_remove()", "stackless.schedule()",
                                       "stackless.select([channel])", "channel.receive(timeout=1000)"])
def test_survivors_in_any_state(operation, mode):
    done = run_script(
        f"""
        import gc, stackless, threading
        channel = stackless.channel()

        def refuses():
            while True:
                try:
                    {operation}
                except TaskletExit:
                    pass

        keep = []
        def body():
            keep.append(stackless.tasklet(refuses)())
            stackless.schedule()

        for _ in range(3):
            thread = threading.Thread(target=body)
            thread.start()
            thread.join()
        assert [t.alive for t in keep] == [False] * 3
        keep.pop()
        keep[0].kill()
        gc.collect()
        try:
            stackless.channel().receive()
        except RuntimeError as error:
            print(error)
        """, env=mode, quiet=False)
    assert done.lines == ["Deadlock: the last runnable tasklet cannot be blocked."], str(done)


# methods of a tasklet without a thread


@pytest.fixture(params=["nothing", "bound", "fresh", "scheduled", "ended"])
def orphan(request):
    def prepare():
        t = stackless.tasklet()
        if request.param == "bound":
            t.bind(noop)
        elif request.param == "fresh":
            t.bind(noop, ())
        elif request.param == "scheduled":
            t.bind(noop).setup()
        elif request.param == "ended":
            t.bind(noop).setup()
            stackless.run()
        return t

    return in_dead_thread(prepare)


def test_what_works_without_a_thread(orphan):
    t = orphan
    assert not t.alive and not t.paused and not t.scheduled and not t.blocked
    assert t.thread_id == -1 and not t.is_main and not t.is_current
    assert t.frame is None and t.next is None and t.prev is None and t._channel is None
    assert t.remove() is t
    assert t.set_atomic(True) is False and t.set_atomic(False) is True
    assert t.set_ignore_nesting(True) is False and t.set_ignore_nesting(False) is True
    assert t.__reduce__()[0] is stackless.tasklet
    assert t.bind(None) is t
    assert t.bind(noop) is t
    assert t.tempval is noop
    assert t.kill() is None and t.kill(pending=True) is None
    assert t.throw(TaskletExit) is None


def test_what_does_not_work_without_a_thread(orphan):
    t = orphan
    for operation in (
        lambda: t.bind(noop, ()),
        lambda: t.bind(noop)(),
        lambda: t.setup(),
        t.insert,
        t.run,
        t.switch,
        lambda: t.throw(LookupError),
        lambda: t.throw(LookupError, pending=True),
        lambda: t.raise_exception(LookupError),
    ):
        with pytest.raises(RuntimeError, match="tasklet has no thread|Target thread isn't initialized"):
            operation()


def test_throw_exit_at_a_fresh_tasklet_without_a_thread():
    t = in_dead_thread(lambda: stackless.tasklet(noop, ()))
    with pytest.raises(RuntimeError, match="tasklet has no thread"):
        t.throw(TaskletExit)
    t.kill()
    assert t.throw(TaskletExit) is None


# bind_thread


@pytest.mark.parametrize("scheduled", [False, True])
def test_bind_thread_revives_a_fresh_tasklet(scheduled):
    log = []
    t = in_dead_thread(lambda: stackless.tasklet(lambda *args: log.append((args, threading.get_ident())))("a", 1) if scheduled
                       else stackless.tasklet(lambda *args: log.append((args, threading.get_ident())), ("a", 1)))
    assert not t.alive
    assert t.bind_thread() is None
    assert t.alive and t.paused and not t.scheduled
    assert t.thread_id == threading.main_thread().ident
    t.insert()
    with stackless.atomic():
        stackless.run()
    assert [args for args, _ in log] == [("a", 1)]


def test_bind_thread_to_another_thread():
    log = []
    ready, go = threading.Event(), threading.Event()

    def body():
        stackless.getcurrent()
        ready.set()
        go.wait()
        stackless.run()

    thread = threading.Thread(target=body)
    with stackless.atomic():
        thread.start()
        ready.wait()
    t = stackless.tasklet(lambda: log.append(threading.get_ident()), ())
    assert t.bind_thread(thread.ident) is None
    assert t.thread_id == thread.ident and t.alive and t.paused
    assert t.bind_thread(thread.ident) is None  # nothing to do
    before = stackless.getruncount()
    t.insert()
    assert stackless.getruncount() == before
    assert stackless.get_thread_info(thread.ident)[2] == 2
    with pytest.raises(RuntimeError, match=r"can't \(re\)bind a runnable tasklet"):
        t.bind_thread()
    ident = thread.ident
    go.set()
    thread.join()
    assert log == [ident]
    assert t.thread_id == -1


def test_bind_thread_where_the_module_has_not_been_used():
    go = threading.Event()
    log = []

    def body():
        go.wait()
        stackless.run()

    thread = threading.Thread(target=body)
    with stackless.atomic():
        thread.start()
    t = stackless.tasklet(lambda: log.append(threading.get_ident()), ())
    t.bind_thread(thread.ident)
    t.insert()
    assert t.scheduled and t.thread_id == thread.ident
    ident = thread.ident
    go.set()
    thread.join()
    assert log == [ident]


def test_bind_thread_of_a_dead_or_bound_tasklet():
    t = in_dead_thread(lambda: stackless.tasklet(noop))
    t.bind_thread(-1)
    assert t.thread_id == threading.main_thread().ident and not t.alive
    t()
    stackless.run()


def test_bind_thread_refuses():
    t = stackless.tasklet(noop)()
    other = in_dead_thread(lambda: threading.get_ident())
    assert t.bind_thread() is None and t.bind_thread(-1) is None and t.bind_thread(stackless.getcurrent().thread_id) is None
    stackless.run()
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    with stackless.atomic():
        thread.start()
    try:
        t = stackless.tasklet(noop)()
        with pytest.raises(RuntimeError, match=r"can't \(re\)bind a runnable tasklet"):
            t.bind_thread(thread.ident)
        with pytest.raises(RuntimeError, match=r"can't \(re\)bind a runnable tasklet"):
            stackless.getcurrent().bind_thread(thread.ident)
        stackless.run()
        for function in (stackless.schedule_remove, channel.receive):
            t = started(function)
            with pytest.raises(RuntimeError, match="tasklet has C state on its stack"):
                t.bind_thread(thread.ident)
            t.kill()
        for bad, error in ((12345, ValueError), (-2, OverflowError), ("1", TypeError), (2**70, OverflowError)):
            with pytest.raises(error):
                stackless.tasklet(noop, ()).bind_thread(bad)
        with pytest.raises(ValueError, match="bad thread"):
            t.bind_thread(12345)
        with pytest.raises(TypeError, match="at most 1 argument"):
            t.bind_thread(1, 2)
    finally:
        go.set()
        thread.join()
    if other != stackless.getcurrent().thread_id:
        with pytest.raises(ValueError, match="bad thread"):
            t.bind_thread(other)


def receives():
    channel.receive()


def test_a_blocked_tasklet_may_be_rebound():
    """One that was loaded from a pickle waits in its channel without having a stack."""
    import pickle

    t = started(receives)
    copy = pickle.loads(pickle.dumps(channel))
    t.kill()
    waiting = copy.queue
    ident = in_dead_thread(lambda: (waiting.bind_thread(), waiting.blocked, threading.get_ident()))
    assert ident[0] is None and ident[1]
    assert waiting.thread_id == -1 and waiting.blocked
    waiting.bind_thread()
    assert waiting.blocked and waiting.alive and copy.balance == -1
    waiting.kill()
    assert copy.balance == 0


def test_schedulers_of_dead_threads_are_freed():
    class Marked(stackless.tasklet):
        pass

    refs = []

    def body():
        t = Marked(noop, ())
        refs.append(weakref.ref(t))
        refs.append(weakref.ref(stackless.getmain()))
        stackless.tasklet(channel.receive)()
        stackless.schedule()

    for _ in range(20):
        in_dead_thread(body)
    gc.collect()
    assert not any(ref() for ref in refs)
    assert channel.balance == 0
