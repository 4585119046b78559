# SPDX-License-Identifier: MIT
"""The documentation names everything that is public, and its tutorial does what it says.

Whether the pages can be built is another question: `tools/check docs`.
"""

import contextlib
import importlib
import inspect
import io
import pathlib
import pkgutil
import re
import traceback

import pytest
import stackless

import support

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


# --- the reference

def documented():
    """{"module.name"} of what reference.rst describes, and of the classes whose members it lists, all."""
    names, with_members, module = set(), set(), "stackless"
    text = (DOCS / "reference.rst").read_text()
    for kind, what, options in re.findall(r"^\.\. (\w+):: (\S+)\n((?:   :.*\n)*)", text, re.M):
        members = re.search(r":members:(.*)", options)
        if kind in ("module", "automodule", "currentmodule"):
            module = what
            if members:
                listed = members[1].replace(",", " ").split()
                listed = listed or list(importlib.import_module(module).__all__)
                names.update(f"{module}.{name}" for name in listed)
                with_members.update(names)
        elif kind != "highlight":
            names.add(what if what.startswith("stackless.") and what != "stackless" else f"{module}.{what}")
            if members:
                with_members.add(f"{module}.{what}")
    return names, with_members


def public_modules():
    for module in pkgutil.iter_modules(stackless.__path__):
        if not module.name.startswith("_"):
            yield importlib.import_module("stackless." + module.name)


def public_names():
    """("module", "name", object) of all that is public, in the package and in its modules."""
    for name in dir(stackless):
        value = getattr(stackless, name)
        if not name.startswith("_") and not (inspect.ismodule(value) and value is not stackless):
            yield "stackless", name, value
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if getattr(value, "__module__", "").startswith("stackless"):  # not what others define
                yield module.__name__, name, value


def test_every_public_name_is_in_the_reference():
    names, _ = documented()
    missing = [f"{module}.{name}" for module, name, _ in public_names() if f"{module}.{name}" not in names]
    assert not missing, f"add them to docs/reference.rst: {missing}"


def test_every_public_module_is_in_the_reference():
    text = (DOCS / "reference.rst").read_text()
    missing = [module.__name__ for module in public_modules() if f"module:: {module.__name__}\n" not in text]
    assert not missing, f"add them to docs/reference.rst: {missing}"


def test_nothing_in_the_reference_is_gone():
    for name in documented()[0]:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def members(kind):
    return [(name, value) for name, value in vars(kind).items() if not name.startswith("_")]


def test_every_member_of_a_class_is_in_the_reference():
    """autodoc lists the members of a class that have a docstring."""
    _, with_members = documented()
    for module, name, value in public_names():
        if not inspect.isclass(value) or module != "stackless":
            continue
        if members(value) and not name.startswith("c"):     # cframe and cstack have nothing to say
            assert f"{module}.{name}" in with_members, f"{name} has members: add :members:"
        for member, what in members(value):
            if name not in ("cframe", "cstack"):
                assert inspect.getdoc(what), f"{name}.{member} has no docstring"


# --- the tutorial and the first example

def blocks(path):
    """(code, expected output) of each block of Python, in order; the output is the indented block below, if any."""
    pattern = r"```python\n(.*?)```\n(?:\n((?:    [^\n]*\n|\n(?=    ))+))?"
    for code, output in re.findall(pattern, path.read_text(), re.S):
        yield code, "".join(line[4:] or "\n" for line in output.splitlines(True))


def examples():
    return "\n".join(path.read_text() for path in sorted((ROOT / "examples").glob("*.py")))


@pytest.fixture
def no_tasklets_left():
    before = {id(tasklet) for tasklet in stackless.getuncollectables()}
    yield
    stackless.run()
    for tasklet in stackless.getuncollectables():  # blocked for ever on a channel that only it knows
        if id(tasklet) not in before and not tasklet.is_main:
            tasklet.kill()


def test_the_tutorial_prints_what_it_says(no_tasklets_left):
    """Each block is run, in one namespace, unless it is a part of an example, which has a test of its own."""
    sources = examples()
    namespace = {"__name__": "tutorial"}
    line = executed = 0
    for code, expected in blocks(DOCS / "tutorial.md"):
        if code in sources and code.count("\n") > 3:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile("\n" * line + code, "tutorial.py", "exec"), namespace)
            except Exception as error:
                printed.write("Traceback (most recent call last):\n  ...\n")
                printed.write("".join(traceback.format_exception_only(error)))
        line += code.count("\n")
        executed += 1
        if support.single_threaded() and "time.sleep" in code:
            continue    # where a blocking call stops everybody
        assert printed.getvalue() == expected, code
    assert executed >= 6


def test_the_first_example(mode):
    (code, _), = blocks(ROOT / "README.md")
    assert (code, "") in list(blocks(DOCS / "index.md")), "README.md and docs/index.md show different ones"
    done = support.run_script(code, env=mode)
    assert sorted(done.lines) == ["quick took 0.1 s", "slow took 0.3 s", "slower took 0.6 s"]
