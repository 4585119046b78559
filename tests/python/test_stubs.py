# SPDX-License-Identifier: MIT
"""The type stubs: right by themselves, the same as the module, and what a typed program needs; by mypy, where it is installed."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import stackless

import support

FOLDER = pathlib.Path(stackless.__file__).parent
TYPED_USE = pathlib.Path(__file__).resolve().parent / "typed_use.py"

pytestmark = [
    pytest.mark.limit(300),  # mypy computes for some seconds; on a loaded machine for many
    pytest.mark.skipif(not importlib.util.find_spec("mypy"), reason="mypy is not installed"),
    pytest.mark.skipif(support.single_threaded(), reason="types are the same in both modes"),
]

# Where the stubs and the module may differ, and why.
DIFFERENCES = r"""
# A command, not a module for programs.
stackless\.__main__
# The standard module's own, whose stub is not complete either.
stackless\.socket\.__all__
# Its constants: which there are depends on what an interpreter was built with.
stackless\.socket\.[A-Z][A-Z0-9_]+
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """The stubs alone: mypy would check the sources beside them too."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stackless").mkdir()
    for path in [*FOLDER.glob("*.pyi"), FOLDER / "py.typed"]:
        shutil.copy(path, folder / "stackless")
    return folder


def mypy(module, stubs, *args):
    return subprocess.run([sys.executable, "-m", module, *map(str, args)], cwd=stubs, env=dict(os.environ, MYPYPATH=str(stubs)),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def strict(stubs, *args):
    return mypy("mypy", stubs, "--strict", "--cache-dir", stubs / "cache", "--no-error-summary", *args)


def test_the_stubs_are_strict(stubs):
    done = strict(stubs, stubs / "stackless")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stubs_agree_with_the_module(stubs):
    allowed = stubs / "differences"
    allowed.write_text(DIFFERENCES)
    done = mypy("mypy.stubtest", stubs, "stackless", "--concise", "--allowlist", allowed, "--ignore-unused-allowlist")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_typed_program(stubs):
    done = strict(stubs, TYPED_USE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_typed_program_runs():
    support.run_script(TYPED_USE.read_text())


def test_mistakes_are_found(stubs):
    """Each line with a comment is an error of that kind, no other line is."""
    source = """
import stackless
from stackless import socket

stackless.channel[int]().send("text")  # arg-type
stackless.channel[int]().send()  # call-arg
stackless.tasklet(5)  # arg-type
stackless.tasklet(print, [1])  # arg-type
stackless.getcurrent().alive = True  # misc
stackless.getcurrent().nothing  # attr-defined
number: int = stackless.channel[str]().receive()  # assignment
stackless.sleep("1")  # arg-type
stackless.TaskletGroup().spawn(len, 5)  # arg-type
stackless.nothing  # attr-defined
socket.nothing  # attr-defined
socket.AF_INET
class Sub(stackless.atomic): ...  # misc
"""
    path = stubs / "mistakes.py"
    path.write_text(source)
    done = strict(stubs, path)
    found = set(re.findall(r"mistakes\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.M))
    expected = {(str(number), line.rpartition("  # ")[2]) for number, line in enumerate(source.splitlines(), 1) if "  # " in line}
    assert found == expected, done.stdout + done.stderr
