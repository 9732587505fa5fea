"""Draws a panel as SVG: lines over time, with releases marked; without scripts, fonts or external references."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.monitoring.data import Series

__all__ = ["COLOURS", "SUFFIXES", "draw", "number"]

# Distinguishable by colour-blind people too: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, HEIGHT = 420, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 14, 20
SUFFIXES = {"ms": " ms", "s": " s", "percent": " %", "dollars": " US$", "ratio": " ×"}


def draw(
    lines: Sequence[Series], begin: float, end: float, period: int, marks: Sequence[tuple[float, str]], unit: str
) -> str:
    """The plot of ``lines`` from ``begin`` to ``end`` (seconds since 1970) with a legend, as HTML.

    Args:
        lines: at least one, each with points.
        begin, end: the time span, in seconds since 1970.
        period: the seconds between two points; a line is interrupted where one is missing.
        marks: vertical lines, as (seconds since 1970, text).
        unit: the unit of the values: count, ms, s, percent, dollars or ratio.
    """
    most = _ceiling(max(value for line in lines for _, value in line.points))

    def x(at: float) -> float:
        return LEFT + (at - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for share in (0.0, 0.5, 1.0):
        height = y(most * share)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{height + 3:.1f}" text-anchor="end">{number(most * share)}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = begin + share * (end - begin)
        shown = time.strftime("%d %b %H:%M", time.localtime(at))
        parts.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{shown}</text>')
    for at, text in marks:
        if begin <= at <= end:
            parts.append(
                f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
                f"<title>{html.escape(text)}</title></line>"
            )
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        parts += _line([(at, x(at), y(value)) for at, value in line.points], period, colour)
    parts.append("</svg>")
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(line.label)} '
        f"<b>{number(line.points[-1][1])}{SUFFIXES.get(unit, '')}</b></span>"
        for line, colour in zip(lines, _colours(len(lines)), strict=True)
    )
    return "".join(parts) + f'<p class="legend">{legend}</p>'


def number(value: float) -> str:
    """A number as text: three significant digits, and k or M for thousands and millions."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (suffix == "M" and abs(value) >= size):
            return f"{value / size:.3g}{suffix}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(points: list[tuple[float, float, float]], period: int, colour: str) -> list[str]:
    """A path that is interrupted where a period has no point; isolated points are dots."""
    path, dots, previous = "", [], 0.0
    for i, (at, x, y) in enumerate(points):
        joined = at - previous <= period * 1.5
        path += f"{'L' if joined else 'M'}{x:.1f} {y:.1f}"
        alone = not joined and (i + 1 == len(points) or points[i + 1][0] - at > period * 1.5)
        if alone:
            dots.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>')
        previous = at
    return [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>', *dots]


def _ceiling(value: float) -> float:
    """The smallest of 1, 2, 5, 10, … that is at least ``value``."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1.0, 2.0, 5.0, 10.0) if step * size >= value * 0.999)


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
