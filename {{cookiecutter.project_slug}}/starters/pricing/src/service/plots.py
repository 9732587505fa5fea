"""Charts as SVG, without a plotting library, which would be the largest package of the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bars", "Dots", "Line", "Mark", "chart"]

Numbers = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Points joined by a line; ``style`` is a CSS class of the page: model, truth or even."""

    x: Numbers
    y: Numbers
    style: str = "model"


@dataclass(frozen=True)
class Dots:
    """Single points."""

    x: Numbers
    y: Numbers


@dataclass(frozen=True)
class Bars:
    """One bar per name."""

    names: Sequence[str]
    y: Numbers


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label."""

    x: float
    word: str


def chart(
    title: str,
    x: str,
    y: str,
    *parts: Line | Dots | Bars | Mark,
    width: int = 340,
    height: int = 220,
    log: bool = False,
) -> str:
    """An SVG element with axes from 0; with ``log`` both are logarithmic above 1, so that one large value squeezes no other."""
    frame = _Frame(parts, width, height, log)
    drawn = "".join(_part(part, frame) for part in parts)
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
        f'<text class="title" x="{width / 2:g}" y="14">{escape(title)}</text>'
        f"{_axes(frame, escape(x), escape(y), names=any(isinstance(p, Bars) for p in parts))}{drawn}</svg>"
    )


class _Frame:
    """Maps values to positions: the range of the axes, with room for their labels."""

    def __init__(self, parts: Sequence[Line | Dots | Bars | Mark], width: int, height: int, log: bool) -> None:
        self._log = log
        self.left, self.right, self.top, self.bottom = 46.0, width - 10.0, 24.0, height - 38.0
        bars = [part for part in parts if isinstance(part, Bars)]
        points = [part for part in parts if isinstance(part, (Line, Dots))]
        xs = [float(v) for part in points for v in part.x] or [-0.5, len(bars[0].names) - 0.5]
        ys = [float(v) for part in (*points, *bars) for v in part.y]
        self.x0, self.x1 = _wide(min(xs), max(xs))
        self.y0, self.y1 = _wide(0.0, max(ys) * 1.05)

    def x(self, value: float) -> float:
        return self.left + self._share(value, self.x0, self.x1) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self._share(value, self.y0, self.y1) * (self.bottom - self.top)

    def ticks(self, low: float, high: float) -> list[float]:
        """Values for labels."""
        if not self._log:
            return _ticks(low, high)
        return [0.0, *(10.0**i for i in range(9) if 10.0**i <= high)]

    def _share(self, value: float, low: float, high: float) -> float:
        if self._log:
            value, low, high = (float(np.log1p(v)) for v in (value, low, high))
        return (value - low) / (high - low)


def _part(part: Line | Dots | Bars | Mark, frame: _Frame) -> str:
    match part:
        case Line():
            points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(part.x, part.y, strict=True))
            return f'<polyline class="{part.style}" points="{points}"/>'
        case Dots():
            return "".join(
                f'<circle class="dot" r="1.6" cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}"/>'
                for a, b in zip(part.x, part.y, strict=True)
            )
        case Bars():
            return "".join(
                f'<rect class="bar" x="{frame.x(i - 0.35):.1f}" y="{frame.y(v):.1f}" '
                f'width="{frame.x(0.7) - frame.x(0):.1f}" height="{max(0.0, frame.bottom - frame.y(v)):.1f}"/>'
                f'<text class="name" transform="translate({frame.x(i) + 3:.1f} {frame.bottom + 8:.1f}) rotate(-35)">'
                f"<title>{escape(name)}</title>{escape(name if len(name) < 10 else name[:8] + '…')}</text>"
                for i, (name, v) in enumerate(zip(part.names, part.y, strict=True))
            )
        case Mark():
            at = frame.x(part.x)
            side = ("end", -4) if at > (frame.left + frame.right) / 2 else ("start", 4)
            return (
                f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{frame.top:.1f}" y2="{frame.bottom:.1f}"/>'
                f'<text class="mark" x="{at + side[1]:.1f}" y="{frame.bottom - 6:.1f}" text-anchor="{side[0]}">'
                f"{escape(part.word)}</text>"
            )


def _axes(frame: _Frame, x: str, y: str, *, names: bool) -> str:
    upright = "".join(
        f'<line class="grid" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{frame.y(v):.1f}" y2="{frame.y(v):.1f}"/>'
        f'<text class="tick" x="{frame.left - 5:.1f}" y="{frame.y(v) + 3:.1f}" text-anchor="end">{v:g}</text>'
        for v in frame.ticks(frame.y0, frame.y1)
    )
    level = "".join(
        f'<text class="tick" x="{frame.x(v):.1f}" y="{frame.bottom + 13:.1f}" text-anchor="middle">{v:g}</text>'
        for v in ([] if names else frame.ticks(frame.x0, frame.x1))
    )
    middle = (frame.top + frame.bottom) / 2
    return (
        f'{upright}{level}<text class="axis" x="{(frame.left + frame.right) / 2:.1f}" y="{frame.bottom + 30:.1f}">{x}</text>'
        f'<text class="axis" transform="translate(11 {middle:.1f}) rotate(-90)">{y}</text>'
    )


def _wide(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers from ``low`` to ``high``."""
    step = 10.0 ** np.floor(np.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 6)
    first = int(np.ceil(low / step))
    return [round(i * step, 10) for i in range(first, int(np.floor(high / step)) + 1)]
