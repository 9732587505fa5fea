"""The settings: every key of ``pipeline.toml``, from its declaration and from its comment in the template's file."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from ml_delivery import keys, plugin

__all__ = ["comments", "page"]

TEMPLATE = Path("{{cookiecutter.project_slug}}")
HEAD = """\
# Settings

`pipeline.toml` holds them. A new service's file shows every one with its comment, and its first line names a JSON schema, so an
editor that knows TOML (Even Better TOML, taplo) completes and checks it. `invoke config` prints how it is read for each
environment, and lists all that is wrong at once.

Precedence, weakest first: the default, the file, an environment variable (`PIPELINE_PYTHON`), an option of the command line.
`[environments.NAME.SECTION]` overrides keys of {overridable} for one environment.
"""


def page() -> str:
    """The page, in Markdown."""
    overridable = ", ".join(f"`[{name}]`" for name in keys.OVERRIDABLE)
    parts = [HEAD.format(overridable=overridable)]
    said = {target: comments(target) for target in plugin.built_in()}
    for section, kind in keys.SECTIONS.items():
        if section != "function":
            parts.append(_section(f"[{section}]", section, kind, _together(said)))
            continue
        parts.append(f"## [function]\n\n{_sentence(kind)}\n")
        shared = {field.name for field in dataclasses.fields(kind)}
        parts += [_key(section, field, said["lambda-zip"]) for field in dataclasses.fields(kind)]
        for names, own in _functions().items():
            parts.append(_section(f"[function] for {names}", section, own, said[names.split("`")[1]], shared))
    parts.append(_section("[environments.NAME]", "environments", keys.EnvironmentTable, {}, {"name"}))
    parts.append(_section("[[probe.requests]]", "probe.requests", keys.Request, {}))
    return "\n".join(parts)


def comments(target: str) -> dict[str, str]:
    """The comment of each ``section.key`` in a new service's file for ``target``."""
    answers = {"starter": "blank", "target": target, "project_slug": "demand-pricing", "python_version": "3.12"}
    names = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=False)  # noqa: S701 - TOML, not HTML
    section, last = "", ""
    found: dict[str, str] = {}
    for line in names.get_template("pipeline.toml").render(cookiecutter=answers).splitlines():
        if table := re.match(r"\[([\w.]+)\]", line):
            section, last = table[1], ""
        elif named := re.match(r"(\w+) = .*?#\s(.*)$", line):
            last = f"{section}.{named[1]}"
            found[last] = named[2].strip()
        elif last and (more := re.match(r"\s{20,}# (?! )(.*)$", line)):
            found[last] += f" {more[1].strip()}"
        else:
            last = ""
    return found


def _together(said: dict[str, dict[str, str]]) -> dict[str, str]:
    """The comment of each key; where targets have different ones, each with its targets."""
    found: dict[str, dict[str, list[str]]] = {}
    for target, commented in said.items():
        for name, text in commented.items():
            found.setdefault(name, {}).setdefault(text, []).append(f"`{target}`")
    return {
        name: ".\n\n".join(f"For {', '.join(targets)}: {text}" for text, targets in texts.items())
        if len(texts) > 1
        else next(iter(texts))
        for name, texts in found.items()
    }


def _functions() -> dict[str, type[Any]]:
    """The classes that declare [function], by the targets that share each."""
    found: dict[type[Any], list[str]] = {}
    for target in plugin.built_in():
        found.setdefault(plugin.find(target, Path()).function, []).append(f"`{target}`")
    return {", ".join(names): kind for kind, names in found.items()}


def _section(title: str, section: str, kind: type[Any], said: dict[str, str], without: set[str] | None = None) -> str:
    shown = [_key(section, field, said) for field in dataclasses.fields(kind) if field.name not in (without or ())]
    return f"## {title}\n\n{_sentence(kind)}\n\n" + "\n".join(shown)


def _sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or "").partition("\n\n")[0].replace("``", "`").strip()


def _key(section: str, field: Any, said: dict[str, str]) -> str:
    """One key: its comment, its default, what is allowed, what overrides it, and an example."""
    name = f"{section}.{field.name}"
    lines = [f"### {name}", ""]
    if comment := said.get(name):
        lines += [f"{comment[0].upper()}{comment[1:]}".rstrip(".") + ".", ""]
    lines.append(f"- Write {_code(field.metadata['write'])}")
    lines.append(f"- Default: {_default(field)}")
    if allowed := _allowed(field.metadata):
        lines.append(f"- Allowed: {allowed}")
    if name == "service.python":
        lines.append("- Overridden by the environment variable `PIPELINE_PYTHON`")
    if section in keys.OVERRIDABLE:
        lines.append(f"- Overridden by `{field.name}` in `[environments.NAME.{section}]`")
    return "\n".join(lines) + "\n"


def _default(field: Any) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    if field.default is dataclasses.MISSING:
        return "none; it must be there"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return "empty" if value in ("", [], None) else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    return (
        str(value).replace("'", '"')
        if isinstance(value, list)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
    )


def _allowed(limits: Any) -> str:
    if limits["choices"]:
        return ", ".join(f'`"{choice}"`' for choice in limits["choices"])
    if limits["within"]:
        return "{:,} to {:,}".format(*limits["within"])
    pattern = limits["values"] or limits["pattern"]
    return f"what matches `` {pattern} ``" if pattern and pattern != ".+" else ""


def _code(write: str) -> str:
    """What to write, with what is to be typed as code."""
    words, colon, example = write.partition(": ")
    return f"{words}: `{example}`" if colon else f"`{write}`" if write.startswith(('"', "[")) else write
