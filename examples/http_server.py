#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An HTTP/1.1 keep-alive server with one tasklet per connection.

    python examples/http_server.py [--host HOST] [--port PORT]

The code is that of a server with a thread per connection, and so are the
handlers: `/db` calls sqlite3 and `/slow` calls `time.sleep`, both unpatched.
A tasklet that waits for its socket costs no thread; one that blocks in the
operating system costs one of STACKLESS_THREADS until the call returns.
"""

import errno

import stackless
import stackless.socket

import http_app
import http_cli

# Out of descriptors or memory: wait for connections to end, then go on.
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def accept_all(listener, app):
    """Start a tasklet for each connection, for ever."""
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue    # the client was quicker to go than we to accept
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            stackless.sleep(0.05)
            continue
        http_cli.without_delay(connection)
        stackless.tasklet(http_app.serve)(connection, app)


def main():
    options = http_cli.arguments("HTTP server with one tasklet per connection.")
    http_cli.raise_open_files()
    http_cli.stop_on_sigterm()
    app = http_app.App()
    listener = http_cli.listen(options, stackless.socket)
    stackless.tasklet(accept_all)(listener, app)
    try:
        stackless.run()
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        app.close()


if __name__ == "__main__":
    main()
