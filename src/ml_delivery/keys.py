"""Every key of ``pipeline.toml``, declared once, with its type, limits, default and what to write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import plugin
from ml_delivery.declaring import hook, key, variables_key
from ml_delivery.http_keys import Http
from ml_delivery.job_keys import Jobs, Prepare, Tune

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "OVERRIDABLE",
    "PYTHONS",
    "SECTIONS",
    "Build",
    "Command",
    "Deploy",
    "Environment",
    "EnvironmentTable",
    "Function",
    "Github",
    "Hooks",
    "Http",
    "Jobs",
    "Monitoring",
    "Prepare",
    "Probe",
    "Request",
    "Service",
    "Tune",
]

# The Python versions that the lockfiles are made for; a target may support fewer.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ARCHITECTURES = ("x86_64", "arm64")


@dataclass(frozen=True)
class Service:
    """What is shipped, and where it runs."""

    # The longest name that contains it is <service>-<environment>-<account>, with S3's limit of 63 characters.
    name: str = key(
        '3 to 32 lower-case letters, digits and single dashes: "my-service"',
        pattern=r"(?=.{3,32}$)[a-z][a-z0-9]*(-[a-z0-9]+)*",
    )
    target: str = key('a target\'s name, or the dotted path of your own: "my_package:MyTarget"', pattern=plugin.NAME)
    python: str = key('a quoted version: "3.12"', choices=PYTHONS)
    region: str = key('an AWS region: "eu-west-1"', pattern=r"(?!cn-|us-(gov|iso))[a-z]{2}(-[a-z]+)+-\d")
    architecture: str = key('"x86_64" or "arm64"', default="x86_64", choices=ARCHITECTURES)


@dataclass(frozen=True)
class Function:
    """The variables and secrets that every target gives to the service. A target declares more keys of its own."""

    variables: dict[str, str] = variables_key()
    secrets: dict[str, str] = key(
        'a table of references: API_KEY = "ssm:/path" or "secretsmanager:name"',
        default={},
        pattern=r"[A-Za-z][A-Za-z0-9_]+",
        values=r"ssm:(/[A-Za-z0-9_.-]+)+|secretsmanager:[A-Za-z0-9/_+=.@-]+",
    )

    def problems(self, variables: dict[str, str]) -> list[str]:
        """What the target refuses about all variables of an environment, as ``name: what is wrong; what to do``."""
        return []


@dataclass(frozen=True)
class Request:
    """A request with its expected answer: its status, and the members that the JSON document in its body must have."""

    path: str = key('a path: "/v1/answer"', pattern=r"/.*")
    method: str = key('"GET" or "POST"', default="GET", choices=("GET", "POST", "PUT", "PATCH", "DELETE"))
    body: Any = key("a string, or a table that is sent as JSON: {item = 1}", default="")
    body_file: str = key('a file in the service\'s folder: "tests/request.json"', default="", pattern=r"[^/].*|")
    status: int = key("a status below 500: 200", default=200, within=(200, 499))
    expect: Any = key('a table with members that the answer must have: {currency = "EUR"}', default=None)

    def content(self, root: Path) -> str:
        """The body to send; ``root`` is the service's folder.

        Raises:
            OSError, ValueError: ``body_file`` is not a text file in UTF-8.
        """
        if self.body_file:
            return (root / self.body_file).read_text(encoding="utf-8")
        return self.body if isinstance(self.body, str) else json.dumps(self.body)


@dataclass(frozen=True)
class Probe:
    """The health check of a release before it gets traffic, and again once it serves.

    It must answer ``paths`` with status 200. It must answer ``requests`` as each of them says, before it gets traffic and
    while it has a part of it.
    """

    paths: tuple[str, ...] = key('a list of paths: ["/readyz"]', default=("/readyz",), pattern=r"/.*")
    requests: tuple[Request, ...] = key(
        'tables: [[probe.requests]] with path = "/v1/answer", method, body, status and expect', default=(), of=Request
    )

    def problems(self, root: Path) -> list[str]:
        """What is wrong with the bodies of the requests; ``root`` is the service's folder."""
        found = []
        for number, one in enumerate(self.requests):
            place = f"probe.requests[{number}]"
            if one.body and one.body_file:
                found.append(f"{place}.body_file: there is also a body; write one of them")
            try:
                one.content(root)
            except (OSError, ValueError) as error:
                found.append(
                    f"{place}.body_file: can't be read: {error}; write the path of a text file in the service's folder"
                )
        return found


@dataclass(frozen=True)
class Deploy:
    """How traffic shifts to a new version, what stops it, and how long old versions are kept."""

    strategy: str = key(
        '"all-at-once", "canary" or "linear"', default="all-at-once", choices=("all-at-once", "canary", "linear")
    )
    weight: int = key("percent of the traffic: 10", default=10, within=(1, 99))
    pause: int = key("seconds that each weight is held: 300", default=300, within=(1, 86_400))
    period: int = key("seconds between two readings of the metrics: 60", default=60, within=(1, 300))
    max_errors: int = key("percent of the version's requests: 1", default=1, within=(0, 100))
    max_p95: int = key("milliseconds, or 0 for no limit: 500", default=0, within=(0, 900_000))
    max_throttles: int = key("a number of calls: 0", default=0, within=(0, 1_000_000))
    no_traffic: str = key('"pass", "wait" or "refuse"', default="pass", choices=("pass", "wait", "refuse"))
    alarms: tuple[str, ...] = key('a list of CloudWatch alarms: ["checkout-fails"]', default=(), pattern=r".{1,255}")
    command: tuple[str, ...] = key('a command as a list: ["python", "smoke.py"]', default=(), pattern=r".+")
    builder: str = key('"any" or "codebuild"', default="any", choices=("any", "codebuild"))
    keep: int = key("a number of verified releases: 5", default=5, within=(1, 100))
    keep_days: int = key("days: 30", default=30, within=(0, 3650))


