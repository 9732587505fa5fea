"""Plain English: words that CONTRIBUTING's glossary replaces are in no message, docstring, comment or document."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest
from test_template import tracked
from tiny import ROOT, TEMPLATE

# What is not written, and what is written instead; CONTRIBUTING.md has the same table.
GLOSSARY = {
    r"mend(s|ed|ing)?": "fix, correct, patch",
    r"(is|are|was|were|be|been) told": "notified, reported",
    r"told apart": "distinguished",
    r"(some|no|any)body": "the user, another command, none; or the passive",
    r"someone( else)?": "another user, another command",
    r"former(ly)?": "previous, earlier",
    r"without a word": "without reporting a result",
    r"left to --resume|what is left to": "paused until, remains",
    r"given away|gives away": "immutable",
    r"a table of texts": "a table of strings",
    r"who gets how much": "how traffic is split",
    r"rings?": "is in alarm",
    r"gone on with": "continued",
}
BANNED = re.compile(rf"\b({'|'.join(GLOSSARY)})\b", re.I)
PROSE = (".md", ".toml", ".yml", ".yaml", ".txt", ".ini", ".html")
EXEMPT = ("requirements/", "locks/", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "test_words.py", "openapi.json")


def prose(path: Path) -> str:
    """The strings and comments of a Python file, each on its own line; all of another file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = [""] * (text.count("\n") + 2)
    for token in tokens:
        if token.type in kinds:
            for offset, part in enumerate(token.string.split("\n")):
                lines[token.start[0] + offset - 1] += part
    return "\n".join(lines)


@pytest.mark.parametrize(
    "folder",
    ["src/ml_delivery", "src/ml_pages", "src/embedded_aws", TEMPLATE.name, "docs", "hooks", "local_extensions", ""],
)
def test_words_that_are_not_written(folder: str) -> None:
    """Each word of the glossary's left column stays out."""
    found = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        inside = name.startswith(f"{folder}/") if folder else "/" not in name
        if not inside or path.is_symlink() or any(exempt in name for exempt in EXEMPT):
            continue
        if path.suffix in (".py", *PROSE) or path.name in ("Makefile", "Dockerfile.lambda"):
            for number, line in enumerate(prose(path).splitlines(), 1):
                if name.endswith("release/head.py") and line.count('"') > 4:
                    continue  # the names of format 1
                found += [f"{name}:{number}: {match[0]!r} in {line.strip()[:110]}" for match in BANNED.finditer(line)]
    assert not found, f"{len(found)}:\n" + "\n".join(found)
