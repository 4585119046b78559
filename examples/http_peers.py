#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server of `http_server.py` as others would write it, for comparison.

    python examples/http_peers.py {threading,gevent,streams,protocol} [--port PORT]

`threading` has a thread per connection, `gevent` a greenlet, `streams` and
`protocol` are asyncio's two interfaces.  All share the application of
`http_app.py` with its blocking handlers: nothing is monkey-patched and nothing
is sent to a thread pool, since that is what is being compared.
"""

import asyncio
import signal
import sys
import threading

import http_app
import http_cli


def serve_threading(options, app):
    http_cli.stop_on_sigterm()
    threading.stack_size(256 * 1024)    # 1,000 threads need no 8 MiB each
    with http_cli.listen(options) as listener:
        while True:
            try:
                connection, _ = listener.accept()
            except ConnectionAbortedError:
                continue
            http_cli.without_delay(connection)
            threading.Thread(target=http_app.serve, args=(connection, app), daemon=True).start()


def serve_gevent(options, app):
    import gevent
    import gevent.server

    def handle(connection, _address):
        http_cli.without_delay(connection)
        http_app.serve(connection, app)

    server = gevent.server.StreamServer((options.host, options.port), handle,
                                        backlog=http_cli.BACKLOG)
    server.start()
    http_cli.announce(server.socket)
    gevent.signal_handler(signal.SIGTERM, server.stop, 0)
    server.serve_forever(stop_timeout=0)


def serve_streams(options, app):
    async def handle(reader, writer):
        data, keep = b"", True
        try:
            while keep:
                piece = await reader.read(65536)
                if not piece:
                    break
                data += piece
                while data and keep:
                    response, used, keep = app.answer(data)
                    if not used:
                        break
                    data = data[used:]
                    if response:
                        writer.write(response)
                        await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def main():
        listener = http_cli.listen(options)
        await _until_sigterm(await asyncio.start_server(
            handle, sock=listener, backlog=http_cli.BACKLOG))

    asyncio.run(main())


class HttpProtocol(asyncio.Protocol):
    """One connection.  While the client does not read its responses, no more of
    its requests are answered."""

    def __init__(self, app):
        self.app = app
        self.data = b""
        self.paused = False
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data = self.data + data if self.data else data
        self.answer_all()

    def answer_all(self):
        while self.data and not self.paused:
            response, used, keep = self.app.answer(self.data)
            if not used:
                break
            self.data = self.data[used:]
            if response:
                self.transport.write(response)
            if not keep:
                self.transport.close()
                self.data = b""

    def pause_writing(self):
        self.paused = True
        self.transport.pause_reading()

    def resume_writing(self):
        self.paused = False
        self.answer_all()
        if not self.paused and not self.transport.is_closing():
            self.transport.resume_reading()


def serve_protocol(options, app):
    async def main():
        listener = http_cli.listen(options)
        await _until_sigterm(await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(app), sock=listener, backlog=http_cli.BACKLOG))

    asyncio.run(main())


async def _until_sigterm(server):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()      # asyncio.run() cancels the connections that are left


KINDS = {"threading": serve_threading, "gevent": serve_gevent,
         "streams": serve_streams, "protocol": serve_protocol}


def main():
    options = http_cli.arguments("HTTP server on one of our peers.", kinds=list(KINDS))
    http_cli.raise_open_files()
    app = http_app.App()
    try:
        KINDS[options.kind](options, app)
    except KeyboardInterrupt:
        pass
    except ImportError as error:
        sys.exit("cannot serve with %s: %s" % (options.kind, error))
    finally:
        app.close()


if __name__ == "__main__":
    main()
