# SPDX-License-Identifier: MIT
"""Lock, RLock, Semaphore, Event, Condition: order, time-outs, kills, threads, strays, errors."""

import gc
import threading
import time
import warnings
import weakref

import pytest
import stackless
from stackless import BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore, schedule, tasklet

from support import PATIENCE, run_script, wait_for

LOCKS = [Lock, RLock, Semaphore, BoundedSemaphore, Condition]


def go(function, *args):
    return tasklet(function)(*args)


def thread(function, *args):
    made = threading.Thread(target=function, args=args, daemon=True)
    made.start()
    return made


def join(made):
    """Not made.join(): that would block this OS thread, and with it the tasklets of a single thread."""
    wait_for(lambda: not made.is_alive(), "the thread to end")


@pytest.fixture(params=LOCKS)
def lock(request):
    return request.param()


def settle():
    for _ in range(3):
        schedule()


# ---- what they have in common ----


def test_mutual_exclusion_in_order(lock):
    log = []

    def work(name):
        with lock:
            log.append(name)
            schedule()
            log.append(name)

    for name in "abcd":
        go(work, name)
    stackless.run()
    assert "".join(log) == "aabbccdd"


def test_acquire_returns_what_threading_returns(lock):
    assert lock.acquire() is True
    results = []

    def other():
        results.append(lock.acquire(False))
        results.append(lock.acquire(blocking=False))
        results.append(lock.acquire(timeout=0.001))
        results.append(lock.acquire(True, 0))

    go(other)
    stackless.run()
    assert results == [False] * 4
    lock.release()
    assert lock.acquire(timeout=5) is True
    lock.release()


def test_acquire_refuses_a_timeout_without_blocking(lock):
    with pytest.raises(ValueError, match="can't specify a timeout for a non-blocking call"):
        lock.acquire(False, 1)


@pytest.mark.parametrize("bad", [{"nonsense": 1}, {"blocking": True, "timeout": "x"}])
def test_acquire_refuses_bad_arguments(lock, bad):
    with pytest.raises(TypeError):
        lock.acquire(**bad)


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_a_negative_timeout_of_a_lock_is_an_error(kind):
    with pytest.raises(ValueError, match="non-negative"):
        kind().acquire(True, -2)
    assert kind().acquire(True, -1) is True
    assert kind().acquire(True, None) is True


def test_a_negative_timeout_elsewhere_is_over_at_once():
    assert Semaphore(0).acquire(timeout=-3) is False
    assert Event().wait(-3) is False
    with Condition() as _, pytest.raises(ValueError):
        Semaphore().acquire(timeout=float("nan"))


def test_release_does_not_switch(lock):
    log = []
    lock.acquire()
    go(lambda: (lock.acquire(), log.append("got it"), lock.release()))
    schedule()
    lock.release()
    assert log == []
    stackless.run()
    assert log == ["got it"]


def test_nobody_comes_between_a_release_and_the_first_waiter(lock):
    lock.acquire()
    go(lambda: (lock.acquire(), schedule(), lock.release()))
    schedule()
    lock.release()
    assert lock.acquire(False) is False
    stackless.run()
    assert lock.acquire(False) is True
    lock.release()


def test_a_waiter_that_is_killed_before_its_turn_leaves_the_queue(lock):
    log = []
    lock.acquire()
    first, second = go(lock.acquire), go(lambda: (lock.acquire(), log.append(2), lock.release()))
    schedule()
    first.kill()
    lock.release()
    stackless.run()
    assert log == [2]


