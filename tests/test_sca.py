"""The gate on known vulnerabilities, asked against an advisory service on loopback: red, green, and not checked."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bake import BIN, ROOT

VULNERABLE = "flask"


class Advisories(http.server.BaseHTTPRequestHandler):
    """Answers as OSV does (https://google.github.io/osv.dev/post-v1-query/): one advisory for one package."""

    vulnerable = VULNERABLE

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"].lower()
        advisory: dict[str, Any] = {
            "id": "OSV-0000-1",
            "modified": "2026-01-01T00:00:00Z",
            "published": "2026-01-01T00:00:00Z",
            "summary": "made for a test",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": name},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
                    "versions": [asked.get("version", "")],
                }
            ],
        }
        body = json.dumps({"vulns": [advisory]} if name == self.vulnerable else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()


def sca(url: str, ci: str = "") -> tuple[int, str]:
    """The exit code and output of ``nox -s sca`` with advisories from ``url``."""
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "NOXSESSION")}
    done = subprocess.run(
        [str(BIN / "nox"), "-s", "sca", "--", "--vulnerability-service=osv", f"--osv-url={url}"],
        cwd=ROOT,
        env={**clean, **({"CI": ci} if ci else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_vulnerable_package_is_red_and_named(service: str) -> None:
    """A known vulnerability of a shipped package fails the check, naming both."""
    code, output = sca(service)
    assert code == 1
    assert f"vulnerable: {VULNERABLE} " in output
    assert "OSV-0000-1" in output


def test_no_vulnerability_is_green(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one it says how many packages were asked about."""
    monkeypatch.setattr(Advisories, "vulnerable", "none")
    code, output = sca(service)
    assert code == 0, output
    assert "packages, no known vulnerability" in output


def test_silence_is_not_green() -> None:
    """When nobody answers, the check says NOT CHECKED; in CI that fails."""
    nobody = "http://127.0.0.1:9/v1/query"
    code, output = sca(nobody)
    assert code == 0
    assert "Session sca skipped: NOT CHECKED" in output
    code, output = sca(nobody, ci="true")
    assert code == 1
    assert "NOT CHECKED" in output


def test_gate_reads_the_lock_that_is_shipped() -> None:
    """What is asked about is what the artifact is built from."""
    assert (
        "requirements/serve.txt"
        in Path(ROOT / "noxfile.py").parent.joinpath("{{cookiecutter.project_slug}}/noxfile.py").read_text()
    )
