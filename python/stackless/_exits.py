# SPDX-License-Identifier: MIT
"""The report of a tasklet that swallows TaskletExit: which except clause it was.

Called by the extension module (exits.c), which finds out that it happened.
"""

import builtins
import dis
import warnings

from ._stackless import TaskletExit

_registry = {}  # each place is reported once, under the default filter


def _catches(name, frame):
    """Whether `except name` catches TaskletExit, and whether it says so."""
    for namespace in (frame.f_globals, vars(builtins)):
        if name in namespace:
            found = namespace[name]
            break
    else:
        return name == "TaskletExit", name == "TaskletExit"  # an attribute: stackless.TaskletExit
    kinds = found if isinstance(found, tuple) else (found,)
    kinds = [kind for kind in kinds if isinstance(kind, type)]
    return any(issubclass(TaskletExit, kind) for kind in kinds), TaskletExit in kinds


def _in_handler(instructions, at, frame):
    """(line, explicit) of the clause that catches, or the offset where the handler raises on."""
    names = []
    while at < len(instructions):
        one = instructions[at]
        if one.opname == "POP_TOP" and not names:  # a bare except; others match first
            return one.positions.lineno, False
        if one.opname == "CHECK_EXC_MATCH":
            answers = [_catches(name, frame) for name in names]
            if any(caught for caught, _ in answers):
                return one.positions.lineno, any(explicit for _, explicit in answers)
            at += 1
            while not instructions[at].opname.startswith("POP_JUMP"):
                at += 1
            target = instructions[at].argval
            at = next(i for i, other in enumerate(instructions) if other.offset == target)
            names = []
            continue
        if one.opname == "RERAISE":
            return one.offset
        if one.opname.startswith("LOAD_") and isinstance(one.argval, str):
            names.append(one.argval)
        elif one.opname not in ("PUSH_EXC_INFO", "NOT_TAKEN", "BUILD_TUPLE"):
            names.append("")  # the block of a finally or with: it raises on at its end
        at += 1
    return None


def _clause(frame, offset):
    """(line, explicit) of the except clause of frame that caught what was raised at offset."""
    code = dis.Bytecode(frame.f_code)
    instructions = list(code)
    for _ in range(32):  # nested blocks
        target = next((e.target for e in code.exception_entries if e.start <= offset < e.end), None)
        if target is None:
            return None
        at = next(i for i, one in enumerate(instructions) if one.offset >= target)
        found = _in_handler(instructions, at, frame)
        if isinstance(found, tuple):
            return found
        if found is None or found == offset:
            return None
        offset = found
    return None


def _place(tasklet, exit):
    """(file, line, explicit): the clause, or the line that was interrupted, or where the tasklet is now."""
    traceback = exit.__traceback__ if exit is not None else None
    if traceback is None:
        frame = tasklet.frame
        return (frame.f_code.co_filename, frame.f_lineno, False) if frame is not None else ("<unknown>", 1, False)
    frame = traceback.tb_frame
    try:
        clause = _clause(frame, traceback.tb_lasti)
    except Exception:  # bytecode of a version that is not known: the line is less exact then
        clause = None
    line, explicit = clause or (traceback.tb_lineno, False)
    return frame.f_code.co_filename, line or traceback.tb_lineno, explicit


def report(tasklet, exit):
    """Warn, with the place, unless the program says TaskletExit there: then it is meant."""
    file, line, explicit = _place(tasklet, exit)
    if explicit:
        return
    place = f", created at {tasklet.created_at}," if tasklet.created_at else ""
    warnings.warn_explicit(
        f"tasklet {tasklet.name!r}{place} has swallowed TaskletExit here and lives on. 'except Exception' lets it "
        "pass; a bare 'except' or 'except BaseException' should raise it again",
        RuntimeWarning, file, line, registry=_registry)
