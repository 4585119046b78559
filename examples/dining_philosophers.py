#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Five philosophers share five forks; each needs two to eat, and nobody starves.

    python examples/dining_philosophers.py

Shows: a channel with a buffer of one as a thing that one tasklet at a time can
have. Each philosopher takes the fork with the lower number first, so they
cannot all hold one and wait for the other. Leave out `sorted` and see the
program end rather than hang: `run()` returns when nobody can go on, and the
assertion shows who has not eaten.
"""

import stackless

NAMES = ["Aristotle", "Confucius", "Descartes", "Hypatia", "Spinoza"]
MEALS = 3


class Fork:
    def __init__(self):
        self._free = stackless.channel(capacity=1)
        self._free.send(self)

    def take(self):
        self._free.receive()

    def lay_down(self):
        self._free.send(self)


def dine(name, first, second, eaten):
    for meal in range(1, MEALS + 1):
        first.take()
        stackless.schedule()            # time for a neighbour to be quicker
        second.take()
        print("%s eats meal %d" % (name, meal))
        stackless.schedule()
        second.lay_down()
        first.lay_down()
        eaten[name] += 1
        stackless.schedule()            # thinks


def main():
    forks = [Fork() for _ in NAMES]
    eaten = dict.fromkeys(NAMES, 0)
    for place, name in enumerate(NAMES):
        left, right = sorted([place, (place + 1) % len(NAMES)])
        stackless.tasklet(dine)(name, forks[left], forks[right], eaten)
    stackless.run()
    assert set(eaten.values()) == {MEALS}, eaten
    print("all %d have eaten %d times" % (len(NAMES), MEALS))


if __name__ == "__main__":
    main()
