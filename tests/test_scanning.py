"""``nox -s sast`` and ``sca`` with Snyk: an executable that speaks its contract, flags, report and exit codes alike.

Snyk itself needs an account. What is tested is the contract at the edge:
https://docs.snyk.io/snyk-cli/commands/test and https://docs.snyk.io/snyk-cli/commands/code-test
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import PRICING, TEMPLATE, Tiny

from ml_delivery import scanning

TOKEN = "canary-of-the-snyk-token"
SNYK = """#!{python}
import json, os, pathlib, sys

words = sys.argv[1:]
options = dict(w.lstrip("-").split("=", 1) for w in words if "=" in w)
answer = json.loads(pathlib.Path(__file__).with_name("answer.json").read_text())
pathlib.Path(__file__).with_name("asked.json").write_text(json.dumps(words))
if not os.environ.get("SNYK_TOKEN"):
    sys.exit("Use `snyk auth` to authenticate.") or 2
if answer["report"] is not None:
    pathlib.Path(options["json-file-output"]).write_text(json.dumps(answer["report"]))
    pathlib.Path(options["sarif-file-output"]).write_text(json.dumps({{"version": "2.1.0", "runs": []}}))
print(answer["says"])
sys.exit(answer["code"])
"""
CLEAN = {"sast": {"runs": [{"results": []}]}, "sca": {"ok": True, "vulnerabilities": [], "dependencyCount": 2}}
Scan = Callable[..., tuple[int, str]]


@pytest.fixture
def scan(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Scan:
    """Runs a scan with Snyk on the PATH, which answers as it is told; the exit code and what was printed."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/snyk").write_text(SNYK.format(python=sys.executable))
    (tmp_path / "bin/snyk").chmod(0o755)
    tiny.write("requirements/serve.txt", "".join(f"{n}==1 --hash=sha256:{'0' * 64}\n" for n in ("one", "two")))
    (tiny.root / ".snyk").symlink_to(TEMPLATE / ".snyk")

    def run(kind: str, code: int, says: str = "", report: object = "clean", **variables: str) -> tuple[int, str]:
        answer = {"code": code, "says": says, "report": CLEAN[kind] if report == "clean" else report}
        (tmp_path / "bin/answer.json").write_text(json.dumps(answer))
        settings = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SNYK_TOKEN": TOKEN, "CI": "", **variables}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tiny.root)
        result = scanning.main([kind])
        printed = "".join(capsys.readouterr())
        assert TOKEN not in printed
        return result, printed

    return run


def asked(tmp_path: Path) -> list[str]:
    words: list[str] = json.loads((tmp_path / "bin/asked.json").read_text())
    return words


def test_sast_is_code_test_and_sca_is_test(scan: Scan, tmp_path: Path, tiny: Tiny) -> None:
    """The two are not mixed up; both have the threshold, the policy is the repository's, reports are kept."""
    code, output = scan("sast", 0)
    assert (code, output) == (0, "sast: snyk code test found nothing at or above high (0 below)\n")
    assert asked(tmp_path)[:2] == ["code", "test"]
    assert "--severity-threshold=high" in asked(tmp_path)
    code, output = scan("sca", 0)
    assert (code, output) == (0, "sca: snyk test knows 2 packages, no vulnerability at or above high\n")
    assert asked(tmp_path)[:2] == ["test", "--file=build/scans/sca.txt"]
    assert {"--severity-threshold=high", "--policy-path=.snyk", "--package-manager=pip"} <= set(asked(tmp_path))
    kept = {path.name for path in (tiny.root / "build/scans").iterdir()}
    assert kept == {"sast.json", "sast.sarif", "sca.json", "sca.sarif", "sca.txt"}
    assert (tiny.root / "build/scans/sca.txt").read_text() == "one==1\ntwo==1\n"


BAD = {
    "found": ("sca", 1, "Upgrade one@1", {"ok": False}, "snyk test --file=build/scans/sca.txt found something"),
    "found in code": ("sast", 1, "SQL injection", CLEAN["sast"], "snyk code test found something"),
    "failed": ("sca", 2, "Authentication error", None, "snyk failed, so nothing was scanned"),
    "nothing to test": ("sca", 3, "Could not detect", None, "snyk found nothing to test, so nothing was scanned"),
    "nothing to test in code": ("sast", 3, "no files", None, "snyk found nothing to test, so nothing was scanned"),
    "unknown code": ("sca", 137, "Killed", None, "snyk exited with 137, so nothing was scanned"),
    "green without a report": ("sca", 0, "fetch failed", None, "exited with 0, but without a report"),
    "green with an error": ("sca", 0, "", {"error": "no"}, "does not confirm success"),
    "green that is none": ("sca", 0, "", {"ok": False}, "does not confirm success"),
    "some packages only": ("sca", 0, "", {"ok": True, "dependencyCount": 1}, "snyk checked 1 of 2 packages"),
}


@pytest.mark.parametrize("ci", ["", "true"], ids=["laptop", "CI"])
@pytest.mark.parametrize("name", BAD)
def test_scan_that_found_something_or_could_not_run_is_no_pass(scan: Scan, name: str, ci: str) -> None:
    """Snyk's exit codes are told apart, and an exit code of 0 alone proves nothing."""
    kind, code, says, report, message = BAD[name]
    result, output = scan(kind, code, says, report, CI=ci)
    assert result == 1
    assert message in output
    assert says in output


def test_missing_snyk_is_said(scan: Scan, tmp_path: Path) -> None:
    """A token without the tool is no reason to fall back to another scanner in silence."""
    (tmp_path / "bin/snyk").unlink()
    code, output = scan("sast", 0, PATH="/nonexistent")
    assert code == 1
    assert "SNYK_TOKEN is set, but there is no snyk on the PATH\n  next: npm install --global snyk" in output


def test_token_is_not_printed(scan: Scan) -> None:
    """What Snyk says of its token is not passed on."""
    assert "***" in scan("sca", 2, f"bad token {TOKEN}", None)[1]


def test_bandit_finds_and_keeps(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a token bandit runs and says so; a real finding is red, and is kept as SARIF."""
    (tiny.root / "pyproject.toml").write_text((PRICING / "pyproject.toml").read_text())
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("SNYK_TOKEN", raising=False)
    monkeypatch.chdir(tiny.root)
    assert scanning.main(["sast"]) == 0
    assert capfd.readouterr().out == "sast: bandit found nothing\n"
    tiny.write("src/service/bad.py", "import hashlib\n\nhashlib.md5(b'')\neval('1')\n")
    assert scanning.main(["sast"]) == 1
    assert "✗ bandit found something" in capfd.readouterr().err
    sarif = json.loads((tiny.root / "build/scans/sast.sarif").read_text())
    assert {result["ruleId"] for result in sarif["runs"][0]["results"]} >= {"B324", "B307"}
