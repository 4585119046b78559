# SPDX-License-Identifier: MIT
"""Debuggers, tracers, profilers and stack dumps see tasklets: each of the standard library's, and coverage.py.

Not here: the trace and profile function of a tasklet as such (test_trace.py), names and notes (test_names.py).
"""

import importlib.util
import re
import sys
import textwrap

import pytest

from support import finish, run_script, start_script

# From 3.14 breakpoint() and set_trace() follow an OS thread, by sys.monitoring; see docs/differences.md.
PIN = "stackless.getcurrent().pin()" if sys.version_info >= (3, 14) else "pass"

monitoring = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in 3.12")


@pytest.fixture
def script(tmp_path, mode):
    """Runs code as a file (so that tools find its lines) and returns what it printed, line by line."""
    path = tmp_path / "program.py"

    def run(code, *, options=(), commands=None, quiet=True, env=None):
        path.write_text(textwrap.dedent(code).replace("PIN", PIN))
        launch = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
        child = start_script(launch, env={**mode, **(env or {})}, args=[path], options=options, stdin=True)
        child.stdin.write("".join(line + "\n" for line in commands or ()))
        child.stdin.close()
        child.stdin = None
        done = finish(child)
        assert done.status == 0, str(done)
        assert not quiet or done.stderr == "", str(done)
        return done.lines

    run.path = path
    return run


def line_of(path, mark):
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if mark in line)


# --- pdb

STEPPED = """
    import pdb, stackless

    def inner(value):
        doubled = value * 2
        return doubled

    def work(n):
        total = 0
        if n == 1:
            PIN
            %s
        for i in range(2):
            total += inner(i)
            stackless.schedule()
        print("done", n, total)

    for n in range(3):
        stackless.tasklet(work)(n)
    stackless.run()
    print("end")
"""


@pytest.mark.parametrize("stop", ["breakpoint()", "pdb.set_trace()"])
def test_pdb_where_step_next_return_continue(script, stop):
    lines = script(STEPPED % stop, commands=[
        "tbreak inner", "c", "where", "p ('value', value)", "n", "p ('doubled', doubled)", "r", "up", "p ('n', n)", "c"])
    text = "\n".join(lines)
    assert "('value', 0)" in text and "('doubled', 0)" in text and "('n', 1)" in text
    assert "program.py(%d)work()" % line_of(script.path, "total += inner") in text
    assert "program.py(%d)inner()" % line_of(script.path, "doubled = value") in text
    assert "<module>" not in text, "the stack of a tasklet ends with its function"
    assert sorted(line.removeprefix("(Pdb) ") for line in lines if "done" in line) == ["done 0 2", "done 1 2", "done 2 2"]
    assert lines[-1] == "end"


def test_pdb_next_over_a_scheduling_point_stays_in_the_tasklet(script):
    lines = script(STEPPED % "breakpoint()", commands=["n", "n", "n", "n", "p ('at', n, i, total)"] * 2 + ["c"])
    seen = [eval(line[line.index("("):].removeprefix("(Pdb) ")) for line in lines if "('at'" in line]
    assert len(seen) == 2
    assert [at[1] for at in seen] == [1, 1]
    assert seen[1][2] == 1, "the second round came after schedule()"


def test_pdb_breakpoint_set_by_line(script):
    script.path.write_text("")
    code = textwrap.dedent(STEPPED % "breakpoint()").replace("PIN", PIN)
    number = code[:code.index("print(\"done\"")].count("\n") + 1
    lines = script(STEPPED % "breakpoint()", commands=[f"b {number}", "c", "p ('stopped', n, total)", "clear 1", "c"])
    assert any("('stopped', 1, 2)" in line for line in lines)
    assert lines[-1] == "end"


