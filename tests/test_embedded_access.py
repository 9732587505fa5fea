"""Who may do what on the embedded AWS, and what it knows of the developer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from botocore.config import Config as Options
from botocore.exceptions import ClientError
from botocore.session import Session
from emulated import Function, client, code_of, environment_of

from ml_delivery import emulator


def test_server_knows_nothing_of_the_developer(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials nor settings of the caller's shell reach the server, nor does it reach for Docker."""
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("SECRET_TOKEN", "mine")
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    found = dict(
        line.split("=", 1)
        for line in environment_of(Path(f"/proc/{emulator.up(alone).pid}")).decode().split("\0")
        if line
    )
    assert "mine" not in found.values()
    assert {name: found[name] for name in found if name.startswith("AWS_")} == {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    assert not Path(found["DOCKER_HOST"].removeprefix("unix://")).exists()


@pytest.mark.parametrize("key", ["test", "123456789012", "000000000000", "AKIA0000000000000000"])
def test_only_known_keys_have_an_identity(running: emulator.Running, key: str) -> None:
    """A key that was not issued, the emulator's well-known ones among them, is refused."""
    assert code_of(client(running, "iam", key, "test").list_users) in (
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    )


def test_unsigned_requests_are_refused(running: emulator.Running) -> None:
    """A request without a signature is refused."""
    from botocore import UNSIGNED

    unsigned = Session().create_client(
        "lambda", region_name="eu-west-1", endpoint_url=running.endpoint, config=Options(signature_version=UNSIGNED)
    )
    with pytest.raises(ClientError):
        unsigned.list_functions()


def test_wrong_secret_is_refused(running: emulator.Running) -> None:
    """Signatures are checked."""
    assert code_of(client(running, "iam", running.access_key, "wrong").list_users) == "SignatureDoesNotMatch"


def test_function_has_its_roles_rights_only(running: emulator.Running) -> None:
    """A function signs as its role, and what the role does not allow is denied to it."""
    code = """
import os
def handler(event, context):
    return sorted(k for k in os.environ if k.startswith(("AWS_", "HOME", "PIPELINE", "GATEWAY", "STATE")))
"""
    names = Function(running, "rights", code).call()["body"]
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= set(names)
    assert not [n for n in names if n.startswith(("HOME", "PIPELINE", "GATEWAY", "STATE"))]
