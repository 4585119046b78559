import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

__all__ = ["EventLoop", "call", "run", "to_tasklet"]

ATTEMPTS: Final[int]

class EventLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None: ...

def run(main: Coroutine[Any, Any, _R], *, debug: bool | None = None) -> _R: ...
async def to_tasklet(func: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...
def call(
    awaitable: Awaitable[_R], loop: asyncio.AbstractEventLoop | None = None, *, timeout: float | None = None
) -> _R: ...
