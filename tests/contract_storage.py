"""Contracts of what is stored: S3, ECR, SSM's parameters, secrets."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from contract import Account, contract, refused

VALIDATION = "ValidationException"


@contract("s3.bucket-name")
def bucket_name(at: Account) -> None:
    """3 to 63 lower-case letters, digits, dots and dashes, which are no address and have no reserved beginning or end."""
    create = at.client("s3").create_bucket
    words: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": at.region}}
    unique = at.name()
    wrong = ["ab", "x" * 64, f"Contract-{unique}", f"{unique}_a", f"{unique}-", f"a..{unique}", "192.168.5.4"]
    wrong += [f"xn--{unique}", f"sthree-{unique}", f"amzn-s3-demo-{unique}", f"{unique}-s3alias"]
    for name in wrong:
        refused(lambda name=name: create(Bucket=name, **words), "InvalidBucketName")  # type: ignore[misc]
    create(Bucket=f"{unique}.a", **words)
    at.undo.append(lambda: at.client("s3").delete_bucket(Bucket=f"{unique}.a"))


@contract("s3.key-length")
def key_length(at: Account) -> None:
    """1,024 bytes in UTF-8."""
    bucket, put = at.bucket(), at.client("s3").put_object
    put(Bucket=bucket, Key="k" * 1024)
    for key in ("k" * 1025, "é" * 513):
        refused(lambda key=key: put(Bucket=bucket, Key=key), "KeyTooLongError")  # type: ignore[misc]


@contract("s3.metadata-size")
def metadata_size(at: Account) -> None:
    """2 KB of an object's own metadata."""
    bucket, put = at.bucket(), at.client("s3").put_object
    put(Bucket=bucket, Key="k", Metadata={"a": "x" * 2000})
    refused(lambda: put(Bucket=bucket, Key="k", Metadata={"a": "x" * 2048}), "MetadataTooLarge")


@contract("s3.delete-keys")
def delete_keys(at: Account) -> None:
    """1,000 keys in one request to delete."""
    bucket, delete = at.bucket(), at.client("s3").delete_objects
    keys = [{"Key": f"k{i}"} for i in range(1001)]
    refused(lambda: delete(Bucket=bucket, Delete={"Objects": keys}), "MalformedXML")
    delete(Bucket=bucket, Delete={"Objects": keys[:1000]})


@contract("s3.object-tags")
def object_tags(at: Account) -> None:
    """10 tags of an object, with keys of 128 and values of 256 characters."""
    s3, bucket = at.client("s3"), at.bucket()
    s3.put_object(Bucket=bucket, Key="k")

    def tag(tags: list[dict[str, str]]) -> None:
        s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})

    tag([{"Key": f"k{i}", "Value": "v"} for i in range(10)])
    refused(lambda: tag([{"Key": f"k{i}", "Value": "v"} for i in range(11)]), "BadRequest", "InvalidTag")
    refused(lambda: tag([{"Key": "k" * 129, "Value": "v"}]), "InvalidTag")
    refused(lambda: tag([{"Key": "k", "Value": "v" * 257}]), "InvalidTag")


@contract("s3.part-size")
def part_size(at: Account) -> None:
    """Parts of 5 MB at least, but for the last one."""
    s3, words = at.client("s3"), {"Bucket": at.bucket(), "Key": "k"}
    upload = {**words, "UploadId": s3.create_multipart_upload(**words)["UploadId"]}
    at.undo.append(lambda: s3.abort_multipart_upload(**upload))
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=b"small")["ETag"]} for n in (1, 2)]
    refused(lambda: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}), "EntityTooSmall")


@contract("s3.bucket-policy-size")
def bucket_policy_size(at: Account) -> None:
    """20 KB of a bucket's policy."""
    s3, bucket = at.client("s3"), at.bucket()
    allow = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    statement = {**allow, "Resource": [f"arn:aws:s3:::{bucket}/{i:04}{'x' * 200}" for i in range(100)]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    codes = ("InvalidPolicyDocument", "MalformedPolicy", "PolicyTooLarge")
    refused(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=document), *codes)