@pytest.mark.parametrize("how", ["kill", "throw"])
def test_a_waiter_that_dies_after_it_was_chosen_passes_it_on(lock, how):
    log = []
    lock.acquire()

    def victim():
        with pytest.raises(ValueError) if how == "throw" else pytest.raises(stackless.TaskletExit):
            lock.acquire()
        log.append("victim")

    first = go(victim)
    go(lambda: (lock.acquire(), log.append("second"), lock.release()))
    schedule()
    lock.release()
    first.kill(pending=True) if how == "kill" else first.throw(ValueError, pending=True)
    stackless.run()
    assert log == ["victim", "second"]
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("way", ["argument", "block"])
def test_a_release_and_the_end_of_a_time_at_once(lock, way):
    """Whichever comes first: the waiter has the lock exactly if it was told so."""
    for delay in [0.0005, 0.001, 0.0015] * 10:
        log = []
        lock.acquire()

        def timed():
            if way == "argument":
                got = lock.acquire(timeout=0.001)
            else:
                got = False
                try:
                    with stackless.timeout(0.001):
                        got = lock.acquire()
                except TimeoutError:
                    pass
            if got:
                lock.release()
            log.append("timed")

        go(timed)
        go(lambda: (lock.acquire(), log.append("second"), lock.release()))
        settle()
        stackless.sleep(delay)
        lock.release()
        stackless.run()
        assert sorted(log) == ["second", "timed"]
        assert lock.acquire(False)
        lock.release()


def test_insert_wakes_a_waiter_for_nothing(lock):
    log = []
    lock.acquire()
    waiter = go(lambda: (lock.acquire(), log.append("got it"), lock.release()))
    schedule()
    waiter.insert()
    settle()
    assert log == [] and waiter.alive
    lock.release()
    stackless.run()
    assert log == ["got it"]


def test_a_waiter_is_neither_blocked_nor_scheduled():
    lock = Lock()
    lock.acquire()
    waiter = go(lock.acquire)
    schedule()
    assert waiter.alive and not (waiter.blocked or waiter.scheduled or waiter.paused)
    assert "1 waiting" in repr(lock)
    waiter.kill()
    assert "0 waiting" in repr(lock)


def test_block_trap_and_switch_trap(lock):
    lock.acquire()

    def trapped():
        stackless.getcurrent().block_trap = True
        with pytest.raises(RuntimeError, match="does not like to be blocked"):
            lock.acquire()
        stackless.getcurrent().block_trap = False
        stackless.switch_trap(1)
        with pytest.raises(RuntimeError, match="switch_trap"):
            lock.acquire()
        stackless.switch_trap(-1)
        assert lock.acquire(False) is False

    go(trapped)
    stackless.run()
    lock.release()
    assert lock.acquire(False)
    lock.release()


@pytest.mark.parametrize("kind", [*LOCKS, Event])
def test_weak_references(kind):
    ref = weakref.ref(kind())
    gc.collect()
    assert ref() is None


def test_a_lock_that_its_holder_refers_to_is_collected():
    class Holder(RLock):
        def __init__(self, extra):
            self.extra = extra

    lock = Holder([])
    lock.extra.append(lock)
    ref = weakref.ref(lock)
    lock.acquire()
    lock.release()
    del lock
    gc.collect()
    assert ref() is None


def test_no_arguments():
    for kind in (Lock, RLock, Event):
        with pytest.raises(TypeError, match="takes no arguments"):
            kind(1)


def test_they_are_not_pickled(lock):
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(lock)


# ---- threads ----


def test_threads_exclude_each_other(lock):
    counter = [0]

    def work():
        for _ in range(300):
            with lock:
                seen = counter[0]
                schedule()
                counter[0] = seen + 1

    threads = [thread(work) for _ in range(3)]
    for _ in range(2):
        go(work)
    stackless.run()
    for one in threads:
        join(one)
    assert counter[0] == 5 * 300


def test_a_thread_parked_alone_is_woken_by_another():
    event, got = Event(), []
    waiter = thread(lambda: got.append(event.wait()))
    wait_for(lambda: "1 waiting" in repr(event), "the thread to wait")
    event.set()
    join(waiter)
    assert got == [True]


def test_main_waits_for_a_thread_although_a_tasklet_has_ended():
    """1.4 gives an error where a channel is waited for; here another thread may still come."""
    event = Event()
    go(lambda: None)
    helper = thread(lambda: (time.sleep(0.05), event.set()))
    assert event.wait() is True
    helper.join()


def test_main_waits_for_a_lock_that_a_thread_holds():
    lock, log = Lock(), []
    ready = threading.Event()

    def hold():
        with lock:
            ready.set()
            time.sleep(0.05)
            log.append("thread")

    holder = thread(hold)
    ready.wait()
    with lock:
        log.append("main")
    assert log == ["thread", "main"]
    holder.join()


