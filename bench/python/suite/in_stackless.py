# SPDX-License-Identifier: MIT
"""The rows for a module with Stackless's interface: tasklets and channels.

Only what every such module has is used, so a real Stackless Python can be
measured as well; `sleep` is taken where it exists.
"""

import time
from itertools import repeat
from time import perf_counter

from . import probe

module = None


def load(name):
    global module
    module = __import__(name)
    return getattr(module, "__version__", "")


def row_yield(n):
    def spin():
        schedule = module.schedule
        for _ in repeat(None, n):
            schedule()

    module.tasklet(spin)()
    module.tasklet(spin)()
    start = perf_counter()
    module.run()
    return perf_counter() - start, 2 * n


def row_pingpong(n):
    there, back = module.channel(), module.channel()

    def ping():
        send, receive = there.send, back.receive
        for _ in repeat(None, n):
            send(None)
            receive()

    def pong():
        receive, send = there.receive, back.send
        for _ in repeat(None, n):
            receive()
            send(None)

    module.tasklet(pong)()
    module.tasklet(ping)()
    start = perf_counter()
    module.run()
    return perf_counter() - start, 2 * n


def row_stream(n):
    channel = module.channel()

    def produce():
        send = channel.send
        for _ in repeat(None, n):
            send(None)

    def consume():
        receive = channel.receive
        for _ in repeat(None, n):
            receive()

    module.tasklet(consume)()
    module.tasklet(produce)()
    start = perf_counter()
    module.run()
    return perf_counter() - start, n


def row_fanin(n, width=100):
    channel = module.channel()
    each = max(n // width, 1)

    def produce():
        send = channel.send
        for _ in repeat(None, each):
            send(None)

    def consume():
        receive = channel.receive
        for _ in repeat(None, each * width):
            receive()

    module.tasklet(consume)()
    for _ in repeat(None, width):
        module.tasklet(produce)()
    start = perf_counter()
    module.run()
    return perf_counter() - start, each * width


def row_ring(n, size=1000):
    """A token goes round `size` tasklets; one hop is a receive and a send."""
    channels = [module.channel() for _ in repeat(None, size)]
    laps = max(n // size, 1)

    def stage(receive, send):
        for _ in repeat(None, laps):
            send(receive())

    def first(send, receive):
        for _ in repeat(None, laps):
            send(None)
            receive()

    for i in range(1, size):
        module.tasklet(stage)(channels[i - 1].receive, channels[i].send)
    module.run()
    module.tasklet(first)(channels[0].send, channels[size - 1].receive)
    start = perf_counter()
    module.run()
    return perf_counter() - start, laps * size


def _nothing():
    pass


def row_spawn_batch(n, batch=1000):
    tasklet, run = module.tasklet, module.run
    rounds = max(n // batch, 1)
    start = perf_counter()
    for _ in repeat(None, rounds):
        for _ in repeat(None, batch):
            tasklet(_nothing)()
        run()
    return perf_counter() - start, rounds * batch


def row_spawn_single(n):
    tasklet, run = module.tasklet, module.run
    start = perf_counter()
    for _ in repeat(None, n):
        tasklet(_nothing)()
        run()
    return perf_counter() - start, n


def fresh_parked(count):
    channel = module.channel()
    woken = 0

    def wait():
        nonlocal woken
        channel.receive()
        woken += 1

    before = probe.rss()
    start = perf_counter()
    for _ in repeat(None, count):
        module.tasklet(wait)()
    module.run()
    park_seconds = perf_counter() - start
    if channel.balance != -count:
        raise RuntimeError("%d tasklets parked, not %d" % (-channel.balance, count))
    parked = probe.rss()
    start = perf_counter()
    for _ in repeat(None, count):
        channel.send(None)
    module.run()
    wake_seconds = perf_counter() - start
    return probe.parked_figures(count, before, parked, woken, park_seconds, wake_seconds)


def fresh_gap(what):
    gaps = probe.Gaps()
    call = probe.blocked_call(what)
    done = []
    tick = probe.gap_ticker(gaps, done, module.schedule)
    block = probe.gap_blocker(call, done)

    module.tasklet(tick)()
    module.tasklet(tick)()
    module.tasklet(block)()
    module.run()
    return gaps.figures()


def fresh_idle(seconds):
    sleep = getattr(module, "sleep", time.sleep)
    channel = module.channel()
    figures = {}

    def rest():
        sleep(0.3)
        before = time.process_time()
        sleep(seconds)
        figures.update(probe.idle_percent(before, time.process_time(), seconds))

    for _ in repeat(None, 10):
        module.tasklet(channel.receive)()
    module.tasklet(rest)()
    module.run()
    return figures
