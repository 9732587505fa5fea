"""What a clean tree packs is what git's objects hold, whatever is on the disk; what no artifact can hold is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny import Tiny

from ml_delivery import source
from ml_delivery.artifact import build
from ml_delivery.errors import SourceError

HANDLER = "src/service/handler.py"


@pytest.fixture
def service(tmp_path: Path) -> Tiny:
    """A tiny service without dependencies."""
    (tmp_path / "state").mkdir()
    return Tiny(tmp_path / "service", tmp_path / "state", "packed")


def packed(service: Tiny) -> dict[str, bytes]:
    """What would be packed of ``src/``."""
    return dict(source.packed(service.root, source.read(service.root), ("src",)))


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_change_that_git_does_not_look_for_is_not_packed(service: Tiny, flag: str) -> None:
    """A clean tree's bytes are the commit's; where the tree is dirty, the file that could differ unnoticed is named."""
    before = build.build(service.config).digest
    service.git("update-index", flag, HANDLER)
    service.replace(HANDLER, '"first"', '"implant"')
    manifest = build.build(service.config)
    assert (manifest.dirty, manifest.digest) == (False, before)
    service.write("src/service/more.py", "")
    with pytest.raises(SourceError, match=rf"git does not look for changes of {HANDLER}") as fault:
        build.build(service.config)
    assert HANDLER in fault.value.next


def test_sparse_checkout_and_line_ends_give_the_same_bytes(service: Tiny, tmp_path: Path) -> None:
    """A colleague's checkout, with Windows' line ends or with a part of the files only, packs what everyone's does."""
    before = build.build(service.config).digest
    clone = tmp_path / "clone"
    options = ["-c", "core.autocrlf=true"]
    subprocess.run(["git", "clone", "--quiet", *options, service.root, clone], check=True)
    assert b"\r\n" in (clone / HANDLER).read_bytes()
    (clone / ".pipeline").mkdir(exist_ok=True)
    found = build.build(service.config.__class__(**{**vars(service.config), "root": clone}))
    assert (found.dirty, found.digest) == (False, before)
    service.git("sparse-checkout", "set", "--no-cone", "/*", f"!/{HANDLER}")
    assert not (service.root / HANDLER).exists()
    assert build.build(service.config).digest == before


def test_gits_variables_are_not_passed_on(service: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of a linked worktree sets them; the tree that is read and packed is the folder's all the same."""
    service.write(".gitignore", ".pipeline\nbuild/\n.env\n")
    service.commit()
    service.write("src/service/.env", "TOKEN=s3cret")
    expected = source.read(service.root), packed(service)
    other = tmp_path / "other"
    subprocess.run(["git", "init", "--quiet", other], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert (source.read(service.root), packed(service)) == expected
    assert "src/service/.env" not in expected[1]


@pytest.mark.parametrize("commit", [True, False], ids=["clean", "dirty"])
@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "repository"])
def test_what_is_no_file_is_named(service: Tiny, kind: str, commit: bool) -> None:
    """Links and submodules are refused, neither followed nor left out silently."""
    place = service.root / "src/service/extra"
    if kind == "repository":
        shutil.copytree(service.root / ".git", place / ".git")
        (place / "module.py").touch()
    else:
        place.symlink_to(service.root / ("src/service/handler.py" if kind.endswith("file") else "models"))
    if commit:
        service.commit()
    what = "another repository" if kind == "repository" else "a link"
    with pytest.raises(SourceError, match=rf"src/service/extra/? is {what}, which no artifact holds"):
        build.build(service.config)


@pytest.mark.parametrize("commit", [True, False], ids=["clean", "dirty"])
def test_file_of_lfs_is_packed_once_it_is_fetched(service: Tiny, commit: bool) -> None:
    """A pointer is never packed for the file; what was fetched is, by the pointer's hash."""
    data = os.urandom(3000)
    oid = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"
    service.write("src/service/table.bin", pointer)
    if commit:
        service.commit()
    with pytest.raises(SourceError, match=r"src/service/table.bin is a pointer of Git LFS") as fault:
        build.build(service.config)
    assert fault.value.next == "git lfs pull"
    if commit:  # as git-lfs leaves it: on the disk the file, and in the index, by its filter, the pointer
        service.git("update-index", "--skip-worktree", "src/service/table.bin")
    (service.root / "src/service/table.bin").write_bytes(data)
    assert packed(service)["src/service/table.bin"] == data
    if commit:
        (service.root / "src/service/table.bin").write_bytes(data + b"\0")
        with pytest.raises(SourceError, match="is a pointer of Git LFS"):
            packed(service)
