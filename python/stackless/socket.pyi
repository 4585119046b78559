# The names of the standard module are its own; only what is replaced is here.
import socket as _std
from typing import Any

class socket(_std.socket):
    def accept(self) -> tuple[socket, Any]: ...

def fromfd(fd: int, family: _std.AddressFamily | int, type: _std.SocketKind | int, proto: int = 0) -> socket: ...
def socketpair(
    family: int = ..., type: _std.SocketKind | int = ..., proto: int = 0
) -> tuple[socket, socket]: ...
def create_connection(
    address: tuple[str | None, int],
    timeout: float | None = ...,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket: ...
def create_server(
    address: tuple[Any, ...],
    *,
    family: int = ...,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket: ...

# At the end: mypy keeps what is defined already.
from socket import *  # type: ignore[assignment]
