"""The site, for Sphinx; ``nox -s docs`` builds it. No page asks another host for anything: no fonts, scripts or images."""

import re
from pathlib import Path

from pygments.lexers import TextLexer
from sphinx.application import Sphinx
from sphinx.highlighting import lexers

project = "cookiecutter-ml-service"
author = "the authors of cookiecutter-ml-service"
release = re.findall(
    r'^__version__ = "(.*)"', Path("../src/ml_delivery/__init__.py").read_text(encoding="utf-8"), re.M
)[0]
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path: list[str] = []
# Anchors of headings, as GitHub makes them.
myst_heading_anchors = 4
exclude_patterns: list[str] = []
nitpicky = True
lexers["csv"] = TextLexer()
# What the theme and Sphinx leave out of their pages for readers who use a keyboard or a screen reader; axe-core finds it.
ACCESSIBLE = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="Site">'),
    ('<aside class="toc-drawer', '<aside aria-label="Page" class="toc-drawer'),
    ("<pre>", '<pre tabindex="0">'),
)


def make_accessible(app: Sphinx, exception: Exception | None) -> None:
    """Complete every page that was written."""
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for old, new in ACCESSIBLE:
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx: https://www.sphinx-doc.org/en/master/extdev/appapi.html"""
    app.connect("build-finished", make_accessible)
