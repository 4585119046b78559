from collections.abc import Callable
from concurrent import futures as _futures
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

from . import tasklet

_P = ParamSpec("_P")
_R = TypeVar("_R")

class Call(tasklet):
    def __init__(
        self,
        told: Callable[[Any, BaseException | None, BaseException | None], object],
        func: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        context: Context,
    ) -> None: ...

class Future(_futures.Future[_R]): ...

class TaskletExecutor(_futures.Executor):
    def __init__(self, max_workers: int | None = None) -> None: ...
    def submit(self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_R]: ...
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...
