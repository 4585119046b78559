#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two tasklets and two channels: each waits for the other's ball.

    python examples/ping_pong.py

Shows: tasklets, channels, a channel as an iterator, and that `run()` returns
when all wait for each other.
"""

import stackless


def player(word, incoming, outgoing):
    for ball in incoming:
        print(ball, word)
        if ball < 10:
            outgoing.send(ball + 1)


def main():
    left, right = stackless.channel(), stackless.channel()
    stackless.tasklet(player)("ping", left, right)
    stackless.tasklet(player)("  pong", right, left)
    left.send(1)
    stackless.run()     # returns when both wait and nobody is left to send


if __name__ == "__main__":
    main()
