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

LEAKY_IN_C = """
import ctypes
import pytest

def test_keeps_what_malloc_gave():
    ctypes.CDLL(None).malloc(40)

@pytest.mark.grows("keeps a float", blocks=1)
def test_says_what_it_keeps():
    ctypes.pythonapi.PyFloat_FromDouble(ctypes.c_double(1.0))
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
    paths = [tmp_path / "test_leaky.py", tmp_path / "test_leaky_in_c.py"]
    for path, text in zip(paths, (LEAKY, LEAKY_IN_C)):
        path.write_text(text)
    done = leaks(*paths)
    assert done.returncode == 1, done.stdout + done.stderr
    in_python, in_c = done.stdout.splitlines()[-2:]
    assert re.match(r"GROWS  test_leaky.py: 2 tests x 20 rounds: blocks=\d+\(\+[1-9].* tasklets=\d+\(\+1.00\) channels=\d+\(\+1.00\)",
                    in_python), done.stdout
    counted = "no C compiler" not in done.stdout
    assert re.match(r"{} test_leaky_in_c.py: 2 tests x 20 rounds .known: 1 keeps a float.: blocks=\d+\(\+1.00\) .* {}".format(
        *(("GROWS ", r"mallocs=\d+\(\+1.00\) heap=\d+\(\+40.00\)") if counted else ("flat  ", "mallocs=0"))), in_c), done.stdout
