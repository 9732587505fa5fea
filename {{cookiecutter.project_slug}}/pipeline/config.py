"""``pipeline.toml``, read, checked and frozen.

Precedence, weakest first: default < file < environment variable (``PIPELINE_PYTHON``, ``PIPELINE_CLOUD``) < flag.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLOUDS", "PYTHONS", "Config", "Environment", "Function", "Probe", "Service", "find_root", "load"]

FILE = "pipeline.toml"
CLOUDS = ("embedded", "aws")
# Python runtimes that Lambda offers and that the locks are made for:
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# Name lengths add up to S3's 63 characters for <service>-<environment>-<account>, the longest name made of them.
ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", min_length=3, max_length=32)]
EnvironmentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", min_length=2, max_length=16)]
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
Variables = dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]+$")], str]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Service(_Section):
    """What is shipped, and where it runs."""

    name: ServiceName = Field(description='lower-case letters, digits and single dashes, 3 to 32: "demand-pricing"')
    target: Literal["lambda-zip"] = Field(description='"lambda-zip"')
    python: Literal["3.11", "3.12", "3.13", "3.14"] = Field(description='a quoted version that Lambda runs: "3.12"')
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description='an AWS region: "eu-west-1"')
    architecture: Literal["x86_64", "arm64"] = Field("x86_64", description='"x86_64" or "arm64"')


class Function(_Section):
    """The Lambda function's own settings; the same in every environment."""

    memory: int = Field(1024, ge=128, le=10240, description="megabytes, 128 to 10240: 1024")
    timeout: int = Field(15, ge=1, le=900, description="seconds, 1 to 900: 15")
    variables: Variables = Field(default_factory=dict, description='text values: LOG_LEVEL = "INFO"')


class Probe(_Section):
    """What a version must answer with status 200 before, and through the alias after, it gets the traffic."""

    paths: tuple[Annotated[str, Field(pattern=r"^/")], ...] = Field(
        ("/healthz",), strict=False, description='a list of paths: ["/healthz"]'
    )


class Build(_Section):
    """What the artifact leaves out."""

    exclude: tuple[str, ...] = Field(
        (), strict=False, description='a list of glob patterns over paths in the artifact: ["numpy/*/tests/*"]'
    )


class Environment(_Section):
    """One place that releases go to. ``name`` is the table's own."""

    name: EnvironmentName = Field(description='lower-case letters and digits, 2 to 16: "staging"')
    branch: str = Field(min_length=1, description='the branch that is delivered here: "main"')
    account: str = Field("", pattern=r"^(\d{12})?$", description='a quoted 12-digit AWS account: "123456789012"')
    variables: Variables = Field(default_factory=dict, description='text values: LOG_LEVEL = "INFO"')


class Config(_Section):
    """The whole of ``pipeline.toml``, and the folder that holds it (``root``)."""

    root: Path
    service: Service
    function: Function = Function()
    probe: Probe = Probe()
    build: Build = Build()
    environments: dict[str, Environment] = Field(min_length=1)

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

    def variables(self, environment: Environment) -> dict[str, str]:
        """The function's variables in ``environment``; the environment's own win over the function's."""
        return {**self.function.variables, **environment.variables}


def find_root(start: Path | None = None) -> Path:
    """The nearest folder at or above ``start`` (default: the current one) that holds ``pipeline.toml``.

    Links are not resolved: a project may link its ``pipeline`` package from elsewhere.

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
        ConfigError: with every problem at once, each as ``section.key: what is wrong; what to write``.
    """
    root = root or find_root()
    path = root / FILE
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(FILE, [f"no {FILE} in {root}; run this inside a service"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"not TOML: {error}"], next=f"mend {path}") from error
    if (python := variables.get("PIPELINE_PYTHON")) and isinstance(data.get("service"), dict):
        data["service"]["python"] = python
    if isinstance(tables := data.get("environments"), dict):
        for name, table in tables.items():
            if isinstance(table, dict):
                table["name"] = name
    try:
        config = Config.model_validate({**data, "root": root})
    except ValidationError as error:
        raise ConfigError(FILE, [_problem(e) for e in error.errors()], next=f"mend {path}") from error
    branches = [e.branch for e in config.environments.values()]
    if doubled := sorted({b for b in branches if branches.count(b) > 1}):
        raise ConfigError(FILE, [f"environments: the branch {b!r} is named twice; name each once" for b in doubled])
    return config


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors: where it is, what is wrong, what to write."""
    location = [str(part) for part in error["loc"] if part != "[key]"]
    place = ".".join(location)
    section = _section(location[:-1])
    if error["type"] == "extra_forbidden":
        known = [name for name in (section.model_fields if section else ()) if name not in ("root", "name")]
        if section is Service:
            known = list(Service.model_fields)
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"write one of {', '.join(known)}, or remove it"
        return f"{place}: unknown key; {hint}"
    field = next((s.model_fields[key] for s, key in _fields(location)), None)
    write = f"write {field.description}" if field is not None and field.description else "write a table"
    what = "missing" if error["type"] == "missing" else f"{error['msg'].lower()} (it is {error['input']!r})"
    return f"{place}: {what}; {write}"


def _fields(location: list[str]) -> list[tuple[type[BaseModel], str]]:
    """The deepest known field on the way to ``location``, with its section."""
    for end in range(len(location), 0, -1):
        section = _section(location[: end - 1])
        if section is not None and location[end - 1] in section.model_fields:
            return [(section, location[end - 1])]
    return []


def _section(location: list[str]) -> type[BaseModel] | None:
    sections: dict[str, type[BaseModel]] = {
        "service": Service,
        "function": Function,
        "probe": Probe,
        "build": Build,
    }
    match location:
        case []:
            return Config
        case [name]:
            return sections.get(name)
        case ["environments", _]:
            return Environment
    return None
