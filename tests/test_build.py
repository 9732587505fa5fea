"""The artifact: reproducible, runnable from a read-only folder, refused when what goes in is not what was named."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import PRICING, ROOT, Tiny

from ml_delivery.artifact import build
from ml_delivery.errors import BuildError, ModelError
from ml_delivery.targets import lambda_zip
from ml_delivery.targets.lambda_function.http import http_event

HANDLER = """\
import numpy
import onnxruntime
from apig_wsgi import make_lambda_handler
from flask import Flask

app = Flask(__name__)


@app.get("/healthz")
def healthz():
    return {"sum": float(numpy.ones(3).sum()), "device": onnxruntime.get_device()}


handler = make_lambda_handler(app)
"""
EVENT = http_event("/healthz")
ASK = f"""
import json, sys
sys.path.insert(0, sys.argv[1])
from service.handler import handler
print(json.dumps(handler({EVENT!r}, None)))
"""
BUILD = """\
import pathlib, sys
from ml_delivery import config
from ml_delivery.artifact import build
print(build.build(config.load(pathlib.Path(sys.argv[1]))).digest)
"""
LOADED = """\
import atexit, sys
from invoke.main import program
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
program.run(["invoke", "build"])
"""


@pytest.fixture
def service(tmp_path: Path) -> Tiny:
    """A tiny service whose handler needs the template's real serving dependencies."""
    (tmp_path / "state").mkdir()
    made = Tiny(tmp_path / "service", tmp_path / "state", "build")
    made.write("src/service/handler.py", HANDLER)
    made.write("requirements/serve.txt", (PRICING / "requirements/serve.txt").read_text())
    made.commit()
    return made


@pytest.fixture
def unbundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with the wheels but without what was made of them: a kept bundle would hide a change of its maker."""
    shared = Path(os.environ["PIPELINE_CACHE"], "wheels")
    shared.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/wheels").symlink_to(shared)
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(tmp_path: Path) -> Tiny:
    """A tiny service without dependencies."""
    (tmp_path / "state").mkdir()
    return Tiny(tmp_path / "service", tmp_path / "state", "small")


def names(root: Path) -> list[str]:
    with zipfile.ZipFile(root / "build/artifact.zip") as made:
        return made.namelist()


def test_the_same_commit_gives_the_same_bytes(service: Tiny, tmp_path: Path) -> None:
    """Two clones, each with its own cache, umask, locale, time zone and hash seed, give one artifact."""
    digests, boms = set(), set()
    for number, (umask, locale, zone) in enumerate([(0o022, "C.UTF-8", "UTC"), (0o077, "C", "Asia/Tokyo")]):
        clone = tmp_path / f"clone {number}" / ("deeper" * number)
        subprocess.run(["git", "clone", "--quiet", service.root, clone], check=True, umask=umask)
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "LC_ALL": locale,
            "TZ": zone,
            "PYTHONHASHSEED": str(number + 1),
            "PYTHONUTF8": "1",
            "PIPELINE_CACHE": str(tmp_path / f"cache{number}"),
        }
        words = [sys.executable, "-c", BUILD, str(clone)]
        done = subprocess.run(words, env=env, umask=umask, check=True, capture_output=True, text=True)
        digests.add(done.stdout)
        boms.add((clone / "build/sbom.cdx.json").read_bytes())
    assert len(digests) == 1
    assert len(boms) == 1


def test_the_artifact_answers_from_a_read_only_folder(service: Tiny, tmp_path: Path) -> None:
    """Unpacked where nothing can be written, the handler imports all it needs from the artifact and answers.

    Root writes anyway: there, a module without bytecode is found by the ``.pyc`` that Python leaves.
    """
    build.build(service.config)
    folder = tmp_path / "task"
    with zipfile.ZipFile(service.root / "build/artifact.zip") as made:
        made.extractall(folder)
    before = sorted(folder.rglob("*"))
    for path in [folder, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    words = [sys.executable, "-I", "-S", "-c", ASK, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    for path in [folder, *before]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == {"sum": 3.0, "device": "CPU"}
    assert sorted(folder.rglob("*")) == before


@pytest.mark.usefixtures("unbundled")
def test_every_module_has_its_bytecode(service: Tiny) -> None:
    """Python checks no source at a cold start: each module lies beside unchecked-hash bytecode."""
    build.build(service.config)
    tag = sys.implementation.cache_tag
    with zipfile.ZipFile(service.root / "build/artifact.zip") as made:
        packed = set(made.namelist())
        modules = [n for n in packed if n.endswith(".py")]
        bytecode = {n for n in packed if n.endswith(".pyc")}
        lacking = [
            m
            for m in modules
            if f"{m.rpartition('/')[0]}/__pycache__/{Path(m).stem}.{tag}.pyc".lstrip("/") not in bytecode
        ]
        assert lacking == []
        assert {made.read(n)[4:8] for n in bytecode} == {b"\1\0\0\0"}


def test_what_a_function_never_opens_stays_out(service: Tiny) -> None:
    """Tests, stubs, headers and the C++ library that Python never loads are not shipped; the notices of licences are."""
    build.build(service.config)
    packed = names(service.root)
    for part in ("/tests/", ".pyi", ".h", "libonnxruntime.so"):
        assert not [n for n in packed if part in n and (part != ".h" or n.endswith(".h"))]
    assert [n for n in packed if n.startswith("onnxruntime/capi/onnxruntime_pybind11_state")]
    assert [n for n in packed if "LICENSE" in n]


def test_the_manifest_says_what_was_built(service: Tiny) -> None:
    """The manifest's digests are the artifact's, and its sizes add up."""
    manifest = build.build(service.config)
    artifact = service.root / "build/artifact.zip"
    with zipfile.ZipFile(artifact) as made:
        members = made.infolist()
        lines = [
            f"{hashlib.sha256(made.read(m)).hexdigest()}  {m.filename}\n"
            for m in members
            if m.filename != "release.json"
        ]
        release = json.loads(made.read("release.json"))
    listing = "".join(sorted(lines, key=lambda line: line[66:]))
    assert build.last(service.root) == manifest
    assert manifest.digest == f"sha256:{hashlib.sha256(artifact.read_bytes()).hexdigest()}"
    assert manifest.size == artifact.stat().st_size
    assert manifest.unzipped == sum(m.file_size for m in members) == sum(c.size for c in manifest.contents)
    assert manifest.content == release["content"] == f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"
    assert release["commit"] == manifest.commit == service.git("rev-parse", "HEAD")
    assert not manifest.dirty


def test_the_bill_of_materials_lists_each_package(service: Tiny) -> None:
    """The SBOM is CycloneDX 1.6 and names the packages that the artifact holds."""
    manifest = build.build(service.config)
    bom = json.loads((service.root / "build/sbom.cdx.json").read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    packages = {c["name"] for c in bom["components"] if c["type"] == "library"}
    assert packages == {c.package for c in manifest.contents} - {"build", "models"}


def test_a_changed_tree_is_marked(small: Tiny) -> None:
    """What is not committed is built, under a version that says so."""
    small.replace("src/service/handler.py", '"first"', '"changed"')
    manifest = build.build(small.config)
    assert manifest.dirty
    assert manifest.version.startswith(f"{manifest.commit}-dirty-")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: (s.root / "model.lock").unlink(), "there is no model yet"),
        (lambda s: s.write("model.lock", "[data]\ndigest = 'x'\n"), "names no model"),
        (lambda s: s.write("model.lock", "[backup]\nfile = 'x'\n"), r"\[backup\] needs file and digest"),
        (lambda s: s.write("model.lock", "= 1"), "model.lock: "),
        (lambda s: next((s.root / "models").iterdir()).unlink(), "is missing"),
        (
            lambda s: next((s.root / "models").iterdir()).write_bytes(b"another"),
            "is not the model that model.lock names",
        ),
    ],
    ids=["no lock", "no model", "no digest", "not TOML", "no file", "altered"],
)
def test_a_model_that_is_not_the_named_one_stops_the_build(small: Tiny, harm: object, says: str) -> None:
    """Without the very model that model.lock names there is no artifact."""
    harm(small)  # type: ignore[operator]
    with pytest.raises(ModelError, match=says):
        build.build(small.config)
    assert not (small.root / "build/artifact.zip").exists()


def test_over_the_limit_names_what_weighs_most(small: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact that Lambda would refuse is refused here, with the heaviest package; the former build stays."""
    former = build.build(small.config)
    monkeypatch.setattr(lambda_zip, "UNZIPPED_LIMIT", 100_000)
    small.write("src/service/ballast.txt", "x" * 200_000)
    with pytest.raises(BuildError, match=r"Lambda allows 250 MB: .*; the largest packages are small") as refusal:
        build.build(small.config)
    assert str(refusal.value).endswith("; or build an image: invoke upgrade --target lambda-image")
    assert build.last(small.root) == former


