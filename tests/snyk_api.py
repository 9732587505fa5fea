"""Snyk's API on loopback, as its command line interface of the pinned version calls it.

It judges what is really sent: source files in which ``FLAWS`` occur, and packages that ``known`` names. The shapes are those
that the CLI reads: ``@snyk/code-client`` for code (``/filters``, ``/bundle``, ``/analysis``), ``/v1/test-dep-graph`` for packages.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "0b1c2d3e-canary-of-the-snyk-token"
LEVELS = {"low": 1, "medium": 2, "high": 3, "critical": 4}
SARIF = {1: "note", 2: "warning", 3: "error"}
# Text in a source file → the rule that finds it, and its severity.
FLAWS = {"eval(": ("python/CodeInjection", "high"), "md5(": ("python/InsecureHash", "medium")}


class SnykApi(ThreadingHTTPServer):
    """The server; ``known`` maps a package to its advisory's severity, ``harm`` is how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.known: dict[str, str] = {}
        self.harm = ""  # "500": fails; "hangs": never answers; "no results": analyses without a result
        self.files: dict[str, str] = {}  # the source files that were sent, by their path
        self.packages: set[str] = set()  # the packages that were sent, as name==version
        self.bundle: dict[str, str] = {}
        self.stopped = threading.Event()

    @property
    def variables(self) -> dict[str, str]:
        """What makes the CLI call this server. It would call another host than ``localhost`` by HTTPS only."""
        url = f"http://localhost:{self.server_port}"
        return {"SNYK_API": url, "SNYK_CODE_CLIENT_PROXY_URL": url, "SNYK_TOKEN": TOKEN}

    def sarif(self, threshold: int) -> dict[str, Any]:
        """What an analysis finds in the files that were sent, from ``threshold`` on, as SARIF."""
        found = [
            (path, line, *FLAWS[flaw])
            for path, text in sorted(self.files.items())
            for line, words in enumerate(text.splitlines(), 1)
            for flaw in FLAWS
            if flaw in words and LEVELS[FLAWS[flaw][1]] >= threshold
        ]
        names = sorted({rule for _, _, rule, _ in found})
        rules = [
            {"id": n, "name": n, "shortDescription": {"text": n}, "properties": {"categories": ["Security"]}}
            for n in names
        ]
        results = [
            {
                "ruleId": rule,
                "ruleIndex": names.index(rule),
                "level": SARIF[LEVELS[severity]],
                "message": {"text": f"{rule} is used here.", "arguments": []},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": path}, "region": _region(line)}}],
                "properties": {"priorityScore": 800, "isAutofixable": False},
            }
            for path, line, rule, severity in found
        ]
        run = {
            "tool": {"driver": {"name": "SnykCode", "rules": rules}},
            "results": results,
            "properties": {"coverage": []},
        }
        if self.harm == "no results":
            del run["results"]
        return {"version": "2.1.0", "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "runs": [run]}

    def advisories(self, threshold: int) -> dict[str, Any]:
        """What is known of the packages that were sent, from ``threshold`` on."""
        affected, issues = {}, {}
        for package in sorted(self.packages):
            name, _, version = package.partition("==")
            if LEVELS.get(severity := self.known.get(name, ""), 0) < max(threshold, 1):
                continue
            number = f"SNYK-PYTHON-{name.upper()}-1"
            fix = {"upgradePaths": [], "isPatchable": False, "nearestFixedInVersion": "99"}
            affected[f"{name}@{version}"] = {
                "pkg": {"name": name, "version": version},
                "issues": {number: {"issueId": number, "fixInfo": fix}},
            }
            issues[number] = {
                "id": number,
                "title": "Planted",
                "severity": severity,
                "cvssScore": 8.0,
                "semver": {"vulnerable": ["<99"]},
                "identifiers": {"CVE": ["CVE-2999-1"], "CWE": ["CWE-1"]},
            }
        return {"affectedPkgs": affected, "issuesData": issues}


def _region(line: int) -> dict[str, int]:
    return {"startLine": line, "endLine": line, "startColumn": 1, "endColumn": 2}


class _Handler(BaseHTTPRequestHandler):
    server: SnykApi

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        address = urlsplit(self.path)
        status, content = self._judged(address.path, parse_qs(address.query), body)
        out = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def _judged(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        if path.startswith("/v1/analytics"):
            return 200, {}
        if self.server.harm == "hangs":
            self.server.stopped.wait(60)
        if self.server.harm == "500":
            return 500, {"code": 500, "error": "Internal Server Error", "message": "Internal Server Error"}
        given = self.headers.get("Session-Token") or self.headers.get("Authorization", "").removeprefix("token ")
        if path != "/filters" and given != TOKEN:
            return 401, {"code": 401, "error": "Not authorised", "message": "Not authorised"}
        server = self.server
        if path == "/v1/cli-config/settings/sast":
            local = {"enabled": False, "url": "", "allowCloudUpload": False}
            return 200, {"sastEnabled": True, "localCodeEngine": local, "org": "an-organisation"}
        if path == "/v1/track-sast-usage/cli":
            return 200, {"trackingSuccess": True}
        if path == "/filters":
            return 200, {"configFiles": [".dcignore"], "extensions": [".py"]}
        if path == "/bundle":
            files: dict[str, Any] = json.loads(base64.b64decode(body))
            server.files |= {name: file["content"] for name, file in files.items() if isinstance(file, dict)}
            server.bundle |= {name: file for name, file in files.items() if isinstance(file, str)}
        if path.startswith("/bundle"):
            missing = sorted(server.bundle.keys() - server.files.keys())
            return 200, {"bundleHash": "b" * 64, "missingFiles": missing}
        if path == "/analysis":
            found = server.sarif(json.loads(body).get("severity", 0))
            return 200, {
                "status": "COMPLETE",
                "type": "sarif",
                "progress": 1,
                "sarif": found,
                "coverage": [],
                "timing": {},
            }
        if path == "/v1/test-dep-graph":
            graph = json.loads(body)["depGraph"]
            root = next(n["pkgId"] for n in graph["graph"]["nodes"] if n["nodeId"] == graph["graph"]["rootNodeId"])
            sent = [p["info"] for p in graph["pkgs"] if p["id"] != root]
            server.packages = {f"{p['name']}=={p['version']}" for p in sent}
            threshold = LEVELS.get(query.get("severityThreshold", [""])[0], 0)
            return 200, {"result": server.advisories(threshold), "meta": {"isPublic": False, "org": "an-organisation"}}
        return 404, {"code": 404, "error": f"no {path} here"}

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def snyk_api() -> Iterator[SnykApi]:
    """The API, as long as the test runs."""
    server = SnykApi()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.stopped.set()
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    with snyk_api() as found:
        print(json.dumps(found.variables), flush=True)
        time.sleep(10**6)
