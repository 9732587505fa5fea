"""Provenance: stated where an artifact is built, kept beside it, and judged before a release; and each way in which it is false."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
from collections.abc import Callable
from typing import Any

import in_toto_attestation.predicates.provenance.v1.provenance_pb2 as slsa
import in_toto_attestation.v1.statement_pb2 as in_toto
import pytest
from emulated import client
from google.protobuf import json_format
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from tiny import BUILDSPEC, Tiny

from ml_delivery import emulator
from ml_delivery.artifact import provenance, store
from ml_delivery.errors import CloudError, Refused
from ml_delivery.release import plan, verify
from ml_delivery.release.delivery import Delivery
from ml_delivery.waiting import wait

Document = dict[str, Any]


def statements(opened: Delivery, version: str) -> dict[str, Document]:
    """The statements that are stored for a version, by their keys."""
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"artifacts/{version}/").get("Contents", [])
    keys = [entry["Key"] for entry in found if entry["Key"].endswith(".intoto.json")]
    return {key: json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys}


def remove(opened: Delivery, key: str) -> None:
    opened.cloud.client("s3").delete_object(Bucket=opened.foundation.bucket, Key=key)


def put(opened: Delivery, key: str, body: bytes) -> None:
    """Replace an object, as an administrator can: no role that delivers can do both."""
    remove(opened, key)
    opened.cloud.client("s3").put_object(Bucket=opened.foundation.bucket, Key=key, Body=body, IfNoneMatch="*")


def forge(opened: Delivery, version: str, change: Callable[[Document], object], honest: Document | None = None) -> str:
    """Put a changed statement in the place of the one that is there, as an administrator can; why it is refused."""
    ((key, found),) = statements(opened, version).items()
    remove(opened, key)
    document = copy.deepcopy(honest or found)
    change(document)
    body = json.dumps(document).encode()
    put(opened, f"artifacts/{version}/{hashlib.sha256(body).hexdigest()}.intoto.json", body)
    with pytest.raises(Refused, match="has no provenance that production accepts") as fault:
        plan.make(opened)
    return fault.value.message


def on_codebuild(tiny: Tiny, spec: str = BUILDSPEC, code: int = 0) -> str:
    """Let CodeBuild build and push a commit; returns the commit."""
    tiny.write("buildspec.yml", spec)
    commit = tiny.commit("Build elsewhere")
    tiny.invoke("build", "--on", "codebuild", code=code)
    return commit


def only_codebuild(tiny: Tiny) -> None:
    tiny.write(
        "pipeline.toml",
        (tiny.root / "pipeline.toml").read_text() + '\n[environments.production.deploy]\nbuilder = "codebuild"\n',
    )


def test_statement_is_valid_and_true(tiny: Tiny) -> None:
    """It is in-toto's and SLSA's by their own types, and names commit, lockfiles, interpreter, model and bill of materials."""
    pushed = tiny.push().artifact
    (document,) = statements(tiny.open(), pushed.version).values()
    Statement.copy_from_pb(json_format.ParseDict(document, in_toto.Statement())).validate()
    made = json_format.ParseDict(document["predicate"], slsa.Provenance())
    parts = {one.name: one for one in made.build_definition.resolved_dependencies}
    for one in [*parts.values(), *made.run_details.byproducts]:
        ResourceDescriptor.copy_from_pb(one).validate()
    assert document["subject"][0]["digest"]["sha256"] == pushed.digest.removeprefix("sha256:")
    assert dict(parts["source"].digest) == {"gitCommit": pushed.commit}
    lock = hashlib.sha256((tiny.root / "requirements/serve.txt").read_bytes()).hexdigest()
    assert dict(parts["requirements/serve.txt"].digest) == {"sha256": lock}
    assert parts["interpreter"].uri == f"pkg:generic/cpython@{platform.python_version()}"
    assert f"sha256:{parts['primary model'].digest['sha256']}" == pushed.model
    assert json_format.MessageToDict(made.build_definition.external_parameters) == {
        "repository": "https://github.com/an-owner/a-repository",
        "branch": "main",
        "commit": pushed.commit,
        "version": pushed.version,
        "environment": "production",
        "target": "lambda-zip",
    }
    assert made.run_details.builder.id == "urn:ml-delivery:builder:local"
    bill = hashlib.sha256((tiny.root / "build/sbom.cdx.json").read_bytes()).hexdigest()
    assert [dict(one.digest) for one in made.run_details.byproducts] == [{"sha256": bill}]


def test_changed_tree_is_the_source_of_its_artifact(tiny: Tiny) -> None:
    """What was built from uncommitted changes is of a tree, not of a commit; a second push adds no second statement."""
    tiny.write("src/service/more.py", "")
    pushed = tiny.push().artifact
    tiny.push()
    (document,) = statements(tiny.open(), pushed.version).values()
    source = document["predicate"]["buildDefinition"]["resolvedDependencies"][0]
    assert source["digest"]["gitTree"].startswith(pushed.version.rpartition("-")[2])
    assert provenance.check(tiny.open(), pushed).source == source["digest"]["gitTree"]
    assert "release 1 is verified" in tiny.invoke("deploy")


def of(*path: Any, value: Any) -> Callable[[Document], object]:
    """Change one value of a statement."""

    def change(document: Document) -> None:
        at: Any = document
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


DEFINITION, RUN = ("predicate", "buildDefinition"), ("predicate", "runDetails")
SOURCE = (*DEFINITION, "resolvedDependencies", 0, "digest")


ANOTHER = "arn:aws:codebuild:eu-west-1:123456789012:project/another"
FALSE: list[tuple[Callable[[Document], object], str]] = [
    (of("subject", 0, "digest", value={"sha256": "0" * 64}), "is of sha256:0000"),
    (of("subject", value=[]), "can't be read: ValueError"),
    (of(*SOURCE, value={"gitCommit": "1" * 40}), "is of the source 1111"),
    (of(*SOURCE, value={"gitCommit": ""}), "is of the source nothing"),
    (of(*SOURCE, value={}), "can't be read: KeyError: 'gitCommit'"),
    (of(*DEFINITION, "externalParameters", "environment", value="staging"), "is of a push to staging"),
    (of(*DEFINITION, "buildType", value="urn:another"), "can't be read: ValueError: it is of "),
    (of("predicateType", value="https://slsa.dev/verification_summary/v1"), "can't be read: ValueError: it is of "),
    (of("predicate", value="none"), "can't be read: TypeError"),
    (of(*RUN, "builder", "id", value=ANOTHER), "is by arn:aws:codebuild"),
]


def test_false_statement_stops_plan_and_deploy(tiny: Tiny) -> None:
    """Of another artifact, source, environment or builder, or none at all: nothing is planned, and nothing released."""
    pushed, opened = tiny.push().artifact, tiny.open()
    (honest,) = statements(opened, pushed.version).values()
    for change, says in FALSE:
        assert says in forge(opened, pushed.version, change, honest)
    assert "next: invoke build --" in tiny.invoke("deploy", code=1)
    assert tiny.live() == 0


def test_missing_or_altered_statement_stops_a_deploy(tiny: Tiny) -> None:
    """Without a statement, or with one that is not what was stored, nothing is released; another push states it again."""
    pushed = tiny.push().artifact
    ((key, document),) = statements(tiny.open(), pushed.version).items()
    put(tiny.open(), key, json.dumps(document).encode())
    assert "was altered after it was stored" in tiny.invoke("deploy", code=1)
    remove(tiny.open(), key)
    output = tiny.invoke("deploy", code=1)
    assert f"has no provenance that production accepts: there is none beside {pushed.version}" in output
    assert "next: invoke build --branch main && invoke push --branch main, or invoke build --on codebuild" in output
    assert "already pushed" in tiny.invoke("push")
    assert "release 1 is verified" in tiny.invoke("deploy")


def test_record_under_another_versions_name_is_refused(tiny: Tiny) -> None:
    """An artifact's record that was copied to another commit's place is not that commit's artifact."""
    first = tiny.push().artifact
    opened = tiny.open()
    place = {"Bucket": opened.foundation.bucket, "Key": f"artifacts/{first.version}/artifact.json"}
    record = opened.cloud.client("s3").get_object(**place)["Body"].read()
    second = tiny.commit("Another")
    put(tiny.open(), f"artifacts/{second}/artifact.json", record)
    with pytest.raises(CloudError, match=f"it is of {first.version}"):
        store.find(tiny.open(), second)


