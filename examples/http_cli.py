# SPDX-License-Identifier: MIT
"""What the example servers have in common besides the application: the command
line, the listening socket, the line that says where they listen, and stopping.

A server prints `ready http://HOST:PORT/` when it can be asked, and ends with
status 0 on SIGTERM and Ctrl-C.
"""

import argparse
import resource
import signal
import socket

BACKLOG = 2048      # the kernel cuts it to net.core.somaxconn


def arguments(description, kinds=()):
    """Parse the command line; `kinds` adds a positional choice."""
    parser = argparse.ArgumentParser(description=description)
    if kinds:
        parser.add_argument("kind", choices=kinds)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free one")
    return parser.parse_args()


def raise_open_files():
    """Allow as many open files as this process may have; each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(options, socket_module=socket):
    """A listening socket of the given module, announced on standard output."""
    listener = socket_module.create_server((options.host, options.port), backlog=BACKLOG)
    announce(listener)
    return listener


def announce(listener):
    print("ready http://%s:%d/" % listener.getsockname()[:2], flush=True)


def without_delay(connection):
    """Send each response at once; asyncio does this by itself, so everyone does."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def stop_on_sigterm():
    """Turn SIGTERM into the KeyboardInterrupt that Ctrl-C raises."""
    def interrupt(_number, _frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, interrupt)
