"""Checks for common problems before the first deploy: on this machine, in the account and on GitHub; with fixes."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from ml_delivery import eject, source, upstream
from ml_delivery import target as targets
from ml_delivery.account import change_sets, guards, rules, stacks
from ml_delivery.account import github as api
from ml_delivery.cloud import Cloud, code_of
from ml_delivery.dependencies import envs, locks
from ml_delivery.errors import PipelineError
from ml_delivery.findings import Facts, Finding, Kind, Problem, Value, failed, look_at
from ml_delivery.records import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["AUDIENCE", "account", "github", "local"]

AUDIENCE = "sts.amazonaws.com"


def local(config: Config) -> list[Finding]:
    """Check this machine and this working tree."""

    def git() -> Facts:
        tree = source.read(config.root)
        return Kind.TREE, {"branch": tree.branch, "commit": tree.commit, "dirty": tree.dirty}

    def uv() -> Facts:
        envs.uv("--version")
        return Kind.UV, {}

    def lockfiles() -> Facts:
        try:
            problems = locks.stale(config.root)
        except OSError as error:
            raise PipelineError(f"can't read {error.filename}", next="git status") from error
        except (ValueError, KeyError) as error:
            raise PipelineError(f"pyproject.toml can't be read: {error}", next="correct pyproject.toml") from error
        if problems:
            raise Problem(Kind.LOCKS_STALE, lockfiles=problems, next=locks.how(config.root))
        return Kind.LOCKS_CURRENT, {}

    def package() -> Facts:
        found = eject.state(config.root)
        versions = {"version": found.version, "installed": found.installed}
        return Kind.PACKAGE, {**versions, "where": found.where, "changed": list(found.changed)}

    def template() -> Facts:
        newest = upstream.newest(config.root)
        if not newest:
            return Kind.TEMPLATE_UNREAD, {}
        if newest == upstream.state(config.root)["commit"]:
            return Kind.TEMPLATE_NEWEST, {}
        return Kind.TEMPLATE_NEWER, {"commit": newest}

    looks: dict[str, Callable[[], Facts]] = {
        "git": git,
        "python": lambda: (Kind.PYTHON, {"path": str(envs.find_python(config.service.python))}),
        "uv": uv,
        "package": package,
        "lockfiles": lockfiles,
    }
    if (config.root / upstream.STATE).is_file():
        looks["template"] = template
    for target in sorted({environment.target for environment in config.environments.values()}):
        for name, look in targets.load(target, config).checks(config).items():
            looks[name] = partial(_facts, look)
    return [look_at(name, look) for name, look in looks.items()]


def account(config: Config, environment: Environment, cloud: str) -> tuple[list[Finding], Cloud | None]:
    """Check the environment's account: credentials, identity provider, stacks, roles. Also returns its cloud, if opened."""
    name = config.name_of(environment)
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud {cloud}"
    try:
        opened = Cloud.open(config, environment, cloud)
    except PipelineError as error:
        return [failed("credentials", error)], None

    def provider() -> Facts:
        arn = f"arn:aws:iam::{opened.account}:oidc-provider/{stacks.ISSUER}"
        try:
            found = opened.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        except Exception as error:
            if code_of(error) != "NoSuchEntity":
                raise
            raise Problem(Kind.PROVIDER_MISSING, next=bootstrap) from error
        if AUDIENCE not in found["ClientIDList"]:
            fix = f"aws iam add-client-id-to-open-id-connect-provider --client-id {AUDIENCE}"
            raise Problem(
                Kind.PROVIDER_AUDIENCES,
                found=found["ClientIDList"],
                wanted=AUDIENCE,
                next=f"{fix} --open-id-connect-provider-arn {arn}",
            )
        return Kind.PROVIDER, {}

    def stack(wanted: stacks.Stack) -> Facts:
        state = change_sets.state(wanted, opened)
        if state != "current":
            raise Problem(Kind.STACK_DIFFERS, stack=wanted.name, state=state, next=bootstrap)
        return Kind.STACK_CURRENT, {"stack": wanted.name}

    def bucket() -> Facts:
        found = change_sets.foundation(config, environment, opened)
        if found is None:
            raise Problem(Kind.STACK_DIFFERS, stack=name, state="missing", next=bootstrap)
        context = Context(config, environment, opened, found)
        if lacks := guards.lacking(context):
            raise Problem(Kind.BUCKET_LACKS, bucket=found.bucket, statements=list(lacks), next=guards.remedy(context))
        return Kind.BUCKET, {"bucket": found.bucket}

    def role(stage: str) -> Facts:
        there = _policy(opened, f"{name}-{stage}", bootstrap)
        lacks = {
            action
            for sid, actions in _wanted(stacks.delivering(config, environment), stage).items()
            for action in actions - there.get(sid, set())
        }
        if lacks:
            raise Problem(Kind.ROLE_LACKS, role=f"{name}-{stage}", actions=sorted(lacks), next=bootstrap)
        return Kind.ROLE, {"role": f"{name}-{stage}"}

    findings = [
        Finding("credentials", True, Kind.ACCOUNT, {"account": opened.account, "region": opened.region}),
        look_at("provider", provider, opened),
        look_at("foundation", lambda: stack(stacks.service(config, environment)), opened),
        look_at("bucket", bucket, opened),
        look_at("pipeline", lambda: stack(stacks.delivering(config, environment)), opened),
    ]
    for stage in stacks.stages(config):
        findings.append(look_at("role", partial(role, stage), opened, stage))
    for check, look in targets.load(environment.target, config).account_checks(config, environment, opened).items():
        findings.append(look_at(check, partial(_facts, look), opened))
    return findings, opened


