"""CodeBuild's own record of a build, compared with what is stated of it, and with what the project would have run.

Only AWS writes the record. It has what a request replaced of the project: the buildspec, the image, variables.
https://docs.aws.amazon.com/codebuild/latest/APIReference/API_Build.html
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery import cloudformation, target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.cloudformation import Tree
    from ml_delivery.records import Artifact, Context, Provenance

__all__ = ["differs", "project_of"]

BUILDSPEC = "buildspec.yml"
MANAGED = "aws/codebuild/*"  # the images that AWS makes


def differs(context: Context, artifact: Artifact, made: Provenance) -> str:
    """How CodeBuild's record of the build differs from the statement ``made``; empty if it confirms it.

    Raises:
        CloudError: CodeBuild refused.
        ConfigError: the service's own ``infra/delivery.yaml`` is wrong.
    """
    cloud = context.cloud
    project = f":codebuild:{cloud.region}:{cloud.account}:project/{context.name}"
    if not made.builder.endswith(project) or project_of(made.invocation) != made.builder:
        return f"is by {made.builder}, not by {project.removeprefix(':')}"
    with cloud.faults():
        found = cloud.client("codebuild").batch_get_builds(ids=[made.invocation.rpartition("build/")[2]])["builds"]
    if not found:
        return f"is of {made.invocation}, which CodeBuild does not know, or no longer"
    build = found[0]
    # What a build has exported is in its record, by name.
    exported = {one["name"]: one["value"] for one in build.get("exportedEnvironmentVariables", [])}
    seen = {
        "ended as": (build["buildStatus"], "SUCCEEDED"),
        "built": (build.get("resolvedSourceVersion", ""), artifact.commit),
        "ran": ("another buildspec" if build["source"].get("buildspec") != BUILDSPEC else BUILDSPEC, BUILDSPEC),
        "exported as ARTIFACT_DIGEST": (exported.get("ARTIFACT_DIGEST", ""), artifact.digest),
    }
    differ = [f"{what} {it or 'nothing'}, not {wanted}" for what, (it, wanted) in seen.items() if it != wanted]
    differ += _ran(context, artifact, build)
    return f"is of {made.invocation}, which {'; '.join(differ)}" if differ else ""


def project_of(build: str) -> str:
    """The ARN of the project that a build is of, from the build's ARN."""
    return build.rpartition(":")[0].replace(":build/", ":project/")


def _ran(context: Context, artifact: Artifact, build: dict[str, Any]) -> Iterator[str]:
    """What the build ran with that neither the project's template declares nor ``invoke build --on codebuild`` sets."""
    declared = list(_declared(context))
    images = [text for one in declared for text in _texts(one.get("Image"))]
    image = str(build["environment"].get("image", ""))
    if not any(fnmatchcase(image, re.sub(r"\$\{[^}]+\}", "*", pattern)) for pattern in (MANAGED, *images)):
        yield f"ran in the image {image or 'nothing'}, not in the project's"
    ours = {"PIPELINE_BRANCH": context.environment.branch, "PIPELINE_PYTHON": artifact.python}
    variables = [part for one in declared for part in one.get("EnvironmentVariables", [])]
    known = {
        "PIPELINE_CLOUD",
        *(name for part in variables for name in _texts(part.get("Name"))),
    }  # it is where the push goes
    for one in build["environment"].get("environmentVariables", []):
        name, kind = one["name"], one.get("type", "PLAINTEXT")
        value = repr(one["value"]) if kind == "PLAINTEXT" else f"from {kind}"
        if name in ours and value != repr(ours[name]):
            yield f"ran with {name} {value}, not {ours[name]!r}"
        elif name not in known | set(ours):
            yield f"ran with the variable {name}, which the project does not have"
    if build.get("debugSession", {}).get("sessionEnabled"):
        yield "could be entered while it ran"


def _declared(context: Context) -> Iterator[Tree]:
    """The environment that the project is declared with: by the template, the service's own if it has one, and by the target."""
    own = context.config.root / "infra/delivery.yaml"
    neutral = cloudformation.read(own if own.is_file() else Path(__file__).parent.parent / "infra/delivery.yaml")
    part = target.load(context.environment.target, context.config).infrastructure(context.config, context.environment)
    yield neutral.get("Resources", {}).get("Project", {}).get("Properties", {}).get("Environment", {})
    yield part.project.get("Environment", {})


def _texts(node: Any) -> Iterator[str]:
    """The strings in a part of a template; each of both, where a condition decides."""
    if isinstance(node, str):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(one)
