"""The delivery package: one wheel with the same bytes everywhere, vendored by every bake, installed by hash and offline."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import interpreters
import pytest
from bake import BIN, ROOT, Refused, bake, commit, cruft, files, git, repository, start
from packaging.metadata import Metadata
from packaging.requirements import Requirement

sys.path.insert(0, str(ROOT / "hooks"))
import package_wheel

import ml_delivery

SHIPPED = "{{cookiecutter.project_slug}}"
UV = str(BIN / "uv")


def run(*words: str | Path, folder: Path = ROOT, code: int = 0, **variables: str) -> str:
    """A command's output; fails the test on another exit code than ``code``."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIPELINE_", "AWS_", "VIRTUAL_ENV", "MAKE"))}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**clean, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree's files in a git repository of their own."""
    return repository(tmp_path_factory.mktemp("template") / "cookiecutter-ml-service")


@pytest.fixture(scope="module")
def wheel(template: Path) -> bytes:
    return package_wheel.wheel(template)


def vendored(service: Path) -> bytes:
    """The one wheel of a bake, which its own lock must name."""
    (path,) = (service / "vendor").glob("*.whl")
    content = path.read_bytes()
    lock = (service / "requirements/delivery.txt").read_text()
    assert f"ml-delivery=={ml_delivery.__version__} \\\n    --hash=sha256:{package_wheel.digest(content)}\n" in lock
    return content


def disturbed(checkout: Path, how: str) -> None:
    """Make a checkout differ in what is no part of its content."""
    sources = [p for p in (checkout / "src").rglob("*") if p.is_file()]
    if how == "umask":
        for path in (checkout / "src").rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
    elif how == "mtime":
        for path in sources:
            os.utime(path, (1, 1))
    elif how == "CRLF":
        for path in [*sources, checkout / "pyproject.toml", checkout / "LICENSE", checkout / "hooks/package_wheel.py"]:
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    else:
        for name in ("__pycache__/x.cpython-311.pyc", ".mypy_cache/3.11/x.json", ".ruff_cache/x.txt", "a.orig"):
            left = checkout / "src/ml_delivery/tasks" / name
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_text("left")


@pytest.mark.parametrize("how", ["umask", "mtime", "CRLF", "caches"])
def test_same_checkout_is_the_same_wheel(tmp_path: Path, template: Path, wheel: bytes, how: str) -> None:
    """Modes, dates, line ends and what tools left behind change no byte of the wheel, nor of the source archive."""
    shutil.copytree(template, tmp_path / "other", ignore=shutil.ignore_patterns(".git"))
    disturbed(tmp_path / "other", how)
    assert package_wheel.wheel(tmp_path / "other") == wheel
    script = "import os, sys; sys.path.insert(0, 'hooks'); import package_wheel; package_wheel.build_sdist(sys.argv[1])"
    made = []
    for checkout in (template, tmp_path / "other"):
        (tmp_path / checkout.name / "made").mkdir(parents=True)
        run(sys.executable, "-c", script, tmp_path / checkout.name / "made", folder=checkout)
        made.append(next((tmp_path / checkout.name / "made").iterdir()).read_bytes())
    assert made[0] == made[1]


def test_source_archive_does_not_depend_on_python_or_zlib(tmp_path: Path, template: Path) -> None:
    """Python 3.13 writes another gzip header than 3.12, and zlib-ng other stored blocks: neither writes it."""
    script = "import os, sys; sys.path.insert(0, 'hooks'); import package_wheel as p; {}; p.build_sdist(sys.argv[1])"
    swap = "import zlib; zlib.compress = zlib.compressobj = None"
    others = map(interpreters.find, interpreters.VERSIONS)
    made = {}
    for number, (python, first) in enumerate(
        [(sys.executable, "0"), (sys.executable, swap), *((found, "0") for found in others if found)]
    ):
        (tmp_path / f"made-{number}").mkdir()
        run(python, "-c", script.format(first), tmp_path / f"made-{number}", folder=template)
        made[number] = next((tmp_path / f"made-{number}").iterdir()).read_bytes()
    assert set(made.values()) == {made[0]}
    with tarfile.open(fileobj=io.BytesIO(made[0])) as archive:
        assert len(archive.getnames()) > 100


def test_changed_source_is_another_wheel(tmp_path: Path, template: Path, wheel: bytes) -> None:
    """One letter more in one file is another digest."""
    shutil.copytree(template, tmp_path / "other", ignore=shutil.ignore_patterns(".git"))
    with (tmp_path / "other/src/ml_delivery/errors.py").open("a") as file:
        file.write("#")
    assert package_wheel.digest(package_wheel.wheel(tmp_path / "other")) != package_wheel.digest(wheel)


def test_wheel_holds_what_git_has_and_is_valid(template: Path, wheel: bytes) -> None:
    """The packages whole with their ``py.typed``, RECORD with each file's hash, metadata as ``pyproject.toml`` declares."""
    project = tomllib.loads((template / "pyproject.toml").read_text())["project"]
    info = f"ml_delivery-{ml_delivery.__version__}.dist-info"
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.testzip() is None
        content = {name: archive.read(name) for name in archive.namelist()}
    sources = set(git(template, "ls-files", "src").splitlines())
    assert {f"src/{name}" for name in content if not name.startswith(info)} == sources
    assert {"ml_delivery/py.typed", "embedded_aws/py.typed", "ml_pages/py.typed"} <= set(content)
    record = {row[0]: row[1:] for row in csv.reader(io.StringIO(content[f"{info}/RECORD"].decode()))}
    assert set(record) == set(content)
    assert record.pop(f"{info}/RECORD") == ["", ""]
    for name, (digest, size) in record.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content[name]).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={hashed}", len(content[name]))
    metadata = Metadata.from_email(content[f"{info}/METADATA"], validate=True)
    assert (metadata.name, str(metadata.version)) == ("ml-delivery", ml_delivery.__version__)
    assert str(metadata.requires_python) == project["requires-python"]
    assert set(metadata.provides_extra or []) == set(project["optional-dependencies"])
    always = [r for r in metadata.requires_dist or [] if r.marker is None]
    assert sorted(map(str, always)) == sorted(str(Requirement(text)) for text in project["dependencies"])
    for extra, wanted in project["optional-dependencies"].items():
        found = {r.name for r in metadata.requires_dist or [] if r.marker and r.marker.evaluate({"extra": extra})}
        assert found == {Requirement(text).name for text in wanted}


