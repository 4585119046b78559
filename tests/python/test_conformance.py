# SPDX-License-Identifier: MIT
"""Which tests hold each numbered item of docs/semantics.md, and tests of details that had none.

COVERED is checked against the page and against the files, so a new item needs a line and a renamed test is noticed. It
names the tests that would fail first, not all.
"""

import ast
import functools
import os
import pathlib
import re
import sys
import threading

import pytest
import stackless

from support import noop, run_script, wait_for

HERE = pathlib.Path(__file__).resolve().parent
SEMANTICS = HERE.parents[1] / "docs" / "semantics.md"

COVERED = {
    "1.1": "ring: running_tasklet_is_a_member, new_tasklets_go_to_the_end; lifetime: the_ring_holds_a_reference",
    "1.2": "ring: the_end_is_before_the_running_tasklet, removed_neighbours_close_the_ring",
    "1.3": "ring: running_one_in_the_middle_runs_those_behind_it_first, switching_leaves_ring_positions_alone",
    "1.4": "ring: successor_runs_when_a_tasklet_ends; deadlock: main_blocked_and_the_last_tasklet_ends",
    "1.5": "ring: run_returns_when_everything_blocks; deadlock: main_alone_blocks; threads: the_last_thread_to_park_is_told",
    "1.6": "threads: throw_across_threads, insert_wakes_a_parked_thread",
    "2": "package: star_import, everything_in_all_exists",
    "3.1": "run: run_accepts_all_its_parameters, run_threadblock_waits_for_another_thread; conformance: a_negative_timeout",
    "3.2": "run: schedule_returns_its_argument, schedule_returns_what_somebody_else_planted",
    "3.3": "run: schedule_remove_leaves_the_ring, schedule_remove_of_main_alone_returns_at_once",
    "3.4": "run: current_and_main, runcount_excludes_blocked_and_paused",
    "3.5": "thread_info: getcurrentid_of_main_is_the_thread_id, getcurrentid_of_tasklets",
    "3.6": "thread_info: getthreads_starts_with_the_initial_thread, getthreads_leaves_the_pool_out",
    "3.7": "thread_info: own_thread_info, bad_thread_ids, flags_append_more",
    "3.8": "atomic_traps: switch_trap_returns_the_previous_level, trapped_operations_change_nothing, not_trapped",
    "3.9": "callbacks: returns_the_old_one, bad_arguments",
    "3.10": "exceptions: error_handler_set_and_reset; conformance: the_handler_is_for_all_threads",
    "3.11": "thread_info: softswitch_is_never_on",
    "3.12": "pickle: pickle_flags, flags_of_threads",
    "3.13": "thread_info: getdebug, getuncollectables_lists_suspended_tasklets",
    "3.14": "thread_info: cframe_nr_schedules_that_often, outside_runs_what_is_runnable",
    "3.15": "atomic_traps: atomic_sets_the_flag_and_restores_it; conformance: atomic_ends_in_another_tasklet",
    "3.16": "bomb: a_single_tuple_is_unpacked, explosion_by_channel",
    "3.17": "pickle: cframe, cstate",
    "4.1": "tasklet: state_of_a_bare_tasklet, state_of_a_watchdog, state_of_a_blocked_sender; conformance: state_of_a_stray",
    "4.2": "tasklet: new_ignores_its_arguments, init_is_bind, internal_operations_do_not_call_overridden_methods",
    "4.3": "tasklet: bind_checks_its_types, bind_refuses_a_blocked_tasklet; conformance: a_bind_that_fails_changes_nothing",
    "4.4": "tasklet: setup_errors, setup_goes_to_the_end_of_the_ring; threads: setup_from_another_thread_goes_to_the_owner",
    "4.5": "tasklet: insert_of_a_scheduled_tasklet_does_not_move_it, insert_errors",
    "4.6": "tasklet: remove_unlinks_and_returns_the_tasklet, remove_errors; threads: remove_across_threads",
    "4.7": "tasklet: run_keeps_the_caller_in_the_ring; threads: run_on_a_busy_thread_makes_it_the_next",
    "4.8": "tasklet: switch_pauses_the_caller; threads: switch_across_threads_is_an_error",
    "4.9": "throw_kill: throw_normalises_the_value, throw_at_a_fresh_tasklet_raises_in_main; conformance: exit_thrown_at_a_dead_one",
    "4.10": "throw_kill: raise_exception, raise_exception_argument_errors",
    "4.11": "throw_kill: kill_of_a_fresh_scheduled_tasklet, killing_a_scheduled_one_runs_those_behind_it",
    "4.12": "tasklet_attributes: set_flag, set_flag_refuses_other_types, flags_are_not_inherited",
    "4.13": "thread_end: bind_thread_revives_a_fresh_tasklet, bind_thread_refuses, a_blocked_tasklet_may_be_rebound",
    "4.14": "tasklet_attributes: read_only, recursion_depth, nesting_level_and_restorable, tempval_is_writable_and_deletable",
    "5.1": "golden: channel_operation; conformance: preferences_do_not_matter_across_threads",
    "5.2": "channel: send_exception, send_throw, send_sequence, iteration_until_closed",
    "5.3": "channel: balance_and_queue, preference, schedule_all, close_and_open",
    "5.4": "thread_end: a_sender_to_a_receiver_whose_thread_has_ended",
    "6.1": "exceptions: tasklet_exit_type, tasklet_exit_ends_a_tasklet_silently; conformance: an_uncaught_kill_of_main",
    "6.2": "exceptions: main_gets_it_out_of_turn, the_innermost_watchdog_gets_it, mains_channel_operation_is_cancelled",
    "6.3": "exceptions: system_exit_in_a_plain_thread_is_swallowed, system_exit_surfaces_in_main_and_not_in_an_inner_watchdog",
    "6.4": "exceptions: error_handler_gets_the_exception; conformance: the_handler_does_not_see_system_exit",
    "6.5": "exceptions: a_new_tasklet_has_no_handled_exception, handled_exceptions_survive_switches",
    "7": "conformance: messages_are_tested",
    "9.1": "threads: each_thread_has_its_own_ring_and_main; atomic_traps: switch_trap_is_per_thread",
    "9.2": "threads: tasklets_run_in_the_thread_that_made_them",
    "9.3": "threads: an_exchange_across_threads_does_not_switch_locally",
    "9.4": "threads: kill_across_threads, switch_across_threads_is_an_error; thread_info: throw_at_a_tasklet_that_runs_in_another_thread",
    "9.5": "threads: main_waits_while_another_thread_lives, run_does_not_park_so_programs_poll",
    "9.6": "threads: main_blocked_and_its_last_tasklet_ends_despite_other_threads",
    "9.7": "threads: the_last_thread_to_park_is_told",
    "9.8": "thread_end: started_tasklets_are_killed_in_their_thread, what_works_without_a_thread, what_does_not_work_without_a_thread",
    "10": "trace: of_the_current_tasklet_it_is_that_of_sys, swapped_at_each_switch, of_a_tasklet_that_runs_in_another_thread",
    "10.1": "callbacks: each_switch, exception_is_printed_and_ignored, must_not_switch",
    "10.2": "callbacks: operations, before_the_checks",
    "11": "lifetime: dropping_a_started_tasklet_kills_it; conformance: one_that_refuses_to_die_is_flagged; exit: interpreter_exit",
    "12": "pickle: wire_format, started, channel_wire_format, bomb, module",
    "14": "context: set_context_before_the_start, context_run, context_id_is_the_identity_of_the_context",
    "15": "tasklet: the_whole_recursion_limit_is_available; conformance: switching_during_an_import",
    "16": "thread_info: softswitch_is_never_on; tasklet: bind_unwinds_a_started_paused_tasklet",
    "18.1": "conformance: state_of_a_stray; thread_info: getthreads_leaves_the_pool_out",
    "18.2": "ring: no_interleaving_between_scheduling_points; regressions: the_order_holds_beside_a_cpu_bound_thread",
    "18.3": "conformance: state_of_a_stray; atomic_traps: atomic_forbids_handing_the_lane_on; sleep_timeout: main_stays_on_the_main_thread",
    "18.4": "blocking: run_does_not_return_while_a_call_is_blocked, no_deadlock_while_a_call_is_blocked",
    "18.5": "blocking: kill_of_a_blocked_call_is_delivered_when_it_returns; throw_kill: thrown_at_a_stray_is_raised_when_its_call_returns",
    "18.7": "sleep_timeout: sleepers_wake_in_order_of_their_deadlines; wait: several_waiters_wake_in_order",
}

