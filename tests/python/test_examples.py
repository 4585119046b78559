# SPDX-License-Identifier: MIT
"""Each program in examples/ runs, in both modes, and prints what it is expected to print.

The expected text of NAME.py is expected/NAME.txt, or NAME is in one of the tables below; an example without
either is an error. A new text is made by running the example and reading what it says.
"""

import ast
import difflib
import pathlib
import re

import pytest

from support import run_script

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
EXPECTED = pathlib.Path(__file__).resolve().parent / "expected"

# What is no fixed text: name -> pattern of the whole output.
PATTERNS = {"blocking": r"turns of the others while one tasklet slept: ([\d,]+)\n"}

# Not run here: name -> why.
ELSEWHERE = {
    "demo": "needs wrk; tools/demo runs it",
    "demo_load": "a part of demo.py",
    "http_app": "a part of the servers; tested by examples/test_http_app.py",
    "http_cli": "a part of the servers",
    "http_peers": "needs gevent; run by demo.py",
    "http_server": "serves for ever; run by demo.py",
    "test_http_app": "a test",
}

names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
to_run = [name for name in names if name not in ELSEWHERE]


def test_there_are_examples():
    assert len(to_run) >= 11


def test_no_expectation_is_left_over():
    known = {path.stem for path in EXPECTED.glob("*.txt")} | set(PATTERNS) | set(ELSEWHERE)
    assert known <= set(names), "expected, but not there"


def run(name, mode):
    code = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return run_script(code, env=mode, args=[EXAMPLES / (name + ".py")])


@pytest.mark.parametrize("name", to_run)
def test_output(name, mode):
    text = EXPECTED / (name + ".txt")
    assert text.exists() or name in PATTERNS, f"no expectation for examples/{name}.py"
    done = run(name, mode)
    if name in PATTERNS:
        assert re.fullmatch(PATTERNS[name], done.stdout), done.stdout
        return
    expected = text.read_text()
    assert done.stdout == expected, "\n".join(
        difflib.unified_diff(expected.splitlines(), done.stdout.splitlines(), "expected", "printed", lineterm=""))


def test_blocking_stops_nobody(many_threads):
    turns = re.fullmatch(PATTERNS["blocking"], run("blocking", {}).stdout)[1]
    assert int(turns.replace(",", "")) > 0


@pytest.mark.parametrize("name", to_run)
def test_says_what_it_shows_and_how_to_run_it(name):
    text = ast.get_docstring(ast.parse((EXAMPLES / (name + ".py")).read_text()))
    assert f"python examples/{name}.py" in text
    assert "Shows:" in text
