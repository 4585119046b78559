# SPDX-License-Identifier: MIT
"""stackless.socket: the standard library's interface and errors, with calls that park the tasklet.

Connecting, timeouts, and sockets beside threads and forks are in test_socket_waits.py. What waits on bare descriptors is
test_wait.py's; plain sockets that block an OS thread are test_blocking.py's.
"""

import array
import copy
import errno
import gc
import os
import pickle
import socket as plain
import warnings

import pytest
import stackless
from stackless import socket

import support
from support import connected, failing, fill, wait_for_io_waiters

SHORT = 0.02  # seconds that a wait which must time out is given


def go(function, *args):
    return stackless.tasklet(function)(*args)


# ---- the module ----


def test_every_name_of_the_standard_module():
    missing = [name for name in plain.__all__ if not hasattr(socket, name)]
    assert missing == []
    assert set(socket.__all__) == set(plain.__all__)
    assert socket.AF_INET is plain.AF_INET and socket.gaierror is plain.gaierror
    assert socket.timeout is TimeoutError and socket.error is OSError
    assert socket.getaddrinfo is plain.getaddrinfo
    assert socket._GLOBAL_DEFAULT_TIMEOUT is plain._GLOBAL_DEFAULT_TIMEOUT
    names = {}
    exec("from stackless.socket import *", names)
    assert names["socket"] is socket.socket and names["create_server"] is socket.create_server


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="stackless.socket.*no_such_name"):
        socket.no_such_name


def test_class_and_repr(pair):
    one = pair[0]
    assert isinstance(one, plain.socket) and issubclass(socket.socket, plain.socket)
    assert repr(one).startswith(f"<stackless.socket.socket fd={one.fileno()}, family=")
    one.close()
    assert "[closed]" in repr(one)


def test_no_stray_attributes(pair):
    with pytest.raises(AttributeError):
        pair[0].no_such_attribute = 1


def test_pickling_is_refused(pair):
    for refused in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot pickle"):
            refused(pair[0])


def test_construction_that_fails():
    with pytest.raises(OSError):
        socket.socket(12345, socket.SOCK_STREAM)
    with pytest.raises(OSError):
        socket.socket(fileno=1 << 20)


def test_subclass(listener, sockets):
    class counting(socket.socket):
        received = 0

        def recv(self, *args):
            data = super().recv(*args)
            self.received += len(data)
            return data

    client = sockets(counting(listener.family))
    client.connect(listener.getsockname())
    server = sockets(listener.accept()[0])
    server.sendall(b"hello")
    assert client.recv(10) == b"hello" and client.received == 5
    with client.dup() as twin:
        assert type(twin) is counting
    assert type(server) is socket.socket


def test_context_manager():
    with socket.socket() as one:
        assert one.fileno() >= 0
    assert one.fileno() == -1


@pytest.mark.filterwarnings("error")
def test_an_unclosed_socket_gives_a_resource_warning():
    with pytest.warns(ResourceWarning, match="unclosed <stackless.socket.socket"):
        socket.socket()
        gc.collect()


def test_closed_quietly_when_collected_after_close():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        socket.socket().close()
        gc.collect()


# ---- data ----


def test_accept_connect_and_echo_of_many(listener, sockets):
    clients, rounds = 50, 20
    done = []

    def serve(connection):
        with connection:
            while data := connection.recv(4096):
                connection.sendall(data)

    def accept():
        for _ in range(clients):
            connection, _ = listener.accept()
            go(serve, connection)

    def client(number):
        with connected(listener) as sock:
            for turn in range(rounds):
                message = b"%d:%d" % (number, turn)
                sock.sendall(message)
                got = b""
                while len(got) < len(message):
                    got += sock.recv(4096)
                assert got == message
        done.append(number)

    go(accept)
    for number in range(clients):
        go(client, number)
    stackless.run()
    assert sorted(done) == list(range(clients))
    assert stackless.stats()["io_waiters"] == 0


def test_accepted_socket_and_address(sockets):
    listener = sockets(socket.create_server(("127.0.0.1", 0)))
    client = sockets(connected(listener))
    server, address = listener.accept()
    sockets(server)
    assert address == client.getsockname() == server.getpeername()
    assert server.family == socket.AF_INET and server.type == socket.SOCK_STREAM
    assert not server.get_inheritable() and not os.get_blocking(server.fileno())
    assert server.gettimeout() is None


