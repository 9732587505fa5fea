"""Contracts of Lambda's calls: what happens to a function that runs."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from contract import Account, Function, contract, refused

MEGABYTE = 1024 * 1024
OTHER = {"x86_64": ("arm64", 183), "aarch64": ("x86_64", 62)}[platform.machine()]


@contract("lambda.request-size", runs=True)
def request_size(at: Account) -> None:
    """A request of 6 MB is accepted, a larger one refused."""
    made = Function(at, "def handler(event, context): return len(event)", MemorySize=512)
    assert made.call("x" * (6 * MEGABYTE - 2))["body"] == 6 * MEGABYTE - 2
    refused(lambda: made.call("x" * (6 * MEGABYTE + 200)), "RequestTooLargeException", "RequestEntityTooLargeException")


@contract("lambda.answer-size", runs=True)
def answer_size(at: Account) -> None:
    """An answer of 6 MB arrives, a larger one is an error of the function."""
    made = Function(at, "def handler(event, context): return 'x' * event", MemorySize=512)
    assert made.call(6 * MEGABYTE - 2)["fault"] is None
    answer = made.call(6 * MEGABYTE + 200)
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert "exceeded maximum allowed payload size" in answer["body"]["errorMessage"]


@contract("lambda.asynchronous-size")
def asynchronous_size(at: Account) -> None:
    """An event of 1 MB is accepted, a larger one refused."""
    invoke, name = at.client("lambda").invoke, at.plain.name
    invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps("x" * (MEGABYTE - 2)))
    refused(
        lambda: invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps("x" * MEGABYTE)),
        "RequestTooLargeException",
        "RequestEntityTooLargeException",
    )


@contract("lambda.payload-json")
def payload_json(at: Account) -> None:
    """A payload that is not JSON is refused."""
    invoke, name = at.client("lambda").invoke, at.plain.name
    for text in (b"{", b"{'a': 1}", b"\xff"):
        refused(lambda text=text: invoke(FunctionName=name, Payload=text), "InvalidRequestContentException")  # type: ignore[misc]


@contract("lambda.initialization", runs=True)
def initialization(at: Account) -> None:
    """Initialization is cut after 10 s and repeated within the function's timeout, which then ends the call."""
    made = Function(at, "import time; time.sleep(14)\ndef handler(event, context): return 1", Timeout=3)
    began = time.monotonic()
    answer = made.call()
    assert 12 < time.monotonic() - began < 25
    assert answer["fault"] == "Unhandled"
    assert "Task timed out after 3.00 seconds" in answer["body"]["errorMessage"]
    made.update(Timeout=40)
    assert made.call()["body"] == 1


@contract("lambda.memory", runs=True)
def memory(at: Account) -> None:
    """A function that needs more than its memory is killed; the same with enough memory is not."""
    code = "def handler(megabytes, context): return len(bytes(range(256)) * (4096 * megabytes))"
    made = Function(at, code, MemorySize=128, Timeout=30)
    assert made.call(32)["fault"] is None
    answer = made.call(400)
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Runtime.ExitError"
    assert "signal: killed" in answer["body"]["errorMessage"]
    made.update(MemorySize=1024)
    assert made.call(400)["body"] == 400 * MEGABYTE


@contract("lambda.memory-children", runs=True)
def memory_children(at: Account) -> None:
    """What the function's own child processes hold counts."""
    code = """
import subprocess, sys
CHILD = "import time; held = bytes(range(256)) * (4096 * 300); time.sleep(3)"
def handler(event, context): return subprocess.run([sys.executable, "-c", CHILD]).returncode
"""
    answer = Function(at, code, MemorySize=128, Timeout=30).call()
    assert answer["fault"] == "Unhandled" or answer["body"] != 0  # Lambda kills the function or the child


@contract("lambda.files", runs=True)
def files(at: Account) -> None:
    """1,024 files are open at most."""
    code = """
import os
def handler(event, context):
    opened = []
    try:
        while len(opened) < 2000:
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return [len(opened), error.errno]
    finally:
        for one in opened:
            os.close(one)
    return [len(opened), 0]
"""
    opened, number = Function(at, code).call()["body"]
    assert 900 < opened < 1024
    assert number == 24  # EMFILE


@contract("lambda.read-only", runs=True)
def read_only(at: Account) -> None:
    """Files are written to /tmp only, by the function and by what it starts."""
    code = """
import os, subprocess, sys, tempfile
def handler(event, context):
    found = []
    for place in (os.environ["LAMBDA_TASK_ROOT"], "/var", "/opt", os.path.expanduser("~"), "."):
        try:
            open(os.path.join(place, "contract"), "w").close()
            found.append(place)
        except OSError:
            pass
    child = subprocess.run([sys.executable, "-c", "open('/var/contract', 'w')"], capture_output=True)
    with tempfile.NamedTemporaryFile("w") as file:
        return [found, child.returncode, file.name.startswith("/tmp/")]
"""
    assert Function(at, code, Timeout=15).call()["body"] == [[], 1, True]


