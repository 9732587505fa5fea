"""Security scans: Snyk if ``SNYK_TOKEN`` is set, else bandit and pip-audit; prints which one ran.

Snyk's CLI is the one of ``locks/snyk``: npm installs it for each scan, by its hash.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ml_delivery.dependencies import locks
from ml_delivery.errors import PipelineError, SetupError

__all__ = ["main"]

SCANS = Path("build/scans")
POLICY = ".snyk"
THRESHOLD = "high"
NOT_CHECKED = 75
CLI = Path(__file__).parent / "locks/snyk"
# An API that does not answer makes the CLI retry for more than an hour.
SECONDS = 900
CHECK = "correct SNYK_TOKEN and SNYK_API (the API of your region), or: unset SNYK_TOKEN"
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
    # Without a finding the CLI writes its SARIF and no JSON, also if both are asked for; with one it writes both.
    sarif = SCANS / "sast.sarif"
    words = ["code", "test", f"--sarif-file-output={sarif}"]
    _snyk(words, sarif, _results, more, next=f"fix it, or exclude the file in {POLICY}")
    return f"snyk code test found nothing at or above {THRESHOLD}"


def _snyk_test(more: list[str]) -> str:
    report = SCANS / "sca.json"
    if not (pins := locks.shipped(Path())):
        return "no packages are shipped"  # the CLI refuses a lockfile without any
    words = ["test", f"--file={_as_poetry(pins)}", "--package-manager=poetry", f"--command={sys.executable}"]
    words += [f"--policy-path={POLICY}", f"--json-file-output={report}", f"--sarif-file-output={SCANS / 'sca.sarif'}"]
    accept = f"nox -s lock -- --upgrade-package NAME, or accept it for a time in {POLICY}"
    content = _snyk(words, report, _vulnerabilities, more, next=accept)
    if (known := content.get("dependencyCount")) != len(pins):
        raise SetupError(f"snyk checked {known} packages, but {len(pins)} are shipped", next=f"read {report}")
    return f"snyk test knows {known} packages, no vulnerability at or above {THRESHOLD}"


def _snyk(
    words: list[str], report: Path, findings: Callable[[Any], list[Any]], more: list[str], *, next: str
) -> dict[str, Any]:
    """Run the pinned CLI; returns its report, in which there are no findings.

    Args:
        words: the command and its options.
        report: the file that it writes.
        findings: reads them from the report; fails with a KeyError, TypeError or IndexError if it is no such report.
        more: the caller's further options.
        next: what to do about findings.

    Raises:
        Found: the report has findings.
        SetupError: there was no scan. Neither the exit code nor the report proves one: they must agree.
    """
    name = " ".join(["snyk", *words[: words.index("test") + 1]])
    with _cli() as snyk:
        command = [snyk, *words, f"--severity-threshold={THRESHOLD}", *more]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SetupError(f"{name} timed out after {SECONDS} s, so nothing was scanned", next=CHECK) from error
    meaning = SNYK_CODES.get(done.returncode, f"exited with {done.returncode}")
    printed = (done.stdout.strip() or done.stderr.strip()).replace(os.environ["SNYK_TOKEN"], "***")
    if done.returncode not in (0, 1):
        raise SetupError(f"{name} {meaning}, so nothing was scanned:\n{printed}", next=CHECK)
    try:
        content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        found = findings(content)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SetupError(
            f"{name} exited with {done.returncode}, but without a report:\n{printed}", next=CHECK
        ) from error
    if bool(found) != (done.returncode == 1):
        raise SetupError(
            f"{name} exited with {done.returncode}, but reports {len(found)} findings", next=f"read {report}"
        )
    if found:
        raise Found(f"{name} {meaning}:\n{printed}", next=next)
    return content


def _results(sarif: Any) -> list[Any]:
    return [*sarif["runs"][0]["results"], *(result for run in sarif["runs"][1:] for result in run["results"])]


def _vulnerabilities(report: Any) -> list[Any]:
    found: list[Any] = report["vulnerabilities"]
    if report["ok"] is not (not found):
        raise ValueError("ok and vulnerabilities disagree")
    return found


@contextmanager
def _cli() -> Iterator[str]:
    """The pinned CLI, in a folder of its own as long as the scan runs; npm compares its hash with the lockfile's."""
    if not (npm := shutil.which("npm")):
        raise SetupError(
            "SNYK_TOKEN is set, but there is no npm on the PATH to install Snyk's CLI",
            next="install Node.js, or: unset SNYK_TOKEN",
        )
    with TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(CLI / name, Path(folder, name))
        # Its cache is addressed by content and verified when read, so a second scan needs no network.
        words = ["ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
        done = subprocess.run([npm, *words], cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SetupError(
                f"npm could not install Snyk's CLI:\n{done.stderr.strip()}",
                next="check the network, then run this again",
            )
        yield str(Path(folder, "node_modules/.bin/snyk"))


def _as_poetry(pins: list[str]) -> Path:
    """Write ``pins`` as Poetry's files; returns the path of the lockfile.

    For a requirements file the CLI judges what is installed, with whatever else is there; for a Poetry lockfile it judges what
    that lists, on any machine and without an installation. It leaves out "setuptools", "pip" and "wheel", but not in capitals.
    """
    names, entries = [], []
    for name, _, version in (pin.partition("==") for pin in pins):
        names.append(f'{name.upper()} = "{version}"\n')
        entries.append(f'[[package]]\nname = "{name}"\nversion = "{version}"\n')
    lock = SCANS / "sca" / "poetry.lock"
    lock.parent.mkdir(exist_ok=True)
    project = '[tool.poetry]\nname = "service"\nversion = "0"\n\n[tool.poetry.dependencies]\n'
    (lock.parent / "pyproject.toml").write_text(project + "".join(names), encoding="utf-8")
    lock.write_text("\n".join(entries), encoding="utf-8")
    return lock


def _shipped() -> Path:
    """Write the pins of the shipped packages to a file; returns its path."""
    pins = SCANS / "sca.txt"
    pins.write_text("\n".join(locks.shipped(Path())) + "\n")
    return pins


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
