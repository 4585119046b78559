# SPDX-License-Identifier: MIT
"""Counts the results of test runs, for tools/check.

    tally.py pytest JUNIT_XML...    or    tally.py meson TESTLOG_JSON...

Prints "PASSED FAILED SKIPPED".  A file that is missing or cut short is an
error, so that a runner that died is never taken for one with nothing to do.
"""

import json
import sys
import xml.etree.ElementTree as ElementTree


def count_pytest(path):
    root = ElementTree.parse(path).getroot()
    total = failed = skipped = 0
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests"))
        failed += int(suite.get("failures")) + int(suite.get("errors"))
        skipped += int(suite.get("skipped"))
    return total - failed - skipped, failed, skipped


def count_meson(path):
    passed = failed = skipped = 0
    with open(path) as log:
        for line in log:
            result = json.loads(line)["result"]
            if result in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif result == "SKIP":
                skipped += 1
            else:
                failed += 1
    return passed, failed, skipped


def main():
    kind, *paths = sys.argv[1:]
    count = {"pytest": count_pytest, "meson": count_meson}[kind]
    print(*map(sum, zip(*map(count, paths))))


main()
