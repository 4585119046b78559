# SPDX-License-Identifier: MIT
"""Python code of the program's that runs in the middle of an operation: a finalizer of what the operation
replaces, a conversion, a constructor.  Each did crash, hence the child interpreters."""

import pytest

from support import run_script

PRELUDE = """
import gc, threading, stackless

class Does:  # when it is dropped
    def __init__(self, what):
        self.what = what

    def __del__(self):
        self.what()

def noop(*args):
    pass

def drop(what):  # with the calling tasklet's next operation
    stackless.getcurrent().tempval = Does(what)
"""


def script(code, expected=""):
    assert run_script(PRELUDE + code).stdout == expected


@pytest.mark.parametrize("capacity", [0, 1])
def test_a_channel_meets_a_partner_that_a_finalizer_inserts(capacity):
    script(f"""
channel = stackless.channel(capacity={capacity})
channel.preference = 0
partner = stackless.tasklet(lambda: print(channel.receive()))()
stackless.run()
drop(lambda: partner.insert())
channel.send("value")
assert stackless.getruncount() == 2
stackless.run()
assert not partner.alive and stackless.getruncount() == 1
""", "value\n")


def test_a_channel_blocks_while_a_finalizer_provides_the_partner():
    script("""
channel = stackless.channel()
drop(lambda: stackless.tasklet(channel.send)("late") and stackless.schedule())
print(channel.receive(), channel.balance, stackless.getruncount())
""", "late 0 2\n")


def test_schedule_while_a_finalizer_drops_the_next_one():
    script("""
others = [stackless.tasklet(noop)()]

def drop_it():
    others.pop().remove()
    gc.collect()
    others.extend(bytearray(200) for _ in range(100))

drop(drop_it)
assert stackless.schedule(1) == 1
assert stackless.getruncount() == 1
""")


@pytest.mark.parametrize("operation", [
    "stackless.run()", "stackless.sleep(0.001)", "stackless.select([channel], timeout=0.001)", "lock.acquire(timeout=0.001)",
    "channel.receive(timeout=0.001)", "stackless.wait(pipe, stackless.READ, 0.001)"])
def test_what_parks_while_a_finalizer_switches(operation):
    script(f"""
import os
pipe = os.pipe()[0]
channel, lock, log = stackless.channel(), stackless.Lock(), []
lock.acquire()

def works():
    log.append(1)
    try:
        {operation}
    except TimeoutError:
        pass
    log.append(2)

def parks():
    drop(lambda: (stackless.sleep(0.001), stackless.schedule()))
    works()

stackless.tasklet(parks)()
stackless.tasklet(works)()
stackless.run()
print(sorted(log), stackless.getruncount())
""", "[1, 1, 2, 2] 1\n")


def test_bind_while_a_finalizer_binds():
    script("""
t = stackless.tasklet()
t.tempval = Does(lambda: (t.bind(print, ("inner",)), t.insert()))
t.bind(None)
stackless.run()

t.bind(noop, (Does(lambda: (t.insert(), t.run())),))
t.bind(lambda: (print("once"), stackless.schedule(), print("ended")), ())
t.alive and t.insert()
stackless.run()
assert not t.alive
""", "inner\nonce\nended\n")


@pytest.mark.parametrize("end", ["t.kill()", "t.kill(pending=True)", "t.throw(TaskletExit)"])
def test_a_kill_drops_what_is_being_sent_and_that_kills(end):
    script(f"""
channel = stackless.channel()
t = stackless.tasklet(channel.send)(None)
stackless.run()
t.tempval = Does(lambda: t.kill())
{end}
stackless.run()
assert not t.alive and channel.balance == 0 and stackless.getruncount() == 1
""")


def test_throw_at_a_call_that_returns_while_the_exception_is_made(many_threads):
    script("""
entered, leave = threading.Event(), threading.Event()

class Slow(Exception):
    def __init__(self, *args):
        leave.set()
        while t.alive:
            stackless.sleep(0.001)

t = stackless.tasklet(lambda: (entered.set(), leave.wait()))()

def throws():
    while not entered.is_set():
        stackless.sleep(0.001)
    while "call to the system" not in repr(t):
        stackless.sleep(0.001)
    try:
        t.throw(Slow, "made here")
    except RuntimeError as error:
        print(error)

stackless.tasklet(throws)()
stackless.run()
""", "You cannot throw to a dead tasklet\n")


def test_sleep_for_a_number_whose_conversion_blocks(many_threads):
    script("""
class Slow:
    def __float__(self):
        while not others:
            threading.Event().wait(0.01)
        return 0.001

others = []
stackless.tasklet(stackless.sleep)(Slow())
stackless.tasklet(lambda: (stackless.sleep(0.01), others.append(1)))()
stackless.run()
print(others, stackless.stats()["strays"], stackless.getruncount())
""", "[1] 0 1\n")


def test_an_error_handler_ends_the_watchdog():
    """The exception that it raises then goes to main."""
    script("""
def handler(type, value, traceback):
    for _ in range(3):
        stackless.schedule()
    gc.collect()
    raise ValueError("of the handler")

def inner():
    me = stackless.getcurrent()
    stackless.tasklet(lambda: 1 / 0)()
    stackless.tasklet(lambda: me.insert())()
    stackless.run()

stackless.set_error_handler(handler)
stackless.tasklet(inner)()
try:
    stackless.run()
except ValueError as error:
    print(error)
""", "of the handler\n")


def test_the_name_of_a_callable_that_unbinds():
    script("""
class Callable:
    def __getattr__(self, name):
        t.bind(None)
        gc.collect()
        raise AttributeError(name)

    def __call__(self):
        pass

t = stackless.tasklet(Callable())
assert t.name == "Callable"
t.bind(Callable(), ())
assert "Callable" in repr(t)
""")
