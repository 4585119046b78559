# SPDX-License-Identifier: MIT
"""Nothing is lost: tests/leaks.py on a few modules and with few rounds; all of them and 200 rounds are for a developer's patience."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import support

LEAKS = pathlib.Path(__file__).resolve().parents[1] / "leaks.py"

LEAKY = """
import stackless

kept = []

def test_keeps_a_block():
    kept.append(float(len(kept)))

def test_keeps_a_tasklet():
    stackless.tasklet(stackless.channel().receive)()
    stackless.schedule()
"""


def leaks(*args):
    return subprocess.run([sys.executable, str(LEAKS), "-n", "20", *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))


@pytest.mark.limit(300)  # some seconds; more where others compute too
@pytest.mark.skipif(support.single_threaded(), reason="takes its time, once is enough")
def test_nothing_grows():
    done = leaks(*(LEAKS.parent / "python" / f"test_{name}.py" for name in ("ring", "channel", "throw_kill")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("flat ") == 3


@pytest.mark.limit(300)
@pytest.mark.skipif(support.single_threaded(), reason="takes its time, once is enough")
def test_a_leak_is_found(tmp_path):
    path = tmp_path / "test_leaky.py"
    path.write_text(LEAKY)
    done = leaks(path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.match(r"GROWS  test_leaky.py: 2 tests x 20 rounds: blocks=\d+\(\+[1-9].* tasklets=\d+\(\+1.00\) channels=\d+\(\+1.00\)",
                    done.stdout), done.stdout
