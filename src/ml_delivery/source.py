"""The source that is being delivered, as git reports it."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from ml_delivery.errors import SourceError
from ml_delivery.records import Source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SEMANTIC",
    "author",
    "branch",
    "clone",
    "commit_of",
    "encoded",
    "place",
    "raw",
    "read",
    "require_clean",
    "require_top",
    "start",
    "tag",
    "without_tags",
]

# A tag that names a semantic version, which an image's tag can hold: https://semver.org, without build metadata.
SEMANTIC = re.compile(
    r"v(?P<numbers>(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2})(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
# What an artifact holds of the service's own files, models apart, which model.lock names by their digests.
PACKED = "src/"
# ``-uall``: with every untracked file of a new folder. Submodules count by their commit: what is in them is never packed.
STATUS = ("status", "--porcelain=v2", "-z", "-uall", "--no-renames", "--ignore-submodules=dirty", "--", ".")
DIFF = (
    "diff",
    "--name-only",
    "-z",
    "--no-renames",
    "--no-ext-diff",
    "--relative",
    "--ignore-submodules=dirty",
    "--",
    ".",
)
# The branch by its full name, since the short name is ambiguous if a tag has the same name.
BRANCH = ("--symbolic-full-name", "HEAD")


def read(root: Path) -> Source:
    """The source in ``root``.

    Raises:
        SourceError: there is no git, no repository, or no commit yet.
    """
    with start(root, "rev-parse", "--show-prefix", "HEAD", "HEAD:./", *BRANCH) as asked:
        changes = raw(root, "--no-optional-locks", *STATUS)  # at the same time
        found = asked.communicate()[0].decode("utf-8", "surrogateescape").split("\n")
    if asked.returncode != 0 or changes is None:
        raise _nothing_to_read(root)
    prefix, commit, tree, head = found[:4]
    named = _named(root, prefix, changes)
    return Source(commit=commit, branch=_branch(head), tree=named or tree, dirty=bool(named))


def _named(root: Path, prefix: str, changes: list[str]) -> str:
    """A digest that names how the working tree differs from its commit, in hex; empty if it does not.

    Tracked files, and untracked ones that are packed, count by their content. Other untracked files may be any data, of
    any size: they count by size and time, as in git's index, and are not read.
    https://git-scm.com/docs/git-status#_porcelain_format_version_2
    """
    found = []
    # To git's status a file with other line ends has changed, also where a commit would store the same: its diff knows better.
    edited = any(line.startswith("1 .M") for line in changes)
    differing = raw(root, "--no-optional-locks", *DIFF) if edited else None
    for line in changes:
        kind, *fields = line.split(" ", {"1": 8, "u": 10}.get(line[0], 1))
        name = fields[-1].removeprefix(prefix)
        if line.startswith("1 .M") and differing is not None and name not in differing:
            continue
        path, content = place(root, name), "gone"
        if os.path.islink(path):
            content = os.fsdecode(os.readlink(path))
        elif os.path.isfile(path) and (kind != "?" or name.startswith(PACKED)):
            with open(path, "rb") as file:
                content = f"{hashlib.file_digest(file, 'sha256').hexdigest()} {os.access(path, os.X_OK)}"
        elif os.path.exists(path):
            about = os.stat(path)
            content = f"{about.st_size} {about.st_mtime_ns}"
        found.append(f"{content} {name}")
    return hashlib.sha256(encoded("\0".join(sorted(found)))).hexdigest() if found else ""


def require_top(root: Path, who: str) -> None:
    """Check that ``root`` is its repository's own folder, which is where ``who`` looks for the service.

    Raises:
        SourceError: it is a folder in it.
    """
    if folder := _run(root, "rev-parse", "--show-prefix").stdout.rstrip("\n").rstrip("/"):
        raise SourceError(
            f"{root} is the folder {folder} of its repository, and {who} in a repository's own folder only",
            next=f"git subtree split --prefix {shlex.quote(folder)} --branch {root.name}, in the repository's folder: that branch "
            "is a repository of the service's own",
        )


def branch(root: Path) -> str:
    """The checked-out branch; empty on a detached HEAD.

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


def tag(root: Path, commit: str) -> str:
    """The highest semantic version, ``vMAJOR.MINOR.PATCH`` or ``vMAJOR.MINOR.PATCH-PRE``, among the tags of ``commit``.

    Empty for none. Tags that only a remote has are unknown here: ``without_tags``.
    """
    found = [match for name in _git(root, "tag", "--points-at", commit).split() if (match := SEMANTIC.fullmatch(name))]
    return max(found, key=_precedence)[0] if found else ""


def without_tags(root: Path) -> bool:
    """Whether this is a shallow clone without any tag, in which a commit's tags can't be known."""
    shallow = _git(root, "rev-parse", "--is-shallow-repository") == "true"
    return shallow and not _git(root, "tag", "--list")


def _precedence(found: re.Match[str]) -> tuple[list[int], bool, list[tuple[bool, int, str]]]:
    """https://semver.org/#spec-item-11: numbers, then no pre-release above any, whose parts compare as numbers below words."""
    parts = found["pre"].split(".") if found["pre"] else []
    words = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
    return [int(number) for number in found["numbers"].split(".")], not parts, words


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


def _git(root: Path, *words: str) -> str:
    done = _run(root, *words)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise SourceError(f"git {' '.join(words)}: {reason[0]}")
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """The variables without git's, which a hook sets and which would make another folder, index or filter be read.

    ``refs/replace`` would put other content under an object's name.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return own | {"GIT_NO_REPLACE_OBJECTS": "1"}


def start(root: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start git in ``root``, with pipes to all that it reads and writes.

    Raises:
        SourceError: git is not installed.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    try:
        return subprocess.Popen(["git", *words], cwd=root, env=_environment(), **pipes)  # type: ignore[call-overload,no-any-return]
    except FileNotFoundError as error:
        raise SourceError("git is not installed", next="install git") from error


def raw(root: Path, *words: str) -> list[str] | None:
    """What git prints with ``-z``, whatever the locale's encoding; None if it fails."""
    with start(root, *words) as asked:
        printed, _ = asked.communicate()
    return printed.decode("utf-8", "surrogateescape").split("\0")[:-1] if asked.returncode == 0 else None


def place(root: Path, name: str) -> bytes:
    """The path of a file that git names, whatever the locale's encoding."""
    return os.path.join(os.fsencode(root), encoded(name))


def encoded(text: str) -> bytes:
    """The bytes that ``raw`` decoded."""
    return text.encode("utf-8", "surrogateescape")


def _run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    with start(root, *words) as asked:
        printed = [each.decode("utf-8", "surrogateescape") for each in asked.communicate()]
    return subprocess.CompletedProcess(asked.args, asked.returncode, *printed)
