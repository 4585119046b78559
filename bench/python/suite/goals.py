# SPDX-License-Identifier: MIT
"""The goals that the figures are held against, and the verdict on each.

The goals of the web server are judged by `examples/demo.py`, not here.
"""

from collections import namedtuple

# value and limit are in `unit`; value None = not measured in this run.
Verdict = namedtuple("Verdict", "title value limit unit lower_is_better")

_KIB = 1024.0
IDLE_LIMIT = 0.05       # what still prints as 0.0 %
RETURNED_LIMIT = 50.0   # "given back" as a number: our own choice; some stacks stay pooled


def _median(results, row, figure, contender, which="median"):
    entry = results.get(row, {}).get(contender, {})
    found = entry.get("figures", {}).get(figure)
    return found[which] if found else None


def _ratio(value, base):
    return None if value is None or not base else value / base


def judge(results, name, raw_switch_ns=None):
    """Verdicts for contender `name`; medians unless the title says otherwise."""
    def mine(row, figure="ns", which="median"):
        return _median(results, row, figure, name, which)

    switch = _median(results, "yield", "ns", "greenlet")
    verdicts = [
        Verdict("yield against greenlet's switch", _ratio(mine("yield"), switch), 0.45, "x", True),
        Verdict("ping-pong message against greenlet's switch",
                _ratio(mine("pingpong"), switch), 0.6, "x", True),
        Verdict("spawn + run, in batches", mine("spawn_batch"), 500, "ns", True),
        Verdict("spawn + run, one by one", mine("spawn_single"), 500, "ns", True),
    ]
    for count, row in (("10,000", "parked10k"), ("100,000", "parked100k")):
        size = mine(row, "bytes")
        verdicts.append(Verdict("a parked tasklet, %s of them" % count,
                                None if size is None else size / _KIB, 10, "KiB", True))
        verdicts.append(Verdict("memory given back after %s" % count,
                                mine(row, "returned"), RETURNED_LIMIT, "%", False))
    verdicts += [
        Verdict("raw C switch", raw_switch_ns, 5, "ns", True),
        Verdict("longest gap beside time.sleep(0.5), worst run",
                mine("gap_sleep", "max_ms", "max"), 5, "ms", True),
        Verdict("longest gap beside time.sleep(0.5), median run",
                mine("gap_sleep", "max_ms"), 1, "ms", True),
        Verdict("CPU use of an idle process", mine("idle", "percent"), IDLE_LIMIT, "%", True),
    ]
    return verdicts


def reached(verdict):
    """True, False, or None when it was not measured."""
    if verdict.value is None:
        return None
    if verdict.lower_is_better:
        return verdict.value <= verdict.limit
    return verdict.value >= verdict.limit


def distance(verdict):
    """How far the value is from its limit, in words."""
    if not verdict.value or not verdict.limit:
        return ""
    quotient = verdict.value / verdict.limit
    better = quotient <= 1 if verdict.lower_is_better else quotient >= 1
    if quotient < 1:
        quotient = 1 / quotient
    if quotient < 2:
        return "by %.0f %%" % (100 * (quotient - 1))
    return "%.1f times %s" % (quotient, "better" if better else "over" if
                              verdict.lower_is_better else "under")
