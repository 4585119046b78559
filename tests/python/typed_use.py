# SPDX-License-Identifier: MIT
"""What a program with type annotations looks like; checked by mypy --strict and run, by test_stubs.py."""

import contextvars
from typing import assert_type

import stackless
from stackless import socket

# --- channels carry values of one type

numbers = stackless.channel[int]()
words: stackless.channel[str] = stackless.channel(capacity=2)


def square(source: stackless.channel[int], target: stackless.channel[int]) -> None:
    for n in source:
        target.send(n * n)


squares = stackless.channel[int]()
worker = stackless.tasklet(square)(numbers, squares)
assert_type(worker, stackless.tasklet)
stackless.tasklet(numbers.send_sequence)([1, 2, 3])
assert [squares.receive() for _ in range(3)] == [1, 4, 9]
worker.kill()
assert_type(words.try_send("a"), bool)
assert_type(words.try_receive(), str | None)
assert_type(words.try_receive(0), str | int)
assert_type(words.queue, stackless.tasklet | None)
index, value = stackless.select([numbers, (words, "b")], timeout=1.5)
assert (index, words.receive()) == (1, "b")


# --- subclasses keep their type

class Counting(stackless.tasklet):
    count = 0

    def __init__(self, start: int) -> None:
        super().__init__(self.body)
        self.count = start

    def body(self, times: int) -> None:
        for _ in range(times):
            self.count += 1
            stackless.schedule()


counting = Counting(5)
assert_type(counting.setup(3), Counting)
assert_type(counting.remove().insert(), Counting)
stackless.run()
assert counting.count == 8


class Typed(stackless.channel[bytes]):
    pass


assert_type(Typed().balance, int)


# --- exceptions, context, flags

def patient() -> None:
    try:
        with stackless.timeout(0.001) as limit:
            stackless.sleep(60)
    except TimeoutError:
        assert limit.expired
    try:
        stackless.schedule_remove()
    except stackless.TaskletExit as exit:
        assert_type(exit.code, str | int | None)
        raise


task = stackless.tasklet(patient, ())
task.insert()
stackless.run()
assert task.paused and task.frame is not None
task.throw(stackless.TaskletExit, pending=True)
stackless.run()
assert not task.alive
assert_type(stackless.getcurrent().context_run(len, [1, 2]), int)
stackless.tasklet().set_context(contextvars.copy_context())
with stackless.atomic(), stackless.pinned():
    assert stackless.current.atomic and stackless.current.pinned
assert_type(stackless.getcurrent().set_atomic(False), bool)


def handler(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    print(kind, error, traceback)


stackless.set_error_handler(handler)
stackless.set_error_handler(None)

# --- groups, executors, locks and queues

with stackless.TaskletGroup() as group:
    total = group.spawn(sum, [1, 2, 3])
    assert_type(total, stackless.Task[int])
assert_type(total.result(), int)
with stackless.TaskletExecutor() as executor:
    assert executor.submit(pow, 2, 5).result() == 32
    assert list(executor.map(str, [1, 2])) == ["1", "2"]

queue = stackless.Queue[tuple[int, str]](maxsize=1)
queue.put((1, "x"))
assert_type(queue.get(), tuple[int, str])
lock = stackless.RLock()
condition = stackless.Condition(lock)
with condition:
    condition.notify_all()
assert_type(lock.locked(), bool)
ready = stackless.Event()
ready.set()
assert_type(ready.wait(timeout=1), bool)
with stackless.Semaphore(2), stackless.BoundedSemaphore():
    pass

# --- sockets are the module's own

left, right = socket.socketpair()
assert_type(left, socket.socket)
with left, right:
    left.sendall(b"hello")
    assert_type(right.recv(10), bytes)
    assert stackless.wait(left, stackless.WRITE) == stackless.WRITE
assert_type(stackless.stats(), dict[str, int])
assert_type(stackless.get_include(), str)
