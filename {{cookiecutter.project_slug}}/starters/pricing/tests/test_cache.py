"""The cache delays a request by milliseconds at most and never loses an answer, whether Redis is slow, gone or broken."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ml_service import cache
from service.app import create_app

PATH = "/v1/predict-price/85111?date=2026-01-31"


@contextmanager
def server(answer: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A TCP server on loopback that does what ``answer`` does with each piece that it receives; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        try:
            while piece := connection.recv(65536):
                answer(connection, piece)
        except OSError:
            pass
        connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connected() -> None:
    """Wait until there is a connection: the threads that make one have ended."""
    for thread in threading.enumerate():
        if thread.name.endswith("(_connect)"):
            thread.join(timeout=10)


def silent(connection: socket.socket, piece: bytes) -> None:
    """Never answers."""


def slow(connection: socket.socket, piece: bytes) -> None:
    """Connects at once, then answers more slowly than a request waits."""
    if b"SELECT" not in piece:
        time.sleep(0.5)
    connection.sendall(b"+OK\r\n")


def trickling(connection: socket.socket, piece: bytes) -> None:
    """Sends one byte at a time, slowly."""
    if b"SELECT" in piece:
        connection.sendall(b"+OK\r\n")
    for byte in b"$99999\r\n" + b"x" * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.01)


def refusing(connection: socket.socket, piece: bytes) -> None:
    connection.sendall(b"-NOAUTH Authentication required.\r\n")


def nonsense(connection: socket.socket, piece: bytes) -> None:
    """Answers as another kind of server."""
    body = b"null" if b"GET" in piece else b""
    connection.sendall(b"+OK\r\n" if b"SELECT" in piece or b"SET" in piece else b"$%d\r\n%s\r\n" % (len(body), body))


def leaving(connection: socket.socket, piece: bytes) -> None:
    connection.sendall(b"+OK\r\n") if b"SELECT" in piece else connection.close()


@pytest.mark.parametrize("fault", [silent, slow, trickling, refusing, nonsense, leaving, None])
def test_fault_of_redis_costs_little_and_no_answer(
    root: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[socket.socket, bytes], None] | None
) -> None:
    """Whatever Redis does, a request is answered, and none is more than 50 ms slower than without it."""
    client = create_app().test_client()
    client.get(PATH)
    without = min(_seconds(lambda: client.get(PATH)) for _ in range(5))
    with server(fault or silent) as url:
        monkeypatch.setenv("REDIS_URL", url if fault else "redis://127.0.0.1:1/0")  # nothing listens there
        for _ in range(3):  # a busy machine may be slow once; Redis is every time
            client = create_app().test_client()
            time.sleep(0.1)  # so that there is a connection, if there will be one
            slowest = max(_seconds(lambda c=client: _answered(c.get(PATH))) for _ in range(10))
            if slowest < without + 0.05:
                break
    assert slowest < without + 0.05


def _answered(answer: object) -> None:
    assert answer.status_code == 200  # type: ignore[attr-defined]
    assert len(answer.get_json()["bins"]) == 20  # type: ignore[attr-defined]


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_after_a_fault_redis_is_left_alone_for_a_while() -> None:
    """An error is logged once, and no request asks again before the pause is over."""
    asked: list[bytes] = []
    warned: list[str] = []

    def remember(connection: socket.socket, piece: bytes) -> None:
        asked.append(piece)
        if b"SELECT" in piece:
            connection.sendall(b"+OK\r\n")

    with server(remember) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", url)
        kept = cache.from_environment(warned.append)
        assert kept is not None
        connected()
        assert [kept.get("key") for _ in range(20)] == [None] * 20
        assert sum(b"GET" in piece for piece in asked) == 1
        assert len(warned) == 1
        patch.setattr(cache, "PAUSE", 0.0)
        kept._not_before = 0.0
        kept.get("key")  # has a new connection made
        connected()
        kept.get("key")
        assert sum(b"GET" in piece for piece in asked) == 2


@pytest.mark.parametrize(
    ("url", "seconds", "says"),
    [
        ("http://cache", "60", "REDIS_URL must be like"),
        ("redis://cache:port", "60", "REDIS_URL must be like"),
        ("redis://cache/first", "60", "REDIS_URL must be like"),
        ("redis://user:secret@", "60", "REDIS_URL must be like"),
        ("redis://cache", "soon", "CACHE_SECONDS must be a whole number"),
        ("redis://cache", "0", "CACHE_SECONDS must be a whole number"),
    ],
)
def test_bad_settings_stop_the_start(monkeypatch: pytest.MonkeyPatch, url: str, seconds: str, says: str) -> None:
    """A variable that can't be used is found when the process starts, and no secret is shown."""
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("CACHE_SECONDS", seconds)
    with pytest.raises(ValueError, match=says) as error:
        cache.from_environment(print)
    assert "secret" not in str(error.value)


def test_what_is_not_an_answer_of_this_model_is_a_miss(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cached answer is used and counted as a hit; one of another model, or a damaged one, is not."""
    client = create_app().test_client()
    right = client.get(PATH).get_json()
    kept = {**right, "description": "kept"}
    for given, hit in ((kept, 1), ({**kept, "model": {**kept["model"], "digest": "sha256:0"}}, 0), ([], 0), ("x", 0)):
        body = json.dumps(given).encode()

        def answer(connection: socket.socket, piece: bytes, body: bytes = body) -> None:
            wants = piece.split(b"\r\n")[2]
            connection.sendall(b"$%d\r\n%s\r\n" % (len(body), body) if wants == b"GET" else b"+OK\r\n")

        with server(answer) as url:
            monkeypatch.setenv("REDIS_URL", url)
            client = create_app().test_client()
            connected()
            capsys.readouterr()
            assert client.get(PATH).get_json() == (kept if hit else right)
            assert json.loads(capsys.readouterr().out)["CacheHits"] == hit
