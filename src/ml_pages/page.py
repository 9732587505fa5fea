"""One look for all pages: each is one HTML file that loads no other; light or dark, as the reader's system is."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["NOTHING", "STYLE", "document", "figure", "state", "table"]

# c0 to c5 are distinguishable by colour-blind people, too: https://jfly.uni-koeln.de/color/ (the light ones)
STYLE = """
:root { color-scheme: light dark; --text: light-dark(#1c2733, #dde4ea); --faint: light-dark(#56646f, #a3afba);
  --page: light-dark(#fff, #15191e); --line: light-dark(#dde3ea, #38414a); --bad: light-dark(#b3261e, #ff8a7a);
  --good: light-dark(#1b7a33, #6cc98a); --c: #8a96a3 }
.c0 { --c: light-dark(#0072b2, #4aa8e0) } .c1 { --c: light-dark(#d55e00, #ff8a3d) } .c2 { --c: light-dark(#009e73, #2fc79b) }
.c3 { --c: light-dark(#cc79a7, #dd92ba) } .c4 { --c: light-dark(#e69f00, #f0b63a) } .c5 { --c: light-dark(#56b4e9, #8accf2) }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 2rem auto;
  max-width: 84rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
.faint, figcaption { color: var(--faint) } .faint { max-width: 60rem } .scroll { overflow-x: auto }
.bad, .failed, .ALARM { color: var(--bad) } .verified, .OK { color: var(--good) }
table { border-collapse: collapse; font-size: 13px }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
td:last-child { overflow-wrap: anywhere; min-width: 12rem } time, td b { white-space: nowrap } code { font-size: 12px }
input { font: inherit; padding: .2rem .4rem; width: 22rem; max-width: 100%; box-sizing: border-box }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(var(--least, 22rem), 100%), 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .7rem; min-width: 0 }
figcaption, .legend { font-size: 13px } figcaption b { display: block; color: var(--text) }
.legend { margin: .3rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; background: var(--c) }
.plot { width: 100%; height: auto; touch-action: pan-y } .plot[data-begin] { cursor: crosshair }
.plot text { font-size: 10px; fill: var(--faint) } .grid { stroke: var(--line) }
.plot path { fill: none; stroke: var(--c); stroke-width: 1.7; vector-effect: non-scaling-stroke }
.plot path.point { stroke-width: 5; stroke-linecap: round } .plot path.even { stroke-width: 1 } .truth { stroke-dasharray: 4 3 }
.plot circle { fill: var(--c); fill-opacity: .4 } rect { fill: var(--c) } rect.chosen { fill-opacity: .25 }
line.mark { stroke: var(--bad); stroke-width: 1.3; stroke-dasharray: 3 3; vector-effect: non-scaling-stroke }
.plot text.mark { fill: var(--bad); font-weight: 600 } .plot circle.mark { fill: var(--bad); fill-opacity: 1 }
"""
NOTHING = "<p class='faint'>no data</p>"


def document(title: str, body: str, script: str = "") -> str:
    """A whole page: ``title``, which is text, as its heading, then ``body``, which is HTML."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1>\n{body}</main>"
        f"{script and f'<script>{script}</script>'}</body></html>\n"
    )


def table(heads: Iterable[str], rows: Iterable[Iterable[str]], name: str = "") -> str:
    """A table that scrolls on a narrow screen; ``heads`` are text, cells are HTML, and ``name`` is its id."""
    head = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    called = f' id="{name}"' if name else ""
    return f"<div class='scroll' tabindex='0'><table{called}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def figure(title: str, content: str, about: str = "", name: str = "") -> str:
    """A chart, or other HTML, below its title and what it is about, which are text; ``name`` is its id."""
    called = f' id="{name}"' if name else ""
    return f"<figure{called}><figcaption><b>{escape(title)}</b>{escape(about)}</figcaption>{content}</figure>"


def state(word: str) -> str:
    """The state of a release or an alarm as HTML, in its colour."""
    return f"<b class='{escape(word)}'>{escape(word)}</b>"
