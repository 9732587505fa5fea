"""What is being delivered, as git sees it."""

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


# Where the head is; by its full name, since the short one is another where a tag is called like the branch.
BRANCH = ("--symbolic-full-name", "HEAD")


def read(root: Path) -> Source:
    """The source in ``root``.

    Raises:
        SourceError: no git, no repository, or no commit yet.
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
        SourceError: no git, no repository, or no commit yet.
    """
    done = _run(root, "rev-parse", *BRANCH)
    if done.returncode != 0:
        raise _nothing_to_read(root)
    return _branch(done.stdout.strip())


def _branch(head: str) -> str:
    return "" if head == "HEAD" else head.removeprefix("refs/heads/")


def _nothing_to_read(root: Path) -> SourceError:
    """Why git could not say what ``root`` is at."""
    if _run(root, "rev-parse", "--git-dir").returncode != 0:
        return SourceError(f"{root} is not in a git repository", next="git init && git add -A")
    if _run(root, "rev-parse", "--verify", "HEAD").returncode != 0:
        return SourceError(f"{root} has no commit yet", next="git add -A && git commit -m 'Start'")
    return SourceError(f"{root} is not in its repository's last commit", next="git add -A && git commit -m 'Start'")


def commit_of(root: Path, branch: str) -> str:
    """The commit at the head of ``branch``, local or, failing that, of ``origin``.

    Raises:
        SourceError: there is no such branch.
    """
    for ref in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}"):
        done = _run(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.strip()
    raise SourceError(f"there is no branch {branch!r} here", next=f"git fetch origin {branch}, or git branch {branch}")


def clone(root: Path, commit: str, into: Path) -> Path:
    """A clean checkout of ``commit`` in a new folder, of the repository that ``root`` is in; where ``root`` is in it.

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
    """Let a changed tree go to the embedded cloud only.

    Raises:
        SourceError: ``tree`` is dirty, and ``cloud`` is another one.
    """
    if tree.dirty and cloud != "embedded":
        raise SourceError(
            "there are changes that are not committed; only the embedded cloud takes those",
            next="git commit, then invoke build and invoke push",
        )


def author(root: Path) -> str:
    """Who acts, for the record: who started the workflow, or as git knows them, or the login name."""
    if actor := os.environ.get("GITHUB_ACTOR", ""):
        return actor
    done = _run(root, "config", "user.email")
    return done.stdout.strip() or os.environ.get("USER", "unknown")


def _working_tree(root: Path, objects: str, index: str, prefix: str) -> str:
    """Git's own tree digest of the files as they are; objects and index go to a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        env = {
            **os.environ,
            "GIT_INDEX_FILE": f"{scratch}/index",
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        if os.path.exists(index):  # its cached stat data spares reading every file again
            # With its time: git takes an entry that is as young as the index for possibly changed.
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
