# SPDX-License-Identifier: MIT
"""The C API for extension modules: the header, and an extension that uses all of it (capi/)."""

import gc
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import threading

import pytest
import stackless

import support

HERE = pathlib.Path(__file__).resolve().parent / "capi"
HEADER = pathlib.Path(stackless.get_include()) / "stackless" / "python.h"
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type"]


def include_options():
    return ["-I", stackless.get_include(), "-isystem", sysconfig.get_path("include"), "-isystem", sysconfig.get_path("platinclude")]


def compile_with(compiler, *options):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} here")
    done = subprocess.run([compiler, *include_options(), *map(str, options)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def build(folder, *options):
    path = folder / ("capi_user" + importlib.machinery.EXTENSION_SUFFIXES[0])
    compile_with("cc", *STRICT, "-O2", "-fPIC", "-shared", *options, HERE / "capi_user.c", HERE / "capi_more.c", "-o", path)
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("capi"))


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def capi(built):
    return load("capi_user", built)


def script(folder, code, **options):
    return support.run_script(f"import sys; sys.path.insert(0, {str(folder)!r})\n" + code, **options)


# --- the header

def declared():
    """Names of all functions and the like that the header gives to extensions."""
    text = HEADER.read_text()
    return set(re.findall(r"^#define (Py(?:Tasklet|Channel|Stackless)_\w+)", text, re.M))


def test_the_header_is_in_the_package():
    assert HEADER.is_file()
    assert [path.name for path in HEADER.parent.iterdir()] == ["python.h"]


def test_each_member_of_the_structure_has_its_name():
    text = HEADER.read_text()
    assert set(re.findall(r"\(\*(Py\w+)\)\(", text)) <= declared()


def test_the_extension_uses_all_of_it():
    source = (HERE / "capi_user.c").read_text()
    unused = [name for name in declared() if name.removeprefix("Py") not in source]
    assert not unused


def test_the_guide_names_all_of_it():
    text = (HERE.parents[2] / "docs" / "c-api.md").read_text()
    missing = [name for name in declared() if name not in text]
    assert not missing


def test_the_guides_example(tmp_path):
    text = (HERE.parents[2] / "docs" / "c-api.md").read_text()
    source = tmp_path / "example.c"
    source.write_text(re.search(r"```c\n(.*?)```", text, re.S)[1])
    path = tmp_path / ("example" + importlib.machinery.EXTENSION_SUFFIXES[0])
    compile_with("cc", "-Wall", "-Werror", "-O2", "-fPIC", "-shared", source, "-o", path)
    relay = load("example", path).relay
    source, target = stackless.channel(), stackless.channel()
    stackless.tasklet(relay)(source, target, 3)
    stackless.tasklet(source.send_sequence)("abc")
    assert [target.receive() for _ in range(3)] == ["a", "b", "c"]
    stackless.run()


@pytest.mark.parametrize("compiler, options", [
    ("cc", ["-std=c11", "-xc", "-Wpedantic", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes"]),
    ("cc", ["-std=c11", "-xc", "-DPy_LIMITED_API=0x030b0000"]),
    ("c++", ["-std=c++11", "-xc++", "-Wpedantic"]),
], ids=["C", "limited API", "C++"])
def test_the_header_compiles_by_itself(compiler, options, tmp_path):
    source = tmp_path / "alone.c"
    source.write_text("#include <stackless/python.h>\nint f(void *);\nint f(void *o) { return PyTasklet_Check(o) && PyTasklet_Run((PyTaskletObject *)o); }\n")
    compile_with(compiler, *options, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", source)


# --- the import

def test_the_capsule():
    assert type(stackless._C_API).__name__ == "PyCapsule"
    assert '"stackless._C_API"' in repr(stackless._C_API)


def test_import_in_a_fresh_process(built, mode):
    script(built.parent, "import capi_user; assert capi_user.Stackless_GetRunCount() == 1", env=mode)


def test_a_module_without_the_api(built):
    script(built.parent, """
import types
sys.modules["stackless"] = types.ModuleType("stackless")
try:
    import capi_user
except ImportError as error:
    assert "has no C API: an extension needs stackless-mn" in str(error), error
else:
    sys.exit("no error")
""")


@pytest.mark.parametrize("version, size, fits", [(2, 4096, False), (1, 16, False), (1, 4096, True)],
                         ids=["another version", "older", "newer"])
def test_other_versions(built, version, size, fits):
    pytest.importorskip("ctypes")
    script(built.parent, f"""
import ctypes, types
stackless = sys.modules["stackless"] = types.ModuleType("stackless")
head = (ctypes.c_uint * 1024)({version}, {size})
new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
stackless._C_API = new(ctypes.addressof(head), b"stackless._C_API", None)
try:
    import capi_user
except ImportError as error:
    assert not {fits}, error
    assert "compiled for version 1 " in str(error) and "installed is version {version}, {size} bytes" in str(error), error
else:
    assert {fits}
""")


def test_a_capsule_of_something_else(built):
    pytest.importorskip("datetime")
    script(built.parent, """
import types, _datetime
stackless = sys.modules["stackless"] = types.ModuleType("stackless")
stackless._C_API = _datetime.datetime_CAPI
try:
    import capi_user
except ValueError as error:
    assert "PyCapsule" in str(error)
else:
    sys.exit("no error")
""")


def test_a_call_before_the_import_says_so(tmp_path):
    path = build(tmp_path, "-DFORGET_THE_IMPORT")
    done = script(path.parent, "import capi_user; capi_user.Stackless_GetRunCount()", status=-6, quiet=False)
    assert "uses stackless's C API before PyStackless_Import()" in done.stderr


def test_all_files_of_an_extension_share_one_import(capi):
    assert capi.second_file() is stackless.getcurrent()


# --- tasklets

def test_types(capi):
    class Sub(stackless.tasklet):
        pass

    assert capi.types() == (stackless.tasklet, stackless.channel)
    assert capi.kinds(stackless.tasklet()) == (1, 1, 0, 0)
    assert capi.kinds(Sub()) == (1, 0, 0, 0)
    assert capi.kinds(stackless.channel()) == (0, 0, 1, 1)
    assert capi.kinds(3) == (0, 0, 0, 0)


def test_new_setup_run(capi):
    seen = []
    t = capi.Tasklet_New(None, lambda *args, **kwargs: seen.append((args, kwargs)))
    assert type(t) is stackless.tasklet and not t.alive
    assert capi.Tasklet_Setup(t, (1, 2), {"a": 3}) == 0
    assert t.scheduled and not seen
    assert capi.Tasklet_Run(t) == 0
    assert seen == [((1, 2), {"a": 3})] and not t.alive


def test_new_of_a_subclass(capi):
    class Sub(stackless.tasklet):
        pass

    class Odd(stackless.tasklet):
        def __new__(cls, *args):
            return 5

    t = capi.Tasklet_New(Sub, support.noop)
    assert type(t) is Sub
    with pytest.raises(TypeError, match="a subclass of stackless.tasklet is needed, got <class 'int'>"):
        capi.Tasklet_New(int, None)
    with pytest.raises(TypeError, match="needed"):
        capi.Tasklet_New(5, None)
    with pytest.raises(TypeError, match="needed"):
        capi.Tasklet_New(Odd, None)
    with pytest.raises(TypeError, match="callable"):
        capi.Tasklet_New(None, 5)
    assert capi.Tasklet_New(None, None).tempval is None


def test_setup_refuses(capi):
    t = stackless.tasklet(support.noop)
    with pytest.raises(TypeError, match="tuple"):
        capi.Tasklet_Setup(t, [], None)
    with pytest.raises(TypeError, match="dict"):
        capi.Tasklet_Setup(t, (), ())
    with pytest.raises(RuntimeError, match="not bound"):
        capi.Tasklet_Setup(stackless.tasklet(), None, None)
    assert capi.Tasklet_Setup(t, None, None) == 0
    with pytest.raises(RuntimeError, match="alive"):
        capi.Tasklet_Setup(t, None, None)
    t.run()


def test_bind_insert_remove(capi):
    seen = []
    t = stackless.tasklet()
    assert capi.Tasklet_BindEx(t, seen.append, (1,), None) == 0
    assert t.alive and t.paused
    assert capi.Tasklet_Insert(t) == 0
    assert t.scheduled
    assert capi.Tasklet_Remove(t) == 0
    assert t.paused
    assert capi.Tasklet_Insert(t) == 0
    stackless.run()
    assert seen == [1]
    with pytest.raises(RuntimeError, match="dead"):
        capi.Tasklet_Insert(t)
    with pytest.raises(RuntimeError, match="dead"):
        capi.Tasklet_Run(t)
    with pytest.raises(TypeError, match="callable"):
        capi.Tasklet_BindEx(t, 5, None, None)
    with pytest.raises(RuntimeError, match="current tasklet cannot be removed"):
        capi.Tasklet_Remove(stackless.getcurrent())


def test_bind_thread(capi):
    seen = []
    t = stackless.tasklet(lambda: seen.append(threading.get_ident()), ())
    asked, bound = threading.Event(), threading.Event()

    def other():
        stackless.getcurrent()
        asked.set()
        bound.wait(support.PATIENCE)
        t.insert()
        stackless.run()

    thread = threading.Thread(target=other)
    thread.start()
    asked.wait(support.PATIENCE)
    assert capi.Tasklet_BindThread(t, thread.ident) == 0
    assert t.thread_id == thread.ident
    bound.set()
    thread.join()
    assert seen == [thread.ident]
    fresh = stackless.tasklet(support.noop, ())
    assert capi.Tasklet_BindThread(fresh, 2**64 - 1) == 0
    assert fresh.thread_id == threading.get_ident()
    with pytest.raises(ValueError, match="bad thread"):
        capi.Tasklet_BindThread(fresh, 1)


def test_switch(capi):
    order = []

    def body():
        order.append("there")
        assert main.paused
        main.insert()

    main = stackless.getcurrent()
    t = stackless.tasklet(body, ())
    assert capi.Tasklet_Switch(t) == 0
    order.append("back")
    assert order == ["there", "back"]


def test_throw_and_raise(capi):
    caught = []

    def body():
        while True:
            try:
                stackless.schedule_remove()
            except ValueError as error:
                caught.append(error.args)

    t = stackless.tasklet(body)()
    t.run()
    assert capi.Tasklet_Throw(t, 0, ValueError, "now", None) == 0
    assert caught.pop() == ("now",)
    assert capi.Tasklet_Throw(t, 1, ValueError(1, 2), None, None) == 0
    assert not caught and t.scheduled
    stackless.run()
    assert caught.pop() == (1, 2)
    assert capi.Tasklet_RaiseException(t, ValueError, (3, 4)) == 0
    assert caught.pop() == (3, 4)
    assert capi.Tasklet_RaiseException(t, ValueError, None) == 0
    assert caught.pop() == ()
    with pytest.raises(TypeError, match="traceback"):
        capi.Tasklet_Throw(t, 0, ValueError, None, 5)
    with pytest.raises(TypeError, match="exception"):
        capi.Tasklet_Throw(t, 0, None, None, None)
    with pytest.raises(TypeError, match="exceptions"):
        capi.Tasklet_RaiseException(t, 5, None)
    with pytest.raises(TypeError, match="tuple"):
        capi.Tasklet_RaiseException(t, ValueError, 5)
    with pytest.raises(KeyError):
        capi.Tasklet_Throw(stackless.getcurrent(), 0, KeyError, None, None)
    assert capi.Tasklet_Kill(t) == 0
    assert not t.alive
    assert capi.Tasklet_Kill(t) == 0
    with pytest.raises(RuntimeError, match="dead"):
        capi.Tasklet_Throw(t, 0, ValueError, None, None)


def test_kill_pending(capi):
    ended = []

    def body():
        try:
            stackless.schedule_remove()
        finally:
            ended.append(True)

    t = stackless.tasklet(body)()
    t.run()
    assert capi.Tasklet_KillEx(t, 1) == 0
    assert t.alive and not ended
    stackless.run()
    assert ended and not t.alive
    t = stackless.tasklet(body)()
    t.run()
    assert capi.Tasklet_KillEx(t, 0) == 0
    assert not t.alive


@pytest.mark.parametrize("name, old", [("Atomic", 1), ("IgnoreNesting", 1), ("BlockTrap", 0)])
def test_flags(capi, name, old):
    t = stackless.tasklet()
    get, put = getattr(capi, "Tasklet_Get" + name), getattr(capi, "Tasklet_Set" + name)
    attribute = re.sub("(?<=.)([A-Z])", r"_\1", name).lower()
    assert get(t) == 0
    assert put(t, -7) == 0
    assert get(t) == 1 and getattr(t, attribute) is True
    assert put(t, 0) == old
    assert get(t) == 0 and getattr(t, attribute) is False


def state(capi, t):
    names = "Alive Paused Scheduled IsMain IsCurrent Restorable GetRecursionDepth GetNestingLevel".split()
    return tuple(getattr(capi, "Tasklet_" + name)(t) for name in names)


def test_states(capi):
    t = stackless.tasklet()
    assert state(capi, t) == (0, 0, 0, 0, 0, 1, 0, 0)
    assert capi.Tasklet_GetFrame(t) is None
    t.bind(stackless.schedule_remove, ())
    assert state(capi, t) == (1, 1, 0, 0, 0, 1, 0, 0)
    t.bind(lambda: sorted([2, 1], key=stackless.schedule_remove), ())
    t.insert()
    assert state(capi, t)[:3] == (1, 0, 1)
    t.run()
    assert state(capi, t)[:3] == (1, 1, 0)
    frame = capi.Tasklet_GetFrame(t)
    assert frame is t.frame and frame.f_code.co_name == "<lambda>"
    assert (t.restorable, t.recursion_depth, t.nesting_level) == state(capi, t)[5:]
    del frame
    t.kill()
    assert state(capi, t) == (0, 0, 0, 0, 0, 1, 0, 0)
    main = state(capi, stackless.getmain())
    assert main[0] == main[2] == main[3] == main[4] == 1 and main[1] == 0 and main[6] > 1


# --- channels

def test_send_and_receive(capi):
    c = capi.Channel_New(None)
    assert type(c) is stackless.channel
    got = []
    stackless.tasklet(lambda: got.append(c.receive()))()
    stackless.run()
    assert capi.Channel_GetBalance(c) == -1
    queued = capi.Channel_GetQueue(c)
    assert queued is c.queue and queued.blocked
    assert capi.Channel_Send(c, "value") == 0
    assert got == ["value"]
    stackless.tasklet(c.send)(None)
    stackless.run()
    assert capi.Channel_GetBalance(c) == 1
    assert capi.Channel_Receive(c) is None
    assert capi.Channel_GetQueue(c) is None
    stackless.run()


def test_channel_new_refuses(capi):
    class Sub(stackless.channel):
        pass

    assert type(capi.Channel_New(Sub)) is Sub
    with pytest.raises(TypeError, match="a subclass of stackless.channel is needed"):
        capi.Channel_New(stackless.tasklet)


def test_exceptions_by_channel(capi):
    c = stackless.channel()
    c.preference = 0
    caught = []

    def body():
        while True:
            try:
                c.receive()
            except ValueError as error:
                caught.append(error)

    t = stackless.tasklet(body)()
    t.run()

    def last():
        stackless.run()
        return caught.pop()

    assert capi.Channel_SendException(c, ValueError, (1, 2)) == 0
    assert last().args == (1, 2)
    assert capi.Channel_SendException(c, ValueError, "one") == 0
    assert last().args == ("one",)
    assert capi.Channel_SendException(c, ValueError, None) == 0
    assert last().args == ()
    error = ValueError("itself")
    assert capi.Channel_SendThrow(c, error, None, None) == 0
    assert last() is error
    try:
        raise KeyError
    except KeyError as e:
        tb = e.__traceback__
    assert capi.Channel_SendThrow(c, ValueError, "text", tb) == 0
    error = last()
    assert error.args == ("text",)
    lines = []
    walker = error.__traceback__
    while walker:
        lines.append(walker.tb_frame.f_code.co_name)
        walker = walker.tb_next
    assert lines == ["body", "test_exceptions_by_channel"]
    with pytest.raises(TypeError, match="class of exceptions"):
        capi.Channel_SendException(c, ValueError(), None)
    with pytest.raises(TypeError, match="exceptions must be"):
        capi.Channel_SendThrow(c, 5, None, None)
    del error, walker, tb
    caught.clear()
    t.kill()


def test_closing_and_preferences(capi):
    c = stackless.channel()
    assert capi.Channel_GetPreference(c) == -1
    for given, kept in ((5, 1), (0, 0), (-5, -1)):
        assert capi.Channel_SetPreference(c, given) == 0
        assert capi.Channel_GetPreference(c) == c.preference == kept
    assert capi.Channel_GetScheduleAll(c) == 0
    assert capi.Channel_SetScheduleAll(c, 3) == 0
    assert capi.Channel_GetScheduleAll(c) == c.schedule_all == 1
    stackless.tasklet(c.send)(1)
    stackless.run()
    assert (capi.Channel_GetClosing(c), capi.Channel_GetClosed(c)) == (0, 0)
    assert capi.Channel_Close(c) == 0
    assert (capi.Channel_GetClosing(c), capi.Channel_GetClosed(c)) == (1, 0)
    assert capi.Channel_Receive(c) == 1
    assert (capi.Channel_GetClosing(c), capi.Channel_GetClosed(c)) == (1, 1)
    with pytest.raises(ValueError, match="closed channel"):
        capi.Channel_Receive(c)
    assert capi.Channel_Open(c) == 0
    assert not c.closing
    stackless.run()


# --- scheduling

def test_schedule(capi, trace):
    trace.logger("a")
    trace.logger("b")
    assert capi.Stackless_GetRunCount() == 3
    assert capi.Stackless_Schedule(0, "value") == "value"
    assert trace == ["a", "b"]
    assert capi.Stackless_Schedule(0) is stackless.getcurrent()
    assert capi.Stackless_GetRunCount() == 1
    assert capi.Stackless_GetCurrent() is stackless.getcurrent()
    assert capi.Stackless_GetCurrentId() == stackless.getcurrentid()
    ids = []
    t = stackless.tasklet(lambda: ids.append((capi.Stackless_GetCurrentId(), stackless.getcurrentid())))()
    t.run()
    assert ids[0][0] == ids[0][1] != stackless.getcurrentid()


def test_schedule_remove(capi):
    got = []
    t = stackless.tasklet(lambda: got.append(capi.Stackless_Schedule(1, "x")))()
    stackless.run()
    assert t.paused
    t.insert()
    stackless.run()
    assert got == ["x"]


def test_run(capi, trace):
    trace.logger("a")
    assert capi.Stackless_RunWatchdog(0) is None
    trace.logger("b")
    assert capi.Stackless_RunWatchdogEx(0, 15) is None
    assert trace == ["a", "b"]
    with pytest.raises(ValueError, match="unknown watchdog flags: 0x30"):
        capi.Stackless_RunWatchdogEx(0, 0x31)
    stackless.tasklet(int)("no number")
    with pytest.raises(ValueError, match="no number"):
        capi.Stackless_RunWatchdog(0)


def endless():
    while True:
        pass


def test_run_with_a_timeout(capi):
    t = stackless.tasklet(endless)()
    assert capi.Stackless_RunWatchdog(1000) is t
    assert t.alive and t.paused
    t.insert()
    assert capi.Stackless_RunWatchdogEx(1000, 8) is t  # for all together
    t.kill()

    def nested():
        sorted([1], key=lambda unused: endless())

    t = stackless.tasklet(nested)()
    assert capi.Stackless_RunWatchdogEx(1000, 4) is t
    t.kill()


def test_run_with_a_soft_timeout(capi):
    def polite():
        while True:
            for _ in range(100):
                pass
            stackless.schedule()

    t = stackless.tasklet(polite)()
    assert capi.Stackless_RunWatchdogEx(1000, 2) is None
    assert t.scheduled
    t.kill()


def test_clearing_atomic_lets_the_timeout_through(capi):
    log = []

    def body():
        capi.Tasklet_SetAtomic(stackless.getcurrent(), 1)
        for _ in range(5000):
            pass
        log.append("atomic")
        log.append(capi.Tasklet_SetAtomic(stackless.getcurrent(), 0))

    t = stackless.tasklet(body)()
    assert capi.Stackless_RunWatchdog(500) is t
    assert log == ["atomic"]  # within the call
    t.insert()
    stackless.run()
    assert log == ["atomic", 1]


def test_ignoring_nesting_lets_the_timeout_through(capi):
    log = []

    def nested(unused):
        for _ in range(5000):
            pass
        log.append("nested")
        log.append(capi.Tasklet_SetIgnoreNesting(stackless.getcurrent(), 1))

    t = stackless.tasklet(lambda: sorted([1], key=nested))()
    assert capi.Stackless_RunWatchdog(500) is t
    assert log == ["nested"]
    t.insert()
    stackless.run()
    assert log == ["nested", 0]


def test_a_throw_at_who_was_interrupted_by_a_flag(capi):
    """The function that cleared it fails then."""
    def body():
        capi.Tasklet_SetAtomic(stackless.getcurrent(), 1)
        for _ in range(5000):
            pass
        with pytest.raises(LookupError, match="thrown"):
            capi.Tasklet_SetAtomic(stackless.getcurrent(), 0)
        log.append("raised")

    log = []
    t = stackless.tasklet(body)()
    assert capi.Stackless_RunWatchdog(500) is t
    t.throw(LookupError, "thrown")
    assert log == ["raised"] and not t.alive


def test_callbacks(capi):
    switches, operations = [], []
    c = stackless.channel()
    t = stackless.tasklet(c.send, (5,))
    main = stackless.getcurrent()
    try:
        assert capi.Stackless_SetScheduleCallback(lambda *args: switches.append(args)) == 0
        assert capi.Stackless_SetChannelCallback(lambda *args: operations.append(args[1:])) == 0
        t.insert()
        assert c.receive() == 5
    finally:
        assert capi.Stackless_SetScheduleCallback(None) == 0
        assert capi.Stackless_SetChannelCallback(None) == 0
    assert switches[0] == (main, t)
    assert operations == [(main, 0, 1), (t, 1, 0)]
    assert stackless.get_schedule_callback() is None and stackless.get_channel_callback() is None
    for put in (capi.Stackless_SetScheduleCallback, capi.Stackless_SetChannelCallback):
        with pytest.raises(TypeError, match="callable"):
            put(5)
    switches.clear()
    operations.clear()
    stackless.run()


def test_names_for_ported_sources(capi):
    c = stackless.channel()
    t = stackless.tasklet(lambda: c.send(stackless.schedule()))()
    assert capi.Tasklet_Run_nr(t) == 0
    assert capi.Channel_Receive_nr(c) is t
    with pytest.raises(TypeError, match="a value is needed, got NULL"):
        capi.Channel_Send_nr(c)
    assert capi.Stackless_Schedule_nr(3) == 3
    back = stackless.tasklet(stackless.getcurrent().insert, ())
    assert capi.Tasklet_Switch_nr(back) == 0
    assert capi.Stackless_Call_Main(max, (1, 2)) == 2
    assert capi.Stackless_CallMethod_Main("-") == "a-b"


def test_failing_calls_leave_the_ring_alone(capi):
    t = stackless.tasklet(support.noop)()
    c = stackless.channel()
    stackless.switch_trap(1)
    try:
        for call in (lambda: capi.Tasklet_Run(t), lambda: capi.Tasklet_Switch(t), lambda: capi.Stackless_Schedule(0),
                     lambda: capi.Channel_Receive(c), lambda: capi.Channel_Send(c, 1), lambda: capi.Tasklet_Kill(t),
                     lambda: capi.Stackless_RunWatchdog(0)):
            with pytest.raises(RuntimeError, match="switch_trap"):
                call()
    finally:
        stackless.switch_trap(-1)
    assert stackless.getruncount() == 2 and c.balance == 0
    stackless.run()


# --- arguments

TASKLETS = ["Run", "Switch", "Insert", "Remove", "Kill", "GetAtomic", "GetIgnoreNesting", "GetBlockTrap", "IsMain", "IsCurrent", "Alive",
            "Paused", "Scheduled", "Restorable", "GetRecursionDepth", "GetNestingLevel", "GetFrame"]
CHANNELS = ["Receive", "GetQueue", "Close", "Open", "GetClosing", "GetClosed", "GetPreference", "GetScheduleAll", "GetBalance"]


@pytest.mark.parametrize("name, more", [
    *[("Tasklet_" + name, ()) for name in TASKLETS],
    *[("Tasklet_" + name, (1,)) for name in ("KillEx", "SetAtomic", "SetIgnoreNesting", "SetBlockTrap", "BindThread")],
    ("Tasklet_Setup", (None, None)), ("Tasklet_BindEx", (None, None, None)), ("Tasklet_RaiseException", (ValueError, None)),
    ("Tasklet_Throw", (0, ValueError, None, None)),
    *[("Channel_" + name, ()) for name in CHANNELS],
    *[("Channel_" + name, (1,)) for name in ("Send", "SetPreference", "SetScheduleAll")],
    ("Channel_SendException", (ValueError, None)), ("Channel_SendThrow", (ValueError, None, None)),
], ids=lambda value: value if isinstance(value, str) else "")
def test_an_argument_of_another_type(capi, name, more):
    kind = name.partition("_")[0].lower()
    other = stackless.channel() if kind == "tasklet" else stackless.tasklet()
    for given in (other, "text"):
        with pytest.raises(TypeError, match=f"a {kind} is needed, got {re.escape(type(given).__name__) if given == 'text' else 'stackless'}"):
            getattr(capi, name)(given, *more)


# --- C functions as tasklets

def test_c_functions_as_tasklets(capi):
    """Their state is on their C stacks, which lasts through switches and moves between threads."""
    count, length = 50, 20
    links = [stackless.channel() for _ in range(length + 1)]
    for source, target in zip(links, links[1:]):
        stackless.tasklet(capi.relay)(source, target, count)
    stackless.tasklet(lambda: links[0].send_sequence(range(count)))()
    assert [links[-1].receive() for _ in range(count)] == list(range(count))
    stackless.run()


def test_what_a_c_function_raises_is_raised_in_main(capi):
    c = stackless.channel()
    stackless.tasklet(capi.relay)(c, c, 1)
    stackless.tasklet(c.send_exception)(KeyError, "thrown")
    with pytest.raises(KeyError, match="thrown"):
        stackless.run()
    stackless.run()


def test_a_blocked_c_function_is_killed(capi):
    c = stackless.channel()
    t = stackless.tasklet(capi.relay)(c, c, 1)
    stackless.run()
    assert t.blocked
    t.kill()
    assert not t.alive and c.balance == 0


def test_tasklets_made_in_c(capi):
    c = stackless.channel()
    assert capi.spawn(100, c) == 100
    assert [capi.Channel_Receive(c) for _ in range(100)] == list(range(100))
    stackless.run()


def test_a_call_that_blocks_in_c_stops_nobody(capi, many_threads):
    """The others run while the extension is in read(); it goes on in its own thread state."""
    reader, writer = os.pipe()
    results = stackless.channel()
    kept = []
    try:
        stackless.tasklet(lambda: kept.append(capi.block(reader, results)))()
        stackless.tasklet(lambda: os.write(writer, b"done"))()
        assert results.receive() == b"done"
        stackless.run()
        assert kept == [True]
    finally:
        os.close(reader)
        os.close(writer)


def test_a_channel_lives_as_long_as_a_call_on_it(capi):
    """The caller's only reference to the channel goes while it is blocked."""
    holder = [stackless.channel()]
    got = []
    t = stackless.tasklet(lambda: got.append(capi.Channel_Receive(holder[0])))()
    stackless.run()
    c = t._channel
    holder.clear()
    gc.collect()
    c.send("arrived")
    del c
    assert got == ["arrived"]


def test_calls_by_other_threads(capi):
    c = stackless.channel()
    seen = []

    def other():
        seen.append(capi.Stackless_GetCurrent() is stackless.getmain())
        seen.append(capi.Stackless_GetCurrentId() == threading.get_ident())
        for i in range(20):
            capi.Channel_Send(c, i)

    thread = threading.Thread(target=other)
    thread.start()
    assert [capi.Channel_Receive(c) for _ in range(20)] == list(range(20))
    thread.join()
    assert seen == [True, True]


def test_no_reference_is_lost(capi):
    class Value:
        pass

    value, func = Value(), lambda *args: None
    c = stackless.channel()
    t = stackless.tasklet()

    def use():
        capi.Tasklet_BindEx(t, func, (value,), {})
        capi.Tasklet_Run(t)
        capi.Tasklet_Setup(capi.Tasklet_New(None, func), (value,), {})
        stackless.tasklet(capi.relay)(c, c, 1)
        stackless.run()
        capi.Channel_Send(c, value)
        assert capi.Channel_Receive(c) is value
        capi.Stackless_Schedule(0, value)
        capi.Tasklet_GetFrame(stackless.getcurrent())
        for call in (lambda: capi.Tasklet_Throw(t, 0, ValueError, value, None), lambda: capi.Channel_SendThrow(None, ValueError, value, None),
                     lambda: capi.Channel_Send(t, value), lambda: capi.Tasklet_RaiseException(t, ValueError, (value,))):
            with pytest.raises((RuntimeError, TypeError)):
                call()

    use()
    before = [sys.getrefcount(o) for o in (value, func, c, t, stackless.getcurrent())]
    for _ in range(50):
        use()
    assert [sys.getrefcount(o) for o in (value, func, c, t, stackless.getcurrent())] == before
