# SPDX-License-Identifier: MIT
"""Locks, semaphores, queues, conditions, events and groups under random kills, timeouts and throws.

Whatever hits a tasklet between any two instructions, also from other threads: no permit, item or wake-up is lost,
none comes twice, and all ends. scenario.py runs them.
"""

import pytest

from scenario import run

ATTACKS = """
# A call and the note that it has been made, without an instruction in between where an exception could be raised:
# noted(log, f, x) is log.append(f(x)), note_item(log, item, f, x) is f(x); log.append(item).
from itertools import starmap
from operator import itemgetter
FIRST = itemgetter(0)

def noted(log, function, *arguments):
    log.extend(starmap(function, [arguments]))

def note_item(log, item, function, *arguments):
    log.extend(map(FIRST, zip([item], starmap(function, [arguments]))))

class Worker:
    def __init__(self, body, rng, *rest):
        self.started = False
        self.body, self.rng, self.rest = body, rng, rest
        self.held, self.released = [], []
        self.tasklet = stackless.tasklet(self.run)()

    def run(self):
        self.started = True
        self.body(self, self.rng, *self.rest)

def attack(local, victims, times, switches=True):
    for _ in range(times):
        victim = local.choice(victims)
        choice = local.randrange(6)
        try:
            if choice == 0 and local.random() < 0.3:
                victim.tasklet.kill(pending=True)
            elif choice == 1 and local.random() < 0.3 and switches:
                victim.tasklet.kill()
            elif choice in (2, 3) and victim.started:
                victim.tasklet.throw(Thrown, pending=True)
            elif choice == 4 and victim.started and victim.tasklet.paused:
                victim.tasklet.insert()
        except RuntimeError:
            pass                    # it has ended, or its thread has
        if switches:
            stackless.schedule() if local.random() < 0.7 else stackless.sleep(0.0003)
        else:
            time.sleep(0.0002)

def run_quietly():
    try:
        stackless.run()
    except Thrown:
        pass                        # raised where nothing caught it

def in_threads(count, make, local):
    # The workers of each of count threads, made there by make(); they run until all have ended.
    made, ready = [], threading.Semaphore(0)
    def body(seed):
        mine = make(random.Random(seed))
        made.extend(mine)
        stackless.tasklet(attack)(random.Random(seed + 1), made, 30)
        ready.release()
        while any(one.tasklet.alive for one in mine):
            run_quietly()
            time.sleep(0.0003)
        run_quietly()
    threads = [threading.Thread(target=body, args=(local.random(),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for _ in threads:
        ready.acquire()
    return made, threads

def finish(workers, threads, settle):
    # Until all have ended. settle() sets free what the dead have kept, and says whether something can still happen.
    hopeless = 0
    while any(one.tasklet.alive for one in workers) or any(thread.is_alive() for thread in threads):
        run_quietly()
        hopeless = 0 if settle() else hopeless + 1
        assert hopeless < 3000, [repr(one.tasklet) for one in workers if one.tasklet.alive]
        time.sleep(0.0005)
    for thread in threads:
        thread.join()
    run_quietly()                   # the attackers of this thread
"""

SCENARIOS = {}