def test_pdb_condition_and_until(script):
    code = """
    import stackless

    def work():
        PIN
        breakpoint()
        for i in range(5):
            stackless.schedule()
            square = i * i
        print("done")

    stackless.tasklet(work)()
    stackless.tasklet(work)
    stackless.run()
    """
    number = textwrap.dedent(code)[:code.index("square")].count("\n")
    lines = script(code, commands=[f"b {number}, i == 3", "c", "p ('stopped', i)", "clear 1", f"until {number + 1}", "p ('left', i, square)", "c"])
    text = "\n".join(lines)
    assert "('stopped', 3)" in text and "('left', 4, 16)" in text
    assert lines[-1].endswith("done")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="pdb has one kind of backend before 3.14")
def test_pdb_the_other_backend_follows_a_tasklet_that_moves(script):
    lines = script("""
        import pdb, stackless, threading, time

        threads = set()

        def work():
            pdb.Pdb(backend="settrace").set_trace()
            for i in range(3):
                time.sleep(0.02)
                stackless.schedule()
                threads.add(threading.get_native_id())
            print("done")

        def other():
            for _ in range(50):
                time.sleep(0.002)
                stackless.schedule()

        stackless.tasklet(work)()
        stackless.tasklet(other)()
        stackless.run()
        """, commands=["tbreak 12", "c", "p ('at the end', i)", "c"])
    assert any("('at the end', 2)" in line for line in lines), lines


def test_pdb_breakpoints_in_all_tasklets(tmp_path):
    """`threading.settrace` brings the debugger into each tasklet that starts afterwards.

    With one thread: pdb serves one at a time, and with a pool the others pass by while it waits at its prompt.
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent("""\
        import stackless

        def work(n):
            value = n + 10
            print("done", n)

        for n in range(3):
            stackless.tasklet(work)(n)
        stackless.run()
        print("end")
        """))
    child = start_script("import pdb; pdb.main()", env={"STACKLESS_THREADS": "1"}, args=[path], stdin=True)
    child.stdin.write("import sys, threading; threading.settrace(sys.gettrace())\n")
    child.stdin.write(f"b {path}:5\nc\n" + "p ('stopped', n, value)\nc\n" * 3 + "q\n")
    child.stdin.flush()
    done = finish(child)
    assert re.findall(r"\('stopped', (\d, \d+)\)", done.stdout) == ["0, 10", "1, 11", "2, 12"], str(done)
    assert "end" in done.lines


AT_PROMPT = """
    import stackless, sys

    def debugged():
        breakpoint()
        print("on")

    def other():
        print("the other one runs", flush=True)

    stackless.tasklet(debugged)()
    stackless.tasklet(other)()
    stackless.run()
    print("end")
