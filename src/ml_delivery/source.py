"""The source that is being delivered, as git reports it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from ml_delivery.errors import SourceError
from ml_delivery.records import Source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["author", "branch", "clone", "commit_of", "packed", "read", "require_clean", "time_of"]


# Modes of entries in a tree that are no files. https://git-scm.com/docs/git-fast-import#_filemodify
LINK, SUBMODULE = "120000", "160000"
REFUSED = {LINK: "a link, which no artifact holds", SUBMODULE: "another repository, which no artifact holds"}
FLAGGED = "flagged"
POINTER = b"version https://git-lfs.github.com/spec/"
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
    asked = _run(root, "rev-parse", "--git-dir")
    # https://git-scm.com/docs/git-config#Documentation/git-config.txt-safedirectory
    if allows := re.search(r"git config --global --add safe\.directory .*", asked.stderr):
        return SourceError(
            f"git does not read {root}, which belongs to another user", next=f"{allows[0]}, if you trust that user"
        )
    if asked.returncode != 0:
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
    raise SourceError(
        f"there is no branch {branch!r} here", next=f"git fetch origin {branch}:{branch}, or git branch {branch}"
    )


def clone(root: Path, commit: str, into: Path) -> Path:
    """Clone the repository of ``root`` into a new folder, at ``commit``; returns the folder that corresponds to ``root``.

    Raises:
        SourceError: there is no such commit here.
    """
    top, prefix = (_git(root, "rev-parse", asked) for asked in ("--show-toplevel", "--show-prefix"))
    _git(root, "clone", "--quiet", "--shared", "--no-checkout", top, str(into))
    if _run(into, "checkout", "--quiet", "--detach", commit).returncode != 0:
        shallow = (
            _git(root, "rev-parse", "--is-shallow-repository") == "true"
        )  # which can't be cloned with all its objects
        raise SourceError(
            f"there is no commit {commit} here",
            next=f"git fetch {'--unshallow origin' if shallow else f'origin {commit}'}",
        )
    return into / prefix


def time_of(root: Path, commit: str) -> int:
    """When ``commit`` was made, in seconds since 1970."""
    return int(_git(root, "show", "--no-patch", "--format=%ct", commit))


def packed(root: Path, tree: Source, places: tuple[str, ...], without: tuple[str, ...] = ()) -> list[tuple[str, bytes]]:
    """What ``tree`` has in ``places``, sorted: (path relative to ``root``, bytes). What git ignores is not in it.

    A clean tree's are read from git's objects: the disk may differ unnoticed, by ``assume-unchanged``, a sparse checkout or
    line ends that git converts. A dirty tree's are the disk's. Git LFS's files are the disk's, by the hash in their pointer.

    Args:
        root: the service's folder.
        tree: what ``read`` returned.
        places: files and folders, relative to ``root``.
        without: folders that are left out.

    Raises:
        SourceError: one is a link, a submodule or not fetched, or would not be in a dirty tree's name; names it.
    """
    found = _committed(root, tree.commit, places) if not tree.dirty else _on_disk(root, places)
    kept = {
        name: entry for name, entry in sorted(found.items()) if not name.startswith(tuple(f"{w}/" for w in without))
    }
    for name, entry in kept.items():
        if entry in REFUSED:
            raise SourceError(f"{name} is {REFUSED[entry]}", next="put the files themselves there, and commit them")
        if entry == FLAGGED:
            raise SourceError(
                f"git does not look for changes of {name}, so that no name can tell of them",
                next=f"git update-index --no-assume-unchanged --no-skip-worktree {name}",
            )
    contents = [(root / name).read_bytes() for name in kept] if tree.dirty else _blobs(root, [*kept.values()])
    return [(name, _fetched(root, name, data)) for name, data in zip(kept, contents, strict=True)]


def _committed(root: Path, commit: str, places: tuple[str, ...]) -> dict[str, str]:
    """What is in the commit, by its path: a blob's name, or a mode that is refused."""
    lines = _git(root, "ls-tree", "-r", "-z", commit, "--", *places).split("\0")
    entries = [(name, *about.split(" ")) for about, _, name in (line.partition("\t") for line in lines if line)]
    return {name: mode if mode in REFUSED else blob for name, mode, _, blob in entries}


def _on_disk(root: Path, places: tuple[str, ...]) -> dict[str, str]:
    """What is on the disk, by its path: empty for a file; a mode that is refused; or ``FLAGGED``."""
    lines = _git(root, "ls-files", "-z", "-v", "--cached", "--others", "--exclude-standard", "--", *places).split("\0")
    found = {}
    for flag, _, name in (line.partition(" ") for line in lines if line):
        path = root / name
        if path.is_symlink() or path.is_dir():
            found[name] = LINK if path.is_symlink() else SUBMODULE
        elif flag == "S" or flag.islower():
            found[name] = FLAGGED
        elif path.is_file():  # else it is deleted, which the tree's name tells
            found[name] = ""
    return found


def _blobs(root: Path, names: list[str]) -> list[bytes]:
    """The content of each blob. https://git-scm.com/docs/git-cat-file#_batch_output"""
    asked = "".join(f"{name}\n" for name in names).encode()
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=root, input=asked, capture_output=True, env=_environment(), check=False
    )
    contents, at = [], 0
    for name in names:
        line, _, _ = done.stdout[at : at + 200].partition(b"\n")
        _, _, size = line.partition(b" blob ")
        if not size:
            raise SourceError(f"git has no object {name}", next="git fetch --refetch origin")
        at += len(line) + 1
        contents.append(done.stdout[at : at + int(size)])
        at += int(size) + 1
    return contents


def _fetched(root: Path, name: str, data: bytes) -> bytes:
    """``data``, or where it is a pointer of Git LFS, what that points to.

    https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    if len(data) >= 1024 or not data.startswith(POINTER):
        return data
    oid = re.search(rb"^oid sha256:([0-9a-f]{64})$", data, re.M)
    try:
        content = (root / name).read_bytes()
    except OSError:
        content = b""
    if not oid or hashlib.sha256(content).hexdigest().encode() != oid[1]:
        raise SourceError(f"{name} is a pointer of Git LFS whose file was not fetched", next="git lfs pull")
    return content


def require_clean(tree: Source, cloud: str, on: str = "") -> None:
    """Allow a dirty tree only on the embedded cloud, and nowhere for a build on CodeBuild.

    Args:
        tree: the working tree.
        cloud: the cloud's name.
        on: ``codebuild`` for a build there.

    Raises:
        SourceError: ``tree`` is dirty, and that is not allowed.
    """
    if not tree.dirty or (cloud == "embedded" and not on):
        return
    where = (f" --branch {tree.branch}" if tree.branch else "") + ("" if cloud == "embedded" else f" --cloud {cloud}")
    if on:
        what, again = "CodeBuild builds a commit", f"git push, then invoke build --on {on}{where}"
    else:
        what = "only the embedded cloud accepts them"
        again = f"invoke build{where.partition(' --cloud')[0]} && invoke push{where}"
    raise SourceError(f"there are uncommitted changes; {what}", next=f"git add --all && git commit, then {again}")


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


def _environment() -> dict[str, str]:
    """The variables without git's, which a hook sets and which would make another folder, index or filter be read."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def _run(root: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, env=_environment() | (env or {}), check=False
        )
    except FileNotFoundError as error:
        raise SourceError("git is not installed", next="install git") from error
