# SPDX-License-Identifier: MIT
"""stackless.socket: the standard library's interface and errors, with calls that park the tasklet.

What waits on bare descriptors is test_wait.py's; plain sockets that block an OS thread are test_blocking.py's.
"""

import array
import copy
import errno
import gc
import os
import pickle
import socket as plain
import threading
import time
import warnings

import pytest
import stackless
from stackless import socket

import support

SHORT = 0.02  # seconds that a wait which must time out is given


@pytest.fixture
def sockets():
    """Closes in the end whatever a test passes to it."""
    opened = []

    def keep(*some):
        opened.extend(some)
        return some[0] if len(some) == 1 else some

    yield keep
    for one in opened:
        one.close()
    stackless.run()


@pytest.fixture
def pair(sockets):
    return sockets(*socket.socketpair())


@pytest.fixture(params=["inet", "unix"])
def listener(request, sockets, tmp_path):
    one = sockets(socket.socket(socket.AF_INET if request.param == "inet" else socket.AF_UNIX))
    one.bind(("127.0.0.1", 0) if request.param == "inet" else str(tmp_path / "listener"))
    one.listen(128)
    return one


def connected(listener):
    client = socket.socket(listener.family)
    client.connect(listener.getsockname())
    return client


def go(function, *args):
    return stackless.tasklet(function)(*args)


def waiting(count):
    """Lets the others run until that many tasklets wait for descriptors."""
    support.wait_for(lambda: stackless.stats()["io_waiters"] == count, f"{count} waiters", pause=stackless.schedule)


def failing(results, function, *args):
    """For a tasklet of its own: notes what the call raises, or what it returns."""
    try:
        results.append(function(*args))
    except Exception as error:
        results.append(error)


def fill(sock):
    """Sends until nothing more fits; how much went in."""
    total, timeout = 0, sock.gettimeout()
    sock.settimeout(0)
    try:
        while True:
            total += sock.send(bytes(65536))
    except BlockingIOError:
        return total
    finally:
        sock.settimeout(timeout)


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
    waiting(1)
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
    waiting(1)
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
    waiting(1)
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
    waiting(10)
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
    waiting(2)
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
    waiting(1)
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
    waiting(1)
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
    waiting(1)
    b.sendall(b"123456")
    stackless.run()
    assert results[1][0] == 6 and buffers == [bytearray(b"12"), bytearray(b"3456")]


def test_sendmsg_waits_for_room(pair):
    a, b = pair
    queued = fill(a)
    results = []
    go(failing, results, a.sendmsg, [b"la", b"st"])
    waiting(1)
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
    waiting(1)
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
        waiting(1)
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
    waiting(1)
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
    waiting(1)
    a.shutdown(socket.SHUT_RD)
    stackless.run()
    assert results == [b""]


# ---- connecting ----


def test_create_server_and_connection(sockets):
    server = sockets(socket.create_server(("127.0.0.1", 0)))
    assert type(server) is socket.socket and server.gettimeout() is None
    results = []
    go(lambda: results.append(server.accept()[0]))
    waiting(1)
    client = sockets(socket.create_connection(server.getsockname(), timeout=30))
    assert type(client) is socket.socket and client.gettimeout() == 30
    stackless.run()
    sockets(results[0]).sendall(b"hi")
    assert client.recv(10) == b"hi"
    for function in (socket.create_server, socket.create_connection):
        assert function.__module__ == "stackless.socket" and function.__doc__


def test_create_connection_refused():
    with plain.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(unused.getsockname(), timeout=30)
        with socket.socket() as sock:
            with pytest.raises(ConnectionRefusedError):
                sock.connect(unused.getsockname())
        with socket.socket() as sock:
            assert sock.connect_ex(unused.getsockname()) == errno.ECONNREFUSED
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(FileNotFoundError):
            sock.connect("/no/such/socket")
        with pytest.raises(TypeError):
            sock.connect(1)


def test_create_server_for_both_families(sockets):
    if not socket.has_dualstack_ipv6():
        pytest.skip("no dual-stack IPv6 here")
    server = sockets(socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True))
    client = sockets(socket.create_connection(("127.0.0.1", server.getsockname()[1])))
    sockets(server.accept()[0]).sendall(b"x")
    assert client.recv(1) == b"x"


