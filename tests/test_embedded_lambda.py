"""Functions on the embedded AWS behave as on AWS: one test per gap of ministack that is closed."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from emulated import PYTHON, Function, client, code_of, package
from tiny import ROOT

from ml_delivery import emulator
from ml_delivery.waiting import wait

# -- functions


def test_function_sees_its_own_package_only(running: emulator.Running) -> None:
    """Neither the server's packages nor the developer's are importable; the standard library and AWS's SDK are."""
    code = """
import importlib.util, sys
def handler(event, context):
    found = [n for n in ("ministack", "botocore", "yaml", "pip", "json", "main") if importlib.util.find_spec(n)]
    return [found, "%d.%d" % sys.version_info[:2]]
"""
    assert Function(running, "alone", code).call()["body"] == [
        ["botocore", "json", "main"],
        PYTHON.removeprefix("python"),
    ]


@pytest.mark.contract(validated="never")
def test_missing_dependency_is_an_import_error(running: emulator.Running) -> None:
    """A module that can't be imported is reported as Lambda does, by name."""
    answer = Function(running, "lacking", "import not_there\ndef handler(e, c): pass").call()
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Runtime.ImportModuleError"
    assert answer["body"]["errorMessage"] == "Unable to import module 'main': No module named 'not_there'"


@pytest.mark.contract(validated="never")
def test_missing_handler_is_named(running: emulator.Running) -> None:
    """A module without the handler is reported as Lambda does."""
    answer = Function(running, "nameless", "def other(event, context): pass").call()
    assert answer["body"] == {
        "errorType": "Runtime.HandlerNotFound",
        "errorMessage": "Handler 'handler' missing on module 'main'",
    }


@pytest.mark.contract(validated="never")
def test_handlers_exception_is_reported_with_its_type(running: emulator.Running) -> None:
    """What a handler raises comes back with its type, message and stack, and is in the log."""
    function = Function(running, "raising", "def handler(event, context): raise KeyError('x')")
    answer = function.call()
    assert (answer["fault"], answer["body"]["errorType"], answer["body"]["errorMessage"]) == (
        "Unhandled",
        "KeyError",
        "'x'",
    )
    assert "Traceback" in answer["log"]
    assert function.call()["fault"] == "Unhandled"  # and the next call is a call like any other


@pytest.mark.contract(validated="never")
def test_handler_that_never_answers_times_out(running: emulator.Running) -> None:
    """After the function's timeout the call ends, as Lambda ends it."""
    answer = Function(running, "sleeping", "import time\ndef handler(e, c): time.sleep(30)", Timeout=1).call()
    assert answer["fault"] == "Unhandled"
    assert "Task timed out after 1.00 seconds" in answer["body"]["errorMessage"]


@pytest.mark.contract(validated="never")
def test_process_that_ends_is_reported(running: emulator.Running) -> None:
    """A handler that takes its process down is a fault of that call, not of the server."""
    function = Function(running, "ending", "import os\ndef handler(event, context): os._exit(3) if event else None\n")
    assert function.call(1)["body"]["errorType"] == "Runtime.ExitError"
    assert function.call(0)["fault"] is None


@pytest.mark.skipif(bool(shutil.which("python3.8")) and not shutil.which("pyenv"), reason="there is a python3.8 here")
def test_missing_interpreter_is_named(running: emulator.Running) -> None:
    """A runtime that this machine has no interpreter for says so."""
    answer = Function(running, "elsewhere", "handler = None", Runtime="python3.8").call()
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Runtime.InvalidRuntime"
    message, _, remedy = answer["body"]["errorMessage"].partition("\n")
    assert message.startswith(
        "the embedded AWS has no interpreter for python3.8: found no Python 3.8 that runs, on the PATH or by uv"
    )
    assert re.search(r"uv python install 3\.8|pyenv local \S+ 3\.8", remedy)


def test_log_is_complete_and_each_calls_own(running: emulator.Running) -> None:
    """What a call prints, to either stream, is in its log and in CloudWatch Logs; a silent call has none."""
    code = """
import sys
print("at import")
def handler(event, context):
    if event:
        print("out", event); print("err", event, file=sys.stderr)
        for i in range(200): print("line", i)
"""
    function = Function(running, "talking", code)
    first, silent, third = function.call("a"), function.call(), function.call("b")
    assert sorted(line for line in first["log"].splitlines() if "line" not in line) == ["at import", "err a", "out a"]
    assert first["log"].count("line") == 200
    assert silent["log"] == ""
    assert "out b" in third["log"]
    assert "out a" not in third["log"]
    events = client(running, "logs").filter_log_events(logGroupName="/aws/lambda/talking", limit=1000)["events"]
    messages = [event["message"] for event in events]
    assert "out a" in messages
    assert sum(message.startswith("REPORT") for message in messages) == 3