def test_pip_and_uv_build_what_a_bake_vendors(tmp_path: Path, template: Path, wheel: bytes) -> None:
    """The build backend gives pip, uv and the source archive's user exactly the bytes that bakes vendor."""
    name = package_wheel.name(template)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "pip", template)
    assert (tmp_path / "pip" / name).read_bytes() == wheel
    run(UV, "build", "--quiet", "--out-dir", tmp_path / "uv", folder=template)  # the wheel is built from the sdist
    assert (tmp_path / "uv" / name).read_bytes() == wheel
    (sdist,) = (tmp_path / "uv").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert package_wheel.wheel(source) == wheel
    assert not [path for path in source.rglob("*") if "tests" in path.parts]
    assert git(template, "status", "--porcelain") == ""


@pytest.fixture
def lock(tmp_path: Path, template: Path, wheel: bytes) -> Path:
    """A folder with the wheel, and its hashed line as a bake writes it."""
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / package_wheel.name(template)).write_bytes(wheel)
    line = f"ml-delivery=={ml_delivery.__version__} --hash=sha256:{package_wheel.digest(wheel)}\n"
    (tmp_path / "lock.txt").write_text(line)
    return tmp_path / "lock.txt"


def installer(tool: str, lock: Path, into: Path) -> list[str | Path]:
    options: list[str | Path] = ["--no-index", "--require-hashes", "--find-links", lock.parent / "vendor", "--no-deps"]
    python = into / "bin/python"
    if tool == "uv":
        return [UV, "pip", "install", *options, "--no-build", "--python", python, "-r", lock]
    return [sys.executable, "-m", "pip", "--python", python, "install", *options, "-r", lock]


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_wheel_installs_by_hash_without_an_index(lock: Path, tmp_path: Path, tool: str) -> None:
    """pip and uv take it from a folder; its version is its metadata's; a wrong hash installs nothing."""
    into = tmp_path / "env"
    venv.create(into, with_pip=False)
    good = lock.read_text()
    lock.write_text(good.partition("sha256:")[0] + "sha256:" + "0" * 64 + "\n")
    assert "hash" in run(*installer(tool, lock, into), code=1).lower()
    assert not list(into.glob("lib/*/site-packages/ml_delivery"))
    lock.write_text(good)
    run(*installer(tool, lock, into))
    script = "import importlib.metadata as m, ml_delivery; print(ml_delivery.__version__, m.version('ml-delivery'))"
    version = ml_delivery.__version__
    assert run(into / "bin/python", "-c", script, folder=tmp_path) == f"{version} {version}\n"
    for package in package_wheel.PACKAGES:
        assert list(into.glob(f"lib/*/site-packages/{package}/py.typed"))


