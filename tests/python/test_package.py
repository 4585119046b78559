# SPDX-License-Identifier: MIT
"""The package as installed: star import, names and their kinds, docstrings, type stubs that match."""

import ast
import inspect
import pathlib
import types

import pytest
import stackless

STAR = ["atomic", "getmain", "tasklet", "stackless", "run", "schedule", "getruncount", "schedule_remove", "getcurrent", "channel"]
FUNCTIONS = ["getcurrent", "getmain", "getruncount", "run", "schedule", "schedule_remove", "set_error_handler", "set_schedule_callback",
             "set_channel_callback", "switch_trap", "select", "sleep", "wait", "stats"]
TYPES = ["tasklet", "channel", "bomb", "atomic", "TaskletExit"]
OURS = ["timeout", "pinned"]
PROPERTIES = ["current", "main", "runcount"]

FOLDER = pathlib.Path(stackless.__file__).parent
STUB = FOLDER / "__init__.pyi"


def test_star_import():
    namespace = {}
    exec("from stackless import *", namespace)
    for name in STAR:
        assert name in namespace, name
        assert namespace[name] is getattr(stackless, name), name
    assert not [name for name in namespace if name.startswith("_") and name != "__builtins__"]


def test_star_import_does_not_hide_builtins():
    import builtins

    ours = set(stackless.__all__) & set(dir(builtins))
    assert ours <= {"TaskletExit"}


def test_everything_in_all_exists():
    assert len(set(stackless.__all__)) == len(stackless.__all__)
    for name in stackless.__all__:
        assert hasattr(stackless, name), name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert callable(getattr(stackless, name))
    assert not isinstance(getattr(stackless, name), type)


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    assert isinstance(getattr(stackless, name), type)


@pytest.mark.parametrize("name", ["tasklet", "channel"])
def test_types_are_subclassable(name):
    class Sub(getattr(stackless, name)):
        pass

    assert isinstance(Sub(), getattr(stackless, name))


def test_the_module_names_itself():
    assert stackless.stackless is stackless
    assert stackless.__reduce__() == "stackless"


def test_kinds_of_the_members_of_tasklet():
    attributes = "alive paused scheduled blocked atomic block_trap is_main is_current thread_id next prev frame tempval recursion_depth nesting_level"
    for name in attributes.split():
        assert inspect.isdatadescriptor(inspect.getattr_static(stackless.tasklet, name)), name
    for name in "bind setup insert remove run switch throw raise_exception kill set_atomic set_ignore_nesting pin".split():
        assert inspect.isroutine(getattr(stackless.tasklet, name)), name


def test_kinds_of_the_members_of_channel():
    for name in "balance closing closed queue preference schedule_all".split():
        assert inspect.isdatadescriptor(inspect.getattr_static(stackless.channel, name)), name
    for name in "send receive send_exception send_throw send_sequence close open".split():
        assert inspect.isroutine(getattr(stackless.channel, name)), name


def public_names():
    names = {name for name in dir(stackless) if not name.startswith("_")}
    return {name for name in names if not isinstance(getattr(stackless, name), types.ModuleType)}


@pytest.mark.parametrize("name", sorted(name for name in public_names() - set(PROPERTIES) if callable(getattr(stackless, name))))
def test_docstring_of_each_public_name(name):
    assert inspect.getdoc(getattr(stackless, name)), name


@pytest.mark.parametrize("name", OURS)
def test_context_managers_of_ours(name):
    assert name in public_names()


@pytest.mark.parametrize("name", ["tasklet", "channel", "bomb", "atomic"])
def test_docstring_of_each_public_member(name):
    kind = getattr(stackless, name)
    for member, thing in vars(kind).items():
        if not member.startswith("_"):
            assert inspect.getdoc(thing), f"{name}.{member}"


def test_docstrings_are_not_the_bases():
    assert stackless.tasklet.__doc__ != object.__doc__
    assert stackless.TaskletExit.__doc__ != SystemExit.__doc__
    assert stackless.__doc__


def test_typed_marker_is_shipped():
    assert (FOLDER / "py.typed").is_file()


def stubs():
    return sorted(FOLDER.glob("*.pyi"))


def test_stubs_are_shipped():
    assert STUB in stubs()


@pytest.mark.parametrize("path", stubs(), ids=lambda path: path.name)
def test_stubs_compile(path):
    compile(path.read_text(), str(path), "exec", ast.PyCF_ONLY_AST)


def defined_in(body):
    """Names that a stub's block defines, through conditions too."""
    names = {}
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    names[target.id] = node
        elif isinstance(node, ast.If):
            names.update(defined_in(node.body))
            names.update(defined_in(node.orelse))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.asname and alias.asname == alias.name:
                    names[alias.asname] = node  # "import x as x" re-exports
    return names


def stub_names():
    return defined_in(ast.parse(STUB.read_text()).body)


def is_type_variable(node):
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)


def test_the_stub_and_the_module_have_the_same_names():
    stub = {name for name, node in stub_names().items() if not name.startswith("_") and not is_type_variable(node)}
    missing = public_names() - stub - {"stackless"}
    assert not missing, f"not in the stub: {sorted(missing)}"
    for name in stub:
        assert hasattr(stackless, name), f"only in the stub: {name}"


@pytest.mark.parametrize("name", ["tasklet", "channel", "bomb", "atomic"])
def test_the_stub_and_the_type_have_the_same_members(name):
    node = stub_names()[name]
    assert isinstance(node, ast.ClassDef)
    stub = {member for member in defined_in(node.body) if not member.startswith("_")}
    real = {member for member in vars(getattr(stackless, name)) if not member.startswith("_")}
    assert stub == real


def test_parameters_of_the_stub_are_accepted():
    """Where the runtime signature is known, its parameters are those of the stub."""
    checked = 0
    for name, node in stub_names().items():
        thing = getattr(stackless, name, None)
        if not isinstance(node, ast.FunctionDef) or not callable(thing) or node.decorator_list:
            continue
        try:
            signature = inspect.signature(thing)
        except ValueError:
            continue
        arguments = node.args
        stub = [argument.arg for argument in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        real = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        assert [argument.lstrip("_") for argument in stub] == [argument.lstrip("_") for argument in real], name
        checked += 1
    assert checked > 0


def test_socket_is_importable():
    from stackless import socket

    for name in ("socket", "create_connection", "create_server", "socketpair", "timeout", "error", "AF_INET", "SOCK_STREAM"):
        assert hasattr(socket, name), name
