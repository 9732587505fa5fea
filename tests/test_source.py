"""What git says of a tree, and what is said when git has nothing to say."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from ml_delivery import files, source
from ml_delivery.errors import SourceError


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    return subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / ".gitignore").write_text("ignored\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "Start")
    return tmp_path


def test_clean_tree_is_its_commit(repository: Path) -> None:
    """A tree as committed is named by its commit, ignored files notwithstanding."""
    (repository / "ignored").write_text("x")
    found = source.read(repository)
    assert (found.version, found.branch, found.dirty) == (git(repository, "rev-parse", "HEAD"), "main", False)


@pytest.mark.parametrize("change", ["edit", "same size", "new file", "delete", "staged"])
def test_any_change_makes_it_dirty(repository: Path, change: str) -> None:
    """An edited, new, deleted or staged file marks the tree, and two different changes have different names."""
    commit = source.read(repository).commit
    if change == "delete":
        (repository / "a.txt").unlink()
    else:
        name = "b.txt" if change == "new file" else "a.txt"
        (repository / name).write_text("two\n" if change == "same size" else "more\n")
    if change == "staged":
        git(repository, "add", "--all")
    found = source.read(repository)
    assert found.dirty
    assert found.version == f"{commit}-dirty-{found.tree[:12]}"
    (repository / "a.txt").write_text("three\n")
    assert source.read(repository).version != found.version


def test_name_of_a_dirty_tree_is_of_its_content(repository: Path) -> None:
    """It returns with the content, whatever is staged, and without a look at the time of what git tracks or packs."""
    (repository / "src").mkdir()
    (repository / "a.txt").write_text("two\n")
    (repository / "src/b.py").write_text("new\n")
    before = source.read(repository)
    git(repository, "add", "--all")
    for name in ("a.txt", "src/b.py"):
        os.utime(repository / name, (1, 1))
    assert source.read(repository) == before
    git(repository, "reset", "--quiet")
    assert source.read(repository) == before
    for name in ("a.txt", "src/b.py"):
        text = (repository / name).read_text()
        (repository / name).write_text(text.upper())
        assert source.read(repository).version != before.version
        (repository / name).write_text(text)
    assert source.read(repository) == before


def test_large_untracked_file_is_not_read(repository: Path) -> None:
    """Only its name, size and time count: 100 GB, which can't be hashed in seconds, cost nothing."""
    commit, began = source.read(repository), time.monotonic()
    (repository / "data").mkdir()
    with (repository / "data/big.bin").open("wb") as file:
        file.truncate(100 << 30)
    dirty = source.read(repository)
    assert (commit.dirty, dirty.dirty) == (False, True)
    assert source.read(repository) == dirty
    os.truncate(repository / "data/big.bin", 99 << 30)
    smaller = source.read(repository)
    os.utime(repository / "data/big.bin", (1, 1))
    assert len({dirty.version, smaller.version, source.read(repository).version}) == 3
    assert time.monotonic() - began < 10
    os.truncate(repository / "data/big.bin", 0)


def test_looking_changes_nothing(repository: Path) -> None:
    """Reading a dirty tree leaves index and objects as they were."""
    (repository / "b.txt").write_text("new\n")
    before = sorted(p.relative_to(repository) for p in (repository / ".git").rglob("*"))
    status = git(repository, "status", "--porcelain")
    source.read(repository)
    assert sorted(p.relative_to(repository) for p in (repository / ".git").rglob("*")) == before
    assert git(repository, "status", "--porcelain") == status


def test_service_in_a_folder_of_a_repository(repository: Path) -> None:
    """A service may be one folder of a larger repository: only that folder counts."""
    (repository / "service").mkdir()
    (repository / "service/x.txt").write_text("x")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Add")
    (repository / "a.txt").write_text("changed\n")
    assert not source.read(repository / "service").dirty
    (repository / "service/x.txt").write_text("y")
    assert source.read(repository / "service").dirty


def test_tag_of_the_branchs_name_is_no_branch(repository: Path) -> None:
    """A tag that is called like the branch changes neither its name nor what is read."""
    git(repository, "tag", "main")
    assert source.read(repository).branch == source.branch(repository) == "main"
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "After the tag")
    assert source.commit_of(repository, "main") == source.read(repository).commit


def test_clone_of_a_folder_of_a_repository(repository: Path, tmp_path: Path) -> None:
    """A service in a folder is cloned with its repository, and found in there."""
    commit = source.read(repository).commit
    (repository / "inner").mkdir()
    assert source.clone(repository / "inner", commit, tmp_path / "clone") == tmp_path / "clone/inner"
    assert (tmp_path / "clone/.git").is_dir()


def test_no_repository_no_commit_and_detached_head(tmp_path: Path, repository: Path) -> None:
    """Each is said in words; a detached head has no branch."""
    empty = tmp_path / "ignored"
    empty.mkdir()
    git(empty, "init", "--quiet")
    with pytest.raises(SourceError, match="has no commit yet"):
        source.read(empty)
    git(repository, "checkout", "--quiet", "--detach")
    assert source.read(repository).branch == ""
    with pytest.raises(SourceError, match="there is no branch 'x' here"):
        source.commit_of(repository, "x")


def test_outside_of_a_repository(tmp_path: Path) -> None:
    """A folder that git does not know is refused with the command to type."""
    with pytest.raises(SourceError, match="is not in a git repository") as fault:
        source.read(tmp_path)
    assert fault.value.next == "git init && git add -A && git commit -m 'Start'"


def test_files_are_those_that_git_would_take(repository: Path) -> None:
    """Tracked and new files count; what is ignored does not."""
    (repository / "src/service").mkdir(parents=True)
    for name in ("kept.py", "ignored"):
        (repository / "src/service" / name).write_text("")
    with files.opened(repository, source.read(repository)) as held:
        assert held.below("src/service") == {"src/service/kept.py": b""}
