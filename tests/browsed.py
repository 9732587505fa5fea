"""Pages, opened in a real browser, in frames: a browser's own window has a least width."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

from servers import program

HEADLESS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
DARK = "--blink-settings=preferredColorScheme=0"
WIDTHS = {"desktop": 1280, "phone": 390}
MEASURED = """\
const d = f.contentDocument;
return [d.documentElement.scrollWidth, d.querySelectorAll("h1").length, [...d.images].every(i => i.naturalWidth > 0)]"""
JUDGED = """\
const s = f.contentDocument.createElement("script");
s.src = AXE;
const loaded = new Promise(done => s.onload = done);
f.contentDocument.head.append(s);
await loaded;
const found = await f.contentWindow.axe.run();
return found.violations.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html).join(" "))"""


def chromium() -> str:
    """The browser's program; without one the test is skipped, or fails where ``CI`` is set."""
    return program("chromium", "chromium-browser", "google-chrome")


def in_frames(pages: Sequence[Path], profile: Path, width: int, script: str, *words: str) -> list[Any]:
    """What ``script`` returns for each page, in a frame ``f`` of that width; ``words`` are the browser's."""
    frames = "".join(f'<iframe width="{width}" height="900" src="{page.absolute()}"></iframe>' for page in pages)
    call = (
        f"Promise.all([...document.querySelectorAll('iframe')].map(async f => {{ {script} }}))"
        ".then(r => document.title = JSON.stringify(r))"
    )
    page = profile / "frames.html"
    page.write_text(f"<!doctype html><title>-</title>{frames}<script>onload = () => {call}</script>", encoding="utf-8")
    command = [
        chromium(),
        *HEADLESS,
        *words,
        f"--user-data-dir={profile / 'profile'}",
        "--allow-file-access-from-files",
    ]
    command += ["--dump-dom", "--virtual-time-budget=60000", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = re.search(r"<title>(\[.*?\])</title>", done.stdout, re.S)
    assert found, done.stdout[:500]
    return list(json.loads(unescape(found[1])))


def violations(pages: Sequence[Path], profile: Path, *words: str) -> list[list[str]] | None:
    """What axe-core finds on each page, https://github.com/dequelabs/axe-core; None where ``AXE`` names none: .ci/run does."""
    axe = os.environ.get("AXE", "")
    script = JUDGED.replace("AXE", json.dumps(Path(axe).absolute().as_uri())) if axe else ""
    return in_frames(pages, profile, WIDTHS["desktop"], script, *words) if axe else None


def check(page: Path, profile: Path) -> None:
    """A page of a service fits desktop and phone, and has no violation of accessibility, light or dark."""
    for width in WIDTHS.values():
        ((wide, headings, _),) = in_frames([page], profile, width, MEASURED)
        assert (wide <= width, headings) == (True, 1), f"{page.name}: {wide} wide at {width}, {headings} h1"
    for words in ([], [DARK]):
        found = violations([page], profile, *words)
        assert found in (None, [[]]), f"{page.name}: {found}"
