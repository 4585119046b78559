# SPDX-License-Identifier: MIT
"""What stands for frames and C stacks where there are none: debug types, and the remains of pickled tasklets."""


class cframe:
    """Stands for the frame of a call that has not begun: obj1 is the callable, obj2 its args, obj3 its kwargs."""

    def __init__(self, callable=None, args=(), kwargs=None):
        self.obj1 = callable
        self.obj2 = args
        self.obj3 = kwargs

    f_back = None
    f_code = None

    def __reduce__(self):
        return cframe, (self.obj1, self.obj2, self.obj3)


class cstack:
    """Stands for the C stack of a tasklet, which cannot be looked at: it has no size and no neighbours."""

    size = 0
    task = None
    startaddr = 0
    serial = 0

    def __init__(self, nesting_level=0):
        self.nesting_level = nesting_level

    @property
    def next(self):
        return self

    prev = next

    def __str__(self):
        return ""


class code:
    """Which code a frame was running, for a frame that cannot go on."""

    def __init__(self, name, qualname, filename, firstlineno):
        self.co_name = name
        self.co_qualname = qualname
        self.co_filename = filename
        self.co_firstlineno = firstlineno


class frame:
    """Where a frame of a pickled tasklet was. It can be looked at, and that is all."""

    def __init__(self, code, line):
        self.f_code = code
        self.f_lineno = line
        self.f_back = None

    f_locals = f_globals = f_builtins = property(lambda self: {})
    f_trace = None
    f_lasti = -1


def describe(top):
    """The frames below top, outermost first."""
    frames = []
    while top is not None:
        of = top.f_code
        frames.append(frame(code(of.co_name, of.co_qualname, of.co_filename, of.co_firstlineno), top.f_lineno))
        top = top.f_back
    return frames[::-1]


class stopped:
    """What a tasklet does that had started when it was pickled: it says why it cannot go on."""

    def __init__(self, frames, nesting_level, name):
        self.frames = frames
        self.recursion_depth = len(frames)
        self.nesting_level = nesting_level
        self.__qualname__ = name
        back = None
        for one in frames:
            one.f_back, back = back, one
        self.frame = back

    def __call__(self, *args, **kwargs):
        where = ""
        if self.frame is not None:
            where = f" in {self.frame.f_code.co_qualname}, {self.frame.f_code.co_filename}:{self.frame.f_lineno},"
        raise RuntimeError(
            f"tasklet {self.__qualname__!r} had started when it was pickled: it stood{where} and the frame had a C state "
            "that can't be restored. Only tasklets that have not started can run after loading")


