"""Images that are in ECR: compared with what was pushed, and removed once no release needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError
from ml_delivery.records import Removed
from ml_delivery.source import SEMANTIC

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.records import Artifact

__all__ = ["discard", "name", "stored"]

MOST = 100  # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html


def stored(cloud: Cloud, artifact: Artifact) -> str:
    """The digest of the image that the registry has under the artifact's version; empty for none.

    Raises:
        CloudError: ECR refused.
    """
    repository = _name(artifact.location.partition("@")[0])
    with cloud.faults():
        try:
            found = cloud.client("ecr").describe_images(
                repositoryName=repository, imageIds=[{"imageTag": artifact.version}]
            )
        except Exception as error:
            if code_of(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
                raise
            return ""
    return next((str(image["imageDigest"]) for image in found["imageDetails"]), "")


def discard(cloud: Cloud, uri: str, keep: set[str], before: float) -> list[Removed]:
    """Remove the images of the repository ``uri`` that were pushed before ``before``, as ``Deployer.discard`` does.

    By tag, since two commits with the same content share an image, which is removed with its last tag.

    Raises:
        CloudError: ECR refused.
    """
    repository, ecr = _name(uri), cloud.client("ecr")
    with cloud.faults():
        pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository)
        old = [
            tag
            for page in pages
            for image in page["imageDetails"]
            for tag in image.get("imageTags", [])
            if not _needed(tag, set(image["imageTags"]), keep) and image["imagePushedAt"].timestamp() < before
        ]
        for first in range(0, len(old), MOST):
            tags = [{"imageTag": tag} for tag in old[first : first + MOST]]
            ecr.batch_delete_image(repositoryName=repository, imageIds=tags)
    return [Removed("image", tag) for tag in sorted(old)]


def name(cloud: Cloud, uri: str, digest: str, tag: str) -> None:
    """Give the image with this digest a second tag in the repository ``uri``, once: tags are immutable.

    Raises:
        CloudError: the tag names another image already, or ECR refused.
    """
    repository, ecr = _name(uri), cloud.client("ecr")
    with cloud.faults():
        found = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])["images"]
        if not found:
            (image,) = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"]
            try:
                ecr.put_image(
                    repositoryName=repository,
                    imageManifest=image["imageManifest"],
                    imageManifestMediaType=image["imageManifestMediaType"],
                    imageTag=tag,
                    imageDigest=digest,
                )
            except Exception as error:
                if code_of(error) != "ImageTagAlreadyExistsException":
                    raise
            found = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])["images"]
    if (there := found[0]["imageId"]["imageDigest"] if found else "nothing") != digest:
        raise CloudError(
            f"{tag} names {there} in the registry already, not this commit's {digest}; image tags are immutable",
            next=f"git tag --delete {tag}, and tag this commit with a higher version",
        )


def _needed(tag: str, tags: set[str], keep: set[str]) -> bool:
    """Whether a tag stays: that of a source in ``keep``, and the semantic version that its image has beside it."""
    return tag in keep or bool(SEMANTIC.fullmatch(tag) and tags & keep)


def _name(uri: str) -> str:
    """The repository's name within its registry."""
    return uri.partition("/")[2]
