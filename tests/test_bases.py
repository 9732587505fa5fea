"""Base images from registries: names, tokens, indexes, digests, interruptions, and what is wrong with the network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import emulated
import made_images
import pytest
from base_registry import OCI, BaseRegistry
from made_images import digest, layer

from ml_delivery import emulator
from ml_delivery.containers import bases
from ml_delivery.containers.reading import Name, Reader
from ml_delivery.errors import BuildError, SetupError

BIG = layer({"/etc/big": bytes(range(256)) * 20_000})


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BaseRegistry]:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    made = BaseRegistry(token=True)
    made.put("1", [BIG], "arm64", "amd64", User="one")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("python", ("docker.io", "library/python", "latest", "")),
        ("python:3.12-slim", ("docker.io", "library/python", "3.12-slim", "")),
        ("me/own", ("docker.io", "me/own", "latest", "")),
        ("localhost/own:1", ("localhost", "own", "1", "")),
        ("public.ecr.aws/lambda/python:3.12", ("public.ecr.aws", "lambda/python", "3.12", "")),
        ("127.0.0.1:5000/a/b", ("127.0.0.1:5000", "a/b", "latest", "")),
        (f"a.example/b:1@sha256:{'0' * 64}", ("a.example", "b", "1", f"sha256:{'0' * 64}")),
    ],
)
def test_names_are_read_as_docker_reads_them(name: str, parts: tuple[str, str, str, str]) -> None:
    """Short names are docker.io's; a first part with a dot or a colon is a host."""
    assert Name.parse(name) == Name(*parts)


def test_base_of_an_index_by_its_architecture(registry: BaseRegistry, tmp_path: Path) -> None:
    """The manifest of the wanted architecture is chosen, with everyone's token; the name has the index's digest."""
    for architecture in ("amd64", "arm64"):
        found = bases.read(tmp_path, f"{registry.host}/base:1", architecture)
        assert found.config["architecture"] == architecture
        assert found.name == f"{registry.host}/base:1@{registry.tags['1']}"
        assert found.unpacked == (digest(BIG),)
        assert [one.media for one in found.layers] == [f"{OCI}.layer.v1.tar+gzip"]
    assert ("GET", "/token?service=all&scope=repository%3Abase%3Apull") in registry.asked


def test_other_architecture_is_refused(registry: BaseRegistry, tmp_path: Path) -> None:
    """Of an index and of a single image, with what it is for."""
    registry.put("single", [BIG], "arm64", docker=True)
    registry.put("other", [BIG], "s390x", "arm64")
    for tag, says in (("single", "arm64"), ("other", "arm64 and s390x")):
        with pytest.raises(BuildError, match=f"the base image is for {says}, service.architecture is x86_64"):
            bases.read(tmp_path, f"{registry.host}/base:{tag}", "amd64")


def test_docker_s_layers_get_oci_s_names(registry: BaseRegistry, tmp_path: Path) -> None:
    """The blobs of a base in docker's format keep their digests under OCI's media types."""
    registry.put("docker", [BIG], docker=True)
    found = bases.read(tmp_path, f"{registry.host}/base:docker", "amd64")
    assert [one.media for one in found.layers] == [f"{OCI}.layer.v1.tar+gzip"]


def test_what_a_digest_names_is_read_once(registry: BaseRegistry, tmp_path: Path) -> None:
    """A base that is named by its digest is read from the cache, without its registry."""
    name = registry.put("1", [BIG], "arm64", "amd64", User="one")
    first = bases.read(tmp_path, name, "amd64")
    registry.close()
    assert bases.read(tmp_path, name, "amd64") == first


def test_tag_that_is_kept_serves_only_while_its_registry_is_silent(registry: BaseRegistry, tmp_path: Path) -> None:
    """Limited or down, the last digest of a tag is used; a tag that is gone, or not for everyone any more, is an error."""
    name = f"{registry.host}/base:1"
    first = bases.read(tmp_path, name, "amd64")
    for status in (429, 500, 503):
        registry.harm = lambda method, path, status=status: (status, {}, b"")  # type: ignore[misc]
        assert bases.read(tmp_path, name, "amd64") == first
    for status in (403, 404):
        registry.harm = lambda method, path, status=status: (status, {}, b"")  # type: ignore[misc]
        with pytest.raises(SetupError, match=f"the base image {name} "):
            bases.read(tmp_path, name, "amd64")


