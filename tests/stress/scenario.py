# SPDX-License-Identifier: MIT
"""Runs a stress scenario: a child interpreter that repeats seeded rounds until its time is up.

It prints what it counted; a clean end, silence on stderr and at least one round are required. A hang is made to
dump all stacks and fails. STACKLESS_STRESS_SECONDS (default 5) is the time per scenario, STACKLESS_STRESS_SEED
(default: a new one, printed) makes a run repeat its decisions.
"""

import os
import random
import signal
import subprocess
import sys
import textwrap

import pytest

SECONDS = float(os.environ.get("STACKLESS_STRESS_SECONDS") or 5)
SEED = int(os.environ.get("STACKLESS_STRESS_SEED") or random.SystemRandom().randrange(2**32))
GRACE = 60.0  # seconds beyond the time that a scenario is given

COMMON = """
import gc, os, random, sys, threading, time
import stackless

seconds, seed = float(sys.argv[1]), int(sys.argv[2])
end = time.monotonic() + seconds
rounds = 0

def goes_on():
    # at least one round, however slow the machine is
    return not rounds or time.monotonic() < end

class Thrown(Exception):
    pass

def check_clean():
    assert stackless.current is stackless.main
    assert stackless.runcount == 1, stackless.runcount
"""


def run(code, threads, tmp_path):
    script = tmp_path / "scenario.py"
    script.write_text(COMMON + textwrap.dedent(code))
    env = dict(os.environ)
    env.pop("STACKLESS_THREADS", None)
    if threads:
        env["STACKLESS_THREADS"] = threads
    print(f"seed {SEED}, {SECONDS} s")
    child = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", str(script), str(SECONDS), str(SEED)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    try:
        out, err = child.communicate(timeout=SECONDS + GRACE)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGABRT)
        try:
            out, err = child.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            out, err = child.communicate()
        pytest.fail(f"hang with seed {SEED}\n{out}\n{err}")
    assert child.returncode == 0, f"status {child.returncode} with seed {SEED}\n{out}\n{err}"
    # that all threads are blocked may be true here, and saying so is right
    complaints = [line for line in err.split("\n") if line and "STACKLESS_THREADS" not in line]
    assert not complaints, f"seed {SEED}\n{err}"
    last = out.strip().split("\n")[-1]
    print(last)
    assert last.startswith("ok "), out
    assert int(last.split()[1]) > 0, "no round was completed"
