# SPDX-License-Identifier: MIT
"""What Stackless Python's own tests call; for programs there is nothing in here."""

import operator

from . import _stackless


def test_cframe_nr(switches=0):
    """Call schedule(None) that often."""
    for _ in range(switches):
        _stackless.schedule(None)


def test_outside():
    """Schedule until nobody else is runnable, as code outside of all tasklets would."""
    while _stackless.getruncount() > 1:
        _stackless.schedule(None)


def tasklet_get_unpicklable_state(tasklet):
    """What a pickle of the tasklet leaves out."""
    return {"context": _stackless._get_context(tasklet)}


test_nostacklesscall = operator.call  # through C: one nesting level more
test_cframe_nr.__test__ = test_outside.__test__ = False  # for test runners

# Where Stackless Python 3.8 keeps them.
_stackless._test_cframe_nr = test_cframe_nr
_stackless._test_outside = test_outside
_stackless._test_nostacklesscall = test_nostacklesscall
_stackless._tasklet_get_unpicklable_state = tasklet_get_unpicklable_state