def test_layer_is_downloaded_once_and_resumed(registry: BaseRegistry, tmp_path: Path) -> None:
    """A download that breaks off continues where it stopped; the file is kept, and compared with its digest again."""
    base = bases.read(tmp_path, f"{registry.host}/base:1", "amd64")
    (wanted,) = base.layers
    content = registry.blobs[wanted.digest][1]
    breaks = [1000]

    def broken(method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        if path.endswith(wanted.digest) and breaks:
            return 200, {"Content-Length": str(len(content))}, content[: breaks.pop()]
        return None

    registry.harm = broken
    path = bases.layer(tmp_path, base.name, wanted)
    assert path.read_bytes() == content
    registry.asked.clear()
    assert bases.layer(tmp_path, base.name, wanted) == path
    assert registry.asked == []
    path.write_bytes(content[:-1])
    with pytest.raises(BuildError, match="was altered after it was made; it is removed"):
        bases.layer(tmp_path, base.name, wanted)
    assert bases.layer(tmp_path, base.name, wanted).read_bytes() == content


def test_layer_that_never_arrives_leaves_nothing(registry: BaseRegistry, tmp_path: Path) -> None:
    """After some tries the reason is reported, and no part is kept."""
    base = bases.read(tmp_path, f"{registry.host}/base:1", "amd64")
    (wanted,) = base.layers
    registry.harm = lambda method, path: (200, {"Content-Length": str(wanted.size)}, b"") if "blobs" in path else None
    with pytest.raises(SetupError, match=f"does not answer: 0 of {wanted.size:,} bytes arrived"):
        bases.layer(tmp_path, base.name, wanted)
    assert not [file for file in (tmp_path / "cache/bases/blobs").iterdir() if wanted.digest[7:] in file.name]


@pytest.mark.parametrize("part", ["manifests/sha256:", "blobs/"])
def test_other_bytes_than_the_digests_are_refused(registry: BaseRegistry, tmp_path: Path, part: str) -> None:
    """What a registry returns in place of a manifest, a configuration or a layer is not used, nor kept."""
    name = registry.put("1", [BIG], "arm64", "amd64", User="one")
    registry.harm = lambda method, path: (200, {}, b"{}") if part in path and method == "GET" else None
    with pytest.raises(BuildError, match=f"returned {digest(b'{}')} for sha256:"):
        bases.read(tmp_path, name, "amd64")
    registry.harm = lambda method, path: None
    base = bases.read(tmp_path, name, "amd64")
    registry.harm = lambda method, path: (200, {}, bytes(base.layers[0].size)) if "blobs" in path else None
    with pytest.raises(BuildError, match="returned sha256:"):
        bases.layer(tmp_path, name, base.layers[0])


@pytest.mark.parametrize(
    ("status", "headers", "says", "next_"),
    [
        (404, {}, "does not exist", "build.base"),
        (403, {}, "can't be read without signing in", "docker login"),
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, "can't be read without signing in", "docker login"),
        (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, "can't be read without", "docker login"),
        (429, {"Retry-After": "60"}, "HTTP 429, to be retried after 60", "wait"),
        (429, {}, "HTTP 429, without a time to retry", "wait"),
        (500, {}, "failed to return the base image", "run this again"),
    ],
)
def test_refusals_say_what_to_do(
    registry: BaseRegistry, tmp_path: Path, status: int, headers: dict[str, str], says: str, next_: str
) -> None:
    """Each answer that is not the image is one message with the next command."""
    registry.harm = lambda method, path: (status, headers, b"")
    with pytest.raises(SetupError, match=says) as fault:
        bases.read(tmp_path, f"{registry.host}/base:1", "amd64")
    assert next_ in fault.value.next


def test_nothing_listens_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the registry is named."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        SetupError, match=r"the registry 127\.0\.0\.1:1 of the base image .* does not answer: .*refused"
    ):
        bases.read(tmp_path, "127.0.0.1:1/base:1", "amd64")


@pytest.mark.parametrize(
    "name", ["a..b/base:1", f"{'a' * 64}.example/base:1", "127.0.0.1:1/b\u00e4se:1", "127.0.0.1:x/base"]
)
def test_names_that_no_registry_can_have_are_one_message(tmp_path: Path, name: str) -> None:
    """A host or a path that can't be asked for is reported as a registry that does not answer."""
    with pytest.raises(SetupError, match="does not answer: "):
        bases.read(tmp_path, name, "amd64")


def test_tag_s_manifest_that_breaks_off_has_no_digest(registry: BaseRegistry, tmp_path: Path) -> None:
    """Where a registry does not send the digest, what it is made of must have arrived whole."""
    name = f"{registry.host}/base:1"
    found = registry.blobs[registry.tags["1"]][1]
    harmed = {"HEAD": (200, {}, b""), "GET": (200, {"Content-Length": str(len(found))}, found[:-9])}
    registry.harm = lambda method, path: harmed[method]
    with pytest.raises(SetupError, match="does not answer: 9 bytes did not arrive"):
        bases.read(tmp_path, name, "amd64")
    registry.harm = lambda method, path: (200, {}, found if method == "GET" else b"") if path.endswith("/1") else None
    assert bases.read(tmp_path, name, "amd64").name == f"{name}@{registry.tags['1']}"


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"not json",
        b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"manifests": [{}]}',
        b'{"config": {"digest": 3}, "layers": []}',
        json.dumps({"config": {"digest": "sha256:../../x"}, "layers": []}).encode(),
    ],
)
def test_what_is_no_image_is_refused(registry: BaseRegistry, tmp_path: Path, document: bytes) -> None:
    """A manifest of another kind, or malformed, is one message."""
    registry.tags["odd"] = registry._keep("application/json", document)
    with pytest.raises(BuildError, match="can't be read: ") as fault:
        bases.read(tmp_path, f"{registry.host}/base:odd", "amd64")
    assert fault.value.next


def test_base_in_ecr_is_read_with_the_credentials_for_aws(
    running: emulator.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECR's registry asks for its own token, which whoever has credentials gets; without any, the message says so."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    aws = made_images.Registry(running, "bases")
    uri = aws.push("1", "pass")
    addresses = Reader.__init__

    def here(self: Reader, image: Name) -> None:
        addresses(self, image)
        self._base = f"{running.endpoint}/v2/{image.repository}"  # where the emulator serves its registry

    monkeypatch.setattr(Reader, "__init__", here)
    reader = Reader(Name.parse(uri))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(SetupError, match=r"can't be read without signing in: .* answered 401") as fault:
        reader.digest(bases.MANIFESTS, bases.SMALL)
    assert fault.value.next.startswith("sign in to AWS")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
    assert (
        reader.digest(bases.MANIFESTS, bases.SMALL)
        == emulated.client(running, "ecr").describe_images(repositoryName="bases")["imageDetails"][0]["imageDigest"]
    )
