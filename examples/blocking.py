#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`time.sleep` in one tasklet stops nobody: the others count on meanwhile.

    python examples/blocking.py

Shows: an ordinary blocking call in a tasklet. With STACKLESS_THREADS=1 it
stops the others, as under Stackless Python, and the figure is 0.
"""

import time

import stackless


def count(state):
    while not state["done"]:
        state["turns"] += 1
        stackless.schedule()


def block(state):
    before = state["turns"]
    time.sleep(0.5)             # the plain one; nothing is patched
    print("turns of the others while one tasklet slept: {:,}".format(state["turns"] - before))
    state["done"] = True


def main():
    state = {"turns": 0, "done": False}
    stackless.tasklet(count)(state)
    stackless.tasklet(count)(state)
    stackless.tasklet(block)(state)
    stackless.run()


if __name__ == "__main__":
    main()