SCENARIOS["locks"] = """
# Permits are counted by who has got and given back how many.
def work(me, local, lock, permits, workers):
    def give_back():
        while len(me.held) > len(me.released):
            noted(me.released, lock.release)
    try:
        for _ in range(local.randrange(1, 15)):
            try:
                choice = local.randrange(8)
                if choice < 3:
                    me.held.extend(filter(None, starmap(lock.acquire, [()])))
                elif choice == 3:
                    me.held.extend(filter(None, starmap(lock.acquire, [(False,)])))
                elif choice == 4:
                    me.held.extend(filter(None, starmap(lock.acquire, [(True, local.random() * 0.002)])))
                elif choice == 5:
                    with stackless.timeout(local.random() * 0.002):
                        me.held.extend(filter(None, starmap(lock.acquire, [()])))
                elif choice == 6 and isinstance(lock, stackless.RLock):
                    for _ in range(3):
                        me.held.extend(filter(None, starmap(lock.acquire, [()])))
                else:
                    time.sleep(local.random() * 0.001)
                if not isinstance(lock, stackless.RLock):
                    taken = sum(len(one.held) for one in workers)   # first, so that the difference is not too large
                    assert taken - sum(len(one.released) for one in workers) <= permits
                if local.random() < 0.6:
                    stackless.schedule() if local.random() < 0.5 else stackless.sleep(local.random() * 0.001)
                give_back()
            except (Thrown, TimeoutError):
                give_back()
    finally:
        give_back()

while goes_on():
    rng = random.Random(seed + rounds)
    permits = rng.randrange(1, 4)
    kind = rng.randrange(4)
    if kind < 2:
        permits = 1
    lock = [stackless.Lock, stackless.RLock, lambda: stackless.Semaphore(permits),
            lambda: stackless.BoundedSemaphore(permits)][kind]()
    everybody = []
    def make(local):
        made = [Worker(work, random.Random(local.random()), lock, permits, everybody) for _ in range(local.randrange(1, 20))]
        everybody.extend(made)
        return made
    mine = make(rng)
    others, threads = in_threads(rng.choice((0, 0, 1, 2)), make, rng)
    stackless.tasklet(attack)(random.Random(rng.random()), everybody, 60)
    if rng.random() < 0.3:
        threads.append(threading.Thread(target=attack, args=(random.Random(rng.random()), everybody, 30, False)))
        threads[-1].start()
    def settle():
        # An exception between two instructions may have ended one before it could give back.
        kept = [one for one in everybody if not one.tasklet.alive and len(one.held) > len(one.released)]
        for one in kept:
            if kind == 1:
                for other in everybody:     # nobody else can release an RLock
                    other.tasklet.kill(pending=True)
            else:
                noted(one.released, lock.release)
        return bool(kept) or not lock.locked() and not any(one.tasklet.alive for one in everybody)
    finish(everybody, threads, settle)
    while settle() and kind != 1 and any(len(one.held) > len(one.released) for one in everybody):
        pass
    kept = [one for one in everybody if len(one.held) > len(one.released)]
    assert all(len(one.held) >= len(one.released) for one in everybody)
    if kind == 1:
        assert lock.locked() == bool(kept) and len(kept) <= 1, (lock, kept)
    else:
        assert not kept
        assert [lock.acquire(False) for _ in range(permits + 1)] == [True] * permits + [False], lock
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["queues"] = """
# What was put is what was got, and what is left.
def produce(me, local, queue, numbers):
    for _ in range(local.randrange(1, 30)):
        try:
            item = next(numbers)
            choice = local.randrange(5)
            if choice < 2:
                note_item(me.held, item, queue.put, item)
            elif choice == 2:
                note_item(me.held, item, queue.put, item, True, local.random() * 0.002)
            elif choice == 3:
                with stackless.timeout(local.random() * 0.002):
                    note_item(me.held, item, queue.put, item)
            else:
                note_item(me.held, item, queue.put_nowait, item)
            if local.random() < 0.2:
                time.sleep(local.random() * 0.001)
        except (Thrown, TimeoutError, Full):
            stackless.schedule()
        except stackless.ShutDown:
            return

def consume(me, local, queue, numbers):
    while True:
        try:
            choice = local.randrange(5)
            if choice < 2:
                noted(me.released, queue.get)
            elif choice == 2:
                noted(me.released, queue.get, True, local.random() * 0.002)
            elif choice == 3:
                with stackless.timeout(local.random() * 0.002):
                    noted(me.released, queue.get)
            else:
                noted(me.released, queue.get_nowait)
            if local.random() < 0.2:
                time.sleep(local.random() * 0.001)
        except (Thrown, TimeoutError, Empty):
            stackless.schedule()
        except stackless.ShutDown:
            return

from itertools import count
from queue import Empty, Full