def test_cookiecutter_cruft_and_zip_bake_the_same_wheel(tmp_path: Path, template: Path, wheel: bytes) -> None:
    """Every way to the template, offline: a folder, a relative path, a ZIP archive, cruft, a path with spaces and umlauts."""
    assert vendored(bake(tmp_path / "folder" / "out")) == wheel
    odd = tmp_path / "Süd & Söhne's" / "the template"
    shutil.copytree(template, odd)
    words: list[str | Path] = [BIN / "cookiecutter", "--no-input", "--output-dir"]
    home = {"HOME": str(tmp_path / "home"), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    (tmp_path / "home").mkdir()
    run(*words, tmp_path / "odd", odd, **home)
    run(*words, tmp_path / "relative", "./the template", folder=odd.parent, **home)
    shutil.make_archive(str(tmp_path / "template"), "zip", template.parent, template.name)
    run(*words, tmp_path / "zip", tmp_path / "template.zip", **home)
    for way in ("odd", "relative", "zip"):
        assert vendored(tmp_path / way / "demand-pricing") == wheel, way
    assert vendored(cruft(tmp_path / "cruft", odd)) == wheel


def test_update_brings_the_new_source(tmp_path: Path, template: Path, wheel: bytes) -> None:
    """``cruft update`` packs the new checkout's source: the wheel is renamed, its line in the lock follows, no conflict."""
    made = cruft(tmp_path / "made", template)
    assert vendored(made) == wheel
    start(made)
    package = template / "src/ml_delivery/__init__.py"
    package.write_text(package.read_text().replace(f'"{ml_delivery.__version__}"', '"9.8.7"') + 'NEWER = "yes"\n')
    pins = template / "src/ml_delivery/locks/delivery.txt"
    pins.write_text(pins.read_text() + "# newer\n")
    commit(template, "Newer")
    newer = package_wheel.wheel(template)
    try:
        run(BIN / "cruft", "update", "--skip-apply-ask", folder=made, HOME=str(tmp_path))
    finally:
        git(template, "reset", "--quiet", "--hard", "HEAD~1")
    (path,) = (made / "vendor").glob("*.whl")
    assert (path.name, path.read_bytes()) == ("ml_delivery-9.8.7-py3-none-any.whl", newer)
    assert b'NEWER = "yes"' in newer
    assert f"ml-delivery==9.8.7 \\\n    --hash=sha256:{package_wheel.digest(newer)}\n" in (
        (made / "requirements/delivery.txt").read_text()
    )
    assert [name for name in files(made) if name.endswith((".rej", ".orig"))] == []


def test_bake_onto_a_folder_keeps_what_is_its_owners(tmp_path: Path, template: Path) -> None:
    """``cookiecutter -f`` removes what the template brought and nothing else, whatever tools left in the template."""
    odd = tmp_path / "template"
    shutil.copytree(template, odd)
    for left in (".pipeline/theirs.txt", "build/theirs.txt", "starters/pricing/src/service/__pycache__/theirs.pyc"):
        (odd / SHIPPED / left).parent.mkdir(parents=True, exist_ok=True)
        (odd / SHIPPED / left).write_text("left")
    words = [BIN / "cookiecutter", "--no-input", "-f", "--output-dir", tmp_path / "out", odd]
    run(*words, HOME=str(tmp_path))
    made = tmp_path / "out/demand-pricing"
    fresh = set(files(made, without=(".git",)))
    assert not [name for name in fresh if "theirs" in name]
    owned = [
        ".pipeline/mine.txt",
        "build/mine.txt",
        "starters/mine.txt",
        "starters/pricing/mine.txt",
        "src/service/my.py",
    ]
    owned += ["vendor/mine.whl", "requirements/mine.txt", "src/service/__pycache__/mine.pyc"]
    for name in owned:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text("mine")
    (made / "vendor/ml_delivery-0.0.1-py3-none-any.whl").write_text("an older one")
    run(*words, HOME=str(tmp_path))
    assert set(files(made, without=(".git",))) == fresh | set(owned)
    assert all((made / name).read_text() == "mine" for name in owned)
    assert not (made / "starters/pricing/src").exists()


def test_set_up_refuses_a_wheel_that_the_lock_does_not_name(tmp_path: Path) -> None:
    """An altered wheel ends ``make setup`` with the reason and what to do; nothing of it is installed."""
    made = bake(tmp_path / "out")
    (wheel,) = (made / "vendor").glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    output = run("make", "setup", folder=made, code=2)
    assert "hash" in output.lower()
    assert "ml-delivery" in output or "ml_delivery" in output
    assert "next: git status requirements vendor" in output
    assert not (made / ".venv/.ready").exists()
    assert not list(made.glob(".venv/lib/*/site-packages/ml_delivery"))


def test_missing_version_is_named(tmp_path: Path, template: Path) -> None:
    """A checkout without a version ends in words, not with a broken name."""
    shutil.copytree(template, tmp_path / "other", ignore=shutil.ignore_patterns(".git"))
    (tmp_path / "other/src/ml_delivery/__init__.py").write_text('"""Nothing."""\n')
    with pytest.raises(SystemExit, match="no __version__"):
        package_wheel.wheel(tmp_path / "other")
    with pytest.raises(Refused, match="no __version__"):
        cruft(tmp_path / "out", repository_of(tmp_path / "other"))


def repository_of(folder: Path) -> Path:
    start(folder)
    return folder
