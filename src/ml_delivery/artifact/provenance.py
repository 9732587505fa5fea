"""Where an artifact comes from: stated where it was built, kept beside it, and checked before it is released.

The statement is in-toto's, with SLSA's provenance as its predicate. It is not signed. What it says of a build on CodeBuild is
compared with CodeBuild's own record of that build, which only AWS writes; that any other machine built it is its own word.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, TypedDict

from ml_delivery import __version__, objects
from ml_delivery.artifact import confirmation
from ml_delivery.errors import Refused
from ml_delivery.records import Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Artifact, Context, Manifest

__all__ = ["check", "here", "keep", "state"]

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
# Both are described in docs/provenance.md of the repository of this package.
BUILD_TYPE = "urn:ml-delivery:build:v1"
LOCAL = "urn:ml-delivery:builder:local"
SERVE, DELIVERY = "requirements/serve.txt", "requirements/delivery.txt"
SUFFIX = ".intoto.json"


class Builder(TypedDict):
    """The fields of a manifest that say who builds."""

    builder: str
    invocation: str
    started: float


def here() -> Builder:
    """Who builds here, by what CodeBuild sets.

    https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
    """
    build = os.environ.get("CODEBUILD_BUILD_ARN", "")
    started = int(os.environ.get("CODEBUILD_START_TIME", "0")) / 1000 if build else 0.0
    return {"builder": confirmation.project_of(build), "invocation": build, "started": started}


def keep(context: Context, manifest: Manifest, artifact: Artifact) -> None:
    """Store the statement of a build beside the artifact that was pushed of it, under its own digest.

    So none is ever replaced: an artifact has a statement of each build that made it.

    Raises:
        CloudError: S3 refused.
    """
    body = state(context, manifest, artifact)
    key = f"artifacts/{artifact.version}/{hashlib.sha256(body).hexdigest()}{SUFFIX}"
    objects.create(context.cloud, context.foundation.bucket, key, body)


def state(context: Context, manifest: Manifest, artifact: Artifact) -> bytes:
    """The statement of a build, for the artifact that was pushed of it.

    Of a build on CodeBuild it has the times and the build's ARN; without these, the same build gives the same bytes.

    Args:
        context: the environment that it was pushed to.
        manifest: the build's.
        artifact: its artifact.
    """
    repository = context.config.github.repository
    address = f"https://github.com/{repository}" if repository else ""
    of = {"gitTree": manifest.tree} if manifest.dirty else {"gitCommit": manifest.commit}
    source = {"name": "source", "uri": address and f"git+{address}", "digest": of}
    locks = [_resource(SERVE, manifest.lock)]
    if (tools := context.config.root / DELIVERY).is_file():
        locks.append(_resource(DELIVERY, hashlib.sha256(tools.read_bytes()).hexdigest()))
    implementation, _, patch = manifest.interpreter.partition(" ")
    interpreter = {"name": "interpreter", "uri": f"pkg:generic/{implementation.lower()}@{patch}"}
    base, _, digest = manifest.base.partition("@sha256:")
    image = {
        "name": "base image",
        "uri": base and f"docker://{base}",
        "digest": {"sha256": digest},
        "annotations": {"layers": manifest.base_layers},
    }
    model = _resource("primary model", manifest.model)
    dependencies = [
        source,
        *locks,
        interpreter,
        *([model] if manifest.model else []),
        *([image] if manifest.base_layers else []),
    ]
    document = {
        "_type": STATEMENT,
        "subject": [{"name": artifact.location, "digest": {"sha256": artifact.digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": address,
                    "branch": context.environment.branch,
                    "commit": manifest.commit,
                    "version": manifest.version,
                    "environment": context.environment.name,
                    "target": manifest.target,
                },
                "internalParameters": {"python": manifest.python, "architecture": manifest.architecture},
                "resolvedDependencies": [_without_empty(one) for one in dependencies],
            },
            "runDetails": {
                "builder": {"id": manifest.builder or LOCAL, "version": {"ml-delivery": __version__}},
                "metadata": _metadata(manifest),
                "byproducts": [_resource("sbom.cdx.json", manifest.sbom)],
            },
        },
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def check(context: Context, artifact: Artifact, after: str = "") -> Provenance:
    """The provenance of ``artifact``, which must be this environment's, of this commit, and by a builder that it accepts.

    Args:
        context: the environment.
        artifact: as it was pushed.
        after: what must follow a new build and its push, for the error: empty, or `` && `` and a command.

    Raises:
        Refused: there is no such statement; the message says of each why not.
        CloudError: S3 or CodeBuild refused.
    """
    branch = context.environment.branch
    where = f"--branch {branch}{context.where}"
    again = f"invoke build --on codebuild {where}{after}"
    if context.environment.deploy.builder != "codebuild":
        again = f"invoke build --branch {branch} && invoke push {where}{after}, or {again}"
    reasons = []
    for place, body in _stored(context, artifact.version):
        if hashlib.sha256(body).hexdigest() != place.rpartition("/")[2].removesuffix(SUFFIX):
            reason = "was altered after it was stored"
        elif isinstance(made := _read(body), str):
            reason = f"can't be read: {made}"
        elif not (reason := _refusal(context, artifact, made)):
            return made
        reasons.append(f"{place} {reason}")
    none = f"there is none beside {artifact.version}: it was deleted, or an older ml-delivery pushed the artifact, which kept none"
    raise Refused(
        f"{artifact.digest} has no provenance that {context.environment.name} accepts: {'; '.join(reasons) or none}",
        next=again,
    )


def _refusal(context: Context, artifact: Artifact, made: Provenance) -> str:
    """Why the statement is not enough to release the artifact; empty if it is."""
    if made.digest != artifact.digest:
        return f"is of {made.digest}"
    if made.environment != context.environment.name:
        return f"is of a push to {made.environment or 'nowhere'}"
    of = artifact.version.rpartition("-")[2] if artifact.dirty else artifact.commit
    if not made.source or not made.source.startswith(of):
        return f"is of the source {made.source or 'nothing'}"
    if made.builder:
        return confirmation.differs(context, artifact, made)
    wanted = context.environment.deploy.builder
    return "" if wanted == "any" else f"is of a local build; deploy.builder is {wanted!r}"


def _stored(context: Context, version: str) -> Iterable[tuple[str, bytes]]:
    """The statements beside the artifacts of ``version``, by their keys: each build makes one, and none is ever replaced."""
    cloud, bucket = context.cloud, context.foundation.bucket
    with cloud.faults():
        pages = (
            cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"artifacts/{version}/")
        )
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", []) if entry["Key"].endswith(SUFFIX)]
    for key in keys:
        if found := objects.get(cloud, bucket, key):
            yield key, found[0]


def _read(body: bytes) -> Provenance | str:
    """What the statement says; why it can't be read where ``state`` did not make it."""
    try:
        document = json.loads(body)
        (subject,), predicate = document["subject"], document["predicate"]
        definition, run = predicate["buildDefinition"], predicate["runDetails"]
        kinds = (document["_type"], document["predicateType"], definition["buildType"])
        if kinds != (STATEMENT, PREDICATE, BUILD_TYPE):
            raise ValueError(f"it is of {', '.join(map(str, kinds))}")
        source = next(one for one in definition["resolvedDependencies"] if one.get("name") == "source")
        builder = str(run["builder"]["id"])
        return Provenance(
            digest=f"sha256:{subject['digest']['sha256']}",
            source=str(source["digest"].get("gitTree") or source["digest"]["gitCommit"]),
            environment=str(definition["externalParameters"]["environment"]),
            builder="" if builder == LOCAL else builder,
            invocation=str(run["metadata"].get("invocationId", "")),
            sbom=f"sha256:{run['byproducts'][0]['digest']['sha256']}",
        )
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def _metadata(manifest: Manifest) -> dict[str, str]:
    if not manifest.invocation:
        return {}
    from datetime import UTC, datetime  # a build does not need it

    times = {"startedOn": manifest.started, "finishedOn": time.time()}
    stamps = {name: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for name, at in times.items()}
    return {"invocationId": manifest.invocation, **stamps}


def _resource(name: str, digest: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _without_empty(resource: dict[str, Any]) -> dict[str, Any]:
    """The descriptor without what is not known. https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md"""
    return {name: value for name, value in resource.items() if value and value != {"sha256": ""}}
