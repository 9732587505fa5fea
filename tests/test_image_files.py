"""Images without a container engine: built as files, the same on any machine, pushed to ECR, and run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from base_registry import BaseRegistry, based, without_engines
from made_images import layer
from relay import RegistryRelay, drops_layers
from tiny import TEMPLATE, Tiny

from ml_delivery import target
from ml_delivery.artifact import build, store
from ml_delivery.artifact import push as pushing
from ml_delivery.cloud import Cloud
from ml_delivery.containers.registry import Registry
from ml_delivery.errors import BuildError, CloudError, Refused, SetupError
from ml_delivery.records import Manifest

NOWHERE = "unix:///nowhere.sock"


@pytest.fixture(scope="module")
def registry() -> Iterator[BaseRegistry]:
    made = BaseRegistry(token=True)
    made.put("small", [layer({"/etc/base": b"here"})], "amd64", "arm64", User="root", Env=["PATH=/bin", "A=b"])
    made.put_lambda("lambda")
    yield made
    made.close()


@pytest.fixture
def service(tiny: Tiny, registry: BaseRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tiny:
    """A service whose image has a base in the registry, where no engine answers, with nothing kept of bases."""
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    monkeypatch.setenv("PATH", str(without_engines(tmp_path)), prepend=os.pathsep)
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    tiny.box()
    based(tiny, f"{registry.host}/base:small")
    registry.asked.clear()
    registry.harm = lambda method, path: None
    return tiny


def image(service: Tiny, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest and the configuration in ``build/image``, each blob there compared with its digest."""
    blobs = service.root / "build/image/blobs/sha256"
    for file in blobs.iterdir():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
    found = json.loads((blobs / manifest.digest[7:]).read_bytes())
    return found, json.loads((blobs / found["config"]["digest"][7:]).read_bytes())


