# SPDX-License-Identifier: MIT
"""The measuring process of one contender: `python -m suite.worker CONTENDER MODULE`.

It reads one JSON request a line from standard input and answers each with one
JSON line.  Whatever a contender prints goes to standard error, never between
the answers.  One process per contender keeps their threads, hubs and crashes
apart, and lets the driver interleave the repetitions.
"""

import gc
import importlib
import json
import os
import sys


def answer(contender, request):
    """Carry out one request: {"row": name, "n": count} or {"fresh": name, "arg": x}."""
    if "row" in request:
        function = getattr(contender, "row_" + request["row"])
        gc.collect()
        gc.disable()  # as timeit does; the same for every contender
        try:
            seconds, operations = function(request["n"])
        finally:
            gc.enable()
        return {"seconds": seconds, "operations": operations}
    function = getattr(contender, "fresh_" + request["fresh"])
    return function(request["arg"])


def rows_of(contender):
    """Names of the rows this contender has, without their prefix."""
    names = dir(contender)
    return {kind: [name[len(kind):].lstrip("_") for name in names if name.startswith(kind + "_")]
            for kind in ("row", "fresh")}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    contender = importlib.import_module("suite.in_" + sys.argv[1])
    try:
        version = contender.load(sys.argv[2])
    except ImportError as error:
        say({"missing": str(error)})
        return
    say({"version": version, "rows": rows_of(contender)})
    for line in sys.stdin:
        try:
            say(answer(contender, json.loads(line)))
        except Exception as error:
            say({"error": "%s: %s" % (type(error).__name__, error)})


if __name__ == "__main__":
    main()
