#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small game: creatures on a line, each with a program of its own, moved frame by frame.

    python examples/game_loop.py

Shows: behaviour as straight-line code ("walk there, wait, walk back") instead
of a state machine. `World.next_frame()` is a channel on which all creatures
wait; the loop wakes them all, then draws.
"""

import stackless


class World:
    WIDTH = 24

    def __init__(self):
        self.creatures = []
        self.frame = stackless.channel()
        self.frame.preference = 1       # the loop wakes all of them before the first one moves

    def next_frame(self):
        return self.frame.receive()

    def tick(self, number):
        while self.frame.balance < 0:   # so many wait
            self.frame.send(number)
        stackless.run()                 # until all wait for the next frame, or are gone

    def draw(self):
        line = ["."] * self.WIDTH
        for creature in self.creatures:
            line[creature.place] = creature.letter
        print("".join(line))


class Creature:
    def __init__(self, world, letter, place):
        self.world, self.letter, self.place = world, letter, place
        world.creatures.append(self)
        self.tasklet = stackless.tasklet(self.live)()

    def walk_to(self, goal, pace=1):
        while self.place != goal:
            step = max(-pace, min(pace, goal - self.place))
            self.world.next_frame()
            self.place += step

    def rest(self, frames):
        for _ in range(frames):
            self.world.next_frame()


class Guard(Creature):
    def live(self):
        while True:
            self.walk_to(10)
            self.walk_to(16)


class Rabbit(Creature):
    def live(self):
        while True:
            self.walk_to(self.place + 4, pace=2)
            self.rest(2)


class Fox(Creature):
    """Sleeps, wakes up, eats rabbits."""

    def live(self):
        self.rest(4)
        rabbit = next(c for c in self.world.creatures if isinstance(c, Rabbit))
        while abs(rabbit.place - self.place) > 2:
            self.walk_to(self.place + (2 if rabbit.place > self.place else -2), pace=2)
        rabbit.tasklet.kill()
        self.world.creatures.remove(rabbit)
        self.letter = "F"


def main():
    world = World()
    Guard(world, "g", 10)
    Rabbit(world, "r", 0)
    Fox(world, "f", 23)
    stackless.run()
    world.draw()
    for number in range(1, 13):
        world.tick(number)
        world.draw()


if __name__ == "__main__":
    main()
