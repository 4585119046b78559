# SPDX-License-Identifier: MIT
"""TaskletExecutor: the standard library's interface, in tasklets and from threads."""

import concurrent.futures as futures
import contextvars
import threading
import time

import pytest
import stackless
from stackless import Event, TaskletExecutor, schedule, sleep, tasklet

from support import PATIENCE, in_thread, run_script, wait_for


def go(function, *args):
    return tasklet(function)(*args)


def test_submit_and_result():
    with TaskletExecutor() as executor:
        future = executor.submit(lambda *args, **kwargs: (args, kwargs), 1, fn=2, self=3)
        assert isinstance(future, futures.Future) and not future.done()
        assert future.result() == ((1,), {"fn": 2, "self": 3})
        assert future.done() and not future.running() and not future.cancelled()


def test_result_parks_the_tasklet_and_not_the_thread():
    log = []
    executor = TaskletExecutor()
    future = executor.submit(lambda: (sleep(0.005), log.append("done"), 7)[-1])
    go(lambda: log.append("other"))
    assert future.result() == 7
    assert log == ["other", "done"]


def test_exceptions_keep_their_traceback():
    def work():
        raise ValueError("x")

    with TaskletExecutor() as executor:
        future = executor.submit(work)
        with pytest.raises(ValueError, match="x") as info:
            future.result()
        assert info.traceback[-1].name == "work"
        assert isinstance(future.exception(), ValueError)


def test_timeout():
    release = Event()
    with TaskletExecutor() as executor:
        future = executor.submit(release.wait)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.002)
        with pytest.raises(futures.TimeoutError):
            future.exception(0)
        release.set()
        assert future.result(30) is True


def test_map_keeps_the_order():
    with TaskletExecutor(3) as executor:
        assert list(executor.map(lambda a, b: (sleep(0.001 * (5 - a)), a + b)[1], range(5), range(5))) == [0, 2, 4, 6, 8]
        with pytest.raises(ZeroDivisionError):
            list(executor.map(lambda a: 1 / a, [1, 0, 1]))


def test_max_workers():
    running, most = [], []

    def work():
        running.append(1)
        most.append(len(running))
        sleep(0.001)
        running.pop()

    with TaskletExecutor(max_workers=3) as executor:
        for _ in range(20):
            executor.submit(work)
    assert max(most) == 3 and len(most) == 20
    for bad in (0, -1):
        with pytest.raises(ValueError, match="greater than 0"):
            TaskletExecutor(bad)


@pytest.mark.parametrize("when", [futures.ALL_COMPLETED, futures.FIRST_COMPLETED, futures.FIRST_EXCEPTION])
def test_wait(when):
    def work(n):
        sleep(0.002 * n)
        if n == 2:
            raise ValueError
        return n

    with TaskletExecutor() as executor:
        fs = [executor.submit(work, n) for n in range(1, 4)]
        done, not_done = futures.wait(fs, return_when=when)
        if when == futures.ALL_COMPLETED:
            assert done == set(fs)
        else:
            assert fs[0] in done and done | not_done == set(fs)
            assert when == futures.FIRST_COMPLETED or fs[1] in done
        done, not_done = futures.wait([executor.submit(sleep, 0.05)], timeout=0.001)
        assert not done and len(not_done) == 1


def test_as_completed():
    ends = [Event() for _ in range(4)]

    def work(n):
        ends[n].wait()
        return n

    with TaskletExecutor() as executor:
        completed = futures.as_completed([executor.submit(work, n) for n in (3, 1, 2)])
        for n in (1, 2, 3):
            ends[n].set()
            assert next(completed).result() == n
        with pytest.raises(TimeoutError):
            list(futures.as_completed([executor.submit(sleep, 0.03)], timeout=0.001))


def test_together_with_futures_of_threads(many_threads):
    with TaskletExecutor() as ours, futures.ThreadPoolExecutor(2) as theirs:
        fs = [ours.submit(sleep, 0.005), theirs.submit(time.sleep, 0.01), ours.submit(len, "abc")]
        assert futures.wait(fs).done == set(fs)
        assert set(futures.as_completed(fs)) == set(fs)


def test_cancel():
    release, called = Event(), []
    with TaskletExecutor(1) as executor:
        running, waiting = executor.submit(release.wait), executor.submit(called.append, 1)
        schedule()
        assert running.running() and not running.cancel() and waiting.cancel() and waiting.cancelled()
        fresh = executor.submit(called.append, 2)
        release.set()
    assert called == [2] and fresh.result() is None
    with pytest.raises(futures.CancelledError):
        waiting.result()
    executor = TaskletExecutor()
    fresh = executor.submit(called.append, 3)
    assert fresh.cancel()
    executor.shutdown()
    assert called == [2]


