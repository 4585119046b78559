# SPDX-License-Identifier: MIT
"""stackless.aio: event loops in tasklets, tasklets that wait for coroutines.

Coroutines that wait for tasklets are in test_aio_await.py.
"""

import asyncio
import concurrent.futures as futures
import contextvars
import gc
import os
import pathlib
import re
import sys
import threading
import time

import pytest
import stackless
from stackless import aio, schedule, sleep, tasklet

from support import in_tasklet, in_thread, run_script, wait_for

var = contextvars.ContextVar("var", default="unset")


def go(function, *args):
    return tasklet(function)(*args)


async def forever(log=None):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if log is not None:
            await asyncio.sleep(0)
            log.append("cancelled")
        raise


class LoopInTasklet:
    """A loop that a tasklet of this thread runs for the length of a block."""

    def __init__(self, debug=None):
        self.debug = debug

    def __enter__(self):
        ready = stackless.Event()

        async def main():
            self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self.stop.wait()

        self.tasklet = go(lambda: aio.run(main(), debug=self.debug))
        ready.wait()
        return self.loop

    def __exit__(self, *exc_info):
        self.loop.call_soon_threadsafe(self.stop.set)
        stackless.run()
        assert not self.tasklet.alive and self.loop.is_closed()


# ---- loops in tasklets ----


async def double(x):
    await asyncio.sleep(0.001)
    return 2 * x


@pytest.mark.parametrize("where", [lambda f, *args: f(*args), in_tasklet, in_thread])
def test_run_returns_what_the_coroutine_does(where):
    assert where(lambda: aio.run(double(21))) == 42


@pytest.mark.parametrize("where", [in_tasklet, in_thread])
def test_run_raises_what_the_coroutine_does(where):
    async def fail():
        raise ValueError("x")

    assert isinstance(where(lambda: aio.run(fail())), ValueError)


def test_run_refuses_what_is_no_coroutine_and_loops_in_loops():
    with pytest.raises(TypeError, match="needs a coroutine"):
        aio.run(double)

    async def nested():
        with pytest.raises(RuntimeError, match="await it instead"):
            aio.run(double(1))

    aio.run(nested())


def test_debug():
    async def debug():
        return asyncio.get_running_loop().get_debug()

    assert aio.run(debug(), debug=True) is True
    assert aio.run(debug(), debug=False) is False


def test_others_go_on_while_a_loop_waits():
    progress = []

    async def main():
        while len(progress) < 5:
            await asyncio.sleep(0.001)

    def other():
        for n in range(5):
            sleep(0.001)
            progress.append(n)

    go(other)
    aio.run(main())
    assert progress == [0, 1, 2, 3, 4]


def test_others_go_on_beside_a_loop_that_is_never_idle():
    rounds = []

    async def main():
        while len(rounds) < 10:
            await asyncio.sleep(0)

    go(lambda: [(rounds.append(n), schedule()) for n in range(10)])
    aio.run(main())
    assert rounds == list(range(10))
    stackless.run()


def test_others_go_on_beside_a_loop_whose_descriptors_are_always_ready():
    rounds = []

    async def main():
        reading, writing = os.pipe()
        os.write(writing, b"x")
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        loop.add_reader(reading, lambda: len(rounds) < 10 or over.done() or over.set_result(None))
        await over
        loop.remove_reader(reading)
        os.close(reading), os.close(writing)

    go(lambda: [(rounds.append(n), schedule()) for n in range(10)])
    aio.run(main())
    assert rounds == list(range(10))
    stackless.run()


def test_loops_beside_each_other():
    log, turn = [], []

    async def player(me):
        for n in range(5):
            while len(turn) % 2 != me:
                await asyncio.sleep(0.0005)
            log.append((me, n))
            turn.append(None)
        return me

    results = []
    for me in range(2):
        go(lambda me: results.append(aio.run(player(me))), me)
    stackless.run()
    assert log == [(me, n) for n in range(5) for me in range(2)]
    assert sorted(results) == [0, 1]


def test_each_tasklet_has_its_own_running_loop():
    with LoopInTasklet():
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()


def test_timers_come_in_order():
    async def main():
        log, loop = [], asyncio.get_running_loop()
        now, over = loop.time(), loop.create_future()
        loop.call_at(now + 0.004, over.set_result, log)
        for n in (3, 1, 2):
            loop.call_at(now + 0.001 * n, log.append, n)
        return await over

    assert in_tasklet(lambda: aio.run(main())) == [1, 2, 3]


