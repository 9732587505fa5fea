"""The artifact's tasks: build, push."""

from __future__ import annotations

import time
from typing import Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config
from ml_delivery.tasks.telling import telling_build


@action(
    help={
        "on": "codebuild: build the commit there and push it, instead of building here",
        "branch": f"with --on: {BRANCH}",
        "cloud": f"with --on: {CLOUD}",
        "json": JSON,
    }
)
def build(_: Any, on: str = "", branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Build the artifact, a ZIP or an image, with its manifest and its SBOM in build/."""
    from ml_delivery.artifact import build as building
    from ml_delivery.errors import ConfigError

    if on == "codebuild":
        return _on_codebuild(branch, cloud, json)
    if on:
        raise ConfigError("--on", [f"{on!r} builds nothing; write codebuild, or leave it out"])
    began = time.perf_counter()
    manifest = building.build(read_config())
    if json:
        return console.document(manifest)
    console.say(f"built {manifest.version} in {time.perf_counter() - began:.2f} s")
    console.say(
        f"  digest {manifest.digest}, {console.megabytes(manifest.size)} ({console.megabytes(manifest.unzipped)} unzipped)"
    )
    console.say(f"  model  {manifest.model or 'none'}")
    for layer in manifest.layers:
        console.say(f"  layer  {layer.digest}, {layer.name}, {console.megabytes(layer.size)} unpacked")
    if not manifest.image and manifest.size > building.DIRECT_LIMIT:
        heaviest = ", ".join(f"{c.package} {console.megabytes(c.zipped)}" for c in manifest.contents[:5])
        console.warn(f"over 50 MB zipped: Lambda takes it through S3 only, as push does; most weigh {heaviest}")
    if manifest.dirty:
        console.say("  from changes that are not committed: only the embedded cloud takes it")


def _on_codebuild(branch: str, cloud: str, json: bool) -> None:
    """The commit, built and pushed by CodeBuild; its log and phases are told as they come."""
    from ml_delivery.account import infra, stacks
    from ml_delivery.artifact import codebuild
    from ml_delivery.cloud import Cloud
    from ml_delivery.release.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    if opened.name == "embedded":
        for stack in (stacks.service(config, environment), stacks.delivering(config, environment)):
            infra.ensure(stack, opened)
    tell, line = (console.quiet, console.quiet) if json else (console.phase, console.say)
    with telling_build(config, environment, opened) as told:
        done = told(codebuild.run(config, environment, opened, tell, line))
    if json:
        return console.document(done)
    console.say(f"CodeBuild built and pushed {done.commit} in {done.seconds:.1f} s ({done.id})")
    for name, value in done.exported.items():
        console.say(f"  {name} {value}")


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def push(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Put the built artifact where the branch's environment finds it."""
    from ml_delivery.artifact import packers, store

    config = read_config()
    manifest = store.built(config, cloud)
    delivery = open_environment(branch, cloud, config=config, prepare=True)
    pushed = packers.load(config.service.target).push(delivery, manifest)
    store.keep(delivery.cloud, delivery.foundation.bucket, config.root / "build", pushed.artifact)
    place = pushed.artifact.key if manifest.image else f"s3://{delivery.foundation.bucket}/{pushed.artifact.key}"
    if json:
        return console.document(pushed)
    console.say(f"{'pushed' if pushed.uploaded else 'was there already:'} {pushed.artifact.digest} as {place}")
