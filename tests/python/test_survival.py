# SPDX-License-Identifier: MIT
"""What the module must survive: exceptions in __del__, recursion, callbacks from C, chains of containers.

Almost every case is a child interpreter that is judged by its status and its output. Most run
both with the default pool and with one thread. Exits and forks: test_exit.py.
"""

import contextvars
import sys
import threading

import pytest
import stackless

from support import run_script

# __del__


def test_an_exception_in_del_is_reported_and_ignored(mode):
    done = run_script(
        """
        import stackless

        class Bad:
            def __del__(self):
                raise LookupError("from __del__")

        def body():
            bad = Bad()
            del bad
            stackless.schedule()
            print("goes on")

        stackless.tasklet(body)()
        stackless.tasklet(lambda argument: None)(Bad())
        stackless.run()
        print("end")
        """,
        env=mode,
        quiet=False,
    )
    assert done.lines == ["goes on", "end"]
    assert done.stderr.count("LookupError: from __del__") == 2


def test_an_exception_in_del_of_a_killed_tasklets_local(mode):
    done = run_script(
        """
        import stackless

        class Bad:
            def __del__(self):
                raise LookupError("from __del__")

        def body():
            bad = Bad()
            stackless.schedule_remove()

        t = stackless.tasklet(body)()
        stackless.run()
        del t
        print("end")
        """,
        env=mode,
        quiet=False,
    )
    assert done.lines == ["end"]
    assert done.stderr.count("LookupError: from __del__") == 1


# recursion


def test_python_recursion_error_in_a_tasklet(mode):
    done = run_script(
        """
        import stackless

        def endless():
            return endless() + 1

        def body(name):
            for _ in range(3):
                try:
                    endless()
                except RecursionError:
                    print(name, "RecursionError")
                stackless.schedule()

        stackless.tasklet(body)("a")
        stackless.tasklet(body)("b")
        stackless.run()
        stackless.tasklet(endless)()
        try:
            stackless.run()
        except RecursionError:
            print("main RecursionError")
        """,
        env=mode,
    )
    assert done.lines == ["a RecursionError", "b RecursionError"] * 3 + ["main RecursionError"]


C_RECURSION = {
    "repr of lists": "x = []\nfor _ in range(100000): x = [x]\nrepr(x)",
    "repr of dicts": "x = {}\nfor _ in range(100000): x = {1: x}\nrepr(x)",
    "equality of tuples": "a = b = ()\nfor _ in range(100000): a, b = (a,), (b,)\na == b",
    "json": "import json\njson.loads('[' * 100000)",
    "isinstance": "x = int\nfor _ in range(100000): x = (x,)\nisinstance('', x)",
    "getattr": "class A:\n    def __getattr__(self, name): return getattr(self, name)\nA().x",
    "repr by class": "class A:\n    def __repr__(self): return repr([self])\nrepr(A())",
}


@pytest.mark.parametrize("kind", C_RECURSION)
@pytest.mark.parametrize("depth", [0, 300])
def test_c_recursion_in_a_tasklet(kind, depth, mode):
    """RecursionError and no crash, also when Python frames are on the stack already."""
    done = run_script(
        """
        import json  # here: an import reads files, which may cost a tasklet its turn
        import stackless, sys
        code = compile(sys.argv[1], "code", "exec")

        def below(left):
            if left:
                return below(left - 1)
            exec(code, {"__name__": "scratch"})

        def body(name):
            try:
                below(int(sys.argv[2]))
            except RecursionError:
                print(name, "RecursionError")
            stackless.schedule()
            print(name, "goes on")

        for name in "ab":
            stackless.tasklet(body)(name)
        stackless.run()
        """,
        env=mode,
        args=(C_RECURSION[kind], depth),
    )
    assert done.lines == ["a RecursionError", "b RecursionError", "a goes on", "b goes on"]


def test_deep_python_recursion_with_a_raised_limit(mode):
    done = run_script(
        """
        import stackless, sys
        sys.setrecursionlimit(40000)

        def down(left):
            if left == 15000:
                stackless.schedule()
            return down(left - 1) + 1 if left else 0

        for _ in range(2):
            stackless.tasklet(lambda: print(down(30000)))()
        stackless.run()
        """,
        env=mode,
    )
    assert done.lines == ["30000", "30000"]


