"""Pictures of a real run, and the site's page of them.

``nox -s pictures`` runs this: a service is created, trained, deployed, broken and rolled back on the emulator, and what its
commands print, and the pages that they write, are kept in ``build/pictures``. ``nox -s docs`` shows what is there: a run takes
minutes, and pictures that are committed would soon be old ones.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.service import Demo

__all__ = ["FOLDER", "Picture", "copy", "keep", "page", "photograph", "transcript"]

FOLDER = Path("build/pictures")
INDEX = "pictures.json"
HEADLESS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
HEAD = """\
# What it looks like

"""
NONE = """\
This site was built without pictures. In a checkout, `nox -s pictures` makes them from a real run, and `nox -s docs` shows them
here.
"""


@dataclass(frozen=True)
class Picture:
    """What a command printed, or, with ``file``, a screenshot of the page that it wrote."""

    title: str
    command: str
    output: str = ""
    file: str = ""


def transcript(title: str, demo: Demo, *words: str, fails: bool = False) -> Picture:
    """Run a command of a service, and keep what it prints, without the name of the folder that it runs in."""
    printed = demo.run("", *words, fails=fails)
    return Picture(title, " ".join(words), printed.replace(f"{demo.service}/", ""))


def photograph(title: str, command: str, written: Path, folder: Path, height: int = 1200) -> Picture:
    """A screenshot of a page, in ``folder``; without Chromium, a picture without a file."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        print(f"no picture of {written.name}: Chromium is not installed", file=sys.stderr)
        return Picture(title, command)
    target = (folder / f"{written.stem}.png").absolute()
    with tempfile.TemporaryDirectory() as profile:
        words = [chromium, *HEADLESS, f"--user-data-dir={profile}", f"--window-size=1280,{height}"]
        words += [f"--screenshot={target}", written.absolute().as_uri()]
        subprocess.run(words, capture_output=True, check=True, timeout=120)
    return Picture(title, command, file=target.name)


def keep(folder: Path, commit: str, pictures: list[Picture]) -> None:
    """Write what ``page`` reads; ``commit`` is that of the template."""
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    found = {"made": made, "commit": commit, "pictures": [asdict(one) for one in pictures]}
    (folder / INDEX).write_text(json.dumps(found, indent=1), encoding="utf-8")


def page(folder: Path) -> str:
    """The page, with the pictures that ``folder`` has; without any, it says how they are made."""
    if not (folder / INDEX).exists():
        return HEAD + NONE
    found = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    text = (
        f"{HEAD}Pictures of a real run on the emulator, which `nox -s pictures` made on {found['made']} from commit "
        f"`{found['commit'][:12]}`: what the commands printed, and the pages that they wrote.\n"
    )
    for one in (Picture(**known) for known in found["pictures"]):
        text += f"\n## {one.title}\n\n```console\n$ {one.command}\n{one.output}```\n"
        text += f"\n![{one.title}, as a browser shows it](pictures/{one.file})\n" if one.file else ""
    return text


def copy(folder: Path, site: Path) -> None:
    """Add the page, and its screenshots, to the site's sources."""
    (site / "pictures.md").write_text(page(folder), encoding="utf-8")
    (site / "pictures").mkdir()
    for path in folder.glob("*.png"):
        shutil.copy2(path, site / "pictures")


def take(folder: Path, demo: Demo) -> list[Picture]:
    """The story that the pictures show, in its order."""
    from demo.delivery import BREAK, BROKEN
    from demo.service import create

    create(demo, demo.service, "lambda-zip")
    demo.run("", "make", "setup")
    demo.run("", "invoke", "train", "--option", "trials=1")
    shown = [transcript("Models are judged on days that they have not seen", demo, "invoke", "evaluate")]
    report = demo.service / "build/report.html"
    shown.append(photograph("The models' report", "invoke evaluate", report, folder))
    demo.run("", "invoke", "promote")
    demo.commit("Train the first models")
    demo.run("", "invoke", "bootstrap")
    shown.append(transcript("A release is built, pushed, and verified", demo, "invoke", "ship"))
    for one in json.loads(demo.run("", "invoke", "call", "/v1/products"))["products"][:8]:
        demo.run("", "invoke", "call", f"/v1/predict-price/{one['stockcode']}?bins=4")
    file, line = BROKEN["lambda-zip"]
    demo.edit(file, (line, line + BREAK))
    demo.commit("Break it")
    shown.append(transcript("A broken release gets no traffic", demo, "invoke", "ship", fails=True))
    demo.run("", "git", "revert", "--no-edit", "HEAD")
    demo.run("", "invoke", "ship")
    shown.append(transcript("Code, configuration and model go back together", demo, "invoke", "rollback"))
    shown.append(transcript("What is live", demo, "invoke", "status"))
    words = ["invoke", "releases", "--html", "build/releases.html"]
    demo.run("", *words)
    shown.append(photograph("The releases", " ".join(words), demo.service / words[-1], folder, 460))
    demo.run("", "invoke", "report")
    shown.append(photograph("Monitoring", "invoke report", demo.service / "build/monitoring.html", folder))
    return shown


def main() -> int:
    """Take all pictures; the current folder is the repository's root. Exit code 1 when the run did not go as it should."""
    from demo.service import Demo, Failed, stop_cloud

    service = Path("build/pictured/demand-pricing").absolute()
    stop_cloud(service)
    for left in (service, FOLDER):
        shutil.rmtree(left, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        keep(FOLDER, commit, take(FOLDER, Demo(service)))
    except Failed as fault:
        print(f"✗ {fault}", file=sys.stderr)
        return 1
    finally:
        stop_cloud(service)
    print(f"pictures are in {FOLDER}; nox -s docs shows them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