while goes_on():
    rng = random.Random(seed + rounds)
    queue = rng.choice((stackless.Queue, stackless.LifoQueue, stackless.PriorityQueue))(rng.randrange(5))
    numbers, everybody = count(), []
    def make(local):
        made = [Worker(local.choice((produce, consume)), random.Random(local.random()), queue, numbers)
                for _ in range(local.randrange(2, 20))]
        everybody.extend(made)
        return made
    make(rng)
    others, threads = in_threads(rng.choice((0, 0, 1, 2)), make, rng)
    stackless.tasklet(attack)(random.Random(rng.random()), everybody, 60)
    if rng.random() < 0.3:
        threads.append(threading.Thread(target=attack, args=(random.Random(rng.random()), everybody, 30, False)))
        threads[-1].start()
    looks = [0]
    def settle():
        producers = any(one.body is produce and one.tasklet.alive for one in everybody)
        consumers = any(one.body is consume and one.tasklet.alive for one in everybody)
        looks[0] += 1
        if not producers or not consumers and queue.full() or looks[0] > 2000:
            queue.shutdown()
        return not queue.is_shutdown
    finish(everybody, threads, settle)
    put = [item for one in everybody for item in one.held]
    got = [item for one in everybody for item in one.released]
    left = []
    while queue.qsize():
        left.append(queue.get_nowait())
    assert sorted(put) == sorted(got + left), (set(put) ^ set(got + left))
    assert queue.unfinished_tasks == len(put)
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["conditions"] = """
# Exceptions come at scheduling points only (no call blocks, each thread attacks its own): plain with blocks hold,
# each notification finds somebody, and an event finds all.
def give(me, local, condition, store, event):
    for _ in range(local.randrange(1, 20)):
        try:
            if local.random() < 0.3:
                stackless.schedule()
            with condition:
                store[0] += 1
                me.held.append(1)
                try:
                    if local.random() < 0.3:
                        stackless.schedule()
                finally:
                    condition.notify()
        except Thrown:
            pass

def take(me, local, condition, store, event):
    for _ in range(local.randrange(1, 20)):
        try:
            with condition:
                assert not store[1]
                choice = local.randrange(4)
                if choice == 0:
                    if not condition.wait_for(lambda: store[0], local.random() * 0.002):
                        continue
                elif choice == 1:
                    with stackless.timeout(local.random() * 0.002):
                        condition.wait_for(lambda: store[0])
                else:
                    while not store[0]:
                        condition.wait()
                store[1] += 1           # nobody comes in between
                store[0] -= 1
                if local.random() < 0.3:
                    try:
                        stackless.schedule()
                    finally:
                        store[1] -= 1
                        me.released.append(1)
                else:
                    store[1] -= 1
                    me.released.append(1)
        except (Thrown, TimeoutError):
            pass

def wait(me, local, condition, store, event):
    while True:
        try:
            choice = local.randrange(3)
            if choice == 0:
                if event.wait(local.random() * 0.002):
                    return
            else:
                event.wait()
                return
        except Thrown:
            pass

while goes_on():
    rng = random.Random(seed + rounds)
    condition = stackless.Condition(rng.choice((stackless.Lock, stackless.RLock))())
    event, store, everybody = stackless.Event(), [0, 0], []
    def make(local):
        made = [Worker(local.choice((give, give, take, take, wait)), random.Random(local.random()), condition, store, event)
                for _ in range(local.randrange(2, 20))]
        everybody.extend(made)
        stackless.tasklet(attack)(random.Random(local.random()), made, 40)
        return made
    make(rng)
    failures = []
    def body(number):
        mine = make(random.Random(number))
        while any(one.tasklet.alive for one in mine):
            run_quietly()
            time.sleep(0.0003)
        run_quietly()
    threads = [threading.Thread(target=body, args=(rng.random(),)) for _ in range(rng.choice((0, 0, 1, 2)))]
    for thread in threads:
        thread.start()
    if rng.random() < 0.5:
        stackless.tasklet(lambda: (stackless.sleep(rng.random() * 0.003), event.set()))()
    def settle():
        # Takers may wait for ever for what nobody gives; then main does, one by one.
        alive = [one for one in everybody if one.tasklet.alive]
        if any(one.body is give for one in alive):
            return False
        event.set()
        if not any(one.body is take for one in alive):
            return False
        if store[0] == 0:
            with condition:
                store[0] += 1
                extra.append(1)
                condition.notify()
            return True
        return False
    extra = []
    finish(everybody, threads, settle)
    given = sum(len(one.held) for one in everybody) + len(extra)
    taken = sum(len(one.released) for one in everybody)
    assert store == [given - taken, 0], (store, given, taken)
    assert condition.acquire(False)
    condition.release()
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["groups"] = """
# All tasklets of a group end before its block, and each error that was raised comes out exactly once.
class Boom(Exception):
    pass

def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]

while goes_on():
    rng = random.Random(seed + rounds)
    raised, tasks, results = [], [], []
    def boom():
        raised.append(Boom(len(raised)))
        raise raised[-1]
    def work(local, depth):
        try:
            for _ in range(local.randrange(6)):
                choice = local.randrange(5)
                if choice == 0:
                    stackless.schedule()
                elif choice == 1:
                    stackless.sleep(local.random() * 0.001)
                elif choice == 2 and depth:
                    nest(local, depth - 1)
                elif choice == 3 and local.random() < 0.1:
                    boom()
                else:
                    stackless.channel().receive() if local.random() < 0.05 else stackless.schedule()
        except stackless.TaskletExit:
            if local.random() < 0.2:
                boom()
            raise
    def nest(local, depth):
        mine = []
        try:
            with stackless.TaskletGroup() as group:
                for _ in range(local.randrange(5)):
                    mine.append(group.spawn(work, random.Random(local.random()), depth))
                tasks.extend(mine)
                if local.random() < 0.2:
                    stackless.schedule()
                if local.random() < 0.05:
                    boom()
                if local.random() < 0.1:
                    group.cancel()
        finally:
            assert not any(one.alive for one in mine), mine
    def root():
        try:
            with stackless.timeout(rng.choice((None, 0.02, rng.random() * 0.003))):
                nest(rng, 2)
            results.append(None)
        except BaseException as error:
            results.append(error)
    top = stackless.tasklet(root)()
    def attack(local):
        for _ in range(30):
            if tasks and local.random() < 0.5:
                local.choice(tasks).kill(pending=local.random() < 0.7)
            elif local.random() < 0.02:
                top.kill(pending=True)
            stackless.schedule() if local.random() < 0.7 else stackless.sleep(0.0002)
    for _ in range(rng.randrange(3)):
        stackless.tasklet(attack)(random.Random(rng.random()))
    while top.alive:
        stackless.run()
        for one in list(tasks):
            if one.blocked and one.alive:
                one.kill(pending=True)
    stackless.run()
    assert not any(one.alive for one in tasks)
    found = [] if not results or results[0] is None else leaves(results[0])
    booms = [one for one in found if isinstance(one, Boom)]
    assert len(booms) == len(set(booms)), booms
    assert set(booms) == set(raised), (found, raised)
    assert all(isinstance(one, (Boom, TimeoutError, stackless.TaskletExit)) for one in found), found
    check_clean()
    rounds += 1
