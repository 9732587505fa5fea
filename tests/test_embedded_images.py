"""The embedded AWS's registry and its functions from images: who may push, what is refused, in AWS's words."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from emulated import Function, client, code_of

from ml_delivery import emulator

CONFIG = json.dumps({"architecture": "amd64", "config": {}, "rootfs": {"diff_ids": []}}).encode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Repository:
    """A repository on the embedded AWS, and its address for engines."""

    def __init__(self, running: emulator.Running, name: str) -> None:
        self.name, self.running = name, running
        self.aws = client(running, "ecr")
        self.uri = self.aws.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")["repository"][
            "repositoryUri"
        ]
        self.token = self.sign_in(self.aws)

    def sign_in(self, aws: object) -> str:
        answer = aws.get_authorization_token()  # type: ignore[attr-defined]
        return str(answer["authorizationData"][0]["authorizationToken"])

    def ask(self, method: str, path: str, body: bytes = b"", token: str | None = None) -> int:
        """A request to the registry; its status."""
        url = f"{self.running.endpoint}/v2/{self.name}/{path}"
        request = urllib.request.Request(url, data=body or None, method=method)
        request.add_header("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
        if given := self.token if token is None else token:
            request.add_header("Authorization", f"Basic {given}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def manifest(self, *layers: bytes) -> bytes:
        def entry(content: bytes) -> dict[str, object]:
            return {"digest": digest(content), "size": len(content)}

        return json.dumps({"schemaVersion": 2, "config": entry(CONFIG), "layers": [entry(x) for x in layers]}).encode()

    def push(self, tag: str, *layers: bytes) -> str:
        """Push an image of these layers; its digest."""
        for blob in (CONFIG, *layers):
            assert self.ask("POST", f"blobs/uploads/?digest={digest(blob)}", blob) == 201
        body = self.manifest(*layers)
        assert self.ask("PUT", f"manifests/{tag}", body) == 201
        return digest(body)


@pytest.fixture(scope="module")
def repository(running: emulator.Running) -> Iterator[Repository]:
    return Repository(running, "images")


def test_registry_wants_ecrs_token(repository: Repository) -> None:
    """Without a token, or with an invented one, reads and writes are refused."""
    made_up = base64.b64encode(b"AWS:anything").decode()
    for token in ("", made_up):
        assert repository.ask("GET", "manifests/x", token=token) == 401
        assert repository.ask("POST", "blobs/uploads/", token=token) == 401
    assert repository.ask("GET", "manifests/x") == 404


def test_token_holds_its_owners_rights(repository: Repository) -> None:
    """Who may only read the registry does not push to it."""
    iam = client(repository.running, "iam")
    iam.create_user(UserName="registry-reader")
    allowed = [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {"Effect": "Allow", "Action": "ecr:BatchGetImage", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
    iam.put_user_policy(UserName="registry-reader", PolicyName="read", PolicyDocument=document)
    key = iam.create_access_key(UserName="registry-reader")["AccessKey"]
    token = repository.sign_in(client(repository.running, "ecr", key["AccessKeyId"], key["SecretAccessKey"]))
    repository.push("read-me", b"a layer")
    assert repository.ask("GET", "manifests/read-me", token=token) == 200
    assert repository.ask("GET", f"blobs/{digest(b'a layer')}", token=token) == 403
    assert repository.ask("POST", "blobs/uploads/", token=token) == 403
    assert repository.ask("PUT", "manifests/mine", repository.manifest(b"a layer"), token=token) == 403


def test_manifest_without_its_layers_is_refused(repository: Repository) -> None:
    """An image is named only when all of it is there."""
    assert repository.ask("PUT", "manifests/hollow", repository.manifest(b"never pushed")) == 400
    assert repository.ask("GET", "manifests/hollow") == 404


def test_tag_is_given_once(repository: Repository) -> None:
    """An immutable tag does not move to another image."""
    repository.push("once", b"first")
    repository.push("other", b"second")
    assert repository.ask("PUT", "manifests/once", repository.manifest(b"second")) == 400


def test_image_outlives_one_of_its_tags(repository: Repository) -> None:
    """Two tags of one image: without the one the image is there under the other, without both it is gone, by its digest too."""
    pushed = repository.push("this", b"of two tags")
    assert repository.push("that", b"of two tags") == pushed
    for tag, left in (("this", ["that"]), ("that", [])):
        deleted = repository.aws.batch_delete_image(repositoryName="images", imageIds=[{"imageTag": tag}])
        assert deleted["imageIds"] == [{"imageDigest": pushed, "imageTag": tag}]
        found = repository.aws.describe_images(repositoryName="images")["imageDetails"]
        assert [image["imageTags"] for image in found if image["imageDigest"] == pushed] == ([left] if left else [])
        assert repository.ask("GET", f"manifests/{pushed}") == (200 if left else 404)


def test_function_takes_images_that_are_there_and_keeps_their_digest(repository: Repository) -> None:
    """An unknown image is refused, as are a runtime and a handler beside one; what was taken is reported by digest."""
    running = repository.running
    aws = client(running, "lambda")
    zipped = Function(running, "zipped", "def handler(event, context):\n    return 1\n")
    role = aws.get_function_configuration(FunctionName="zipped")["Role"]

    def create(**options: object) -> str:
        return code_of(lambda: aws.create_function(FunctionName="boxed", Role=role, PackageType="Image", **options))

    uri = f"{repository.uri}:taken"
    assert create(Code={"ImageUri": uri}) == "InvalidParameterValueException"
    pushed = repository.push("taken", b"a function")
    assert create(Code={"ImageUri": uri}, Handler="x.y", Runtime="python3.12") == "InvalidParameterValueException"
    made = aws.create_function(FunctionName="boxed", Role=role, PackageType="Image", Code={"ImageUri": uri})
    assert made["CodeSha256"] == pushed.removeprefix("sha256:")
    aws.get_waiter("function_active_v2").wait(FunctionName="boxed")
    found = aws.get_function(FunctionName="boxed")["Code"]
    assert found["ResolvedImageUri"] == f"{repository.uri}@{pushed}"
    zipped.settle()
    for name, code in (("boxed", {"ZipFile": b"x"}), ("zipped", {"ImageUri": uri})):
        refused = code_of(lambda name=name, code=code: aws.update_function_code(FunctionName=name, **code))  # type: ignore[misc]
        assert refused == "InvalidParameterValueException"