def test_a_kill_from_another_thread_passes_it_on():
    for _ in range(50):
        lock, got = Lock(), []
        lock.acquire()
        victim = go(lambda: (lock.acquire(), lock.release()))
        go(lambda: (lock.acquire(), got.append(1), lock.release()))
        schedule()
        killer = thread(victim.kill)
        lock.release()
        stackless.run()
        join(killer)
        stackless.run()
        assert got == [1] and not victim.alive
        assert lock.acquire(False)


def test_a_thread_cannot_release_the_rlock_of_another():
    lock, errors = RLock(), []

    def other():
        try:
            lock.release()
        except RuntimeError as error:
            errors.append(str(error))

    with lock:
        join(thread(other))
    assert "cannot release un-acquired lock" in errors[0]


# ---- deadlocks ----


def test_the_last_runnable_tasklet_gets_an_error(lock):
    lock.acquire()
    errors = []

    def waiter():
        try:
            lock.acquire()
        except RuntimeError as error:
            errors.append(str(error))

    go(waiter)
    event = Event()
    with pytest.raises(RuntimeError, match="nobody is left who could wake it"):
        event.wait()
    assert errors == ["Deadlock: the last runnable tasklet cannot be blocked."]


def test_main_alone_gets_an_error():
    lock = Lock()
    lock.acquire()
    with pytest.raises(RuntimeError, match="Deadlock"):
        lock.acquire()
    lock.release()
    assert lock.acquire(False)


def test_all_threads_parked_is_a_deadlock(mode):
    script = """
        import stackless, threading
        a, b = stackless.Lock(), stackless.Lock()
        first, second = threading.Event(), threading.Event()
        def thread():
            with b:
                second.set(); first.wait()
                try:
                    with a: print("thread has both")
                except RuntimeError as error:
                    print(error)
        t = threading.Thread(target=thread); t.start()
        with a:
            second.wait(); first.set()
            try:
                with b: print("main has both")
            except RuntimeError as error:
                print(error)
        t.join()
        """
    lines = run_script(script, env=mode).lines
    assert len(lines) == 2 and sum("Deadlock" in line for line in lines) == 1 and sum("has both" in line for line in lines) == 1


def test_run_returns_when_all_wait():
    lock = Lock()
    lock.acquire()
    waiter = go(lock.acquire)
    stackless.run()
    assert waiter.alive
    lock.release()
    stackless.run()
    assert not waiter.alive


# ---- strays ----


def test_a_stray_takes_and_releases(many_threads, lock):
    log = []

    def blocked():
        time.sleep(0.02)
        with lock:
            log.append("stray")
            schedule()
            log.append("stray")

    def beside():
        while len(log) < 6:
            with lock:
                log.append("beside")
                schedule()
                log.append("beside")
            schedule()

    go(blocked)
    go(beside)
    stackless.run()
    text = "".join("s" if one == "stray" else "b" for one in log)
    assert text.replace("ss", "").replace("bb", "") == "" and "ss" in text


def test_a_stray_is_killed_while_it_works_with_locks(many_threads):
    """A kill hits a stray between any two instructions: no lock may stay taken for ever."""
    lock, semaphore = Lock(), Semaphore(2)

    def work():
        while True:
            time.sleep(0.0005)
            for _ in range(100):
                with semaphore:
                    with lock:
                        pass

    for _ in range(20):
        victims = [go(work) for _ in range(4)]
        stackless.sleep(0.003)
        for victim in victims:
            victim.kill(pending=True)
        stackless.run()
        assert not any(victim.alive for victim in victims)
    # `with` takes the lock and registers its exit in one step, so these are free again
    assert lock.acquire(False) and semaphore.acquire(False) and semaphore.acquire(False)


# ---- Lock, RLock ----


def test_release_of_a_free_lock():
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        Lock().release()
    with pytest.raises(RuntimeError, match="cannot release un-acquired lock"):
        RLock().release()


def test_any_tasklet_may_release_a_lock():
    lock = Lock()
    lock.acquire()
    assert lock.locked()
    go(lock.release)
    stackless.run()
    assert not lock.locked()