def test_production_may_take_only_what_codebuild_built(tiny: Tiny) -> None:
    """A laptop's push is refused there; what CodeBuild built of the same commit, to the same bytes, is released and verified."""
    only_codebuild(tiny)
    tiny.write("buildspec.yml", BUILDSPEC)
    commit = tiny.commit("Only CodeBuild")
    local = tiny.push().artifact
    output = tiny.invoke("deploy", code=1)
    assert "is of a local build; deploy.builder is 'codebuild'" in output
    assert "next: invoke build --on codebuild --branch main\n" in output
    tiny.invoke("build", "--on", "codebuild")
    found = [document["predicate"]["runDetails"] for document in statements(tiny.open(), commit).values()]
    (run,) = [run for run in found if run["builder"]["id"].startswith("arn:")]
    assert run["builder"]["id"] == f"arn:aws:codebuild:eu-west-1:123456789012:project/{tiny.name}-production"
    assert run["metadata"]["invocationId"].startswith(
        f"arn:aws:codebuild:eu-west-1:123456789012:build/{tiny.name}-production:"
    )
    assert run["metadata"]["startedOn"] <= run["metadata"]["finishedOn"]
    assert len(found) == 2
    assert store.find(tiny.open(), commit).digest == local.digest
    assert "release 1 is verified" in tiny.invoke("deploy")
    assert f"✓ its provenance, by {run['metadata']['invocationId']}" in tiny.invoke("verify")