def test_connect_ex(listener, sockets):
    client = sockets(socket.socket(listener.family))
    assert client.connect_ex(listener.getsockname()) == 0
    # The first call after a connect that has waited only tells that it is over.
    assert client.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
    assert client.connect_ex(listener.getsockname()) == errno.EISCONN
    with pytest.raises(OSError) as caught:
        client.connect(listener.getsockname())
    assert caught.value.errno == errno.EISCONN


def crowd(sockets):
    """A TCP listener whose queue is full: further connections stay under way."""
    server = sockets(socket.socket())
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    for _ in range(10):
        one = sockets(socket.socket())
        one.settimeout(0)
        one.connect_ex(server.getsockname())
    return server


def test_connect_that_does_not_wait(sockets):
    server = crowd(sockets)
    client = sockets(socket.socket())
    client.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        client.connect(server.getsockname())
    assert caught.value.errno == errno.EINPROGRESS
    other = sockets(socket.socket())
    other.setblocking(False)
    assert other.connect_ex(server.getsockname()) == errno.EINPROGRESS


def test_connect_times_out_and_may_be_closed(sockets):
    server = crowd(sockets)
    client, another, third = sockets(*(socket.socket() for _ in range(3)))
    client.settimeout(SHORT)
    with pytest.raises(TimeoutError) as caught:
        client.connect(server.getsockname())
    assert str(caught.value) == "timed out" and caught.value.__context__ is None
    third.settimeout(SHORT)
    assert third.connect_ex(server.getsockname()) == errno.EAGAIN
    results = []
    go(failing, results, another.connect, server.getsockname())
    waiting(1)
    another.close()
    stackless.run()
    assert results[0].errno == errno.EBADF


def test_unix_connect_waits_for_room(sockets, tmp_path):
    server = sockets(socket.socket(socket.AF_UNIX))
    server.bind(str(tmp_path / "full"))
    server.listen(0)
    queued = []
    while True:
        one = sockets(socket.socket(socket.AF_UNIX))
        one.settimeout(0)
        if one.connect_ex(server.getsockname()):
            break
        queued.append(one)
    patient, hasty = sockets(*(socket.socket(socket.AF_UNIX) for _ in range(2)))
    hasty.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        hasty.connect(server.getsockname())
    results = []
    go(failing, results, patient.connect, server.getsockname())
    stackless.schedule()
    assert results == []
    for _ in queued:
        sockets(server.accept()[0])
    stackless.run()
    assert results == [None]
    sockets(server.accept()[0]).sendall(b"x")
    assert patient.recv(1) == b"x"


def test_socketpair_kinds(sockets):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        a, b = sockets(*socket.socketpair(socket.AF_UNIX, kind))
        assert type(a) is type(b) is socket.socket and a.type == kind
        a.send(b"x")
        assert b.recv(1) == b"x"


def test_fromfd_dup_and_fileno(pair, sockets):
    a, b = pair
    copied = sockets(socket.fromfd(b.fileno(), socket.AF_UNIX, socket.SOCK_STREAM))
    assert type(copied) is socket.socket and copied.fileno() != b.fileno()
    b.settimeout(5)
    twin = sockets(b.dup())
    assert twin.gettimeout() == 5 and not twin.get_inheritable()
    results = []
    for one in (copied, twin, b):
        go(failing, results, one.recv, 1)
    waiting(3)
    a.sendall(b"xyz")
    stackless.run()
    assert sorted(results) == [b"x", b"y", b"z"]
    whole = sockets(socket.socket(fileno=a.detach()))
    assert whole.family == socket.AF_UNIX and whole.type == socket.SOCK_STREAM
    whole.close()
    assert b.recv(1) == b""


def test_detach(pair, sockets):
    a, b = pair
    results = []
    fd = a.fileno()
    go(failing, results, a.recv, 1)
    waiting(1)
    assert a.detach() == fd and a.fileno() == -1
    stackless.run()
    assert results[0].errno == errno.EBADF
    assert os.get_blocking(fd)
    assert a.detach() == -1
    again = sockets(socket.socket(fileno=fd))
    b.sendall(b"x")
    assert again.recv(1) == b"x"
    b.settimeout(1)
    fd = b.detach()
    assert not os.get_blocking(fd)
    os.close(fd)


