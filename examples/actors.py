#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Actors: a thermometer, a thermostat and a heater that only send each other messages.

    python examples/actors.py

Shows: an actor is a tasklet with a mailbox and state that nobody else touches.
The mailbox is a channel with a buffer, so telling an actor something does not
wait for it. The whole simulation stops by itself: `run()` returns when every
mailbox is empty and every actor waits.
"""

import stackless


class Actor:
    """Handles one message at a time: `tell("name", ...)` becomes `self.on_name(...)`."""

    def __init__(self):
        self._mailbox = stackless.channel(capacity=100)
        worker = stackless.tasklet(self._work)()
        worker.name = type(self).__name__       # what tracebacks call it

    def tell(self, message, *arguments):
        self._mailbox.send((message, arguments))

    def _work(self):
        for message, arguments in self._mailbox:
            getattr(self, "on_" + message)(*arguments)


class Heater(Actor):
    def __init__(self):
        super().__init__()
        self.on = False

    def on_switch(self, on):
        if on != self.on:
            print("heater", "on" if on else "off")
        self.on = on

    def on_ask(self, who):
        who.tell("answer", self.on)


class Thermostat(Actor):
    def __init__(self, heater, low, high):
        super().__init__()
        self.heater, self.low, self.high = heater, low, high

    def on_temperature(self, degrees):
        if degrees < self.low:
            self.heater.tell("switch", True)
        elif degrees > self.high:
            self.heater.tell("switch", False)


class Room(Actor):
    """Gets warmer while it is heated, and cools down otherwise."""

    def __init__(self, heater, thermostat, degrees, hours):
        super().__init__()
        self.heater, self.thermostat, self.degrees, self.hours = heater, thermostat, degrees, hours
        self.tell("hour")

    def on_hour(self):
        print("%d degrees" % self.degrees)
        self.thermostat.tell("temperature", self.degrees)
        self.heater.tell("ask", self)

    def on_answer(self, heated):
        self.degrees += 2 if heated else -1
        self.hours -= 1
        if self.hours:
            self.tell("hour")


def main():
    heater = Heater()
    thermostat = Thermostat(heater, low=18, high=21)
    Room(heater, thermostat, degrees=19, hours=10)
    stackless.run()


if __name__ == "__main__":
    main()