def test_streams():
    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def client(port, n):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = []
        for k in range(20):
            writer.write(b"line %d %d\n" % (n, k))
            lines.append(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return lines

    def serve(ports):
        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            ports.extend([server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(done.set)])
            await done.wait()
            server.close()

        aio.run(main())

    async def clients(port):
        return await asyncio.gather(*[client(port, n) for n in range(5)])

    ports = []
    go(serve, ports)
    wait_for(lambda: ports, "the server")
    assert aio.run(clients(ports[0])) == [[b"LINE %d %d\n" % (n, k) for k in range(20)] for n in range(5)]
    ports[1]()
    stackless.run()


def test_a_subprocess():
    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input()[::-1])", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate(b"olleh\n")
        return out, process.returncode

    assert in_tasklet(lambda: aio.run(main())) == (b"hello\n", 0)


def test_threads_of_asyncio():
    async def main():
        return await asyncio.gather(*[asyncio.to_thread(lambda n: (time.sleep(0.001), n)[1], n) for n in range(5)])

    assert in_tasklet(lambda: aio.run(main())) == [0, 1, 2, 3, 4]


def test_a_wake_up_from_a_thread():
    async def main():
        woken = asyncio.Event()
        threading.Thread(target=asyncio.get_running_loop().call_soon_threadsafe, args=(woken.set,)).start()
        await woken.wait()
        return "woken"

    assert in_tasklet(lambda: aio.run(main())) == "woken"
    assert aio.run(main()) == "woken"


def test_a_wake_up_from_another_tasklet():
    with LoopInTasklet() as loop:
        done = stackless.Event()
        loop.call_soon_threadsafe(done.set)
        assert done.wait()


def test_asyncio_itself_can_run_such_a_loop():
    def body():
        async def main():
            for _ in range(5):
                await aio.to_tasklet(sleep, 0.002)
            return await double(4)

        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            first = runner.run(double(2)), runner.run(main())
        if sys.version_info >= (3, 12):
            assert asyncio.run(main(), loop_factory=aio.EventLoop) == 8
        return first

    assert body() == (4, 8)
    # here the handler that asyncio sets must be taken back in the thread where it was set
    assert in_tasklet(body) == (4, 8)
    assert in_thread(body) == (4, 8)


def test_debug_mode_follows_the_tasklet_and_not_the_thread():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(5):
            time.sleep(0.002)  # may take the loop to another thread
            await asyncio.sleep(0.001)
            loop.call_soon(int)

    go(lambda: aio.run(main(), debug=True))
    go(sleep, 0.02)
    stackless.run()


def test_debug_mode_tells_of_calls_by_other_tasklets():
    with LoopInTasklet(debug=True) as loop:
        with pytest.raises(RuntimeError, match="another tasklet"):
            loop.call_soon(int)
        loop.call_soon_threadsafe(int)


def test_a_kill_cancels_the_tasks():
    log = []

    async def main():
        tasks = [asyncio.create_task(forever(log)) for _ in range(2)]
        await asyncio.sleep(0)
        log.append("started")
        await asyncio.gather(*tasks)

    victim = go(lambda: aio.run(main()))
    wait_for(lambda: log, "the start")
    victim.kill()
    stackless.run()
    assert not victim.alive and log == ["started", "cancelled", "cancelled"]


def test_a_timeout_around_a_loop():
    log = []
    while not log:  # until the coroutine has begun in time
        with pytest.raises(TimeoutError, match="did not end within"), stackless.timeout(0.005):
            aio.run(forever(log))
    assert log == ["cancelled"]


def test_a_loop_in_a_group():
    log = []

    def fail():
        wait_for(lambda: log, "the start")
        raise ValueError

    async def main():
        log.append("started")
        await forever(log)

    with pytest.raises(ExceptionGroup) as info, stackless.TaskletGroup() as group:
        group.spawn(aio.run, main())
        group.spawn(fail)
    assert [type(one) for one in info.value.exceptions] == [ValueError]
    assert log == ["started", "cancelled"]


def test_nothing_is_left_over():
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    aio.run(double(1))
    before = descriptors()
    for _ in range(20):
        go(lambda: aio.run(double(1)))
    stackless.run()
    gc.collect()
    assert descriptors() <= before


# ---- call() ----


def test_a_tasklet_waits_for_a_coroutine():
    with LoopInTasklet() as loop:
        assert aio.call(double(3), loop) == 6
        assert in_thread(lambda: aio.call(double(4), loop)) == 8
        assert in_tasklet(lambda: aio.call(double(5), loop, timeout=30)) == 10


@pytest.mark.parametrize("runner", [asyncio.run, aio.run])
def test_a_loop_in_another_thread(runner):
    loops, ended = [], stackless.Event()

    async def main():
        loops.extend([asyncio.get_running_loop(), asyncio.Event()])
        await loops[1].wait()

    def body():
        runner(main())
        ended.set()

    threading.Thread(target=body, daemon=True).start()
    wait_for(lambda: len(loops) == 2, "the loop")
    with stackless.TaskletGroup() as group:
        tasks = [group.spawn(aio.call, double(n), loops[0]) for n in range(20)]
    assert [task.result() for task in tasks] == [2 * n for n in range(20)]
    loops[0].call_soon_threadsafe(loops[1].set)
    assert ended.wait(30)


