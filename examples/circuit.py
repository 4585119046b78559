#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A digital circuit: every gate is a tasklet, every wire tells its listeners of changes.

    python examples/circuit.py

Shows: a dataflow. Nobody computes the circuit as a whole: a change runs from
gate to gate, and when `run()` returns, all of them wait, that is, the circuit
has settled. Everything is built from NAND gates: a full adder, four of them
in a chain, and a latch, which has a loop in it.
"""

import stackless


class Wire:
    def __init__(self, value=0):
        self.value = value
        self.listeners = []     # channels

    def set(self, value):
        if value != self.value:
            self.value = value
            for listener in self.listeners:
                listener.send(None)


def nand(a, b, out):
    """A gate, for ever: wait for a change, set the output."""
    changed = stackless.channel()
    for wire in (a, b):
        wire.listeners.append(changed)

    def work():
        while True:
            out.set(1 - (a.value & b.value))
            changed.receive()

    stackless.tasklet(work)()


def xor(a, b, out):
    middle, upper, lower = Wire(), Wire(), Wire()
    nand(a, b, middle)
    nand(a, middle, upper)
    nand(b, middle, lower)
    nand(upper, lower, out)
    return middle               # NAND of both inputs, for a carry


def full_adder(a, b, carry, total, carry_out):
    half = Wire()
    first = xor(a, b, half)
    second = xor(half, carry, total)
    nand(first, second, carry_out)


class Adder:
    """Adds two numbers of so many bits."""

    def __init__(self, bits):
        self.a, self.b, self.sum = ([Wire() for _ in range(bits)] for _ in range(3))
        carry = Wire()
        for a, b, total in zip(self.a, self.b, self.sum):
            carry_out = Wire()
            full_adder(a, b, carry, total, carry_out)
            carry = carry_out
        self.sum.append(carry)

    def __call__(self, x, y):
        def feed():
            for n, (a, b) in enumerate(zip(self.a, self.b)):
                a.set(x >> n & 1)
                b.set(y >> n & 1)

        stackless.tasklet(feed)()
        stackless.run()         # until it has settled
        return sum(wire.value << n for n, wire in enumerate(self.sum))


def latch(set_, reset, q, not_q):
    """Remembers which of its inputs was 0 last."""
    nand(set_, not_q, q)
    nand(reset, q, not_q)


def main():
    print("a b c | carry sum")
    a, b, c, total, carry = (Wire() for _ in range(5))
    full_adder(a, b, c, total, carry)
    for n in range(8):
        for wire, shift in ((a, 2), (b, 1), (c, 0)):
            stackless.tasklet(wire.set)(n >> shift & 1)
        stackless.run()
        print(a.value, b.value, c.value, "|", carry.value, " " * 4, total.value)

    add = Adder(4)
    wrong = [(x, y) for x in range(16) for y in range(16) if add(x, y) != x + y]
    print("3 + 5 = %d, 15 + 15 = %d, wrong: %s" % (add(3, 5), add(15, 15), wrong))

    set_, reset, q, not_q = Wire(1), Wire(1), Wire(0), Wire(1)
    latch(set_, reset, q, not_q)
    for name, wire in [("set", set_), ("reset", reset), ("set", set_)]:
        for value in (0, 1):
            stackless.tasklet(wire.set)(value)
            stackless.run()
        print("after %s: q = %d, not q = %d" % (name, q.value, not_q.value))


if __name__ == "__main__":
    main()
