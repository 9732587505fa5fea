"""The ledger as one self-contained HTML page: who released what and when, the result, and how long each step took."""

from __future__ import annotations

import html
import re
import time
from typing import TYPE_CHECKING

from ml_delivery.release import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Release

__all__ = ["page"]

WIDTH = 360
# In the order of a deploy; the ledger's records are sorted by name. "shift" is the last one, to all traffic.
STEPS = (
    "plan",
    "stage",
    "probe version",
    "shift N %",
    "watch N %",
    "shift",
    "probe live",
    "prune",
    "restore",
    "recover",
)
COLOURS = {"stage": "#4477aa", "probe": "#66ccee", "shift": "#228833", "watch": "#ccbb44", "restore": "#ee6677"}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; width: 100% }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
code { font-size: 12px } .faint { color: var(--faint) } .verified { color: #228833 } .failed { color: #cc3311 }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 1em }
"""


def page(title: str, releases: Iterable[Release], live: int = 0) -> str:
    """The page of these releases, newest first, as HTML; it loads no other file and has no scripts.

    Args:
        title: its heading.
        releases: what it lists.
        live: the number of the one that serves, which is marked; 0 for none.
    """
    found = list(releases)
    longest = max((sum(release.seconds.values()) for release in found), default=0.0)
    rows = "\n".join(_row(release, longest, release.number == live) for release in found)
    legend = "".join(f'<i style="background:{colour}"></i>{name}' for name, colour in COLOURS.items())
    heads = "".join(
        f"<th>{name}</th>" for name in ("", "state", "when", "who", "source, digest, model", "time", "watched, cause")
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>
<p class="faint">{len(found)} releases, newest first. Time of each step:{legend}</p>
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _row(release: Release, longest: float, live: bool) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
    artifact = release.artifact
    named = (artifact.version, artifact.digest, artifact.model)
    what = "<br>".join(f"<code>{html.escape(name[:19])}</code>" for name in named)
    looks = [f"at {look.weight} %: {words.look(look)}" for look in release.watched]
    notes = "<br>".join(map(html.escape, filter(None, [*looks, release.cause])))
    cells = [
        f"<b>{release.number} live</b>" if live else str(release.number),
        f'<b class="{html.escape(release.state)}">{html.escape(release.state)}</b>',
        when,
        html.escape(release.who),
        what,
        _bar(release.seconds, longest),
        notes,
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _order(step: tuple[str, float]) -> tuple[int, int, int]:
    """Where a step comes in a deploy: the shares of traffic one after the other, each shifted and then watched."""
    percent = re.search(r"\d+", step[0])
    place = STEPS.index(kind) if (kind := re.sub(r"\d+", "N", step[0])) in STEPS else len(STEPS)
    shares = STEPS.index("shift N %")
    return (shares, int(percent[0]), place) if percent else (place, 0, 0)


def _bar(seconds: dict[str, float], longest: float) -> str:
    """The steps' times as one bar, on one scale for all releases."""
    total, at, parts = sum(seconds.values()), 0.0, []
    for name, took in sorted(seconds.items(), key=_order):
        width = took / longest * WIDTH if longest else 0.0
        colour = COLOURS.get(name.split(" ")[0], "#bbbbbb")
        shown = f"{html.escape(name)}: {took:.2f} s"
        parts.append(
            f'<rect x="{at:.1f}" width="{width:.1f}" height="12" fill="{colour}"><title>{shown}</title></rect>'
        )
        at += width
    return f'<svg width="{WIDTH}" height="12" role="img">{"".join(parts)}</svg><br>{total:.2f} s'
