"""``nox -s sast`` and ``sca`` with Snyk: its pinned CLI against an API on loopback, and what that CLI wrote, recorded.

The recordings are the CLI's own output against ``snyk_api``; where npm is, each is made anew and compared. After a change of the
pin or of a case, ``SNYK_RECORD=1 pytest tests/test_scanning.py`` writes them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from snyk_api import TOKEN, SnykApi, snyk_api
from tiny import PRICING, TEMPLATE, Tiny

from ml_delivery import scanning

DATA = Path(__file__).parent / "data/snyk.json"
RECORDED: dict[str, dict[str, object]] = json.loads(DATA.read_text()) if DATA.exists() else {}
SHIPPED = {"flask": "3.1.3", "setuptools": "80.9.0", "ruamel-yaml": "0.18.6", "numpy": "2.5.5"}
POLICY = """\
version: v1.25.0
ignore:
  SNYK-PYTHON-FLASK-1:
    - '*':
        reason: not reachable here
        expires: 2999-01-01T00:00:00.000Z
patch: {}
"""


@dataclass(frozen=True)
class Case:
    """What a scan meets, and how it must end: its exit code, and what is printed."""

    kind: str
    code: int
    printed: str
    source: str = "x = 1\n"
    known: dict[str, str] = field(default_factory=dict)
    harm: str = ""
    token: str = TOKEN
    policy: str = (TEMPLATE / ".snyk").read_text()


CLEAN_CODE = "sast: snyk code test found nothing at or above high\n"
CLEAN = "sca: snyk test knows 4 packages, no vulnerability at or above high\n"
NO_CODE = "✗ snyk code test failed, so nothing was scanned:\n"
NO_TEST = "✗ snyk test failed, so nothing was scanned:\n"
CASES = {
    "code: clean": Case("sast", 0, CLEAN_CODE),
    "code: one finding": Case("sast", 1, "✗ snyk code test found something:\n", source='eval("1")\n'),
    "code: two severities": Case("sast", 1, "1 Code issues found", source='eval("1")\nmd5(b"")\n'),
    "code: below": Case("sast", 0, CLEAN_CODE, source='md5(b"")\n'),
    "code: not authenticated": Case("sast", 1, f"{NO_CODE}Not authorised", token=f"{TOKEN}-revoked"),
    "code: 500": Case("sast", 1, NO_CODE, harm="500"),
    "code: without results": Case("sast", 1, NO_CODE, harm="no results"),
    "code: hangs": Case("sast", 1, "✗ snyk code test timed out after 2 s, so nothing was scanned", harm="hangs"),
    "packages: clean": Case("sca", 0, CLEAN),
    "packages: one finding": Case("sca", 1, "✗ snyk test found something:\n", known={"flask": "high"}),
    "packages: two severities": Case("sca", 1, "SETUPTOOLS", known={"flask": "medium", "setuptools": "critical"}),
    "packages: below": Case("sca", 0, CLEAN, known={"flask": "medium"}),
    "packages: accepted": Case("sca", 0, CLEAN, known={"flask": "high"}, policy=POLICY),
    "packages: not authenticated": Case("sca", 1, f"{NO_TEST}Authentication failed.", token=f"{TOKEN}-revoked"),
    "packages: 500": Case("sca", 1, f"{NO_TEST}Internal server error", harm="500"),
    "packages: hang": Case("sca", 1, "✗ snyk test timed out after 2 s, so nothing was scanned", harm="hangs"),
}
# In the place of npm: "installs" a CLI that does what the pinned one was seen to do, or the pinned one that is installed already.
PLAYER = """#!{python}
import json, os, pathlib, sys, time

if sys.argv[1:2] == ["ci"]:
    assert json.loads(pathlib.Path("package-lock.json").read_text())["packages"]["node_modules/snyk"]["integrity"]
    pathlib.Path("node_modules/.bin").mkdir(parents=True)
    pathlib.Path("node_modules/.bin/snyk").symlink_to({cli!r} or {npm!r})
    sys.exit({npm_code})
played = json.loads(pathlib.Path({npm!r}).with_name("played.json").read_text())
options = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if "=" in word)
if played["code"] is None:
    time.sleep(60)
for option, text in played["files"].items():
    pathlib.Path(options[option]).write_text(text)
