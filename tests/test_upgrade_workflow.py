"""The weekly workflow: its own steps upgrade a service on a branch and open one pull request."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from bake import git
from test_upgrade import arrived, old, service
from workflow import Event, Runner

from ml_delivery import upgrade
from ml_delivery.errors import SetupError

__all__ = ["old", "service"]  # fixtures


def test_workflow_opens_one_pull_request(service: Path, tmp_path: Path) -> None:
    """upgrade.yml's own steps: with the token a branch and a pull request, once; without it the check fails, and nothing more."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(service, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(service, "push", "--quiet", "origin", "main")
    gh = tmp_path / "bin/gh"
    gh.parent.mkdir()
    gh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/gh.txt\necho https://github.example/pull/1\n')
    gh.chmod(0o755)
    runner = Runner(service, "", None, {"PATH": f"{gh.parent}:{os.environ['PATH']}"})  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="invoke upgrade --check ended with 2"):
        runner.job("upgrade.yml", "upgrade", Event("schedule", "main", ""))
    before = git(service, "rev-parse", "HEAD")
    event = Event("schedule", "main", "", secrets={"UPGRADE_TOKEN": "a token"})
    runner.job("upgrade.yml", "upgrade", event)
    assert "files changed, and committed: https://github.example/pull/1" in runner.printed[-1]
    branch = git(service, "branch", "--show-current")
    assert re.fullmatch(r"ml-delivery-98\.0-[0-9a-f]{7}", branch)
    assert git(service, "status", "--porcelain") == ""
    assert git(tmp_path / "origin.git", "rev-parse", branch) == git(service, "rev-parse", "HEAD")
    assert git(service, "log", "-1", "--format=%an %s") == "github-actions[bot] Update to ml-delivery 98.0"
    arrived(service)
    asked = (tmp_path / "gh.txt").read_text()
    assert asked.startswith(f"pr\ncreate\n--head\n{branch}\n--title\nUpdate to ml-delivery 98.0\n--body\n")
    assert "- A good change." in asked
    git(service, "switch", "--quiet", "main")
    assert git(service, "rev-parse", "HEAD") == before
    runner.job("upgrade.yml", "upgrade", event)
    assert "a branch with this update was already pushed" in runner.printed[-1]
    assert (tmp_path / "gh.txt").read_text() == asked
    assert [command for command in runner.ran if "upgrade" in command] == [
        ".venv/bin/invoke upgrade --check",
        ".venv/bin/invoke upgrade --pull-request",
        ".venv/bin/invoke upgrade --pull-request",
    ]


def test_pull_request_without_gh(service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where GitHub's gh is missing or refuses, the branch .* was pushed, and the message says to open the request by hand."""
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(service, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(service, "switch", "--quiet", "--create", "update")
    (service / "new.txt").write_text("New.\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SetupError, match="gh is not installed; the branch update was pushed"):
        upgrade.propose(service, "update", "Title", "Body")
    (tmp_path / "bin/gh").write_text("#!/bin/sh\necho 'no token' >&2\nexit 4\n")
    (tmp_path / "bin/gh").chmod(0o755)
    (service / "newer.txt").write_text("Newer.\n")
    with pytest.raises(SetupError, match="update was pushed, but gh pr create failed: no token"):
        upgrade.propose(service, "update", "Title", "Body")
    assert git(tmp_path / "origin.git", "show", "--name-only", "--format=%s", "update").split() == [
        "Title",
        "newer.txt",
    ]
