# SPDX-License-Identifier: MIT
"""sleep(), the timeout() block, pin() and pinned(), stats().

Timing decides nothing here: deadlines are far apart or long past, and nothing asserts that something was fast.
"""

import threading
import time

import pytest
import stackless

from support import noop, run_script, wait_for

FAR = 3600.0  # seconds; never reached


# sleep


def test_sleep_of_main_alone():
    start = time.monotonic()
    assert stackless.sleep(0.05) is None
    assert time.monotonic() - start >= 0.05


def test_sleep_of_a_tasklet_lets_others_run(trace):
    def sleeper():
        stackless.sleep(0.05)
        trace.append("woke")

    stackless.tasklet(sleeper)()
    trace.logger("other")
    stackless.run()
    assert trace == ["other", "woke"]


def test_run_waits_for_sleepers():
    t = stackless.tasklet(stackless.sleep)(0.05)
    stackless.run()
    assert not t.alive


def test_sleepers_wake_in_order_of_their_deadlines(trace):
    def sleeper(name, seconds):
        stackless.sleep(seconds)
        trace.append(name)

    for name, seconds in (("c", 0.3), ("a", 0.02), ("b", 0.15)):
        stackless.tasklet(sleeper)(name, seconds)
    stackless.run()
    assert trace == ["a", "b", "c"]


def test_sleep_of_main_lets_others_run(trace):
    trace.logger("a")
    trace.logger("b")
    stackless.sleep(0.02)
    assert trace == ["a", "b"]


def test_sleep_zero_is_a_scheduling_point(trace):
    trace.logger("a")
    stackless.sleep(0)
    assert trace == ["a"]


def test_a_thousand_sleepers_overlap():
    woke = []

    def sleeper():
        stackless.sleep(0.2)
        woke.append(1)

    start = time.monotonic()
    for _ in range(1000):
        stackless.tasklet(sleeper)()
    stackless.run()
    assert len(woke) == 1000
    assert time.monotonic() - start < 100, "one after the other it would be 200 seconds"


def test_sleep_argument_errors():
    for wrong in ("x", None, []):
        with pytest.raises(TypeError):
            stackless.sleep(wrong)
    for wrong in (-1, -0.5, float("nan")):
        with pytest.raises(ValueError):
            stackless.sleep(wrong)
    with pytest.raises(TypeError):
        stackless.sleep()


def test_sleep_takes_ints_and_floats():
    stackless.sleep(0)
    stackless.sleep(0.0)
    stackless.sleep(0.001)


@pytest.mark.parametrize("pending", [False, True])
def test_kill_of_a_sleeper(trace, pending):
    def sleeper():
        try:
            stackless.sleep(FAR)
        except TaskletExit:
            trace.append("killed")

    t = stackless.tasklet(sleeper)()
    stackless.schedule()
    t.kill(pending=pending)
    stackless.run()
    assert trace == ["killed"]
    assert not t.alive


def test_throw_at_a_sleeper(trace):
    def sleeper():
        try:
            stackless.sleep(FAR)
        except LookupError as error:
            trace.append(error.args)

    t = stackless.tasklet(sleeper)()
    stackless.schedule()
    t.throw(LookupError, "wake up")
    assert trace == [("wake up",)]
    stackless.run()


def test_a_killed_sleepers_timer_is_gone():
    """The next tasklet on the same stack must not be woken by it."""
    t = stackless.tasklet(stackless.sleep)(0.05)
    stackless.schedule()
    t.kill()
    hit = []

    def body():
        hit.append(stackless.schedule_remove("mine"))

    other = stackless.tasklet(body)()
    stackless.run()
    stackless.sleep(0.1)
    assert other.paused and hit == []
    other.kill()


def test_timers_while_tasklets_spin(trace):
    """Busy tasklets do not keep a sleeper from waking."""
    done = []

    def spin():
        while not done:
            stackless.schedule()

    def sleeper():
        stackless.sleep(0.02)
        done.append(1)

    for _ in range(3):
        stackless.tasklet(spin)()
    stackless.tasklet(sleeper)()
    stackless.run()
    assert done == [1]


def test_many_sleeps_one_after_the_other():
    counts = [0] * 10

    def sleeper(number):
        for _ in range(20):
            stackless.sleep(0.001)
            counts[number] += 1

    for number in range(10):
        stackless.tasklet(sleeper)(number)
    stackless.run()
    assert counts == [20] * 10


# timeout


def test_timeout_of_a_receive():
    channel = stackless.channel()
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            channel.receive()
    assert channel.balance == 0
    assert channel.queue is None
    assert not stackless.getcurrent().blocked


def test_timeout_of_a_send_in_a_tasklet(trace):
    channel = stackless.channel()

    def body():
        try:
            with stackless.timeout(0.02):
                channel.send("nobody listens")
        except TimeoutError:
            trace.append("timed out")

    stackless.tasklet(body)()
    stackless.run()
    assert trace == ["timed out"]
    assert channel.balance == 0


def test_timeout_of_a_sleep():
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            stackless.sleep(FAR)


