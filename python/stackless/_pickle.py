# SPDX-License-Identifier: MIT
"""The pickled form of tasklets and channels, as in Stackless Python 3.8; frames are descriptions only.

Called by the methods in pickle.c. A state that something could be lost from is an error where it is dumped.
"""

import copyreg
import sys

from . import _stackless
from ._inert import cframe, describe, stopped

PRESERVE_TRACING_STATE, PICKLE_CONTEXT = 1, 8
ATOMIC, IGNORE_NESTING, BLOCK_TRAP, ZOMBIE = 4, 8, 32, 64  # bits 0 and 1: 1 sends, 3 receives
CLOSING, SCHEDULE_ALL = 1, 8  # bits 1 and 2: the preference

_stackless._set_stopped_type(stopped)


def _flags():
    """This thread's pickle flags; an assignment to the deprecated module attribute counts for its bit."""
    flags = _stackless.pickle_flags()
    assigned = vars(sys.modules["stackless"]).get("pickle_with_tracing_state")
    if assigned is None:
        return flags
    return flags | PRESERVE_TRACING_STATE if assigned else flags & ~PRESERVE_TRACING_STATE


def _extras(one, **more):
    """What Stackless Python loses: the attributes of an instance of a subclass."""
    found = {key: value for key, value in more.items() if value}
    attributes = getattr(one, "__dict__", None)
    if attributes:
        found["attributes"] = attributes
    return found


# tasklets


def _frames(tasklet):
    """(frames, nesting level): how far the tasklet has got."""
    parts = _stackless._parts(tasklet)
    if parts is None:
        return describe(tasklet.frame) if tasklet.alive else [], tasklet.nesting_level
    if isinstance(parts[0], stopped):
        return parts[0].frames, parts[0].nesting_level
    return [cframe(*parts)], 0


def reduce_tasklet(tasklet):
    direction = 0
    if tasklet.blocked:
        direction = 1 if tasklet._channel.balance > 0 else 3
    bits = direction + ATOMIC * tasklet.atomic + IGNORE_NESTING * tasklet.ignore_nesting + BLOCK_TRAP * tasklet.block_trap
    bits += ZOMBIE * _stackless._is_zombie(tasklet)
    frames, level = _frames(tasklet)
    flags = _flags()
    profile = trace = None
    if flags & PRESERVE_TRACING_STATE:
        profile, trace = tasklet.profile_function, tasklet.trace_function
    context = None
    if flags & PICKLE_CONTEXT:
        context = _stackless._get_context(tasklet)
    state = (bits, tasklet.tempval, level, frames, None, None, None, None, 0, 0, profile, trace)
    has_started = bool(frames) and not isinstance(frames[0], cframe)
    extras = _extras(tasklet, name=_stackless._own_name(tasklet) or has_started and tasklet.name)
    if context is not None or extras:
        state += (context,)
    if extras:
        state += (extras,)
    return type(tasklet), (), state


def restore_tasklet(tasklet, state):
    if tasklet.alive:
        raise RuntimeError("tasklet is alive")
    if not isinstance(state, tuple) or len(state) < 8:
        raise TypeError("the state of a tasklet is a tuple of 8 items or more")
    bits, tempval, level, frames = state[:4]
    profile, trace, context, extras = (state[10:] + (None,) * 4)[:4] if len(state) >= 12 else (None, None, None, None)
    extras = extras or {}
    tasklet.set_atomic(bool(bits & ATOMIC))
    tasklet.set_ignore_nesting(bool(bits & IGNORE_NESTING))
    tasklet.block_trap = bool(bits & BLOCK_TRAP)
    if not frames:
        tasklet.bind(None)
        tasklet.tempval = tempval
    elif isinstance(frames[0], cframe):
        tasklet.bind(frames[0].obj1, frames[0].obj2, frames[0].obj3 or {})
        tasklet.tempval = tempval
    else:
        tasklet.bind(stopped(frames, level, extras.get("name", "")), ())
        tasklet.tempval = tempval
    if "name" in extras:
        tasklet.name = extras["name"]
    if "attributes" in extras:
        vars(tasklet).update(extras["attributes"])
    for name, function in (("profile_function", profile), ("trace_function", trace)):
        if function is not None:
            setattr(tasklet, name, function)
    if context is not None:
        tasklet.set_context(context)
    return tasklet


# channels


def reduce_channel(channel):
    waiting = []
    tasklet = channel.queue
    while tasklet is not None:
        waiting.append(tasklet)
        tasklet = tasklet.next
    bits = CLOSING * channel.closing + 2 * (channel.preference & 3) + SCHEDULE_ALL * bool(channel.schedule_all)
    state = (channel.balance, bits, waiting)
    extras = _extras(channel, values=_stackless._buffered(channel))
    if extras:
        state += (extras,)
    if channel.capacity:
        return copyreg.__newobj_ex__, (type(channel), (), {"capacity": channel.capacity}), state
    return type(channel), (), state


def restore_channel(channel, state):
    if channel.queue is not None or _stackless._buffered(channel):
        raise RuntimeError("the channel is in use")
    if not isinstance(state, tuple) or len(state) < 3:
        raise TypeError("the state of a channel is a tuple of 3 items or more")
    balance, bits, waiting = state[:3]
    extras = state[3] if len(state) > 3 else {}
    for tasklet in waiting:
        if tasklet.blocked or not tasklet.paused:
            raise RuntimeError("tasklets that wait in a channel cannot wait in its copy too; use copy.deepcopy()")
    preference = bits >> 1 & 3
    channel.preference = preference - 4 if preference > 1 else preference
    channel.schedule_all = bool(bits & SCHEDULE_ALL)
    for value in extras.get("values", ()):
        channel.try_send(value)
    for tasklet in waiting:
        _stackless._enqueue(channel, tasklet, 1 if balance > 0 else -1)
    if bits & CLOSING:
        channel.close()
    if "attributes" in extras:
        vars(channel).update(extras["attributes"])
    return channel
