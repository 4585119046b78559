# SPDX-License-Identifier: MIT
"""The rows for gevent: greenlets with a hub, `gevent.sleep(0)` and its queues.

`Channel` is its queue without buffer, the nearest thing to Stackless's channel.
Ping-pong and ring take `Queue`, which is faster there and makes no difference else.
Nothing is monkey-patched: the gap rows are about calls that nobody patched.
"""

import time
from itertools import repeat
from time import perf_counter

from . import probe

gevent = None
Channel = Queue = None


def load(_name):
    global gevent, Channel, Queue
    import gevent as package
    from gevent import queue
    gevent, Channel, Queue = package, queue.Channel, queue.Queue
    return package.__version__


def _timed(*tasks):
    """Seconds that the functions take as greenlets, started in this order."""
    greenlets = [gevent.spawn(task) for task in tasks]
    start = perf_counter()
    gevent.joinall(greenlets, raise_error=True)
    return perf_counter() - start


def row_yield(n):
    def spin():
        sleep = gevent.sleep
        for _ in repeat(None, n):
            sleep(0)

    return _timed(spin, spin), 2 * n


def row_pingpong(n):
    there, back = Queue(), Queue()

    def ping():
        put, get = there.put, back.get
        for _ in repeat(None, n):
            put(None)
            get()

    def pong():
        get, put = there.get, back.put
        for _ in repeat(None, n):
            get()
            put(None)

    return _timed(pong, ping), 2 * n


def row_stream(n):
    channel = Channel()

    def produce():
        put = channel.put
        for _ in repeat(None, n):
            put(None)

    def consume():
        get = channel.get
        for _ in repeat(None, n):
            get()

    return _timed(consume, produce), n


def row_fanin(n, width=100):
    channel = Channel()
    each = max(n // width, 1)

    def produce():
        put = channel.put
        for _ in repeat(None, each):
            put(None)

    def consume():
        get = channel.get
        for _ in repeat(None, each * width):
            get()

    return _timed(consume, *repeat(produce, width)), each * width


def row_ring(n, size=1000):
    channels = [Queue() for _ in repeat(None, size)]
    laps = max(n // size, 1)

    def stage(get, put):
        for _ in repeat(None, laps):
            put(get())

    def first():
        put, get = channels[0].put, channels[size - 1].get
        for _ in repeat(None, laps):
            put(None)
            get()

    for i in range(1, size):
        gevent.spawn(stage, channels[i - 1].get, channels[i].put)
    gevent.sleep(0)
    return _timed(first), laps * size


def _nothing():
    pass


def row_spawn_batch(n, batch=1000):
    rounds = max(n // batch, 1)
    spawn = gevent.spawn
    start = perf_counter()
    for _ in repeat(None, rounds):
        gevent.joinall([spawn(_nothing) for _ in repeat(None, batch)])
    return perf_counter() - start, rounds * batch


def row_spawn_single(n):
    spawn = gevent.spawn
    start = perf_counter()
    for _ in repeat(None, n):
        spawn(_nothing).join()
    return perf_counter() - start, n


def fresh_parked(count):
    from gevent.event import Event
    event = Event()
    woken = 0

    def wait():
        nonlocal woken
        event.wait()
        woken += 1

    gevent.sleep(0)
    before = probe.rss()
    start = perf_counter()
    tasks = [gevent.spawn(wait) for _ in repeat(None, count)]
    gevent.sleep(0)
    park_seconds = perf_counter() - start
    parked = probe.rss()
    start = perf_counter()
    event.set()
    gevent.joinall(tasks, raise_error=True)
    wake_seconds = perf_counter() - start
    del tasks
    return probe.parked_figures(count, before, parked, woken, park_seconds, wake_seconds)


def fresh_gap(what):
    gaps = probe.Gaps()
    call = probe.blocked_call(what)
    done = []
    tick = probe.gap_ticker(gaps, done, gevent.sleep)
    block = probe.gap_blocker(call, done)

    _timed(tick, tick, block)
    return gaps.figures()


def fresh_idle(seconds):
    from gevent.event import Event
    event = Event()
    figures = {}

    def rest():
        gevent.sleep(0.3)
        before = time.process_time()
        gevent.sleep(seconds)
        figures.update(probe.idle_percent(before, time.process_time(), seconds))

    waiting = [gevent.spawn(event.wait) for _ in repeat(None, 10)]
    _timed(rest)
    gevent.killall(waiting)
    return figures
