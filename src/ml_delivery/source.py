"""The source that is being delivered, as git reports it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from ml_delivery.errors import SourceError
from ml_delivery.records import Source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["author", "branch", "clone", "commit_of", "files", "read", "require_clean", "time_of"]


# The branch by its full name, since the short name is ambiguous if a tag has the same name.
BRANCH = ("--symbolic-full-name", "HEAD")


def read(root: Path) -> Source:
    """The source in ``root``.

    Raises:
        SourceError: there is no git, no repository, or no commit yet.
    """
    asked = ["--git-path", "objects", "--git-path", "index", "--show-prefix", "HEAD", "HEAD:./", *BRANCH]
    done = _run(root, "rev-parse", "--path-format=absolute", *asked)
    if done.returncode != 0:
        raise _nothing_to_read(root)
    objects, index, prefix, commit, committed, head = done.stdout.split("\n")[:6]
    tree = _working_tree(root, objects, index, prefix)
    return Source(commit=commit, branch=_branch(head), tree=tree, dirty=tree != committed)


def branch(root: Path) -> str:
    """The checked-out branch; empty on a detached head.

    Raises:
        SourceError: there is no git, no repository, or no commit yet.
    """
    done = _run(root, "rev-parse", *BRANCH)
    if done.returncode != 0:
        raise _nothing_to_read(root)
    return _branch(done.stdout.strip())


def _branch(head: str) -> str:
    return "" if head == "HEAD" else head.removeprefix("refs/heads/")


def _nothing_to_read(root: Path) -> SourceError:
    """The error for a ``root`` without a commit."""
    if _run(root, "rev-parse", "--git-dir").returncode != 0:
        return SourceError(f"{root} is not in a git repository", next="git init && git add -A && git commit -m 'Start'")
    if _run(root, "rev-parse", "--verify", "HEAD").returncode != 0:
        return SourceError(f"{root} has no commit yet", next="git add -A && git commit -m 'Start'")
    return SourceError(f"{root} is not in its repository's last commit", next="git add -A && git commit -m 'Start'")


def commit_of(root: Path, branch: str) -> str:
    """The newest commit of ``branch``, local or, if there is no local one, of ``origin``.

    Raises:
        SourceError: there is no such branch.
    """
    for ref in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"):
        done = _run(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.strip()
    raise SourceError(f"there is no branch {branch!r} here", next=f"git fetch origin {branch}, or git branch {branch}")


def clone(root: Path, commit: str, into: Path) -> Path:
    """Clone the repository of ``root`` into a new folder, at ``commit``; returns the folder that corresponds to ``root``.

    Raises:
        SourceError: there is no such commit here.
    """
    top, prefix = (_git(root, "rev-parse", asked) for asked in ("--show-toplevel", "--show-prefix"))
    _git(root, "clone", "--quiet", "--shared", "--no-checkout", top, str(into))
    if _run(into, "checkout", "--quiet", "--detach", commit).returncode != 0:
        raise SourceError(f"there is no commit {commit} here", next="git fetch origin")
    return into / prefix


def time_of(root: Path, commit: str) -> int:
    """When ``commit`` was made, in seconds since 1970."""
    return int(_git(root, "show", "--no-patch", "--format=%ct", commit))


def files(root: Path, folder: str) -> list[str]:
    """The files below ``folder`` that are not ignored, sorted, relative to ``root``."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder)
    return sorted({name for name in listed.split("\0") if name})


def require_clean(tree: Source, cloud: str) -> None:
    """Allow a dirty tree only on the embedded cloud.

    Raises:
        SourceError: ``tree`` is dirty, and ``cloud`` is not the embedded one.
    """
    if tree.dirty and cloud != "embedded":
        branch = f" --branch {tree.branch}" if tree.branch else ""
        again = f"invoke build{branch} && invoke push{branch} --cloud {cloud}"
        if cloud == "codebuild":
            again = f"git push, then invoke build --on codebuild{branch}"
        raise SourceError(
            "there are uncommitted changes; only the embedded cloud accepts them",
            next=f"git add --all && git commit, then {again}",
        )


def author(root: Path) -> str:
    """The user, for the record: who started the workflow, else git's user.email, else the login name."""
    if actor := os.environ.get("GITHUB_ACTOR", ""):
        return actor
    done = _run(root, "config", "user.email")
    return done.stdout.strip() or os.environ.get("USER", "unknown")


def _working_tree(root: Path, objects: str, index: str, prefix: str) -> str:
    """Git's tree digest of the current files; objects and index are written to a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {
            **os.environ,
            "GIT_INDEX_FILE": f"{scratch}/index",
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        if os.path.exists(index):  # with its cached stat data, git need not read every file again
            # With its time stamp: git reads entries again that are not older than the index.
            shutil.copy2(index, f"{scratch}/index")
        _git(root, "add", "--all", ".", env=env)
        return _git(root, "write-tree", *([f"--prefix={prefix}"] if prefix else []), env=env)


def _git(root: Path, *words: str, env: dict[str, str] | None = None) -> str:
    done = _run(root, *words, env=env)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise SourceError(f"git {' '.join(words)}: {reason[0]}")
    return done.stdout.strip()


def _run(root: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, env=env, check=False)
    except FileNotFoundError as error:
        raise SourceError("git is not installed", next="install git") from error
