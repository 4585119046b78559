# SPDX-License-Identifier: MIT
"""The rows for bare greenlets: switches only, no scheduler and no channels.

A switch carries a value, so a message is a switch here.  Rows that need a queue
or a scheduler do not exist for greenlet.
"""

from itertools import repeat
from time import perf_counter

from . import probe

greenlet = None


def load(_name):
    global greenlet
    import greenlet as package
    greenlet = package.greenlet
    return package.__version__


def row_yield(n):
    def first():
        switch = second.switch
        for _ in repeat(None, n):
            switch()

    def echo():
        switch = one.switch
        while True:
            switch()

    one, second = greenlet(first), greenlet(echo)
    start = perf_counter()
    one.switch()
    return perf_counter() - start, 2 * n


def row_pingpong(n):
    def first():
        switch = second.switch
        for _ in repeat(None, n):
            switch(None)

    def echo(_value):
        switch = one.switch
        while True:
            switch(None)

    one, second = greenlet(first), greenlet(echo)
    start = perf_counter()
    one.switch()
    return perf_counter() - start, 2 * n


def row_ring(n, size=1000):
    """Each greenlet switches to its neighbour; one hop is one switch with a value."""
    laps = max(n // size, 1)
    members = []

    def stage(next_index):
        switch = members[next_index].switch
        while True:
            switch(None)

    def first():
        switch = members[1].switch
        for _ in repeat(None, laps):
            switch(None)

    def started(next_index):
        home.switch()  # so that starting it is not part of the figure
        stage(next_index)

    home = greenlet.getcurrent()
    members.append(greenlet(first))
    for _ in range(1, size):
        members.append(greenlet(started))
    for i in range(1, size):
        members[i].switch((i + 1) % size)
    start = perf_counter()
    members[0].switch()
    elapsed = perf_counter() - start
    for member in members:
        member.throw()
    return elapsed, laps * size


def _nothing():
    pass


def row_spawn_batch(n, batch=1000):
    rounds = max(n // batch, 1)
    start = perf_counter()
    for _ in repeat(None, rounds):
        for new in [greenlet(_nothing) for _ in repeat(None, batch)]:
            new.switch()
    return perf_counter() - start, rounds * batch


def row_spawn_single(n):
    start = perf_counter()
    for _ in repeat(None, n):
        greenlet(_nothing).switch()
    return perf_counter() - start, n


def fresh_parked(count):
    woken = 0
    home = greenlet.getcurrent()

    def wait():
        nonlocal woken
        home.switch()
        woken += 1

    before = probe.rss()
    start = perf_counter()
    tasks = [greenlet(wait) for _ in repeat(None, count)]
    for task in tasks:
        task.switch()
    park_seconds = perf_counter() - start
    parked = probe.rss()
    start = perf_counter()
    for task in tasks:
        task.switch()
    wake_seconds = perf_counter() - start
    del tasks, task
    return probe.parked_figures(count, before, parked, woken, park_seconds, wake_seconds)