def test_timeout_while_scheduling_in_a_loop():
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            while True:
                stackless.schedule()


def test_timeout_of_a_paused_tasklet(trace):
    def body():
        try:
            with stackless.timeout(0.02):
                stackless.schedule_remove()
        except TimeoutError:
            trace.append("timed out")

    keep = stackless.tasklet(body)()
    stackless.run()
    if keep.alive:
        stackless.sleep(0.1)
        stackless.run()
    assert trace == ["timed out"]


def test_a_body_that_finishes_in_time():
    with stackless.timeout(FAR):
        value = stackless.schedule("fine")
    assert value == "fine"


def test_a_finished_block_leaves_no_timer_behind():
    with stackless.timeout(0.02):
        pass
    stackless.sleep(0.06)
    with stackless.timeout(0.3):
        stackless.schedule()
    channel = stackless.channel()
    stackless.tasklet(lambda: (stackless.sleep(0.35), channel.send("unharmed")))()
    assert channel.receive() == "unharmed"
    stackless.run()


def test_an_exception_of_the_body_passes():
    with pytest.raises(LookupError, match="own"):
        with stackless.timeout(FAR):
            raise LookupError("own")


def test_a_timeout_error_of_the_body_passes():
    with pytest.raises(TimeoutError, match="own"):
        with stackless.timeout(FAR):
            raise TimeoutError("own")


def test_the_inner_one_expires():
    reached = []
    with stackless.timeout(FAR):
        with pytest.raises(TimeoutError):
            with stackless.timeout(0.02):
                stackless.sleep(FAR)
        reached.append("outer goes on")
        stackless.schedule()
    assert reached == ["outer goes on"]


def test_the_outer_one_expires_inside_the_inner():
    reached = []
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            try:
                with stackless.timeout(FAR):
                    stackless.sleep(FAR)
            except TimeoutError:
                reached.append("the inner block claims it")
                raise
            reached.append("not reached")
    assert reached == [] or reached == ["the inner block claims it"]


def test_an_inner_handler_does_not_swallow_the_outer_timeout():
    """except TimeoutError around the inner block must not hide that the outer block is over."""
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            try:
                with stackless.timeout(FAR):
                    stackless.sleep(FAR)
            except TimeoutError:
                pass


@pytest.mark.limit(120)
def test_both_expire():
    log = []
    for outer in (0.05, 1, 20):  # who gets no processor for so long finds both expired, and the outer one counts
        with pytest.raises(TimeoutError):
            with stackless.timeout(outer):
                try:
                    with stackless.timeout(0.01):
                        stackless.sleep(FAR)
                except TimeoutError:
                    log.append("inner")
                stackless.sleep(FAR)
                log.append("not reached")
        if log:
            break
    assert log == ["inner"]


def test_finally_blocks_run():
    log = []
    with pytest.raises(TimeoutError):
        with stackless.timeout(0.02):
            try:
                stackless.sleep(FAR)
            finally:
                log.append("finally")
    assert log == ["finally"]


def test_timeouts_of_many_tasklets(trace):
    channel = stackless.channel()

    def body(number):
        try:
            with stackless.timeout(0.001 * (number % 10 + 1)):
                channel.receive()
        except TimeoutError:
            trace.append(number)

    for number in range(200):
        stackless.tasklet(body)(number)
    stackless.run()
    assert sorted(trace) == list(range(200))
    assert channel.balance == 0


def test_a_value_is_delivered_or_the_timeout_is_raised_but_never_both_lost():
    channel = stackless.channel()
    sent, got, timeouts = [], [], []

    def receiver():
        for _ in range(100):
            try:
                with stackless.timeout(0.0005):
                    got.append(channel.receive())
            except TimeoutError:
                timeouts.append(1)
        finished.append(1)

    def sender():
        number = 0
        while not finished:
            if channel.balance < 0:
                channel.send(number)
                sent.append(number)
                number += 1
            stackless.sleep(0.0004)

    finished = []
    stackless.tasklet(receiver)()
    stackless.tasklet(sender)()
    stackless.run()
    assert got == sent[: len(got)]
    assert len(sent) - len(got) <= len(timeouts)
    assert len(got) + len(timeouts) >= 100
    assert channel.balance == 0


def test_a_kill_inside_a_timeout_is_a_kill(trace):
    def body():
        try:
            with stackless.timeout(FAR):
                stackless.sleep(FAR)
        except TimeoutError:
            trace.append("wrong")
        except TaskletExit:
            trace.append("killed")

    t = stackless.tasklet(body)()
    stackless.schedule()
    t.kill()
    assert trace == ["killed"]


def test_timeout_argument_errors():
    with pytest.raises(TypeError):
        stackless.timeout("x")
    with pytest.raises(TypeError):
        stackless.timeout()
    with pytest.raises(ValueError):
        stackless.timeout(-1)


def test_timeout_in_a_thread():
    log = []

    def body():
        try:
            with stackless.timeout(0.02):
                stackless.sleep(FAR)
        except TimeoutError:
            log.append("timed out")

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert log == ["timed out"]


# pin, pinned


