"""Checks for common problems before the first deploy: on this machine, in the account and on GitHub; with fixes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ml_delivery import eject, source, upstream
from ml_delivery import target as targets
from ml_delivery.account import change_sets, stacks
from ml_delivery.account import github as api
from ml_delivery.cloud import Cloud, code_of
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["AUDIENCE", "Finding", "account", "github", "local", "look_at"]

AUDIENCE = "sts.amazonaws.com"


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
    return [look_at(name, look) for name, look in looks.items()]


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
        look_at("provider", provider, opened),
        look_at("foundation", lambda: stack(stacks.service(config, environment)), opened),
        look_at("pipeline", lambda: stack(stacks.delivering(config, environment)), opened),
    ]
    for stage in stacks.WORKFLOWS:
        findings.append(look_at(f"{stage} role", partial(role, stage), opened))
    return findings, opened


def github(config: Config, environment: Environment, account: str, token: str) -> list[Finding]:
    """Check the repository's ids and tokens, its environment and its variable on GitHub, with ``token``."""
    known = config.github
    place = f"https://github.com/{known.repository}/settings"
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud aws"

    def ids() -> str:
        found = api.repository(known.repository, token)
        ours = (known.owner_id, known.repository_id)
        if ours not in (("", ""), (found.owner_id, found.id)):
            fix = f'if the repository is yours, write owner_id = "{found.owner_id}" and repository_id = "{found.id}"'
            raise PipelineError(
                f"{found.name} has owner_id {found.owner_id} and repository_id {found.id}, pipeline.toml has {ours[0]} and "
                f"{ours[1]}: it is another repository of this name",
                next=f"{fix} into [github] of pipeline.toml, then {bootstrap}",
            )
        return f"{found.name} is the repository {found.id} of {found.owner_id}"

    def subject() -> str:
        found, ours = api.subject(known.repository, token), stacks.subject(config)
        if found.custom:
            fix = f"gh api --method PUT repos/{known.repository}/{api.SUBJECT} -F use_default=true"
            raise PipelineError(
                f"the tokens' sub has claims of its own, which no role accepts: {', '.join(found.custom)}", fix
            )
        if not found.start:
            return f"GitHub does not report how the tokens' sub begins; the roles require {ours}"
        if found.start != ours:
            form = "ids" if "@" in found.start else "names"
            fix = f'write subject = "{form}" into [github] of pipeline.toml, then {bootstrap}'
            raise PipelineError(f"the tokens' sub begins with {found.start}, the roles require {ours}", next=fix)
        return f"the tokens' sub begins with {ours}"

    def protected() -> str:
        found = api.protection(known.repository, environment.name, token)
        name, branch = environment.name, environment.branch
        only = f"allow {branch} only, in {place}/environments: Deployment branches and tags, Selected branches and tags"
        # Whatever the environment allows, the deploy role accepts the workflow on its own branch only; secrets it does not.
        if not found.reviewers:
            raise PipelineError(f"{name} has no required reviewers", next=f"add them in {place}/environments")
        if found.branches == "all":
            raise PipelineError(f"any branch may use {name}", next=only)
        if found.branches == "protected":
            raise PipelineError(f"every protected branch may use {name}", next=only)
        if found.tags or any(pattern != branch for pattern in found.patterns):
            others = [*(p for p in found.patterns if p != branch), *(f"the tag {tag}" for tag in found.tags)]
            raise PipelineError(f"more than {branch} may use {name}: {', '.join(others)}", next=only)
        if branch not in found.patterns:
            raise PipelineError(f"{branch} may not use {name}; no branch may", next=only)
        if found.self_review:
            fix = f"prevent self-review, in {place}/environments"
            raise PipelineError(f"who starts a deploy to {name} may approve it alone", next=fix)
        bypass = "administrators may bypass that" if found.bypass else "administrators may not bypass that"
        return (
            f"{name} is for {branch} alone, after a review by another person of {found.reviewers} reviewers; {bypass}"
        )

    def variable() -> str:
        wanted = json.dumps(stacks.workflows(config, account))
        fix = f"set it in {place}/variables/actions to {wanted}"
        path = f"{known.repository}/actions/variables/DELIVERY"
        if api.ask(path, token, "there is no variable DELIVERY", fix).get("value") != wanted:
            raise PipelineError("DELIVERY differs from what invoke bootstrap prints", next=fix)
        return "DELIVERY holds what the workflows need"

    looks = {"GitHub ids": ids, "GitHub subject": subject, "GitHub environment": protected, "GitHub variable": variable}
    return [look_at(name, look) for name, look in looks.items()]


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


def look_at(check: str, look: Callable[[], str], cloud: Cloud | None = None) -> Finding:
    """The finding of one check: what ``look`` returns, or the error that it raises."""
    try:
        if cloud is None:
            return Finding(check, True, look())
        with cloud.faults():
            return Finding(check, True, look())
    except PipelineError as error:
        return Finding(check, False, error.message, error.next)
