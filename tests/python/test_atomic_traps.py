# SPDX-License-Identifier: MIT
"""atomic, switch_trap and block_trap: what they forbid, and that a refused operation changes nothing."""

import threading
import time

import pytest
import stackless

from support import noop


@pytest.fixture
def trap():
    """switch_trap raised for the body of the test."""
    stackless.switch_trap(1)
    yield
    stackless.switch_trap(-1)


def snapshot(*tasklets):
    return [(t.alive, t.paused, t.scheduled, t.blocked, t.next, t.prev, t.tempval) for t in tasklets]


# atomic


def test_atomic_sets_the_flag_and_restores_it():
    current = stackless.getcurrent()
    with stackless.atomic() as result:
        assert result is None
        assert current.atomic
        with stackless.atomic():
            assert current.atomic
        assert current.atomic
    assert not current.atomic


def test_atomic_restores_a_flag_that_was_set():
    current = stackless.getcurrent()
    current.set_atomic(True)
    with stackless.atomic():
        pass
    assert current.set_atomic(False) is True


def test_atomic_is_reusable():
    guard = stackless.atomic()
    for _ in range(3):
        with guard:
            assert stackless.getcurrent().atomic
        assert not stackless.getcurrent().atomic


def test_atomic_ends_with_an_exception():
    with pytest.raises(LookupError):
        with stackless.atomic():
            raise LookupError
    assert not stackless.getcurrent().atomic


def test_atomic_takes_no_arguments():
    with pytest.raises(TypeError):
        stackless.atomic(1)


def test_atomic_belongs_to_the_tasklet(trace):
    def body():
        trace.append(stackless.getcurrent().atomic)

    with stackless.atomic():
        stackless.tasklet(body)()
        stackless.schedule()
        assert stackless.getcurrent().atomic
    assert trace == [False]


def test_atomic_allows_voluntary_switches(trace):
    channel = stackless.channel()

    def body():
        with stackless.atomic():
            trace.append("atomic")
            stackless.schedule()
            trace.append(channel.receive())

    stackless.tasklet(body)()
    trace.logger("other")
    stackless.run()
    assert trace == ["atomic", "other"]
    channel.send("value")
    assert trace[-1] == "value"


def test_atomic_forbids_handing_the_lane_on(trace, many_threads):
    turns = []

    def spin():
        while True:
            turns.append(time.monotonic())
            stackless.schedule()

    spinner = stackless.tasklet(spin)()
    stackless.schedule()
    with stackless.atomic():
        before = len(turns)
        time.sleep(0.2)
        assert len(turns) == before
    spinner.kill()


def test_switch_trap_forbids_handing_the_lane_on(many_threads):
    turns = []

    def spin():
        while True:
            turns.append(1)
            stackless.schedule()

    spinner = stackless.tasklet(spin)()
    stackless.schedule()
    stackless.switch_trap(1)
    try:
        before = len(turns)
        time.sleep(0.2)
        after = len(turns)
    finally:
        stackless.switch_trap(-1)
    assert after == before
    spinner.kill()


# switch_trap


def test_switch_trap_returns_the_previous_level():
    assert stackless.switch_trap() == 0
    assert stackless.switch_trap(1) == 0
    assert stackless.switch_trap(2) == 1
    assert stackless.switch_trap() == 3
    assert stackless.switch_trap(-3) == 3
    assert stackless.switch_trap(-1) == 0
    assert stackless.switch_trap(1) == -1
    assert stackless.switch_trap(0) == 0


def test_switch_trap_argument_errors():
    for wrong in ("x", None, 1.5):
        with pytest.raises(TypeError):
            stackless.switch_trap(wrong)
    with pytest.raises(TypeError):
        stackless.switch_trap(1, 2)
    assert stackless.switch_trap() == 0


def test_a_negative_level_traps_too():
    t = stackless.tasklet(noop)()
    stackless.switch_trap(-1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            stackless.schedule()
    finally:
        stackless.switch_trap(1)
    stackless.run()
    assert not t.alive


def test_switch_trap_is_per_thread(trap):
    results = []

    def body():
        stackless.tasklet(results.append)(stackless.switch_trap())
        stackless.run()

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert results == [0]


TRAPPED = {
    "schedule": lambda t, c: stackless.schedule(),
    "schedule_remove": lambda t, c: stackless.schedule_remove(),
    "run": lambda t, c: stackless.run(),
    "tasklet.run": lambda t, c: t.run(),
    "tasklet.switch": lambda t, c: t.switch(),
    "tasklet.kill": lambda t, c: t.kill(),
    "tasklet.throw": lambda t, c: t.throw(LookupError),
    "tasklet.raise_exception": lambda t, c: t.raise_exception(LookupError),
    "blocking receive": lambda t, c: c.receive(),
    "blocking send": lambda t, c: c.send(1),
    "sleep": lambda t, c: stackless.sleep(0.01),
}


@pytest.mark.parametrize(
    "name, target",
    [(name, "scheduled") for name in TRAPPED] + [(name, "paused") for name in TRAPPED if name.startswith("tasklet.")],
)
def test_trapped_operations_change_nothing(name, target):
    t = stackless.tasklet(noop)() if target == "scheduled" else stackless.tasklet(noop, ())
    other = stackless.tasklet(noop)()
    channel = stackless.channel()
    current = stackless.getcurrent()
    before = snapshot(current, t, other)
    count = stackless.getruncount()
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            TRAPPED[name](t, channel)
    finally:
        stackless.switch_trap(-1)
    assert snapshot(current, t, other) == before
    assert stackless.getruncount() == count
    assert channel.balance == 0 and channel.queue is None
    stackless.run()
    t.kill()
    assert not t.alive and not other.alive


@pytest.mark.parametrize("operation", ["kill", "throw"])
def test_trapped_operation_leaves_a_blocked_target_in_place(operation):
    channel = stackless.channel()
    tasklets = [stackless.tasklet(channel.receive)() for _ in range(3)]
    stackless.run()
    before = snapshot(*tasklets)
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            tasklets[1].kill() if operation == "kill" else tasklets[1].throw(LookupError)
    finally:
        stackless.switch_trap(-1)
    assert snapshot(*tasklets) == before
    assert channel.balance == -3
    for _ in tasklets:
        channel.send(None)


@pytest.mark.parametrize("operation, preference", [("send", -1), ("receive", 1)])
def test_trapped_exchange_that_prefers_the_partner(operation, preference):
    channel = stackless.channel()
    channel.preference = preference
    if operation == "send":
        partner = stackless.tasklet(channel.receive)()
    else:
        partner = stackless.tasklet(channel.send)("value")
    stackless.run()
    before = snapshot(partner, stackless.getcurrent())
    balance = channel.balance
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="switch_trap"):
            channel.send("mine") if operation == "send" else channel.receive()
    finally:
        stackless.switch_trap(-1)
    assert channel.balance == balance
    assert snapshot(partner, stackless.getcurrent()) == before
    assert channel.queue is partner
    if operation == "send":
        channel.send("again")
    else:
        assert channel.receive() == "value"
    stackless.run()
    assert not partner.alive


