"""``invoke serve`` and ``invoke shell``: the working tree on this machine, as its target would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import podded
import pytest
from test_front import ask
from tiny import Tiny

from ml_delivery.waiting import wait

HANDLER = """\
import json, os, pathlib, time

def handler(event, context):
    path = event["rawPath"]
    print("asked for", path, flush=True)
    if path == "/slow":
        time.sleep(60)
    if path == "/large":
        return {"statusCode": 200, "body": "x" * (6 * 1024 * 1024 + 1)}
    if path == "/raise":
        raise ValueError("as asked")
    if path == "/plain":
        return {"any": "document"}
    if path == "/exit":
        os._exit(3)
    body = {"note": "first", "pid": os.getpid(), "level": os.environ["LOG_LEVEL"], "event": event}
    body["left"] = context.get_remaining_time_in_millis()
    body["model"] = pathlib.Path("model.lock").read_text()
    cookies = ["a=1", "b=2"]
    return {"statusCode": 201, "headers": {"X-One": "1"}, "cookies": cookies, "body": json.dumps(body)}
"""


@contextmanager
def serving(tiny: Tiny, *words: str) -> Iterator[tuple[str, subprocess.Popen[str], list[str]]]:
    """``invoke serve``: its address, its process, and what it printed so far."""
    process = subprocess.Popen(
        tiny.command("serve", "--port", "0", *words),
        cwd=tiny.root,
        env=tiny.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed: list[str] = []
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first.startswith("http://127.0.0.1:"), first + process.stdout.read()
        reader = threading.Thread(target=lambda: printed.extend(process.stdout or []))
        reader.start()
        yield first.split()[0], process, printed
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        reader.join(10)


@pytest.fixture
def local(tiny: Tiny) -> Tiny:
    """A tiny service that serves requests in every way."""
    tiny.write("src/service/handler.py", HANDLER)
    return tiny


def test_working_tree_is_served_as_by_an_address(local: Tiny) -> None:
    """Method, query, headers, cookies and bodies arrive; status, headers and cookies come back; nothing is committed."""
    with serving(local) as (url, process, printed):
        status, body, headers = ask(
            f"{url}a%20b?c=d&e", "POST", b'{"x": 1}', Content_Type="application/json", Cookie="k=v; l=w"
        )
        said = json.loads(body)
        event = said["event"]
        assert (status, headers["X-One"], headers.get_all("Set-Cookie")) == (201, "1", ["a=1", "b=2"])
        assert (event["rawPath"], event["rawQueryString"], event["cookies"]) == ("/a%20b", "c=d&e", ["k=v", "l=w"])
        assert (event["requestContext"]["http"]["method"], event["body"]) == ("POST", '{"x": 1}')
        forwarded = [event["headers"][f"x-forwarded-{name}"] for name in ("for", "port", "proto")]
        assert forwarded == ["127.0.0.1", url.rsplit(":", 1)[1].strip("/"), "http"]
        assert (said["level"], 0 < said["left"] <= 3000) == ("INFO", True)
        assert "[primary]" in said["model"]
        binary = json.loads(ask(url, "PUT", b"\xff", Content_Type="image/png")[1])["event"]
        assert (binary["isBase64Encoded"], binary["body"]) == (True, "/w==")
        assert ask(f"{url}plain")[:2] == (200, b'{"any": "document"}')
        assert ask(url, "HEAD")[:2] == (201, b"")
        assert ask(f"{url}raise")[0] == 502
    assert process.returncode == 0
    assert "ValueError: as asked\n" in printed
    assert printed[-1] == "ended\n"


def test_limits_are_those_of_the_target(local: Tiny) -> None:
    """A request that takes too long ends its process; bodies that Lambda would refuse are refused; then it serves on."""
    local.replace("pipeline.toml", "timeout = 3", "timeout = 1")
    with serving(local) as (url, _, printed):
        first = json.loads(ask(url)[1])["pid"]
        assert ask(f"{url}large")[0] == 413
        assert ask(url, "POST", b"x" * (6 * 1024 * 1024 + 1))[0] == 413
        assert json.loads(ask(url)[1])["pid"] == first
        began = time.monotonic()
        assert ask(f"{url}slow")[0] == 502
        assert time.monotonic() - began < 5
        assert json.loads(ask(url)[1])["pid"] != first
    assert "Task timed out after 1.00 seconds\n" in printed
    assert "! the service ended with exit code 75; starting anew\n" in printed


def test_change_is_served_and_a_broken_one_is_shown(local: Tiny) -> None:
    """Code, models and settings are read anew; what can't start is reported, and corrected by the next change."""

    def until(what: str) -> None:
        end = time.monotonic() + 30
        while what not in (said := ask(url)[1].decode()):
            assert time.monotonic() < end, said
            time.sleep(0.1)

    with serving(local) as (url, _, printed):
        until('"note": "first"')
        local.replace("src/service/handler.py", '"first"', '"second"')
        until('"note": "second"')
        local.replace("pipeline.toml", '"INFO"', '"DEBUG"')
        until('"level": "DEBUG"')
        local.replace("src/service/handler.py", "import json", "import nonsense, json")
        until("Internal Server Error")
        local.replace("src/service/handler.py", "import nonsense, json", "import json")
        until('"note": "second"')
        promoted = (local.root / "model.lock").read_text()
        local.write("model.lock", promoted.replace("sha256:", "sha256:0"))
        time.sleep(2)  # nothing serves
        local.write("model.lock", promoted)
        until('"note": "second"')
    text = "".join(printed)
    assert "ModuleNotFoundError: No module named 'nonsense'" in text
    assert "src/service/handler.py was changed; starting anew\n" in text
    assert "is not the model that model.lock names" in text
    assert "waiting for a change\n" in text


