"""The messages: each error of the package with its next command, found in the code that raises it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ml_delivery import errors

__all__ = ["found", "page"]

PACKAGE = Path("src/ml_delivery")
# What test_next.py brings about, and the commands in it.
SITUATIONS = Path("tests/next_situations.py")
HERE = "--branch main"
KNOWN = {"HERE": HERE, "BUILD": f"invoke build {HERE} && invoke push {HERE}"}
HEAD = """\
# Messages and their causes

Every error has a cause and, where there is one, the next command as it must be typed. This list is made from the places in the code
that raise them; `…` stands for what is named there: an environment, a file, a version. Search it for words of your message. One
that begins with `internal error` is a fault of this project: please report it with the file that it names.

## What is met most

Each of these is brought about by a test, which types the next command as it stands and sees that it helps.

"""


def page() -> str:
    """The page, in Markdown."""
    text = HEAD
    for situation, typed, says, then in situations():
        text += f"- {situation[0].upper()}{situation[1:]}. `invoke {typed}`: {_code(f'… {says} …')}  \n  Next: {_code(then)}\n"
    listed = list(found())
    for name in errors.__all__:
        kind = getattr(errors, name)
        here = sorted({(message, then) for one, message, then in listed if one == name})
        if not here:
            continue
        text += f"\n## {name}\n\n{(kind.__doc__ or '').strip().splitlines()[0].replace('``', '`')}\n\n"
        for message, then in here:
            text += f"- {_code(message)}" + (f"  \n  Next: {_code(then)}\n" if then else "\n")
    return text


def found() -> Iterator[tuple[str, str, str]]:
    """Each error that the package makes: its class, its message and its next step."""
    kinds = set(errors.__all__)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in kinds:
                continue
            words = (
                node.args[1]
                if node.func.id == "ConfigError" and len(node.args) > 1
                else node.args[0]
                if node.args
                else None
            )
            then = next((keyword.value for keyword in node.keywords if keyword.arg == "next"), None)
            message = _text(words)
            if re.search(r"\w{3}", message):
                yield node.func.id, message, _text(then)


def situations() -> Iterator[tuple[str, str, str, str]]:
    """Each situation that a test brings about: its name, the task that is refused, a part of the message, the next step."""
    for node in ast.walk(ast.parse(SITUATIONS.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) == "SITUATIONS"
            and isinstance(node.value, ast.Dict)
        ):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(value, ast.Call):
                    _, typed, says, then = value.args
                    yield _text(key), _text(typed), _text(says), _text(then)


def _text(node: ast.AST | None) -> str:
    """A message as a reader sees it, with … for what is computed."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(value)):
            return value
        case ast.FormattedValue(value=ast.Name(id=name)) if name in KNOWN:
            return KNOWN[name]
        case ast.JoinedStr(values=values):
            return re.sub(r"…(\s*…)+", "…", "".join(_text(value) for value in values))
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return "; ".join(filter(None, map(_text, elements)))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body, orelse=other):
            return " / ".join(dict.fromkeys(filter(None, (_text(body), _text(other)))))
    return "…"


def _code(text: str) -> str:
    """As code, on one line."""
    line = " ".join(text.split())
    ticks = "``" if "`" in line else "`"
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"