"""


def test_the_others_go_on_at_the_prompt(many_threads):
    """The prompt is a blocking read like any other."""
    child = start_script(AT_PROMPT, stdin=True)
    read = ""
    while "the other one runs" not in read:  # nothing has been typed
        line = child.stdout.readline()
        assert line, "the child ended"
        read += line
    child.stdin.write("c\n")
    child.stdin.flush()
    done = finish(child)
    assert done.status == 0, str(done)
    assert done.lines[-2].removeprefix("(Pdb) ") == "on" and done.lines[-1] == "end", str(done)


def test_nobody_goes_on_at_the_prompt_with_one_thread_or_atomic():
    for env, code in [({"STACKLESS_THREADS": "1"}, AT_PROMPT),
                      ({}, AT_PROMPT.replace("breakpoint()", "stackless.getcurrent().set_atomic(True); breakpoint()"))]:
        child = start_script(code, env=env, stdin=True)
        child.stdin.write("p 'first'\np 'second'\nc\n")
        child.stdin.flush()
        done = finish(child)
        assert done.status == 0, str(done)
        text = done.stdout
        assert text.index("'second'") < text.index("the other one runs"), str(done)


# --- sys.settrace, sys.setprofile, sys.monitoring

def test_settrace_inside_follows_the_tasklet_over_switches_and_blocking_calls(script):
    lines = script("""
        import stackless, sys, time

        seen = []

        def tracer(frame, event, arg):
            if event == "call":
                seen.append((stackless.getcurrent().name, frame.f_code.co_name))
            return tracer

        def leaf(): pass
        def stranger(): pass

        def traced():
            sys.settrace(tracer)
            for _ in range(3):
                leaf()
                stackless.schedule()
                time.sleep(0.01)      # may come back in another thread
            sys.settrace(None)

        def plain():
            for _ in range(3):
                stranger()
                stackless.schedule()

        stackless.tasklet(traced)()
        stackless.tasklet(plain)()
        stackless.run()
        print(seen)
        """)
    assert lines == [str([("traced", "leaf")] * 3)]


def test_setprofile_inside_sees_c_functions_and_calls_of_its_tasklet_only(script):
    lines = script("""
        import stackless, sys, time

        seen = []

        def profiler(frame, event, arg):
            if event == "call":
                seen.append(frame.f_code.co_name)
            elif event == "c_call":
                seen.append(arg.__name__)

        def leaf(): pass

        def profiled():
            sys.setprofile(profiler)
            leaf()
            time.sleep(0.01)
            stackless.schedule()
            leaf()
            sys.setprofile(None)

        def plain():
            for _ in range(3):
                len("")
                stackless.schedule()

        stackless.tasklet(profiled)()
        stackless.tasklet(plain)()
        stackless.run()
        print(*seen)
        """)
    assert lines == ["leaf sleep schedule leaf setprofile"]


@monitoring
def test_sys_monitoring_sees_all_tasklets(script):
    lines = script("""
        import collections, stackless, sys, time

        m = sys.monitoring
        seen = collections.Counter()
        lines = set()
        TOOL = m.PROFILER_ID
        m.use_tool_id(TOOL, "test")
        m.register_callback(TOOL, m.events.PY_START,
                            lambda code, offset: seen.update([(stackless.getcurrent().name, code.co_name)]))
        m.register_callback(TOOL, m.events.LINE, lambda code, line: lines.add((code.co_name, line)))

        def leaf():
            return 1

        def body():
            leaf()
            stackless.schedule()
            time.sleep(0.01)
            leaf()

        for name in "ab":
            stackless.tasklet(body)().name = name
        m.set_events(TOOL, m.events.PY_START | m.events.LINE)
        stackless.run()
        m.set_events(TOOL, 0)
        print(sorted(seen.items()))
        print(sorted(line for name, line in lines if name == "body"))
        """)
    assert lines[0] == str([(("a", "body"), 1), (("a", "leaf"), 2), (("b", "body"), 1), (("b", "leaf"), 2)])
    first = line_of(script.path, "def body") + 1
    assert lines[1] == str([first, first + 1, first + 2, first + 3])


# --- coverage.py

coverage = pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage.py is not installed")


@coverage
@pytest.mark.parametrize("core", ["ctrace", "pytrace", pytest.param("sysmon", marks=monitoring)])
def test_coverage(script, tmp_path, core):
    script("""
        import coverage, os, sys, time

        cover = coverage.Coverage(data_file=None, include=[__file__])
        cover.start()
        import stackless

        def helper(n):
            if n < 0:
                return "never"
            time.sleep(0.005)
            after_the_call = n
            stackless.schedule()
            after_the_switch = n
            return n

        def body(n):
            for _ in range(3):
                helper(n)
            last = n

        def uncalled():
            return 0

        tasklets = [stackless.tasklet(body)(n) for n in range(4)]
        stackless.run()
        cover.stop()
        _, statements, _, missing, _ = cover.analysis2(__file__)
        source = open(__file__).read().splitlines()
        missed = [source[n - 1].strip() for n in missing if source[n - 1].startswith(" ")]
        open(os.path.join(os.path.dirname(__file__), "out"), "w").write(repr(missed))
        """, env={"COVERAGE_CORE": core}, quiet=core != "pytrace")  # which warns of each tasklet that has ended
    assert (tmp_path / "out").read_text() == str(['return "never"', "return 0"])


@coverage
def test_coverage_run(tmp_path, mode):
    program = tmp_path / "covered.py"
    program.write_text(textwrap.dedent("""
        import stackless, time

        def body(n):
            time.sleep(0.005)
            stackless.schedule()
            return n

        for n in range(3):
            stackless.tasklet(body)(n)
        stackless.run()
        """))
    done = run_script(
        """
        import sys
        from coverage.cmdline import main
        program, data = sys.argv[1:]
        assert not main(["run", "--data-file", data, program])
        assert not main(["report", "--data-file", data, "--include", program, "--format=total"])
        """, env=mode, args=[program, tmp_path / "data"])
    assert done.lines[-1] == "100"


# --- cProfile

PROFILED = """
    import cProfile, pstats, stackless, sys, threading, time

    def leaf():
        return 1

    def body():
        leaf()
        stackless.schedule()
        time.sleep(0.005)
        leaf()

    def calls(profile):
        stats = pstats.Stats(profile).stats
        return [(name, nc) for (file, line, name), (cc, nc, tt, ct, callers) in sorted(stats.items()) if name in ("leaf", "body")]