print(played["printed"], end="")
sys.exit(played["code"])
"""
Scan = Callable[[Case], tuple[int, str]]
Play = Callable[..., None]


@pytest.fixture
def scan(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Scan:
    """Runs a case's scan in a service; the exit code and what was printed."""
    tiny.write("requirements/serve.txt", "".join(f"{n}=={v} --hash=sha256:{'0' * 64}\n" for n, v in SHIPPED.items()))

    def run(case: Case) -> tuple[int, str]:
        tiny.write("src/service/flaw.py", case.source)
        tiny.write(".snyk", case.policy)
        monkeypatch.setenv("SNYK_TOKEN", case.token)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # where the CLI keeps a developer's settings
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr(scanning, "SECONDS", 2 if case.harm == "hangs" else 300)
        monkeypatch.chdir(tiny.root)
        result = scanning.main([case.kind])
        printed = "".join(capsys.readouterr())
        assert TOKEN not in printed
        return result, printed

    return run


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Puts a CLI in the place of the pinned one that plays a recording; or ``cli``, without another installation."""

    def put(recording: dict[str, object], npm_code: int = 0, cli: str = "") -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        words = {"python": sys.executable, "npm": str(folder / "npm"), "npm_code": npm_code, "cli": cli}
        (folder / "npm").write_text(PLAYER.format(**words))
        (folder / "npm").chmod(0o755)
        (folder / "played.json").write_text(json.dumps(recording))
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The pinned CLI, installed by npm; otherwise the test is skipped."""
    found = shutil.which("npm")
    if not found or not shutil.which("node"):
        pytest.skip("NOT TESTED: there is no npm or no node here, which run Snyk's CLI")
    folder = tmp_path_factory.mktemp("npm")
    shutil.copytree(scanning.CLI, folder, dirs_exist_ok=True)
    words = [found, "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
    done = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True)
    assert "EINTEGRITY" not in done.stderr
    if done.returncode != 0:
        pytest.skip("NOT TESTED: npm could not fetch Snyk's CLI")
    return str(folder / "node_modules/.bin/snyk")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[SnykApi]:
    with snyk_api() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("name", CASES)
def test_recorded_output_is_judged(scan: Scan, play: Play, name: str) -> None:
    """What the pinned CLI wrote and printed in each case ends the session as it must, with the reason."""
    play(RECORDED[name])
    code, printed = scan(CASES[name])
    assert (code, CASES[name].printed in printed) == (CASES[name].code, True), printed