# ---- timeouts ----


def test_timeout_attributes():
    with socket.socket() as one, plain.socket() as std:
        for value in (None, 0, 2.5, 7, 1e-9, True):
            one.settimeout(value)
            std.settimeout(value)
            assert one.gettimeout() == std.gettimeout() == one.timeout
            assert type(one.gettimeout()) is type(std.gettimeout())
            assert one.getblocking() is std.getblocking()
            assert not os.get_blocking(one.fileno())
        one.setblocking(True)
        assert one.gettimeout() is None and one.getblocking() is True
        one.setblocking(False)
        assert one.gettimeout() == 0.0 and one.getblocking() is False
        for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (1j, TypeError)):
            with pytest.raises(error):
                one.settimeout(wrong)
        with pytest.raises(AttributeError):
            one.timeout = 1
        assert one.gettimeout() == 0.0
    with pytest.raises(OSError):
        one.settimeout(1)


def test_default_timeout():
    socket.setdefaulttimeout(12.5)
    try:
        assert plain.getdefaulttimeout() == socket.getdefaulttimeout() == 12.5
        a, b = socket.socketpair()
        assert a.gettimeout() == b.gettimeout() == 12.5
        b.close()
        a.close()
    finally:
        socket.setdefaulttimeout(None)
    with socket.socket(type=socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as one:
        assert one.gettimeout() == 0.0 and one.type == socket.SOCK_STREAM


WAITING = [
    ("recv", lambda s: s.recv(1)),
    ("recv big", lambda s: s.recv(1 << 20)),
    ("recv_into", lambda s: s.recv_into(bytearray(1))),
    ("recvfrom", lambda s: s.recvfrom(1)),
    ("recvfrom_into", lambda s: s.recvfrom_into(bytearray(1))),
    ("recvmsg", lambda s: s.recvmsg(1)),
    ("recvmsg_into", lambda s: s.recvmsg_into([bytearray(1)])),
    ("send", lambda s: s.send(b"x")),
    ("sendall", lambda s: s.sendall(b"x")),
    ("sendmsg", lambda s: s.sendmsg([b"x"])),
    ("accept", lambda s: s.accept()),
]


def blocked_socket(name, sockets):
    if name == "accept":
        return sockets(socket.create_server(("127.0.0.1", 0)))
    a, b = sockets(*socket.socketpair())
    if name.startswith("send"):
        fill(a)
    return a


@pytest.mark.parametrize("name, call", WAITING, ids=[name for name, _ in WAITING])
def test_each_call_that_waits(name, call, sockets):
    """What settimeout(0), a timeout, close(), kill() and the end of a timeout() block do to it."""
    sock = blocked_socket(name, sockets)
    sock.settimeout(0)
    with pytest.raises(BlockingIOError) as caught:
        call(sock)
    assert caught.value.errno == errno.EAGAIN and caught.value.__context__ is None
    sock.settimeout(SHORT)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        call(sock)
    assert time.monotonic() - began >= SHORT
    assert str(caught.value) == "timed out" and caught.value.__context__ is None
    sock.settimeout(1e-9)
    with pytest.raises(TimeoutError):
        call(sock)
    sock.settimeout(None)
    with pytest.raises(TimeoutError):
        with stackless.timeout(SHORT):
            call(sock)
    victim = go(call, sock)
    waiting(1)
    assert victim.alive and not victim.scheduled and not victim.paused
    victim.kill()
    assert not victim.alive and stackless.stats()["io_waiters"] == 0
    results = []
    go(failing, results, call, sock)
    go(failing, results, call, sock)
    waiting(2)
    sock.close()
    stackless.run()
    assert [type(e) for e in results] == [OSError, OSError]
    assert [e.errno for e in results] == [errno.EBADF] * 2
    with pytest.raises(OSError) as caught:
        call(sock)
    assert caught.value.errno == errno.EBADF


def test_timeout_of_a_sendall_is_one_for_the_whole(pair):
    a, b = pair
    a.settimeout(0.15)
    stop = []

    def drip():  # each read lets it go on a little: no single wait is long
        while not stop:
            b.recv(1 << 14)
            stackless.sleep(0.002)

    drain = go(drip)
    with pytest.raises(TimeoutError):
        a.sendall(bytes(1 << 30))
    stop.append(True)
    stackless.run()
    assert not drain.alive


def test_data_in_time_beats_the_timeout(pair):
    a, b = pair
    a.settimeout(30)
    results = []
    go(failing, results, a.recv, 10)
    waiting(1)
    assert stackless.stats()["timers"] == 1
    b.send(b"x")
    stackless.run()
    assert results == [b"x"] and stackless.stats()["timers"] == 0


def test_others_run_while_one_waits(pair):
    a, b = pair
    log = []

    def busy():
        for turn in range(3):
            log.append(turn)
            stackless.schedule()
        b.send(b"x")

    go(busy)
    log.append(a.recv(1))
    assert log == [0, 1, 2, b"x"]


def test_the_switch_trap(pair):
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            pair[0].recv(1)
        pair[1].send(b"x")
        assert pair[0].recv(1) == b"x"  # does not wait: no switch
    finally:
        stackless.switch_trap(-1)


# ---- reuse, threads, strays, fork ----


def reuse(make, number):
    """A socket of make() with that descriptor."""
    others = []
    while True:
        one = make()
        if one.fileno() == number:
            for other in others:
                other.close()
            return one
        others.append(one)
        assert len(others) < 100


def test_a_reused_descriptor_gets_no_old_events(pair, sockets):
    a, b = pair
    results = []
    number = a.fileno()
    go(failing, results, a.recv, 1)
    waiting(1)
    b.send(b"x")  # an event is on its way
    a.close()
    new, peer = socket.socketpair()
    while number not in (new.fileno(), peer.fileno()):
        sockets(new, peer)
        new, peer = socket.socketpair()
    sockets(new, peer)
    if peer.fileno() == number:
        new, peer = peer, new
    go(failing, results, new.recv, 5)
    waiting(1)
    assert results[0] == b"x" or results[0].errno == errno.EBADF
    for _ in range(200):
        stackless.schedule()
    assert len(results) == 1
    peer.send(b"right")
    stackless.run()
    assert results[1] == b"right"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_descriptor_reused_without_close(sockets):
    """The standard library closes a collected socket behind our back."""
    for turn in range(50):
        a, b = socket.socketpair()
        results = []
        go(failing, results, a.recv, 5)
        waiting(1)
        b.send(b"%d" % turn)
        stackless.run()
        assert results == [b"%d" % turn]
        del a, b
        gc.collect()


def test_threads_have_their_own_poller(pair):
    """One thread's tasklets wait for a socket that another thread's have waited for."""
    a, b = pair
    results = []
    go(failing, results, a.recv, 5)
    waiting(1)
    b.send(b"main")
    stackless.run()
    ready, seen = threading.Event(), []

    def body():
        def tasklets():
            seen.append(a.recv(6))

        go(tasklets)
        go(ready.set)
        stackless.run()
        b.sendall(b"answer")

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(support.PATIENCE)
    b.sendall(b"thread")
    thread.join()
    assert results == [b"main"] and seen == [b"thread"] and a.recv(6) == b"answer"


def test_threads_one_after_another(pair):
    a, b = pair
    for turn in range(20):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(a.recv(5)))
        thread.start()
        b.sendall(b"%d" % turn)
        thread.join()
        assert seen == [b"%d" % turn]


