"""Whoever may start a build chooses its commit, and nothing else of how it is built: refused at the start, and found later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from emulated import client
from roles import Roles
from tiny import BUILDSPEC, Tiny

from ml_delivery import emulator
from ml_delivery.account import stacks
from ml_delivery.artifact import provenance, store
from ml_delivery.artifact.confirmation import _ran
from ml_delivery.cloud import Cloud
from ml_delivery.errors import Refused
from ml_delivery.waiting import wait


def named(**values: str) -> dict[str, Any]:
    return {"environmentVariablesOverride": [{"name": name, "value": value} for name, value in values.items()]}


REPLACED: dict[str, dict[str, Any]] = {
    "the buildspec": {"buildspecOverride": "version: 0.2"},
    "the image": {"imageOverride": "docker.io/library/python"},
    "its rights over the host": {"privilegedModeOverride": True},
    "the repository": {"sourceLocationOverride": "https://github.com/x/y.git"},
    "trust in certificates": {"insecureSslOverride": True, "certificateOverride": "b/k"},
    "another source beside it": {
        "secondarySourcesOverride": [{"type": "GITHUB", "location": "x", "sourceIdentifier": "x"}]
    },
    "where the cache is": {"cacheOverride": {"type": "S3", "location": "another"}},
    "the role": {"serviceRoleOverride": "arn:aws:iam::123456789012:role/another"},
    "the kind of machine": {"environmentTypeOverride": "WINDOWS_CONTAINER"},
    "the machine": {"fleetOverride": {"fleetArn": "arn:aws:codebuild:eu-west-1:123456789012:fleet/x"}},
    "the log": {"logsConfigOverride": {"cloudWatchLogs": {"status": "DISABLED"}}},
    "a new variable": named(MAKEFLAGS="--eval=x"),
    "a new variable among known ones": named(PIPELINE_BRANCH="main", LD_PRELOAD="x"),
    "a variable's case": named(pipeline_branch="main"),
    "another branch": named(PIPELINE_BRANCH="develop"),
    "two branches": {
        "environmentVariablesOverride": [{"name": "PIPELINE_BRANCH", "value": v} for v in ("develop", "main")]
    },
    "another cloud": named(PIPELINE_CLOUD="embedded"),
    "a Python that is a command": named(PIPELINE_PYTHON="3.12; true"),
}


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Roles:
    return Roles(Tiny(tmp_path_factory.mktemp("bound") / "service", shared, "bound"))


@pytest.mark.parametrize("what", REPLACED)
def test_role_that_starts_builds_replaces_nothing(roles: Roles, what: str) -> None:
    """Each way in which a request can replace a part of the project is refused by IAM, before anything runs."""
    with roles.acting("build"):
        codebuild = Cloud.open(roles.tiny.config, roles.environment, "aws").client("codebuild")
        with pytest.raises(ClientError, match="not authorized to perform: codebuild:StartBuild"):
            codebuild.start_build(projectName="bound-production", **REPLACED[what])


def test_build_that_ran_with_something_else_proves_nothing(tiny: Tiny) -> None:
    """An administrator can start such a build; its artifact isn't released, unless the service's own template declares the same."""
    tiny.write("buildspec.yml", BUILDSPEC)
    commit = tiny.commit("Build elsewhere")
    tiny.invoke("bootstrap")
    opened = tiny.open()
    emulator.offer(tiny.root, f"{tiny.name}-production", "https://github.com/an-owner/a-repository.git", {})
    codebuild = client(emulator.up(tiny.root), "codebuild")
    variables = {"PIPELINE_CLOUD": "embedded", "PIPELINE_BRANCH": "main", "CARGO_HOME": "/x"}
    listed = [{"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()]
    listed[1]["type"] = "PARAMETER_STORE"
    build = codebuild.start_build(
        projectName=f"{tiny.name}-production",
        sourceVersion=commit,
        imageOverride="123456789012.dkr.ecr.eu-west-1.amazonaws.com/builder:3",
        environmentVariablesOverride=listed,
    )["build"]["id"]

    def ended() -> str | None:
        found = codebuild.batch_get_builds(ids=[build])["builds"][0]
        return found["buildStatus"] if found["buildComplete"] else None

    assert wait(ended, what="the build's end") == "SUCCEEDED"

    def refusal() -> str:
        with pytest.raises(Refused) as fault:
            provenance.check(opened, store.find(opened, commit))
        return fault.value.message

    assert "ran in the image 123456789012.dkr.ecr.eu-west-1.amazonaws.com/builder:3, not in the project's" in refusal()
    assert "ran with the variable CARGO_HOME, which the project does not have" in refusal()
    assert "ran with PIPELINE_BRANCH from PARAMETER_STORE, not 'main'" in refusal()
    record = codebuild.batch_get_builds(ids=[build])["builds"][0]
    entered = {**record, "debugSession": {"sessionEnabled": True}}  # which the emulator does not offer
    assert "could be entered while it ran" in list(_ran(opened, store.find(opened, commit), entered))
    assert "could be entered while it ran" not in list(_ran(opened, store.find(opened, commit), record))
    own = (stacks.INFRA / "delivery.yaml").read_text()
    image, name = "${AWS::AccountId}.dkr.ecr.eu-west-1.amazonaws.com/builder:3", "          - Name: PIPELINE_CLOUD\n"
    own = own.replace("aws/codebuild/amazonlinux-x86_64-standard:5.0", image)
    own = own.replace(name, f"          - Name: CARGO_HOME\n            Value: /y\n{name}")
    tiny.write("infra/delivery.yaml", own)
    assert refusal().count("; ran") == 0
    assert "which ran with PIPELINE_BRANCH" in refusal()
