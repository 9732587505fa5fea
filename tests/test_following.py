"""``invoke logs --follow``: each line once, whenever it arrives, until Ctrl-C."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from tiny import Tiny

from ml_delivery.records import Line
from ml_delivery.release import following


class Log:
    """A target's log that grows from one reading to the next, with lines that arrive late."""

    def __init__(self, *readings: list[Line]) -> None:
        self.readings, self.asked = readings, list[float]()

    def logs(self, since: float) -> Iterator[Line]:
        self.asked.append(since)
        there = itertools.chain(*self.readings[: len(self.asked)])
        return iter(sorted((line for line in there if line.at >= since), key=lambda line: line.at))


def test_each_line_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal lines at one moment are two; a late one is not lost; what is old is not read again and again."""
    monkeypatch.setattr(following, "SECONDS", 0)
    first = [Line(100, "a"), Line(100, "a"), Line(101, "b")]
    later = [Line(100.5, "late"), Line(101, "b"), Line(500, "c")]
    log = Log(first, later, [Line(500, "c"), Line(450, "late")])
    found = list(itertools.islice(following.lines(log, 90), 8))  # type: ignore[arg-type]
    assert [line.text for line in found] == ["a", "a", "b", "late", "b", "c", "late", "c"]
    assert log.asked == [90, 90, 440]


def test_log_is_followed_as_it_is_written(tiny: Tiny) -> None:
    """What was logged before and what is logged meanwhile, in the order in which it happens; Ctrl-C ends it well."""
    tiny.deploy()
    deployer = tiny.open().deployer
    deployer.call("/before")
    process = subprocess.Popen(
        tiny.command("logs", "--follow"),
        cwd=tiny.root,
        env=tiny.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.extend(process.stdout or []))
    reader.start()

    def until(line: str) -> None:
        end = time.monotonic() + 30
        while line not in printed:
            assert time.monotonic() < end, printed
            time.sleep(0.1)

    until("asked for /before\n")
    for path in ("/first", "/second"):
        deployer.call(path)
        until(f"asked for {path}\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    reader.join(10)
    asked = [line for line in printed if line.startswith("asked for")]
    assert asked[-3:] == ["asked for /before\n", "asked for /first\n", "asked for /second\n"]
    assert not [line for line in printed if "Traceback" in line or "interrupted" in line]


def test_query_is_not_followed(tiny: Tiny) -> None:
    """A query is of what is there."""
    assert "--follow: a query is of what is logged already" in tiny.invoke(
        "logs", "--query", "slow", "--follow", code=1
    )
