"""Checks for common problems before the first deploy: on this machine, in the account and on GitHub; with fixes."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_delivery import eject, source, upstream
from ml_delivery import target as targets
from ml_delivery.account import change_sets, stacks
from ml_delivery.cloud import Cloud, code_of
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["Finding", "account", "claims_of", "github", "local", "trust"]

AUDIENCE = "sts.amazonaws.com"
WORKFLOW_ROLES = ("build", "plan", "deploy")
SECONDS = 10


@dataclass(frozen=True)
class Finding:
    """The result of one check: whether it passed, what it found, and the fix if it failed."""

    check: str
    ok: bool
    says: str
    fix: str = ""


def local(config: Config) -> list[Finding]:
    """Check this machine and this working tree."""

    def git() -> str:
        tree = source.read(config.root)
        return f"{tree.branch or 'detached HEAD'} at {tree.commit[:12]}{', with changes' if tree.dirty else ''}"

    def uv() -> str:
        envs.uv("--version")
        return "runs"

    def lock() -> str:
        try:
            problems = locks.stale(config.root)
        except OSError as error:
            raise PipelineError(f"can't read {error.filename}", next="git status") from error
        except (ValueError, KeyError) as error:
            raise PipelineError(f"pyproject.toml can't be read: {error}", next="correct pyproject.toml") from error
        if problems:
            raise PipelineError("; ".join(problems), next=locks.how(config.root))
        return "up to date with pyproject.toml"

    def package() -> str:
        found = eject.state(config.root)
        newer = f"; the installed one is {found.installed}" if found.installed != found.version else ""
        changed = f", and changed: {', '.join(found.changed)}" if found.changed else ""
        return f"ml-delivery {found.version}, {found.where}{changed}{newer}"

    def template() -> str:
        newest = upstream.head(config.root)
        if not newest:
            return "could not be read, so whether there is a newer one is not known"
        if newest == upstream.state(config.root)["commit"]:
            return "is the newest"
        return f"there is a newer one ({newest[:12]}): invoke upgrade --check prints what is new"

    looks: dict[str, Callable[[], str]] = {
        "git": git,
        "python": lambda: str(envs.find_python(config.service.python)),
        "uv": uv,
        "package": package,
        "locks": lock,
    }
    if (config.root / upstream.STATE).is_file():
        looks["template"] = template
    for target in sorted({environment.target for environment in config.environments.values()}):
        looks |= targets.load(target, config).checks(config)
    return [_look(name, look) for name, look in looks.items()]


def account(config: Config, environment: Environment, cloud: str) -> tuple[list[Finding], Cloud | None]:
    """Check the environment's account: credentials, identity provider, stacks, roles. Also returns its cloud, if opened."""
    name = config.name_of(environment)
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud {cloud}"
    try:
        opened = Cloud.open(config, environment, cloud)
    except PipelineError as error:
        return [Finding("credentials", False, error.message, error.next)], None

    def provider() -> str:
        arn = f"arn:aws:iam::{opened.account}:oidc-provider/{stacks.ISSUER}"
        try:
            found = opened.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise
            raise PipelineError("the account does not have GitHub as an identity provider", next=bootstrap) from error
        if AUDIENCE not in found["ClientIDList"]:
            fix = f"aws iam add-client-id-to-open-id-connect-provider --client-id {AUDIENCE}"
            raise PipelineError(
                f"the provider's audiences are {found['ClientIDList']}, not {AUDIENCE}",
                next=f"{fix} --open-id-connect-provider-arn {arn}",
            )
        return "the account accepts GitHub's tokens"

    def stack(wanted: stacks.Stack) -> str:
        state = change_sets.state(wanted, opened)
        if state != "current":
            raise PipelineError(f"{wanted.name} is {state}", next=bootstrap)
        return f"{wanted.name} is up to date"

    def role(stage: str) -> str:
        there = _policy(opened, f"{name}-{stage}", bootstrap)
        lacks = {
            action
            for sid, actions in _wanted(stacks.delivering(config, environment), stage).items()
            for action in actions - there.get(sid, set())
        }
        if lacks:
            raise PipelineError(f"{name}-{stage} lacks {', '.join(sorted(lacks))}", next=bootstrap)
        return f"{name}-{stage} has the permissions that its stage needs"

    findings = [
        Finding("credentials", True, f"account {opened.account}, region {opened.region}"),
        _look("provider", provider, opened),
        _look("foundation", lambda: stack(stacks.service(config, environment)), opened),
        _look("pipeline", lambda: stack(stacks.delivering(config, environment)), opened),
    ]
    for stage in WORKFLOW_ROLES:
        findings.append(_look(f"{stage} role", partial(role, stage), opened))
    return findings, opened


def trust(environment: Environment, cloud: Cloud, name: str, claims: dict[str, Any]) -> list[Finding]:
    """Check which roles of ``name`` (``<service>-<environment>``) accept these claims; for the others, which claim differs."""

    def accepts(role: str) -> str:
        document = cloud.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        problems = [_refusal(statement, claims) for statement in document["Statement"]]
        if "" not in problems:
            bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud {cloud.name}"
            raise PipelineError(f"{role}: {problems[0]}", next=_remedy(claims, environment, bootstrap))
        return f"{role} accepts this token"

    return [_look(f"trust of {stage}", partial(accepts, f"{name}-{stage}"), cloud) for stage in WORKFLOW_ROLES]