@pytest.mark.contract(validated="never")
def test_version_and_alias_are_visible_to_the_function(running: emulator.Running) -> None:
    """The context names the version that runs and the alias that was asked for."""
    code = "def handler(event, context): return [context.function_version, context.invoked_function_arn.split(':')[-1]]"
    function = Function(running, "versioned", code)
    function.aws.publish_version(FunctionName=function.name)
    function.aws.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    assert function.call(Qualifier="live")["body"] == ["1", "live"]
    assert function.call()["body"][0] == "$LATEST"


def test_many_calls_at_once_wait_instead_of_failing(running: emulator.Running) -> None:
    """More calls than processes are answered, in turn, by no more processes than the cap."""
    code = "import os, time\ndef handler(event, context):\n    time.sleep(0.05)\n    return os.getpid()"
    function = Function(running, "busy", code)
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: function.call(), range(60)))
    assert {answer["fault"] for answer in answers} == {None}
    assert 1 < len({answer["body"] for answer in answers}) <= 2 * (os.cpu_count() or 1)


def test_calls_that_wait_for_one_function_do_not_hold_up_another(running: emulator.Running, tmp_path: Path) -> None:
    """A process that becomes free is used, however many calls of other functions are waiting."""
    code = """
import os, pathlib, time
def handler(folder, context):
    pathlib.Path(folder, str(os.getpid())).touch()
    while not os.path.exists(folder + "/go"):
        time.sleep(0.02)
"""
    stuck = Function(running, "stuck", code, Timeout=60)
    quick = Function(running, "quick", "import time\ndef handler(event, context): time.sleep(0.1)")
    cap = 2 * (os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(6 * cap) as pool:
        others = [pool.submit(stuck.call, str(tmp_path)) for _ in range(4 * cap)]
        wait(lambda: len(list(tmp_path.iterdir())) >= cap or None, what="the processes that are stuck")
        done, late = concurrent.futures.wait([pool.submit(quick.call) for _ in range(2 * cap)], timeout=30)
        (tmp_path / "go").touch()
    assert not late
    assert {call.result()["fault"] for call in (*others, *done)} == {None}


def test_idle_processes_end(running: emulator.Running, tmp_path: Path) -> None:
    """No process stays for ever, not even the last one of a version."""
    code = """
import sys; sys.path.append(sys.argv[2])
import pathlib
from embedded_aws.aws_lambda import functions
from ministack.services import lambda_svc
functions.patch(pathlib.Path(sys.argv[1]))
config = {"Runtime": "python3.11", "FunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:f"}
worker, _ = lambda_svc.acquire_worker("f", config, b"")
assert lambda_svc.reap_idle_workers() == 0
lambda_svc.release_worker(worker)
assert lambda_svc.reap_idle_workers() == 1
"""
    python = Path(f"/proc/{running.pid}/cmdline").read_text().partition("\0")[0]
    environment = {**os.environ, "LAMBDA_WARM_TTL_SECONDS": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    words = [python, "-c", code, str(tmp_path), str(ROOT / "src")]
    subprocess.run(words, env=environment, check=True)


@pytest.mark.contract(validated="never")
def test_weighted_alias_splits_traffic(running: emulator.Running) -> None:
    """The additional version of an alias gets its share, and sees the alias; without weights it gets nothing."""
    code = "def handler(event, context): return [context.function_version, context.invoked_function_arn.split(':')[-1]]"
    function = Function(running, "weighted", code)
    aws = function.aws
    aws.publish_version(FunctionName=function.name)
    aws.update_function_configuration(FunctionName=function.name, MemorySize=256)
    function.settle()
    aws.publish_version(FunctionName=function.name)
    weights = {"AdditionalVersionWeights": {"2": 0.3}}
    aws.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1", RoutingConfig=weights)
    bodies = [function.call(Qualifier="live")["body"] for _ in range(200)]
    assert {alias for _, alias in bodies} == {"live"}
    assert 30 < sum(version == "2" for version, _ in bodies) < 95  # 60, and five standard deviations
    answer = aws.invoke(FunctionName=function.name, Qualifier="live")
    assert answer["ExecutedVersion"] == json.loads(answer["Payload"].read())[0]
    aws.update_alias(FunctionName=function.name, Name="live", RoutingConfig={"AdditionalVersionWeights": {}})
    assert {function.call(Qualifier="live")["body"][0] for _ in range(20)} == {"1"}


def test_package_is_unpacked_once_and_read_only(running: emulator.Running) -> None:
    """Processes of one package share one folder, whose files are not writable."""
    code = """
import os, stat, time
def handler(event, context):
    time.sleep(0.1)
    return [os.environ["LAMBDA_TASK_ROOT"], stat.S_IMODE(os.stat(__file__).st_mode)]
"""
    function = Function(running, "shared", code)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = {tuple(answer["body"]) for answer in pool.map(lambda _: function.call(), range(3))}
    assert len(found) == 1
    assert found.pop()[1] == 0o444


def test_modes_are_those_of_the_zip(running: emulator.Running) -> None:
    """A program needs 755 and every other file 644, as on Lambda and also under root; without modes every file can be read."""
    code = """
import os, subprocess, sys
def handler(event, context):
    found = {}
    for name in sorted(os.listdir(os.environ["LAMBDA_TASK_ROOT"])):
        try:
            if name.startswith("run"):
                found[name] = subprocess.run([os.path.abspath(name)], capture_output=True, text=True).stdout
            elif name.startswith("read"):
                found[name] = open(name).read()
        except OSError as error:
            found[name] = type(error).__name__
    try:
        open("new", "w")
    except OSError as error:
        found["new"] = type(error).__name__
    return found
"""
    files = [("run755", 0o100755, 3), ("run644", 0o100644, 3), ("read644", 0o100644, 3), ("read600", 0o100600, 3)]
    files += [("read000", 0, 3), ("read_windows", 0, 0)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode, system in [("main.py", 0o100644, 3), *files]:
            member = zipfile.ZipInfo(name)
            member.external_attr, member.create_system = mode << 16, system
            archive.writestr(member, {"main.py": code}.get(name, "#!/bin/sh\necho 42\n"))
    function = Function(running, "modes", "")
    function.aws.update_function_code(FunctionName="modes", ZipFile=buffer.getvalue())
    function.settle()
    text = "#!/bin/sh\necho 42\n"
    assert function.call()["body"] == {
        "new": "PermissionError",
        "read000": "PermissionError",
        "read600": "PermissionError",
        "read644": text,
        "read_windows": text,
        "run644": "PermissionError",
        "run755": "42\n",
    }


# -- updates


@pytest.mark.contract(validated="never")
def test_dry_run_changes_nothing(running: emulator.Running) -> None:
    """``DryRun`` validates new code and leaves the old in place."""
    function = Function(running, "trial", "handler = lambda event, context: 'old'")
    new = package("handler = lambda event, context: 'new'")
    answer = function.aws.update_function_code(FunctionName=function.name, ZipFile=new, DryRun=True)
    assert answer["CodeSha256"] == base64.b64encode(hashlib.sha256(new).digest()).decode()
    assert function.call()["body"] == "old"


@pytest.mark.contract(validated="never")
def test_updates_exclude_each_other(running: emulator.Running) -> None:
    """During an update, another update and a publication are refused with ResourceConflictException."""
    function = Function(running, "conflict", "handler = lambda event, context: 1")
    aws = function.aws
    aws.update_function_configuration(FunctionName=function.name, MemorySize=256)
    for call in (
        lambda: aws.update_function_configuration(FunctionName=function.name, MemorySize=512),
        lambda: aws.update_function_code(FunctionName=function.name, ZipFile=package("x = 1")),
        lambda: aws.publish_version(FunctionName=function.name),
    ):
        assert code_of(call) == "ResourceConflictException"
    function.settle()
    assert aws.publish_version(FunctionName=function.name)["Version"] == "1"


@pytest.mark.contract(validated="never")
def test_publication_of_something_else_is_refused(running: emulator.Running) -> None:
    """A digest or revision that is not the current one's publishes nothing."""
    function = Function(running, "publish", "handler = lambda event, context: 1")
    aws = function.aws
    assert (
        code_of(lambda: aws.publish_version(FunctionName=function.name, CodeSha256="x"))
        == "InvalidParameterValueException"
    )
    wrong = {"FunctionName": function.name, "RevisionId": "00000000-0000-0000-0000-000000000000"}
    assert code_of(lambda: aws.publish_version(**wrong)) == "PreconditionFailedException"
    assert len(aws.list_versions_by_function(FunctionName=function.name)["Versions"]) == 1
