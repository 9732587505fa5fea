"""``invoke verify``: the chain from the commit to what answers, and each way to break it; and the end of an environment."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import HANDLER, ROOT, Tiny

from ml_delivery import objects
from ml_delivery.artifact import build, store
from ml_delivery.artifact import push as pushing
from ml_delivery.errors import BuildError, CloudError, Refused
from ml_delivery.release import verify
from ml_delivery.release.results import Link


def check(tiny: Tiny, *, rebuild: bool = False) -> list[Link]:
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
    assert [link["kind"] for link in links] == [
        "live", "pushed", "provenance", "bill of materials", "bytes", "content",
    ]  # fmt: skip
    assert [link["subject"] for link in links[:2]] == ["1", commit]


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
    with pytest.raises(Refused, match=r"the live deployed version 2 is release 1: .* is not "):
        check(tiny)


def test_ledger_or_manifest_that_was_changed_is_found(tiny: Tiny) -> None:
    """What was pushed under the commit's name is not what the ledger recorded."""
    pushed = tiny.push().artifact
    tiny.deploy()
    opened, key = tiny.open(), f"artifacts/{pushed.version}/artifact.json"
    found = objects.get(opened.cloud, opened.foundation.bucket, key)
    assert found
    tiny.exchange(key, found[0].replace(pushed.digest.encode(), b"sha256:" + b"0" * 64))
    with pytest.raises(Refused, match="release 1 is what was pushed for"):
        check(tiny)
    tiny.exchange(key, found[0])
    tiny.exchange(pushed.location, b"other bytes")
    with pytest.raises(Refused, match="its bytes in artifacts/"):
        check(tiny)


def bills(tiny: Tiny) -> dict[str, bytes]:
    """The bills of materials beside the artifact of the commit, by their digests."""
    opened = tiny.open()
    prefix = f"artifacts/{tiny.git('rev-parse', 'HEAD')}/"
    listed = opened.cloud.client("s3").list_objects_v2(Bucket=opened.foundation.bucket, Prefix=prefix)["Contents"]
    found = {}
    for key in (entry["Key"] for entry in listed if entry["Key"].endswith(".sbom.cdx.json")):
        body, _ = objects.get(opened.cloud, opened.foundation.bucket, key) or (b"", "")
        assert key == f"{prefix}{hashlib.sha256(body).hexdigest()}.sbom.cdx.json"
        found[f"sha256:{hashlib.sha256(body).hexdigest()}"] = body
    return found


def test_bill_of_materials_is_kept(tiny: Tiny) -> None:
    """A push puts it beside the artifact, under the digest that the manifest has."""
    tiny.invoke("build", "push")
    tiny.invoke("push")
    (body,) = bills(tiny).values()
    assert json.loads(body)["bomFormat"] == "CycloneDX"
    digest = build.last(tiny.root).sbom
    opened = tiny.open()
    assert store.bill(opened.cloud, opened.foundation.bucket, opened.artifact().version, digest) == digest


