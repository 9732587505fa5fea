"""Functions and objects on the embedded AWS: what it must do as AWS does, one test per mended gap."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import os
import shutil

import pytest
from emulated import PYTHON, Function, client, code_of, package

from pipeline import embedded

# -- functions


def test_function_sees_its_own_package_only(running: embedded.Running) -> None:
    """Neither the server's packages nor the developer's are importable; the standard library is."""
    code = """
import importlib.util, sys
def handler(event, context):
    found = [n for n in ("ministack", "botocore", "yaml", "pip", "json", "main") if importlib.util.find_spec(n)]
    return [found, "%d.%d" % sys.version_info[:2]]
"""
    assert Function(running, "alone", code).call()["body"] == [["json", "main"], PYTHON.removeprefix("python")]


def test_missing_dependency_is_an_import_error(running: embedded.Running) -> None:
    """A module that can't be imported is reported as Lambda does, by name."""
    answer = Function(running, "lacking", "import not_there\ndef handler(e, c): pass").call()
    assert answer["fault"] == "Unhandled"
    assert answer["body"]["errorType"] == "Runtime.ImportModuleError"
    assert answer["body"]["errorMessage"] == "Unable to import module 'main': No module named 'not_there'"


def test_handlers_exception_is_reported_with_its_type(running: embedded.Running) -> None:
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


def test_handler_that_never_answers_times_out(running: embedded.Running) -> None:
    """After the function's timeout the call ends, as Lambda ends it."""
    answer = Function(running, "sleeping", "import time\ndef handler(e, c): time.sleep(30)", Timeout=1).call()
    assert answer["fault"] == "Unhandled"
    assert "Task timed out after 1.00 seconds" in answer["body"]["errorMessage"]


def test_process_that_ends_is_reported(running: embedded.Running) -> None:
    """A handler that takes its process down is a fault of that call, not of the server."""
    function = Function(running, "ending", "import os\ndef handler(event, context): os._exit(3) if event else None\n")
    assert function.call(1)["body"]["errorType"] == "Runtime.ExitError"
    assert function.call(0)["fault"] is None


@pytest.mark.skipif(bool(shutil.which("python3.8")) and not shutil.which("pyenv"), reason="there is a python3.8 here")
def test_missing_interpreter_is_named(running: embedded.Running) -> None:
    """A runtime that this machine has no interpreter for says so."""
    answer = Function(running, "elsewhere", "handler = None", Runtime="python3.8").call()
    assert answer["fault"] == "Unhandled"
    assert answer["body"] == {
        "errorType": "Runtime.InvalidRuntime",
        "errorMessage": "the embedded AWS has no interpreter for python3.8",
    }


def test_log_is_complete_and_each_calls_own(running: embedded.Running) -> None:
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


def test_version_and_alias_are_told_to_the_function(running: embedded.Running) -> None:
    """The context names the version that runs and the alias that was asked for."""
    code = "def handler(event, context): return [context.function_version, context.invoked_function_arn.split(':')[-1]]"
    function = Function(running, "versioned", code)
    function.aws.publish_version(FunctionName="versioned")
    function.aws.create_alias(FunctionName="versioned", Name="live", FunctionVersion="1")
    assert function.call(Qualifier="live")["body"] == ["1", "live"]
    assert function.call()["body"][0] == "$LATEST"


def test_many_calls_at_once_wait_instead_of_failing(running: embedded.Running) -> None:
    """More calls than processes are answered, in turn, by no more processes than the cap."""
    code = "import os, time\ndef handler(event, context):\n    time.sleep(0.05)\n    return os.getpid()"
    function = Function(running, "busy", code)
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: function.call(), range(60)))
    assert {answer["fault"] for answer in answers} == {None}
    assert 1 < len({answer["body"] for answer in answers}) <= 2 * (os.cpu_count() or 1)


def test_package_is_unpacked_once_and_read_only(running: embedded.Running) -> None:
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


# -- updates


def test_dry_run_changes_nothing(running: embedded.Running) -> None:
    """``DryRun`` validates new code and leaves the old in place."""
    function = Function(running, "trial", "handler = lambda event, context: 'old'")
    new = package("handler = lambda event, context: 'new'")
    said = function.aws.update_function_code(FunctionName="trial", ZipFile=new, DryRun=True)
    assert said["CodeSha256"] == base64.b64encode(hashlib.sha256(new).digest()).decode()
    assert function.call()["body"] == "old"


def test_updates_exclude_each_other(running: embedded.Running) -> None:
    """During an update, another update and a publication are refused with ResourceConflictException."""
    function = Function(running, "conflict", "handler = lambda event, context: 1")
    aws = function.aws
    aws.update_function_configuration(FunctionName="conflict", MemorySize=256)
    for call in (
        lambda: aws.update_function_configuration(FunctionName="conflict", MemorySize=512),
        lambda: aws.update_function_code(FunctionName="conflict", ZipFile=package("x = 1")),
        lambda: aws.publish_version(FunctionName="conflict"),
    ):
        assert code_of(call) == "ResourceConflictException"
    function.settle()
    assert aws.publish_version(FunctionName="conflict")["Version"] == "1"


def test_publication_of_something_else_is_refused(running: embedded.Running) -> None:
    """A digest or revision that is not the current one's publishes nothing."""
    function = Function(running, "publish", "handler = lambda event, context: 1")
    aws = function.aws
    assert (
        code_of(lambda: aws.publish_version(FunctionName="publish", CodeSha256="x")) == "InvalidParameterValueException"
    )
    wrong = {"FunctionName": "publish", "RevisionId": "00000000-0000-0000-0000-000000000000"}
    assert code_of(lambda: aws.publish_version(**wrong)) == "PreconditionFailedException"
    assert len(aws.list_versions_by_function(FunctionName="publish")["Versions"]) == 1


# -- what the ledger and the store stand on


def test_s3_keeps_conditions_and_checksums(running: embedded.Running) -> None:
    """Conditional writes and deletes hold, and bytes that don't match their checksum are refused."""
    s3 = client(running, "s3")
    s3.create_bucket(Bucket="conditions", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    put = {"Bucket": "conditions", "Key": "k"}
    tag = s3.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code_of(lambda: s3.put_object(**put, Body=b"2", IfNoneMatch="*")) == "PreconditionFailed"
    new = s3.put_object(**put, Body=b"3", IfMatch=tag)["ETag"]
    assert code_of(lambda: s3.put_object(**put, Body=b"4", IfMatch=tag)) == "PreconditionFailed"
    assert code_of(lambda: s3.delete_object(**put, IfMatch=tag)) == "PreconditionFailed"
    assert s3.get_object(**put)["Body"].read() == b"3"
    s3.delete_object(**put, IfMatch=new)
    checksum = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert code_of(lambda: s3.put_object(**put, Body=b"5", ChecksumSHA256=checksum)) in ("BadDigest", "InvalidRequest")
