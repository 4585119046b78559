# SPDX-License-Identifier: MIT
"""stackless.socket: connecting, timeouts, reused descriptors, threads, strays and forks."""

import errno
import gc
import os
import socket as plain
import threading
import time

import pytest
import stackless
from stackless import socket

import support
from support import connected, failing, fill, wait_for_io_waiters

SHORT = 0.02  # seconds that a wait which must time out is given


def go(function, *args):
    return stackless.tasklet(function)(*args)


# ---- connecting ----


def test_create_server_and_connection(sockets):
    server = sockets(socket.create_server(("127.0.0.1", 0)))
    assert type(server) is socket.socket and server.gettimeout() is None
    results = []
    go(lambda: results.append(server.accept()[0]))
    wait_for_io_waiters(1)
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
    wait_for_io_waiters(1)
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
    wait_for_io_waiters(3)
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
    wait_for_io_waiters(1)
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
    wait_for_io_waiters(1)
    assert victim.alive and not victim.scheduled and not victim.paused
    victim.kill()
    assert not victim.alive and stackless.stats()["io_waiters"] == 0
    results = []
    go(failing, results, call, sock)
    go(failing, results, call, sock)
    wait_for_io_waiters(2)
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
    wait_for_io_waiters(1)
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
    wait_for_io_waiters(1)
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
    wait_for_io_waiters(1)
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
        wait_for_io_waiters(1)
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
    wait_for_io_waiters(1)
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
                wait_for_io_waiters(1)
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
        wait_for_io_waiters(count)
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()
        for a, b in pairs:
            b.close()
        stackless.run()
        for a, _ in pairs:
            a.close()