def test_one_write_decides_which_build_was_pushed(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build whose push failed before it was recorded replaces nothing and is not taken for another; nor one that is refused."""
    opened, folder = tiny.open(), tiny.root / "build"

    def push(note: bytes, sbom: str) -> str:
        """Push another build of the same commit; the digest of its bytes."""
        manifest = build.build(tiny.config)
        (folder / "artifact.zip").write_bytes((folder / "artifact.zip").read_bytes() + note)
        (folder / "sbom.cdx.json").write_text(sbom)
        digest, bill = (
            f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
            for name in ("artifact.zip", "sbom.cdx.json")
        )
        pushing.push(opened, replace(manifest, digest=digest, sbom=bill))
        return digest

    def fails(*_: object, **__: object) -> None:
        raise CloudError("the network went away")

    for late in ("push", "record"):  # before its bytes were uploaded, and before it was recorded
        with monkeypatch.context() as patch:
            patch.setattr(store, late, fails)
            with pytest.raises(CloudError, match="the network went away"):
                push(b"x", "first")
        with pytest.raises(CloudError, match="has not been pushed"):
            tiny.open().artifact()
    second = push(b"y", "second")
    assert tiny.open().artifact().digest == second
    with pytest.raises(CloudError, match=f"was pushed before as {second}"):
        push(b"z", "third")
    assert tiny.open().artifact().digest == second
    assert sorted(bills(tiny).values()) == [b"first", b"second", b"third"]


def test_bill_of_another_build_is_not_pushed(tiny: Tiny) -> None:
    """What was written into build/ after the build is no part of it."""
    manifest = build.build(tiny.config)
    (tiny.root / "build/sbom.cdx.json").write_text("{}")
    with pytest.raises(BuildError, match="is not of the last build"):
        pushing.push(tiny.open(), manifest)


def test_bytes_that_were_there_before_the_push_are_compared(tiny: Tiny) -> None:
    """What is at the place of an artifact is taken for it only if it has its digest."""
    manifest, opened = build.build(tiny.config), tiny.open()
    place = f"artifacts/{manifest.version}/{manifest.digest[7:]}.zip"
    tiny.exchange(place, b"other")
    with pytest.raises(CloudError, match=f"{place} exists already, with other content: sha256:") as refusal:
        pushing.push(opened, manifest)
    assert f"delete-object --bucket {opened.foundation.bucket} --key {place}" in refusal.value.next
    s3, where = opened.cloud.client("s3"), {"Bucket": opened.foundation.bucket, "Key": place}
    s3.delete_object(**where)
    s3.put_object(**where, Body=b"other", IfNoneMatch="*", ChecksumAlgorithm="CRC32")
    with pytest.raises(CloudError, match="with other content: no SHA-256 checksum"):
        pushing.push(opened, manifest)
    tiny.exchange(place, (tiny.root / "build/artifact.zip").read_bytes())
    assert not pushing.push(opened, manifest).uploaded
    tiny.deploy()


def test_digest_that_the_service_names_is_compared(tiny: Tiny) -> None:
    """/version answers with the digest that was approved, which verify compares with the function's own CodeSha256."""
    named = '"digest": os.environ["RELEASE_DIGEST"], "note"'
    tiny.write("src/service/handler.py", HANDLER.replace('"note"', named))
    tiny.commit()
    release = tiny.deploy().release
    assert release
    assert json.loads(tiny.invoke("call", "/version"))["digest"] == release.artifact.digest
    assert f"✓ the digest that /version names\n    {release.artifact.digest}\n" in tiny.invoke("verify")
    function, where = tiny.open().cloud.client("lambda"), {"FunctionName": f"{tiny.name}-production"}
    variables = function.get_function_configuration(**where)["Environment"]["Variables"]
    function.update_function_configuration(
        **where, Environment={"Variables": {**variables, "RELEASE_DIGEST": f"sha256:{'0' * 64}"}}
    )
    function.get_waiter("function_updated_v2").wait(**where)
    function.update_alias(**where, Name="live", FunctionVersion=function.publish_version(**where)["Version"])
    with pytest.raises(Refused, match=f"the digest that /version names: sha256:0+ is not {release.artifact.digest}"):
        check(tiny)


def test_nothing_live_is_said(tiny: Tiny) -> None:
    """Before the first release there is nothing to verify."""
    tiny.push()
    assert "✗ nothing is live\n  next: invoke deploy --branch main" in tiny.invoke("verify", code=1)


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


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder with an older package, which packs the same commit to other bytes."""
    folder = tmp_path / "older"
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns("__pycache__"))
    archive = folder / "ml_delivery/packing/archive.py"
    archive.write_text(archive.read_text().replace("DATE = 0x0021", "DATE = 0x0022"))
    return folder


def test_release_of_an_older_package_is_rebuilt_by_it(tiny: Tiny, older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade, what is live verifies, and is rebuilt by the package that its commit vendors."""
    (tiny.root / "vendor").mkdir()
    with zipfile.ZipFile(tiny.root / "vendor/ml_delivery-0.0.1-py3-none-any.whl", "w") as wheel:
        for path in older.rglob("*"):
            wheel.write(path, path.relative_to(older).as_posix())
    tiny.commit("Vendor")
    with monkeypatch.context() as patch:
        patch.setattr(Tiny, "environment", {**tiny.environment, "PYTHONPATH": str(older)})
        for task in ("build", "push", "deploy"):
            tiny.invoke(task)
    (tiny.root / "vendor/ml_delivery-0.0.1-py3-none-any.whl").unlink()
    tiny.commit("Upgrade")
    assert "✓ a rebuild of " in tiny.invoke("verify", "--rebuild")


def test_release_without_provenance_says_why_and_what_to_type(tiny: Tiny) -> None:
    """A package from before statements kept none: verify names that, and what it says to type makes it verify."""
    tiny.deploy()
    tiny.commit("Upgrade")
    opened = tiny.open()
    version = tiny.git("rev-parse", "HEAD~1")
    s3, bucket = opened.cloud.client("s3"), opened.foundation.bucket
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix=f"artifacts/{version}/")["Contents"]:
        if entry["Key"].endswith(".intoto.json"):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
    printed = tiny.invoke("verify", code=1)
    assert f"there is none beside {version}: it was deleted, or an older ml-delivery pushed the artifact" in printed
    typed = "invoke build --branch main && invoke push --branch main && invoke deploy --branch main"
    assert f"next: {typed}, or invoke build --on codebuild --branch main && invoke deploy --branch main" in printed
    for words in typed.split(" && "):
        tiny.invoke(*words.split()[1:])
    assert "✓ its provenance, by a local build" in tiny.invoke("verify")
