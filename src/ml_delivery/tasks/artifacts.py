"""The artifact's tasks: build, push."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config
from ml_delivery.tasks.reporting import reporting_build

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Differences, Manifest

SHOWN = 4  # patterns, modules or files


@action(
    help={
        "on": "codebuild: build the commit on CodeBuild and push it, instead of building here",
        "branch": BRANCH,
        "cloud": f"with --on: {CLOUD}",
        "update-base": "record the digest of an image's base in image.lock, which builds then use; build nothing",
        "json": JSON,
    }
)
def build(
    _: Any, on: str = "", branch: str = "", cloud: str = "", update_base: bool = False, json: bool = False
) -> None:
    """Build the artifact, with its manifest and its SBOM in build/."""
    from ml_delivery import hooks
    from ml_delivery.artifact import build as building
    from ml_delivery.errors import ConfigError

    if on == "codebuild":
        return _on_codebuild(branch, cloud, json)
    if on:
        raise ConfigError("--on", [f"{on!r} is not a place to build on; write codebuild, or omit --on"])
    config = read_config()
    if update_base:
        return _based(config, branch)
    hooks.run(config, "pre_build", f"invoke build{f' --branch {branch}' if branch else ''}")
    began = time.perf_counter()
    manifest = building.build(config, branch)
    if json:
        console.document(manifest)
    else:
        _built(config, manifest, time.perf_counter() - began)
    hooks.run(config, "post_build", ARTIFACT_VERSION=manifest.version, ARTIFACT_DIGEST=manifest.digest)


def _based(config: Config, branch: str) -> None:
    """Record what the next builds are based on."""
    from ml_delivery import target
    from ml_delivery.artifact import build as building
    from ml_delivery.containers import locked
    from ml_delivery.errors import ConfigError

    name = building.kind_of(config, branch)
    if not (base := target.load(name, config).pin(config)):
        raise ConfigError("--update-base", [f"the target {name} has no base image"])
    console.say(f"{locked.FILE} names {base}; commit it, and later builds are made on this image")


def _built(config: Config, manifest: Manifest, seconds: float) -> None:
    from ml_delivery import target

    console.say(f"built {manifest.version} in {seconds:.2f} s")
    console.say(
        f"  digest {manifest.digest}, {console.megabytes(manifest.size)} ({console.megabytes(manifest.unzipped)} unzipped)"
    )
    if manifest.model:
        console.say(f"  model  {manifest.model}")
    for layer in manifest.layers:
        console.say(f"  layer  {layer.digest}, {layer.name}, {console.megabytes(layer.size)} unpacked")
    if manifest.image:
        console.say(f"  image  {manifest.image}, in {manifest.engine or 'build/image'}")
    if manifest.base:
        console.say(f"  base   {manifest.base}")
    _differences(manifest.differences)
    for line in target.load(manifest.target, config).advice(config, manifest):
        console.warn(line)
    if manifest.dirty:
        console.say("  built from uncommitted changes: only the embedded cloud accepts it")


def _differences(found: Differences) -> None:
    """Print what is left out and by which patterns, what was imported, and what the user should look at."""
    sizes: Counter[str] = Counter()
    for one in found.pruned:
        sizes[one.rule] += one.size
    if sizes:
        largest = ", ".join(f"{rule} {console.megabytes(size)}" for rule, size in sizes.most_common(SHOWN))
        more = f" and {console.counted(len(sizes) - SHOWN, 'more pattern')}" if len(sizes) > SHOWN else ""
        files = console.counted(sum(one.files for one in found.pruned), "file")
        console.say(f"  pruned {files}, {console.megabytes(sizes.total())}: {largest}{more}")
    if found.imported:
        console.say(f"  {found.imported - len(found.unimported)} of {found.imported} packages imported, read-only")
    for failed in found.unimported[:SHOWN]:
        console.warn(f"{failed.module} of {failed.package} can't be imported here, pruned or not: {failed.reason}")
    for lost in found.replaced[:SHOWN]:
        console.warn(f"{lost.path} is {lost.by}'s, not {lost.package}'s, which has another file there")
    for kind, count in (("module", len(found.unimported)), ("file", len(found.replaced))):
        if count > SHOWN:
            console.warn(
                f"so it is with {console.counted(count - SHOWN, f'more {kind}')}, which build/manifest.json lists"
            )


def _on_codebuild(branch: str, cloud: str, json: bool) -> None:
    """Let CodeBuild build and push the commit; its log and phases are printed as they arrive."""
    from ml_delivery.account import change_sets, stacks
    from ml_delivery.artifact import codebuild
    from ml_delivery.cloud import Cloud
    from ml_delivery.release.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    if opened.name == "embedded":
        for stack in (stacks.service(config, environment), stacks.delivering(config, environment)):
            change_sets.ensure(stack, opened)
    with reporting_build(config, environment, opened) as reported:
        if json:
            done = reported(codebuild.run(config, environment, opened, console.quiet, console.quiet))
        else:
            with console.foreign() as line:
                done = codebuild.run(config, environment, opened, console.phase, line)
            reported(done)
    if json:
        return console.document(done)
    console.say(f"CodeBuild built and pushed {done.commit} in {done.seconds:.1f} s ({done.id})")
    for name, value in done.exported.items():
        console.say(f"  {name} {value}")


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def push(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Push the built artifact to the environment of the branch."""
    from ml_delivery import source
    from ml_delivery.artifact import push as pushing

    config = read_config()
    manifest = pushing.built(config, cloud)
    delivery = open_environment(branch, cloud, config=config, prepare=True)
    pushed = pushing.push(delivery, manifest)
    if json:
        return console.document(pushed)
    location = pushed.artifact.location
    place = location if manifest.image else f"s3://{delivery.foundation.bucket}/{location}"
    console.say(f"{'pushed' if pushed.uploaded else 'already pushed:'} {pushed.artifact.digest} as {place}")
    if pushed.tag:
        console.say(f"  also as {pushed.tag}, from git's tag")
    elif pushed.tag == "" and source.without_tags(config.root):
        console.warn("no semantic version: this is a shallow clone without tags; git fetch --tags origin fetches them")
    elif pushed.tag == "":
        console.say("  no semantic version: no tag vMAJOR.MINOR.PATCH at this commit")