"""


def test_cprofile_around_run(script):
    lines = script(PROFILED + """
    profile = cProfile.Profile()
    for _ in range(2):
        stackless.tasklet(body)()
    if sys.version_info < (3, 12):   # a profiler belongs to a thread state there: each tasklet takes it over
        threading.setprofile(lambda *event: profile.enable())
    profile.enable()
    stackless.run()
    profile.disable()
    threading.setprofile(None)
    print(calls(profile))
    """)
    # 3.11: the call of the tasklet's own function is the event that the profiler starts with
    assert lines == ["[('leaf', 4), ('body', 2)]" if sys.version_info >= (3, 12) else "[('leaf', 4)]"]


def test_cprofile_inside(script):
    lines = script(PROFILED + """
    found = []

    def profiled():
        profile = cProfile.Profile()
        profile.runcall(body)
        found.append(calls(profile))

    stackless.tasklet(profiled)()
    stackless.run()
    print(*found)
    """)
    assert lines == ["[('leaf', 2), ('body', 1)]"]


# --- stacks

SUSPENDED = """
    import faulthandler, inspect, stackless, sys, threading, time, traceback

    channel = stackless.channel()

    def innermost():
        channel.receive()

    def waiting():
        innermost()

    t = stackless.tasklet(waiting)()
    t.name = "waiter"
    stackless.run()
