"""What a machine is configured to do elsewhere, in variables and files, does not reach what runs on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny import Tiny

from ml_delivery import source
from ml_delivery.cloud import Cloud, _session
from ml_delivery.containers.registry import Registry
from ml_delivery.errors import CloudError, SourceError

NOWHERE = "http://127.0.0.1:9"
SETTINGS = {
    "a proxy": dict.fromkeys(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"], NOWHERE),
    "a profile that is missing": {"AWS_PROFILE": "absent", "AWS_DEFAULT_PROFILE": "absent"},
    "a region that is not one": {"AWS_DEFAULT_REGION": "nowhere", "AWS_REGION": "nowhere"},
    "another endpoint": {"AWS_ENDPOINT_URL": NOWHERE, "AWS_ENDPOINT_URL_STS": NOWHERE, "AWS_ENDPOINT_URL_S3": NOWHERE},
    "other kinds of endpoints": {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
    "values that botocore refuses": {
        "AWS_DEFAULTS_MODE": "odd",
        "AWS_STS_REGIONAL_ENDPOINTS": "odd",
        "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "odd",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE": "odd",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "odd",
        "AWS_MAX_ATTEMPTS": "odd",
        "AWS_CA_BUNDLE": "/does/not/exist",
    },
    "keys of another account": {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_embedded_cloud_is_reached(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever the shell says of AWS and of proxies."""
    tiny.open()  # started, and its environment fetched, on the network as it is
    for variable, value in SETTINGS[name].items():
        monkeypatch.setenv(variable, value)
    cloud = tiny.open().cloud
    assert cloud.client("sts").get_caller_identity()["Account"] == cloud.account
    assert "Buckets" in cloud.client("s3").list_buckets()


@pytest.mark.parametrize("text", ["[default\nbroken = = =\n]]]", "[profile x]\nregion = nowhere\n", "\0\udcff"])
def test_aws_files_are_not_read(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A file that is broken, or is not one, stops nothing on the embedded cloud."""
    tiny.open()
    (tmp_path / ".aws").mkdir()
    for name, variable in (("config", "AWS_CONFIG_FILE"), ("credentials", "AWS_SHARED_CREDENTIALS_FILE")):
        (tmp_path / ".aws" / name).write_text(text, errors="surrogateescape")
        monkeypatch.setenv(variable, str(tmp_path / ".aws" / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "Buckets" in tiny.open().cloud.client("s3").list_buckets()


def test_embedded_registry_is_reached_past_a_proxy(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image's manifest is read from loopback without the proxy."""
    tiny.open()
    for variable, value in SETTINGS["a proxy"].items():
        monkeypatch.setenv(variable, value)
    tiny.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "lambda-image"')
    assert Registry(tiny.open()).find("no-such-tag") is None


class Page(BaseHTTPRequestHandler):
    """Answers everything with what the class holds, as a proxy does."""

    status, kind, body = 200, "text/html; charset=utf-8", b"<html><body>Sign in to this network</body></html>"
    answered = ""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(self.body)))
        if self.answered:
            self.send_header("x-amzn-RequestId", self.answered)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else self.body)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Page], Cloud]]:
    """A server of web pages, and a cloud that is taken to it."""

    class Own(Page):
        """This test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    session = _session("eu-west-1", embedded=True)
    session.set_credentials("key", "secret")
    yield Own, Cloud("aws", "eu-west-1", "123456789012", session, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "query": ("sts", "get_caller_identity", {}),
    "rest-xml": ("s3", "list_objects_v2", {"Bucket": "some-bucket"}),
    "an object": ("s3", "get_object", {"Bucket": "some-bucket", "Key": "key"}),
    "rest-json": ("lambda", "get_alias", {"FunctionName": "f", "Name": "live"}),
    "json": ("logs", "describe_log_groups", {}),
    "cbor": ("cloudwatch", "describe_alarms", {}),
}


@pytest.mark.parametrize("status", [200, 302, 403, 407])
@pytest.mark.parametrize("call", CALLS)
def test_web_page_is_no_answer_of_aws(page: tuple[type[Page], Cloud], status: int, call: str) -> None:
    """A proxy's page is named, in each of AWS's protocols, instead of being read as an empty result."""
    served, cloud = page
    served.status = status
    service, operation, options = CALLS[call]
    with pytest.raises(CloudError) as fault, cloud.faults():
        getattr(cloud.client(service), operation)(**options)
    assert f"the answer is a web page (HTTP {status}), so it is not from AWS" in str(fault.value)
    assert "HTTPS_PROXY" in fault.value.next


@pytest.mark.parametrize("body", [b"", b"{}"])
@pytest.mark.parametrize("call", CALLS)
def test_success_of_another_server_is_no_answer_of_aws(page: tuple[type[Page], Cloud], call: str, body: bytes) -> None:
    """Another program at the port of an emulator that was killed may say yes to anything."""
    served, cloud = page
    served.kind, served.body = "application/json", body
    service, operation, options = CALLS[call]
    said = r"the answer has no request id \(HTTP 200\)|500: Internal Server Error"  # so botocore takes what is no XML for S3
    with pytest.raises(CloudError, match=said), cloud.faults():
        getattr(cloud.client(service), operation)(**options)


@pytest.mark.parametrize("body", [b"", b'{"cut', b"<html>"])
def test_unreadable_answer_is_an_error_in_words(page: tuple[type[Page], Cloud], body: bytes) -> None:
    """What no parser reads ends in one message, not in a traceback."""
    served, cloud = page
    served.kind, served.body, served.answered = "text/xml", body, "1"
    with pytest.raises(CloudError, match="AWS: Unable to parse response"), cloud.faults():
        cloud.client("sts").get_caller_identity()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder to another user")
def test_another_users_repository_is_named(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Git refuses to read it, and prints the command that allows it: that one is passed on."""
    monkeypatch.setenv("HOME", str(tmp_path))  # without the developer's own safe.directory
    for path in (tiny.root, tiny.root / ".git"):
        os.chown(path, 4242, 4242)
    with pytest.raises(SourceError, match="which belongs to another user") as fault:
        source.read(tiny.root)
    assert fault.value.next.startswith("git config --global --add safe.directory ")
    assert str(tiny.root) in fault.value.next
