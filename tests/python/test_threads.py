# SPDX-License-Identifier: MIT
"""Plain threads: each has a scheduler of its own, channels connect them, some operations reach across.

Not covered: bind_thread and a thread's death (test_thread_end.py). A "plain thread" is a threading.Thread.
"""

import contextlib
import sys
import threading
import time

import pytest
import stackless

from support import PATIENCE, noop, run_script, wait_for


def in_thread(function, *args):
    """Call function in a plain thread; return its result or raise its exception."""
    box = []

    def body():
        try:
            box.append((function(*args), None))
        except BaseException as error:
            box.append((None, error))

    thread = threading.Thread(target=body, daemon=True)
    with stackless.atomic():  # else the join hands the lane on, and the ring is not what it was
        thread.start()
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread hangs"
    result, error = box[0]
    if error is not None:
        raise error
    return result


class Owner:
    """A plain thread that makes tasklets and then waits, either parked or busy outside stackless.

    parked: main sits in channel.receive(), woken by a message to .door or by work in its ring.
    busy: main sits in Event.wait(), so its ring stays as it is until .go is set.
    """

    def __init__(self, prepare, mode):
        self.log = []
        self.door = stackless.channel()
        self.go = threading.Event()
        self.error = None
        self.made = None
        self.main = None
        self.ident = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._body, args=(prepare, mode), daemon=True)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if mode == "parked":
            wait_for(lambda: self.door.balance == -1, "the owner to park", pause=lambda: time.sleep(0.001))

    def _body(self, prepare, mode):
        try:
            self.ident = threading.get_ident()
            self.main = stackless.getmain()
            self.made = prepare(self)
            self._ready.set()
            if mode == "parked":
                self.log.append(self.door.receive())
            else:
                self.go.wait()
            stackless.run()
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    def finish(self):
        self.go.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the owner hangs"
        if self.error is not None:
            raise self.error
        return self.log


@contextlib.contextmanager
def owner(prepare, mode):
    made = Owner(prepare, mode)
    try:
        yield made
    except BaseException:
        made.go.set()
        raise
    made.finish()


# private schedulers


def test_each_thread_has_its_own_ring_and_main():
    mains = set()

    def body():
        stackless.tasklet(noop)()
        mains.add(stackless.getmain())
        assert stackless.getmain() is stackless.getcurrent()
        count = stackless.getruncount()
        stackless.run()
        return count

    stackless.tasklet(noop)()
    stackless.tasklet(noop)()
    assert in_thread(body) == 2
    assert in_thread(body) == 2
    assert stackless.getruncount() == 3
    stackless.run()
    assert stackless.getmain() not in mains


def test_tasklets_run_in_the_thread_that_made_them():
    def body():
        seen = []
        for _ in range(5):
            t = stackless.tasklet(lambda: (stackless.schedule(), seen.append(threading.get_ident())))()
            assert t.thread_id == threading.get_ident()
        stackless.run()
        return set(seen) == {threading.get_ident()}

    assert in_thread(body)


def test_order_in_a_thread_is_the_rings():
    def body():
        seen = []
        for number in range(100):
            stackless.tasklet(lambda number=number: (seen.append(number), stackless.schedule(), seen.append(number)))()
        stackless.run()
        return seen

    assert in_thread(body) == list(range(100)) * 2


def test_exceptions_go_to_the_threads_own_main():
    def body():
        stackless.tasklet(lambda: 1 / 0)()
        with pytest.raises(ZeroDivisionError):
            stackless.run()
        return "caught"

    assert in_thread(body) == "caught"


def test_sleep_in_a_thread():
    def body():
        seen = []
        for name, seconds in (("b", 0.04), ("a", 0.01)):
            stackless.tasklet(lambda name=name, seconds=seconds: (stackless.sleep(seconds), seen.append(name)))()
        stackless.run()
        return seen

    assert in_thread(body) == ["a", "b"]


def test_many_threads_one_after_the_other():
    for _ in range(50):
        assert in_thread(lambda: (stackless.tasklet(noop)(), stackless.run())[1]) is None


def test_a_thread_may_end_with_tasklets_in_every_state():
    run_script(
        """
        import stackless, threading
        channel = stackless.channel()

        def body():
            keep.append(stackless.tasklet(channel.receive)())
            keep.append(stackless.tasklet(stackless.schedule_remove)())
            keep.append(stackless.tasklet(stackless.sleep)(60))
            stackless.schedule()
            keep.append(stackless.tasklet(print)("never"))
            keep.append(stackless.tasklet(print, ("never",)))

        keep = []
        for _ in range(3):
            thread = threading.Thread(target=body)
            thread.start()
            thread.join()
        """
    )


# channels between threads


def test_a_thread_sends_to_a_blocked_main():
    channel = stackless.channel()
    thread = threading.Thread(target=channel.send, args=("hello",))
    thread.start()
    assert channel.receive() == "hello"
    thread.join()
    assert channel.balance == 0


