"""The stacks that there are: which template of ``infra/``, under which name, with which parameters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery.errors import ConfigError
from ml_delivery.targets.lambda_function.costs import dollars_per_gb_second

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["ISSUER", "Stack", "delivering", "github", "monitoring", "service", "subject", "workflows"]

INFRA = Path(__file__).parent.parent / "infra"
ISSUER = "token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Stack:
    """A stack as it should be: a template of ``infra/`` with its parameters."""

    name: str
    template: Path
    parameters: dict[str, str]

    @property
    def body(self) -> str:
        return self.template.read_text(encoding="utf-8")

    @property
    def digest(self) -> str:
        """Of the template and its parameters; the stack that stands carries it as a tag."""
        content = json.dumps([self.body, self.parameters], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def place(self) -> str:
        return f"infra/{self.template.name}"


def service(config: Config, environment: Environment) -> Stack:
    """What the environment's deploys stand on: ``<service>-<environment>``."""
    region, account = config.service.region, environment.account or "*"
    secrets = {_secret(region, account, reference) for reference in environment.variables.values()}
    parameters = {
        "Target": environment.target,
        "Tracing": environment.function.tracing,
        "Secrets": ",".join(sorted(secrets - {""})) or "none",
    }
    return _stack(config, environment, "service.yaml", "", parameters)


def _secret(region: str, account: str, reference: str) -> str:
    """The ARN of what a variable refers to; empty when it is no secret. Secrets Manager adds six characters to a name."""
    kind, _, name = reference.partition(":")
    if kind == "ssm" and name.startswith("/"):
        return f"arn:aws:ssm:{region}:{account}:parameter{name}"
    if kind == "secretsmanager" and name:
        return f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????"
    return ""


def delivering(config: Config, environment: Environment) -> Stack:
    """What delivers the environment: ``<service>-<environment>-pipeline``.

    Raises:
        ConfigError: no GitHub repository is named, or of a Slack channel only one half.
    """
    workspace, channel = config.monitoring.slack_workspace, config.monitoring.slack_channel
    if bool(workspace) != bool(channel):
        problem = "monitoring.slack_workspace, slack_channel: only one is written; write both or none"
        raise ConfigError("pipeline.toml", [problem])
    parameters = {
        "Branch": environment.branch,
        "Repository": config.github.repository,
        "Subject": subject(config),
        "Target": environment.target,
        "Architecture": config.service.architecture,
        "SlackWorkspace": workspace or "NONE",
        "SlackChannel": channel or "NONE",
    }
    return _stack(config, environment, "pipeline.yaml", "-pipeline", parameters)


def monitoring(config: Config, environment: Environment) -> Stack:
    """How the environment is seen from the outside: ``<service>-<environment>-monitoring``.

    Raises:
        ConfigError: Grafana's role would be taken without an external id.
    """
    known = config.monitoring
    if known.grafana_principal not in ("", "grafana.amazonaws.com") and not known.grafana_external_id:
        problem = "monitoring.grafana_external_id: empty; write what Grafana shows as its external id"
        raise ConfigError("pipeline.toml", [problem])
    parameters = {
        "Branch": environment.branch,
        "Memory": str(environment.function.memory),
        "Price": dollars_per_gb_second(config.service.architecture),
        "MaxErrors": str(known.max_errors),
        "MaxP95": str(known.max_p95),
        "MaxBackup": str(known.max_backup),
        "MaxDrift": str(known.max_drift / 100),
        "QuietPeriods": str(known.quiet),
        "GrafanaPrincipal": known.grafana_principal,
        "GrafanaExternalId": known.grafana_external_id,
    }
    return _stack(config, environment, "monitoring.yaml", "-monitoring", parameters)


def github(config: Config) -> Stack:
    """GitHub as an identity provider of the account: ``github-oidc``; one for all services and environments."""
    return Stack("github-oidc", INFRA / "github.yaml", {})


def workflows(config: Config, account: str) -> dict[str, dict[str, str]]:
    """What the workflows need to know, by branch: the environment's name, region and roles.

    Args:
        config: the service's configuration; an environment without an account of its own is left out.
        account: stands in for all accounts when none is named, as on the embedded cloud.
    """
    named = any(environment.account for environment in config.environments.values())
    found = {}
    for environment in config.environments.values():
        if owner := environment.account or ("" if named else account):
            role = f"arn:aws:iam::{owner}:role/{config.service.name}-{environment.name}"
            found[environment.branch] = {
                "environment": environment.name,
                "region": config.service.region,
                **{stage: f"{role}-{stage}" for stage in ("build", "plan", "deploy")},
            }
    return found


def subject(config: Config) -> str:
    """How the subject of GitHub's tokens begins that name the repository; with both numbers it is the immutable form.

    https://docs.github.com/en/actions/reference/security/oidc

    Raises:
        ConfigError: no repository is named, or only one of the numbers is.
    """
    known = config.github
    if not known.repository:
        raise ConfigError("pipeline.toml", ["github.repository: empty; write OWNER/NAME of the GitHub repository"])
    if bool(known.owner_id) != bool(known.repository_id):
        raise ConfigError("pipeline.toml", ["github.owner_id, repository_id: only one is written; write both or none"])
    if not known.owner_id:
        return f"repo:{known.repository}"
    owner, name = known.repository.split("/")
    return f"repo:{owner}@{known.owner_id}/{name}@{known.repository_id}"


def _stack(config: Config, environment: Environment, file: str, suffix: str, more: dict[str, str]) -> Stack:
    name = config.name_of(environment)
    parameters = {"Name": config.service.name, "Environment": environment.name, **more}
    return Stack(f"{name}{suffix}", INFRA / file, parameters)
