"""``pipeline.toml``, read, checked and frozen.

Precedence, weakest first: default < file < environment variable (``PIPELINE_PYTHON``, ``PIPELINE_CLOUD``) < flag.
The keys are declared in ``keys.py``.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_delivery import plugin
from ml_delivery.errors import ConfigError
from ml_delivery.keys import (
    OVERRIDABLE,
    PYTHONS,
    SECTIONS,
    Build,
    Command,
    Environment,
    EnvironmentTable,
    Function,
    Github,
    Hooks,
    Jobs,
    Monitoring,
    Prepare,
    Service,
    Tune,
)
from ml_delivery.sections import REPLACED, read_section, suggestion

__all__ = ["FILE", "Config", "find_root", "load"]

FILE = "pipeline.toml"


@dataclass(frozen=True)
class Config:
    """All of ``pipeline.toml``, and the folder that contains it (``root``)."""

    root: Path
    service: Service
    prepare: Prepare
    train: Command
    evaluate: Command
    promote: Command
    jobs: Jobs
    tune: Tune
    build: Build
    hooks: Hooks
    github: Github
    monitoring: Monitoring
    environments: dict[str, Environment]

    def environment(self, branch: str) -> Environment:
        """The environment that ``branch`` is delivered to.

        Raises:
            ConfigError: no environment names this branch.
        """
        for environment in self.environments.values():
            if environment.branch == branch:
                return environment
        known = ", ".join(f"{e.branch} ({e.name})" for e in self.environments.values())
        raise ConfigError(
            FILE,
            [f"environments: no environment names the branch {branch!r}; the branches are: {known}"],
            next=f"add --branch {next(iter(self.environments.values())).branch}",
        )

    def name_of(self, environment: Environment) -> str:
        """``<service>-<environment>``, the name of most of an environment's resources on AWS."""
        return f"{self.service.name}-{environment.name}"


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the current one) that contains ``pipeline.toml``.

    Raises:
        ConfigError: there is none.
    """
    start = start or Path.cwd()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise ConfigError(FILE, [f"no {FILE} in {start} or above it; run this inside a service"])


def load(root: Path | None = None, variables: Mapping[str, str] = os.environ) -> Config:
    """Read and check ``pipeline.toml``.

    Args:
        root: the service's folder; default: found from the current folder.
        variables: environment variables; ``PIPELINE_PYTHON`` overrides ``service.python``.

    Raises:
        ConfigError: it is missing or wrong; lists all problems, each as ``section.key: what is wrong; what to write``.
    """
    root = root or find_root()
    path = root / FILE
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(FILE, [f"no {FILE} in {root}; run this inside a service"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(FILE, [f"not TOML: {error}"], next=f"correct {path}") from error
    if (python := variables.get("PIPELINE_PYTHON")) and isinstance(data.get("service"), dict):
        data["service"]["python"] = python
    problems: list[str] = [
        f"{name}: unknown table; {REPLACED.get(name) or suggestion(name, [*SECTIONS, 'environments'])}"
        for name in data
        if name not in (*SECTIONS, "environments")
    ]
    kinds = _functions(data, root, problems)
    read = {
        name: read_section(name, kinds.get("", Function) if name == "function" else kind, data.get(name, {}), problems)
        for name, kind in SECTIONS.items()
        if name != "function" or "" in kinds
    }
    environments = _environments(data, read, kinds, problems) if "" in kinds else {}
    if not problems:
        found = [line for one in environments.values() for line in _with_others(one, root)]
        problems = [*read["jobs"].problems(), *read["tune"].problems(), *dict.fromkeys(found)]
        problems += [
            f"environments.{name}.variables.{line}"
            for name, one in environments.items()
            for line in one.function.problems(one.variables)
        ]
    if problems:
        raise ConfigError(FILE, problems, next=f"correct {path}")
    own = {name: section for name, section in read.items() if name not in OVERRIDABLE}  # these are in the environments
    return Config(root=root, environments=environments, **own)


def _with_others(environment: Environment, root: Path) -> list[str]:
    """What is wrong with an environment's settings in the light of its target, and of the service's files."""
    kind = plugin.find(environment.target, root)
    own = environment.http.problems(kind.fronts, environment.target) or kind.problems(environment)
    return [*environment.probe.problems(root), *own]


def _functions(data: dict[str, Any], root: Path, problems: list[str]) -> dict[str, type[Function]]:
    """The class that declares ``[function]``, by the name of each environment that has its own target.

    The class of ``service.target``, for the other environments, is under the empty name; it is missing if there is none.
    """
    service, tables = data.get("service"), data.get("environments")
    named = {"": service.get("target")} if isinstance(service, dict) else {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict) and table.get("target"):
            named[name] = table["target"]
    found: dict[str, type[Function]] = {}
    for name, target in named.items():
        place = f"environments.{name}.target" if name else "service.target"
        if not isinstance(target, str):
            continue  # reported when its section is read
        try:
            kind = plugin.find(target, root)
        except plugin.Missing as error:
            problems.append(f"{place}: {error}")
            continue
        if not all(hasattr(kind, name) for name in ("function", "pythons", "fronts", "problems")):
            problems.append(f"{place}: {target} is no ml_delivery.target.Target")
            continue
        found[name] = kind.function
        python = service.get("python") if isinstance(service, dict) else None
        if python in PYTHONS and python not in kind.pythons:
            problems.append(f"service.python: {target} runs {', '.join(kind.pythons)}, not {python}")
    return found


def _environments(
    data: dict[str, Any], read: dict[str, Any], kinds: dict[str, type[Function]], problems: list[str]
) -> dict[str, Environment]:
    tables = data.get("environments")
    if not isinstance(tables, dict) or not tables:
        problems.append("environments: missing; write a table for each: [environments.production]")
        return {}
    found: dict[str, Environment] = {}
    for name, table in tables.items():
        place = f"environments.{name}"
        if not isinstance(table, dict):
            problems.append(f"{place}: {table!r} is not a table; write [{place}]")
            continue
        if "name" in table:
            problems.append(f"{place}.name: unknown key; the table's name is the environment's name, so remove it")
        own = {key: value for key, value in table.items() if key not in (*OVERRIDABLE, "name")}
        where = read_section(place, EnvironmentTable, {"name": name, **own}, problems)
        function = kinds.get(name, kinds[""])
        sections = {
            section: _overridden(
                place, section, function if section == "function" else kind, data, table, read, problems
            )
            for section, kind in SECTIONS.items()
            if section in OVERRIDABLE
        }
        if where and read["service"]:
            target = where.target or read["service"].target
            found[name] = Environment(
                name, where.branch, where.account, target, **sections, own_variables=where.variables
            )
    branches = [e.branch for e in found.values()]
    problems += [
        f"environments: the branch {b!r} is named twice; name each once"
        for b in sorted({b for b in branches if branches.count(b) > 1})
    ]
    return found


def _overridden(
    place: str,
    section: str,
    kind: type[Any],
    data: dict[str, Any],
    table: dict[str, Any],
    read: dict[str, Any],
    problems: list[str],
) -> Any:
    """A section for one environment: the file's section, with the overrides of the environment's table."""
    if section not in table and (read[section] is None or type(read[section]) is kind):
        return read[section]
    override = table.get(section, {})
    general = data.get(section, {})
    if isinstance(override, dict) and isinstance(general, dict):
        known = {field.name for field in dataclasses.fields(kind)}
        kept = {key: value for key, value in general.items() if key in known and key not in override}
        tables = {
            key: {**general[key], **value}
            for key, value in override.items()
            if isinstance(value, dict) and isinstance(general.get(key), dict)
        }
        override = {**kept, **override, **tables}
    return read_section(f"{place}.{section}", kind, override, problems)
