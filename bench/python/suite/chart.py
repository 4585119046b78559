# SPDX-License-Identifier: MIT
"""The figures as an SVG chart: horizontal bars on logarithmic axes.

One panel for each unit, one group for each figure, one bar for each contender,
a thin line from the smallest to the largest sample.  Plain text, no library.
"""

import math
from collections import namedtuple
from xml.sax.saxutils import escape

from .report import number

COLOURS = {"greenlet": "#7a9e3f", "gevent": "#3b7ea1", "asyncio": "#b3b3b3"}
GO = "#3b7ea1"
OURS = "#c8553d"

WIDTH = 980
LEFT = 270          # where the bars start
RIGHT = 130         # room for the value behind the longest bar
BAR, GAP, GROUP = 14, 3, 14   # bar height, space between bars, between groups
PANEL_HEAD, PANEL_FOOT = 44, 18
TOP = 84

PANELS = [("ns", "Time per operation, nanoseconds"),
          ("bytes", "Memory of a parked task, bytes"),
          ("ms", "Longest wait of another task beside a blocking call, milliseconds")]

Bar = namedtuple("Bar", "contender median low high")


def _groups(results, contenders, rows, unit):
    """[(title, [Bar])] of all figures in `unit`, in the order of the rows."""
    groups = []
    for row in rows:
        for figure in row.figures:
            if figure.unit != unit or figure.key == "p999_ms":
                continue
            bars = []
            for contender in contenders:
                entry = results.get(row.name, {}).get(contender)
                found = entry["figures"].get(figure.key) if entry else None
                if found:
                    bars.append(Bar(contender, found["median"], found["min"], found["max"]))
            if bars:
                groups.append((figure.title, bars))
    return groups


class _Axis:
    """Logarithmic: powers of ten from below the least to above the greatest value."""

    def __init__(self, values):
        least = min(values)
        self.low = math.floor(math.log10(least))
        if math.log10(least) - self.low < 0.15:
            self.low -= 1   # so that the shortest bar can be seen
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)

    def x(self, value):
        share = (math.log10(max(value, 1e-12)) - self.low) / (self.high - self.low)
        return LEFT + max(share, 0.0) * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        return [10.0 ** power for power in range(self.low, self.high + 1)]


def _text(x, y, content, size=12, anchor="start", colour="#222", weight="normal"):
    return ('<text x="%.1f" y="%.1f" font-size="%d" text-anchor="%s" fill="%s" '
            'font-weight="%s">%s</text>' % (x, y, size, anchor, colour, weight, escape(content)))


def _tick_label(value):
    return "{:,.0f}".format(value) if value >= 1 else "%g" % value


def _group_height(bars):
    return len(bars) * (BAR + GAP) - GAP + GROUP


def _panel(title, groups, unit, y, colours):
    """Lines of SVG for one panel that starts at `y`, and where it ends."""
    axis = _Axis([bar.low for _, bars in groups for bar in bars if bar.low > 0] +
                 [bar.high for _, bars in groups for bar in bars])
    bottom = y + PANEL_HEAD + sum(_group_height(bars) for _, bars in groups)
    lines = [_text(20, y + 14, title, 14, weight="bold")]
    for tick in axis.ticks():
        x = axis.x(tick)
        lines.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>'
                     % (x, y + PANEL_HEAD - 8, x, bottom - GROUP / 2))
        lines.append(_text(x, y + PANEL_HEAD - 12, _tick_label(tick), 11, "middle", "#666"))
    y += PANEL_HEAD
    for group_title, bars in groups:
        middle = y + (len(bars) * (BAR + GAP) - GAP) / 2
        lines.append(_text(LEFT - 12, middle + 4, group_title, 12, "end"))
        for bar in bars:
            lines += _bar(bar, axis, unit, y, colours[bar.contender])
            y += BAR + GAP
        y += GROUP - GAP
    return lines, bottom + PANEL_FOOT


def _bar(bar, axis, unit, y, colour):
    end, low, high = axis.x(bar.median), axis.x(bar.low), axis.x(bar.high)
    middle = y + BAR / 2
    return [
        '<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>'
        % (LEFT, y, max(end - LEFT, 1), BAR, colour),
        '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#222" stroke-width="1.5"/>'
        % (low, middle, high, middle),
        _text(max(end, high) + 6, y + BAR - 3, number(bar.median, unit), 11, colour="#444"),
    ]


def _legend(contenders, colours, y):
    lines, x = [], LEFT
    for contender in contenders:
        lines.append('<rect x="%d" y="%d" width="14" height="14" fill="%s"/>'
                     % (x, y - 11, colours[contender]))
        lines.append(_text(x + 20, y, contender))
        x += 40 + 8 * len(contender)
    return lines


def about_python(machine):
    return "CPython %s, %s, %d CPUs. Logarithmic axes; shorter is better; line = min to max." % (
        machine["python"], machine["cpu"] or machine["machine"], machine["cpus"])


def draw(results, contenders, rows, subtitle, title="Tasklets and their peers"):
    """The chart as SVG text; empty when there is nothing to draw."""
    present = [c for c in contenders if any(c in entries for entries in results.values())]
    colours = {c: GO if c.startswith("Go") else COLOURS.get(c, OURS) for c in present}
    lines, y = [], TOP
    for unit, heading in PANELS:
        groups = _groups(results, present, rows, unit)
        if groups:
            more, y = _panel(heading, groups, unit, y, colours)
            lines += more
    if not lines:
        return ""
    head = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">' % (WIDTH, y, WIDTH, y),
        '<rect width="100%" height="100%" fill="white"/>',
        _text(20, 28, title, 18, weight="bold"),
        _text(20, 48, subtitle, 12, colour="#555"),
    ]
    return "\n".join(head + _legend(present, colours, 72) + lines + ["</svg>"]) + "\n"