def test_it_raises_what_the_coroutine_does():
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("x")

    with LoopInTasklet() as loop:
        with pytest.raises(ValueError, match="x") as info:
            aio.call(fail(), loop)
        assert info.traceback[-1].name == "fail"


def test_the_coroutine_sees_the_context_of_the_caller():
    async def look():
        return var.get()

    with LoopInTasklet() as loop:
        assert contextvars.copy_context().run(lambda: (var.set("mine"), aio.call(look(), loop))[1]) == "mine"


def test_other_awaitables():
    class Other:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return "other"

    with LoopInTasklet() as loop:
        assert aio.call(Other(), loop) == "other"
        foreign = aio.EventLoop()
        with pytest.raises(ValueError, match="loop"):
            aio.call(foreign.create_future(), loop)
        foreign.close()


def test_there_and_back():
    async def outer():
        return await aio.to_tasklet(lambda: aio.call(middle()) + 1)

    async def middle():
        return await aio.to_tasklet(inner) + 1

    def inner():
        channel = stackless.channel()
        go(lambda: channel.send(aio.call(double(10))))  # what such a tasklet starts knows the loop too
        return channel.receive() + 1

    assert aio.run(outer()) == 23


def timed(function, loop):
    """call() with a timeout that the coroutine does not meet, although it has begun in time."""
    begun = []

    async def work():
        begun.append(True)
        return await function()

    while True:
        try:
            return aio.call(work(), loop, timeout=0.002)
        except TimeoutError:
            if begun:
                raise


def test_a_timeout():
    log = []
    with LoopInTasklet() as loop:
        with pytest.raises(TimeoutError, match="did not end in time"):
            timed(lambda: forever(log), loop)
        assert log == ["cancelled"]


def test_a_result_in_spite_of_a_timeout_is_not_lost():
    async def stubborn():
        try:
            await forever()
        except asyncio.CancelledError:
            return "result"

    with LoopInTasklet() as loop:
        assert timed(stubborn, loop) == "result"


def test_an_error_in_place_of_a_timeout():
    async def fail():
        try:
            await forever()
        finally:
            raise ValueError("while dying")

    with LoopInTasklet() as loop:
        with pytest.raises(ValueError, match="while dying"):
            timed(fail, loop)


def test_a_timeout_of_stackless():
    log = []
    with LoopInTasklet() as loop:
        while not log:  # until the coroutine has begun in time
            with pytest.raises(TimeoutError, match="did not end within"), stackless.timeout(0.002):
                aio.call(forever(log), loop)
        assert log == ["cancelled"]


def test_a_kill_cancels_the_coroutine_and_waits_for_its_end():
    log = []

    async def work():
        log.append("started")
        await forever(log)

    def caller(loop):
        try:
            aio.call(work(), loop)
        finally:
            log.append("caller")

    with LoopInTasklet() as loop:
        victim = go(caller, loop)
        wait_for(lambda: log, "the start")
        victim.kill()
        wait_for(lambda: not victim.alive, "the end")
        assert log == ["started", "cancelled", "caller"]


def test_a_kill_before_the_coroutine_begins():
    log = []

    async def work():
        log.append("begun")

    with LoopInTasklet() as loop:
        victim = go(lambda: aio.call(work(), loop))
        victim.run()
        victim.kill()
        wait_for(lambda: not victim.alive, "the end")
    assert log in ([], ["begun"])


def test_a_coroutine_that_does_not_let_itself_be_cancelled():
    log, ends = [], []

    async def stubborn():
        end = asyncio.Event()
        ends.append(end)
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError as error:
                log.append(error)

    with LoopInTasklet() as loop:
        victim = go(lambda: aio.call(stubborn(), loop))
        wait_for(lambda: ends, "the start")
        kills = 0
        while victim.alive:
            victim.kill()
            kills += 1
            wait_for(lambda: len(log) == kills, "the cancellation")
        assert kills == aio.ATTEMPTS
        loop.call_soon_threadsafe(ends[0].set)


def test_a_coroutine_that_others_cancel():
    tasks = []

    async def work():
        tasks.append(asyncio.current_task())
        await forever()

    with LoopInTasklet() as loop:
        go(lambda: (wait_for(lambda: tasks, "the task"), loop.call_soon_threadsafe(tasks[0].cancel)))
        with pytest.raises(futures.CancelledError, match="was cancelled"):
            aio.call(work(), loop)


