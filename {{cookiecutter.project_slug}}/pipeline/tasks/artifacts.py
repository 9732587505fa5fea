"""The artifact's tasks: build, push."""

from __future__ import annotations

import time
from typing import Any

from pipeline import console
from pipeline.tasks import BRANCH, CLOUD, JSON, action, open_environment, read_config


@action(help={"json": JSON})
def build(_: Any, json: bool = False) -> None:
    """Build the artifact: build/artifact.zip, its manifest and its SBOM."""
    from pipeline import build as building

    began = time.perf_counter()
    manifest = building.build(read_config())
    if json:
        return console.document(manifest)
    console.say(f"built {manifest.version} in {time.perf_counter() - began:.2f} s")
    console.say(
        f"  digest {manifest.digest}, {console.megabytes(manifest.size)} ({console.megabytes(manifest.unzipped)} unzipped)"
    )
    console.say(f"  model  {manifest.model}")
    if manifest.size > building.DIRECT_LIMIT:
        heaviest = ", ".join(f"{c.package} {console.megabytes(c.zipped)}" for c in manifest.contents[:5])
        console.warn(f"over 50 MB zipped: Lambda takes it through S3 only, as push does; most weigh {heaviest}")
    if manifest.dirty:
        console.say("  from changes that are not committed: only the embedded cloud takes it")


@action(help={"branch": BRANCH, "cloud": CLOUD, "json": JSON})
def push(_: Any, branch: str = "", cloud: str = "", json: bool = False) -> None:
    """Put the built artifact where the branch's environment finds it."""
    from pipeline import store

    config = read_config()
    manifest = store.built(config, cloud)
    delivery = open_environment(branch, cloud, config=config, prepare=True)
    pushed = store.push(delivery.cloud, delivery.foundation.bucket, config.root / "build/artifact.zip", manifest)
    if json:
        return console.document(pushed)
    done = "pushed" if pushed.uploaded else "was there already:"
    console.say(f"{done} {pushed.artifact.digest} as s3://{delivery.foundation.bucket}/{pushed.artifact.key}")
