"""The seam between the pipeline and a cloud: which account is meant, and what a fault says."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
from botocore.session import Session
from tiny import Tiny

from ml_delivery import __version__, emulator
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.keys import Environment


@pytest.fixture
def environment(tiny: Tiny) -> Environment:
    return dataclasses.replace(tiny.config.environments["production"], account="123456789012")


@pytest.fixture
def chain(running: emulator.Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ordinary AWS chain of settings, pointing at the embedded AWS in place of the real one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", running.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", running.secret_key)


@pytest.mark.usefixtures("chain")
def test_aws_is_the_environments_account(tiny: Tiny, environment: Environment) -> None:
    """With credentials of the environment's account, ``aws`` opens in the service's region."""
    cloud = Cloud.open(tiny.config, environment, "aws")
    assert (cloud.name, cloud.account, cloud.region) == ("aws", "123456789012", "eu-west-1")


@pytest.mark.usefixtures("chain")
def test_credentials_of_another_account_are_refused(tiny: Tiny, environment: Environment) -> None:
    """Both accounts are named."""
    other = dataclasses.replace(environment, account="210987654321")
    with pytest.raises(CloudError, match="belong to account 123456789012, but production is in 210987654321"):
        Cloud.open(tiny.config, other, "aws")


def test_environment_without_account_is_refused(tiny: Tiny, environment: Environment) -> None:
    """``aws`` needs to know which account is meant."""
    with pytest.raises(ConfigError, match=r"environments.production.account: empty"):
        Cloud.open(tiny.config, dataclasses.replace(environment, account=""), "aws")


def test_no_credentials_say_so(
    tiny: Tiny, environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without any credentials the fault says so, and what to look at."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(CloudError, match="credentials") as fault:
        Cloud.open(tiny.config, environment, "aws")
    assert "aws sts get-caller-identity" in fault.value.next


def test_refusal_names_operation_code_and_message(tiny: Tiny, environment: Environment) -> None:
    """What AWS answered is in the fault, and its cause is kept."""
    cloud = Cloud.open(tiny.config, environment, "embedded")
    said = "GetFunction: ResourceNotFoundException: Function not found"
    with pytest.raises(CloudError, match=said) as fault, cloud.faults():
        cloud.client("lambda").get_function(FunctionName="nowhere")
    assert fault.value.__cause__ is not None


def test_dead_embedded_cloud_says_how_to_go_on(alone: Path) -> None:
    """When the embedded AWS has been killed, the fault names it and the next command."""
    running = emulator.up(alone)
    session = Session()
    session.set_config_variable("region", "eu-west-1")
    session.set_credentials(running.access_key, running.secret_key)
    cloud = Cloud("embedded", "eu-west-1", running.account, session, running.endpoint)
    os.kill(running.pid, signal.SIGKILL)
    with pytest.raises(CloudError, match="the embedded AWS stopped answering") as fault, cloud.faults():
        cloud.client("s3").list_buckets()
    assert fault.value.next.startswith("invoke cloud.up")


def test_keys_are_not_printed(alone: Path) -> None:
    """The secret key is in no representation."""
    running = emulator.up(alone)
    assert running.secret_key not in repr(running)


def test_requests_name_the_package_and_its_version(tiny: Tiny) -> None:
    """Every call says in its user agent which ml-delivery made it, so that CloudTrail shows it."""
    client = tiny.open().cloud.client("s3")
    assert client.meta.config.user_agent.endswith(f" ml-delivery/{__version__}")