def test_close_wakes_waiters_of_other_threads(pair):
    a, b = pair
    results, started = [], []

    def body():
        go(started.append, True)
        failing(results, a.recv, 5)

    threads = [threading.Thread(target=body) for _ in range(3)]
    for thread in threads:
        thread.start()
    support.wait_for(lambda: len(started) == 3, "threads that wait", pause=lambda: time.sleep(0.001))
    a.close()
    for thread in threads:
        thread.join()
    assert [e.errno for e in results] == [errno.EBADF] * 3


def test_timeouts_in_a_thread(pair):
    results = []

    def body():
        a = pair[0]
        a.settimeout(SHORT)
        failing(results, a.recv, 1)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert type(results[0]) is TimeoutError


def test_a_stray_uses_sockets(many_threads, pair):
    """After a blocking call the tasklet has lost the lane; its next wait queues for it."""
    a, b = pair
    stop, results = [], []

    def spin():
        while not stop:
            stackless.schedule()

    def stray(first):
        if first:
            b.sendall(b"early")
        before = stackless.stats()["handoffs"]
        support.wait_for(lambda: stackless.stats()["handoffs"] > before, "a handoff", pause=lambda: time.sleep(0.01))
        time.sleep(0.01)
        results.append(a.recv(5))
        stop.append(True)

    for first in (True, False):
        spinner, one = go(spin), go(stray, first)
        if not first:
            def late():
                waiting(1)
                b.sendall(b"later")
            go(late)
        stackless.run()
        assert not spinner.alive and not one.alive
        stop.clear()
    assert results == [b"early", b"later"]


