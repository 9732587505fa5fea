"""The stacks: their templates, names and parameters."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import cloudformation, target
from ml_delivery.account import jobs
from ml_delivery.errors import ConfigError

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "ISSUER",
    "REVIEWED",
    "WORKFLOWS",
    "Stack",
    "delivering",
    "front",
    "github",
    "may_have_front",
    "names",
    "service",
    "stages",
    "subject",
    "workflows",
]

INFRA = Path(__file__).parent.parent / "infra"
ISSUER = "token.actions.githubusercontent.com"
# The workflow files whose jobs take a role, by the role's stage; those that are reviewed do so in their environment on GitHub.
WORKFLOWS = {"build": "build_test.yml", "plan": "deploy.yml", "deploy": "deploy.yml", "train": "train.yml"}
REVIEWED = ("deploy", "train")
# A deploy ends with the address, which it reads from the stack that makes it; and names one that [http] has no more.
READ_FRONT: cloudformation.Tree = {
    "Sid": "ReadFront",
    "Effect": "Allow",
    "Action": "cloudformation:DescribeStacks",
    "Resource": {
        "Fn::Sub": "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/${Name}-${Environment}-front/*"
    },
}


@dataclass(frozen=True)
class Stack:
    """A stack as defined.

    Attributes:
        body: the template.
        place: the file to correct when something is wrong with it.
    """

    name: str
    body: str
    parameters: dict[str, str]
    place: str

    @property
    def digest(self) -> str:
        """The digest of the template and its parameters; the deployed stack has it as a tag."""
        content = json.dumps([self.body, self.parameters], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def service(config: Config, environment: Environment) -> Stack:
    """The environment's foundation: ``<service>-<environment>``.

    Raises:
        ConfigError: the service's own ``infra/foundation.yaml`` is wrong.
    """
    neutral, place = _neutral(config, "foundation.yaml")
    part = target.load(environment.target, config).infrastructure(config, environment) + jobs.infrastructure(config)
    body = cloudformation.write(cloudformation.foundation(neutral, part))
    return Stack(
        names(config, environment)["foundation"], body, {**_named(config, environment), **part.parameters}, place
    )


def delivering(config: Config, environment: Environment) -> Stack:
    """The environment's delivery roles and CodeBuild project: ``<service>-<environment>-pipeline``.

    Raises:
        ConfigError: there is no GitHub repository, only one of ``slack_workspace`` and ``slack_channel`` is set, or the
            service's own ``infra/delivery.yaml`` is wrong.
    """
    workspace, channel = config.monitoring.slack_workspace, config.monitoring.slack_channel
    if bool(workspace) != bool(channel):
        problem = "monitoring.slack_workspace, slack_channel: only one is set; write both or none"
        raise ConfigError("pipeline.toml", [problem])
    parameters = {
        **_named(config, environment),
        "Branch": environment.branch,
        "Repository": config.github.repository,
        "Subject": subject(config),
        "RepositoryId": config.github.repository_id or "NONE",
        "Architecture": config.service.architecture,
        "SlackWorkspace": workspace or "NONE",
        "SlackChannel": channel or "NONE",
    }
    neutral, place = _neutral(config, "delivery.yaml")
    part = target.load(environment.target, config).infrastructure(config, environment) + jobs.infrastructure(config)
    if may_have_front(config, environment):
        part += cloudformation.Infrastructure(statements={"deploy": [READ_FRONT]})
    body = cloudformation.write(cloudformation.delivery(neutral, part, place))
    return Stack(names(config, environment)["delivery"], body, parameters, place)


def front(config: Config, environment: Environment) -> Stack | None:
    """What makes the environment's address: ``<service>-<environment>-front``; None for no address, or one without a stack."""
    template = target.load(environment.target, config).infrastructure(config, environment).front
    if not template:
        return None
    name = names(config, environment)["front"]
    return Stack(name, cloudformation.write(template), _named(config, environment), "pipeline.toml ([http])")


def may_have_front(config: Config, environment: Environment) -> bool:
    """Whether the environment's target can have an address that a stack makes."""
    return set(target.load(environment.target, config).fronts) > {"none"}


def names(config: Config, environment: Environment) -> dict[str, str]:
    """The names of the environment's stacks by their purpose, in the order in which they can be deleted."""
    name = config.name_of(environment)
    return {
        "delivery": f"{name}-pipeline",
        "monitoring": f"{name}-monitoring",
        "front": f"{name}-front",
        "foundation": name,
    }


def github(config: Config) -> Stack:
    """GitHub as an identity provider of the account: ``github-oidc``, shared by all services and environments."""
    path = INFRA / "github.yaml"
    return Stack("github-oidc", path.read_text(encoding="utf-8"), {}, f"ml_delivery/infra/{path.name}")


def workflows(config: Config, account: str) -> dict[str, dict[str, str]]:
    """The settings of the workflows, by branch: the environment's name, region and roles.

    Args:
        config: the service's configuration; an environment without an account is omitted.
        account: used for all environments if none has an account, as on the embedded cloud.
    """
    named = any(environment.account for environment in config.environments.values())
    found = {}
    for environment in config.environments.values():
        if owner := environment.account or ("" if named else account):
            role = f"arn:aws:iam::{owner}:role/{config.service.name}-{environment.name}"
            found[environment.branch] = {
                "environment": environment.name,
                "region": config.service.region,
                **{stage: f"{role}-{stage}" for stage in stages(config)},
            }
    return found


def stages(config: Config) -> tuple[str, ...]:
    """The stages of the service's workflows that take a role; there is a training only where ``[jobs]`` names an instance."""
    return tuple(stage for stage in WORKFLOWS if stage != "train" or config.jobs.instance)


def subject(config: Config) -> str:
    """The start of the subject of the repository's GitHub tokens; with both numbers, in the immutable form.

    Repositories that were made, renamed or transferred since 15 July 2026 have that form.

    https://docs.github.com/en/actions/reference/security/oidc

    Raises:
        ConfigError: there is no repository, or only one of the numbers.
    """
    known = config.github
    if not known.repository:
        raise ConfigError("pipeline.toml", ["github.repository: empty; write OWNER/NAME of the GitHub repository"])
    if bool(known.owner_id) != bool(known.repository_id):
        raise ConfigError("pipeline.toml", ["github.owner_id, repository_id: only one is set; write both or none"])
    if not known.owner_id or known.subject == "names":
        return f"repo:{known.repository}"
    owner, name = known.repository.split("/")
    return f"repo:{owner}@{known.owner_id}/{name}@{known.repository_id}"


def _neutral(config: Config, file: str) -> tuple[cloudformation.Tree, str]:
    """The template to which the target's part is added, and its place: the service's ``infra/<file>`` if there is one."""
    if (own := config.root / "infra" / file).is_file():
        return cloudformation.read(own), f"infra/{file}"
    return cloudformation.read(INFRA / file), f"ml_delivery/infra/{file}"


def _named(config: Config, environment: Environment) -> dict[str, str]:
    return {"Name": config.service.name, "Environment": environment.name}
