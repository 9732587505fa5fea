"""An embedded AWS for tests of it: clients, functions, and a project that has what it needs."""

from __future__ import annotations

import base64
import io
import json
import secrets
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as Options
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session

from ml_delivery import emulator
from ml_delivery.waiting import wait

MADE: list[Callable[[], Any]] = []  # in a real account: removes it
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def client(running: emulator.Running, service: str, key: str = "", secret: str = "", **options: Any) -> Any:
    """A client of the embedded AWS, or of the real account that the fixture ``running`` then is: it has no endpoint."""
    return Session().create_client(
        service,
        region_name="eu-west-1" if running.endpoint else None,
        endpoint_url=running.endpoint or None,
        aws_access_key_id=key or running.access_key or None,
        aws_secret_access_key=secret or running.secret_key or None,
        config=Options(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, max_pool_connections=50, **options
        ),
    )


def get_by_url(running: emulator.Running, url: str, path: str = "/", **headers: str) -> tuple[int, bytes]:
    """Ask a Function URL, signed; the embedded AWS tells functions by the host that is asked for."""
    signed = AWSRequest("GET", url.rstrip("/") + path, headers=headers)
    SigV4Auth(Credentials(running.access_key, running.secret_key), "lambda", "eu-west-1").add_auth(signed)
    names = {**dict(signed.headers.items()), "Host": url.split("/")[2]}
    request = urllib.request.Request(running.endpoint + path, headers=names)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def project(root: Path, own: Path) -> Path:
    """A folder that has what the embedded AWS needs; its environment is shared with the other tests."""
    root.mkdir(parents=True, exist_ok=True)
    own.mkdir(exist_ok=True)
    (root / ".pipeline").symlink_to(own)
    return root


def package(code: str, **files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {"main.py": code, **files}.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            archive.writestr(member, text)
    return buffer.getvalue()


class Function:
    """A function with a role of its own; in a real account with a name of its own, too."""

    def __init__(self, running: emulator.Running, name: str, code: str, **settings: Any) -> None:
        name = self.name = name if running.endpoint else f"contract-{name}-{secrets.token_hex(6)}"
        self.aws = client(running, "lambda")
        iam = client(running, "iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        MADE.append(lambda: iam.delete_role(RoleName=name))
        words = {"FunctionName": name, "Runtime": PYTHON, "Handler": "main.handler", "Role": role, **settings}

        def created() -> Any:
            try:
                return self.aws.create_function(Code={"ZipFile": package(code)}, **words)
            except ClientError as error:
                if running.endpoint or "cannot be assumed by Lambda" not in str(error):
                    raise
                return None  # for some seconds after the role was created

        wait(created, what=name)
        MADE.append(lambda: self.aws.delete_function(FunctionName=name))
        self.settle()

    def settle(self) -> dict[str, Any]:
        def settled() -> dict[str, Any] | None:
            found: dict[str, Any] = self.aws.get_function_configuration(FunctionName=self.name)
            return found if (found["State"], found["LastUpdateStatus"]) == ("Active", "Successful") else None

        return wait(settled, what=self.name)

    def call(self, event: Any = None, **options: Any) -> dict[str, Any]:
        answer = self.aws.invoke(FunctionName=self.name, Payload=json.dumps(event), LogType="Tail", **options)
        log = base64.b64decode(answer.get("LogResult", "")).decode()
        return {"fault": answer.get("FunctionError"), "body": json.loads(answer["Payload"].read()), "log": log}


def code_of(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as fault:
        call()
    return str(fault.value.response["Error"]["Code"])


def environment_of(process: Path) -> bytes:
    """What a process was started with; nothing when it has ended."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
