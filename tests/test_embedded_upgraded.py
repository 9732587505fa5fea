"""The embedded AWS after an upgrade, or with another container engine: it is started anew, with all that it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from emulated import client

from embedded_aws.engine import engine, forget
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


def test_engine_that_is_gone_is_replaced_by_the_shells_own(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker Desktop was removed and Colima took its place: the server takes the new one. Two that are there do not alternate."""
    kept, gone, new = (f"unix://{tmp_path}/{name}.sock" for name in ("kept", "gone", "new"))
    (tmp_path / "kept.sock").touch()
    monkeypatch.setenv("DOCKER_HOST", kept)
    first = emulator.up(alone)
    monkeypatch.setenv("DOCKER_HOST", gone)
    assert emulator.up(alone).pid == first.pid
    (tmp_path / "kept.sock").unlink()
    second = emulator.up(alone)
    assert (second.pid != first.pid, second.endpoint) == (True, first.endpoint)
    assert emulator.up(alone).pid == second.pid  # it may only have been stopped
    monkeypatch.setenv("DOCKER_HOST", new)
    assert emulator.up(alone).pid != second.pid


def test_engine_that_is_started_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none answered, the next call looks again; one that has answered is not asked for each function."""
    monkeypatch.setenv("PATH", str(tmp_path))
    forget()
    assert engine() == ""
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n")
    docker.chmod(0o700)
    assert [engine(), engine()] == ["docker", "docker"]
    assert (tmp_path / "asked").read_text() == "asked\n"
    docker.unlink()
    forget()
    assert engine() == ""