def test_nothing_is_left_behind(local: Tiny) -> None:
    """When the command is killed, what it started ends."""
    with serving(local) as (url, process, _):
        started = json.loads(ask(url)[1])["pid"]
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while Path(f"/proc/{started}").exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert not Path(f"/proc/{started}").exists()


def test_port_in_use_is_refused(local: Tiny) -> None:
    """With the option that takes another one."""
    with serving(local) as (url, _, _):
        port = url.rsplit(":", 1)[1].strip("/")
        refused = local.invoke("serve", "--port", port, code=1)
    assert f"{port}: Address already in use; write another one" in refused


def test_shell_is_the_services_python(local: Tiny) -> None:
    """Its packages, its variables, its models and its folder; with --branch also access to the environment's cloud."""
    code = "import os, sys, service; print(os.environ['LOG_LEVEL'], sys.prefix, os.path.exists('model.lock'), "
    code += "'AWS_ENDPOINT_URL' in os.environ)"
    assert local.invoke("shell", "--command", code) == f"INFO {local.root / '.pipeline/envs/serve'} True False\n"
    assert local.invoke("shell", "--branch", "main", "--command", code).endswith(" True True\n")
    local.invoke("shell", "--command", "raise SystemExit(7)", code=7)
    words = {"cwd": local.root, "env": local.environment, "text": True, "capture_output": True, "check": True}
    typed = subprocess.run(local.command("shell"), input="print(1 + 1)\n", **words)  # type: ignore[call-overload]
    assert typed.stdout == "2\n"


WSGI = """\
import json, os

def create_app():
    return answer

def answer(environ, start_response):
    asked = {name: environ.get(name, "") for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_ONE")}
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    start_response("201 Created", [("Content-Type", "application/json"), ("X-Two", "2")])
    return [json.dumps({"note": "first", "level": os.environ["LOG_LEVEL"], "body": body, **asked}).encode()]
"""


