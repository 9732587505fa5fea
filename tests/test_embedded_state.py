"""The emulator's state: it outlives stops and kills, is its owner's alone, and is lost at a reset."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from emulated import Function, client, package

from embedded_aws.server import saving
from ml_delivery import emulator
from ml_delivery.errors import SetupError
from ml_delivery.waiting import wait


def test_state_outlives_stop_and_kill(alone: Path) -> None:
    """State is kept after a stop, without a notice, and after kill -9, with a notice that some may be lost."""
    running = emulator.up(alone)
    function = Function(running, "kept", "handler = lambda event, context: 1")
    client(running, "s3").create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    emulator.down(alone)
    running = emulator.up(alone)
    assert running.notice == ""
    function.aws = client(running, "lambda")
    function.aws.publish_version(FunctionName="kept")
    time.sleep(2.5)  # more than the pause before a save, and no other sign of it
    os.kill(running.pid, signal.SIGKILL)
    wait(lambda: None if emulator.status(alone).running else True, what="the end")
    assert "may be lost" in emulator.status(alone).notice
    running = emulator.up(alone)
    assert "ended without saving" in running.notice
    versions = client(running, "lambda").list_versions_by_function(FunctionName="kept")["Versions"]
    assert [v["Version"] for v in versions] == ["$LATEST", "1"]
    assert client(running, "s3").list_buckets()["Buckets"][0]["Name"] == "kept"


def test_change_that_was_acknowledged_outlives_a_kill(alone: Path) -> None:
    """kill -9 right after the response: the version, the alias and its weights are there, and so is their code."""
    running = emulator.up(alone)
    function = Function(running, "held", "handler = lambda event, context: 0")
    function.aws.publish_version(FunctionName="held")
    function.aws.create_alias(FunctionName="held", Name="live", FunctionVersion="1")
    for number in range(1, 4):
        function.aws.update_function_code(
            FunctionName="held", ZipFile=package(f"handler = lambda event, context: {number}")
        )
        function.settle()
        function.aws.publish_version(FunctionName="held")
        split = {"AdditionalVersionWeights": {str(number + 1): 0.5}}
        function.aws.update_alias(FunctionName="held", Name="live", FunctionVersion=str(number), RoutingConfig=split)
        if number > 1:
            function.aws.delete_function(FunctionName="held", Qualifier=str(number - 1))
        os.kill(running.pid, signal.SIGKILL)
        wait(lambda: None if emulator.status(alone).running else True, what="the end")
        running = emulator.up(alone)
        function.aws = client(running, "lambda")
        alias = function.aws.get_alias(FunctionName="held", Name="live")
        assert (alias["FunctionVersion"], alias["RoutingConfig"]) == (str(number), split)
        there = [one["Version"] for one in function.aws.list_versions_by_function(FunctionName="held")["Versions"]]
        assert there == ["$LATEST", str(number), str(number + 1)]
        assert function.call(Qualifier=str(number + 1))["body"] == number


def test_object_that_a_kill_tore_is_whole_again(alone: Path) -> None:
    """A new body with the previous description, as a kill between the two writes leaves it, is read as it is."""
    running = emulator.up(alone)
    s3 = client(running, "s3")
    s3.create_bucket(Bucket="torn", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_versioning(Bucket="torn", VersioningConfiguration={"Status": "Enabled"})
    for key in ("head.json", "other.json"):
        s3.put_object(Bucket="torn", Key=key, Body=b"first", ChecksumAlgorithm="SHA256")
        s3.put_object(Bucket="torn", Key=key, Body=b"second")
    emulator.down(alone)
    (body,) = (alone / ".pipeline/cloud/s3").glob("*/torn/head.json")
    body.write_bytes(b"third, which is longer")
    body.with_name("new.json").write_bytes(b"what was being pushed")
    s3 = client(emulator.up(alone), "s3")
    found = s3.get_object(Bucket="torn", Key="head.json")
    assert found["Body"].read() == b"third, which is longer"
    assert found["ETag"] == f'"{hashlib.md5(b"third, which is longer").hexdigest()}"'
    assert s3.get_object(Bucket="torn", Key="other.json")["Body"].read() == b"second"
    first = s3.list_object_versions(Bucket="torn", Prefix="other.json")["Versions"][-1]["VersionId"]
    assert s3.get_object(Bucket="torn", Key="other.json", VersionId=first)["Body"].read() == b"first"
    s3.put_object(Bucket="torn", Key="new.json", Body=b"pushed again", IfNoneMatch="*", ChecksumAlgorithm="SHA256")
    assert s3.get_object(Bucket="torn", Key="new.json", ChecksumMode="ENABLED")["ChecksumSHA256"]
    s3.put_object(Bucket="torn", Key="head.json", Body=b"fourth", IfMatch=found["ETag"])  # the next compare-and-swap
    assert s3.get_object(Bucket="torn", Key="head.json")["Body"].read() == b"fourth"


@pytest.mark.parametrize("text", ["", '{"payload": {"a', "\0\0\0\0"])
def test_state_that_cannot_be_read_is_named(alone: Path, text: str) -> None:
    """It is not dropped silently: the file and the command that starts afresh are named."""
    emulator.up(alone)
    emulator.down(alone)
    (alone / ".pipeline/cloud/state/lambda.json").write_text(text)
    with pytest.raises(SetupError, match=r"state can't be read: .*state/lambda\.json") as fault:
        emulator.up(alone)
    assert fault.value.next.startswith("invoke cloud.reset, which deletes everything")
    emulator.reset(alone)
    assert emulator.up(alone).pid


def test_key_is_good_after_an_end_before_the_first_save(alone: Path) -> None:
    """The key that a start gives is one that the server knows, even when the user it was made for is lost."""
    os.kill(emulator.up(alone).pid, signal.SIGKILL)
    wait(lambda: None if emulator.status(alone).running else True, what="the end")
    users = client(emulator.up(alone), "iam").list_users()["Users"]
    assert [user["UserName"] for user in users] == ["developer"]


def test_save_stands_still_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while it is saved is saved as it was; a save that hangs is ended, and the server goes on."""
    state, begun, saved = ["before"], tmp_path / "begun", tmp_path / "saved"

    def slowly() -> None:
        begun.touch()
        time.sleep(0.3)
        saved.write_text(state[0])

    def change() -> None:
        wait(lambda: begun.exists() or None, what="the save to begin", seconds=5)
        state[0] = "after"

    changing = threading.Thread(target=change)
    changing.start()
    saving.in_a_copy(slowly)
    changing.join()
    assert (state, saved.read_text()) == (["after"], "before")
    monkeypatch.setattr(saving, "LONGEST", 0.1)
    saving.in_a_copy(lambda: time.sleep(60))


