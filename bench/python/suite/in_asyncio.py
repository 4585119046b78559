# SPDX-License-Identifier: MIT
"""The rows for asyncio's own event loop: tasks, `sleep(0)` and `asyncio.Queue`.

asyncio has no queue without buffer; one of size 1 stands in for it.
"""

import asyncio
import time
from itertools import repeat
from time import perf_counter

from . import probe


def load(_name):
    import platform
    return platform.python_version()


async def _gathered(*coroutines):
    """Seconds that the coroutines take as tasks, started in this order."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    start = perf_counter()
    await asyncio.gather(*tasks)
    return perf_counter() - start


def _timed(make):
    """Run the coroutines that `make()` returns inside a loop; their seconds."""
    async def main():
        return await _gathered(*make())
    return asyncio.run(main())


def row_yield(n):
    async def spin():
        sleep = asyncio.sleep
        for _ in repeat(None, n):
            await sleep(0)

    return _timed(lambda: [spin(), spin()]), 2 * n


def row_pingpong(n):
    def make():
        there, back = asyncio.Queue(), asyncio.Queue()

        async def ping():
            put, get = there.put, back.get
            for _ in repeat(None, n):
                await put(None)
                await get()

        async def pong():
            get, put = there.get, back.put
            for _ in repeat(None, n):
                await get()
                await put(None)

        return [pong(), ping()]

    return _timed(make), 2 * n


def _produce_consume(each, width):
    queue = asyncio.Queue(1)

    async def produce():
        put = queue.put
        for _ in repeat(None, each):
            await put(None)

    async def consume():
        get = queue.get
        for _ in repeat(None, each * width):
            await get()

    return [consume()] + [produce() for _ in repeat(None, width)]


def row_stream(n):
    return _timed(lambda: _produce_consume(n, 1)), n


def row_fanin(n, width=100):
    each = max(n // width, 1)
    return _timed(lambda: _produce_consume(each, width)), each * width


def row_ring(n, size=1000):
    laps = max(n // size, 1)

    async def stage(get, put):
        for _ in repeat(None, laps):
            await put(await get())

    async def first(put, get):
        for _ in repeat(None, laps):
            await put(None)
            await get()

    async def main():
        queues = [asyncio.Queue() for _ in repeat(None, size)]
        tasks = [asyncio.ensure_future(stage(queues[i - 1].get, queues[i].put))
                 for i in range(1, size)]
        await asyncio.sleep(0)
        elapsed = await _gathered(first(queues[0].put, queues[size - 1].get))
        await asyncio.gather(*tasks)
        return elapsed

    return asyncio.run(main()), laps * size


async def _nothing():
    pass


def row_spawn_batch(n, batch=1000):
    rounds = max(n // batch, 1)

    async def main():
        spawn = asyncio.get_running_loop().create_task
        start = perf_counter()
        for _ in repeat(None, rounds):
            await asyncio.gather(*[spawn(_nothing()) for _ in repeat(None, batch)])
        return perf_counter() - start

    return asyncio.run(main()), rounds * batch


def row_spawn_single(n):
    async def main():
        spawn = asyncio.get_running_loop().create_task
        start = perf_counter()
        for _ in repeat(None, n):
            await spawn(_nothing())
        return perf_counter() - start

    return asyncio.run(main()), n


def fresh_parked(count):
    woken = 0

    async def main():
        event = asyncio.Event()

        async def wait():
            nonlocal woken
            await event.wait()
            woken += 1

        spawn = asyncio.get_running_loop().create_task
        before = probe.rss()
        start = perf_counter()
        tasks = [spawn(wait()) for _ in repeat(None, count)]
        await asyncio.sleep(0)
        park_seconds = perf_counter() - start
        parked = probe.rss()
        start = perf_counter()
        event.set()
        await asyncio.gather(*tasks)
        return before, parked, park_seconds, perf_counter() - start

    before, parked, park_seconds, wake_seconds = asyncio.run(main())
    return probe.parked_figures(count, before, parked, woken, park_seconds, wake_seconds)


def fresh_gap(what):
    gaps = probe.Gaps()
    call = probe.blocked_call(what)
    done = []

    async def tick():
        sleep, turn = asyncio.sleep, gaps.turn
        last = time.perf_counter_ns()
        while not done:
            await sleep(0)
            last = turn(last)

    async def block():
        try:
            call()
        finally:
            done.append(True)

    _timed(lambda: [tick(), tick(), block()])
    return gaps.figures()


def fresh_idle(seconds):
    figures = {}

    async def rest():
        await asyncio.sleep(0.3)
        before = time.process_time()
        await asyncio.sleep(seconds)
        figures.update(probe.idle_percent(before, time.process_time(), seconds))

    _timed(lambda: [rest()])
    return figures