@pytest.fixture(params=["eks", "sagemaker"])
def application(tiny: Tiny, request: pytest.FixtureRequest) -> Tiny:
    """A tiny service that gunicorn serves."""
    if request.param == "eks":
        podded.served(tiny, "eks", WSGI, "serving.py", "Dockerfile", podded.SETTINGS)
    else:
        podded.served(tiny, "sagemaker", WSGI, "invocations.py", "Dockerfile.sagemaker", "")
    return tiny


def test_application_is_served_by_gunicorn(application: Tiny) -> None:
    """As in its container: requests arrive whole, many at a time; as an endpoint, those inside of SageMaker's; changes count."""
    with serving(application) as (url, process, printed):
        status, body, headers = ask(f"{url}a%20b?c=d", "POST", b'{"x": 1}', X_One="1")
        said = json.loads(body)
        assert (status, headers["X-Two"], said["body"], said["level"]) == (201, "2", '{"x": 1}', "INFO")
        assert [said[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_X_ONE")] == [
            *("POST", "/a b", "c=d", "1")
        ]
        meant = json.loads(
            ask(f"{url}invocations", "POST", b"", X_Amzn_SageMaker_Custom_Attributes="GET /v1/predict?kilometres=3")[1]
        )
        assert meant["PATH_INFO"] == (
            "/v1/predict" if "sagemaker" in application.config.service.target else "/invocations"
        )
        ping = json.loads(ask(f"{url}ping")[1])["PATH_INFO"]
        assert ping == ("/readyz" if "sagemaker" in application.config.service.target else "/ping")
        application.replace("src/service/app.py", "    return answer\n", "    raise ValueError('no such luck')\n")
        wait(lambda: any("ValueError: no such luck" in line for line in printed) or None, what="the fault", seconds=20)
        application.write("src/service/app.py", WSGI.replace("first", "second"))
        assert json.loads(ask(url)[1])["note"] == "second"
        started = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert process.returncode == 0
    assert len(started) == 1
    wait(lambda: None if Path(f"/proc/{started[0]}").exists() else True, what="the server's end", seconds=20)
    assert sum("ValueError: no such luck" in line for line in printed) == 1


def test_gunicorn_ends_with_the_command(application: Tiny) -> None:
    """When the command is killed, neither gunicorn nor its worker is left."""
    with serving(application) as (url, process, _):
        ask(url)
        (master,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        process.kill()
        process.wait()
        try:
            for left in (master, worker):
                wait(
                    lambda left=left: None if Path(f"/proc/{left}").exists() else True,
                    what=f"the end of {left}",
                    seconds=20,
                )
        finally:  # what is left holds the pipe that this process reads to its end
            for left in (master, worker):
                with suppress(ProcessLookupError):
                    os.kill(int(left), signal.SIGKILL)


def test_application_without_gunicorn_is_named(application: Tiny) -> None:
    """What the lockfile lacks is said with what to do, once."""
    application.write("requirements/serve.txt", "# nothing\n")
    with serving(application) as (_, _, printed):
        wait(lambda: any("✗" in line for line in printed) or None, what="the message", seconds=20)
        time.sleep(1)  # three further looks at the files, in which it must not be said again
    assert [line for line in printed if "✗" in line] == [
        "✗ No module named 'gunicorn': declare gunicorn in pyproject.toml, then nox -s lock\n"
    ]


def test_target_that_can_not_be_served_is_refused(local: Tiny) -> None:
    """A target of the user's own needs not serve on this machine."""
    own = "from ml_delivery.targets.lambda_zip import LambdaZip\n\n\nclass Own(LambdaZip):\n"
    local.write("own.py", f"{own}    def serving(self, environment):\n        return ()\n")
    local.replace("pipeline.toml", 'target = "lambda-zip"', 'target = "own:Own"')
    assert "own:Own can't be served on this machine" in local.invoke("serve", "--port", "0", code=1)
    assert os.listdir(local.root / "src/service")
