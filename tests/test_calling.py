"""``invoke call``: what is typed arrives, what is answered is printed, and the exit code says whether it went well."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from tiny import HANDLER, Tiny

from ml_delivery.errors import ConfigError
from ml_delivery.release import calling

ECHO = HANDLER.replace(
    "    return {",
    """    if event["rawPath"] == "/raise":
        raise ValueError("as asked")
    if event["rawPath"] == "/echo":
        http = event["requestContext"]["http"]
        parts = ("rawQueryString", "body", "isBase64Encoded", "headers")
        body = {"method": http["method"], **{name: event[name] for name in parts}}
    if event["rawPath"].startswith("/status/"):
        return {"statusCode": int(event["rawPath"][8:]), "body": "as asked"}
    return {""",
)


@pytest.fixture
def echo(tiny: Tiny) -> Tiny:
    """A deployed service that answers with the request."""
    tiny.write("src/service/handler.py", ECHO)
    tiny.commit()
    tiny.deploy()
    return tiny


def run(service: Tiny, *words: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """``invoke call`` with this standard input."""
    command = service.command("call", *words)
    return subprocess.run(
        command, cwd=service.root, env=service.environment, input=content, capture_output=True, check=False
    )


def test_what_is_typed_arrives(echo: Tiny) -> None:
    """Method, query, headers and a body, as JSON, as a file and from standard input, text or not."""
    said = json.loads(run(echo, "/echo?a=b%20c", "--header", "X-One: 1:2", "--header", "accept:text/plain").stdout)
    assert (said["method"], said["rawQueryString"], said["body"]) == ("GET", "a=b%20c", "")
    assert (said["headers"]["x-one"], said["headers"]["accept"]) == ("1:2", "text/plain")
    said = json.loads(run(echo, "echo", "--body", '{"text": "ä"}').stdout)
    assert (said["method"], json.loads(said["body"])) == ("POST", {"text": "ä"})
    assert said["headers"]["content-type"] == "application/json"
    picture = b"\x89PNG\r\n\xff"
    (echo.root / "build/one.png").write_bytes(picture)
    for words, kind in (
        (["--body", "build/one.png"], "image/png"),
        (["--body", "-"], "application/octet-stream"),
        (["--body", "-", "--header", "Content-Type: image/x"], "image/x"),
    ):
        said = json.loads(run(echo, "/echo", "--method", "put", *words, content=picture).stdout)
        assert (said["method"], said["isBase64Encoded"], said["headers"]["content-type"]) == ("PUT", True, kind)
        assert base64.b64decode(said["body"]) == picture


def test_exit_code_says_whether_it_went_well(echo: Tiny) -> None:
    """A status of 400 or above and an exception exit with 1, below that with 0; the document has the same."""
    for status, code in ((204, 0), (302, 0), (400, 1), (404, 1), (503, 1)):
        done = run(echo, f"/status/{status}")
        assert (done.returncode, done.stdout) == (code, b"as asked\n")
        assert done.stderr.decode() == (f"✗ status {status}\n" if code else "")
    raised = run(echo, "/raise")
    assert (raised.returncode, raised.stderr.decode()) == (1, "✗ Unhandled: ValueError: as asked\n")
    document = run(echo, "/raise", "--json")
    said = json.loads(document.stdout)
    assert (document.returncode, said["status"], said["fault"]) == (1, 0, "Unhandled: ValueError: as asked")
    assert json.loads(run(echo, "/status/503", "--json").stdout)["body"] == "as asked"


def test_release_that_is_not_live_is_asked(echo: Tiny) -> None:
    """--release asks the deployed version of a release; one that there never was, or no longer is, is refused."""
    echo.repair("second")
    echo.deploy()
    assert json.loads(run(echo, "/version").stdout)["release"] == 2
    document = json.loads(run(echo, "/version", "--release", "1", "--json").stdout)
    assert (document["deployed"], json.loads(document["body"])["release"]) == ("1", 1)
    assert "has no release 7" in run(echo, "/version", "--release", "7").stderr.decode()
    echo.open().deployer.remove("1")
    refused = run(echo, "/version", "--release", "1")
    assert refused.returncode == 1
    assert refused.stderr.decode().endswith(
        "✗ release 1 was pruned; its deployed version no longer exists\n  next: invoke releases --branch main\n"
    )


@pytest.mark.parametrize(
    ("method", "body", "headers", "says"),
    [
        ("FETCH", "", [], "--method"),
        ("", "no-such-file.json", [], "neither JSON nor a file that can be read"),
        ("", "tests", [], "Is a directory"),
        ("", "", ["X-One"], "write 'Name: value'"),
        ("", "", ["a b: c"], "write 'Name: value'"),
        ("", "", ["a: b\r\nc: d"], "write 'Name: value'"),
    ],
)
def test_what_is_no_request_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, body: str, headers: list[str], says: str
) -> None:
    """An unknown method, a body that is neither, and a header without a colon, or that would be two."""
    (tmp_path / "tests").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        calling.message("/", method, body, headers)
