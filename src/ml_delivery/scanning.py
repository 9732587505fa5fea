"""Security scans: Snyk if ``SNYK_TOKEN`` is set, else bandit and pip-audit; prints which one ran.

Run by nox as ``python -m ml_delivery.scanning sast`` or ``sca``; further arguments go to the scanner. The results are in
``build/scans`` as JSON, and as SARIF if the scanner supports it. A scan that could not run never passes: its exit code is 1,
or 75 if only the vulnerability service did not answer and this is not CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ml_delivery.dependencies import locks
from ml_delivery.errors import PipelineError, SetupError

__all__ = ["main"]

SCANS = Path("build/scans")
POLICY = ".snyk"
THRESHOLD = "high"
NOT_CHECKED = 75
# https://docs.snyk.io/snyk-cli/commands/test#exit-codes
SNYK_CODES = {0: "clean", 1: "found something", 2: "failed", 3: "found nothing to test"}


class Found(PipelineError):
    """The scan ran, and found something."""


class NotChecked(PipelineError):
    """The vulnerability service did not answer."""

    exit_code = NOT_CHECKED


def main(words: list[str]) -> int:
    """Run a scan; returns the exit code."""
    kind, *more = words
    SCANS.mkdir(parents=True, exist_ok=True)
    for old in SCANS.glob(f"{kind}.*"):
        old.unlink()  # an old report must not be read as a new one
    by_snyk = bool(os.environ.get("SNYK_TOKEN"))
    scan = {"sast": _snyk_code if by_snyk else _bandit, "sca": _snyk_test if by_snyk else _pip_audit}[kind]
    try:
        print(f"{kind}: {scan(more)}", flush=True)
    except NotChecked as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") else error.exit_code
    except PipelineError as error:
        print(f"✗ {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _bandit(more: list[str]) -> str:
    words = ["bandit", "--quiet", "--recursive", "--configfile", "pyproject.toml", "src", *more]
    kept = ["--format=sarif", f"--output={SCANS / 'sast.sarif'}", "--exit-zero"]
    done = subprocess.run([*words, *kept], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SetupError(f"bandit failed: {done.stderr.strip() or done.stdout.strip()}")
    if subprocess.run(words, check=False).returncode != 0:
        raise Found("bandit found something", next="fix it, or mark the line with a reason: # nosec B000 reason")
    return "bandit found nothing"


def _pip_audit(more: list[str]) -> str:
    pins = _shipped()
    report = SCANS / "sca.json"
    words = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", f"--output={report}"]
    done = subprocess.run(
        ["pip-audit", f"--requirement={pins}", *words, *more], check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 1):
        raise SetupError(f"pip-audit failed: {done.stderr.strip()}")
    found = json.loads(report.read_text())["dependencies"] if report.exists() else []
    if bad := [f"{d['name']} {d['version']}: {v['id']}" for d in found for v in d.get("vulns", [])]:
        raise Found("vulnerable: " + "; ".join(bad), next="nox -s lock -- --upgrade-package NAME")
    checked = {f"{d['name']}=={d['version']}" for d in found if "vulns" in d}
    if missed := set(pins.read_text().split()) - checked:
        raise NotChecked(f"NOT CHECKED: the vulnerability service did not answer for {', '.join(sorted(missed))}")
    return f"pip-audit knows {len(found)} packages, no known vulnerability"


def _snyk_code(more: list[str]) -> str:
    report = _snyk("sast", ["code", "test"], more)
    results = [result for run in report["runs"] for result in run["results"]]
    return f"snyk code test found nothing at or above {THRESHOLD} ({len(results)} below)"


def _snyk_test(more: list[str]) -> str:
    pins = _shipped()
    words = [
        "test",
        f"--file={pins}",
        "--package-manager=pip",
        f"--command={sys.executable}",
        f"--policy-path={POLICY}",
    ]
    report = _snyk("sca", words, more)
    known = int(report.get("dependencyCount", 0))
    if known < (count := len(pins.read_text().split())):
        raise SetupError(f"snyk checked {known} of {count} packages", next="nox -s sca --reuse-existing-virtualenvs=no")
    return f"snyk test knows {known} packages, no vulnerability at or above {THRESHOLD}"


def _snyk(kind: str, words: list[str], more: list[str]) -> Any:
    """Run snyk; returns its report. The exit code alone proves nothing: without a report there was no scan."""
    if not (snyk := shutil.which("snyk")):
        raise SetupError("SNYK_TOKEN is set, but there is no snyk on the PATH", next="npm install --global snyk")
    report, sarif = SCANS / f"{kind}.json", SCANS / f"{kind}.sarif"
    options = [f"--severity-threshold={THRESHOLD}", f"--json-file-output={report}", f"--sarif-file-output={sarif}"]
    done = subprocess.run([snyk, *words, *options, *more], check=False, capture_output=True, text=True)
    meaning = SNYK_CODES.get(done.returncode, f"exited with {done.returncode}")
    said = (done.stdout.strip() or done.stderr.strip()).replace(os.environ["SNYK_TOKEN"], "***")
    if done.returncode == 1:
        raise Found(
            f"snyk {' '.join(words[:2])} {meaning}:\n{said}", next=f"fix it, or accept it temporarily in {POLICY}"
        )
    if done.returncode != 0:
        raise SetupError(f"snyk {meaning}, so nothing was scanned:\n{said}", next="snyk auth, or unset SNYK_TOKEN")
    try:
        content = json.loads(report.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(
            f"snyk exited with 0, but without a report:\n{said}", next="npm install --global snyk"
        ) from error
    if not isinstance(content, dict) or not ("runs" in content or content.get("ok") is True):
        raise SetupError("snyk exited with 0, but its report does not confirm success", next=f"read {report}")
    return content


def _shipped() -> Path:
    """Write the pins of the shipped packages to a file; returns its path."""
    pins = SCANS / "sca.txt"
    pins.write_text("\n".join(locks.shipped(Path())) + "\n")
    return pins


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
