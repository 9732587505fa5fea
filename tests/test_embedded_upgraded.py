"""The embedded AWS after an upgrade: what runs from replaced code is started anew, with all that it holds."""

from __future__ import annotations

import json
from pathlib import Path

from emulated import client

from ml_delivery import emulator


def test_replaced_code_starts_anew_with_the_state(alone: Path) -> None:
    """One that was started from other code ends, saves, and another takes its port; the same code goes on running."""
    first = emulator.up(alone)
    client(first, "s3").create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert emulator.up(alone).pid == first.pid
    (record,) = (alone / ".pipeline").glob("*/process.json")
    written = json.loads(record.read_text())
    for other in ({"code": "other"}, {}):  # the latter as before 0.1.0
        record.write_text(json.dumps({name: value for name, value in written.items() if name != "code"} | other))
        second = emulator.up(alone)
        assert (second.pid != written["pid"], second.endpoint, second.notice) == (True, first.endpoint, "")
        assert [b["Name"] for b in client(second, "s3").list_buckets()["Buckets"]] == ["kept"]
        written = json.loads(record.read_text())