def test_end_of_stream_wakes(pair):
    a, b = pair
    results = []
    go(failing, results, a.recv, 10)
    wait_for_io_waiters(1)
    b.close()
    stackless.run()
    assert results == [b""]


def test_recv_sizes_and_flags(pair):
    a, b = pair
    b.sendall(b"abcdef")
    assert a.recv(0) == b""
    assert a.recv(3, socket.MSG_PEEK) == b"abc"
    assert a.recv(3) == b"abc"
    assert a.recv(1 << 20) == b"def"
    for wrong, error in ((-1, ValueError), ("x", TypeError), (1.5, TypeError), (1 << 80, OverflowError)):
        with pytest.raises(error):
            a.recv(wrong)
    with pytest.raises(TypeError):
        a.recv()
    with pytest.raises(OverflowError):
        a.recv(1, 1 << 40)
    with pytest.raises(TypeError):
        a.recv(1, "flags")
    with pytest.raises(TypeError):
        a.recv(1, 0, 0)


def test_recv_big_parks_first(pair):
    a, b = pair
    results = []
    go(lambda: results.append(a.recv(1 << 20)))
    wait_for_io_waiters(1)
    b.sendall(b"x" * 100000)
    stackless.run()
    assert results and set(results[0]) == {ord("x")} and len(results[0]) <= 100000


def test_recv_into(pair):
    a, b = pair
    buffer = bytearray(8)
    b.sendall(b"abcdefgh")
    assert a.recv_into(buffer, 3) == 3 and bytes(buffer) == b"abc\0\0\0\0\0"
    assert a.recv_into(memoryview(buffer)[4:], nbytes=0, flags=socket.MSG_PEEK) == 4
    assert bytes(buffer) == b"abc\0defg"
    assert a.recv_into(array.array("b", bytes(2))) == 2
    with pytest.raises(ValueError):
        a.recv_into(buffer, -1)
    with pytest.raises(ValueError):
        a.recv_into(buffer, 9)
    with pytest.raises((TypeError, BufferError)):
        a.recv_into(b"read-only")
    results = []
    go(failing, results, a.recv_into, buffer)
    stackless.run()
    assert results == [3]
    buffer.append(1)  # nothing holds it any more


@pytest.mark.parametrize("gap", ["none", "schedule", "sleep"])
@pytest.mark.parametrize("asked", [3, 4, 100])
def test_end_right_behind_the_data(sockets, gap, asked):
    """A receive that empties the socket must not make the next one wait past the end."""
    listener = sockets(socket.create_server(("127.0.0.1", 0)))
    address = listener.getsockname()
    got = []

    def serve():
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(asked):
                got.append(data)
                if gap == "sleep":
                    stackless.sleep(0.001)
            got.append(b"end")

    def ask():
        with socket.create_connection(address) as client:
            stackless.sleep(0.001)  # the server waits in its first receive
            client.sendall(b"abcd")
            if gap == "schedule":
                stackless.schedule()
            client.shutdown(socket.SHUT_WR)
            if asked == 3:
                stackless.sleep(0.001)

    for _ in range(30):
        got.clear()
        stackless.tasklet(serve)()
        stackless.tasklet(ask)()
        with stackless.timeout(30):
            stackless.run()
        assert b"".join(got) == b"abcdend"


def test_many_messages_of_every_size(sockets):
    """Short receives, exact ones and empty sockets in between."""
    listener = sockets(socket.create_server(("127.0.0.1", 0)))
    sizes = [1, 2, 63, 64, 65, 1000, 64, 64, 5]
    sent = [bytes([number % 256]) * sizes[number % len(sizes)] for number in range(300)]
    answers = []

    def serve():
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(64):
                connection.sendall(data)

    def ask():
        with socket.create_connection(listener.getsockname()) as client:
            for message in sent:
                client.sendall(message)
                answer = b""
                while len(answer) < len(message):
                    answer += client.recv(64)
                answers.append(answer)

    stackless.tasklet(serve)()
    stackless.tasklet(ask)()
    with stackless.timeout(30):
        stackless.run()
    assert answers == sent


