"""Which of an environment's roles accept a GitHub token: one that is given, and those that its workflows will present."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_delivery.account import stacks
from ml_delivery.account.doctor import AUDIENCE
from ml_delivery.cloud import code_of
from ml_delivery.errors import ConfigError, PipelineError
from ml_delivery.findings import Facts, Finding, Kind, Problem, failed, look_at

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["claims_of", "expected", "given"]


def given(config: Config, environment: Environment, cloud: Cloud, claims: dict[str, Any]) -> list[Finding]:
    """Check which roles of the environment accept these claims; for the others, which claim differs."""
    name = config.name_of(environment)
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud {cloud.name}"
    remedy = _remedy(claims, environment, bootstrap)
    accepts = partial(_accepts, cloud, claims=claims, bootstrap=bootstrap, remedy=remedy)
    return [look_at("trust", partial(accepts, f"{name}-{stage}"), cloud, stage) for stage in stacks.stages(config)]


def expected(config: Config, environment: Environment, cloud: Cloud) -> list[Finding]:
    """Check that each role accepts the claims that GitHub will present for the workflow that takes it."""
    known, ref = config.github, f"refs/heads/{environment.branch}"
    bootstrap = f"invoke bootstrap --branch {environment.branch} --cloud {cloud.name}"
    try:
        subject = stacks.subject(config)
    except PipelineError as error:  # no claims can be expected
        return [failed("GitHub's repository", error)]
    findings = []
    if cloud.name == "aws" and known.subject == "ids" and not known.owner_id:
        fix = f"{bootstrap}, which asks GitHub for them"
        findings.append(Finding("GitHub's numbers", False, Kind.NAMES_ALONE, fix=fix))
    for stage in stacks.stages(config):
        where = f"environment:{environment.name}" if stage in stacks.REVIEWED else f"ref:{ref}"
        claims = {
            "iss": f"https://{stacks.ISSUER}",
            "aud": AUDIENCE,
            "sub": f"{subject}:{where}",
            "job_workflow_ref": f"{known.repository}/.github/workflows/{stacks.WORKFLOWS[stage]}@{ref}",
            "repository_id": known.repository_id or None,
        }
        role = f"{config.name_of(environment)}-{stage}"
        look = partial(_accepts, cloud, role, claims=claims, bootstrap=bootstrap, remedy=bootstrap)
        findings.append(look_at("token", look, cloud, stage))
    return findings


def _accepts(cloud: Cloud, role: str, *, claims: dict[str, Any], bootstrap: str, remedy: str) -> Facts:
    try:
        document = cloud.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        raise Problem(Kind.ROLE_MISSING, role=role, next=bootstrap) from error
    refusals = [_refusal(statement, claims) for statement in document["Statement"]]
    if None not in refusals:
        kind, values = next(filter(None, refusals))
        raise Problem(kind, role=role, **values, next=remedy)
    return Kind.TRUSTED, {"role": role}


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


def _refusal(statement: dict[str, Any], claims: dict[str, Any]) -> Facts | None:
    """Why a statement of a trust policy does not accept these claims; None when it does."""
    issuer = str(claims.get("iss", "")).removeprefix("https://")
    if not statement["Principal"].get("Federated", "").endswith(f":oidc-provider/{issuer}"):
        return Kind.ISSUER_DIFFERS, {"found": claims.get("iss"), "required": f"https://{stacks.ISSUER}"}
    for operator, wanted in statement.get("Condition", {}).items():
        same = fnmatchcase if operator == "StringLike" else str.__eq__
        for key, values in wanted.items():
            claim = key.rpartition(":")[2]
            values = [values] if isinstance(values, str) else values
            given = claims.get(claim)
            if not any(same(str(given), value) for value in values):
                return Kind.CLAIM_DIFFERS, {"claim": claim, "found": given, "required": list(values)}
    return None


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