def beside_callers(body):
    """Run body in a tasklet, and others that make blocking calls."""
    def others():
        for _ in range(100):
            stackless.schedule()
            time.sleep(0.0002)

    stackless.tasklet(body)()
    for _ in range(3):
        stackless.tasklet(others)()
    stackless.run()


def test_a_pinned_tasklet_stays_on_its_thread():
    idents = set()

    def body():
        stackless.getcurrent().pin()
        for _ in range(20):
            idents.add(threading.get_native_id())
            time.sleep(0.002)
            idents.add(threading.get_native_id())
            stackless.schedule()

    beside_callers(body)
    assert len(idents) == 1


def test_the_pinned_block_stays_on_its_thread():
    per_block = []

    def body():
        for _ in range(5):
            with stackless.pinned():
                idents = set()
                for _ in range(5):
                    idents.add(threading.get_native_id())
                    time.sleep(0.002)
                    stackless.schedule()
                idents.add(threading.get_native_id())
                per_block.append(len(idents))
            stackless.schedule()

    beside_callers(body)
    assert per_block == [1] * 5


def test_pinned_blocks_nest():
    with stackless.pinned():
        with stackless.pinned():
            stackless.schedule()
        stackless.schedule()
    with pytest.raises(LookupError):
        with stackless.pinned():
            raise LookupError


def test_rlock_and_sqlite_in_a_pinned_block():
    """What belongs to an OS thread works across scheduling points once pinned."""
    import sqlite3

    results = []

    def body(number):
        with stackless.pinned():
            lock = threading.RLock()
            connection = sqlite3.connect(":memory:")
            with lock:
                for _ in range(5):
                    time.sleep(0.001)
                    stackless.schedule()
                    with lock:
                        results.append(connection.execute("select ?", (number,)).fetchone()[0])
            connection.close()

    for number in range(4):
        stackless.tasklet(body)(number)
    stackless.run()
    assert sorted(results) == sorted(list(range(4)) * 5)


def test_main_stays_on_the_main_thread():
    ident = threading.get_native_id()

    def others():
        for _ in range(50):
            time.sleep(0.0005)
            stackless.schedule()

    for _ in range(3):
        stackless.tasklet(others)()
    stackless.run()
    assert threading.get_native_id() == ident
    for _ in range(20):
        stackless.tasklet(time.sleep)(0.001)
        stackless.schedule()
        assert threading.get_native_id() == ident
    stackless.run()


# stats


def test_stats_has_its_keys():
    stats = stackless.stats()
    assert isinstance(stats, dict)
    for key in ("threads", "handoffs", "strays", "runnable"):
        assert isinstance(stats[key], int), key
        assert stats[key] >= 0, key
    assert stats["strays"] == 0
    with pytest.raises(TypeError):
        stackless.stats(1)


def test_stats_counts_runnables():
    before = stackless.stats()["runnable"]
    for _ in range(5):
        stackless.tasklet(noop)()
    assert stackless.stats()["runnable"] == before + 5
    stackless.run()
    assert stackless.stats()["runnable"] == before


def test_stats_is_a_snapshot():
    first = stackless.stats()
    first["handoffs"] = -1
    assert stackless.stats()["handoffs"] >= 0


def test_stats_counts_handoffs_and_strays(many_threads):
    before = stackless.stats()["handoffs"]
    seen = []
    blocked = stackless.tasklet(time.sleep)(0.3)

    def watcher():
        while blocked.alive:
            stats = stackless.stats()
            if stats["strays"]:
                seen.append((stats["strays"], blocked.alive, blocked.paused, blocked.scheduled, blocked.blocked))
            stackless.schedule()

    stackless.tasklet(watcher)()
    stackless.run()
    assert stackless.stats()["handoffs"] > before
    assert (1, True, False, False, False) in seen
    wait_for(lambda: stackless.stats()["strays"] == 0, "the stray to end")


@pytest.mark.parametrize("threads", [None, "1"])
def test_a_timeout_around_run_does_not_keep_run_waiting(threads):
    """The clock of who sits in run() limits the wait; it is nothing to wait for."""
    done = run_script(
        """
        import stackless
        door = stackless.channel()
        stackless.tasklet(door.receive)()
        with stackless.timeout(300):
            stackless.run()
        print(door.balance)
        """,
        env={"STACKLESS_THREADS": threads},
        timeout=30,
    )
    assert done.lines == ["-1"]


def test_a_timeout_that_a_stray_arms_wakes_the_sleeping_host(many_threads):
    done = run_script(
        """
        import time
        import stackless
        sleeper = stackless.tasklet(stackless.sleep)(300)

        def body():
            time.sleep(0.3)  # a stray from here on; the host sleeps for 300 s
            end = time.monotonic() + 20
            try:
                with stackless.timeout(0.1) as clock:
                    while not clock.expired and time.monotonic() < end:
                        time.sleep(0.01)
                    print(clock.expired)
                    stackless.schedule()
            except TimeoutError:
                print("timed out")
            sleeper.kill()

        stackless.tasklet(body)()
        stackless.run()
        """,
        timeout=60,
    )
    assert done.lines == ["True", "timed out"]
