"""What goes wrong with images ends in a clear message, and nothing ever points at what is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from base_registry import BaseRegistry
from relay import EngineRelay, Harm, RegistryRelay, drops_layers, refuses
from tiny import BASE, Tiny

from ml_delivery.artifact import build, store
from ml_delivery.artifact import push as pushing
from ml_delivery.cloud import Cloud
from ml_delivery.containers import engines
from ml_delivery.containers.registry import Registry
from ml_delivery.errors import BuildError, CloudError, SetupError
from ml_delivery.records import Pushed

NOWHERE = "unix:///nowhere.sock"


def nothing_names_it(service: Tiny) -> bool:
    """Neither the record of pushes nor SSM knows the image."""
    opened = service.open()
    known = store.known(opened.cloud, opened.foundation.bucket, service.git("rev-parse", "HEAD"))
    named = opened.cloud.client("ssm").get_parameters(Names=[f"/{service.name}/production/image"])["Parameters"]
    return known is None and named == []


def push(service: Tiny) -> Pushed:
    """What ``invoke push`` does."""
    return pushing.push(service.open(), build.last(service.root))


def test_answer_that_breaks_off_is_reported(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest that does not arrive whole is a registry that does not answer."""
    tiny.box()
    registry = BaseRegistry()
    monkeypatch.setattr(Cloud, "registry", lambda self, uri: (f"{registry.host}/base", False))
    registry.harm = lambda method, path: (200, {"Content-Length": "100"}, b"{}")
    with pytest.raises(CloudError, match=r"does not answer: .*98 more expected"):
        Registry(tiny.open()).find("1")
    registry.close()