def test_send_takes_any_buffer(pair):
    a, b = pair
    assert a.send(bytearray(b"ab")) == 2
    assert a.send(memoryview(b"cd"), 0) == 2
    assert a.sendall(array.array("b", b"ef")) is None
    assert a.sendall(b"") is None
    assert b.recv(10) == b"abcdef"
    for wrong in ("text", None, 1):
        with pytest.raises(TypeError):
            a.send(wrong)
        with pytest.raises(TypeError):
            a.sendall(wrong)


def test_send_waits_for_room(pair):
    a, b = pair
    queued = fill(a)
    results = []
    go(failing, results, a.send, b"last")
    wait_for_io_waiters(1)
    assert results == []
    got = 0
    while got < queued + 4:
        got += len(b.recv(1 << 20))
        stackless.schedule()
    assert results == [4] and got == queued + 4


def test_sending_to_a_closed_peer_is_a_broken_pipe(pair):
    a, b = pair
    b.close()
    for call in (a.send, a.sendall):
        with pytest.raises(BrokenPipeError):
            call(b"x")


def test_big_sendall_both_ways_at_once(pair):
    size = 8 << 20
    data = os.urandom(1 << 16) * (size >> 16)
    results = {}

    def receive(name, sock):
        parts, left = [], size
        while left:
            parts.append(sock.recv(min(left, 1 << 17)))
            assert parts[-1]
            left -= len(parts[-1])
        results[name] = b"".join(parts) == data

    for name, sock in zip("ab", pair):
        go(sock.sendall, data)
        go(receive, name, sock)
    stackless.run()
    assert results == {"a": True, "b": True}