def test_codebuilds_own_record_must_confirm_its_statement(tiny: Tiny) -> None:
    """A statement may name a build that CodeBuild does not know, or that made something else, failed, or ran another buildspec."""
    commit = on_codebuild(tiny)
    artifact = store.find(tiny.open(), commit)
    honest = provenance.check(tiny.open(), artifact)
    tiny.write("src/service/more.py", "")
    other = on_codebuild(tiny)
    another = provenance.check(tiny.open(), store.find(tiny.open(), other)).invocation
    failed = on_codebuild(tiny, BUILDSPEC + "      - exit 3\n", code=1)
    assert "which ended as FAILED, not SUCCEEDED" in tiny.invoke("deploy", code=1)
    assert store.find(tiny.open(), failed)

    tiny.git("checkout", "--quiet", "-B", "main", commit)
    opened = tiny.open()

    def refused(invocation: str) -> str:
        return forge(opened, commit, of(*RUN, "metadata", "invocationId", value=invocation))

    assert "which CodeBuild does not know" in refused(f"{honest.invocation[:-4]}0000")
    message = refused(another)
    assert f"which built {other}, not {commit}" in message
    assert "exported as ARTIFACT_DIGEST sha256:" in message
    assert "is by arn:aws:codebuild" in refused(honest.invocation.replace("production", "staging"))
    variables = {"PIPELINE_CLOUD": "embedded", "PIPELINE_BRANCH": "main"}
    codebuild = client(emulator.up(tiny.root), "codebuild")
    started = codebuild.start_build(
        projectName=f"{tiny.name}-production",
        sourceVersion=commit,
        buildspecOverride=BUILDSPEC,
        environmentVariablesOverride=[{"name": name, "value": value} for name, value in variables.items()],
    )["build"]
    assert "which ended as IN_PROGRESS, not SUCCEEDED" in refused(started["arn"])

    def ended() -> str | None:
        build = codebuild.batch_get_builds(ids=[started["id"]])["builds"][0]
        return build["buildStatus"] if build["buildComplete"] else None

    assert wait(ended, what="the build's end") == "SUCCEEDED"
    with pytest.raises(Refused, match=f"is of {started['arn']}, which ran another buildspec, not buildspec.yml"):
        provenance.check(opened, artifact)
    assert len(statements(opened, commit)) == 2


def test_verify_finds_false_provenance_and_another_bill(tiny: Tiny) -> None:
    """What is live is followed to its statement and its bill of materials; each is missed, and named."""
    pushed = tiny.push().artifact
    tiny.deploy()
    made = provenance.check(tiny.open(), pushed)
    printed = tiny.invoke("verify")
    assert "✓ its provenance, by a local build" in printed
    assert "✓ its bill of materials" in printed
    key = f"artifacts/{pushed.version}/{made.sbom.removeprefix('sha256:')}.sbom.cdx.json"
    put(tiny.open(), key, b"{}")
    refused = tiny.invoke("verify", code=1)
    assert "✗ its bill of materials: sha256:" in refused
    assert "next: invoke cloud.reset" in refused  # a rollback would not bring it back
    put(tiny.open(), key, (tiny.root / "build/sbom.cdx.json").read_bytes())
    put(tiny.open(), next(iter(statements(tiny.open(), pushed.version))), b"{}")
    with pytest.raises(Refused, match="has no provenance that production accepts"):
        verify.verify(tiny.open(), rebuild=False, report=lambda link: None)