"""


def test_faulthandler_shows_suspended_tasklets(script):
    lines = script(SUSPENDED + """
    def dumper():
        stackless.schedule()
        faulthandler.dump_traceback(file=sys.stdout, all_threads=True)

    def blocked():
        time.sleep(0.2)

    stackless.tasklet(dumper)()
    stackless.tasklet(blocked)()
    stackless.run()
    """)
    text = "\n".join(lines)
    assert text.count("Current thread") == 1
    assert re.search(r"line \d+ in innermost\n.*line \d+ in waiting\n", text)
    assert re.search(r"Current thread .*\n.*line \d+ in dumper\n", text)
    assert re.search(r"line \d+ in <module>", text)


def test_faulthandler_with_many_tasklets(script):
    """It stops after 100 thread states by itself, and says so."""
    lines = script("""
        import faulthandler, stackless, sys
        for _ in range(500):
            stackless.tasklet(stackless.schedule_remove)()
        stackless.run()
        faulthandler.dump_traceback(file=sys.stdout, all_threads=True)
        """)
    assert lines[-1] == "..." and sum("hread 0x" in line for line in lines) == 100


def test_a_fatal_signal_inside_a_tasklet_prints_its_stack(mode):
    done = run_script(
        """
        import os, signal, stackless

        def dying():
            os.kill(os.getpid(), signal.SIGABRT)
            stackless.schedule()

        stackless.tasklet(dying)()
        stackless.run()
        """, env=mode, status=None, quiet=False)
    assert done.status == -6
    assert "Fatal Python error: Aborted" in done.stderr
    assert re.search(r'File "<string>", line \d+ in dying', done.stderr)


def test_faulthandler_later_fires_while_everybody_waits(mode):
    """dump_traceback_later: the usual tool against hangs."""
    done = run_script(
        """
        import faulthandler, stackless, sys

        def sleeper():
            stackless.sleep(60)

        stackless.tasklet(sleeper)()
        faulthandler.dump_traceback_later(0.2, exit=True, file=sys.stdout)
        stackless.run()
        """, env=mode, status=1)
    assert re.search(r"line \d+ in sleeper", done.stdout)


def test_print_stack_of_oneself_and_of_another(script):
    lines = script(SUSPENDED + """
    def me():
        traceback.print_stack(file=sys.stdout)
        print("--")
        traceback.print_stack(t.frame, file=sys.stdout)
        print("--")
        print([entry.name for entry in traceback.extract_stack(t.frame)])

    stackless.tasklet(me)()
    stackless.run()
    """)
    first, second, names = "\n".join(lines).split("\n--\n")
    assert re.findall(r"in (\w+|<module>)$", first, re.M) == ["me"]
    assert re.findall(r"in (\w+|<module>)$", second, re.M) == ["waiting", "innermost"]
    assert names == "['waiting', 'innermost']"


def test_inspect(script):
    lines = script(SUSPENDED + """
    def me():
        print([info.function for info in inspect.stack()])
        print([info.function for info in inspect.getouterframes(t.frame)])
        print(inspect.getframeinfo(t.frame).lineno, sorted(t.frame.f_back.f_locals))

    stackless.tasklet(me)()
    stackless.run()
    """)
    assert lines == ["['me']", "['innermost', 'waiting']", "%d []" % line_of(script.path, "channel.receive()")]


def test_current_frames(script):
    """One entry an OS thread, as ever; no crash with many thread states on it."""
    lines = script(SUSPENDED + """
    def me():
        frames = sys._current_frames()
        print(threading.get_ident() in frames, len(frames) <= threading.active_count() + 2)
        names = set()
        for frame in frames.values():
            names.update(entry.name for entry in traceback.extract_stack(frame))
        print("<module>" in names)
        print(threading.get_ident() in sys._current_exceptions())

    stackless.tasklet(me)()
    stackless.run()
    """)
    assert lines == ["True True", "True", "True"]


# --- others

def test_a_traceback_tells_the_tasklet(script):
    lines = script("""
        import stackless, traceback

        def failing():
            raise ValueError("no")

        def parent():
            stackless.tasklet(failing)().name = "worker 7"

        stackless.tasklet(parent)()
        try:
            stackless.run()
        except ValueError:
            print(traceback.format_exc())
        """)
    number = line_of(script.path, "worker 7")
    assert f"raised in tasklet 'worker 7', created at {script.path}:{number}" in lines
    assert any("in failing" in line for line in lines)


def test_tracemalloc_tells_where_in_a_tasklet(script):
    lines = script("""
        import stackless, time, tracemalloc

        kept = []

        def allocate():
            stackless.schedule()
            time.sleep(0.005)
            kept.append(bytearray(123456))

        def body():
            allocate()

        tracemalloc.start(10)
        stackless.tasklet(body)()
        stackless.tasklet(body)()
        stackless.run()
        largest = tracemalloc.take_snapshot().statistics("traceback")[0]
        print(largest.count >= 2, largest.size > 2 * 123456)
        print([frame.lineno for frame in largest.traceback])
        """)
    assert lines[0] == "True True"
    assert lines[1] == str([line_of(script.path, "def body") + 1, line_of(script.path, "kept.append")])


def test_warnings_tell_the_line_in_the_tasklet(script):
    lines = script("""
        import stackless, warnings

        def body():
            stackless.schedule()
            warnings.warn("careful")
            outer()

        def outer():
            warnings.warn("of the caller", stacklevel=2)
            warnings.warn("beyond the first frame", stacklevel=9)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stackless.tasklet(body)()
            stackless.run()
        for one in caught:
            print(one.lineno if one.filename == __file__ else "sys", one.message)
        """)
    first = line_of(script.path, 'warn("careful")')
    assert lines[:2] == [f"{first} careful", f"{first + 1} of the caller"]
    assert len(lines) == 3
