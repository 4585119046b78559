#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Players in a ring kick a ball to each other until everybody has had enough.

    python examples/hackysack.py [PLAYERS [KICKS]]

Shows: many tasklets at little cost; try `hackysack.py 100000 1000000`. A
message to a waiting player is one switch, and no thread is involved.
"""

import random
import sys

import stackless


class Player:
    def __init__(self, number, ring):
        self.number, self.ring = number, ring
        self.ball = stackless.channel()
        self.kicks = 0
        stackless.tasklet(self.play)()

    def play(self):
        for left in self.ball:
            self.kicks += 1
            if left == 1:
                print("player %d lets the ball fall" % self.number)
                return
            self.choose().ball.send(left - 1)

    def choose(self):
        """Anybody but oneself."""
        other = random.randrange(len(self.ring) - 1)
        return self.ring[other + (other >= self.number)]


def main(players=5, kicks=1000):
    random.seed(7)      # the same game each time
    ring = []
    for number in range(players):
        ring.append(Player(number, ring))
    stackless.tasklet(ring[0].ball.send)(kicks)
    stackless.run()
    total = sum(player.kicks for player in ring)
    busiest = max(ring, key=lambda player: player.kicks)
    print("%d kicks by %d players, most of them by player %d" % (total, players, busiest.number))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
