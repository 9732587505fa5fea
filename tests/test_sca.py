"""``nox -s sca`` against a vulnerability service on loopback: red, green, and never green without an answer."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from bake import BIN, bake, git, start
from snyk_api import snyk_api

from ml_delivery.dependencies import locks

Sca = Callable[..., tuple[int, str]]


class Advisories(BaseHTTPRequestHandler):
    """Answers as https://google.github.io/osv.dev/post-v1-query/ says, from ``known``: package name → advisory."""

    known: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []
    silent: ClassVar[set[str]] = set()  # packages that it fails for

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        self.asked.append(f"{name}=={asked['version']}")
        events = [{"introduced": "0"}, {"fixed": "99"}]
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        vulns = [{"id": self.known[name], "summary": "planted", "affected": [affected]}] if name in self.known else []
        body = json.dumps({"vulns": vulns} if vulns else {}).encode()
        self.send_response(503 if name in self.silent else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = bake(tmp_path_factory.mktemp("sca") / "out")
    start(made)
    subprocess.run(["make", "setup"], cwd=made, check=True, capture_output=True)
    return made


@pytest.fixture
def sca(service: Path) -> Iterator[Sca]:
    """Runs the session against the service on loopback; its exit code and what it printed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Advisories.known, Advisories.asked, Advisories.silent = {}, [], set()

    def run(**variables: str) -> tuple[int, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NOX", "PIPELINE_")) and k != "CI"}
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        done = subprocess.run(
            [BIN / "nox", "-s", "sca", "--", "-s", "osv", "--osv-url", url],
            cwd=service,
            env={**clean, "PATH": f"{BIN}:{clean['PATH']}", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    yield run
    server.shutdown()
    server.server_close()


def test_known_vulnerability_is_red_and_named(sca: Sca) -> None:
    """An advisory on one shipped package fails the session with package, version and advisory."""
    Advisories.known = {"flask": "PYSEC-2999-1"}
    code, output = sca()
    assert code == 1
    assert re.search(r"vulnerable: flask \d[\d.]+: PYSEC-2999-1\n *next: nox -s lock -- --upgrade-package NAME", output)


def test_green_means_that_all_that_is_shipped_was_asked_for(
    sca: Sca, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session asks for exactly the pins of the service's Python, also when another Python runs it."""
    for python in ("3.11", "3.13"):
        Advisories.asked = []
        code, output = sca(PIPELINE_PYTHON=python)
        assert code == 0, output
        monkeypatch.setenv("PIPELINE_PYTHON", python)
        assert sorted(Advisories.asked) == sorted(locks.shipped(service))
        assert f"{len(Advisories.asked)} packages, no known vulnerability" in output


def test_no_answer_is_never_green(sca: Sca) -> None:
    """A service that now fails for one package of many leaves the session skipped, loudly; in CI it is red."""
    assert "no known vulnerability" in sca()[1]
    Advisories.silent = {"numpy"}
    code, output = sca()
    assert code == 0
    assert "Session sca skipped: NOT CHECKED: the vulnerability service did not answer for " in output
    assert "no known vulnerability" not in output
    code, output = sca(CI="true")
    assert code == 1
    assert "NOT CHECKED: the vulnerability service did not answer for " in output


@pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("node")), reason="NOT TESTED: no npm, no node for Snyk's CLI"
)
def test_token_makes_snyk_judge_a_clean_service(service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token a fresh service passes both sessions by Snyk's own CLI, which gets its code and exactly what is shipped."""
    monkeypatch.setenv("PIPELINE_PYTHON", "3.11")  # there, more packages are installed for the checks than are shipped
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NOX") and k != "CI"}
    with snyk_api() as api:
        done = subprocess.run(
            [BIN / "nox", "-s", "sast", "sca"],
            cwd=service,
            env={**clean, **api.variables, "PATH": f"{BIN}:{clean['PATH']}", "XDG_CONFIG_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if "npm could not install" in done.stdout and "EINTEGRITY" not in done.stdout:
            pytest.skip("NOT TESTED: npm could not fetch Snyk's CLI")
        assert done.returncode == 0, done.stdout
        assert "sast: snyk code test found nothing at or above high" in done.stdout
        shipped = locks.shipped(service)
        assert f"sca: snyk test knows {len(shipped)} packages, no vulnerability at or above high" in done.stdout
        assert sorted(api.packages) == sorted(shipped)
        assert set(api.files) == {path for path in git(service, "ls-files").splitlines() if path.endswith(".py")}
    assert git(service, "status", "--porcelain") == ""
