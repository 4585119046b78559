#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prime numbers, by a chain of tasklets that grows: one filter for each prime found.

    python examples/prime_sieve.py [COUNT]

Shows: tasklets that make tasklets, and a pipeline of channels. A value goes
through the whole chain before the next one is made, since each `send` waits
for a receiver.
"""

import sys

import stackless


def numbers(out):
    n = 2
    while True:
        out.send(n)
        n += 1


def without_multiples(prime, incoming, out):
    for n in incoming:
        if n % prime:
            out.send(n)


def primes(count):
    source = stackless.channel()
    stackless.tasklet(numbers)(source)
    for _ in range(count):
        prime = source.receive()
        yield prime
        filtered = stackless.channel()
        stackless.tasklet(without_multiples)(prime, source, filtered)
        source = filtered


def main(count=25):
    print(*primes(count))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
