"""Makes the sources of the site: ``python docs/generate FOLDER`` copies the pages of ``docs/`` there, and adds the reference.

The reference is made from the code on each build, so it can't differ from it: ``nox -s docs`` runs this, then Sphinx.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import differences
import iam
import limits
import messages
import outputs
import pictures
import settings
import states
import tasks_page

DOCS = Path("docs")
NOT_PAGES = ("generate", "__pycache__", "conf.py", "limits.toml", "sagemaker.toml")
PAGES = {
    "settings.md": settings.page,
    "tasks.md": tasks_page.page,
    "outputs.md": outputs.page,
    "iam.md": iam.page,
    "limits.md": limits.page,
    "differences.md": differences.page,
    "messages.md": messages.page,
}


def main(folder: Path) -> None:
    """Write the sources into ``folder``, which is emptied first; the current folder is the repository's root."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        DOCS,
        folder,
        ignore=shutil.ignore_patterns(*NOT_PAGES),
    )
    (folder / "reference").mkdir()
    for name, page in PAGES.items():
        (folder / "reference" / name).write_text(page(), encoding="utf-8")
    pictures.copy(pictures.FOLDER, folder)
    (folder / "explanation/states.svg").write_text(states.drawing(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
