#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A chat server, and three scripted guests that talk to it over real sockets.

    python examples/chat_server.py              # the guests, then it ends
    python examples/chat_server.py --serve 5000 # for `nc localhost 5000`

Shows: stackless.socket. One tasklet for each connection, written as if it had
a thread of its own; what all of them share needs no lock, because a tasklet
keeps running until it waits.
"""

import sys

import stackless
from stackless import socket


class Lines:
    """A connection, line by line."""

    def __init__(self, connection):
        self.connection = connection
        self.reader = connection.makefile("r", encoding="utf-8", newline="\n")

    def __iter__(self):
        return iter(lambda: self.reader.readline().rstrip("\r\n"), "")

    def write(self, line):
        self.connection.sendall((line + "\n").encode())

    def close(self):
        self.reader.close()
        self.connection.close()


class Room:
    def __init__(self):
        self.guests = {}        # name -> Lines

    def tell_all(self, text):
        for lines in list(self.guests.values()):
            try:
                lines.write(text)
            except OSError:
                pass            # is leaving; its own tasklet sees to that

    def serve(self, connection):
        lines = Lines(connection)
        name = None
        try:
            lines.write("Your name?")
            name = next(iter(lines), None)
            if name is None or name in self.guests:
                lines.write("That is taken.")
                name = None
                return
            self.guests[name] = lines
            self.tell_all("* %s is here" % name)
            for text in lines:
                if text == "/bye":
                    break
                self.tell_all("%s: %s" % (name, text))
        except ConnectionError:
            pass
        finally:
            if name is not None:
                del self.guests[name]
                self.tell_all("* %s has left" % name)
            lines.close()

    def accept_all(self, listener):
        while True:
            connection, _ = listener.accept()
            stackless.tasklet(self.serve)(connection)


def guest(name, port, script, log):
    """Waits for each line of the script that begins with "<", says the others."""
    lines = Lines(socket.create_connection(("127.0.0.1", port)))
    heard = iter(lines)
    for step in script:
        if step.startswith("<"):
            text = next(heard)
            log.append("%-5s hears  %s" % (name, text))
            assert text == step[2:], (name, text, step)
        else:
            lines.write(step)
    lines.close()


SCRIPTS = {
    "Ada": ["< Your name?", "Ada", "< * Ada is here", "< * Ben is here", "hello, Ben", "< Ada: hello, Ben",
            "< Ben: hello, Ada", "< * Cleo is here", "< Cleo: am I late?", "/bye"],
    "Ben": ["< Your name?", "Ben", "< * Ben is here", "< Ada: hello, Ben", "hello, Ada", "< Ben: hello, Ada",
            "< * Cleo is here", "< Cleo: am I late?", "< * Ada has left", "/bye"],
    "Cleo": ["< Your name?", "Cleo", "< * Cleo is here", "am I late?", "< Cleo: am I late?", "< * Ada has left",
             "< * Ben has left", "/bye"],
}


def main(arguments):
    room = Room()
    port = int(arguments[1]) if arguments[:1] == ["--serve"] else 0
    listener = socket.create_server(("127.0.0.1", port))
    server = stackless.tasklet(room.accept_all)(listener)
    if port:
        stackless.run()
        return
    port = listener.getsockname()[1]
    logs = {name: [] for name in SCRIPTS}
    ended = stackless.channel()

    def visit(name):
        guest(name, port, SCRIPTS[name], logs[name])
        ended.send(name)

    for name, before in [("Ada", 0), ("Ben", 1), ("Cleo", 2)]:
        while len(room.guests) < before or name == "Cleo" and len(logs["Ada"]) < 5:
            stackless.sleep(0.001)      # they come one after the other
        stackless.tasklet(visit)(name)
    for _ in SCRIPTS:
        ended.receive()
    server.kill()
    listener.close()
    stackless.run()
    for log in logs.values():
        print("\n".join(log))


if __name__ == "__main__":
    main(sys.argv[1:])
