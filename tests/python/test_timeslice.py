# SPDX-License-Identifier: MIT
"""STACKLESS_TIMESLICE: a tasklet that computes without a scheduling point hands the turn on.

Nothing here measures time: who waits for another's turn without switching would wait for ever.
"""

import pytest

from support import run_script

SLICED = {"STACKLESS_TIMESLICE": "5", "STACKLESS_THREADS": None}

PRELUDE = """
import stackless, sys, time

log = []

def note(word):
    log.append(word)

def spin_until(*words):
    while not set(words) <= set(log):
        pass

def spin_for(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

"""


def run_sliced(code, env=SLICED):
    lines = [PRELUDE]
    lines += [line[8:] for line in code.splitlines()]
    return run_script("\n".join(lines), env=env)


def test_the_next_one_gets_its_turn():
    run_sliced("""
        stackless.tasklet(spin_until)("b", "c")
        for word in "bc":
            stackless.tasklet(note)(word)
        stackless.run()
        assert sorted(log) == ["b", "c"], log
        """)


def test_all_of_many_that_compute():
    run_sliced("""
        def body(word):
            note(word)
            spin_until(0, 1, 2, 3, 4)
            note("end")

        for word in range(5):
            stackless.tasklet(body)(word)
        stackless.run()
        assert sorted(log[:5]) == [0, 1, 2, 3, 4] and log[5:] == ["end"] * 5, log
        """)


def test_main_too():
    run_sliced("""
        stackless.tasklet(note)("other")
        spin_until("other")
        """)


def test_through_functions():
    """Between jumps back it is at calls that the turn can be handed on."""
    run_sliced("""
        def deep(n):
            if n and "other" not in log:
                deep(n - 1)
                deep(n - 1)

        stackless.tasklet(deep)(60)
        stackless.tasklet(note)("other")
        stackless.run()
        """)


def test_not_while_atomic():
    run_sliced("""
        def body():
            spin_for(0.1)
            note("atomic")
            t.set_atomic(False)
            spin_until("other")

        t = stackless.tasklet(body)()
        t.set_atomic(True)
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["atomic", "other"], log
        """)


def test_not_below_a_call_through_c():
    run_sliced("""
        def nested(_):
            t.set_atomic(False)
            spin_for(0.1)
            note("nested")

        def body():
            sorted([1], key=nested)
            spin_until("other")

        t = stackless.tasklet(body)()
        t.set_atomic(True)
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["nested", "other"], log
        """)


def test_below_a_call_that_ignores_nesting():
    run_sliced("""
        t = stackless.tasklet(lambda: sorted([1], key=lambda _: spin_until("other")))()
        t.set_ignore_nesting(True)
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["other"], log
        """)


def test_not_while_trapped_nor_in_a_callback():
    run_sliced("""
        def callback(*args):
            spin_for(0.05)
            note("callback")

        def body():
            stackless.switch_trap(1)
            stackless.set_channel_callback(callback)
            t.set_atomic(False)
            spin_for(0.05)
            note("trapped")
            stackless.switch_trap(-1)
            channel.send(1)
            stackless.set_channel_callback(None)
            spin_until("other")

        channel = stackless.channel(capacity=1)
        t = stackless.tasklet(body)()
        t.set_atomic(True)
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["trapped", "callback", "other"], log
        """)


def test_kill_and_throw_where_it_stands():
    run_sliced("""
        def body(word):
            try:
                note(word)
                while True:
                    pass
            except KeyError:
                note("KeyError")
            finally:
                note("end of " + word)

        a, b = stackless.tasklet(body)("a"), stackless.tasklet(body)("b")

        def ends_them():
            spin_until("a", "b")
            a.kill()
            b.throw(KeyError)
            note("both")

        stackless.tasklet(ends_them)()
        stackless.run()
        assert sorted(log) == ["KeyError", "a", "b", "both", "end of a", "end of b"], log
        """)


def test_values_survive():
    run_sliced("""
        def body():
            stackless.getcurrent().tempval = "mine"
            try:
                raise KeyError("handled")
            except KeyError:
                spin_until("other")
                note(str(sys.exc_info()[1]))
            note(stackless.getcurrent().tempval)

        stackless.tasklet(body)()
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["other", "'handled'", "mine"], log
        """)


