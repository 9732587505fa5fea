"""CloudFormation templates as data: read from YAML, composed of the package's and the target's parts, written as JSON."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from ml_delivery.errors import ConfigError

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # a PyYAML without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "LIMIT",
    "SECTIONS",
    "Infrastructure",
    "Tree",
    "delivery",
    "foundation",
    "parse",
    "part",
    "read",
    "secret_arns",
    "write",
]

# A JSON document: a template, or a part of one.
Tree = dict[str, Any]
SECTIONS = ("Parameters", "Conditions", "Resources", "Outputs")
# The delivery roles, and their resources.
ROLES = {"build": "BuildRole", "codebuild": "ProjectRole", "plan": "PlanRole", "deploy": "DeployRole"}
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html (bytes of a template in a request)
LIMIT = 51_200


@dataclass(frozen=True)
class Infrastructure:
    """A target's part of the stacks of one environment.

    Attributes:
        foundation: parameters, conditions, resources and outputs for the environment's foundation stack.
        parameters: values of those parameters.
        delivery: resources and outputs for the environment's delivery stack.
        statements: IAM statements for the delivery roles (``build``, ``codebuild``, ``plan``, ``deploy``), by role.
        project: more properties of the CodeBuild project.
        front: a template for what makes the address: a stack of its own, since it needs what the first deploy creates. Its
            parameters are ``Name`` and ``Environment``, its outputs are for ``Deployer.address``; empty for none.
    """

    foundation: Tree = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    statements: dict[str, list[Tree]] = field(default_factory=dict)
    project: Tree = field(default_factory=dict)
    front: Tree = field(default_factory=dict)
    delivery: Tree = field(default_factory=dict)

    def __add__(self, other: Infrastructure) -> Infrastructure:
        """Both parts; ``other`` overrides what is in both."""
        roles = [*self.statements, *(role for role in other.statements if role not in self.statements)]
        return Infrastructure(
            _sections(self.foundation, other.foundation),
            {**self.parameters, **other.parameters},
            {role: [*self.statements.get(role, []), *other.statements.get(role, [])] for role in roles},
            _merged(self.project, other.project),
            other.front or self.front,
            _sections(self.delivery, other.delivery),
        )


def part(folder: Path, parameters: dict[str, str] | None = None) -> Infrastructure:
    """A target's part, from the files in its folder: ``foundation.yaml``, a part of a template; ``delivery.yaml``, if there is
    one, with ``Statements`` by role and properties of the ``Project``.
    """
    file = folder / "delivery.yaml"
    more = read(file) if file.exists() else {}
    return Infrastructure(
        read(folder / "foundation.yaml"), parameters or {}, more.get("Statements", {}), more.get("Project", {})
    )


def secret_arns(config: Config, environment: Environment) -> list[str]:
    """The ARNs of the parameters and secrets that the service of ``environment`` refers to.

    Of what is declared as a secret only, and so of its pattern: any other variable could widen the role.
    """
    region, account = config.service.region, environment.account or "*"
    secrets, own = environment.function.secrets, environment.own_variables
    return sorted({_secret(region, account, reference) for name, reference in secrets.items() if name not in own})


def _secret(region: str, account: str, reference: str) -> str:
    """The ARN of what a reference, ``ssm:/path`` or ``secretsmanager:name``, refers to.

    Secrets Manager adds a dash and six characters to a name.
    """
    kind, _, name = reference.partition(":")
    if kind == "ssm":
        return f"arn:aws:ssm:{region}:{account}:parameter{name}"
    return f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-??????"


class _Loader(_Base):
    """Reads functions in short form as long form: ``!Sub x`` is ``{"Fn::Sub": "x"}``.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
    """


def _short(loader: Any, name: str, node: yaml.Node) -> Tree:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _short)


def read(path: Path) -> Tree:
    """The template, or the part of one, in a YAML file, with functions in long form.

    Raises:
        ConfigError: it is not YAML, or not a mapping.
    """
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"infra/{path.name}", [f"not YAML: {error}"], next=f"correct {path}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"infra/{path.name}", ["not a mapping; write a CloudFormation template"])
    return found


def parse(text: str) -> Tree:
    """The template in YAML or JSON, with functions in long form.

    Raises:
        yaml.YAMLError: it is neither.
    """
    found: Tree = yaml.load(text, _Loader)  # noqa: S506 # nosec B506 - a SafeLoader
    return found


def write(template: Tree) -> str:
    """The template as compact JSON, with the same bytes each time.

    Raises:
        ConfigError: it is larger than CloudFormation accepts in a request.
    """
    text = json.dumps(template, ensure_ascii=False, separators=(",", ":"), default=str)  # YAML reads a bare date as one
    if (size := len(text.encode())) > LIMIT:
        what = template.get("Description", "a template")
        raise ConfigError(
            "infra", [f"{size} bytes, CloudFormation accepts {LIMIT}: {what}"], next="declare fewer panels or resources"
        )
    return text


def foundation(neutral: Tree, part: Infrastructure) -> Tree:
    """The foundation's template: the neutral one with the target's part; the neutral one overrides what is in both."""
    sections = {name: {**part.foundation.get(name, {}), **neutral.get(name, {})} for name in SECTIONS}
    return {**neutral, **{name: content for name, content in sections.items() if content}}


def delivery(neutral: Tree, part: Infrastructure, place: str) -> Tree:
    """The delivery stack's template: the neutral one, with the target's resources, statements and properties of the project.

    Raises:
        ConfigError: the template at ``place`` lacks a role, or the project.
    """
    both = {**neutral, **_sections(neutral, part.delivery)}
    made = copy.deepcopy({name: content for name, content in both.items() if content})
    resources, problems = made.get("Resources", {}), []
    for role, statements in part.statements.items():
        try:
            policy = resources[ROLES[role]]["Properties"]["Policies"][0]["PolicyDocument"]
            policy["Statement"] = [*policy["Statement"], *statements]
        except (KeyError, IndexError, TypeError):
            problems.append(f"Resources.{ROLES[role]}: no role with a policy, to which the target adds statements")
    try:
        project = resources["Project"]
        project["Properties"] = _merged(project["Properties"], part.project)
    except (KeyError, TypeError):
        problems.append("Resources.Project: no CodeBuild project with properties")
    if problems:
        raise ConfigError(place, problems, next=f"correct {place}")
    return made


def _sections(first: Tree, second: Tree) -> Tree:
    """The sections of both templates; the second overrides what is in both."""
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in SECTIONS}


def _merged(first: Tree, second: Tree) -> Tree:
    """Both mappings, recursively; the second overrides the first."""
    both = {
        name: _merged(first[name], value) if isinstance(value, dict) and isinstance(first.get(name), dict) else value
        for name, value in second.items()
    }
    return {**first, **both}
