"""Images made by hand, with this Python's interpreter and one program, pushed to the embedded AWS; and roles to run them."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

from emulated import client

from ml_delivery import emulator

PYTHON = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
LEFT_OUT = {"pydoc_data", "lib2to3", "distutils", "sqlite3", "curses", "turtledemo", "test", "tests", "idlelib"} | {
    "tkinter",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "ensurepip",
}
HEAVY = ("_test", "_tkinter", "_ssl", "_decimal", "_sqlite", "_curses", "_gdbm", "_dbm", "readline", "_codecs_")
PROGRAM = "/opt/program/main.py"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layer(files: dict[str, bytes | Path]) -> bytes:
    """A layer with these files by their path."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path.lstrip("/"))
            data = content.read_bytes() if isinstance(content, Path) else content
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@functools.cache
def interpreter() -> bytes:
    """The layer with the interpreter, its standard library, and what they are linked with."""
    files: dict[str, bytes | Path] = {PYTHON: Path(PYTHON), "/etc/passwd": b"root:x:0:0::/root:/bin/sh\n"}
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    for path in stdlib.rglob("*"):
        names = set(path.relative_to(stdlib).parts)
        if (
            path.is_file()
            and not names & LEFT_OUT
            and not path.name.startswith(HEAVY)
            and not any(n.startswith("config-") for n in names)
        ):
            files[str(path)] = path
    return layer(files | linked(PYTHON, *(name for name in files if "lib-dynload/" in name)))


def linked(*programs: str) -> dict[str, bytes | Path]:
    """The libraries that programs of this machine are linked with, by their path."""
    found = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return {path: Path(path) for path in re.findall(r"(/\S+) \(0x", found)}


class Registry:
    """A repository on the embedded AWS to which images are pushed."""

    def __init__(self, running: emulator.Running, name: str) -> None:
        self.running, self.name = running, name
        aws = client(running, "ecr")
        try:
            self.uri: str = aws.create_repository(repositoryName=name)["repository"]["repositoryUri"]
        except aws.exceptions.RepositoryAlreadyExistsException:  # that of a stack
            self.uri = aws.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
        self.arn = f"arn:aws:ecr:eu-west-1:{running.account}:repository/{name}"
        self._token = aws.get_authorization_token()["authorizationData"][0]["authorizationToken"]

    def push(self, tag: str, code: str, more: dict[str, bytes | Path] | None = None, **config: Any) -> str:
        """Push an image whose entrypoint runs ``code``, with ``more`` files by their path; its URI."""
        layers = [interpreter(), layer({PROGRAM: code.encode(), **(more or {})})]
        settings = {"Entrypoint": [PYTHON, "-u", PROGRAM], "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **config}
        document = {"architecture": "amd64", "os": "linux", "config": settings}
        document["rootfs"] = {"type": "layers", "diff_ids": [digest(x) for x in layers]}
        described = json.dumps(document).encode()
        for blob in (described, *layers):
            self._ask("POST", f"blobs/uploads/?digest={digest(blob)}", blob)
        named = [{"digest": digest(blob), "size": len(blob)} for blob in (described, *layers)]
        self._ask(
            "PUT",
            f"manifests/{tag}",
            json.dumps({"schemaVersion": 2, "config": named[0], "layers": named[1:]}).encode(),
        )
        return f"{self.uri}:{tag}"

    def _ask(self, method: str, path: str, body: bytes) -> None:
        request = urllib.request.Request(f"{self.running.endpoint}/v2/{self.name}/{path}", data=body, method=method)
        request.add_header("Authorization", f"Basic {self._token}")
        request.add_header("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
        urllib.request.urlopen(request, timeout=60).close()


def allow(*actions: str, on: str | list[str] = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on}


def role(
    running: emulator.Running, name: str, *statements: dict[str, Any], service: str = "sagemaker.amazonaws.com"
) -> str:
    """A role that SageMaker may assume, with these statements; its ARN."""
    iam = client(running, "iam")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
    return arn


def pulls(registry: Registry) -> list[dict[str, Any]]:
    """What an execution role needs to pull an image and to write its log."""
    verbs = ("BatchGetImage", "GetDownloadUrlForLayer", "BatchCheckLayerAvailability")
    return [
        allow(*(f"ecr:{verb}" for verb in verbs), on=registry.arn),
        allow("ecr:GetAuthorizationToken"),
        allow("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"),
    ]


def user(running: emulator.Running, name: str, service: str, *statements: dict[str, Any]) -> Any:
    """A client of a new user that has these statements."""
    iam = client(running, "iam")
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return client(running, service, key["AccessKeyId"], key["SecretAccessKey"])