def test_an_rlock_belongs_to_the_tasklet():
    lock, log = RLock(), []
    lock.acquire()
    lock.acquire()

    def other():
        log.append(lock.acquire(False))
        with pytest.raises(RuntimeError, match="cannot release un-acquired lock: .*main"):
            lock.release()

    go(other)
    stackless.run()
    assert log == [False]
    lock.release()
    assert lock.locked()
    lock.release()
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()


def test_an_rlock_of_a_dead_tasklet_stays_taken():
    lock = RLock()
    go(lock.acquire)
    stackless.run()
    for _ in range(100):  # a new tasklet at the old address is not the owner
        results = []
        go(lambda: results.append(lock.acquire(False)))
        stackless.run()
        assert results == [False]


# ---- Semaphore ----


def test_semaphore_counts():
    semaphore = Semaphore(2)
    assert semaphore.acquire() and semaphore.acquire() and not semaphore.acquire(False)
    assert semaphore.locked()
    semaphore.release(3)
    assert [semaphore.acquire(False) for _ in range(4)] == [True] * 3 + [False]


def test_release_of_several_goes_to_the_waiters_first():
    semaphore, log = Semaphore(0), []
    for name in range(3):
        go(lambda name: (semaphore.acquire(), log.append(name)), name)
    settle()
    semaphore.release(5)
    stackless.run()
    assert log == [0, 1, 2]
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]


def test_errors_of_semaphores():
    with pytest.raises(ValueError, match=">= 0, got -1"):
        Semaphore(-1)
    with pytest.raises(ValueError, match="one or more, got 0"):
        Semaphore().release(0)
    bounded = BoundedSemaphore(2)
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release()
    bounded.acquire()
    with pytest.raises(ValueError, match="released too many times"):
        bounded.release(2)
    bounded.release()
    assert isinstance(bounded, Semaphore)


# ---- Event ----


def test_event():
    event, log = Event(), []
    for name in "ab":
        go(lambda name: log.append((name, event.wait(PATIENCE))), name)
    settle()
    assert not event.is_set() and log == []
    event.set()
    event.clear()  # those who waited were woken nevertheless
    stackless.run()
    assert log == [("a", True), ("b", True)]
    assert event.wait(0) is False and event.wait(0.001) is False
    event.set()
    assert event.is_set() and event.wait() is True and event.wait(0) is True


def test_a_killed_waiter_of_an_event_does_not_set_it():
    event = Event()
    waiter = go(event.wait)
    schedule()
    event.set()
    event.clear()
    waiter.kill(pending=True)
    stackless.run()
    assert not event.is_set() and event.wait(0) is False


# ---- Condition ----


@pytest.mark.parametrize("kind", [Lock, RLock])
def test_condition_wakes_in_order(kind):
    condition, log = Condition(kind()), []

    def wait(name):
        with condition:
            condition.wait()
            log.append(name)

    for name in "abc":
        go(wait, name)
    settle()
    for n in (1, 5):
        with condition:
            condition.notify(n)
            assert log == ([] if n == 1 else ["a"])
        settle()
    assert log == ["a", "b", "c"]


def test_condition_releases_an_rlock_fully_and_takes_it_back():
    condition = Condition()

    def wait():
        with condition, condition:
            condition.wait()
            condition.release()
            condition.release()
            with pytest.raises(RuntimeError):
                condition.release()
            condition.acquire()
            condition.acquire()

    go(wait)
    schedule()
    with condition:
        condition.notify_all()
    stackless.run()
    assert condition.acquire(False)
    condition.release()


def test_condition_time_outs():
    condition = Condition()
    with condition:
        assert condition.wait(0) is False
        assert condition.wait(0.001) is False
        assert condition.wait_for(lambda: 0, 0.001) == 0
        assert condition.wait_for(lambda: "yes", 0) == "yes"


def test_wait_for():
    condition, state = Condition(), []

    def work():
        for item in "xyz":
            with condition:
                state.append(item)
                condition.notify()
            schedule()

    go(work)
    with condition:
        assert condition.wait_for(lambda: "".join(state) if len(state) == 3 else "") == "xyz"
        with pytest.raises(ZeroDivisionError):
            condition.wait_for(lambda: 1 / 0)
    stackless.run()