def test_many_clients_beside_blocking_calls(many_threads, listener):
    done = []

    def serve(connection):
        with connection:
            while data := connection.recv(100):
                if data == b"slow":
                    time.sleep(0.005)
                connection.sendall(data)

    def accept():
        for _ in range(20):
            go(serve, listener.accept()[0])

    def client(number):
        with connected(listener) as sock:
            for turn in range(10):
                word = b"slow" if (number + turn) % 5 == 0 else b"fast"
                sock.sendall(word)
                assert sock.recv(100) == word
        done.append(number)

    go(accept)
    for number in range(20):
        go(client, number)
    stackless.run()
    assert len(done) == 20


def test_in_a_forked_child():
    support.run_script("""
        import os, stackless
        from stackless import socket

        a, b = socket.socketpair()

        def echo(sock):
            sock.sendall(sock.recv(10).upper())

        stackless.tasklet(echo)(a)   # the poller and its records exist
        b.sendall(b"parent")
        assert b.recv(10) == b"PARENT"
        child = os.fork()
        if not child:
            a, b = a.dup(), b.dup()
            c, d = socket.socketpair()
            stackless.tasklet(echo)(c)
            d.sendall(b"child")
            assert d.recv(10) == b"CHILD"
            a.settimeout(0.01)
            try:
                a.recv(10)
            except TimeoutError:
                b.sendall(b"done")
            os._exit(0)
        assert a.recv(10) == b"done"    # sent by the child, on the shared socket
        assert os.waitpid(child, 0)[1] == 0
    """, options=["-W", "ignore::DeprecationWarning"])


def test_waiters_are_left_behind_by_fork():
    support.run_script("""
        import os, stackless
        from stackless import socket

        a, b = socket.socketpair()
        got = []
        stackless.tasklet(lambda: got.append(a.recv(10)))()
        stackless.schedule()
        child = os.fork()
        if not child:
            a.close()                   # wakes nobody: that tasklet is the parent's
            stackless.run()
            os._exit(len(got))
        assert os.waitpid(child, 0)[1] == 0
        b.sendall(b"x")
        stackless.run()
        assert got == [b"x"]
    """, options=["-W", "ignore::DeprecationWarning"])


def test_exit_with_waiters():
    support.run_script("""
        import stackless
        from stackless import socket

        a, b = socket.socketpair()
        stackless.tasklet(a.recv)(10)
        stackless.tasklet(socket.create_server(("127.0.0.1", 0)).accept)()
        stackless.schedule()
    """, options=["-W", "ignore::ResourceWarning"])


def test_waiting_costs_no_memory(pair):
    """No receive buffer exists while its tasklet is parked."""
    import tracemalloc
    count, size = 50, 1 << 22
    pairs = [socket.socketpair() for _ in range(count)]
    tracemalloc.start()
    try:
        for a, _ in pairs:
            go(a.recv, 1 << 16)
        waiting(count)
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()
        for a, b in pairs:
            b.close()
        stackless.run()
        for a, _ in pairs:
            a.close()
