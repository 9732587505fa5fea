"""Images in ECR: pushed once under their commit, found by digest, never named before all of them is there."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.artifact import store
from ml_delivery.containers import engines
from ml_delivery.errors import CloudError
from ml_delivery.records import Artifact, Pushed

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Manifest

__all__ = ["Registry", "push"]

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md; which of the two it is, is the engine's choice.
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
SECONDS = 30
# What ECR asks for: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
RIGHTS = {
    "manifests": "ecr:BatchGetImage",
    "blobs GET": "ecr:GetDownloadUrlForLayer",
    "blobs HEAD": "ecr:BatchCheckLayerAvailability",
}


@dataclass(frozen=True)
class Named:
    """What the registry has under a tag or digest: its digest, and the manifest."""

    digest: str
    manifest: dict[str, Any]


class Registry:
    """The repository of one environment, signed in to.

    Attributes:
        uri: what AWS calls it, ``<account>.dkr.ecr.<region>.amazonaws.com/<name>``.
        address: the same by the host that answers for it.
    """

    def __init__(self, cloud: Cloud, uri: str) -> None:
        with cloud.faults():
            answer = cloud.client("ecr").get_authorization_token()["authorizationData"][0]
        self.user, _, self.password = base64.b64decode(answer["authorizationToken"]).decode().partition(":")
        self.uri = uri
        self.address, self.tls = cloud.registry(uri)
        host, _, self._name = self.address.partition("/")
        self._base = f"{'https' if self.tls else 'http'}://{host}/v2/{self._name}"
        self._token = answer["authorizationToken"]

    def find(self, reference: str) -> Named | None:
        """What is there under ``reference``, a tag or digest; None for nothing.

        Raises:
            CloudError: the registry does not answer, or refuses.
        """
        found = self._get(f"manifests/{reference}", MANIFESTS)
        return Named(f"sha256:{hashlib.sha256(found).hexdigest()}", json.loads(found)) if found else None

    def layers(self, found: Named) -> tuple[str, ...]:
        """The digests of its layers as an engine knows them, unpacked: those that ``Image.layers`` names; () of an index."""
        if "config" not in found.manifest:
            return ()
        config = self._get(f"blobs/{found.manifest['config']['digest']}")
        return tuple(json.loads(config)["rootfs"]["diff_ids"]) if config else ()

    def has(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self._size(f"blobs/{digest}") >= 0

    def missing(self, found: Named) -> list[str]:
        """The blobs that its manifest names and that are not there, or not of the size that it says."""
        blobs = [found.manifest["config"], *found.manifest["layers"]]
        return [blob["digest"] for blob in blobs if self._size(f"blobs/{blob['digest']}") != blob.get("size")]

    def _get(self, path: str, accept: str = "*/*") -> bytes | None:
        with self._open(path, "GET", accept) as answer:
            return answer and bytes(answer.read())

    def _size(self, path: str) -> int:
        with self._open(path, "HEAD") as answer:
            return int(answer.headers.get("Content-Length", -1)) if answer else -1

    def _open(self, path: str, method: str, accept: str = "*/*") -> Any:
        request = urllib.request.Request(f"{self._base}/{path}", method=method, headers={"Accept": accept})  # noqa: S310
        # Not sent on to where a layer is redirected to: S3 takes one sort of signature only.
        request.add_unredirected_header("Authorization", f"Basic {self._token}")
        try:
            return urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310  # nosec B310: _base is http or https
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return _Nothing()
            kind = path.partition("/")[0]
            if error.code == 403 and (right := RIGHTS.get(kind) or RIGHTS.get(f"{kind} {method}")):
                raise CloudError(
                    f"{self.address}: who signed in is not authorized to perform: {right}",
                    next="invoke doctor, which says what is wrong with the role; invoke bootstrap updates its rights",
                ) from error
            raise CloudError(
                f"the registry {self.address} refused {method} {path}: {error}", next="run this again"
            ) from error
        except OSError as error:
            raise CloudError(f"the registry {self.address} does not answer: {error}", next="run this again") from error


class _Nothing:
    """An answer that says: not there."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def push(cloud: Cloud, bucket: str, repository: str, manifest: Manifest, parameter: str) -> Pushed:
    """Push the built image under its version, check that all of it arrived, record it, then name it in SSM.

    The order is the point: whoever finds the name finds the image. Pushing the same image again changes nothing.

    Args:
        cloud, bucket: where the record is kept.
        repository: the image repository's URI.
        manifest: of the build.
        parameter: the SSM parameter that names the last pushed image, for other systems.

    Raises:
        CloudError: the registry refused, dropped a layer, or has another image under this version.
        BuildError, SetupError: the engine lost the image, or does not answer.
    """
    registry = Registry(cloud, repository)
    known, there = store.known(cloud, bucket, manifest.version), registry.find(manifest.version)
    same = known and there and (known.content, known.digest) == (manifest.content, there.digest)
    if known and there and same and not registry.missing(there):
        pushed = Pushed(known, uploaded=False)
    else:
        pushed = store.record(cloud, bucket, _push(registry, manifest), uploaded=True)
    with cloud.faults():
        cloud.client("ssm").put_parameter(Name=parameter, Value=pushed.artifact.location, Type="String", Overwrite=True)
    return pushed


def _push(registry: Registry, manifest: Manifest) -> Artifact:
    """Upload the image, unless the registry has it; its artifact."""
    engine = engines.find()
    image = engine.inspect(manifest.image)
    there = registry.find(manifest.version)
    if there and registry.layers(there) != image.layers:
        raise CloudError(
            f"{manifest.version} is in the registry already, as {there.digest}, with other content than this build",
            next="commit something and build that: image tags are immutable",
        )
    if not there or registry.missing(there):
        registry.has(image.id)  # an engine can't say which right it lacks; this request's refusal names it
        engine.push(
            manifest.image, f"{registry.address}:{manifest.version}", registry.user, registry.password, tls=registry.tls
        )
        there = registry.find(manifest.version)
    if not there or registry.layers(there) != image.layers or registry.missing(there):
        raise CloudError(
            f"the registry took {manifest.version} but does not have all of it: {_lacks(registry, there)}",
            next="invoke push again; nothing names the image yet",
        )
    return Artifact.of(manifest, there.digest, f"{registry.uri}@{there.digest}")


def _lacks(registry: Registry, there: Named | None) -> str:
    return ", ".join(registry.missing(there)) or "its configuration is another one" if there else "the tag is missing"
