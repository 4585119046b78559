#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two producers, one channel, one consumer that reads until it is told to stop.

    python examples/producer_consumer.py

Shows: several senders on one channel, and an exception sent through it.
"""

import stackless


def produce(name, channel, done):
    for number in range(3):
        channel.send("%s %d" % (name, number))
    done.append(name)
    if len(done) == 2:          # the last one tells the consumer
        channel.send_exception(StopIteration)


def consume(channel):
    for item in channel:        # ends with the StopIteration that was sent
        print("consumed", item)
    print("that was all")


def main():
    channel, done = stackless.channel(), []
    stackless.tasklet(produce)("apple", channel, done)
    stackless.tasklet(produce)("pear", channel, done)
    stackless.tasklet(consume)(channel)
    stackless.run()


if __name__ == "__main__":
    main()
