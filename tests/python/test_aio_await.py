# SPDX-License-Identifier: MIT
"""stackless.aio.to_tasklet(): coroutines that wait for tasklets."""

import asyncio
import contextvars
import gc
import os

import pytest
import stackless
from stackless import aio, schedule, sleep

from support import in_tasklet, in_thread

var = contextvars.ContextVar("var", default="unset")


def test_a_coroutine_waits_for_a_tasklet():
    async def main():
        one = await aio.to_tasklet(lambda *args, **kwargs: (sleep(0.001), args, kwargs), 1, func=2)
        return one[1:]

    assert aio.run(main()) == ((1,), {"func": 2})
    assert in_tasklet(lambda: aio.run(main())) == ((1,), {"func": 2})
    assert in_thread(lambda: aio.run(main())) == ((1,), {"func": 2})


def test_it_raises_what_the_tasklet_does():
    def fail():
        schedule()
        raise ValueError("x")

    async def main():
        with pytest.raises(ValueError, match="x") as info:
            await aio.to_tasklet(fail)
        assert info.traceback[-1].name == "fail"

    aio.run(main())


def test_many_at_once():
    channel = stackless.channel()

    async def main():
        receivers = [aio.to_tasklet(channel.receive) for _ in range(100)]
        senders = [aio.to_tasklet(channel.send, n) for n in range(100)]
        return await asyncio.gather(*receivers, *senders)

    assert sorted(aio.run(main())[:100]) == list(range(100))


def test_it_sees_the_context_and_has_a_name():
    async def main():
        var.set("set")
        seen = await aio.to_tasklet(lambda: (var.get(), var.set("other"), stackless.getcurrent().name))
        return seen[0], seen[2], var.get()

    value, name, after = aio.run(main())
    assert value == "set" and name.endswith("<lambda>") and after == "set"


async def started(work):
    """A task that awaits a tasklet, which has begun to work."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    def body():
        loop.call_soon_threadsafe(begun.set)
        return work()

    task = asyncio.create_task(aio.to_tasklet(body))
    await begun.wait()
    return task


def cancelled(work):
    """The task that awaits a tasklet that works, when it has ended after being cancelled."""

    async def main():
        task = await started(work)
        task.cancel()
        await asyncio.wait([task])
        return task

    return aio.run(main())


def test_cancelling_kills_the_tasklet_and_waits_for_its_end():
    log = []

    def work():
        try:
            stackless.channel().receive()
        finally:
            sleep(0.002)
            log.append("ended")

    task = cancelled(work)
    assert task.cancelled() and log == ["ended"]


def test_a_timeout_of_asyncio_kills_the_tasklet():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await aio.to_tasklet(stackless.channel().receive)

    aio.run(main())


def test_a_failure_in_a_group_of_asyncio_kills_the_tasklet():
    begun, log = [], []

    def work():
        begun.append(True)
        try:
            stackless.channel().receive()
        except stackless.TaskletExit:
            log.append("killed")
            raise

    async def pass_on():
        await (await started(work))

    async def fail():
        while not begun:
            await asyncio.sleep(0)
        raise ValueError

    async def main():
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on())
                group.create_task(fail())

    aio.run(main())
    assert log == ["killed"]


def test_a_tasklet_that_swallows_its_kill():
    def swallow():
        try:
            stackless.channel().receive()
        except stackless.TaskletExit as error:
            return error

    assert cancelled(swallow).cancelled()


def test_a_tasklet_that_fails_when_it_is_killed():
    def fail():
        try:
            stackless.channel().receive()
        finally:
            raise ValueError("while dying")

    assert isinstance(cancelled(fail).exception(), ValueError)


def test_a_tasklet_that_must_be_killed_twice():
    log = []

    def stubborn():
        try:
            stackless.channel().receive()
        except stackless.TaskletExit as error:
            log.append(error)
        stackless.channel().receive()

    async def main():
        task = await started(stubborn)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.001)
        return task.cancelled()

    assert aio.run(main()) is True and len(log) == 1


def test_a_tasklet_that_others_kill():
    tasklets = []

    def work():
        tasklets.append(stackless.getcurrent())
        stackless.channel().receive()

    async def main():
        task = await started(work)
        tasklets[0].kill()
        await asyncio.wait([task])
        return task.cancelled()

    assert aio.run(main()) is True


def test_an_end_of_the_loop_kills_the_tasklet():
    log = []

    def work():
        try:
            stackless.channel().receive()
        finally:
            log.append("killed")

    aio.run(started(work))
    assert log == ["killed"]


def test_a_tasklet_that_outlives_its_loop():
    release, log = stackless.Event(), []
    loop = aio.EventLoop()
    task = loop.run_until_complete(started(lambda: (release.wait(), log.append("ended"))))
    task._log_destroy_pending = False
    loop.close()
    release.set()
    stackless.run()
    assert log == ["ended"]
    del task
    gc.collect()


def test_a_blocking_call(many_threads):
    async def main():
        reading, writing = os.pipe()
        task = asyncio.create_task(aio.to_tasklet(os.read, reading, 1))
        await asyncio.sleep(0.001)
        os.write(writing, b"x")
        result = await task
        os.close(reading), os.close(writing)
        return result

    assert aio.run(main()) == b"x"


def test_a_loop_that_blocks_the_thread_works_if_others_run_the_tasklets(many_threads):
    async def main():
        return await aio.to_tasklet(lambda: (sleep(0.001), "done")[1])

    assert asyncio.run(main()) == "done"


def test_a_loop_that_blocks_the_only_thread_is_refused():
    async def main():
        with pytest.raises(RuntimeError, match="blocks its thread"):
            await aio.to_tasklet(int)
        return "refused"

    assert in_thread(lambda: asyncio.run(main())) == "refused"
