"""What a clean tree packs is what git's objects hold, whatever is on the disk; what no artifact can hold is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny import Tiny

from ml_delivery import config, files, source
from ml_delivery.artifact import build
from ml_delivery.errors import SourceError

HANDLER = "src/service/handler.py"


@pytest.fixture
def service(tmp_path: Path) -> Tiny:
    """A tiny service without dependencies."""
    (tmp_path / "state").mkdir()
    return Tiny(tmp_path / "service", tmp_path / "state", "packed")


class At(NamedTuple):
    """A service's folder."""

    root: Path


def packed(service: Tiny | At) -> dict[str, bytes]:
    """What would be packed of ``src/``."""
    with files.opened(service.root, source.read(service.root)) as held:
        return held.below("src")


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
    subprocess.run(fault.value.next, shell=True, cwd=service.root, check=True)
    assert b"implant" in packed(service)[HANDLER]


@pytest.mark.parametrize("name", ["requirements/serve.txt", "model.lock", "models/{model}"])
@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_other_ingredients_are_the_commits_too(service: Tiny, flag: str, name: str) -> None:
    """Lockfile, model.lock and models: what the disk has instead reaches neither the artifact nor its manifest."""
    before = build.build(service.config)
    (model,) = (service.root / "models").iterdir()
    name = name.format(model=model.name)
    service.git("update-index", flag, name)
    (service.root / name).write_bytes(b"not what was committed")
    assert build.build(service.config) == before
    (service.root / name).unlink()
    assert build.build(service.config) == before


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_settings_that_are_not_the_commits_are_refused(service: Tiny, flag: str) -> None:
    """They were read before git was asked, and a deploy uses them too: a difference that git overlooks stops both."""
    service.push()
    service.git("update-index", flag, "pipeline.toml")
    service.replace("pipeline.toml", "memory = 256", "memory = 512")
    for refused in (lambda: build.build(service.config), lambda: service.open().artifact()):
        with pytest.raises(SourceError, match=r"pipeline.toml differs from the commit's") as fault:
            refused()
    subprocess.run(fault.value.next.partition(",")[0], shell=True, cwd=service.root, check=True)
    assert build.build(service.config).dirty


@pytest.mark.parametrize("name", ["requirements/serve.txt", "model.lock", "pipeline.toml"])
def test_what_the_commit_lacks_is_named(service: Tiny, name: str) -> None:
    """An ignored file is in no version's name, so it can't be an ingredient; a model is named by its digest."""
    service.write(".gitignore", f".pipeline\nbuild/\n{name}\nmodels/\n")
    service.git("rm", "--quiet", "-r", "--cached", "models", name)
    service.commit()
    with pytest.raises(SourceError, match=f"{name} is not in the commit") as fault:
        build.build(service.config)
    service.git(*fault.value.next.partition(" && ")[0].split()[1:])
    service.git("commit", "--quiet", "--message", "Add")
    assert not build.build(service.config).dirty


def test_object_that_is_replaced_is_not_packed(service: Tiny) -> None:
    """``git replace`` puts other content under an object's name for those who have that reference."""
    before = build.build(service.config).digest
    service.write("implant.py", "1/0\n")
    other = service.git("hash-object", "-w", "implant.py")
    (service.root / "implant.py").unlink()
    service.git("replace", service.git("rev-parse", f"HEAD:{HANDLER}"), other)
    found = build.build(service.config)
    assert (found.dirty, found.digest) == (False, before)


def test_names_are_utf8_whatever_the_locale(service: Tiny) -> None:
    """A name is the same in every locale, and one that is not UTF-8 is refused."""
    service.write("src/service/größe.py", "")
    service.commit()
    assert "src/service/größe.py" in packed(service)
    service.write("src/service/more.py", "")
    code = (
        "import pathlib, sys, test_source_packed as t; print(ascii(sorted(t.packed(t.At(pathlib.Path(sys.argv[1]))))))"
    )
    for variables in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}):
        words = [sys.executable, "-c", code, str(service.root)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert ascii("src/service/größe.py") in done.stdout, done.stderr
    (service.root / "src/service/more.py").unlink()
    with open(os.fsencode(service.root) + b"/src/service/gr\xf6\xdfe.py", "wb"):
        pass
    for commit in (False, True):
        if commit:
            service.commit()
        with pytest.raises(SourceError, match=r"gr\\xf6\\xdfe.py does not have a name in UTF-8"):
            packed(service)


def test_sparse_checkout_and_line_ends_give_the_same_bytes(service: Tiny, tmp_path: Path) -> None:
    """A colleague's checkout, with Windows' line ends or with a part of the files only, packs what everyone's does."""
    service.model(b"a model\nof two lines\n")
    service.commit()
    before = build.build(service.config)
    clone = tmp_path / "clone"
    options = ["-c", "core.autocrlf=true"]
    subprocess.run(["git", "clone", "--quiet", *options, service.root, clone], check=True)
    model = max((clone / "models").iterdir(), key=lambda path: path.stat().st_size)
    for name in (HANDLER, "pipeline.toml", "requirements/serve.txt", model):
        assert b"\r\n" in (clone / name).read_bytes()
    (clone / ".pipeline").mkdir(exist_ok=True)
    assert build.build(config.load(clone)) == before
    service.git("sparse-checkout", "set", "--no-cone", "/pipeline.toml")
    assert [path.name for path in service.root.iterdir() if not path.name.startswith(".")] == ["build", "pipeline.toml"]
    assert build.build(service.config) == before


def test_line_ends_that_a_commit_would_not_have_are_no_change(service: Tiny) -> None:
    """An editor that writes Windows' line ends changes nothing that git stores, though its status names the file; a word does."""
    service.write(".gitattributes", "* text=auto eol=lf\n")
    service.commit()
    before = build.build(service.config)
    file = service.root / HANDLER
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert HANDLER in service.git("status", "--porcelain")
    assert not source.read(service.root).dirty
    assert build.build(service.config) == before
    file.write_bytes(file.read_bytes() + b"# a word\r\n")
    assert source.read(service.root).dirty
    file.write_bytes(file.read_bytes().removesuffix(b"# a word\r\n"))
    file.chmod(0o755)
    assert source.read(service.root).dirty


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
