"""Charts as SVG that takes its colours from the page; a library that draws would be larger than what its readers install."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["ZOOM", "Bars", "Dots", "Line", "Mark", "Part", "bar", "chart", "legend", "number"]

LEFT, RIGHT, TOP = 46.0, 10.0, 12.0


@dataclass(frozen=True)
class Line:
    """Points that are joined, those that are ``gap`` or more apart excepted; ``style`` is one or more of the page's classes.

    ``label`` and ``latest`` are text of the legend.
    """

    x: Iterable[float]
    y: Iterable[float]
    style: str = "c0"
    gap: float = math.inf
    label: str = ""
    latest: str = ""


@dataclass(frozen=True)
class Dots:
    """Single points."""

    x: Iterable[float]
    y: Iterable[float]


@dataclass(frozen=True)
class Bars:
    """One bar per name."""

    names: Sequence[str]
    y: Iterable[float]


@dataclass(frozen=True)
class Mark:
    """A vertical line, with a word: written beside it, or shown to who points at it."""

    x: float
    word: str
    written: bool = True


Part = Line | Dots | Bars | Mark


def chart(
    title: str,
    x: str,
    y: str,
    *parts: Part,
    width: int = 340,
    height: int = 200,
    log: bool = False,
    span: tuple[float, float] | None = None,
) -> str:
    """A chart as HTML, its ordinate from 0, with a legend of its labelled lines.

    Args:
        title: for who can't see it.
        x, y: what the axes are; empty for nothing.
        parts: what is drawn, in this order; at least one that is no mark, and has points.
        width, height: in pixels, where the page shows it unscaled.
        log: both axes are logarithmic above 1, so that one large value squeezes no other.
        span: begin and end of a time, in seconds since 1970, which is the abscissa; ``ZOOM`` makes readers choose of it.
    """
    frame = _Frame(parts, width, height, log, span, bool(x))
    timed = (
        f' data-begin="{span[0]:.0f}" data-end="{span[1]:.0f}" data-offset="{time.localtime(span[0]).tm_gmtoff}"'
        if span
        else ""
    )
    chosen = f'<rect class="chosen c0" x="{LEFT:g}" y="{TOP:g}" width="0" height="{frame.height:g}"/>' if span else ""
    inner = f'x="{LEFT:g}" y="{TOP:g}" width="{frame.width:g}" height="{frame.height:g}"'
    lines = [part for part in parts if isinstance(part, Line) and part.label]
    entries = [(line.style, f"{escape(line.label)} <b>{escape(line.latest)}</b>") for line in lines]
    return (
        f'<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"{timed}>'
        f"{_axes(frame, escape(x), escape(y))}"
        f'<svg {inner} viewBox="0 0 {frame.width:g} {frame.height:g}" preserveAspectRatio="none" overflow="visible">'
        f"{''.join(_part(part, frame) for part in parts)}</svg>{chosen}</svg>{legend(entries) if entries else ''}"
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """A legend as HTML; an entry is the classes of a colour, and HTML."""
    shown = "".join(f'<span><i class="{style}"></i>{text}</span>' for style, text in entries)
    return f'<p class="legend">{shown}</p>'


def bar(parts: Sequence[tuple[float, str, str]], whole: float, width: int = 360) -> str:
    """Values one after the other as one bar, where ``whole`` is as long as ``width``; a part is value, classes and text."""
    at, drawn = 0.0, ""
    for value, style, text in parts:
        wide = value / whole * width if whole else 0.0
        drawn += (
            f'<rect class="{style}" x="{at:.1f}" width="{wide:.1f}" height="12"><title>{escape(text)}</title></rect>'
        )
        at += wide
    words = escape(", ".join(text for *_, text in parts))
    return f'<svg width="{width}" height="12" role="img" aria-label="{words}">{drawn}</svg>'


def number(value: float, digits: int = 3) -> str:
    """A number as text: that many significant digits, and k or M for thousands and millions."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (suffix == "M" and abs(value) >= size):
            return f"{value / size:.{digits}g}{suffix}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"


class _Frame:
    """Maps values to positions within the axes."""

    def __init__(
        self, parts: Sequence[Part], width: int, height: int, log: bool, span: tuple[float, float] | None, words: bool
    ) -> None:
        self.log, self.span = log, span
        self.width, self.height = width - LEFT - RIGHT, height - TOP - (34.0 if words else 20.0)
        self.names = next((list(part.names) for part in parts if isinstance(part, Bars)), [])
        xs = [float(v) for part in parts if isinstance(part, (Line, Dots)) for v in part.x]
        ys = [float(v) for part in parts if not isinstance(part, Mark) for v in part.y]
        low, high = (min(xs), max(xs)) if xs else (-0.5, len(self.names) - 0.5)
        self.x0, self.x1 = span or ((low, high) if high > low else (low - 0.5, low + 0.5))
        self.y1 = max(ys) * 1.05 if max(ys) > 0 else 1.0

    def x(self, value: float) -> float:
        return self._share(value, self.x0, self.x1) * self.width

    def y(self, value: float) -> float:
        return (1 - self._share(value, 0.0, self.y1)) * self.height

    def level(self) -> list[tuple[float, str, str]]:
        """Labels of the abscissa: where, what, and which of its ends is there."""
        if self.span:
            ends = ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
            return [(share * self.width, _when(self.x0 + share * (self.x1 - self.x0)), end) for share, end in ends]
        if self.names:
            return [(self.x(i), name, "middle") for i, name in enumerate(self.names)]
        return [(self.x(v), number(v, 6), "middle") for v in self._ticks(self.x0, self.x1)]

    def upright(self) -> list[tuple[float, str]]:
        """Labels of the ordinate: where, and what."""
        return [(self.y(v), number(v, 6)) for v in self._ticks(0.0, self.y1)]

    def _ticks(self, low: float, high: float) -> list[float]:
        """Four to nine round numbers from ``low`` to ``high``; with ``log``, powers of ten."""
        if self.log:
            return [0.0, *(10.0**i for i in range(9) if 10.0**i <= high)]
        step = 10.0 ** math.floor(math.log10(high - low))
        step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 6)
        return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]

    def _share(self, value: float, low: float, high: float) -> float:
        if self.log:
            value, low, high = (math.log1p(v) for v in (value, low, high))
        return (value - low) / (high - low)