@pytest.mark.parametrize("name", CASES)
def test_pinned_cli_does_as_recorded(
    scan: Scan, api: SnykApi, play: Play, cli: str, name: str, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    """The real CLI, installed by its hash, judges exactly the tree and what is shipped; the recordings are what it does."""
    case = CASES[name]
    api.known, api.harm = case.known, case.harm
    if "clean" not in name:
        play({}, cli=cli)
    kept: list[dict[str, object]] = []
    really = subprocess.run

    def record(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        try:
            done: subprocess.CompletedProcess[str] = really(words, **options)  # type: ignore[call-overload]
        except subprocess.TimeoutExpired:
            kept.append({"code": None, "printed": "", "files": {}})
            raise
        if "ci" not in words:
            outputs = dict(word.lstrip("-").split("=", 1) for word in words if "-file-output=" in word)
            files = {option: Path(path).read_text() for option, path in outputs.items() if Path(path).exists()}
            kept.append({"code": done.returncode, "printed": done.stdout, "files": files})
        return done

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", record)
        code, printed = scan(case)
    assert (code, case.printed in printed) == (case.code, True), printed
    if case.kind == "sca" and not case.harm and case.token == TOKEN:
        assert api.packages == {f"{name}=={version}" for name, version in SHIPPED.items()}
    if name == "code: clean":
        assert api.files.keys() >= {"src/service/handler.py", "src/service/flaw.py"}
        assert not [path for path in api.files if path.startswith(("build", ".pipeline"))]
        assert (tiny.root / ".dccache").exists()
    (found,) = json.loads(json.dumps(kept).replace(str(tiny.root), "/service").replace(str(api.server_port), "PORT"))
    if os.environ.get("SNYK_RECORD"):
        RECORDED[name] = found
        DATA.write_text(json.dumps(RECORDED, indent=1, ensure_ascii=False) + "\n")
    assert found == RECORDED[name]


def test_clean_code_has_sarif_and_no_json() -> None:
    """What the judgement of code rests on: without a finding the CLI writes SARIF only."""
    assert set(RECORDED["code: clean"]["files"]) == {"sarif-file-output"}  # type: ignore[call-overload]


def test_exit_code_and_report_must_agree(scan: Scan, play: Play) -> None:
    """A recording that contradicts itself, or lacks its report, passes neither way."""
    for kind, prefix in (("sast", "code"), ("sca", "packages")):
        clean, bad = RECORDED[f"{prefix}: clean"], RECORDED[f"{prefix}: one finding"]
        for recording, message in (
            (clean | {"code": 1}, "exited with 1, but reports 0 findings"),
            (bad | {"code": 0}, "exited with 0, but reports 1 findings"),
            (clean | {"files": {}}, "exited with 0, but without a report"),
            (bad | {"files": {}}, "exited with 1, but without a report"),
            (clean | {"code": 137}, "exited with 137, so nothing was scanned"),
            (clean | {"code": 3}, "found nothing to test, so nothing was scanned"),
        ):
            play(recording)
            code, printed = scan(Case(kind, 1, ""))
            assert (code, message in printed) == (1, True), printed
    report = RECORDED["packages: clean"]["files"]["json-file-output"]  # type: ignore[index]
    for old, new, message in (
        ('"dependencyCount": 4', '"dependencyCount": 3', "snyk checked 3 packages, but 4 are shipped"),
        ('"dependencyCount": 4', '"dependencyCount": 5', "snyk checked 5 packages, but 4 are shipped"),
        ('"ok": true', '"ok": false', "without a report"),
        ('"vulnerabilities": []', '"error": "no"', "without a report"),
    ):
        assert old in report
        play(RECORDED["packages: clean"] | {"files": {"json-file-output": report.replace(old, new)}})
        code, printed = scan(Case("sca", 1, ""))
        assert (code, message in printed) == (1, True), printed
    for broken in ('{"runs": []}', '{"runs": [{"tool": {}}]}', "[]", "not JSON"):
        play(RECORDED["code: clean"] | {"files": {"sarif-file-output": broken}})
        assert "without a report" in scan(Case("sast", 1, ""))[1]


def test_service_that_ships_nothing_is_not_asked_for(scan: Scan, tiny: Tiny) -> None:
    """Without a shipped package there is nothing to check, which is no fault; the CLI would refuse."""
    tiny.write("requirements/serve.txt", "# nothing\n")
    assert scan(Case("sca", 0, "")) == (0, "sca: no packages are shipped\n")


def test_cli_is_pinned_by_its_hash() -> None:
    """One version, in the manifest and in the lock, with the registry's integrity hash; nothing else installs or calls Snyk."""
    manifest = json.loads((scanning.CLI / "package.json").read_text())["dependencies"]
    packages = json.loads((scanning.CLI / "package-lock.json").read_text())["packages"]
    assert set(packages) == {"", "node_modules/snyk"}
    assert manifest == packages[""]["dependencies"] == {"snyk": packages["node_modules/snyk"]["version"]}
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", packages["node_modules/snyk"]["integrity"])
    shipped = [p for p in TEMPLATE.rglob("*") if p.is_file() and p.suffix in {".yml", ".py", ".md", ".toml", ""}]
    installs = re.compile(r"snyk/actions|npm install.*snyk|npx snyk|snyk@|snyk auth")
    assert [p.name for p in shipped if installs.search(p.read_text(errors="replace"))] == []


def test_npm_that_is_missing_or_fails_is_reported(scan: Scan, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token without the means to install the CLI is no reason to fall back to another scanner silently."""
    play(RECORDED["code: clean"], npm_code=1)
    assert "✗ npm could not install Snyk's CLI" in scan(CASES["code: clean"])[1]
    monkeypatch.setenv("PATH", "/nonexistent")
    code, printed = scan(CASES["code: clean"])
    assert (code, "there is no npm on the PATH" in printed) == (1, True)


def test_token_is_not_printed(scan: Scan, play: Play) -> None:
    """What Snyk prints of its token is masked."""
    play({"code": 2, "printed": f"bad token {TOKEN}", "files": {}})
    assert "bad token ***" in scan(CASES["packages: clean"])[1]


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
