"""``invoke verify``: the chain from the commit to what answers, and each way to break it; and the end of an environment."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace

import pytest
from tiny import HANDLER, Tiny

from ml_delivery.artifact import build, provenance, store
from ml_delivery.artifact import push as pushing
from ml_delivery.errors import BuildError, CloudError, Refused
from ml_delivery.records import Artifact
from ml_delivery.release import verify


def check(tiny: Tiny, *, rebuild: bool = False) -> list[verify.Link]:
    return verify.verify(tiny.open(), rebuild=rebuild, report=lambda link: None)


def test_chain_holds_to_the_byte(tiny: Tiny) -> None:
    """Live, ledger, manifest, bytes, answer and a build anew from a clean clone all are one artifact."""
    tiny.deploy()
    printed = tiny.invoke("verify", "--rebuild")
    assert printed.count("✓") == 7
    commit = tiny.git("rev-parse", "HEAD")
    assert f"✓ release 1 is what was pushed for {commit}" in printed
    assert f"✓ a rebuild of {commit}" in printed
    links = json.loads(tiny.invoke("verify", "--json"))
    assert links[1]["digest"] == links[2]["digest"]


def test_code_that_was_changed_by_hand_is_found(tiny: Tiny) -> None:
    """A version that someone published beside us is not what the ledger says."""
    tiny.deploy()
    opened = tiny.open()
    function = opened.cloud.client("lambda")
    tiny.write("src/service/handler.py", HANDLER.replace('"first"', '"by hand"'))
    tiny.commit()
    key = tiny.push().artifact.location
    function.update_function_code(FunctionName=f"{tiny.name}-production", S3Bucket=opened.foundation.bucket, S3Key=key)
    function.get_waiter("function_updated_v2").wait(
        FunctionName=f"{tiny.name}-production", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    version = function.publish_version(FunctionName=f"{tiny.name}-production")["Version"]
    function.update_alias(FunctionName=f"{tiny.name}-production", Name="live", FunctionVersion=version)
    with pytest.raises(Refused, match=r"live version 2 is release 1: .* is not "):
        check(tiny)


def test_ledger_or_manifest_that_was_changed_is_found(tiny: Tiny) -> None:
    """What was pushed under the commit's name is not what the ledger recorded."""
    pushed = tiny.push().artifact
    tiny.deploy()
    opened = tiny.open()
    where = {"Bucket": opened.foundation.bucket, "Key": f"artifacts/{pushed.version}/artifact.json"}
    s3 = opened.cloud.client("s3")
    good = s3.get_object(**where)["Body"].read()
    s3.put_object(**where, Body=good.replace(pushed.digest.encode(), b"sha256:" + b"0" * 64))
    with pytest.raises(Refused, match="release 1 is what was pushed for"):
        check(tiny)
    s3.put_object(**where, Body=good)
    s3.put_object(Bucket=where["Bucket"], Key=pushed.location, Body=b"other bytes", ChecksumAlgorithm="SHA256")
    with pytest.raises(Refused, match="its bytes in artifacts/"):
        check(tiny)


def test_provenance_is_of_the_build_that_was_recorded(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build whose push failed before it was recorded, or was refused after, has no statement beside the one that was."""
    opened, folder = tiny.open(), tiny.root / "build"

    def push(note: bytes, sbom: str) -> Artifact:
        """Push another build of the same commit."""
        manifest = build.build(tiny.config)
        (folder / "artifact.zip").write_bytes((folder / "artifact.zip").read_bytes() + note)
        (folder / "sbom.cdx.json").write_text(sbom)
        digest, bill = (
            f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
            for name in ("artifact.zip", "sbom.cdx.json")
        )
        return pushing.push(opened, replace(manifest, digest=digest, sbom=bill)).artifact

    def fails(*_: object) -> None:
        raise CloudError("the network went away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "push", fails)
        with pytest.raises(CloudError, match="the network went away"):
            push(b"x", "first")
    second = push(b"y", "second")
    with pytest.raises(CloudError, match=f"was pushed before as {second.digest}"):
        push(b"z", "third")
    made = provenance.check(opened, second)
    assert (made.digest, made.sbom) == (second.digest, f"sha256:{hashlib.sha256(b'second').hexdigest()}")
    found = opened.cloud.client("s3").list_objects_v2(Bucket=opened.foundation.bucket, Prefix="artifacts/")["Contents"]
    assert len([entry for entry in found if entry["Key"].endswith(".intoto.json")]) == 1
    (folder / "sbom.cdx.json").write_text("another")
    with pytest.raises(BuildError, match=r"build/sbom\.cdx\.json is not of the last build"):
        pushing.push(opened, build.last(tiny.root))


def test_nothing_live_is_said(tiny: Tiny) -> None:
    """Before the first release there is nothing to verify."""
    tiny.push()
    assert "✗ what is live was not deployed by this pipeline\n  next: invoke status" in tiny.invoke("verify", code=1)


def end(tiny: Tiny, typed: str) -> subprocess.CompletedProcess[str]:
    words = tiny.command("bootstrap", "--destroy")
    return subprocess.run(
        words, cwd=tiny.root, env=tiny.environment, input=typed, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("typed", ["", "y\n", "another\n"])
def test_environment_goes_only_by_its_name(tiny: Tiny, typed: str) -> None:
    """Nobody there, a yes, another name: nothing is removed."""
    tiny.deploy()
    done = end(tiny, typed)
    assert done.returncode == 1
    assert "that is not the service's name; nothing was removed" in done.stderr
    assert tiny.live() == 1


def test_environment_goes_with_all_that_it_holds(tiny: Tiny) -> None:
    """Function, stacks, bucket with every version, roles; twice is not wrong, and it can be made again."""
    tiny.invoke("bootstrap")
    tiny.deploy()
    cloud = tiny.open().cloud
    for _ in range(2):
        done = end(tiny, f"{tiny.name}\n")
        assert done.returncode == 0, done.stderr
    buckets = {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
    functions = {f["FunctionName"] for f in cloud.client("lambda").list_functions()["Functions"]}
    roles = {role["RoleName"] for role in cloud.client("iam").list_roles()["Roles"]}
    assert not [name for name in buckets | functions | roles if name.startswith(tiny.name)]
    tiny.deploy()
    assert tiny.live() == 1
