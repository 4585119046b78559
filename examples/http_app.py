# SPDX-License-Identifier: MIT
"""A small HTTP/1.1 application that every server in this directory shares.

`App.answer(data)` turns the bytes received so far into one response.  It knows
nothing of sockets, tasklets or event loops, so the servers differ in how they
wait and in nothing else.  It serves GET and HEAD and is an example, not a web
framework: no TLS, no chunked requests, no percent-decoding, no files.

    /      hello
    /db    one row of a small sqlite3 database
    /slow  after a plain `time.sleep(0.2)`
"""

import itertools
import os
import sqlite3
import tempfile
import time
from collections import deque

MAX_HEAD = 8192         # bytes of request line and headers; more is answered with 431
MAX_BODY = 65536        # bytes of a request body that we read only to throw it away
ROWS = 1000
SLOW_SECONDS = 0.2

_REASONS = {
    200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed",
    413: b"Content Too Large", 417: b"Expectation Failed",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 505: b"HTTP Version Not Supported",
}
_MORE = (b"", 0, True)


class App:
    """The routes and what they need.  `answer` may be called from many tasklets
    or threads at once; `close` only when none of them is left."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="http_app-")
        self._database = os.path.join(self._folder.name, "messages.sqlite")
        self._idle = deque()               # connections nobody is using; append/pop are atomic
        self._turn = itertools.count(1)    # which row is next
        self._second, self._heads = 0, {}  # responses up to the length, for this second
        self._routes = {b"/": self._hello, b"/db": self._db, b"/slow": self._slow}
        self._fill()

    def close(self):
        while self._idle:
            self._idle.pop().close()
        self._folder.cleanup()

    def answer(self, data):
        """(response, used, keep) for the first request in `data`.

        `used` is how many bytes belong to that request; 0 says that it is not
        complete yet.  `keep` False: close the connection after sending.
        """
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            return _MORE if len(data) < MAX_HEAD else self._refuse(431, data)
        if data.startswith(b"\r\n"):
            return b"", 2, True     # an empty line before a request is allowed
        lines = data[:end].split(b"\r\n")
        request = lines[0].split(b" ")
        fields = _fields(lines)
        if fields is None or len(request) != 3:
            return self._refuse(400, data)
        method, target, version = request
        keep = version == b"HTTP/1.1"
        if keep and b"host" not in fields:
            return self._refuse(400, data)
        if not keep and version != b"HTTP/1.0":
            return self._refuse(505 if version.startswith(b"HTTP/") else 400, data)
        used = end + 4
        if len(fields) > 1 or not keep:     # in other words: not Host alone
            if b"connection" in fields:
                options = [word.strip() for word in fields[b"connection"].lower().split(b",")]
                keep = b"close" not in options and (keep or b"keep-alive" in options)
            if b"transfer-encoding" in fields:
                return self._refuse(501, data)
            if b"content-length" in fields:
                length = _length(fields[b"content-length"])
                if length is None or length > MAX_BODY:
                    return self._refuse(400 if length is None else 413, data)
                used += length
                if used > len(data):
                    return self._refuse(417, data) if b"expect" in fields else _MORE
        if method == b"GET":
            return self._route(target, keep), used, keep
        if method == b"HEAD":
            response = self._route(target, keep)
            return response[:response.index(b"\r\n\r\n") + 4], used, keep
        return self._respond(405, b"only GET and HEAD\n", keep), used, keep

    def _route(self, target, keep):
        handler = self._routes.get(target) or self._routes.get(target.partition(b"?")[0])
        if handler is None:
            return self._respond(404, b"not found\n", keep)
        try:
            body = handler()
        except Exception as error:
            text = "%s: %s\n" % (type(error).__name__, error)
            return self._respond(500, text.encode(), keep)
        return self._respond(200, body, keep)

    def _refuse(self, status, data):
        """Answer a request we cannot follow; whatever comes after it means nothing."""
        return self._respond(status, _REASONS[status].lower() + b"\n", False), len(data), False

    def _respond(self, status, body, keep):
        now = int(time.time())
        if now != self._second:
            # One assignment replaces the heads of the last second, and only then
            # does the second change: another thread may look in between.
            self._heads = {}
            self._second = now
        heads = self._heads
        head = heads.get((status, keep))
        if head is None:
            head = heads[status, keep] = _head(status, keep, now)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    # The routes.

    def _hello(self):
        return b"Hello, world!\n"

    def _slow(self):
        time.sleep(SLOW_SECONDS)
        return b"That took a while.\n"

    def _db(self):
        try:
            connection = self._idle.pop()
        except IndexError:
            # A tasklet may go on in another thread after a blocking call, and
            # two never use a connection at once: the check is not needed.
            connection = sqlite3.connect(self._database, check_same_thread=False)
        try:
            wanted = next(self._turn) % ROWS
            row = connection.execute("SELECT id, text FROM message WHERE id = ?",
                                     (wanted,)).fetchone()
        finally:
            self._idle.append(connection)
        return b"%d %b\n" % (row[0], row[1].encode())

    def _fill(self):
        connection = sqlite3.connect(self._database)
        with connection:
            connection.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, text TEXT)")
            connection.executemany("INSERT INTO message VALUES (?, ?)",
                                   ((i, "message number %d" % i) for i in range(ROWS)))
        connection.close()


def serve(connection, app):
    """Serve one connection with a blocking socket of any kind, then close it."""
    receive, send, answer = connection.recv, connection.sendall, app.answer
    data = b""
    keep = True
    try:
        while keep:
            piece = receive(65536)
            if not piece:
                break
            data = data + piece if data else piece
            while data and keep:
                response, used, keep = answer(data)
                if not used:
                    break
                data = data[used:]
                if response:
                    send(response)
    except (ConnectionError, TimeoutError):
        pass    # the client went away; there is nobody left to tell
    finally:
        connection.close()


def _fields(lines):
    """The header fields after the request line by lower-case name, or None if malformed.

    Fields that come twice are joined by a comma, except Host, which must not.
    """
    fields = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name != name.strip() or b"\n" in value or b"\r" in value:
            return None     # this includes continuation lines, which HTTP has given up
        if name in fields:
            if name == b"host":
                return None
            value = fields[name] + b"," + value
        fields[name] = value
    return fields


def _length(text):
    """The value of Content-Length, or None if it makes no sense."""
    values = {value.strip() for value in text.split(b",")}
    value = values.pop()
    return int(value) if not values and value.isdigit() and len(value) < 10 else None


def _head(status, keep, now):
    """The response up to the value of Content-Length."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)).encode()
    return b"".join([
        b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: text/plain\r\n"
        % (status, _REASONS[status], date),
        b"Allow: GET, HEAD\r\n" if status == 405 else b"",
        b"" if keep else b"Connection: close\r\n",
        b"Content-Length: "])
