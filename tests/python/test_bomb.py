# SPDX-License-Identifier: MIT
"""The bomb type: construction, attributes, and that it explodes wherever a tasklet would be given it."""

import sys

import pytest
import stackless

from support import run_script


def test_attributes_default_to_none():
    bomb = stackless.bomb()
    assert (bomb.type, bomb.value, bomb.traceback) == (None, None, None)


def test_attributes_hold_the_arguments():
    error = KeyError("x")
    bomb = stackless.bomb(KeyError, error)
    assert bomb.type is KeyError
    assert bomb.value is error
    assert bomb.traceback is None


def test_keywords():
    bomb = stackless.bomb(type=KeyError, value="v", traceback=None)
    assert (bomb.type, bomb.value) == (KeyError, "v")


def test_a_single_tuple_is_unpacked():
    try:
        raise KeyError("x")
    except KeyError:
        info = sys.exc_info()
    bomb = stackless.bomb(info)
    assert bomb.type is info[0]
    assert bomb.value is info[1]
    assert bomb.traceback is info[2]


@pytest.mark.parametrize("name", ["type", "value", "traceback"])
def test_attributes_are_read_only(name):
    bomb = stackless.bomb(KeyError)
    with pytest.raises((AttributeError, TypeError)):
        setattr(bomb, name, 1)
    assert bomb.type is KeyError


def test_too_many_arguments():
    with pytest.raises(TypeError):
        stackless.bomb(KeyError, None, None, 4)


@pytest.mark.parametrize(
    "args, expected",
    [
        ((KeyError,), ()),
        ((KeyError, 1), (1,)),
        ((KeyError, (1, 2)), (1, 2)),
        ((KeyError, KeyError("inst")), ("inst",)),
    ],
)
def test_explosion_in_schedule(args, expected):
    with pytest.raises(KeyError) as info:
        stackless.schedule(stackless.bomb(*args))
    assert info.value.args == expected


def test_explosion_by_channel():
    channel = stackless.channel()
    stackless.tasklet(channel.send)(stackless.bomb(KeyError, "sent"))
    with pytest.raises(KeyError):
        channel.receive()
    stackless.run()


def test_explosion_in_a_fresh_tasklet_by_tempval():
    """Planted before the first run: the function is never entered."""
    ran = []
    t = stackless.tasklet(ran.append)(1)
    t.tempval = stackless.bomb(KeyError, "planted")
    with pytest.raises(KeyError):
        stackless.run()
    assert ran == []
    assert not t.alive


def test_a_bomb_is_no_exception():
    assert not issubclass(stackless.bomb, BaseException)
    bomb = stackless.bomb(KeyError)
    assert [bomb][0] is bomb, "holding one is harmless"


def test_the_traceback_is_the_inner_part():
    def origin():
        raise KeyError("x")

    try:
        origin()
    except KeyError:
        bomb = stackless.bomb(sys.exc_info())
    with pytest.raises(KeyError) as info:
        stackless.schedule(bomb)
    assert "origin" in [entry.name for entry in info.traceback]


@pytest.mark.parametrize("state", [None, 1, [], (1, 2)])
def test_setstate_of_a_wrong_kind(state):
    with pytest.raises(TypeError):
        stackless.bomb().__setstate__(state)


def test_an_exception_reaches_main_without_memory():
    """Whatever allocation fails: what ends a tasklet is raised, and stays in no state for the next one."""
    pytest.importorskip("_testcapi")
    run_script("""
import _testcapi, stackless

def divide():
    1 / 0

def fails():
    stackless.tasklet(divide)()
    stackless.run()

for n in range(3):
    try:
        fails()
    except ZeroDivisionError:
        pass
for n in range(1, 60):
    try:
        fails()  # after a failure: there is something in reserve again
    except ZeroDivisionError:
        pass
    raised = None
    try:
        _testcapi.set_nomemory(n, n + 1)
        fails()
    except (ZeroDivisionError, MemoryError) as error:
        raised = type(error)
    finally:
        _testcapi.remove_mem_hooks()
    assert raised, n
    stackless.run()
    assert stackless.getruncount() == 1
""", env={"STACKLESS_THREADS": "1"})  # no other thread may meet the failure