def test_a_thread_receives_from_main():
    channel = stackless.channel()
    got = []
    thread = threading.Thread(target=lambda: got.append(channel.receive()))
    thread.start()
    channel.send("hello")
    thread.join()
    assert got == ["hello"]


def test_an_exchange_across_threads_does_not_switch_locally(trace):
    with owner(noop, "parked") as other:
        trace.logger("local")
        other.door.send("message")
        assert trace == []
    assert other.log == ["message"]
    stackless.run()


def test_exceptions_cross_threads():
    channel = stackless.channel()
    thread = threading.Thread(target=channel.send_exception, args=(LookupError, "far"))
    thread.start()
    with pytest.raises(LookupError, match="far"):
        channel.receive()
    thread.join()


def test_ping_pong_between_threads():
    there, back = stackless.channel(), stackless.channel()
    count = 500

    def body():
        for _ in range(count):
            back.send(there.receive() + 1)

    thread = threading.Thread(target=body)
    thread.start()
    for number in range(count):
        there.send(number)
        assert back.receive() == number + 1
    thread.join()


def test_many_threads_lose_no_message():
    channel = stackless.channel()
    threads, tasklets, messages = 4, 5, 50

    def body(number):
        def produce(index):
            for message in range(messages):
                channel.send((number, index, message))

        made = [stackless.tasklet(produce)(index) for index in range(tasklets)]
        while any(t.alive for t in made):
            stackless.run()
            time.sleep(0.0005)

    started = [threading.Thread(target=body, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    got = [channel.receive() for _ in range(threads * tasklets * messages)]
    for thread in started:
        thread.join()
    assert sorted(got) == [(n, i, m) for n in range(threads) for i in range(tasklets) for m in range(messages)]
    for n in range(threads):
        for i in range(tasklets):
            assert [m for a, b, m in got if (a, b) == (n, i)] == list(range(messages)), "order of one sender"
    assert channel.balance == 0


def test_run_does_not_park_so_programs_poll():
    channel = stackless.channel()
    got = []
    t = stackless.tasklet(lambda: got.append(channel.receive()))()
    stackless.run()
    assert t.alive and t.blocked
    thread = threading.Thread(target=channel.send, args=("polled",))
    thread.start()
    wait_for(lambda: not t.alive, "the message", pause=lambda: (stackless.run(), time.sleep(0.001)))
    thread.join()
    assert got == ["polled"]


def test_main_waits_while_another_thread_lives():
    channel = stackless.channel()

    def body():
        time.sleep(0.1)  # as good as any thread that has never heard of stackless
        channel.send("late")

    thread = threading.Thread(target=body)
    thread.start()
    assert channel.receive() == "late"
    thread.join()


def test_main_blocked_and_its_last_tasklet_ends_despite_other_threads():
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        channel = stackless.channel()
        stackless.tasklet(noop)()
        with pytest.raises(RuntimeError, match="the main tasklet is receiving without a sender available"):
            channel.receive()
    finally:
        release.set()
        thread.join()


def test_the_last_thread_to_park_is_told():
    """Both mains block; exactly one gets the error and then frees the other."""
    done = run_script(
        """
        import stackless, threading
        mine, theirs = stackless.channel(), stackless.channel()
        log = []

        def wait(name, own, other):
            try:
                log.append((name, own.receive()))
            except RuntimeError as error:
                assert "Deadlock" in str(error), error
                log.append((name, "deadlock"))
                other.send("freed")

        thread = threading.Thread(target=wait, args=("thread", theirs, mine))
        thread.start()
        wait("main", mine, theirs)
        thread.join()
        assert sorted(what for _, what in log) == ["deadlock", "freed"], log
        print("fine")
        """
    )
    assert done.lines == ["fine"]


# reaching across


def test_insert_wakes_a_parked_thread():
    with owner(lambda own: stackless.tasklet(lambda: (own.log.append(threading.get_ident()), own.door.send("door")), ()), "parked") as other:
        assert other.made.insert() is other.made
    assert other.log == [other.ident, "door"]


def test_setup_from_another_thread_goes_to_the_owner():
    with owner(lambda own: stackless.tasklet(lambda: (own.log.append(threading.get_ident()), own.door.send("door"))), "parked") as other:
        assert other.made() is other.made
    assert other.log == [other.ident, "door"]


def test_run_on_a_parked_thread(trace):
    with owner(lambda own: stackless.tasklet(lambda: own.door.send("ran"), ()), "parked") as other:
        trace.logger("local")
        assert other.made.run() is None
        assert trace == [], "nothing runs here"
    assert other.log == ["ran"]
    stackless.run()


def test_run_on_a_busy_thread_makes_it_the_next():
    def prepare(own):
        for name in "xy":
            stackless.tasklet(own.log.append)(name)
        return stackless.tasklet(own.log.append, ("t",)), stackless.tasklet(own.log.append, ("u",))

    with owner(prepare, "busy") as other:
        t, u = other.made
        u.insert()
        assert t.run() is None
        assert t.alive and t.scheduled
        assert other.main.next is t
        assert u.next is other.main
        assert other.log == []
    assert other.log == ["t", "x", "y", "u"]


def test_atomic_defers_waking_a_parked_thread():
    """Two inserts and a run inside atomic take effect together: the one run comes first."""

    def prepare(own):
        return [stackless.tasklet(own.log.append, (name,)) for name in "ab"] + [
            stackless.tasklet(lambda: own.log.append("c"), ()),
            stackless.tasklet(lambda: own.door.send("door"), ()),
        ]

    with owner(prepare, "parked") as other:
        a, b, c, last = other.made
        with stackless.atomic():
            a.insert()
            b.insert()
            last.insert()
            c.run()
            assert other.log == []
    assert other.log == ["c", "a", "b", "door"]


def test_remove_across_threads():
    with owner(lambda own: [stackless.tasklet(own.log.append)(name) for name in "abc"], "busy") as other:
        a, b, c = other.made
        assert b.remove() is b
        assert b.paused and not b.scheduled
        assert a.next is c
    assert other.log == ["a", "c"]
    assert stackless.getruncount() == 1


def test_remove_of_a_foreign_current_tasklet():
    with owner(noop, "busy") as other:
        with pytest.raises(RuntimeError, match="The current tasklet cannot be removed."):
            other.main.remove()


def test_switch_across_threads_is_an_error():
    with owner(lambda own: stackless.tasklet(noop, ()), "busy") as other:
        with pytest.raises(RuntimeError, match="can't switch to a different thread"):
            other.made.switch()
        assert other.made.paused
    assert stackless.getruncount() == 1


def victim_of(own, channel):
    """A tasklet blocked on a channel that logs what hits it."""

    def body():
        try:
            own.log.append(channel.receive())
        except BaseException as error:
            own.log.append((type(error).__name__, error.args, threading.get_ident() == own.ident))
        if own.door.balance < 0:
            own.door.send("door")  # release a parked main, or it would be told that nobody sends

    t = stackless.tasklet(body)()
    stackless.run()
    return t


@pytest.mark.parametrize("mode", ["parked", "busy"])
@pytest.mark.parametrize("pending", [False, True])
def test_throw_across_threads(mode, pending, trace):
    channel = stackless.channel()
    with owner(lambda own: victim_of(own, channel), mode) as other:
        assert channel.balance == -1
        trace.logger("local")
        assert other.made.throw(LookupError, "far", pending=pending) is None
        assert trace == []
        assert channel.balance == 0
    assert other.log[0] == ("LookupError", ("far",), True)
    stackless.run()
    assert trace == ["local"]


@pytest.mark.parametrize("operation", ["kill", "pending kill", "raise_exception"])
def test_kill_across_threads(operation):
    channel = stackless.channel()
    with owner(lambda own: victim_of(own, channel), "busy") as other:
        if operation == "raise_exception":
            assert other.made.raise_exception(LookupError, 1) is None
            expected = ("LookupError", (1,), True)
        else:
            assert other.made.kill(pending=operation == "pending kill") is None
            expected = ("TaskletExit", (), True)
        assert channel.balance == 0
        assert other.made.alive and other.made.scheduled
        assert other.log == []
    assert other.log == [expected]
    assert not other.made.alive


def test_kill_a_foreign_fresh_tasklet():
    with owner(lambda own: stackless.tasklet(own.log.append)("never"), "busy") as other:
        other.made.kill()
    assert other.log == []
    assert not other.made.alive


def test_errors_of_cross_thread_operations():
    channel = stackless.channel()
    with owner(lambda own: (victim_of(own, channel), stackless.tasklet(noop)), "busy") as other:
        blocked, bound = other.made
        for name in ("insert", "run"):
            with pytest.raises(RuntimeError, match="blocked"):
                getattr(blocked, name)()
            with pytest.raises(RuntimeError, match="dead"):
                getattr(bound, name)()
        with pytest.raises(RuntimeError, match="You cannot remove a blocked tasklet."):
            blocked.remove()
        with pytest.raises(RuntimeError, match="You cannot throw to a dead tasklet"):
            bound.throw(LookupError)
        channel.send("end")


def test_many_threads_insert_into_one_ring():
    """The owner's ring is changed from four threads at once; nothing is lost, nothing runs twice."""
    per_thread = 100

    def prepare(own):
        return [stackless.tasklet(own.log.append, (number,)) for number in range(4 * per_thread)]

    with owner(prepare, "busy") as other:

        def insert(part):
            for t in other.made[part * per_thread : (part + 1) * per_thread]:
                t.insert()
                if t.paused:
                    raise AssertionError("insert had no effect")

        threads = [threading.Thread(target=insert, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(other.log) == list(range(4 * per_thread))


def test_switch_interval_does_not_matter():
    """The same exchange with the GIL changing hands as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        test_many_threads_lose_no_message()
    finally:
        sys.setswitchinterval(before)