@dataclass(frozen=True)
class Command:
    """A command of the service, and the options that it gets as ``--name value``; without it, the stage does not exist."""

    command: tuple[str, ...] = key(
        'a command as a list: ["python", "-m", "service.training"]', default=(), pattern=r".+"
    )
    options: dict[str, Any] = key(
        "a table of strings, numbers, true or false: seed = 7",
        default={},
        pattern=r"[A-Za-z][A-Za-z0-9_-]*",
        scalars=True,
    )


@dataclass(frozen=True)
class Build:
    """What is excluded from the artifact, what pruning keeps, its maximum size, and the base image of an image."""

    exclude: tuple[str, ...] = key('a list of glob patterns: ["numpy/f2py/*"]', default=(), pattern=r".+")
    keep: tuple[str, ...] = key('a list of glob patterns: ["astropy/*/tests/*"]', default=(), pattern=r".+")
    budget: int = key("megabytes: 200", default=200, within=(1, 10_000))
    base: str = key('an image: "python:3.12-slim"', default="", pattern=r"([a-z0-9][\w./:@-]*)?")


@dataclass(frozen=True)
class Hooks:
    """Commands of the service, run in its folder before and after a build, deploy or rollback."""

    pre_build: tuple[str, ...] = hook()
    post_build: tuple[str, ...] = hook()
    pre_deploy: tuple[str, ...] = hook()
    post_deploy: tuple[str, ...] = hook()
    post_rollback: tuple[str, ...] = hook()


@dataclass(frozen=True)
class Github:
    """The repository of the source, whose workflows may assume the roles."""

    repository: str = key(
        '"OWNER/NAME"', default="", pattern=r"((?=[^/]{1,39}/)[A-Za-z0-9](-?[A-Za-z0-9])*/[A-Za-z0-9._-]{1,100})?"
    )
    owner_id: str = key("the owner's quoted number, with repository_id", default="", pattern=r"\d*")
    repository_id: str = key("the repository's quoted number, with owner_id", default="", pattern=r"\d*")
    subject: str = key(
        '"ids" or, for a repository whose tokens lack them, "names"', default="ids", choices=("ids", "names")
    )


@dataclass(frozen=True)
class Monitoring:
    """The limits of alarms, and who has access: used by ``src/ml_delivery/monitoring`` for alarms and Grafana's role."""

    max_errors: int = key("percent of requests: 1", default=1, within=(0, 100))
    max_p95: int = key("milliseconds: 1000", default=1000, within=(1, 900_000))
    quiet: int = key("minutes without a request: 60", default=60, within=(1, 1440))
    slack_workspace: str = key(
        'the workspace\'s id, with slack_channel: "T0123ABCD"', default="", pattern="(T[A-Z0-9]{2,})?"
    )
    slack_channel: str = key('the channel\'s id: "C0123ABCD"', default="", pattern="([CG][A-Z0-9]{2,})?")
    grafana_principal: str = key(
        'who assumes Grafana\'s role: an ARN, "grafana.amazonaws.com" or "user"',
        default="",
        pattern=r"(arn:aws[a-z-]*:iam::\d{12}:[\w+=,.@/-]+|grafana\.amazonaws\.com|user)?",
    )
    grafana_external_id: str = key(
        "what Grafana shows as its external id", default="", pattern=r"([\w+=,.@:/-]{2,1224})?"
    )
    grafana_url: str = key('"https://grafana.example.com"', default="", pattern=r"(https?://[^\s/?#]+(/[^\s?#]*)?)?")


@dataclass(frozen=True)
class EnvironmentTable:
    """The keys that only an environment has; ``name`` is the name of its table."""

    name: str = key('2 to 16 lower-case letters and digits: "staging"', pattern=r"[a-z][a-z0-9]{1,15}")
    branch: str = key('the branch that is delivered here: "main"', pattern=r".+")
    account: str = key('a quoted 12-digit AWS account: "123456789012"', default="", pattern=r"(\d{12})?")
    target: str = key("a target other than service.target", default="", pattern=rf"({plugin.NAME})?")
    variables: dict[str, str] = variables_key()


@dataclass(frozen=True)
class Environment:
    """Where a branch is delivered to, with everything that can differ between environments.

    ``function``, ``http``, ``deploy`` and ``probe`` are the sections of these names, with what ``[environments.NAME.…]``
    overrides.
    """

    name: str
    branch: str
    account: str
    target: str
    function: Function
    http: Http
    deploy: Deploy
    probe: Probe
    own_variables: dict[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """The service's variables in this environment, secrets by reference; its own override the function's."""
        return {**self.function.variables, **self.function.secrets, **self.own_variables}


# The sections that an environment can override.
OVERRIDABLE = ("function", "http", "deploy", "probe")
SECTIONS = {
    "service": Service,
    "function": Function,
    "http": Http,
    "prepare": Prepare,
    "train": Command,
    "evaluate": Command,
    "promote": Command,
    "jobs": Jobs,
    "tune": Tune,
    "probe": Probe,
    "deploy": Deploy,
    "build": Build,
    "hooks": Hooks,
    "github": Github,
    "monitoring": Monitoring,
}