def _axes(frame: _Frame, x: str, y: str) -> str:
    right, bottom = LEFT + frame.width, TOP + frame.height
    parts = [
        f'<line class="grid" x1="{LEFT:g}" x2="{right:g}" y1="{TOP + at:.1f}" y2="{TOP + at:.1f}"/>'
        f'<text x="{LEFT - 5:g}" y="{TOP + at + 3:.1f}" text-anchor="end">{text}</text>'
        for at, text in frame.upright()
    ]
    parts += [
        f'<text class="level" x="{LEFT + at:.1f}" y="{bottom + 13:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
        for at, text, anchor in frame.level()
    ]
    if x:
        parts.append(f'<text x="{(LEFT + right) / 2:g}" y="{bottom + 29:.1f}" text-anchor="middle">{x}</text>')
    if y:
        middle = f'transform="translate(11 {(TOP + bottom) / 2:.1f}) rotate(-90)"'
        parts.append(f'<text {middle} text-anchor="middle">{y}</text>')
    return "".join(parts)


def _part(part: Part, frame: _Frame) -> str:
    match part:
        case Line():
            return _line(part, frame)
        case Dots():
            return "".join(
                f'<circle class="c0" r="1.6" cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}"/>'
                for a, b in zip(part.x, part.y, strict=True)
            )
        case Bars():
            wide = frame.x(0.7) - frame.x(0)
            return "".join(
                f'<rect class="c0" x="{frame.x(i - 0.35):.1f}" y="{frame.y(v):.1f}" width="{wide:.1f}" '
                f'height="{max(0.0, frame.height - frame.y(v)):.1f}"><title>{escape(name)}: {number(v)}</title></rect>'
                for i, (name, v) in enumerate(zip(part.names, part.y, strict=True))
            )
        case Mark():
            at, word = frame.x(part.x), escape(part.word)
            anchor, beside = ("end", at - 4) if at > frame.width / 2 else ("start", at + 4)
            text = (
                f'<text class="mark" x="{beside:.1f}" y="{frame.height - 6:.1f}" text-anchor="{anchor}">{word}</text>'
            )
            line = f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{frame.height:.1f}"><title>{word}</title></line>'
            return line + (text if part.written else "") if frame.x0 <= part.x <= frame.x1 else ""


def _line(line: Line, frame: _Frame) -> str:
    """A path for all that is joined, and one for the points that are alone."""
    path, alone = "", ""
    points = [
        (float(a), f"{frame.x(float(a)):.1f} {frame.y(float(b)):.1f}") for a, b in zip(line.x, line.y, strict=True)
    ]
    for i, (at, where) in enumerate(points):
        before, after = (abs(points[j][0] - at) < line.gap if 0 <= j < len(points) else False for j in (i - 1, i + 1))
        path += f"{'L' if before else 'M'}{where}"
        alone += "" if before or after else f"M{where}h0"
    drawn = f'<path class="{line.style}" d="{path}"/>'
    return drawn + (f'<path class="point {line.style}" d="{alone}"/>' if alone else "")


def _when(at: float) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(at))


# The script of a page with charts over time. To drag across one shows that time in all; to double-click, the whole again.
ZOOM = """
const plots = [...document.querySelectorAll("svg[data-begin]")];
const [begin, last, offset] = ["begin", "end", "offset"].map(name => Number(plots[0]?.dataset[name]));
let from = 0, to = 1;  // shares of that time
function show() {
  for (const plot of plots) {
    const inner = plot.querySelector("svg"), width = inner.width.baseVal.value, height = inner.height.baseVal.value;
    inner.setAttribute("viewBox", `${from * width} 0 ${(to - from) * width} ${height}`);
    inner.setAttribute("overflow", to - from < 1 ? "hidden" : "visible");
    plot.querySelectorAll(".level").forEach((text, i) => {
      const at = begin + (from + (to - from) * i / 2) * (last - begin) + offset;
      text.textContent = new Date(at * 1000).toISOString().slice(5, 16).replace("T", " ");
    });
  }
}
for (const plot of plots) {
  const box = plot.querySelector(".chosen"), inner = plot.querySelector("svg"), width = inner.width.baseVal.value;
  let start = null, low = 0, high = 0;
  const drag = event => {
    const at = new DOMPoint(event.clientX, 0).matrixTransform(plot.getScreenCTM().inverse()).x;
    const share = Math.min(1, Math.max(0, (at - inner.x.baseVal.value) / width));
    start ??= share;
    [low, high] = [Math.min(start, share), Math.max(start, share)];
    box.setAttribute("transform", `translate(${low * width})`);
    box.setAttribute("width", (high - low) * width);
  };
  plot.addEventListener("pointerdown", event => { drag(event); plot.setPointerCapture(event.pointerId); });
  plot.addEventListener("pointermove", event => { if (start !== null) drag(event); });
  const end = () => { start = null; box.setAttribute("width", 0); };
  plot.addEventListener("pointerup", () => {
    if (high - low > 0.01) [from, to] = [from + low * (to - from), from + high * (to - from)];
    end();
    show();
  });
  plot.addEventListener("pointercancel", end);
  plot.addEventListener("dblclick", () => { [from, to] = [0, 1]; show(); });
}
"""