def test_what_call_refuses():
    with LoopInTasklet() as loop:
        with pytest.raises(TypeError, match="awaitable"):
            aio.call(double, loop)
        with pytest.raises(ValueError, match="negative"):
            aio.call(double(1), loop, timeout=-1)
        with pytest.raises(RuntimeError, match="needs a loop"):
            aio.call(double(1))

        async def inside():
            with pytest.raises(RuntimeError, match="await it instead"):
                aio.call(double(1), loop)

        aio.call(inside(), loop)
    with pytest.raises(RuntimeError, match="closed"):
        aio.call(double(1), loop)


def test_a_loop_that_does_not_run():
    loop = aio.EventLoop()
    with pytest.raises(TimeoutError):
        aio.call(double(1), loop, timeout=0.001)
    out = []
    go(lambda: out.append(aio.call(double(1), loop)))
    schedule()

    async def until_then():
        while not out:
            await asyncio.sleep(0)

    loop.run_until_complete(until_then())
    assert out == [2]
    stackless.run()
    loop.close()


def test_a_loop_that_is_closed_meanwhile():
    loop, out = aio.EventLoop(), []

    def caller():
        try:
            aio.call(double(1), loop)
        except RuntimeError as error:
            out.append(str(error))

    go(caller)
    schedule()
    loop.close()
    stackless.run()
    assert out == ["the event loop was closed before the coroutine had ended"]


def test_a_loop_that_ends_meanwhile():
    log, out = [], []

    def caller(loop):
        try:
            aio.call(forever(log), loop)
        except futures.CancelledError:
            out.append("cancelled")

    with LoopInTasklet() as loop:
        go(caller, loop)
        schedule()
        aio.call(asyncio.sleep(0), loop)
    assert log == out == ["cancelled"]


def test_many_calls_from_many_threads():
    with LoopInTasklet() as loop:
        results = []

        def body(base):
            with stackless.TaskletGroup() as group:
                for n in range(20):
                    group.spawn(lambda n: results.append(aio.call(double(n), loop)), base + n)

        threads = [threading.Thread(target=body, args=(100 * n,), daemon=True) for n in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(results) == 60, "the calls")
        wait_for(lambda: not any(thread.is_alive() for thread in threads), "the threads")
        assert sorted(results) == sorted(2 * (100 * n + k) for n in range(3) for k in range(20))


# ---- the process ----


def test_ctrl_c_in_main(mode):
    script = """
        import asyncio, os, signal, stackless
        from stackless import aio
        async def main():
            try:
                stackless.tasklet(lambda: (stackless.sleep(0.01), os.kill(os.getpid(), signal.SIGINT)))()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("cancelled")
                raise
        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        """
    assert run_script(script, env=mode).lines == ["cancelled", "interrupted True"]


def test_ctrl_c_while_a_tasklet_runs_the_loop(mode):
    script = """
        import asyncio, os, signal, stackless
        from stackless import aio
        started = stackless.Event()
        async def main():
            try:
                started.set()
                await asyncio.Event().wait()
            finally:
                print("cancelled")
        loop = stackless.tasklet(aio.run)(main())
        stackless.tasklet(lambda: (started.wait(), os.kill(os.getpid(), signal.SIGINT)))()
        try:
            stackless.run()
        except KeyboardInterrupt:
            print("interrupted")
        loop.kill()
        stackless.run()
        print(loop.alive)
        """
    assert run_script(script, env=mode).lines == ["interrupted", "cancelled", "False"]


def test_signal_handlers_of_the_loop(mode):
    script = """
        import asyncio, os, signal, stackless
        from stackless import aio
        async def main():
            got = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
            stackless.tasklet(lambda: (stackless.sleep(0.01), os.kill(os.getpid(), signal.SIGUSR1)))()
            await got.wait()
            print("got it")
        aio.run(main())
        """
    assert run_script(script, env=mode).lines == ["got it"]


def test_the_end_of_the_program(mode):
    # as far as they come without waiting, as all that is killed then
    script = """
        import asyncio, stackless
        from stackless import aio
        loops = []
        async def main():
            loops.append(asyncio.get_running_loop())
            await aio.to_tasklet(stackless.channel().receive)
        stackless.tasklet(aio.run)(main())
        while not loops: stackless.schedule()
        stackless.tasklet(lambda: aio.call(asyncio.sleep(1000), loops[0]))()
        stackless.sleep(0.01)
        print("end")
        """
    assert run_script(script, env=mode).lines == ["end"]


def test_a_loop_that_nobody_will_run(mode):
    script = """
        import asyncio
        from stackless import aio
        loop = aio.EventLoop()
        try:
            aio.call(asyncio.sleep(0), loop)
        except RuntimeError as error:
            print(error)
        loop.close()
        """
    assert "Deadlock" in run_script(script, env=mode).stdout


def test_the_example_of_the_docs(mode):
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "asyncio.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(), re.S)[1]
    assert run_script(code, env=mode).lines == ["42"]


def test_import_stackless_does_not_import_asyncio():
    assert run_script("import sys, stackless; print('asyncio' in sys.modules)").lines == ["False"]