# Section 8 has tests of its own; the others say nothing, or of builds that are not there yet.
ELSEWHERE = ("8", "13", "17", "18.6")


def items():
    """The numbers of docs/semantics.md: its headings, bold items, and the list of section 18."""
    section = ""
    for line in SEMANTICS.read_text().splitlines():
        if found := re.match(r"## (\d+)\.", line):
            section = found[1]
            yield section
        elif found := re.match(r"(?:### |\*\*|\* \*\*)(\d+\.\d+)\b", line):
            yield found[1]
        elif section == "18" and (found := re.match(r"(\d)\. ", line)):
            yield f"18.{found[1]}"


@functools.cache
def names_in(name):
    tree = ast.parse((HERE / f"test_{name}.py").read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_item_has_a_test():
    found = set(items())
    assert len(found) > 50
    sections = {number.split(".")[0] for number in found if "." in number}
    missing = {number for number in found - set(COVERED) - sections if not number.startswith(ELSEWHERE)}
    assert not missing, f"no test is named for {sorted(missing)}"
    assert set(COVERED) <= found, f"no such item: {sorted(set(COVERED) - found)}"


@pytest.mark.parametrize("item", COVERED)
def test_the_tests_of_each_item_exist(item):
    for part in COVERED[item].split("; "):
        name, tests = part.split(": ")
        for test in tests.split(", "):
            assert f"test_{test}" in names_in(name), f"{item}: {test} is not in test_{name}.py"


def test_messages_are_tested():
    """7: programs match on them."""
    page = SEMANTICS.read_text()
    section = re.search(r"^## 7\..*?(?=^## 8)", page, re.M | re.S)[0]
    messages = re.findall(r'"([^"]+)"', section.replace("\n", " "))
    assert len(messages) > 12
    sources = "".join(path.read_text() for path in HERE.glob("test_*.py")).replace("\\", "")
    for message in messages:
        words = message.strip(".").split(" ")
        parts = [" ".join(words[start:start + 3]) for start in range(max(1, len(words) - 2))]
        assert any(part in sources for part in parts), f"no test has a part of {message!r}"


# ---- details that had no test ----


@pytest.mark.parametrize("timeout", [-1, -1000])
def test_a_negative_timeout(trace, timeout):
    """3.1: is none."""
    trace.logger("a")
    assert stackless.run(timeout) is None
    assert trace == ["a"]


def test_the_handler_is_for_all_threads():
    """3.10"""
    seen = []

    def body():
        stackless.tasklet(lambda: 1 / 0)()
        stackless.run()

    stackless.set_error_handler(lambda kind, value, tb: seen.append((kind, threading.current_thread())))
    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    finally:
        stackless.set_error_handler(None)
    assert seen == [(ZeroDivisionError, thread)]


def test_the_handler_need_not_be_callable_until_it_is_called():
    """3.10"""
    assert stackless.set_error_handler(5) is None
    try:
        stackless.tasklet(lambda: 1 / 0)()
        with pytest.raises(TypeError, match="not callable"):
            stackless.run()
    finally:
        assert stackless.set_error_handler(None) == 5


def test_atomic_ends_in_another_tasklet():
    """3.15: the saved flag is put back on whoever is current then."""
    guard, flags = stackless.atomic(), []

    def begins():
        guard.__enter__()
        stackless.schedule_remove()
        flags.append(stackless.getcurrent().atomic)

    def ends():
        stackless.getcurrent().set_atomic(True)
        guard.__exit__(None, None, None)
        flags.append(stackless.getcurrent().atomic)

    one = stackless.tasklet(begins)()
    stackless.run()
    stackless.tasklet(ends)()
    stackless.run()
    one.insert()
    stackless.run()
    assert flags == [False, True]


def test_state_of_a_stray(many_threads):
    """4.1, 18.1, 18.3: alive, but neither paused, scheduled nor blocked; the thread is still the scheduler's."""
    reading, writing = os.pipe()
    after = []

    def body():
        me = stackless.getcurrent()
        os.read(reading, 1)
        after.append((me is stackless.getcurrent(), me.thread_id, me.scheduled, me.paused))
        stackless.schedule()
        after.append((me is stackless.getcurrent(), me.thread_id, me.scheduled, me.paused))

    t = stackless.tasklet(body)()
    wait_for(lambda: stackless.stats()["strays"], "the call to block", pause=stackless.schedule)
    mine = stackless.getmain().thread_id
    assert (t.alive, t.paused, t.scheduled, t.blocked, t.is_current) == (True, False, False, False, False)
    assert t.thread_id == mine and t.next is None and t.prev is None and not t.is_main
    assert stackless.getruncount() == 1
    os.write(writing, b"x")
    stackless.run()
    os.close(reading)
    os.close(writing)
    assert after == [(True, mine, False, False), (True, mine, True, False)]


def test_a_bind_that_fails_changes_nothing():
    """4.3"""
    t = stackless.tasklet().bind(noop)
    for wrong in [(5,), (None, 5), (None, (), 5), (noop, [1])]:
        with pytest.raises(TypeError):
            t.bind(*wrong)
        assert t.tempval is noop and not t.alive
    fresh = stackless.tasklet(noop, (1,))
    with pytest.raises(TypeError):
        fresh.bind(noop, 5)
    assert fresh.alive and fresh.paused
    fresh.run()
    assert not fresh.alive


def test_exit_thrown_at_a_dead_one():
    """4.9: means nothing there, a subclass of it neither."""

    class Exit(TaskletExit):
        pass

    ended = stackless.tasklet(noop)()
    stackless.run()
    for t in (ended, stackless.tasklet(), stackless.tasklet(noop)):
        for kind in (TaskletExit, Exit):
            for pending in (False, True):
                assert t.throw(kind, pending=pending) is None
            assert t.raise_exception(kind) is None
        with pytest.raises(RuntimeError, match="dead"):
            t.throw(SystemExit)


@pytest.mark.parametrize("schedule_all", [0, 1])
@pytest.mark.parametrize("preference", [-1, 0, 1])
@pytest.mark.parametrize("sends", [True, False])
def test_preferences_do_not_matter_across_threads(trace, sends, preference, schedule_all):
    """5.1: the partner goes to its own ring, the caller goes on."""
    channel = stackless.channel()
    channel.preference, channel.schedule_all = preference, schedule_all

    def body():
        partner = stackless.tasklet(channel.receive if sends else lambda: channel.send("value"))()
        while partner.alive:
            stackless.run()

    thread = threading.Thread(target=body)
    thread.start()
    wait_for(lambda: channel.balance, "the partner")
    trace.logger("other")
    result = channel.send("value") if sends else channel.receive()
    trace.append("went on")
    stackless.run()
    thread.join()
    assert result == (None if sends else "value")
    assert trace == ["went on", "other"]


def test_an_uncaught_kill_of_main(mode):
    """6.1: ends the program as sys.exit() does."""
    script = """
        import stackless
        stackless.tasklet(stackless.getmain().kill)()
        stackless.run()
        print("not reached")
        """
    assert run_script(script, env=mode, status=0).lines == []


def test_the_handler_does_not_see_system_exit():
    """6.4"""
    seen = []
    stackless.set_error_handler(lambda *info: seen.append(info))
    try:
        stackless.tasklet(sys.exit)(3)
        with pytest.raises(SystemExit) as info:
            stackless.run()
    finally:
        stackless.set_error_handler(None)
    assert info.value.code == 3 and seen == []


def test_one_that_refuses_to_die_is_flagged():
    """11: bit 6 of its flags, and in gc.garbage."""
    script = """
        import gc, stackless, warnings
        warnings.simplefilter("ignore")
        def refuse():
            while True:
                try:
                    stackless.schedule_remove(None)
                except TaskletExit:
                    pass
        t = stackless.tasklet(refuse)()
        stackless.run()
        flags = t.__reduce__()[2][0]
        del t
        print(flags & 64, [(type(one).__name__, one.__reduce__()[2][0] & 64, one.alive) for one in gc.garbage])
        """
    assert run_script(script).lines == ["0 [('tasklet', 64, True)]"]


def test_switching_during_an_import(tmp_path, monkeypatch, trace):
    """15: but the import system's locks belong to an OS thread."""
    (tmp_path / "module_that_switches.py").write_text(
        "import stackless\nstackless.schedule()\nvalue = stackless.getcurrent()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def body():
        with stackless.pinned():
            import module_that_switches

        trace.append(module_that_switches.value is stackless.getcurrent())

    stackless.tasklet(body)()
    trace.logger("beside")
    stackless.run()
    del sys.modules["module_that_switches"]
    sys.path_importer_cache.pop(str(tmp_path), None)
    assert trace == ["beside", True]


def test_switching_in_an_asynchronous_generator(trace):
    """15"""

    async def numbers():
        for n in range(3):
            stackless.schedule()
            yield n

    async def collect():
        return [n async for n in numbers()]

    def body():
        coroutine = collect()
        try:
            coroutine.send(None)
        except StopIteration as end:
            trace.append(end.value)

    stackless.tasklet(body)()
    trace.logger("beside")
    stackless.run()
    assert trace == ["beside", [0, 1, 2]]
