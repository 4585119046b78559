# SPDX-License-Identifier: MIT
"""The standard library's socket module, cooperative.

A call that would block parks the calling tasklet on the poller; the others run
on, and no OS thread is held. Everything that the standard module has is here:
what waits for a network is replaced, the rest is the same object. Name lookups
(getaddrinfo and its like) are the standard ones: they block an OS thread of
the pool, not the other tasklets.

The descriptor of a socket made here is always in non-blocking mode, whatever
its timeout; other code that uses the bare descriptor sees that. It is no place
for a poller of your own: wait for any descriptor with stackless.wait().
"""

import errno as _errno
import os as _os
import socket as _std
import stat as _stat
import types as _types
from socket import *  # noqa: F403

from ._stackless import READ as _READ, WRITE as _WRITE, _Descriptor, sleep as _sleep

__all__ = list(_std.__all__)

_Base = _std.socket
_CONNECTING = (_errno.EINPROGRESS, _errno.EWOULDBLOCK)
_CHUNK = 1 << 30    # most that one sendfile(2) is asked for


def __getattr__(name):
    # Names that the standard module has without exporting them.
    try:
        return getattr(_std, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


class socket(_Base):
    """A socket whose blocking calls park the calling tasklet.

    Arguments, methods and errors are those of the standard library's class.
    Any number of tasklets may use one socket; close() wakes those that wait
    for it with OSError (EBADF).
    """

    __slots__ = ("_d",)     # also keeps the timeout: the base's own is always 0

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        _Base.__init__(self, family, type, proto, fileno)
        timeout = _Base.gettimeout(self)
        _Base.setblocking(self, False)
        self._d = d = _Descriptor(_Base.fileno(self))
        d.timeout = timeout

    # The hot ones: one call into C.

    def recv(self, bufsize, flags=0, /):
        return self._d.recv(bufsize, flags)

    def recv_into(self, buffer, nbytes=0, flags=0):
        return self._d.recv_into(buffer, nbytes, flags)

    def send(self, data, flags=0, /):
        return self._d.send(data, flags)

    def sendall(self, data, flags=0, /):
        self._d.sendall(data, flags)

    # The others: the base's call, which never waits, again and again.

    def _repeat(self, events, call, *args):
        deadline = -1
        while True:
            try:
                return call(self, *args)
            except BlockingIOError:
                pass
            deadline = self._d.wait(events, deadline)

    def accept(self):
        fd, address = self._repeat(_READ, _Base._accept)
        return socket(self.family, self.type, self.proto, fileno=fd), address

    def recvfrom(self, bufsize, flags=0, /):
        return self._repeat(_READ, _Base.recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        return self._repeat(_READ, _Base.recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize, ancbufsize=0, flags=0, /):
        return self._repeat(_READ, _Base.recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers, ancbufsize=0, flags=0, /):
        buffers = list(buffers)     # may be an iterator, and be needed again
        return self._repeat(_READ, _Base.recvmsg_into, buffers, ancbufsize, flags)

    def sendto(self, data, /, *args):
        return self._repeat(_WRITE, _Base.sendto, data, *args)

    def sendmsg(self, buffers, ancdata=(), /, *args):
        return self._repeat(_WRITE, _Base.sendmsg, list(buffers), list(ancdata), *args)

    if hasattr(_Base, "sendmsg_afalg"):
        def sendmsg_afalg(self, msg=(), **options):
            msg = list(msg)
            return self._repeat(_WRITE, lambda self: _Base.sendmsg_afalg(self, msg, **options))

    def sendfile(self, file, offset=0, count=None):
        self._check_sendfile_params(file, offset, count)
        if self._d.timeout == 0:
            raise ValueError("non-blocking sockets are not supported")
        try:
            source = file.fileno()
            regular = _stat.S_ISREG(_os.fstat(source).st_mode)
        except (AttributeError, OSError):
            regular = False
        if not regular:     # also what the io module only simulates
            return self._sendfile_use_send(file, offset, count)
        return self._send_regular(file, source, offset, count)

    def _send_regular(self, file, source, offset, count):
        target, start, deadline = self.fileno(), offset, -1
        end = None if count is None else offset + count
        try:
            while end is None or offset < end:
                try:
                    sent = _os.sendfile(target, source, offset,
                                        _CHUNK if end is None else min(end - offset, _CHUNK))
                except BlockingIOError:
                    pass
                except OSError as error:
                    if offset > start or error.errno not in (_errno.EINVAL, _errno.ENOSYS,
                                                             _errno.EOVERFLOW):
                        raise
                    return self._sendfile_use_send(file, start, count)
                else:
                    if sent == 0:
                        break
                    offset += sent
                    deadline = -1   # the timeout is one wait's, as in the standard library
                    continue
                deadline = self._d.wait(_WRITE, deadline)
                target = self.fileno()      # -1 if closed meanwhile
        finally:
            if offset > start and hasattr(file, "seek"):
                file.seek(offset)
        return offset - start

    # connect

    def connect(self, address, /):
        try:
            return _Base.connect(self, address)
        except BlockingIOError as error:
            code = error.errno
            if self._d.timeout == 0 or code not in _CONNECTING:
                raise
        self._finish_connect(address, code)

    def connect_ex(self, address, /):
        code = _Base.connect_ex(self, address)
        if code not in _CONNECTING or self._d.timeout == 0:
            return code
        try:
            self._finish_connect(address, code)
        except TimeoutError as error:
            return error.errno or _errno.EWOULDBLOCK
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def _finish_connect(self, address, code):
        if code == _errno.EWOULDBLOCK:
            return self._connect_when_there_is_room(address)
        deadline = -1
        while True:
            deadline = self._d.wait(_WRITE, deadline)
            code = self.getsockopt(SOL_SOCKET, SO_ERROR)
            if code:
                raise OSError(code, _os.strerror(code))
            try:
                self.getpeername()
            except OSError as error:
                if error.errno != _errno.ENOTCONN:
                    raise
            else:
                return
            # Woken by an edge from before connect: the answer is still to come.

    def _connect_when_there_is_room(self, address):
        # A Unix listener's backlog is full. No descriptor tells when that
        # changes, so ask, seldom enough to cost nothing.
        timeout, pause, waited = self._d.timeout, 0.001, 0.0
        while True:
            if timeout is not None:
                if waited >= timeout:
                    raise TimeoutError("timed out")
                pause = min(pause, timeout - waited)
            _sleep(pause)
            waited += pause
            pause = min(2 * pause, 0.05)
            code = _Base.connect_ex(self, address)
            if code == 0:
                return
            if code != _errno.EWOULDBLOCK:
                raise OSError(code, _os.strerror(code))

    # The timeout

    def gettimeout(self):
        return self._d.timeout

    def settimeout(self, value, /):
        self._d.timeout = value

    timeout = property(gettimeout, doc="Seconds for each operation, None: no limit, 0.0: never wait.")

    def setblocking(self, flag, /):
        self._d.timeout = None if flag else 0.0

    def getblocking(self):
        return self._d.timeout != 0

    # The end

    def _real_close(self):
        self._d.forget()
        _Base._real_close(self)

    def detach(self):
        """Give up the descriptor and return it, in blocking mode unless there was a timeout."""
        self._closed = True
        d = self._d
        timeout = d.timeout
        d.forget()
        fd = _Base.detach(self)
        if fd >= 0 and timeout is None:
            _os.set_blocking(fd, True)
        return fd


def fromfd(fd, family, type, proto=0):
    """Return a socket on a duplicate of the descriptor fd."""
    return socket(family, type, proto, dup(fd))


def socketpair(family=AF_UNIX, type=SOCK_STREAM, proto=0):
    """Return two connected sockets."""
    return tuple(socket(family, type, proto, end.detach())
                 for end in _std._socket.socketpair(family, type, proto))


def _rebound(function):
    """The standard library's function, making sockets of this module."""
    names = {**vars(_std), "socket": socket}
    ours = _types.FunctionType(function.__code__, names, function.__name__,
                               function.__defaults__, function.__closure__)
    ours.__kwdefaults__ = function.__kwdefaults__
    ours.__doc__ = function.__doc__
    ours.__module__ = __name__
    return ours


create_connection = _rebound(_std.create_connection)
create_server = _rebound(_std.create_server)