# ctypes callbacks

CALLBACKS = """
import ctypes, os, stackless, threading, time

CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
libc = ctypes.CDLL(None)
libc.qsort.restype = None
libc.qsort.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, CALLBACK]

def sort(values, inside):
    array = (ctypes.c_int * len(values))(*values)

    def compare(a, b):
        state = ctypes.pythonapi.PyGILState_Ensure()
        inside()
        result = a[0] - b[0]
        ctypes.pythonapi.PyGILState_Release(state)
        return result

    libc.qsort(array, len(values), ctypes.sizeof(ctypes.c_int), CALLBACK(compare))
    return list(array)
"""


def test_ctypes_callbacks(mode):
    done = run_script(
        CALLBACKS
        + """
results = []

def body(number):
    threads = set()
    rounds = 0
    while rounds < 20 or (may_move and not moved and time.monotonic() < patience):
        rounds += 1
        time.sleep(0.002 if rounds < 20 else 0.05)  # becomes a stray, comes back to a lane that may be elsewhere
        stackless.schedule()
        threads.add(threading.get_native_id())
        results.append(sort([3, 1, 2, number], lambda: None) == sorted([3, 1, 2, number]))
        stackless.schedule()
        if len(threads) > 1:
            moved.append(number)

may_move = os.environ.get("STACKLESS_THREADS") != "1"
patience = time.monotonic() + 30
moved = []
for number in range(6):
    stackless.tasklet(body)(number)
stackless.run()
print(len(results) >= 120, all(results))
print(bool(moved))
""",
        env=mode,
    )
    assert done.lines[0] == "True True"
    assert done.lines[1] == str(mode["STACKLESS_THREADS"] is None), "whether any tasklet changed its thread"


def test_ctypes_callbacks_that_switch(mode):
    done = run_script(
        CALLBACKS
        + """
results = []

def body(number):
    values = [(number * 7 + index * 5) % 11 for index in range(8)]
    for _ in range(5):
        results.append(sort(values, stackless.schedule) == sorted(values))

for number in range(4):
    stackless.tasklet(body)(number)
stackless.run()
print(len(results), all(results))
""",
        env=mode,
    )
    assert done.lines == ["20 True"]


def test_ctypes_callbacks_that_block(mode):
    done = run_script(
        CALLBACKS
        + """
results = []

def body(number):
    results.append(sort([4, 3, 2, 1], lambda: time.sleep(0.003)) == [1, 2, 3, 4])

for number in range(4):
    stackless.tasklet(body)(number)
stackless.run()
print(len(results), all(results))
""",
        env=mode,
    )
    assert done.lines == ["4 True"]


# containers dropped inside a tasklet


@pytest.mark.parametrize("kind", ["list of lists", "chain of lists", "tuples", "dicts", "objects"])
@pytest.mark.parametrize("moved", [False, True])
def test_containers_dropped_in_a_tasklet_are_freed(kind, moved, mode):
    done = run_script(
        """
        import stackless, sys, time, gc
        gc.disable()
        kind, moved = sys.argv[1], sys.argv[2] == "True"
        count = 20000
        freed = 0

        class Marker:
            __slots__ = ()
            def __del__(self):
                global freed
                freed += 1

        class Node:
            pass

        def make():
            if kind == "list of lists":
                return [[Marker()] for _ in range(count)]
            if kind == "chain of lists":
                chain = None
                for _ in range(count):
                    chain = [Marker(), chain]
                return chain
            if kind == "tuples":
                return [(Marker(), (index,)) for index in range(count)]
            if kind == "dicts":
                return [{"marker": Marker(), "nested": {}} for _ in range(count)]
            nodes = []
            for _ in range(count):
                node = Node()
                node.marker = Marker()
                nodes.append(node)
            return nodes

        def body():
            global freed
            for _ in range(3):
                if moved:
                    time.sleep(0.005)
                    stackless.schedule()
                freed = 0
                dropped = make()
                del dropped
                print(freed)
                stackless.schedule()

        stackless.tasklet(body)()
        stackless.tasklet(stackless.schedule)()
        stackless.run()
        """,
        env=mode,
        args=(kind, moved),
    )
    assert done.lines == ["20000"] * 3


