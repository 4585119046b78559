# SPDX-License-Identifier: MIT
"""Tests of the examples' HTTP parser: what it answers, how much it takes, whether it goes on.

Needs no server and no stackless module: `python -m pytest examples/test_http_app.py`.
"""

import os
import socket
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import http_app  # noqa: E402

HOST = b"Host: example\r\n"


@pytest.fixture(name="app")
def _app(monkeypatch):
    monkeypatch.setattr(http_app, "SLOW_SECONDS", 0)
    app = http_app.App()
    yield app
    app.close()


def request(line, fields=HOST, body=b""):
    return line + b"\r\n" + fields + b"\r\n" + body


def status(response):
    return int(response.split()[1])


@pytest.mark.parametrize("data, expected, keep", [
    (request(b"GET / HTTP/1.1"), 200, True),
    (request(b"GET /?a=b HTTP/1.1"), 200, True),
    (request(b"GET /db HTTP/1.1"), 200, True),
    (request(b"GET /slow HTTP/1.1"), 200, True),
    (request(b"GET /nowhere HTTP/1.1"), 404, True),
    (request(b"GET / HTTP/1.1", HOST + b"Connection: close\r\n"), 200, False),
    (request(b"GET / HTTP/1.1", HOST + b"CONNECTION: x, Close\r\n"), 200, False),
    (request(b"GET / HTTP/1.0", b""), 200, False),
    (request(b"GET / HTTP/1.0", b"Connection: keep-alive\r\n"), 200, True),
    (request(b"POST / HTTP/1.1"), 405, True),
    (request(b"POST / HTTP/1.1", HOST + b"Content-Length: 3\r\n", b"abc"), 405, True),
    (request(b"GET / HTTP/1.1", b""), 400, False),
    (request(b"GET / HTTP/1.1", HOST + HOST), 400, False),
    (request(b"GET / HTTP/1.1", b"Host : example\r\n"), 400, False),
    (request(b"GET / HTTP/1.1", HOST + b" continued\r\n"), 400, False),
    (request(b"GET / HTTP/1.1", HOST + b"A: b\nTransfer-Encoding: chunked\r\n"), 400, False),
    (request(b"GET  / HTTP/1.1"), 400, False),
    (request(b"GET /"), 400, False),
    (request(b"GET / HTTP/2.0"), 505, False),
    (request(b"GET / HTTP/1.0", b"Transfer-Encoding: chunked\r\n"), 501, False),
    (request(b"GET / HTTP/1.1", HOST + b"Content-Length: 3, 4\r\n", b"abc"), 400, False),
    (request(b"GET / HTTP/1.1", HOST + b"Content-Length: -3\r\n", b"abc"), 400, False),
    (request(b"GET / HTTP/1.1", HOST + b"Content-Length: 70000\r\n"), 413, False),
    (request(b"GET / HTTP/1.1", HOST + b"Content-Length: 3\r\nExpect: 100-continue\r\n"),
     417, False),
    (b"x" * http_app.MAX_HEAD, 431, False),
    (request(b"GET / HTTP/1.1", HOST + b"A: " + b"x" * http_app.MAX_HEAD + b"\r\n"), 431, False),
])
def test_status(app, data, expected, keep):
    response, used, kept = app.answer(data)
    assert (status(response), used, kept) == (expected, len(data), keep)
    assert (b"\r\nConnection: close\r\n" in response) is not keep


def test_every_prefix_is_incomplete(app):
    data = request(b"GET / HTTP/1.1", HOST + b"Content-Length: 2\r\n", b"ab")
    for length in range(len(data)):
        assert app.answer(data[:length]) == (b"", 0, True)
    assert app.answer(data)[1] == len(data)


def test_length_matches_body(app):
    for path in (b"/", b"/db", b"/slow", b"/nowhere"):
        head, _, body = app.answer(request(b"GET " + path + b" HTTP/1.1"))[0].partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: %d" % len(body) in head and body


def test_head_has_no_body(app):
    full = app.answer(request(b"GET / HTTP/1.1"))[0]
    head = app.answer(request(b"HEAD / HTTP/1.1"))[0]
    assert head.endswith(b"\r\n\r\n") and full.startswith(head[:20]) and len(head) < len(full)
    assert b"Content-Length: 14" in head


def test_failing_handler_is_500(app, monkeypatch):
    monkeypatch.setitem(app._routes, b"/", lambda: 1 / 0)
    response, _, keep = app.answer(request(b"GET / HTTP/1.1"))
    assert status(response) == 500 and keep and b"ZeroDivisionError" in response


def test_connection_in_pieces_and_pipelined(app):
    """One byte at a time, three requests and garbage after the last: three answers, in order."""
    client, server = socket.socketpair()
    thread = threading.Thread(target=http_app.serve, args=(server, app))
    thread.start()
    data = (b"\r\n" + request(b"GET / HTTP/1.1") + request(b"GET /nowhere HTTP/1.1")
            + request(b"GET / HTTP/1.1", HOST + b"Connection: close\r\n"))
    with client:
        client.settimeout(30)
        for i in range(len(data)):
            client.sendall(data[i:i + 1])
        received = b""
        while piece := client.recv(65536):
            received += piece
    thread.join(30)
    assert not thread.is_alive()
    answers = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert answers == [200, 404, 200]