def test_quick_dump_is_that_of_json() -> None:
    """Options and values that only ``default`` can write, too."""
    content, quick, slow = {"é": [1.5, None, True], "set": {2}}, io.StringIO(), io.StringIO()
    saving.dump(content, quick, default=sorted)
    json.dump(content, slow, default=sorted)
    assert quick.getvalue() == slow.getvalue()


def test_update_that_was_under_way_is_done_after_a_restart(alone: Path) -> None:
    """A function that was being updated when the server ended can be used and updated again."""
    function = Function(emulator.up(alone), "updating", "handler = lambda event, context: 1")
    function.aws.update_function_configuration(FunctionName="updating", MemorySize=256)
    emulator.down(alone)
    function.aws = client(emulator.up(alone), "lambda")
    assert function.settle()["MemorySize"] == 256


def test_state_is_its_owners_alone(alone: Path) -> None:
    """Whoever could read the state would hold the administrator's keys, and run code as the developer."""
    emulator.up(alone)
    assert stat.S_IMODE((alone / ".pipeline/cloud").stat().st_mode) == 0o700


def test_reset_forgets_everything(alone: Path) -> None:
    """After a reset the next start is a first start."""
    running = emulator.up(alone)
    Function(running, "gone", "handler = lambda event, context: 1")
    emulator.reset(alone)
    running = emulator.up(alone)
    assert running.notice == ""
    assert client(running, "lambda").list_functions()["Functions"] == []