def test_image_is_files_whose_manifest_names_the_bases_layers(service: Tiny, registry: BaseRegistry) -> None:
    """A build writes OCI's layout above the base of its architecture, and fetches none of the base's layers."""
    made = build.build(service.config)
    found, config = image(service, made)
    index = json.loads((service.root / "build/image/index.json").read_text())
    assert index["manifests"][0]["digest"] == made.digest
    assert index["manifests"][0]["platform"]["architecture"] == "amd64"
    assert (made.engine, made.base) == ("", f"{registry.host}/base:small@{registry.tags['small']}")
    assert registry.layer_requests == []
    assert [one["mediaType"] for one in found["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"] * 4
    assert config["rootfs"]["diff_ids"] == [*made.base_layers, *(one.digest for one in made.layers)]
    assert config["config"]["User"] == "65534:65534"
    assert config["config"]["Cmd"] == ["service.handler.handler"]
    assert config["config"]["Env"] == ["PATH=/bin", "A=b"]
    assert config["config"]["Labels"]["org.opencontainers.image.revision"] == service.git("rev-parse", "HEAD")
    assert len(config["history"]) == 5


def test_layers_hold_what_the_zip_holds(service: Tiny) -> None:
    """Each file of the ZIP is in a layer, with the same content, below Lambda's folder, owned by root, readable by all."""
    made = build.build(service.config)
    entries: dict[str, tarfile.TarInfo] = {}
    contents: dict[str, bytes] = {}
    for one in image(service, made)[0]["layers"][1:]:
        packed = (service.root / "build/image/blobs/sha256" / one["digest"][7:]).read_bytes()
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
            for entry in archive:
                entries[entry.name] = entry
                if entry.isfile():
                    contents[entry.name.removeprefix("var/task/")] = archive.extractfile(entry).read()  # type: ignore[union-attr]
    service.replace("pipeline.toml", 'target = "lambda-image"', 'target = "lambda-zip"')
    service.commit("Zip")
    build.build(service.config)
    with zipfile.ZipFile(service.root / "build/artifact.zip") as zipped:
        names = {name for name in zipped.namelist() if name != "release.json"}
        assert names == contents.keys() - {"release.json"}
        assert all(zipped.read(name) == contents[name] for name in names)
    assert all(name.startswith("var/task") for name in entries)
    assert {(e.uid, e.mode & 0o777) for e in entries.values() if e.isfile()} == {(0, 0o644)}
    assert {(e.uid, e.mode & 0o777) for e in entries.values() if e.isdir()} == {(0, 0o755)}


def test_one_commit_has_one_manifest_digest(service: Tiny, tmp_path: Path) -> None:
    """Another clone, umask, zone and time, with another cache: the manifest's digest is the same, as are all files."""
    first = build.build(service.config)
    clone = tmp_path / "another" / "clone"
    subprocess.run(["git", "clone", "--quiet", service.root, clone], check=True, umask=0o077)
    env = {**service.environment, "PIPELINE_CACHE": str(tmp_path / "second"), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    words = service.command("build", "--json")
    done = subprocess.run(words, cwd=clone, env=env, check=True, capture_output=True, text=True, umask=0o077)
    assert json.loads(done.stdout)["digest"] == first.digest
    one, other = (
        {str(f.relative_to(root)): f.read_bytes() for f in (root / "build/image").rglob("*") if f.is_file()}
        for root in (service.root, clone)
    )
    assert one == other


def test_a_changed_line_changes_the_last_layer_only(service: Tiny) -> None:
    """Dependencies and model keep their blobs, so only the source, the configuration and the manifest are new."""
    first = image(service, build.build(service.config))[0]["layers"]
    service.repair("one line")
    second = image(service, build.build(service.config))[0]["layers"]
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]
    assert second[-1]["size"] < 50_000


def test_offline_the_tag_is_what_it_was(service: Tiny, registry: BaseRegistry) -> None:
    """A build asks what the tag names now; where the registry does not answer, what it last named is used, from the cache."""
    first = build.build(service.config)
    service.repair("second")
    registry.asked.clear()
    registry.harm = lambda method, path: (503, {}, b"")
    second = build.build(service.config)
    assert (second.base, second.base_layers) == (first.base, first.base_layers)
    assert len(registry.asked) == 1
    registry.harm = lambda method, path: None
    registry.put("small", [layer({"/etc/base": b"patched"})], "amd64", "arm64")
    assert build.build(service.config).base_layers != first.base_layers
    registry.put("small", [layer({"/etc/base": b"here"})], "amd64", "arm64", User="root", Env=["PATH=/bin", "A=b"])


def test_altered_parts_are_refused(service: Tiny, tmp_path: Path) -> None:
    """A kept part of the base, and a file of the built image, are compared with their digests when they are used."""
    made = build.build(service.config)
    opened = service.open()
    for blob in (tmp_path / "cache/bases/blobs").iterdir():
        content = blob.read_bytes()
        blob.write_bytes(content + b" ")
        with pytest.raises(BuildError, match="was altered after it was made; it is removed"):
            build.build(service.config)
    build.build(service.config)
    found = image(service, made)[0]
    for digest in (made.digest, found["config"]["digest"], found["layers"][-1]["digest"]):
        blob = service.root / "build/image/blobs" / digest.replace(":", "/")
        content = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(content[:-1] + b"!")
        with pytest.raises(BuildError, match="was altered after it was built"):
            pushing.push(opened, made)
        blob.write_bytes(content)
    assert store.known(opened.cloud, opened.foundation.bucket, made.version) is None


def test_instruction_that_must_be_run_needs_an_engine(service: Tiny) -> None:
    """A RUN without an engine is refused by its line, with each engine's reason."""
    service.replace("Dockerfile.lambda", "CMD [", "RUN echo hello\nCMD [")
    service.commit("Run")
    with pytest.raises(SetupError) as fault:
        build.build(service.config)
    line = (service.root / "Dockerfile.lambda").read_text().splitlines().index("RUN echo hello") + 1
    assert f"Dockerfile.lambda, line {line}, needs a container engine: RUN echo hello" in fault.value.message
    assert "docker: no engine here" in fault.value.message
    assert "invoke build --on codebuild" in fault.value.next


@pytest.mark.parametrize(
    ("name", "file"),
    [("lambda-image", "Dockerfile.lambda"), ("eks", "Dockerfile"), ("sagemaker", "Dockerfile.sagemaker")],
)
def test_doctor_wants_an_engine_only_where_one_is_needed(service: Tiny, name: str, file: str) -> None:
    """Of each target of images: its own Dockerfile needs none, one with a RUN does."""
    shipped = (TEMPLATE / file).read_text()
    service.write(file, shipped)
    check = target.load(name, service.config).checks(service.config)["engine"]
    assert check()["answers"] == "none"
    service.write(file, f"{shipped}RUN echo hello\n")
    with pytest.raises(SetupError, match=f"{file}, line .*, needs a container engine: RUN echo hello"):
        check()


# -- pushed and run


def test_push_takes_the_bases_layers_once(service: Tiny, registry: BaseRegistry) -> None:
    """The first push copies the base's layers from its registry, the second only what changed; the digest is the build's."""
    made = build.build(service.config)
    opened = service.open()
    pushed = pushing.push(opened, made)
    assert (pushed.uploaded, pushed.artifact.digest) == (True, made.digest)
    assert len(set(registry.layer_requests)) == 1
    assert not pushing.push(opened, made).uploaded
    there = Registry(opened).find(made.version)
    assert there is not None
    assert there.digest == made.digest
    assert Registry(opened).missing(there) == []
    service.repair("second")
    registry.asked.clear()
    second = build.build(service.config)
    assert pushing.push(service.open(), second).artifact.digest == second.digest
    assert registry.layer_requests == []


def test_interrupted_push_records_nothing_and_is_completed(service: Tiny, registry: BaseRegistry) -> None:
    """While a layer of the base can't be had, nothing is recorded or named; the next push completes it."""
    made = build.build(service.config)
    opened = service.open()
    registry.harm = lambda method, path: (503, {}, b"") if "/blobs/" in path else None
    with pytest.raises(SetupError, match="failed to return the base image"):
        pushing.push(opened, made)
    assert store.known(opened.cloud, opened.foundation.bucket, made.version) is None
    assert Registry(opened).find(made.version) is None
    registry.harm = lambda method, path: None
    assert pushing.push(opened, made).artifact.digest == made.digest


def test_refused_or_dropped_uploads_are_reported(service: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that the role may not make is named by its permission; a layer that is not kept fails the push."""
    made = build.build(service.config)
    opened = service.open()
    host = opened.cloud.registry(opened.foundation.outputs["Repository"])[0].partition("/")[0]
    address = Cloud.registry
    refused = {
        ("POST", "/blobs/"): "InitiateLayerUpload",
        ("PATCH", "/blobs/"): "UploadLayerPart",
        ("PUT", "/blobs/"): "CompleteLayerUpload",
        ("PUT", "/manifests/"): "PutImage",
    }
    for (verb, part), right in refused.items():
        relay = RegistryRelay(
            host, lambda method, path, at=(verb, part): (403, {}) if method == at[0] and at[1] in path else None
        )  # type: ignore[misc]
        monkeypatch.setattr(
            Cloud, "registry", lambda self, uri, to=relay.host: (address(self, uri)[0].replace(host, to), False)
        )
        with pytest.raises(CloudError, match=f"not authorized to perform: ecr:{right}\n") as fault:
            pushing.push(opened, made)
        assert "invoke doctor" in fault.value.next
    dropping = RegistryRelay(host, drops_layers)
    monkeypatch.setattr(
        Cloud, "registry", lambda self, uri: (address(self, uri)[0].replace(host, dropping.host), False)
    )
    service.repair("other layers")
    other = build.build(service.config)
    with pytest.raises(CloudError, match="refused PUT manifests/"):
        pushing.push(opened, other)
    assert store.known(opened.cloud, opened.foundation.bucket, other.version) is None
    monkeypatch.setattr(Cloud, "registry", address)
    assert pushing.push(opened, other).artifact.digest == other.digest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run an image without an engine")
def test_from_build_to_rollback_without_an_engine(service: Tiny, registry: BaseRegistry) -> None:
    """The whole way, as typed: built, pushed, deployed, answered, a broken one refused, rolled back."""
    based(service, f"{registry.host}/base:lambda")
    said = service.invoke("build")
    assert f"  base   {registry.host}/base:lambda@{registry.tags['lambda']}" in said
    assert service.invoke("push").startswith("pushed sha256:")
    assert service.invoke("push").startswith("already pushed: sha256:")
    assert "release 1 is verified" in service.invoke("deploy")
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
    printed = service.invoke("verify", "--rebuild")
    assert "✓ a rebuild of" in printed
    service.fault("raises")
    with pytest.raises(Refused, match="no such luck"):
        service.deploy()
    service.repair("third")
    assert service.deploy().release.number == 3
    assert service.rollback().release.number == 1
    assert json.loads(service.invoke("call", "/version"))["note"] == "first"