def test_condition_errors():
    condition = Condition()
    with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
        condition.wait()
    for call in (condition.notify, condition.notify_all):
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            call()
    with pytest.raises(TypeError, match="needs a stackless.Lock or stackless.RLock"):
        Condition(threading.Lock())


def test_a_killed_waiter_of_a_condition_passes_the_notification_on():
    condition, log = Condition(), []

    def wait(name):
        try:
            with condition:
                condition.wait()
                log.append(name)
        finally:
            log.append(f"{name} ends")

    first, second = go(wait, "first"), go(wait, "second")
    settle()
    with condition:
        condition.notify()
    first.kill(pending=True)
    stackless.run()
    assert log == ["first ends", "second", "second ends"]


def test_who_is_killed_in_a_condition_comes_back_with_the_lock():
    condition, log = Condition(Lock()), []

    def wait():
        with condition:
            try:
                condition.wait()
            except BaseException as error:
                log.append((type(error), type(error.__context__), condition.acquire(False)))
                raise

    waiter = go(wait)
    schedule()
    condition.acquire()
    waiter.throw(ValueError)
    assert log == [] and waiter.alive  # it waits for the lock
    waiter.throw(KeyError)
    assert log == [] and waiter.alive
    condition.release()
    with pytest.raises(KeyError):
        stackless.run()
    assert log == [(KeyError, ValueError, False)]
    assert condition.acquire(False)


def test_a_kill_in_a_condition_is_not_lost_for_what_is_thrown_after_it():
    condition, log = Condition(Lock()), []

    def wait():
        try:
            with condition:
                condition.wait()
        except BaseException as error:
            log.append((type(error), type(error.__context__), error.__context__.__context__))
            raise

    waiter = go(wait)
    schedule()
    condition.acquire()
    waiter.kill()
    waiter.throw(ValueError)
    condition.release()
    stackless.run()
    assert log == [(stackless.TaskletExit, ValueError, None)] and not waiter.alive


def waits_while_we_hold(condition):
    """A tasklet that waits in condition, whose lock we take meanwhile."""
    def wait():
        with condition:
            condition.wait()

    waiter = go(wait)
    schedule()
    condition.acquire()
    return waiter


def test_who_is_killed_in_a_condition_and_waits_for_the_lock_has_swallowed_nothing():
    condition = Condition(Lock())
    waiter = waits_while_we_hold(condition)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waiter.kill()
        other = go(lambda: [schedule() for _ in range(5)])
        while other.alive:
            schedule()
    assert waiter.alive and not caught
    condition.release()
    stackless.run()
    assert not waiter.alive


@pytest.mark.limit(10)
def test_who_cannot_come_back_gives_up():
    condition = Condition(RLock())
    waiter = waits_while_we_hold(condition)
    for _ in range(20):
        if waiter.alive:
            waiter.throw(stackless.TaskletExit, pending=True)
            try:
                schedule()
            except RuntimeError as error:
                assert "cannot release un-acquired lock" in str(error)
    assert not waiter.alive
    condition.release()


def test_a_notified_waiter_whose_time_is_over_too_is_not_lost():
    for _ in range(30):
        condition, got = Condition(), []

        def wait(seconds):
            with condition:
                got.append(condition.wait(seconds))

        go(wait, 0.001)
        go(wait, PATIENCE)
        settle()
        time.sleep(0.001)
        with condition:
            condition.notify()
        stackless.sleep(0.003)
        if got.count(True) == 0:
            pytest.fail(f"the notification was lost: {got}")
        with condition:
            condition.notify_all()
        stackless.run()


# ---- a kill from another thread of a tasklet that runs ----


def test_a_kill_from_another_thread_hits_a_tasklet_that_is_running():
    """It is raised at the next scheduling point, whatever that is, and not lost there."""

    def busy():
        while True:
            sum(range(2000))
            schedule()

    victim = go(busy)
    schedule()
    killer = thread(lambda: (time.sleep(0.02), victim.kill()))
    wait_for(lambda: not victim.alive, "the victim to end", pause=schedule)
    join(killer)
