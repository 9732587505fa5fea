"""Reads a Dockerfile that only adds the build's archives to its base and sets the image's configuration.

Such an image needs nothing to be run, so it needs no container engine. Whatever else the file has is a reason for one:
nothing is guessed. The format: https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.containers.instructions import Needed, Step, expanded, single, steps, unquoted, words

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Needs", "Plan", "configured", "read"]

PORT = re.compile(r"\d{1,5}(/(tcp|udp|sctp))?")
# Set by the engine: https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope and the proxies.
PREDEFINED = re.compile(
    r"(TARGET|BUILD)(PLATFORM|OS|ARCH|VARIANT)|BUILDKIT_\w+|(HTTPS?|FTP|NO|ALL)_PROXY", re.IGNORECASE
)
# What of a base's configuration stays: https://github.com/opencontainers/image-spec/blob/main/config.md, and Docker's additions.
KEPT = ["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"]
KEPT += ["Healthcheck", "Shell"]
SHELL = ["/bin/sh", "-c"]


@dataclass(frozen=True)
class Plan:
    """What such a file says: the name of its base, the archives that it adds, and its instructions after ``FROM``.

    ``arguments`` are the build's, and ``globals`` those that stand before ``FROM``, with their values.
    """

    base: str
    archives: tuple[str, ...]
    steps: tuple[Step, ...]
    arguments: Mapping[str, str]
    globals: Mapping[str, str]


@dataclass(frozen=True)
class Needs:
    """What needs a container engine: an instruction, or a property of the base image."""

    line: int
    what: str


def read(text: str, arguments: Mapping[str, str], archives: frozenset[str]) -> Plan | Needs:
    """The plan of a Dockerfile; or the first thing in it that needs an engine.

    Args:
        text: the file.
        arguments: the build's arguments, which replace the defaults of ``ARG``.
        archives: the files beside it that ``ADD FILE /`` may unpack.
    """
    try:
        found = steps(text)
        start = next((n for n, step in enumerate(found) if step.word == "FROM"), None)
        if start is None:
            raise Needed(Step(1, "", ""), "there is no FROM")
        outer: dict[str, str] = {}
        for step in found[:start]:
            if step.word != "ARG":
                raise Needed(step)
            outer |= _declared(step, arguments, {}, outer)
        named = expanded(found[start], found[start].value, outer).split()
        if (
            not named
            or named[0].startswith("--")
            or named[0] == "scratch"
            or [*map(str.upper, named[1:2])] not in ([], ["AS"])
        ):
            raise Needed(found[start])
        added = []
        for step in found[start + 1 :]:
            if step.word not in APPLIED:
                raise Needed(step)
            if step.word == "ADD":
                file, _, place = step.value.partition(" ")
                if file not in archives or place.strip() != "/" or file in added:
                    raise Needed(step)
                added.append(file)
        return Plan(named[0], tuple(added), tuple(found[start + 1 :]), arguments, outer)
    except Needed as needed:
        return Needs(needed.line, needed.what)


@dataclass
class _Image:
    """The configuration while it is made, and what the instructions refer to."""

    plan: Plan
    config: dict[str, Any]
    environment: dict[str, str]
    arguments: dict[str, str]
    folders: set[str]  # that are known to exist
    folder: str
    commanded: bool = False

    @property
    def variables(self) -> dict[str, str]:
        return {**self.arguments, **self.environment}


def configured(
    plan: Plan, base: Mapping[str, Any], folder: str, labels: Mapping[str, str]
) -> tuple[dict[str, Any], list[tuple[str, str]]] | Needs:
    """The configuration of the plan's image, and for each instruction the text and the archive that it adds ("" for none).

    Args:
        plan: as ``read`` returned it.
        base: the ``config`` of the base image's configuration.
        folder: the folder that the archives unpack to, such as ``var/task``.
        labels: more labels, which replace the file's.

    Returns:
        or what needs an engine, which can also be a property of the base image.
    """
    config = {name: base[name] for name in KEPT if base.get(name)}
    environment = dict(text.split("=", 1) for text in config.get("Env", ()) if "=" in text)
    image = _Image(plan, config, environment, {}, {"/", config.get("WorkingDir") or "/"}, folder)
    history = []
    try:
        if base.get("OnBuild"):
            raise Needed(Step(1, "", ""), "the base image has ONBUILD instructions")
        for step in plan.steps:
            APPLIED[step.word](image, step)
            history.append((str(step), step.value.split()[0] if step.word == "ADD" else ""))
    except Needed as needed:
        return Needs(needed.line, needed.what)
    if image.environment:
        config["Env"] = [f"{name}={value}" for name, value in image.environment.items()]
    config["Labels"] = {**config.get("Labels", {}), **labels}
    return config, history


def _add(image: _Image, step: Step) -> None:
    parts = image.folder.split("/")
    image.folders |= {"/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}


def _arg(image: _Image, step: Step) -> None:
    image.arguments |= _declared(step, image.plan.arguments, image.plan.globals, image.variables)


def _env(image: _Image, step: Step) -> None:
    image.environment |= _pairs(step, image.variables)


def _label(image: _Image, step: Step) -> None:
    image.config["Labels"] = {**image.config.get("Labels", {}), **_pairs(step, image.variables)}


def _user(image: _Image, step: Step) -> None:
    image.config["User"] = single(step, image.variables)


def _workdir(image: _Image, step: Step) -> None:
    """An engine makes the folder where it does not exist; only those that are known to exist are set here."""
    path = posixpath.normpath(posixpath.join(image.config.get("WorkingDir") or "/", single(step, image.variables)))
    if path not in image.folders:
        raise Needed(step)
    image.config["WorkingDir"] = path


def _expose(image: _Image, step: Step) -> None:
    ports = expanded(step, step.value, image.variables).split()
    if not ports or not all(PORT.fullmatch(port) for port in ports):
        raise Needed(step)
    exposed = {port if "/" in port else f"{port}/tcp": dict[str, str]() for port in ports}
    image.config["ExposedPorts"] = {**image.config.get("ExposedPorts", {}), **exposed}


def _entrypoint(image: _Image, step: Step) -> None:
    image.config["Entrypoint"] = _command(image, step)
    if not image.commanded:  # a base's command is meant for the base's entrypoint
        image.config.pop("Cmd", None)


def _cmd(image: _Image, step: Step) -> None:
    image.config["Cmd"] = _command(image, step)
    image.commanded = True


def _command(image: _Image, step: Step) -> list[str]:
    """The words of a command: those of a JSON list, else a line for the shell."""
    if step.value.startswith("["):
        try:
            parsed = json.loads(step.value)
        except ValueError:
            parsed = None
        if isinstance(parsed, list) and all(isinstance(word, str) for word in parsed):
            return parsed
    if not step.value:
        raise Needed(step)
    return [*(image.config.get("Shell") or SHELL), step.value]


APPLIED = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "USER": _user,
    "WORKDIR": _workdir,
}


def _declared(
    step: Step, arguments: Mapping[str, str], outer: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """The arguments that an ``ARG`` declares and that have a value: the build's, else the default, else the one before FROM."""
    found: dict[str, str] = {}
    for word in words(step):
        name, equals, default = word.partition("=")
        if PREDEFINED.fullmatch(name):
            raise Needed(step)
        if name in arguments:
            found[name] = arguments[name]
        elif equals:
            found[name] = unquoted(step, default, {**variables, **found})
        elif name in outer:
            found[name] = outer[name]
    return found


def _pairs(step: Step, variables: Mapping[str, str]) -> dict[str, str]:
    """``NAME=VALUE NAME=VALUE``; the older form ``NAME VALUE`` is not read here."""
    pairs = {}
    for word in words(step):
        name, equals, value = word.partition("=")
        if not equals:
            raise Needed(step)
        pairs[unquoted(step, name, variables)] = unquoted(step, value, variables)
    return pairs