def github(config: Config, environment: Environment, account: str, token: str) -> list[Finding]:
    """Check the repository's environment and variable on GitHub, at ``GITHUB_API_URL``, with ``token``."""
    repository = config.github.repository
    place = f"https://github.com/{repository}/settings"

    def ask(path: str, missing: str, fix: str) -> Any:
        base = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        request = urllib.request.Request(f"{base}/repos/{repository}/{path}", headers=headers)  # noqa: S310 - its own
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 # nosec B310 - as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise PipelineError(missing, next=fix) from error
            raise PipelineError(
                f"GitHub answers {error.code}", next="use a token that may read the repository"
            ) from error
        except (OSError, ValueError) as error:
            raise PipelineError(f"GitHub does not answer: {type(error).__name__}", next="check the network") from error

    def protected() -> str:
        name = urllib.parse.quote(environment.name, safe="")
        found = ask(
            f"environments/{name}", f"there is no environment {environment.name}", f"create it in {place}/environments"
        )
        if not any(rule.get("type") == "required_reviewers" for rule in found.get("protection_rules", [])):
            raise PipelineError(
                f"{environment.name} has no required reviewers", next=f"add them in {place}/environments"
            )
        # The role trusts the environment, whatever the branch: GitHub enforces which branches may use it.
        if not found.get("deployment_branch_policy"):
            fix = f"allow {environment.branch} only, in {place}/environments"
            raise PipelineError(f"any branch may use {environment.name}", next=fix)
        return f"{environment.name} has required reviewers and allows only selected branches"

    def variable() -> str:
        wanted = stacks.workflows(config, account)
        fix = f"set it in {place}/variables/actions to {json.dumps(wanted)}"
        found = ask("actions/variables/DELIVERY", "there is no variable DELIVERY", fix)
        if found.get("value") != json.dumps(wanted):
            raise PipelineError("DELIVERY differs from what invoke bootstrap prints", next=fix)
        return "DELIVERY holds what the workflows need"

    return [_look("GitHub environment", protected), _look("GitHub variable", variable)]


def claims_of(text: str) -> dict[str, Any]:
    """The claims in ``text``, which is JSON or the name of a JSON file.

    Raises:
        ConfigError: it is neither.
    """
    try:
        if not text.lstrip().startswith("{"):
            with open(text, encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError("--claims", [f"neither JSON nor a JSON file: {error}"]) from error
    if not isinstance(found, dict):
        raise ConfigError("--claims", ['not an object; write the token\'s payload: {"sub": …, "aud": …}'])
    return found


def _refusal(statement: dict[str, Any], claims: dict[str, Any]) -> str:
    """Why a statement of a trust policy does not accept these claims; empty when it does."""
    issuer = str(claims.get("iss", "")).removeprefix("https://")
    if not statement["Principal"].get("Federated", "").endswith(f":oidc-provider/{issuer}"):
        return f"iss is {claims.get('iss')!r}, the role trusts https://{stacks.ISSUER}"
    for operator, wanted in statement.get("Condition", {}).items():
        same = fnmatchcase if operator == "StringLike" else str.__eq__
        for key, values in wanted.items():
            claim = key.rpartition(":")[2]
            values = [values] if isinstance(values, str) else values
            given = claims.get(claim)
            if not any(same(str(given), value) for value in values):
                return f"{claim} is {given!r}, the role requires {' or '.join(map(repr, values))}"
    return ""


def _remedy(claims: dict[str, Any], environment: Environment, bootstrap: str) -> str:
    """What to change, depending on the form of the subject: https://docs.github.com/en/actions/reference/security/oidc"""
    subject = str(claims.get("sub", ""))
    if claims.get("aud") != AUDIENCE:
        return f"let the workflow request the audience {AUDIENCE}, as configure-aws-credentials does by default"
    if numbers := re.match(r"repo:[^/@]+@(\d+)/[^/@]+@(\d+):", subject):
        owner, repository = numbers.groups()
        return (
            f'if the repository is yours, write owner_id = "{owner}" and repository_id = "{repository}" into [github] of '
            f"pipeline.toml, then {bootstrap}"
        )
    if subject.endswith(":pull_request"):
        return "pull requests have no role; push to the branch"
    return (
        f"run the workflow from {environment.branch}, in the environment {environment.name}; or correct [github] in "
        f"pipeline.toml, then {bootstrap}"
    )


def _policy(cloud: Cloud, role: str, bootstrap: str) -> dict[str, set[str]]:
    """The actions that a role is allowed, by statement."""
    try:
        found = cloud.client("iam").get_role_policy(RoleName=role, PolicyName="stage")["PolicyDocument"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        raise PipelineError(f"there is no role {role}", next=bootstrap) from error
    return {statement["Sid"]: set(_several(statement["Action"])) for statement in found["Statement"]}


def _wanted(stack: stacks.Stack, stage: str) -> dict[str, set[str]]:
    """The actions that the template allows a workflow's role, by statement."""
    role = json.loads(stack.body)["Resources"][f"{stage.title()}Role"]
    statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return {statement["Sid"]: set(_several(statement["Action"])) for statement in statements}


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _look(check: str, look: Callable[[], str], cloud: Cloud | None = None) -> Finding:
    try:
        if cloud is None:
            return Finding(check, True, look())
        with cloud.faults():
            return Finding(check, True, look())
    except PipelineError as error:
        return Finding(check, False, error.message, error.next)