def test_the_former_build_survives_a_write_that_fails(small: Tiny) -> None:
    """When the disk takes no more, the build fails and what was built before is still whole."""
    former = build.build(small.config)
    before = (small.root / "build/artifact.zip").read_bytes()
    small.write("src/service/noise.bin", "")
    (small.root / "src/service/noise.bin").write_bytes(os.urandom(200_000))
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); {BUILD}"
    done = subprocess.run(
        [sys.executable, "-c", limited, str(small.root)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SetupError: a file can't be read or written: [Errno 27]" in done.stderr
    assert build.last(small.root) == former
    assert (small.root / "build/artifact.zip").read_bytes() == before
    assert sorted(p.name for p in (small.root / "build").iterdir()) == [
        "artifact.zip",
        "manifest.json",
        "sbom.cdx.json",
    ]


def test_nothing_built_yet_says_so(small: Tiny) -> None:
    """Reading a build that never was, or is no longer there, is a plain message."""
    with pytest.raises(BuildError, match="nothing has been built yet"):
        build.last(small.root)
    build.build(small.config)
    (small.root / "build/artifact.zip").unlink()
    with pytest.raises(BuildError, match=r"build/artifact.zip does not exist"):
        build.last(small.root)


def test_what_is_over_the_direct_limit_is_said(
    service: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An artifact that only fits through S3 is built, with a word on what weighs most."""
    from ml_delivery.tasks import artifacts

    monkeypatch.chdir(service.root)
    monkeypatch.setattr(lambda_zip, "DIRECT_LIMIT", 100)
    artifacts.build.body(None)
    said = capsys.readouterr().err
    assert "over 50 MB zipped: Lambda accepts it only from S3, which push uses; the largest packages are " in said
    assert " MB" in said


def test_a_build_loads_nothing_of_releases_or_of_aws(small: Tiny) -> None:
    """A module that only other commands need makes every build slower."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=small.root,
        env=small.environment,
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = done.stderr.split()
    assert "ml_delivery.artifact.build" in loaded
    others = ("botocore", "ml_delivery.records.releases", "ml_delivery.records.experiments", "ml_delivery.release.")
    assert [name for name in loaded if name.startswith(others)] == []