def github(config: Config, environment: Environment, account: str, token: str) -> list[Finding]:
    """Check the repository's ids and tokens, its environment, its variable and its branch's rules on GitHub, with ``token``."""
    known = config.github
    place = f"https://github.com/{known.repository}/settings"
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud aws"

    def ids() -> Facts:
        source.require_top(config.root, "GitHub finds workflows")
        found = api.repository(known.repository, token)
        ours = (known.owner_id, known.repository_id)
        if ours not in (("", ""), (found.owner_id, found.id)):
            fix = f'if the repository is yours, write owner_id = "{found.owner_id}" and repository_id = "{found.id}"'
            raise Problem(
                Kind.REPOSITORY_DIFFERS,
                repository=found.name,
                found={"owner_id": found.owner_id, "repository_id": found.id},
                configured={"owner_id": known.owner_id, "repository_id": known.repository_id},
                next=f"{fix} into [github] of pipeline.toml, then {bootstrap}",
            )
        return Kind.REPOSITORY, {"repository": found.name, "owner_id": found.owner_id, "repository_id": found.id}

    def subject() -> Facts:
        found, ours = api.subject(known.repository, token), stacks.subject(config)
        if found.custom:
            fix = f"gh api --method PUT repos/{known.repository}/{api.SUBJECT} -F use_default=true"
            raise Problem(Kind.SUBJECT_CUSTOM, claims=list(found.custom), next=fix)
        if not found.start:
            return Kind.SUBJECT_UNREAD, {"required": ours}
        if found.start != ours:
            form = "ids" if "@" in found.start else "names"
            fix = f'write subject = "{form}" into [github] of pipeline.toml, then {bootstrap}'
            raise Problem(Kind.SUBJECT_DIFFERS, start=found.start, required=ours, next=fix)
        return Kind.SUBJECT, {"start": ours}

    def protected() -> Facts:
        found = api.protection(known.repository, environment.name, token)
        name, branch = environment.name, environment.branch
        only = f"allow {branch} only, in {place}/environments: Deployment branches and tags, Selected branches and tags"
        # Whatever the environment allows, the deploy role accepts the workflow on its own branch only; secrets it does not.
        if not found.reviewers:
            raise Problem(Kind.NO_REVIEWERS, environment=name, next=f"add them in {place}/environments")
        if found.branches == "all":
            raise Problem(Kind.ANY_BRANCH, environment=name, next=only)
        if found.branches == "protected":
            raise Problem(Kind.PROTECTED_BRANCHES, environment=name, next=only)
        if found.tags or any(pattern != branch for pattern in found.patterns):
            others = [pattern for pattern in found.patterns if pattern != branch]
            tags = list(found.tags)
            raise Problem(Kind.OTHER_BRANCHES, environment=name, branch=branch, branches=others, tags=tags, next=only)
        if branch not in found.patterns:
            raise Problem(Kind.BRANCH_REFUSED, environment=name, branch=branch, next=only)
        if found.self_review:
            fix = f"prevent self-review, in {place}/environments"
            raise Problem(Kind.SELF_REVIEW, environment=name, next=fix)
        settings: dict[str, Value] = {"reviewers": found.reviewers, "bypass": found.bypass}
        return Kind.PROTECTED, {"environment": name, "branch": branch, **settings}

    def variable() -> Facts:
        wanted = json.dumps(stacks.workflows(config, account))
        fix = f"set it in {place}/variables/actions to {wanted}"
        path = f"{known.repository}/actions/variables/DELIVERY"
        if api.ask(path, token, "there is no variable DELIVERY", fix).get("value") != wanted:
            raise Problem(Kind.VARIABLE_DIFFERS, variable="DELIVERY", next=fix)
        return Kind.VARIABLE, {"variable": "DELIVERY"}

    def ruled() -> Facts:
        branch = environment.branch
        wanted = rules.wanted(config.root, branch)
        if not wanted:
            fix = f"add refs/heads/{branch} to conditions.ref_name.include of a file in {rules.FOLDER}"
            raise Problem(Kind.RULES_UNNAMED, branch=branch, next=fix)
        if lacks := rules.lacking(wanted, rules.active(known.repository, branch, token)):
            files = sorted({rule.file for rule in lacks})
            imports = " && ".join(
                f"gh api --method POST repos/{known.repository}/rulesets --input {file}" for file in files
            )
            named = sorted({rule.type for rule in lacks})
            raise Problem(
                Kind.RULES_LACK,
                branch=branch,
                rules=named,
                files=files,
                next=f"{imports}; or change it in {place}/rules",
            )
        return Kind.RULES, {"branch": branch, "rules": sorted({rule.type for rule in wanted})}

    looks = {"GitHub ids": ids, "GitHub subject": subject, "GitHub environment": protected, "GitHub variable": variable}
    if (config.root / rules.FOLDER).is_dir():
        looks["GitHub rules"] = ruled
    return [look_at(name, look) for name, look in looks.items()]


def _facts(look: Callable[[], dict[str, str]]) -> Facts:
    return Kind.FACTS, dict(look())


def _policy(cloud: Cloud, role: str, bootstrap: str) -> dict[str, set[str]]:
    """The actions that a role is allowed, by statement."""
    try:
        found = cloud.client("iam").get_role_policy(RoleName=role, PolicyName="stage")["PolicyDocument"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        raise Problem(Kind.ROLE_MISSING, role=role, next=bootstrap) from error
    return {statement["Sid"]: set(_several(statement["Action"])) for statement in found["Statement"]}


def _wanted(stack: stacks.Stack, stage: str) -> dict[str, set[str]]:
    """The actions that the template allows a workflow's role, by statement."""
    role = json.loads(stack.body)["Resources"][f"{stage.title()}Role"]
    statements = role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    return {statement["Sid"]: set(_several(statement["Action"])) for statement in statements}


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
