"""The instructions of a Dockerfile: their lines, words and variables. https://docs.docker.com/reference/dockerfile/."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Needed", "Step", "expanded", "single", "steps", "unquoted", "words"]

DIRECTIVE = re.compile(r"#\s*(escape|check)\s*=", re.IGNORECASE)
VARIABLE = re.compile(
    r"\$(?:(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:[-+])(?P<word>[^${}]*))?\})|(?P<other>[$\\])",
    re.ASCII,
)
PIECE = re.compile(r"""[^\s"'\\]+|"[^"\\]*"|'[^']*'""")
WORD = re.compile(r"""(?:[^\s"'\\]|"[^"\\]*"|'[^']*')+""")
WORDS = re.compile(rf"{WORD.pattern}(?:\s+{WORD.pattern})*")


@dataclass(frozen=True)
class Step:
    """An instruction: the number of its first line, its name in capitals, and the rest of it."""

    line: int
    word: str
    value: str

    def __str__(self) -> str:
        return f"{self.word} {self.value}".strip()


class Needed(Exception):
    """A step that needs an engine, or is not understood here: the number of its line, and what it is."""

    def __init__(self, step: Step, what: str = "") -> None:
        super().__init__(what)
        self.line, self.what = step.line, what or str(step)[:80]


def steps(text: str) -> list[Step]:
    """The instructions, their continued lines joined."""
    found: list[Step] = []
    begun, parts = 0, [""]
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            if not found and DIRECTIVE.match(line.lstrip()):
                raise Needed(Step(number, line.strip(), ""))
            continue
        if not line.strip():
            continue
        begun = begun or number
        if line.rstrip().endswith("\\"):
            parts.append(line.rstrip()[:-1])
            continue
        word, _, value = "".join((*parts, line)).strip().replace("\t", " ").partition(" ")
        found.append(Step(begun, word.upper(), value.strip()))
        begun, parts = 0, [""]
    if begun:
        raise Needed(Step(begun, "".join(parts).strip(), ""))
    return found


def words(step: Step) -> list[str]:
    """The words, with their quotes."""
    if not WORDS.fullmatch(step.value):
        raise Needed(step)
    return WORD.findall(step.value)


def unquoted(step: Step, text: str, variables: Mapping[str, str]) -> str:
    """A word without its quotes, with the variables' values where it is not in single quotes."""
    if not text:
        return ""
    if not WORD.fullmatch(text):
        raise Needed(step)
    return "".join(
        piece[1:-1] if piece[0] == "'" else expanded(step, piece.strip('"'), variables) for piece in PIECE.findall(text)
    )


def single(step: Step, variables: Mapping[str, str]) -> str:
    """The only word of an instruction."""
    found = words(step)
    if len(found) != 1 or not (value := unquoted(step, found[0], variables)):
        raise Needed(step)
    return value


def expanded(step: Step, text: str, variables: Mapping[str, str]) -> str:
    """The text with the variables' values."""

    def value(found: re.Match[str]) -> str:
        if found["other"]:
            raise Needed(step)
        known = variables.get(found["bare"] or found["name"], "")
        if found["how"] == ":-":
            return known or found["word"]
        return found["word"] if found["how"] and known else "" if found["how"] else known

    return VARIABLE.sub(value, text)