@contract("ecr.repository-name")
def repository_name(at: Account) -> None:
    """2 to 256 lower-case letters and digits, with single separators between them."""
    create = at.client("ecr").create_repository
    for wrong in ("a", "x" * 257, "Contract", "a//b", "-a", "a_.b", "a/"):
        refused(lambda wrong=wrong: create(repositoryName=wrong), "InvalidParameterException")  # type: ignore[misc]
    name = f"contract/{at.name()}"
    create(repositoryName=name)
    at.undo.append(lambda: at.client("ecr").delete_repository(repositoryName=name, force=True))


def put_image(at: Account, tag: str) -> None:
    """Put a manifest of one empty layer, which moto accepts without the layer; AWS gets both."""
    ecr, name = at.client("ecr"), at.name()
    ecr.create_repository(repositoryName=name)
    at.undo.append(lambda: ecr.delete_repository(repositoryName=name, force=True))
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": kind, "size": len(config), "digest": digest},
        "layers": [],
    }
    ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=tag)


@contract("ecr.tag")
def tag(at: Account) -> None:
    """300 letters, digits, underscores, dots and dashes, of which the first is neither a dot nor a dash."""
    for wrong in ("x" * 301, "-a", ".a", "a b", "a/b"):
        refused(lambda wrong=wrong: put_image(at, wrong), "InvalidParameterException")  # type: ignore[misc]


@contract("ecr.delete-images")
def delete_images(at: Account) -> None:
    """100 images in one request to delete."""
    ecr, name = at.client("ecr"), at.name()
    ecr.create_repository(repositoryName=name)
    at.undo.append(lambda: ecr.delete_repository(repositoryName=name, force=True))
    ids = [{"imageTag": f"t{i}"} for i in range(101)]
    refused(lambda: ecr.batch_delete_image(repositoryName=name, imageIds=ids), "InvalidParameterException")
    ecr.batch_delete_image(repositoryName=name, imageIds=ids[:100])


def put_parameter(at: Account, name: str, value: str, **words: str) -> None:
    ssm = at.client("ssm")
    ssm.put_parameter(Name=name, Value=value, Type="String", **words)
    at.undo.append(lambda: ssm.delete_parameter(Name=name))


@contract("ssm.value-size")
def value_size(at: Account) -> None:
    """4 KB of a standard parameter, 8 KB of an advanced one."""
    put_parameter(at, f"/{at.name()}", "x" * 4096)
    put_parameter(at, f"/{at.name()}", "x" * 8192, Tier="Advanced")
    refused(lambda: put_parameter(at, f"/{at.name()}", "x" * 4097, Tier="Standard"), VALIDATION)
    refused(lambda: put_parameter(at, f"/{at.name()}", "x" * 8193, Tier="Advanced"), VALIDATION)


@contract("ssm.name")
def parameter_name(at: Account) -> None:
    """Letters, digits, dots, dashes, underscores and slashes; 15 levels; no name that begins with aws or ssm."""
    name = at.name()
    codes = (
        VALIDATION,
        "ParameterPatternMismatchException",
        "HierarchyLevelLimitExceededException",
        "AccessDeniedException",
    )
    deep = f"/{name}" + "/a" * 15
    for wrong in (
        f"/{name} a",
        f"/{name}é",
        f"/aws{name}",
        f"/ssm{name}",
        f"ssm{name}",
        deep,
        f"{name}/a",
        f"/{'x' * 2048}",
    ):
        refused(lambda wrong=wrong: put_parameter(at, wrong, "x"), *codes)  # type: ignore[misc]
    put_parameter(at, f"/{name}" + "/a" * 14, "x")


@contract("secrets.value-size")
def secret_size(at: Account) -> None:
    """65,536 bytes."""
    create, name = at.client("secretsmanager").create_secret, at.name()
    codes = (VALIDATION, "InvalidParameterException")
    refused(lambda: create(Name=name, SecretString="x" * 65537), *codes)
    refused(lambda: create(Name="x" * 513, SecretString="x"), *codes)
    refused(lambda: create(Name=f"{name} a", SecretString="x"), *codes)