print("ok", rounds)
"""

SCENARIOS["asyncio"] = """
# Loops in tasklets and in a thread; coroutines await tasklets that call coroutines. Whatever is cancelled and killed:
# nothing outlives who waits for it, and all ends.
import asyncio
from concurrent.futures import CancelledError
from stackless import aio

while goes_on():
    rng = random.Random(seed + rounds)
    inside = []                         # of functions and coroutines, while they run
    channel, main = stackless.channel(), stackless.getmain()
    victims = []
    def function(local, depth):
        me = object()
        inside.append(me)
        # One that another thread runs, or a stray, would be hit between two instructions, as in front of the try.
        attacked = [stackless.getcurrent()] if stackless.getmain() is main else []
        victims.extend(attacked)
        try:
            choice = local.randrange(5)
            if choice == 0:
                stackless.sleep(local.random() * 0.002)
            elif choice == 1:
                with stackless.timeout(local.random() * 0.002):
                    channel.receive()
            elif choice == 2 and not attacked:
                time.sleep(local.random() * 0.001)
            elif depth:
                aio.call(coroutine(local, depth - 1), timeout=local.choice((None, local.random() * 0.003)))
        except (TimeoutError, asyncio.CancelledError, CancelledError):
            pass
        finally:
            inside.remove(me)
    async def coroutine(local, depth):
        me = object()
        inside.append(me)
        try:
            for _ in range(local.randrange(1, 4)):
                choice = local.randrange(4)
                if choice == 0:
                    await asyncio.sleep(local.random() * 0.002)
                elif choice == 1:
                    async with asyncio.timeout(local.random() * 0.003):
                        await aio.to_tasklet(function, random.Random(local.random()), depth)
                else:
                    await aio.to_tasklet(function, random.Random(local.random()), depth)
        except TimeoutError:
            pass
        finally:
            inside.remove(me)
    async def everything(local):
        tasks = [asyncio.create_task(coroutine(random.Random(local.random()), 3)) for _ in range(local.randrange(1, 8))]
        while any(not task.done() for task in tasks):
            await asyncio.sleep(local.random() * 0.002)
            if local.random() < 0.3:
                local.choice(tasks).cancel()
        for task in tasks:
            assert task.cancelled() or task.exception() is None, task
    def attack(local):
        for _ in range(30):
            if victims:
                local.choice(victims).kill(pending=True)
            stackless.sleep(local.random() * 0.002)
    ended = []
    def loop(local):
        aio.run(everything(local))
        ended.append(None)
    count = rng.randrange(1, 3)
    threads = [threading.Thread(target=loop, args=(random.Random(rng.random()),)) for _ in range(rng.choice((0, 0, 1)))]
    for thread in threads:
        thread.start()
    loops = [stackless.tasklet(loop)(random.Random(rng.random())) for _ in range(count)]
    if rng.random() < 0.5:
        stackless.tasklet(attack)(random.Random(rng.random()))
    unlucky = rng.random() < 0.2
    if unlucky:
        stackless.sleep(rng.random() * 0.005)
        loops[0].kill()
    while any(one.alive for one in loops) or any(thread.is_alive() for thread in threads):
        stackless.run()
        time.sleep(0.0005)
    stackless.run()
    assert len(ended) >= len(threads) + count - unlucky, ended
    assert not inside, inside
    check_clean()
    rounds += 1
print("ok", rounds)
"""


@pytest.mark.parametrize("threads", [None, "1"], ids=["default", "1"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_stress(name, threads, tmp_path):
    run(ATTACKS + SCENARIOS[name], threads, tmp_path)