def test_the_schedule_callback_is_told():
    run_sliced("""
        seen = []
        a = stackless.tasklet(spin_until)("b")
        b = stackless.tasklet(note)("b")
        stackless.set_schedule_callback(lambda prev, following: seen.append((prev, following)))
        stackless.run()
        stackless.set_schedule_callback(None)
        assert (a, b) in seen and (b, a) in seen, seen
        assert all(before[1] is after[0] for before, after in zip(seen, seen[1:])), seen
        """)


def test_within_a_timed_run():
    run_sliced("""
        stackless.tasklet(spin_until)("b")
        stackless.tasklet(note)("b")
        assert stackless.run(10**12) is None
        assert log == ["b"], log
        """)


def test_a_trace_function_goes_on():
    run_sliced("""
        def tracer(frame, event, arg):
            if frame.f_code is traced.__code__:
                events.append(event)
            return tracer

        def traced():
            spin_until("other")
            return 1

        def body():
            sys.settrace(tracer)
            traced()
            assert sys.gettrace() is tracer
            sys.settrace(None)

        events = []
        stackless.tasklet(body)()
        stackless.tasklet(note)("other")
        stackless.run()
        assert events == ["call", "line", "line", "return"], events
        """)


def test_beside_blocking_calls():
    run_sliced("""
        def blocks():
            for _ in range(5):
                time.sleep(0.002)
                stackless.schedule()
            note("blocked")

        channel = stackless.channel()

        def talks():
            for i in range(10):
                channel.send(i)
            note("talked")

        def listens():
            got = [channel.receive() for _ in range(10)]
            assert got == list(range(10))
            note("listened")

        for body in (blocks, talks, listens):
            stackless.tasklet(body)()
        for _ in range(3):
            stackless.tasklet(spin_until)("blocked", "talked", "listened")
        stackless.run()
        """)


@pytest.mark.parametrize("env", [
    {"STACKLESS_TIMESLICE": None, "STACKLESS_THREADS": None}, {"STACKLESS_TIMESLICE": "0", "STACKLESS_THREADS": None},
    {"STACKLESS_TIMESLICE": "5", "STACKLESS_THREADS": "1"}], ids=["unset", "zero", "one thread"])
def test_off(env):
    run_sliced("""
        def body():
            spin_for(0.1)
            note("first")

        stackless.tasklet(body)()
        stackless.tasklet(note)("other")
        stackless.run()
        assert log == ["first", "other"], log
        """, env=env)


@pytest.mark.parametrize("value", ["x", "-1", "60001", "1.5", "5ms"])
def test_bad_values(value):
    done = run_script("import stackless", env={"STACKLESS_TIMESLICE": value}, status=1, quiet=False)
    last = done.stderr.strip().split("\n")[-1]
    assert last == ("ValueError: environment variable STACKLESS_TIMESLICE is '%s'; it must be a whole number from 0 to "
                    "60000" % value)


@pytest.mark.parametrize("env, said", [
    ({"STACKLESS_TIMESLICE": None}, ["0", "default"]),
    ({"STACKLESS_TIMESLICE": "20", "STACKLESS_THREADS": "2"}, ["20", "environment"]),
    ({"STACKLESS_TIMESLICE": "20", "STACKLESS_THREADS": "1"}, ["20", "environment", "without effect"]),
], ids=["unset", "set", "one thread"])
def test_info(env, said):
    done = run_script("from stackless.__main__ import main; main(['info'])", env=env)
    line = next(line for line in done.lines if line.startswith("timeslice "))
    assert all(word in line for word in said), line


def test_interrupted_ones_at_the_exit():
    run_sliced("""
        def body():
            try:
                while True:
                    pass
            finally:
                print("ended")

        stackless.tasklet(body)()
        spin_until  # main goes on, and ends while the other is in the middle
        stackless.tasklet(note)("other")
        stackless.schedule()
        assert log == ["other"]
        """)
