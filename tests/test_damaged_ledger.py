"""A ledger that others have touched: each object that can't be read is named, and stops only what needs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny import HANDLER, Tiny

from ml_delivery.artifact import store
from ml_delivery.formats import Damaged

DEEP = b"[" * 100_000


def ledger(tiny: Tiny) -> tuple[Any, str, str]:
    """S3, the bucket, and the prefix of the ledger."""
    opened = tiny.open(prepare=False)
    return opened.cloud.client("s3"), opened.foundation.bucket, "releases/production/"


@pytest.fixture
def two(tiny: Tiny) -> Tiny:
    """A service with two releases."""
    tiny.deploy()
    tiny.write("src/service/handler.py", HANDLER.replace('"first"', '"second"'))
    tiny.commit()
    tiny.deploy()
    return tiny


HEADS = [b"", b"{", b"[]", b"\xff\xfe", DEEP, b'{"format": 2}', b'{"format": 2, "holder": 1}']
COMMANDS = [["plan"], ["deploy"], ["status"], ["releases"], ["rollback"], ["unlock", "--reason", "try"]]


def test_damaged_head_is_named_by_every_command(two: Tiny) -> None:
    """No command hangs or shows a traceback; the message has the object and how to restore it."""
    s3, bucket, prefix = ledger(two)
    for number, body in enumerate(HEADS):
        s3.put_object(Bucket=bucket, Key=f"{prefix}head.json", Body=body)
        for words in COMMANDS if number == 0 else [COMMANDS[number % len(COMMANDS)]]:
            said = two.invoke(*words, code=1)
            assert f"{prefix}head.json can't be read" in said
            assert "next: invoke cloud.reset, which deletes everything that the embedded AWS holds" in said


def test_damaged_object_has_a_remedy_that_can_be_typed(two: Tiny) -> None:
    """On AWS the command names the bucket, the key and the region; on the embedded one it starts afresh, and that works."""
    s3, bucket, prefix = ledger(two)
    opened = two.open(prepare=False)
    opened.cloud.name = "aws"
    version = two.git("rev-parse", "HEAD")
    s3.put_object(Bucket=bucket, Key=f"{prefix}head.json", Body=b"")
    two.exchange(f"artifacts/{version}/artifact.json", b"{}")
    event = max(entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}00000001/")["Contents"])
    two.exchange(event, b"[]")
    for key, read in {
        f"{prefix}head.json": opened.ledger.head,
        event: lambda: opened.ledger.read(1),
        f"artifacts/{version}/artifact.json": lambda: store.known(opened.cloud, bucket, version),
    }.items():
        with pytest.raises(Damaged) as error:
            read()
        command = error.value.next.partition("which S3 keeps: ")[2]
        assert command == f"aws s3api list-object-versions --bucket {bucket} --prefix {key} --region eu-west-1"
        assert "<" not in error.value.next
        listed = s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]  # what the command asks for
        assert len(listed) > 1


def test_damaged_event_stops_only_what_needs_it(two: Tiny) -> None:
    """The other releases are listed beside the name of the damaged one; deploys, which don't need it, go on."""
    s3, bucket, prefix = ledger(two)
    key = max(entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}00000001/")["Contents"])
    for body in (b"", b"{", DEEP, b'{"format": 2, "number": 1}'):
        two.exchange(key, body)
        said = two.invoke("releases", code=1)
        assert f"{key} can't be read" in said
        assert "2  verified" in said
    listed = json.JSONDecoder().raw_decode(two.invoke("releases", "--json", code=1).partition("\n✗")[0])[0]
    assert [row["number"] for row in listed] == [2]
    two.write("src/service/handler.py", HANDLER.replace('"first"', '"third"'))
    two.commit()
    two.deploy()
    assert "release 3 serves" in two.invoke("status")


def test_stray_objects_are_no_releases(two: Tiny) -> None:
    """What others put into the ledger's folder is left alone, even while the head is rebuilt from the events."""
    s3, bucket, prefix = ledger(two)
    names = (
        "notes.txt",
        "abc/def.json",
        "00000002/zzz.txt",
        "00000002/",
        "00000009/readme",
        "x",
        "00000002/1-verified.json",
    )
    for name in names:
        s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=b"mine", IfNoneMatch="*")
    listed = two.invoke("releases")
    s3.delete_object(Bucket=bucket, Key=f"{prefix}head.json")
    assert two.invoke("releases") == listed
    two.write("src/service/handler.py", HANDLER.replace('"first"', '"third"'))
    two.commit()
    two.deploy()
    assert "release 3 serves" in two.invoke("status")
    assert s3.get_object(Bucket=bucket, Key=f"{prefix}notes.txt")["Body"].read() == b"mine"