def test_not_trapped(trap, trace):
    t = stackless.tasklet(trace.append, ("t",))
    assert stackless.schedule("alone") == "alone"
    assert stackless.getcurrent().run() is None
    t.insert()
    t.remove()
    t.insert()
    channel = stackless.channel()
    channel.preference = 1
    victim = stackless.tasklet(noop)()
    victim.throw(LookupError, pending=True)
    victim.kill(pending=True)
    stackless.switch_trap(-1)
    stackless.run()
    receiver = stackless.tasklet(lambda: trace.append(channel.receive()))()
    stackless.run()
    stackless.switch_trap(1)
    channel.send("sender continues")
    assert trace == ["t"]
    assert receiver.scheduled
    stackless.switch_trap(-1)
    stackless.run()
    stackless.switch_trap(1)
    assert trace == ["t", "sender continues"]


def test_target_checks_come_before_the_trap(trap):
    dead = stackless.tasklet()
    with pytest.raises(RuntimeError, match="dead"):
        dead.run()
    with pytest.raises(RuntimeError, match="dead"):
        dead.switch()
    with pytest.raises(RuntimeError, match="dead"):
        dead.throw(LookupError)
    assert dead.kill() is None


def test_blocked_check_comes_before_the_trap():
    channel = stackless.channel()
    t = stackless.tasklet(channel.receive)()
    stackless.run()
    stackless.switch_trap(1)
    try:
        with pytest.raises(RuntimeError, match="blocked"):
            t.run()
        with pytest.raises(RuntimeError, match="blocked"):
            t.switch()
    finally:
        stackless.switch_trap(-1)
    channel.send(None)


def test_trapped_run_restores_the_caller_in_a_tasklet(trace):
    def body():
        stackless.tasklet(noop)()
        stackless.switch_trap(1)
        try:
            stackless.run()
        except RuntimeError as error:
            trace.append(str(error))
        finally:
            stackless.switch_trap(-1)
        trace.append(stackless.getcurrent().scheduled)

    stackless.tasklet(body)()
    stackless.run()
    assert trace == ["switch_trap", True]
    stackless.run()


# block_trap


@pytest.mark.parametrize("operation", ["send", "receive"])
def test_block_trap_refuses_to_block(operation):
    channel = stackless.channel()
    current = stackless.getcurrent()
    other = stackless.tasklet(noop)()
    current.block_trap = True
    try:
        with pytest.raises(RuntimeError, match=r"this tasklet does not like to be blocked\."):
            channel.send(1) if operation == "send" else channel.receive()
        assert other.alive, "nobody ran"
        assert channel.balance == 0
    finally:
        current.block_trap = False
    stackless.run()


def test_block_trap_allows_what_does_not_block(trace):
    channel = stackless.channel()
    current = stackless.getcurrent()
    stackless.tasklet(lambda: trace.append(channel.receive()))()
    stackless.run()
    current.block_trap = True
    try:
        channel.send("fine")
        stackless.schedule()
    finally:
        current.block_trap = False
    assert trace == ["fine"]


def test_block_trap_does_not_affect_schedule_remove(trace):
    def body():
        stackless.getcurrent().block_trap = True
        stackless.schedule_remove()
        trace.append("back")

    t = stackless.tasklet(body)()
    stackless.run()
    assert t.paused and t.block_trap
    t.run()
    assert trace == ["back"]


def test_block_trap_comes_before_closing():
    channel = stackless.channel()
    channel.close()
    current = stackless.getcurrent()
    current.block_trap = True
    try:
        with pytest.raises(RuntimeError, match="does not like to be blocked"):
            channel.receive()
    finally:
        current.block_trap = False
    with pytest.raises(ValueError):
        channel.receive()


def test_block_trap_of_one_does_not_touch_another(trace):
    channel = stackless.channel()
    stackless.getcurrent().block_trap = True
    try:
        t = stackless.tasklet(channel.receive)()
        stackless.run()
        assert t.blocked and not t.block_trap
        channel.send(None)
    finally:
        stackless.getcurrent().block_trap = False
