"""Images in ECR: pushed once under their version, found by digest, recorded only after they were pushed completely."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from ml_delivery import source
from ml_delivery.artifact import build, store
from ml_delivery.containers import bases, engines, images
from ml_delivery.containers.layouts import LAYOUT, Layout
from ml_delivery.containers.reading import BROKEN
from ml_delivery.errors import CloudError
from ml_delivery.records import Artifact, Pushed

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.containers.bases import Descriptor
    from ml_delivery.records import Context, Manifest

__all__ = ["Registry", "push"]

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md; the engine chooses the media type.
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
SECONDS = 30
AT_ONCE = 4  # blobs
# The permissions that ECR requires: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
RIGHTS = {
    "manifests GET": "ecr:BatchGetImage",
    "blobs GET": "ecr:GetDownloadUrlForLayer",
    "blobs HEAD": "ecr:BatchCheckLayerAvailability",
    "blobs POST": "ecr:InitiateLayerUpload",
    "blobs PATCH": "ecr:UploadLayerPart",
    "blobs PUT": "ecr:CompleteLayerUpload",
    "manifests PUT": "ecr:PutImage",
}


@dataclass(frozen=True)
class Named:
    """An image in the registry: its digest, and its manifest."""

    digest: str
    manifest: dict[str, Any]


class Registry:
    """An image repository of one environment, after signing in; ``output`` of its stack has the URI.

    Attributes:
        uri: its URI on AWS, ``<account>.dkr.ecr.<region>.amazonaws.com/<name>``.
        address: the same with the host that serves it.
        where: the options by which a command reaches the environment, such as ``--branch main --cloud aws``.
    """

    def __init__(self, context: Context, output: str = "Repository") -> None:
        cloud = context.cloud
        with cloud.faults():
            answer = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
        self.user, _, self.password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        self.uri = context.output(output)
        self.address, self.tls = cloud.registry(self.uri)
        self.where = f"--branch {context.environment.branch}{context.where}"
        host, _, self._name = self.address.partition("/")
        self._base = f"{'https' if self.tls else 'http'}://{host}/v2/{self._name}"
        self._token = answer["authorizationToken"]
        # The embedded registry is on loopback, without TLS; no proxy is on the way there.
        proxies = urllib.request.ProxyHandler(None if self.tls else {})
        self._opener = urllib.request.build_opener(proxies)

    def find(self, reference: str) -> Named | None:
        """The image under ``reference``, a tag or digest; None if there is none.

        Raises:
            CloudError: the registry does not answer, or refuses.
        """
        found = self._get(f"manifests/{reference}", MANIFESTS)
        return Named(f"sha256:{hashlib.sha256(found).hexdigest()}", json.loads(found)) if found else None

    def layers(self, found: Named) -> tuple[str, ...]:
        """The digests of its unpacked layers, as in ``Image.layers``; empty for an index."""
        if "config" not in found.manifest:
            return ()
        config = self._get(f"blobs/{found.manifest['config']['digest']}")
        return tuple(json.loads(config)["rootfs"]["diff_ids"]) if config else ()

    def size(self, digest: str) -> int:
        """The size of a blob in bytes; -1 for one that the registry does not have."""
        with self._open(f"blobs/{digest}", "HEAD") as answer:
            return int(answer.headers.get("Content-Length", -1)) if answer else -1

    def missing(self, found: Named) -> list[str]:
        """The digests of blobs in its manifest that the registry does not have, or has with another size."""
        blobs = [found.manifest["config"], *found.manifest["layers"]]
        return [blob["digest"] for blob in blobs if self.size(blob["digest"]) != blob.get("size")]

    def upload(self, digest: str, file: Path) -> None:
        """Upload the blob ``file``, which the registry compares with its digest.

        Raises:
            CloudError: as ``find``.
        """
        with self._open("blobs/uploads/", "POST", body=b"") as answer:
            place = self._place(answer)
        with file.open("rb") as content, self._open(place, "PATCH", body=content, size=file.stat().st_size) as answer:
            place = self._place(answer)
        more = "&" if urllib.parse.urlsplit(place).query else "?"
        self._open(f"{place}{more}{urllib.parse.urlencode({'digest': digest})}", "PUT", body=b"").close()

    def name(self, tag: str, manifest: bytes) -> None:
        """Store a manifest, all of whose blobs are there, under ``tag``.

        Raises:
            CloudError: as ``find``.
        """
        media = json.loads(manifest)["mediaType"]
        self._open(f"manifests/{tag}", "PUT", body=manifest, media=media).close()

    def _place(self, answer: Any) -> str:
        """Where an upload continues; the registry's own host, since that is where the credentials are sent."""
        place = urllib.parse.urljoin(answer.url, answer.headers.get("Location", "")) if answer else ""
        if not place.startswith(self._base.partition("/v2/")[0] + "/"):
            raise CloudError(
                f"the registry {self.address} continues an upload at {place or 'no address'}", next="run this again"
            )
        return place

    def _get(self, path: str, accept: str = "*/*") -> bytes | None:
        with self._open(path, "GET", accept) as answer:
            try:
                return answer and bytes(answer.read())
            except BROKEN as error:
                raise self._silent(error) from error

    def _open(
        self,
        path: str,
        method: str,
        accept: str = "*/*",
        body: bytes | IO[bytes] | None = None,
        size: int = 0,
        media: str = "application/octet-stream",
    ) -> Any:
        """The answer to a request; ``path`` is below the repository, or a whole address that the registry returned."""
        url = path if path.startswith(self._base.partition("/v2/")[0]) else f"{self._base}/{path}"
        headers = {"Accept": accept}
        if body is not None:
            headers |= {"Content-Type": media, "Content-Length": str(len(body) if isinstance(body, bytes) else size)}
        request = urllib.request.Request(url, method=method, headers=headers, data=body)  # noqa: S310 - http(s)
        # Not sent along when a layer's request is redirected to S3, which accepts only one kind of signature.
        request.add_unredirected_header("Authorization", f"Basic {self._token}")
        try:
            return self._opener.open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 404 and body is None:
                return _Nothing()
            kind = "manifests" if f"{self._base}/manifests/" in url else "blobs"
            if error.code == 403 and (right := RIGHTS.get(f"{kind} {method}")):
                raise CloudError(
                    f"{self.address}: the signed-in user is not authorized to perform: {right}",
                    next=f"invoke doctor {self.where}, which checks the role; invoke bootstrap {self.where} updates its rights",
                ) from error
            raise CloudError(
                f"the registry {self.address} refused {method} {url.removeprefix(f'{self._base}/').partition('?')[0]}: {error}",
                next="run this again",
            ) from error
        except BROKEN as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> CloudError:
        return CloudError(f"the registry {self.address} does not answer: {error}", next="run this again")


