"""``invoke doctor``: each thing that usually goes wrong is named, with its fix; a healthy service passes every check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from issuer import AUDIENCE, URL
from tiny import TEMPLATE, Tiny

from ml_delivery.account import change_sets, doctor, stacks, trust
from ml_delivery.cloud import Cloud
from ml_delivery.containers import packer
from ml_delivery.dependencies import locks
from ml_delivery.errors import ConfigError, SetupError
from ml_delivery.tasks.findings import label, sentence

GOOD = {
    "iss": URL,
    "aud": AUDIENCE,
    "sub": "repo:an-owner/a-repository:environment:production",
    "job_workflow_ref": "an-owner/a-repository/.github/workflows/deploy.yml@refs/heads/main",
}


class Patient:
    """A tiny service with all that it needs, on an embedded AWS of its own kind."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        self.environment = tiny.config.environment("main")
        self.cloud = Cloud.open(tiny.config, self.environment, "embedded")
        change_sets.ensure(stacks.github(tiny.config), self.cloud)
        change_sets.ensure(stacks.service(tiny.config, self.environment), self.cloud)
        change_sets.ensure(stacks.delivering(tiny.config, self.environment), self.cloud)
        self.name = f"{tiny.name}-production"

    def problems(self) -> dict[str, tuple[str, str]]:
        """What is wrong with the account, and the fix, by what was looked at."""
        found, _ = doctor.account(self.tiny.config, self.environment, "embedded")
        return {label(finding): (sentence(finding), finding.fix) for finding in found if not finding.ok}


@pytest.fixture
def patient(tiny: Tiny) -> Patient:
    return Patient(tiny)


def test_healthy_service_gets_no_complaint(patient: Patient) -> None:
    """The task exits with 0 and prints what it found, or the same as JSON."""
    patient.tiny.replace("pyproject.toml", "dependencies = []", 'dependencies = []\nrequires-python = ">=3.11"')
    locks.make(patient.tiny.root, ["--offline"])
    printed = patient.tiny.invoke("doctor", "--claims", json.dumps(GOOD))
    for seen in (
        "✓ git",
        "✓ python",
        "✓ uv",
        "✓ lockfiles",
        "✓ credentials",
        "✓ provider",
        "✓ foundation",
        "✓ pipeline",
    ):
        assert seen in printed
    assert f"✓ trust of deploy      {patient.name}-deploy accepts this token" in printed
    assert f"✗ trust of build       {patient.name}-build: sub is 'repo:an-owner/a-repository:environment:" in printed
    assert all(f["ok"] for f in json.loads(patient.tiny.invoke("doctor", "--json")))


def test_all_that_is_wrong_is_said_at_once(tiny: Tiny) -> None:
    """Before anything is made: what is missing, each with the command that makes it, and exit code 1."""
    tiny.replace("pyproject.toml", "dependencies = []", 'dependencies = ["flask"]')
    tiny.replace("pipeline.toml", 'python = "', 'python = "3.14" # "')
    printed = tiny.invoke("doctor", code=1)
    assert "✗ lockfiles            requirements/serve.txt" in printed
    assert "fix: python -m ml_delivery.dependencies.locks --make" in printed  # it has no noxfile
    assert f"✗ foundation           {tiny.name}-production is missing" in printed
    assert f"✗ build role           there is no role {tiny.name}-production-build" in printed
    assert printed.count("fix: invoke bootstrap --branch main --cloud embedded") >= 4