@pytest.mark.parametrize("harm", [drops_layers, refuses])
def test_registry_that_drops_or_refuses(boxed: Tiny, harm: Harm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that was taken and not kept, or a refused manifest, fails the push; the next push mends it."""
    build.build(boxed.config)
    opened = boxed.open()
    host = opened.cloud.registry(opened.foundation.outputs["Repository"])[0].partition("/")[0]
    relay = RegistryRelay(host, harm)
    address = Cloud.registry
    monkeypatch.setattr(Cloud, "registry", lambda self, uri: (address(self, uri)[0].replace(host, relay.host), False))
    with pytest.raises(CloudError, match="docker could not push the image: ") as fault:
        push(boxed)
    assert fault.value.next
    assert nothing_names_it(boxed)
    monkeypatch.setattr(Cloud, "registry", address)
    assert push(boxed).uploaded
    assert not nothing_names_it(boxed)


def test_registry_that_lost_a_layer_is_noticed(boxed: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that has the manifest but not all that it names is not believed."""
    build.build(boxed.config)
    opened = boxed.open()
    host = opened.cloud.registry(opened.foundation.outputs["Repository"])[0].partition("/")[0]
    relay = RegistryRelay(host, lambda method, path: None)
    lost: list[str] = []

    def loses(method: str, path: str) -> tuple[int, dict[str, str]] | None:
        return (404, {}) if lost and method == "HEAD" and path.endswith(lost[0]) else None

    relay = RegistryRelay(host, loses)
    address = Cloud.registry
    monkeypatch.setattr(Cloud, "registry", lambda self, uri: (address(self, uri)[0].replace(host, relay.host), False))
    pushed = push(boxed)
    registry = Registry(opened)
    found = registry.find(pushed.artifact.digest)
    assert found is not None
    assert registry.missing(found) == []
    lost.append(found.manifest["layers"][-1]["digest"])
    assert registry.missing(found) == lost
    with pytest.raises(CloudError):
        push(boxed)


def test_tag_with_other_content_is_never_given_away(boxed: Tiny) -> None:
    """The registry has the commit's tag already, from another build of it: refused, and the first one stays."""
    build.build(boxed.config)
    first = push(boxed).artifact
    opened = boxed.open()
    key = f"artifacts/{first.version}/artifact.json"
    opened.cloud.client("s3").delete_object(Bucket=opened.foundation.bucket, Key=key)
    manifest = build.last(boxed.root)
    engine = engines.find()
    context = boxed.root / "build/other"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {manifest.image}\nCOPY Dockerfile /other\n")
    engine.build(context / "Dockerfile", context, manifest.image, {"PLATFORM": "linux/amd64"}, {})
    with pytest.raises(CloudError, match=f"is already in the registry as {first.digest}, whose content differs"):
        push(boxed)
    build.build(boxed.config)
    assert push(boxed).artifact == first  # the same content is taken up, though nothing recorded it


def test_engine_that_goes_away_in_mid_build(boxed: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message says that the engine went away; the former build is whole."""
    former = build.build(boxed.config)
    boxed.repair("never built")
    relay = EngineRelay(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{relay.path}")
    with pytest.raises(SetupError, match="docker stopped answering and could not build the image: ") as fault:
        build.build(boxed.config)
    assert fault.value.next == "start docker, then run this again"
    assert build.last(boxed.root) == former
    assert sorted(p.name for p in (boxed.root / "build").iterdir()) == ["manifest.json", "sbom.cdx.json"]


def test_no_engine_answers(boxed: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clients without an engine are no engine: each is named with what it said, and how to get one."""
    for name in ("docker", "git"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    with pytest.raises(SetupError, match="no container engine answers") as fault:
        build.build(boxed.config)
    said = fault.value.message
    assert "docker: Cannot connect to the Docker daemon" in said
    assert "podman: not installed" in said
    assert "buildah: not installed" in said
    assert "invoke build --on codebuild" in fault.value.next


def test_base_image_that_is_not_there(boxed: Tiny) -> None:
    """The engine's reason is shown, and nothing was built."""
    boxed.replace(
        "pipeline.toml",
        "[environments.production]",
        '[build]\nbase = "127.0.0.1:1/none:1"\n\n[environments.production]',
    )
    boxed.commit()
    with pytest.raises(BuildError, match=r"docker could not build the image: .*127\.0\.0\.1:1"):
        build.build(boxed.config)
    assert not (boxed.root / "build/manifest.json").exists()


def test_full_disk(boxed: Tiny) -> None:
    """Where build/ is full, the message says so, and the former build is whole."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = boxed.root / "build"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], check=True)
    try:
        former = build.build(boxed.config)
        boxed.write("src/service/ballast.bin", "x" * 400_000)
        boxed.commit()
        with pytest.raises(SetupError, match="the disk is full"):
            build.build(boxed.config)
        assert build.last(boxed.root) == former
    finally:
        subprocess.run(["umount", folder], check=True)


# -- the other engine


@pytest.fixture
def buildah(boxed: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tiny]:
    """A boxed service on a machine where docker does not answer and buildah does, with the same base image."""
    if not shutil.which("buildah"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("tests/engine.sh installs buildah for this")
    saved = tmp_path / "base.tar"
    subprocess.run(["docker", "save", "--output", saved, BASE], check=True)
    storage = tmp_path / "storage.conf"
    graph, run = tmp_path / "graph", tmp_path / "run"
    storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{run}"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    subprocess.run(["buildah", "pull", "--quiet", f"docker-archive:{saved}"], check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    yield boxed
    subprocess.run(["umount", graph / "overlay"], check=False, capture_output=True)


def test_buildah_does_it_too(buildah: Tiny) -> None:
    """Without docker, buildah builds and pushes; built anew, even the image's id is the same; and it is deployed."""
    first = build.build(buildah.config)
    assert engines.find().name == "buildah"
    subprocess.run(["buildah", "rmi", "--force", first.image], check=True, capture_output=True)
    second = build.build(buildah.config)
    assert (second.layers, second.digest) == (first.layers, first.digest)
    assert push(buildah).uploaded
    assert not push(buildah).uploaded
    buildah.deploy()
    assert json.loads(buildah.open().deployer.call("/version").body)["release"] == 1