def test_shutdown():
    release = Event()
    executor = TaskletExecutor(1)
    fs = [executor.submit(release.wait) for _ in range(3)]
    schedule()
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(len, "")
    assert [future.cancelled() for future in fs] == [False, True, True]
    release.set()
    executor.shutdown()
    assert fs[0].result() is True


def test_shutdown_waits_for_what_is_queued():
    log = []
    executor = TaskletExecutor(1)
    for n in range(5):
        executor.submit(lambda n: (sleep(0.001), log.append(n)), n)
    executor.shutdown()
    assert log == [0, 1, 2, 3, 4]


def test_a_call_that_is_killed():
    current = []
    with TaskletExecutor(1) as executor:
        future = executor.submit(lambda: (current.append(stackless.getcurrent()), stackless.channel().receive()))
        other = executor.submit(len, "abc")
        schedule()
        current[0].kill()
        with pytest.raises(futures.CancelledError, match="was killed"):
            future.result()
        assert other.result() == 3


def test_a_waiter_that_is_killed():
    release = Event()
    with TaskletExecutor() as executor:
        future = executor.submit(release.wait)
        victim = go(future.result)
        schedule()
        victim.kill()
        assert not victim.alive
        release.set()
        assert future.result() is True


def test_callbacks_and_context():
    var, log = contextvars.ContextVar("var"), []
    with TaskletExecutor(1) as executor:
        for value in range(3):
            before = var.set(value)
            executor.submit(var.get).add_done_callback(lambda future: log.append(future.result()))
            var.reset(before)  # main's context would keep it for good
    assert log == [0, 1, 2]


def test_calls_that_block_run_beside_each_other(many_threads):
    meeting = threading.Barrier(2)  # each blocks its thread until the other has come
    with TaskletExecutor() as executor:
        assert sorted(executor.map(lambda _: meeting.wait(PATIENCE), range(2))) == [0, 1]


def test_many_strays_with_few_places(many_threads):
    with TaskletExecutor(4) as executor:
        fs = [executor.submit(lambda n: (time.sleep(0.001), n)[1], n) for n in range(60)]
        assert [future.result() for future in fs] == list(range(60))


# ---- threads ----


def test_result_in_a_plain_thread():
    with TaskletExecutor() as executor:
        future = executor.submit(lambda: (sleep(0.01), 5)[1])
        assert in_thread(future.result) == 5


def test_submit_in_a_plain_thread_runs_in_the_executors():
    with TaskletExecutor(2) as executor:
        main = stackless.getmain()

        def other():
            fs = [executor.submit(lambda n: (stackless.getmain() is main, n), n) for n in range(20)]
            return [future.result() for future in fs]

        assert in_thread(other) == [(True, n) for n in range(20)]


def test_submit_from_many_threads():
    with TaskletExecutor(3) as executor:
        results = []

        def other(base):
            results.extend(executor.map(lambda n: (schedule(), n)[1], range(base, base + 50)))

        threads = [threading.Thread(target=other, args=(100 * n,), daemon=True) for n in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: not any(thread.is_alive() for thread in threads), "the threads")
        assert sorted(results) == [100 * n + k for n in range(3) for k in range(50)]


def test_an_executor_whose_thread_has_ended():
    executor = in_thread(TaskletExecutor)
    with pytest.raises(RuntimeError, match="the thread of this TaskletExecutor has ended"):
        executor.submit(len, "")


def test_an_executor_in_a_plain_thread():
    def body():
        with TaskletExecutor() as executor:
            return sum(executor.map(lambda n: (sleep(0.001), n)[1], range(10)))

    assert in_thread(body) == 45


def test_the_end_of_the_program(mode):
    script = """
        import stackless
        executor = stackless.TaskletExecutor()
        def work():
            try: stackless.sleep(100)
            finally: print("killed")
        future = executor.submit(work)
        stackless.schedule()
        """
    assert run_script(script, env=mode).lines == ["killed"]


def test_asyncio_can_use_it(many_threads):
    import asyncio

    async def main(executor):
        loop = asyncio.get_running_loop()
        one = await loop.run_in_executor(executor, lambda: (sleep(0.001), "one")[1])
        return one, await asyncio.wrap_future(executor.submit(lambda: "two"))

    with TaskletExecutor() as executor:
        assert asyncio.run(main(executor)) == ("one", "two")