def test_missing_python_and_engine_are_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python that is not here, and for images no engine that answers."""
    import dataclasses

    tiny.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    service = dataclasses.replace(tiny.config.service, python="3.99")
    config = dataclasses.replace(tiny.config, service=service)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text("#!/bin/sh\nexit 1\n")  # a client without an engine
    (tmp_path / "bin/docker").chmod(0o755)
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    wrong = {finding.check: finding for finding in doctor.local(config) if not finding.ok}
    assert "found no Python 3.99 that runs, on the PATH or by uv" in sentence(wrong["python"])
    assert "there is no Dockerfile.lambda" in sentence(wrong["engine"])
    assert wrong["engine"].fix == "invoke upgrade --target lambda-image"
    with pytest.raises(
        SetupError, match=r"there is no Dockerfile\.own, .*\n  next: add Dockerfile\.own$"
    ):  # a user's target
        packer.check(config, packer.Recipe("Dockerfile.own", "base:{}", "srv"))
    tiny.write("Dockerfile.lambda", "FROM base\nRUN true\n")
    wrong = {finding.check: finding for finding in doctor.local(config) if not finding.ok}
    assert "Dockerfile.lambda, line 2, needs a container engine: RUN true" in sentence(wrong["engine"])
    assert wrong["engine"].fix


def test_no_repository_is_said(tmp_path: Path) -> None:
    """A folder that is not under git."""
    from ml_delivery import config

    (tmp_path / "pipeline.toml").write_text((TEMPLATE.parent / "pipeline.toml").read_text())
    (git,) = [f for f in doctor.local(config.load(tmp_path, {})) if f.check == "git"]
    assert not git.ok
    assert git.fix


@pytest.mark.parametrize(
    ("account", "variables", "says"),
    [
        ("", {}, "account: empty; write the quoted 12 digits"),
        ("123456789012", {}, "Unable to locate credentials"),
        ("123456789012", {"AWS_ACCESS_KEY_ID": "AKIA0", "AWS_SECRET_ACCESS_KEY": "x"}, "InvalidClientTokenId"),
        (
            "999999999999",
            {"own": "yes"},
            "the credentials belong to account 123456789012, but production is in 999999999999",
        ),
    ],
    ids=["no account", "no credentials", "unknown key", "another account"],
)
def test_credentials_that_will_not_do_are_said(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, account: str, variables: dict[str, str], says: str
) -> None:
    """No account, no credentials, bad ones, those of another account."""
    tiny = patient.tiny
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{account}"\n')
    monkeypatch.setenv("AWS_ENDPOINT_URL", patient.cloud._endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tiny.root))
    if variables.pop("own", ""):
        keys = patient.cloud._session.get_credentials()
        variables |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    findings, cloud = doctor.account(tiny.config, tiny.config.environment("main"), "aws")
    assert cloud is None
    assert says in sentence(findings[0])
    assert findings[0].fix or account == ""


def test_drift_of_the_account_is_said(patient: Patient) -> None:
    """A role that lost an action, a stack that is old, a provider without its audience, a role that is gone."""
    iam = patient.cloud.client("iam")
    document = iam.get_role_policy(RoleName=f"{patient.name}-deploy", PolicyName="stage")["PolicyDocument"]
    for statement in document["Statement"]:
        if statement["Sid"] == "Release":
            statement["Action"].remove("lambda:UpdateAlias")
    policy = {"RoleName": f"{patient.name}-deploy", "PolicyName": "stage", "PolicyDocument": json.dumps(document)}
    iam.put_role_policy(**policy)
    assert patient.problems() == {
        "deploy role": (
            f"{patient.name}-deploy lacks lambda:UpdateAlias",
            "invoke bootstrap --branch main --cloud embedded",
        )
    }
    iam.delete_role_policy(RoleName=f"{patient.name}-plan", PolicyName="stage")
    assert patient.problems()["plan role"][0] == f"there is no role {patient.name}-plan"
    patient.tiny.replace("pipeline.toml", "[github]\n", '[github]\nowner_id = "1"\nrepository_id = "2"\n')
    assert patient.problems()["pipeline"][0] == f"{patient.name}-pipeline is outdated"


BAD_CLAIMS = {
    "another branch": (
        {"sub": "repo:an-owner/a-repository:ref:refs/heads/feature"},
        "sub is",
        "run the workflow from main",
    ),
    "a pull request": ({"sub": "repo:an-owner/a-repository:pull_request"}, "sub is", "pull requests have no role"),
    "another repository": ({"sub": "repo:x/y:environment:production"}, "sub is 'repo:x/y", "correct [github]"),
    "another environment": (
        {"sub": "repo:an-owner/a-repository:environment:staging"},
        "sub is",
        "environment production",
    ),
    "the immutable form": (
        {"sub": "repo:an-owner@12/a-repository@345:environment:production"},
        "sub is",
        'owner_id = "12" and repository_id = "345"',
    ),
    "no subject": ({"sub": None}, "sub is None", "run the workflow from main"),
    "another audience": ({"aud": "https://github.com/an-owner"}, "aud is 'https://github.com/an-owner'", "audience"),
    "another issuer": (
        {"iss": "https://gitlab.localhost"},
        "iss is 'https://gitlab.localhost'",
        "run the workflow from",
    ),
    "no issuer": ({"iss": None}, "iss is None, the role trusts https://token.actions", "run the workflow from"),
}


def test_claim_that_is_in_the_way_is_named(patient: Patient) -> None:
    """No role accepts the token, and each names the claim, what it is, and what the role requires."""
    for name, (changes, says, fix) in BAD_CLAIMS.items():
        for finding in trust.given(patient.tiny.config, patient.environment, patient.cloud, {**GOOD, **changes}):
            assert not finding.ok, name
            assert says in sentence(finding), name
            assert fix in finding.fix, name


def test_workflow_file_that_is_another_is_named(patient: Patient) -> None:
    """The subject is right, and the job is in another workflow file, or in this file on another branch."""
    for other in ("other.yml@refs/heads/main", "deploy.yml@refs/heads/feature"):
        claims = {**GOOD, "job_workflow_ref": f"an-owner/a-repository/.github/workflows/{other}"}
        found = {label(f): f for f in trust.given(patient.tiny.config, patient.environment, patient.cloud, claims)}
        assert not found["trust of deploy"].ok
        assert f"job_workflow_ref is 'an-owner/a-repository/.github/workflows/{other}'" in sentence(
            found["trust of deploy"]
        )
        assert "run the workflow from main" in found["trust of deploy"].fix


@pytest.mark.parametrize("text", ["{", "[]", "no-such-file", '"text"'])
def test_claims_that_are_none_are_refused(text: str) -> None:
    """Neither JSON nor a file of it."""
    with pytest.raises(ConfigError, match="--claims: 1 problem"):
        trust.claims_of(text)


def test_branch_of_no_environment_is_a_finding(tiny: Tiny) -> None:
    """That no environment can be chosen is one finding beside the others."""
    tiny.git("checkout", "--quiet", "-b", "feature")
    printed = tiny.invoke("doctor", code=1)
    assert "✓ git" in printed
    assert "✗ environment" in printed