class _Nothing:
    """The response for what does not exist."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def push(context: Context, manifest: Manifest, parameter: str) -> Pushed:
    """Push the built image under its version, check that it is complete, record it, then write its name to SSM.

    In this order, so that a name always leads to a complete image. The semantic version that git's tag gives its commit is
    a second tag of the same manifest. Idempotent.

    Args:
        context: the environment.
        manifest: the build's.
        parameter: the SSM parameter that names the last pushed image, for other systems.

    Raises:
        CloudError: the registry refused, dropped a layer, or has another image under this version already.
        BuildError, SetupError: the engine lost the image, or does not answer; or ``build/image`` was altered, or a layer of the
            base can't be had.
    """
    cloud, bucket, registry = context.cloud, context.foundation.bucket, Registry(context)
    known, there = store.known(cloud, bucket, manifest.version), registry.find(manifest.version)
    same = known and there and (known.content, known.digest) == (manifest.content, there.digest)
    if known and there and same and not registry.missing(there):
        pushed = Pushed(known, uploaded=False)
    else:
        pushed = store.record(cloud, bucket, _push(registry, context.config.root, manifest), uploaded=True)
    with cloud.faults():
        cloud.client("ssm").put_parameter(Name=parameter, Value=pushed.artifact.location, Type="String", Overwrite=True)
    tag = "" if manifest.dirty else source.tag(context.config.root, manifest.commit)
    if tag:
        images.name(cloud, registry.uri, pushed.artifact.digest, tag)
    return replace(pushed, tag=tag)


def _push(registry: Registry, root: Path, manifest: Manifest) -> Artifact:
    """Upload the image, unless the registry has it already; returns its artifact."""
    image = _Built(registry, root, manifest) if not manifest.engine else _InEngine(registry, manifest)
    there = registry.find(manifest.version)
    if there and registry.layers(there) != image.layers:
        raise CloudError(
            f"{manifest.version} is already in the registry as {there.digest}, whose content differs from this build",
            next="image tags are immutable: make a new commit, and build it",
        )
    if not there or registry.missing(there):
        image.push()
        there = registry.find(manifest.version)
    if not there or registry.layers(there) != image.layers or registry.missing(there):
        raise CloudError(
            f"the registry accepted {manifest.version} but does not have all of it: {_lacks(registry, there)}",
            next=f"invoke push {registry.where} again; the image is not recorded yet",
        )
    return Artifact.of(manifest, there.digest, f"{registry.uri}@{there.digest}")


class _InEngine:
    """An image that the engine has, and its unpacked layers."""

    def __init__(self, registry: Registry, manifest: Manifest) -> None:
        self._registry, self._manifest, self._engine = registry, manifest, engines.find()
        self._image = self._engine.inspect(manifest.image)
        self.layers = self._image.layers

    def push(self) -> None:
        registry = self._registry
        registry.size(
            self._image.id
        )  # an engine does not report which permission is missing; this request's error does
        address = f"{registry.address}:{self._manifest.version}"
        self._engine.push(self._manifest.image, address, registry.user, registry.password, tls=registry.tls)


class _Built:
    """An image that was built without an engine, in ``build/image``, and its unpacked layers."""

    def __init__(self, registry: Registry, root: Path, manifest: Manifest) -> None:
        self._registry, self._root, self._manifest = registry, root, manifest
        self._image = Layout.open(root / build.FOLDER / LAYOUT, manifest.digest)
        self.layers = self._image.unpacked

    def push(self) -> None:
        """Upload what the registry lacks, several blobs at once; the manifest last."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(
                self._send, {blob.digest: blob for blob in (self._image.config, *self._image.layers)}.values()
            ):
                pass
        self._registry.name(self._manifest.version, self._image.manifest)

    def _send(self, blob: Descriptor) -> None:
        if self._registry.size(blob.digest) != blob.size:
            file = self._image.file(blob) or bases.layer(self._root, self._manifest.base, blob)
            self._registry.upload(blob.digest, file)


def _lacks(registry: Registry, there: Named | None) -> str:
    return ", ".join(registry.missing(there)) or "its configuration differs" if there else "the tag is missing"
