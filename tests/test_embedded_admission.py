"""Who may ask the embedded AWS at all: this machine's programs; no stranger by another name, no web page, no reset."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from emulated import Function, client, get_by_url

from embedded_aws.server.admission import DOWNLOADS, HEALTH, _presigned, _signature
from ml_delivery import emulator

SITE = "https://evil.localhost.example"
BUCKET = "open-to-pages"


def ask(
    running: emulator.Running, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One unsigned request, with exactly these headers beside Host, which may be another."""
    where = urlsplit(running.endpoint)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"host": where.netloc, "content-length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    content = answer.read()
    connection.close()
    return answer.status, found, content


def package_of(running: emulator.Running) -> Path:
    """The installed ministack, beside the interpreter that the server was started with."""
    python = Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    (folder,) = Path(python).parents[1].glob("lib/python*/site-packages/ministack")
    return folder


def test_every_route_of_ministack_is_closed_but_health(running: emulator.Running) -> None:
    """Each that its source names, with each method, with and without more of a path: 403; state and settings stay."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in package_of(running).rglob("*.py"))
    named = set(re.findall(r"/_(?:ministack|localstack)/[a-z][a-z0-9/._-]*", text))
    assert {"/_ministack/reset", "/_ministack/config", "/_ministack/lambda-code/"} <= named
    assert len(named) > 12
    iam = client(running, "iam")
    iam.create_user(UserName="stays")
    open_ones = []
    for path in sorted(named | {"/_ministack", "/_localstack", "/_ministack/", "/%5Fministack/reset"}):
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            for more in ("", "/123456789012/eu-west-1/x", "?init=1", "/"):
                status = ask(running, method, path.removesuffix("/" if more else "") + more, b"{}")[0]
                if status != 403:
                    open_ones.append(path + more.replace("?init=1", ""))
    assert set(open_ones) == set(HEALTH) & named
    assert iam.get_user(UserName="stays")["User"]["UserName"] == "stays"
    for path in HEALTH:
        assert "services" in json.loads(ask(running, "GET", path)[2])


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "x@127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "s3.amazonaws.com",
        "",
    ],
)
def test_other_hosts_are_refused(running: emulator.Running, host: str) -> None:
    """A name that only resolves to this machine, as in DNS rebinding, is refused on every route, health too."""
    for path in (*HEALTH, "/", "/a-bucket/a-key", "/_aws/lambda-url/x/"):
        status, _, body = ask(running, "GET", path, host=host)
        assert status == 403, path
        assert b"is not this machine" in body


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.0.0.1:{port}", "a.s3.localhost:{port}"])
def test_loopback_hosts_are_served(running: emulator.Running, host: str) -> None:
    """By address, by name, and by a name below localhost."""
    named = host.format(port=urlsplit(running.endpoint).port)
    assert ask(running, "GET", HEALTH[1], host=named)[0] == 200


def test_web_pages_are_refused(running: emulator.Running) -> None:
    """Unsigned requests with an origin, of those that AWS serves unsigned too, and preflights; no answer allows any origin."""
    form = {"content_type": "application/x-www-form-urlencoded"}
    query = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&WebIdentityToken=x&RoleSessionName=x&RoleArn=x"
    asked = [
        ("POST", "/", query.encode(), form),
        ("GET", f"/?{query}", b"", {}),
        ("POST", "/", b"{}", {"x_amz_target": "AWSCognitoIdentityProviderService.InitiateAuth"}),
        ("GET", "/oauth2/authorize", b"", {}),
        ("GET", "/v2/", b"", {}),
        ("OPTIONS", "/", b"", {"access_control_request_method": "PUT"}),
        ("GET", "/no-such-bucket/x", b"", {}),
    ]
    for origin in (SITE, "null", "http://localhost:3000"):
        for method, path, body, headers in asked:
            status, found, content = ask(running, method, path, body, origin=origin, **headers)
            assert (status, b"web page" in content) == (403, True), (method, path)
            assert not [name for name in found if name.startswith("access-control-")]
    for method, path, body, headers in asked:
        found = ask(running, method, path, body, **headers)[1]
        assert not [name for name in found if name.startswith("access-control-")], (method, path)


def test_pages_get_what_a_bucket_allows(running: emulator.Running) -> None:
    """A bucket's own CORS configuration answers, and only for the origin that it names; what else is asked of it does not."""
    s3 = client(running, "s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    rule = {"AllowedOrigins": ["https://good.example"], "AllowedMethods": ["GET"]}
    s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
    s3.put_object(Bucket=BUCKET, Key="x", Body=b"content")
    link = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "x"}))
    path = f"{link.path}?{link.query}"
    status, found, body = ask(running, "GET", path, origin="https://good.example")
    assert (status, body, found["access-control-allow-origin"]) == (200, b"content", "https://good.example")
    assert "access-control-allow-origin" not in ask(running, "GET", path, origin=SITE)[1]
    preflight = {"access_control_request_method": "GET"}
    assert ask(running, "OPTIONS", f"/{BUCKET}/x", origin="https://good.example", **preflight)[0] == 200
    assert ask(running, "OPTIONS", f"/{BUCKET}/x", origin=SITE, **preflight)[0] == 403
    assert ask(running, "GET", f"/{BUCKET}/x?Action=ListUsers&Version=2010-05-08", origin=SITE)[0] == 403
    assert ask(running, "POST", f"/{BUCKET}/x", b"Action=ListUsers", origin=SITE)[0] == 403


def test_link_to_the_code_works_as_presigned(running: emulator.Running) -> None:
    """GetFunction's link works without a signature in a header, for this function only, and not once it is altered."""
    function = Function(running, "downloaded", "handler = lambda event, context: 1")
    link = function.aws.get_function(FunctionName="downloaded")["Code"]["Location"]
    with urllib.request.urlopen(link, timeout=30) as answer:
        assert answer.read(2) == b"PK"
    plain, _, query = link.partition("?")
    late = re.sub(r"Expires=\d+", f"Expires={int(time.time()) + 9999}", link)
    for wrong in (plain, f"{plain}?X-Amz-Signature=x", link[:-1], late, f"{plain}x?{query}"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong, timeout=30)


def test_function_url_is_served_by_its_own_name(running: emulator.Running) -> None:
    """The name that AWS gives to it is no stranger's, and what the function answers to pages is the function's own."""
    code = 'def handler(event, context):\n    return {"statusCode": 200, "headers": {"x-asked": "yes"}, "body": "1"}\n'
    function = Function(running, "by-name", code)
    url = function.aws.create_function_url_config(FunctionName="by-name", AuthType="AWS_IAM")["FunctionUrl"]
    assert get_by_url(running, url) == (200, b"1")


def test_link_ends() -> None:
    """A link to code is good until the time that it names, which is signed."""
    path, now = f"{DOWNLOADS[0]}code", int(time.time())

    def opens(expires: int, signed: int) -> bool:
        query = f"Expires={expires}&Signature={_signature(b'key', path, str(signed))}"
        return _presigned({"method": "GET", "path": path, "query_string": query.encode()}, b"key")

    assert opens(now + 60, now + 60)
    assert not opens(now - 1, now - 1)
    assert not opens(now + 60, now - 1)