def test_messages_of_tasklets_on_one_socket(sockets):
    """Many readers of one datagram socket: each message wakes somebody, none is lost."""
    a, b = sockets(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    got = []
    for _ in range(10):
        go(lambda: got.append(a.recv(100)))
    wait_for_io_waiters(10)
    for number in range(10):
        b.send(b"%d" % number)
    stackless.run()
    assert sorted(got) == [b"%d" % n for n in range(10)]


def test_reader_and_writer_of_one_socket_are_independent(pair):
    a, b = pair
    fill(a)
    got = []
    go(failing, got, a.send, b"x")
    go(failing, got, a.recv, 10)
    wait_for_io_waiters(2)
    b.send(b"for the reader")
    support.wait_for(lambda: got, "the reader", pause=stackless.schedule)
    assert got == [b"for the reader"[:10]] and stackless.stats()["io_waiters"] == 1
    a.close()
    stackless.run()
    assert got[1].errno == errno.EBADF


def test_udp(sockets):
    server = sockets(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", 0))
    client = sockets(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    results = []

    def serve():
        for _ in range(2):
            data, address = server.recvfrom(100)
            assert server.sendto(data.upper(), address) == len(data)
        buffer = bytearray(10)
        size, address = server.recvfrom_into(buffer, nbytes=4)
        server.sendto(buffer[:size], 0, address)
        server.recv(0)

    go(serve)
    wait_for_io_waiters(1)
    assert client.sendto(b"one", server.getsockname()) == 3
    assert client.recvfrom(100) == (b"ONE", server.getsockname())
    client.connect(server.getsockname())
    client.send(b"two")
    assert client.recv(2) == b"TW"
    client.send(b"three")
    assert client.recv(100) == b"thre"
    client.send(b"")
    stackless.run()
    with pytest.raises(TypeError):
        client.sendto(b"x")


def test_recv_of_a_truncated_datagram(sockets):
    a, b = sockets(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    b.send(b"0123456789")
    assert a.recv(4, socket.MSG_TRUNC) == b"0123"


def test_recvmsg_and_sendmsg(pair, sockets):
    a, b = pair
    results = []
    go(lambda: results.append(a.recvmsg(100, socket.CMSG_LEN(4))))
    wait_for_io_waiters(1)
    read_end, write_end = os.pipe()
    try:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read_end]))
        assert b.sendmsg(iter([b"ab", b"cd"]), iter([rights])) == 4
        stackless.run()
        data, ancillary, _, _ = results[0]
        assert data == b"abcd" and len(ancillary) == 1
        os.close(array.array("i", ancillary[0][2])[0])
    finally:
        os.close(read_end)
        os.close(write_end)
    buffers = [bytearray(2), bytearray(4)]
    go(lambda: results.append(a.recvmsg_into(iter(buffers))))
    wait_for_io_waiters(1)
    b.sendall(b"123456")
    stackless.run()
    assert results[1][0] == 6 and buffers == [bytearray(b"12"), bytearray(b"3456")]


def test_sendmsg_waits_for_room(pair):
    a, b = pair
    queued = fill(a)
    results = []
    go(failing, results, a.sendmsg, [b"la", b"st"])
    wait_for_io_waiters(1)
    got = 0
    while got < queued + 4:
        got += len(b.recv(1 << 20))
        stackless.schedule()
    assert results == [4]


def test_descriptors_in_messages(pair):
    a, b = pair
    read_end, write_end = os.pipe()
    results = []
    go(lambda: results.append(socket.recv_fds(a, 10, 1)))
    wait_for_io_waiters(1)
    socket.send_fds(b, [b"fd"], [write_end])
    stackless.run()
    data, received, _, _ = results[0]
    os.write(received[0], b"through")
    assert data == b"fd" and os.read(read_end, 10) == b"through"
    for fd in (*received, read_end, write_end):
        os.close(fd)


@pytest.mark.parametrize("offset, count", [(0, None), (0, 1 << 19), (12345, None), (12345, 1 << 19), (0, 1 << 30)])
def test_sendfile(pair, tmp_path, offset, count):
    a, b = pair
    content = os.urandom(1 << 20)
    path = tmp_path / "file"
    path.write_bytes(content)
    wanted = content[offset:] if count is None else content[offset:offset + count]
    results = []

    def send():
        with path.open("rb") as file, a:
            results.append(a.sendfile(file, offset, count))
            assert file.tell() == offset + len(wanted)

    go(send)
    got = bytearray()
    while data := b.recv(1 << 16):
        got += data
    stackless.run()
    assert bytes(got) == wanted and results == [len(wanted)]


def test_sendfile_of_what_is_no_file(pair):
    import io
    a, b = pair
    assert a.sendfile(io.BytesIO(b"0123456789"), 2, 5) == 5
    assert b.recv(100) == b"23456"
    with pytest.raises(ValueError, match="binary"):
        with open(os.devnull) as text:
            a.sendfile(text)


def test_sendfile_errors(pair, tmp_path):
    a, b = pair
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file:
        a.settimeout(0)
        with pytest.raises(ValueError, match="non-blocking"):
            a.sendfile(file)
        a.settimeout(SHORT)
        fill(a)
        with pytest.raises(TimeoutError):
            a.sendfile(file)
        a.settimeout(None)
        results = []
        go(failing, results, a.sendfile, file)
        wait_for_io_waiters(1)
        a.close()
        stackless.run()
        assert results[0].errno == errno.EBADF


def test_makefile(listener, sockets):
    client = sockets(connected(listener))
    server = sockets(listener.accept()[0])
    lines = []

    def read():
        with server.makefile("r", encoding="utf-8", newline="\n") as file:
            lines.extend(file)

    go(read)
    wait_for_io_waiters(1)
    with client.makefile("w", encoding="utf-8") as out:
        out.write("first\nsec")
        out.flush()
        stackless.schedule()
        out.write("ond\n\u00e9\n")
    client.shutdown(socket.SHUT_WR)
    stackless.run()
    assert lines == ["first\n", "second\n", "\u00e9\n"]


def test_makefile_outlives_close(pair):
    a, b = pair
    file = a.makefile("rb")
    fd = a.fileno()
    a.close()
    assert a.fileno() == fd
    b.sendall(b"line\n")
    assert file.readline() == b"line\n"
    file.close()
    assert a.fileno() == -1
    assert b.recv(1) == b""


def test_makefile_and_timeouts(pair):
    a, b = pair
    a.settimeout(SHORT)
    file = a.makefile("rb")
    with pytest.raises(TimeoutError):
        file.readline()
    with pytest.raises(OSError, match="cannot read from timed out"):
        file.readline()
    with b.makefile("rb", buffering=0) as raw:
        b.settimeout(0)
        assert raw.read(1) is None
    file.close()


def test_shutdown_wakes_the_own_reader(pair):
    a, b = pair
    results = []
    go(failing, results, a.recv, 10)
    wait_for_io_waiters(1)
    a.shutdown(socket.SHUT_RD)
    stackless.run()
    assert results == [b""]
