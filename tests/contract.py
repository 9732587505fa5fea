"""The account that contracts of AWS are tried in: the emulator, moto's server, or a real one.

A contract is written once, for plain clients; ``CONTRACT`` names where it is tried: ``embedded`` (default), ``moto`` or ``aws``.
``nox -s aws`` and ``nox -s moto`` set it. What a contract makes has names that begin with ``contract-``, and is removed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from botocore.config import Config as Options
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
WHERE = os.environ.get("CONTRACT", "embedded")
VARIABLES = {"CONTRACT_ACCOUNT": "the 12 digits of an account for tests", "AWS_REGION": "its region"}
ROLE = "cannot be assumed by Lambda"  # for some seconds after it was created
SETTLING = ("Pending", "InProgress")


class Accepted(AssertionError):
    """What AWS documents as refused was accepted."""


class Otherwise(AssertionError):
    """It was refused for another reason, with this ``code``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Account:
    """Clients of one account, with names of its own for what is made there; ``close`` removes that."""

    kind: str
    region: str = "eu-west-1"
    endpoint: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    undo: list[Callable[[], Any]] = field(default_factory=list)
    lasting: list[Callable[[], Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        options = Options(
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            read_timeout=120,
            parameter_validation=False,
        )
        return Session().create_client(
            service, region_name=self.region, endpoint_url=self.endpoint, config=options, **self.keys
        )

    def name(self) -> str:
        return f"contract-{secrets.token_hex(6)}"

    @cached_property
    def number(self) -> str:
        return str(self.client("sts").get_caller_identity()["Account"])

    @cached_property
    def role(self) -> str:
        iam, name = self.client("iam"), self.name()
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        self.lasting.append(lambda: iam.delete_role(RoleName=name))
        return arn

    @cached_property
    def plain(self) -> Function:
        """A function that answers with what it gets, for what does not change it."""
        made = Function(self, "def handler(event, context): return event")
        self.lasting.insert(0, self.undo.pop())
        return made

    def bucket(self) -> str:
        s3, name = self.client("s3"), f"{self.name()}-{self.number}"
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": self.region})

        def remove() -> None:
            for found in s3.list_objects_v2(Bucket=name).get("Contents", []):
                s3.delete_object(Bucket=name, Key=found["Key"])
            s3.delete_bucket(Bucket=name)

        self.undo.append(remove)
        return name

    def tidy(self) -> None:
        """Remove what one contract made."""
        while self.undo:
            with contextlib.suppress(ClientError):
                self.undo.pop()()

    def close(self) -> None:
        self.undo = self.lasting
        self.tidy()


def real() -> Account:
    """The real account, once it was confirmed to be the one for tests; skips without it, with what to set."""
    if missing := [f"{name} ({what})" for name, what in VARIABLES.items() if not os.environ.get(name)]:
        pytest.skip(f"not validated against AWS: set {', '.join(missing)}, and AWS_PROFILE or keys for it")
    account = Account("aws", region=os.environ["AWS_REGION"], endpoint=os.environ.get("AWS_ENDPOINT_URL"))
    try:
        found = account.number
    except (BotoCoreError, ClientError) as error:
        pytest.fail(f"no credentials for the account: {error}")
    if found != os.environ["CONTRACT_ACCOUNT"]:
        pytest.fail(f"the credentials are for {found}, CONTRACT_ACCOUNT is {os.environ['CONTRACT_ACCOUNT']}")
    return account


class Function:
    """A function from a ZIP file."""

    def __init__(self, at: Account, code: str, files: dict[str, bytes] | None = None, **settings: Any) -> None:
        self.aws, self.name = at.client("lambda"), at.name()
        words = {
            "FunctionName": self.name,
            "Runtime": PYTHON,
            "Handler": "main.handler",
            "Role": at.role,
            "Code": {"ZipFile": zipped({"main.py": code.encode(), **(files or {})})},
            **settings,
        }
        end = time.monotonic() + 60
        while True:
            try:
                self.aws.create_function(**words)
                break
            except ClientError as error:
                if ROLE not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(2)
        at.undo.append(lambda: self.aws.delete_function(FunctionName=self.name))
        self.settle()

    def settle(self) -> None:
        while True:
            found = self.aws.get_function_configuration(FunctionName=self.name)
            if not {found.get("State"), found.get("LastUpdateStatus")} & set(SETTLING):
                return
            time.sleep(0.1)

    def update(self, **settings: Any) -> None:
        self.aws.update_function_configuration(FunctionName=self.name, **settings)
        self.settle()

    def call(self, event: Any = None, **options: Any) -> dict[str, Any]:
        answer = self.aws.invoke(FunctionName=self.name, Payload=json.dumps(event), LogType="Tail", **options)
        log = base64.b64decode(answer.get("LogResult", "")).decode()
        return {"fault": answer.get("FunctionError"), "body": json.loads(answer["Payload"].read()), "log": log}


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = 0o100644 << 16, compression
            archive.writestr(member, data)
    return buffer.getvalue()


def refused(call: Callable[[], Any], *codes: str) -> str:
    """Require that AWS refuses ``call`` with one of ``codes``; returns the message."""
    try:
        call()
    except ClientError as error:
        code, message = error.response["Error"]["Code"], str(error)
        if code not in codes:
            raise Otherwise(code, f"refused with {code}, not with {' or '.join(codes)}: {message}") from error
        return message
    raise Accepted(f"accepted, not refused with {' or '.join(codes)}")


@dataclass(frozen=True)
class Contract:
    """One contract, and where it can be tried: ``runs`` a function, which moto has no way to; ``only`` on the emulator."""

    try_in: Callable[[Account], None]
    runs: bool
    only: bool


CONTRACTS: dict[str, Contract] = {}


def contract(row: str, *, runs: bool = False, only: bool = False) -> Callable[[Callable[[Account], None]], Any]:
    """Register the contract of a row of ``docs/limits.toml``."""

    def add(function: Callable[[Account], None]) -> Callable[[Account], None]:
        assert row not in CONTRACTS, row
        CONTRACTS[row] = Contract(function, runs, only)
        return function

    return add