@contract("lambda.report", runs=True)
def report(at: Account) -> None:
    """The first call's REPORT has the time of the initialization, which is not part of the duration; the second's has not."""
    made = Function(at, "import time; time.sleep(1)\ndef handler(event, context): return 1", Timeout=15)
    made.call()
    made.call()
    logs, group = at.client("logs"), f"/aws/lambda/{made.name}"
    at.undo.append(lambda: logs.delete_log_group(logGroupName=group))
    end, lines = time.monotonic() + 60, []
    while len(lines) < 2 and time.monotonic() < end:
        events = logs.filter_log_events(logGroupName=group, filterPattern="REPORT")["events"]
        lines = [event["message"] for event in events if event["message"].startswith("REPORT")]
        time.sleep(0.5)
    init = [re.search(r"\tInit Duration: ([\d.]+) ms", line) for line in lines]
    assert [found is not None for found in init] in ([True, False], [False, True])
    cold = lines[0] if init[0] else lines[1]
    duration = re.search(r"\tDuration: ([\d.]+) ms", cold)
    assert duration is not None
    assert float(duration[1]) < 900
    assert next(float(found[1]) for found in init if found) > 1000
    assert re.search(r"\tMax Memory Used: [1-9]\d* MB", cold)


@contract("lambda.logging", runs=True)
def logging(at: Account) -> None:
    """``logging.basicConfig`` has no effect, since the root logger has a handler; its level stays WARNING."""
    code = """
import logging
logging.basicConfig(level=logging.INFO, format="own %(message)s")
def handler(event, context):
    logging.info("quiet")
    logging.warning("heard")
    return [len(logging.getLogger().handlers), logging.getLogger().level]
"""
    answer = Function(at, code).call()
    assert answer["body"] == [1, 30]
    assert "own" not in answer["log"]
    assert "quiet" not in answer["log"]
    assert re.search(r"^\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z\t[0-9a-f-]{36}\theard$", answer["log"], re.M)


@contract("lambda.throttled", runs=True)
def throttled(at: Account) -> None:
    """A function that may not run at all is throttled."""
    made = Function(at, "def handler(event, context): return 1")
    made.aws.put_function_concurrency(FunctionName=made.name, ReservedConcurrentExecutions=0)
    refused(made.call, "TooManyRequestsException")


@contract("lambda.timed-out", runs=True)
def timed_out(at: Account) -> None:
    """A call ends after the function's timeout."""
    made = Function(at, "import time\ndef handler(event, context): time.sleep(30)", Timeout=1)
    assert "Task timed out after 1.00 seconds" in made.call()["body"]["errorMessage"]


@contract("lambda.answer-json", runs=True)
def answer_json(at: Account) -> None:
    """An answer that can't be written as JSON is an error of the function."""
    answer = Function(at, "def handler(event, context): return {1, 2}").call()
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Runtime.MarshalError"


@contract("lambda.architecture", runs=True, only=True)
def architecture(at: Account) -> None:
    """Native code for another architecture is named here; AWS has machines for it."""
    kind, number = OTHER
    library = b"\x7fELF" + bytes(14) + number.to_bytes(2, "little")
    plain = Function(at, "def handler(event, context): return 1", Architectures=[kind])
    assert plain.call()["body"] == 1
    made = Function(at, "def handler(event, context): return 1", {"own/fast.so": library}, Architectures=[kind])
    answer = made.call()
    assert answer["body"]["errorType"] == "Runtime.InvalidArchitecture"
    assert re.search(f"for {kind}, .* runs on .* which can't run own/fast.so", answer["body"]["errorMessage"])


@contract("lambda.url-request-size", runs=True)
def url_request_size(at: Account) -> None:
    """A request of more than 6 MB to a Function URL is refused."""
    made = Function(at, "def handler(event, context): return len(event['body'])", MemorySize=512)
    url = made.aws.create_function_url_config(FunctionName=made.name, AuthType="AWS_IAM")["FunctionUrl"]
    time.sleep(0 if at.endpoint else 5)
    credentials = made.aws._request_signer._credentials
    for size, status in ((1000, 200), (6 * MEGABYTE + 200, 413)):
        signed = AWSRequest("POST", url, data=b"x" * size, headers={"Content-Type": "text/plain"})
        SigV4Auth(credentials, "lambda", at.region).add_auth(signed)
        names = {**dict(signed.headers.items()), "Host": url.split("/")[2]}
        assert answered(urllib.request.Request(at.endpoint or url, data=b"x" * size, headers=names)) == status


def answered(request: urllib.request.Request) -> int:
    """The status of the answer."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contract("lambda.image-size", only=True)
def image_size(at: Account) -> None:
    """An image of more than 10 GB is refused; here by the sizes in its manifest, which AWS checks when it is pushed."""
    ecr, name, config = at.client("ecr"), at.name(), b'{"architecture": "amd64", "config": {}}'
    uri = ecr.create_repository(repositoryName=name)["repository"]["repositoryUri"]
    at.undo.append(lambda: ecr.delete_repository(repositoryName=name, force=True))
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"

    def registry(method: str, path: str, data: bytes = b"") -> str:
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{at.endpoint}{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return urllib.parse.urlsplit(answer.headers.get("Location", "")).path

    registry("PUT", f"{registry('POST', f'/v2/{name}/blobs/uploads/')}?digest={digest}", config)
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    create = at.client("lambda").create_function
    for size, refusal in ((11 * 2**30, True), (9 * 2**30, False)):
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": len(config),
                "digest": digest,
            },
            "layers": [{"mediaType": kind, "size": size, "digest": digest}],
        }
        ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=str(size))
        function = {
            "FunctionName": name,
            "Role": at.role,
            "PackageType": "Image",
            "Code": {"ImageUri": f"{uri}:{size}"},
        }
        if refusal:
            assert "exceeds limit" in refused(
                lambda function=function: create(**function), "InvalidParameterValueException"
            )  # type: ignore[misc]
        else:
            create(**function)
            at.undo.append(lambda: at.client("lambda").delete_function(FunctionName=name))
