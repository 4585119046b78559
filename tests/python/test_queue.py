# SPDX-License-Identifier: MIT
"""Queue, LifoQueue, PriorityQueue: the standard library's behaviour, order of service, kills, threads, shutdown."""

import gc
import queue as std
import random
import sys
import threading
import time
import weakref

import pytest
import stackless
from stackless import LifoQueue, PriorityQueue, Queue, ShutDown, schedule, tasklet

from support import PATIENCE, wait_for

KINDS = [Queue, LifoQueue, PriorityQueue]


class Overridden(Queue):
    """One that keeps its items by the hooks of the standard library's class."""

    def _init(self, maxsize):
        self.items = []

    def _qsize(self):
        return len(self.items)

    def _put(self, item):
        self.items.append(item)

    def _get(self):
        return self.items.pop(0)


@pytest.fixture(params=[*KINDS, Overridden])
def kind(request):
    return request.param


def go(function, *args):
    return tasklet(function)(*args)


def settle():
    for _ in range(4):
        schedule()


def thread(function, *args):
    made = threading.Thread(target=function, args=args, daemon=True)
    made.start()
    return made


def drain(q):
    items = []
    while not q.empty():
        items.append(q.get_nowait())
    return items


# ---- as in the standard library ----


@pytest.mark.parametrize("ours, theirs", [(Queue, std.Queue), (LifoQueue, std.LifoQueue), (PriorityQueue, std.PriorityQueue)])
def test_the_same_calls_give_the_same(ours, theirs):
    rng = random.Random(5)
    for maxsize in (0, 1, 3, -1):
        a, b = ours(maxsize), theirs(maxsize)
        for _ in range(300):
            item, choice = rng.randrange(100), rng.randrange(3)
            results = []
            for q in (a, b):
                try:
                    if choice == 0:
                        result = q.put(item, False)
                    elif choice == 1:
                        result = q.get_nowait()
                    else:
                        result = q.task_done()
                except (std.Full, std.Empty, ValueError) as error:
                    result = type(error)
                results.append((result, q.qsize(), q.empty(), q.full(), q.unfinished_tasks, q.maxsize))
            assert results[0] == results[1]


def test_errors_are_those_of_the_standard_library(kind):
    q = kind(1)
    with pytest.raises(std.Empty):
        q.get(False)
    with pytest.raises(std.Empty):
        q.get(timeout=0.001)
    q.put(1)
    with pytest.raises(std.Full):
        q.put_nowait(2)
    with pytest.raises(std.Full):
        q.put(2, timeout=0.001)
    with pytest.raises(std.Full):
        q.put(2, True, 0)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            q.get(True, bad)
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            q.put(1, timeout=bad)
    with pytest.raises(TypeError):
        q.put()
    with pytest.raises(TypeError):
        q.put(1, nonsense=2)
    with pytest.raises(TypeError):
        q.get(1, 2, 3)
    assert q.get() == 1


def test_it_is_generic():
    assert Queue[int].__origin__ is Queue


def test_priority():
    q = PriorityQueue()
    for item in (3, 1, 2):
        q.put(item)
    assert drain(q) == [1, 2, 3]


def test_what_cannot_be_compared_is_refused_and_leaves_the_heap_as_it_was():
    rng = random.Random(3)
    for _ in range(50):
        q, items = PriorityQueue(), [rng.randrange(50) for _ in range(rng.randrange(1, 30))]

        class Odd:
            """Can be compared a few times."""

            left = rng.randrange(4)

            def __lt__(self, other):
                if not self.left:
                    raise TypeError("no more")
                self.left -= 1
                return True

        for item in items:
            q.put(item)
        before = list(q.queue)
        odd = Odd()
        try:
            q.put(odd)
        except TypeError:
            assert q.queue == before and q.unfinished_tasks == len(items)
            assert drain(q) == sorted(items)


def test_an_item_that_cannot_be_got_is_still_there():
    q = PriorityQueue()

    class Bad:
        bad = False

        def __lt__(self, other):
            if self.bad:
                raise TypeError("bad")
            return id(self) < id(other)

    items = [Bad() for _ in range(5)]
    for item in items:
        q.put(item)
    Bad.bad = True
    with pytest.raises(TypeError):
        q.get()
    Bad.bad = False
    assert q.qsize() == 5 and set(drain(q)) == set(items)


@pytest.mark.parametrize("kind", KINDS)
def test_no_exception_from_outside_can_come_between_an_item_and_its_count(kind):
    """It would be raised between two instructions; so there must be none in put() and get()."""
    q, calls = kind(3), []
    sys.setprofile(lambda frame, event, arg: event == "call" and calls.append(frame.f_code.co_name))
    try:
        q.put(2)
        q.put(1)
        q.get()
    finally:
        sys.setprofile(None)
    assert calls == []


def test_a_subclass_that_is_not_set_up():
    class Broken(Queue):
        def __init__(self):
            pass

    with pytest.raises(AttributeError):
        Broken().put(1)


def test_collection():
    q = Queue()
    q.put(q)
    ref = weakref.ref(q)
    del q
    gc.collect()
    assert ref() is None


# ---- waiting ----


def test_getters_are_served_in_order(kind):
    q, log = kind(), []
    for name in "abc":
        go(lambda name: log.append((name, q.get())), name)
    settle()
    for item in range(3):
        q.put(item)
    assert log == []  # put() does not switch
    with pytest.raises(std.Empty):
        q.get_nowait()  # they are promised
    settle()
    assert log == [("a", 0), ("b", 1), ("c", 2)] or kind is LifoQueue and sorted(n for n, _ in log) == ["a", "b", "c"]


