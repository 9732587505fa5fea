"""The shipped policies, read: no wildcard without its reason, exact trust, short sessions; and each slip that would pass AWS."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tiny import INFRA, TARGETS, Tiny

from ml_delivery import config
from ml_delivery.errors import ConfigError

FILES = [*sorted(INFRA.glob("*.yaml")), *sorted(TARGETS.glob("*/*.yaml"))]
TEXTS = {path.relative_to(INFRA.parent).as_posix(): path.read_text() for path in FILES}
OIDC = "token.actions.githubusercontent.com"


class Loader(yaml.SafeLoader):
    """Takes CloudFormation's short functions for the text or list in them."""


def _short(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]


Loader.add_multi_constructor("!", _short)


def problems(text: str) -> list[str]:
    """What is wrong with the policies of a template, in words."""
    found = [
        f"a wildcard without its reason: {line.strip()}"
        for line in text.splitlines()
        if re.search(r'Resource: "?\*"?$', line.strip()) or re.search(r"^- \"?\*\"?$", line.strip())
    ]
    document = yaml.load(text, Loader)
    for role, statements in document.get("Statements", {}).items():
        found += [f"{role}: {problem}" for problem in _rights(statements)]
    for name, resource in document.get("Resources", {}).items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        properties = resource["Properties"]
        if properties.get("MaxSessionDuration", 3600) > 3600:
            found.append(f"{name}: sessions of more than an hour")
        if properties.get("ManagedPolicyArns"):
            found.append(f"{name}: rights that others define")
        for statement in _statements(properties["AssumeRolePolicyDocument"]):
            found += [f"{name}: {problem}" for problem in _trust(statement)]
        found += [f"{name}: {problem}" for problem in _rights(_statements(properties.get("Policies", [])))]
    return found


def _statements(part: Any) -> list[dict[str, Any]]:
    """Each statement in a part of a template, those that stand under a condition among them."""
    if isinstance(part, dict) and "Effect" in part:
        return [part]
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    return [statement for one in inner for statement in _statements(one)]


def _trust(statement: dict[str, Any]) -> list[str]:
    principal = statement.get("Principal", {})
    if not isinstance(principal, dict) or "*" in principal.values():
        return ["every principal may take it"]
    if "Federated" not in principal:
        return []
    found = []
    condition = statement.get("Condition", {})
    if set(condition) != {"StringEquals"}:
        found.append("trust by something else than equality")
    wanted = condition.get("StringEquals", {})
    if wanted.get(f"{OIDC}:aud") != "sts.amazonaws.com":
        found.append("trust without the audience")
    subject = str(wanted.get(f"{OIDC}:sub", ""))
    if not re.fullmatch(r"\$\{Subject\}:(ref:refs/heads/\$\{Branch\}|environment:\$\{Environment\})", subject):
        found.append(f"trust of another subject than the workflows': {subject or 'any'}")
    file = r"\$\{Repository\}/\.github/workflows/(build_test|deploy)\.yml@refs/heads/\$\{Branch\}"
    if not re.fullmatch(file, str(wanted.get(f"{OIDC}:job_workflow_ref", ""))):
        found.append("trust of any workflow file")
    return found


def _rights(statements: list[dict[str, Any]]) -> list[str]:
    found = []
    for statement in statements:
        actions = statement.get("Action", "*")
        found += [f"a wildcard action {a}" for a in ([actions] if isinstance(actions, str) else actions) if "*" in a]
        if "NotAction" in statement or "NotResource" in statement:
            found.append("all but what is named")
        if "iam:PassRole" in actions and "iam:PassedToService" not in str(statement.get("Condition")):
            found.append("a role for any service")
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_policies_are_exact(name: str) -> None:
    """Every shipped template, and each target's part, passes."""
    assert problems(TEXTS[name]) == []


SUBJECT = '!Sub "${Subject}:environment:${Environment}"'
MUTANTS = {
    "all functions": ("Resource: !Ref Topic", 'Resource: "*"', "a wildcard without its reason"),
    "all of a service": ("- lambda:CreateAlias", "- lambda:*", "a wildcard action lambda:*"),
    "everything": ("Action: logs:GetLogEvents", 'Action: "*"', "a wildcard action *"),
    "all that begins so": ("- lambda:UpdateFunctionCode", "- lambda:Update*", "a wildcard action lambda:Update*"),
    "all but": ("Action: logs:GetLogEvents", "NotAction: iam:CreateUser", "all but what is named"),
    "any role": (
        'StringEquals:\n          "iam:PassedToService": lambda.amazonaws.com',
        'Bool:\n          "aws:SecureTransport": "true"',
        "a role for any service",
    ),
    "any repository of the owner": (SUBJECT, '"repo:an-owner/*"', "trust of another subject than the workflows'"),
    "any job of the repository": (SUBJECT, '!Sub "${Subject}:*"', "trust of another subject than the workflows'"),
    "pull requests": (SUBJECT, '!Sub "${Subject}:pull_request"', "trust of another subject than the workflows'"),
    "any workflow file": (f'"{OIDC}:job_workflow_ref": ', f'"{OIDC}:workflow": ', "trust of any workflow file"),
    "the file on any branch": (
        "/deploy.yml@refs/heads/${Branch}",
        "/deploy.yml@*",
        "trust of any workflow file",
    ),
    "likeness": (
        f'StringEquals:\n                "{OIDC}:aud"',
        f'StringLike:\n                "{OIDC}:aud"',
        "trust by something else than equality",
    ),
    "any audience": (f'"{OIDC}:aud": sts.amazonaws.com', f'"{OIDC}:iss": x', "trust without the audience"),
    "every principal": (
        "Principal:\n              Service: codebuild.amazonaws.com",
        'Principal: "*"',
        "every principal may take it",
    ),
    "a day": ("MaxSessionDuration: 3600", "MaxSessionDuration: 43200", "sessions of more than an hour"),
    "rights of others": (
        "MaxSessionDuration: 3600",
        "ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]",
        "rights that others define",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_slip_is_found(name: str) -> None:
    """Each is a template that AWS and cfn-lint would take."""
    old, new, says = MUTANTS[name]
    text = next(text for text in TEXTS.values() if old in text)
    assert any(says in problem for problem in problems(text.replace(old, new)))


BAD = {
    'repository = "just-a-name"': "github.repository: 'just-a-name' is not allowed; write \"OWNER/NAME\"",
    'repository = "a/b/c"': "github.repository: 'a/b/c' is not allowed",
    'repository = "*/b"': "github.repository: '*/b' is not allowed",
    'repository = "an-owner/*"': "github.repository: 'an-owner/*' is not allowed",
    'repository = "https://github.com/a/b"': "github.repository: 'https://github.com/a/b' is not allowed",
    'owner_id = "acme"': "github.owner_id: 'acme' is not allowed; write the owner's quoted number",
    "repository_id = 12": "github.repository_id: 12 is not a quoted string",
    'repositry = "a/b"': "github.repositry: unknown key; did you mean repository?",
}


@pytest.mark.parametrize("line", BAD)
def test_github_that_can_not_be_meant_is_refused(tiny: Tiny, line: str) -> None:
    """What would make a role trust no repository, or any."""
    tiny.replace("pipeline.toml", 'repository = "an-owner/a-repository"', line)
    with pytest.raises(ConfigError) as refusal:
        config.load(tiny.root)
    assert BAD[line] in str(refusal.value)