# what is per tasklet


def test_threading_local_is_per_tasklet():
    local = threading.local()
    local.value = "main"
    seen = []

    def body(name):
        seen.append(getattr(local, "value", None))
        local.value = name
        for _ in range(3):
            stackless.schedule()
            seen.append(local.value)

    for name in "ab":
        stackless.tasklet(body)(name)
    stackless.run()
    assert seen == [None, None] + ["a", "b"] * 3
    assert local.value == "main"


def test_threading_local_is_not_left_behind():
    """The next tasklet that uses the same stack starts empty, and the old values are freed."""
    local = threading.local()
    freed = []

    class Marker:
        def __del__(self):
            freed.append(1)

    def body():
        assert not hasattr(local, "value")
        local.value = Marker()

    for _ in range(10):
        stackless.tasklet(body)()
        stackless.run()
    assert len(freed) == 10


def test_context_variables_are_copied_at_creation():
    variable = contextvars.ContextVar("variable", default="default")
    seen = []

    def body(name):
        seen.append(variable.get())
        variable.set(name)
        stackless.schedule()
        seen.append(variable.get())

    token = variable.set("at creation")
    try:
        for name in "ab":
            stackless.tasklet(body)(name)
        variable.set("later")
        stackless.run()
        assert seen == ["at creation", "at creation", "a", "b"]
        assert variable.get() == "later"
    finally:
        variable.reset(token)
    stackless.tasklet(body)("c")
    stackless.run()
    assert seen[-2:] == ["default", "c"]


def test_settrace_is_per_tasklet():
    events = []
    seen = []

    def tracer(frame, event, argument):
        events.append((frame.f_code.co_name, event))
        return None

    def traced_function():
        pass

    def untraced_function():
        pass

    def traced():
        sys.settrace(tracer)
        stackless.schedule()
        seen.append(sys.gettrace() is tracer)
        traced_function()
        sys.settrace(None)

    def untraced():
        seen.append(sys.gettrace())
        untraced_function()
        stackless.schedule()
        seen.append(sys.gettrace())
        untraced_function()

    before = sys.gettrace()
    stackless.tasklet(traced)()
    stackless.tasklet(untraced)()
    stackless.run()
    assert sys.gettrace() is before
    assert ("traced_function", "call") in events
    assert not any(name == "untraced_function" for name, _ in events)
    assert seen == [None, True, None]


def test_a_traced_main_does_not_trace_tasklets():
    events = []

    def tracer(frame, event, argument):
        events.append(frame.f_code.co_name)
        return None

    def inside():
        seen.append(sys.gettrace())

    def outside():
        seen.append(sys.gettrace())

    seen = []
    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        stackless.tasklet(inside)()
        stackless.run()
        outside()
    finally:
        sys.settrace(before)
    assert seen == [None, tracer]
    assert "outside" in events and "inside" not in events


def test_a_trace_function_is_not_left_behind():
    stackless.tasklet(sys.settrace)(lambda *info: None)
    stackless.run()
    seen = []
    for _ in range(5):
        stackless.tasklet(lambda: seen.append((sys.gettrace(), sys.getprofile())))()
        stackless.run()
    assert seen == [(None, None)] * 5


# many


@pytest.mark.limit(180)
def test_a_hundred_thousand_parked_tasklets():
    done = run_script(
        """
        import stackless
        count = 100000
        channel = stackless.channel()
        woken = 0

        def body():
            global woken
            value = channel.receive()
            woken += value

        for _ in range(count):
            stackless.tasklet(body)()
        stackless.run()
        print(channel.balance)
        for _ in range(count):
            channel.send(1)
        stackless.run()
        print(woken, stackless.runcount)
        """,
        timeout=150,
    )
    assert done.lines == ["-100000", "100000 1"]