def test_putters_are_served_in_order(kind):
    q, log = kind(1), []
    q.put(0)
    for item in range(1, 4):
        go(lambda item: (q.put(item), log.append(item)), item)
    settle()
    assert q.get() == 0
    with pytest.raises(std.Full):
        q.put_nowait(9)
    settle()
    assert [q.get() for _ in range(3) if settle() is None] == [1, 2, 3] and log == [1, 2, 3]


def test_a_getter_that_dies_after_it_was_chosen_passes_the_item_on(kind):
    q, log = kind(), []
    first = go(q.get)
    go(lambda: log.append(q.get()))
    settle()
    q.put("x")
    first.kill(pending=True)
    stackless.run()
    assert log == ["x"]
    last = go(q.get)
    settle()
    q.put("y")
    last.kill(pending=True)
    stackless.run()
    assert q.get_nowait() == "y"


def test_a_putter_that_dies_after_it_was_chosen_passes_the_place_on(kind):
    q, log = kind(1), []
    q.put(0)
    first = go(q.put, 1)
    go(lambda: (q.put(2), log.append(2)))
    settle()
    assert q.get() == 0
    first.kill(pending=True)
    stackless.run()
    assert log == [2] and q.get_nowait() == 2 and q.unfinished_tasks == 2


def test_join():
    q, log = Queue(), []
    assert q.join() is True
    for item in range(3):
        q.put(item)

    def work():
        while True:
            item = q.get()
            schedule()
            log.append(item)
            q.task_done()

    worker = go(work)
    assert q.join(0) is False and q.join(timeout=0.0) is False
    assert q.join() is True
    assert log == [0, 1, 2] and q.unfinished_tasks == 0
    with pytest.raises(ValueError, match="called too many times"):
        q.task_done()
    worker.kill()


def test_threads(kind):
    q, got = kind(3), []
    per = 200

    def produce(base):
        for item in range(base, base + per):
            q.put(item)

    def consume():
        for _ in range(per):
            got.append(q.get())

    threads = [thread(produce, 0), thread(consume), thread(produce, per)]
    go(produce, 2 * per)
    go(consume)
    go(consume)
    wait_for(lambda: len(got) == 3 * per, "all items")
    assert sorted(got) == list(range(3 * per))
    for one in threads:
        wait_for(lambda: not one.is_alive())


def test_a_comparison_that_switches():
    class Slow(int):
        def __lt__(self, other):
            schedule()
            return int(self) < int(other)

    q, got = PriorityQueue(), []

    def produce(base):
        for item in range(base, base + 20):
            q.put(Slow(item))

    def consume():
        for _ in range(20):
            got.append(int(q.get()))

    for base in (0, 20, 40):
        go(produce, base)
        go(consume)
    stackless.run()
    assert sorted(got) == list(range(60))


def test_strays(many_threads):
    q, got = Queue(2), []

    def produce(base):
        for item in range(base, base + 20):
            time.sleep(0.0005)
            q.put(item)

    def consume():
        for _ in range(20):
            got.append(q.get(timeout=PATIENCE))
            time.sleep(0.0005)

    for base in (0, 20, 40):
        go(produce, base)
        go(consume)
    stackless.run()
    assert sorted(got) == list(range(60))


# ---- shutdown ----


def test_shutdown(kind):
    q = kind()
    q.put(1)
    q.shutdown()
    assert q.is_shutdown
    with pytest.raises(ShutDown):
        q.put(2)
    with pytest.raises(ShutDown):
        q.put_nowait(2)
    assert q.get() == 1
    for call in (q.get, q.get_nowait):
        with pytest.raises(ShutDown):
            call()
    assert getattr(std, "ShutDown", ShutDown) is ShutDown


def test_shutdown_tells_who_waits(kind):
    log = []
    full, empty = kind(1), kind()
    full.put(0)

    def told(call, *args):
        with pytest.raises(ShutDown):
            call(*args)
        log.append(1)

    for _ in range(3):
        go(told, full.put, 1)
        go(told, empty.get)
    settle()
    full.shutdown()
    empty.shutdown()
    stackless.run()
    assert log == [1] * 6 and full.get() == 0


def test_shutdown_after_a_putter_was_chosen():
    q, log = Queue(1), []
    q.put(0)

    def put():
        with pytest.raises(ShutDown):
            q.put(1)
        log.append("told")

    go(put)
    settle()
    q.get()
    q.shutdown()
    stackless.run()
    assert log == ["told"] and q.empty()


def test_immediate_shutdown(kind):
    q, log = kind(2), []
    for item in range(2):
        q.put(item)
    go(lambda: log.append(q.join()))
    settle()
    q.shutdown(immediate=True)
    stackless.run()
    assert log == [True] and q.empty() and q.unfinished_tasks == 0
    with pytest.raises(ShutDown):
        q.get()


def test_immediate_shutdown_leaves_what_is_promised():
    q, log = Queue(), []
    go(lambda: log.append(q.get()))
    settle()
    q.put("one")
    q.put("other")
    q.shutdown(immediate=True)
    assert q.qsize() == 1  # which one it gets is decided when it runs
    stackless.run()
    assert log == ["other"] and q.empty()
