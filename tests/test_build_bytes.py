"""The same commit gives the same bytes whoever builds, and what is kept between builds is not believed by its name."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
import zlib
from collections.abc import Callable
from pathlib import Path

import interpreters
import pytest
from tiny import PRICING, PYTHON, ROOT, Tiny

from ml_delivery.artifact import build
from ml_delivery.containers import layers
from ml_delivery.dependencies import envs
from ml_delivery.errors import BuildError
from ml_delivery.packing import bundle

BUILD = """\
import pathlib, sys
from ml_delivery import config
from ml_delivery.artifact import build
print(build.build(config.load(pathlib.Path(sys.argv[1]))).digest)
"""
# Each changes what a process that reads it compiles, where it puts it, or whether it compiles at all.
HOSTILE = {
    "PYTHONOPTIMIZE": "2",
    "PYTHONPYCACHEPREFIX": "elsewhere",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONWARNINGS": "error::SyntaxWarning",
    "PYTHONHASHSEED": "7",
}
MODULE = 'WANTED = {"a", "b"}\n\n\ndef check(name):\n    """Optimized away."""\n    assert name in WANTED, "not \\d"\n'
OTHERS = [version for version in interpreters.VERSIONS if version != PYTHON]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """A tiny service with one dependency and a cache of its own, so that what is kept there can be altered."""
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    made = Tiny(tmp_path / "service", tmp_path / "state", "bytes")
    made.write("src/service/checks.py", MODULE)
    lines = (PRICING / "requirements/serve.txt").read_text().replace("\\\n", "").splitlines()
    made.write("requirements/serve.txt", "".join(f"{line}\n" for line in lines if line.startswith("click==")))
    made.commit()
    return made


def built(service: Tiny, python: str | Path = sys.executable, **variables: str) -> str:
    """The digest of what a pipeline on ``python`` builds, with these variables, from an empty cache and its own bundle."""
    path = os.pathsep.join([str(ROOT / "src"), sysconfig.get_path("purelib")])
    cache = service.root.parent / f"cache of {Path(python).parent.parent.name} {len(variables)}"
    env = {**os.environ, "PYTHONPATH": path, "PIPELINE_CACHE": str(cache), **variables}
    words = [str(python), "-c", BUILD, str(service.root)]
    done = subprocess.run(words, env=env, cwd=service.root.parent, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", HOSTILE)
def test_variables_of_the_pipelines_python_reach_no_artifact(service: Tiny, name: str) -> None:
    """Whatever Python is asked to do by the environment, it is the pipeline's own, and not the service's."""
    assert built(service, **{name: HOSTILE[name]}) == built(service)


@pytest.mark.parametrize("version", OTHERS)
def test_another_pipelines_python_gives_the_same_bytes(service: Tiny, version: str) -> None:
    """A pipeline on another Python compiles with the service's, in a hostile environment too."""
    python = interpreters.require(version)
    digest = built(service)
    assert built(service, python) == digest
    assert built(service, python, **HOSTILE) == digest


def test_another_compressor_gives_the_same_bytes(
    service: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zlib-ng and other versions of zlib compress the same text to other bytes; here every level is the fastest one."""
    digest = build.build(service.config).digest
    fast, whole = zlib.compressobj, zlib.compress
    monkeypatch.setattr(zlib, "compressobj", lambda level=-1, *more, **named: fast(1, *more, **named))
    monkeypatch.setattr(zlib, "compress", lambda data, level=-1, wbits=15, **named: whole(data, 1, wbits))
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "another cache"))
    assert zlib.compress(MODULE.encode(), 9) != whole(MODULE.encode(), 9)
    assert build.build(service.config).digest == digest


def test_interpreter_is_recorded_with_its_patch_version(service: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest names what compiled, and a bundle of another patch version is not taken for this one's."""
    manifest = build.build(service.config)
    assert manifest.interpreter == f"{platform.python_implementation()} {platform.python_version()}"
    assert json.loads((service.root / "build/manifest.json").read_text())["interpreter"] == manifest.interpreter
    assert build.last(service.root) == manifest
    kept = Path(os.environ["PIPELINE_CACHE"], "bundles")
    assert len(list(kept.glob("*.zip"))) == 1
    monkeypatch.setattr(bundle, "_interpreter", lambda python: "CPython 3.12.99")
    build.build(service.config)
    assert len(list(kept.glob("*.zip"))) == 2


def flipped(data: bytes) -> bytes:
    """The same number of bytes, one of the first members' changed."""
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


@pytest.mark.parametrize(
    ("suffix", "harm"),
    [
        (".zip", flipped),
        (".zip", lambda data: data[:-1] + b"x"),
        (".zip", lambda data: data[:1000]),
        (".json", lambda data: data.replace(b"click/core.py", b"click/evil.py")),
        (".json", lambda data: data[:-10]),
    ],
    ids=["a byte", "its end", "cut short", "another name", "index cut short"],
)
def test_kept_bundle_that_was_altered_is_named_and_removed(
    service: Tiny, suffix: str, harm: Callable[[bytes], bytes]
) -> None:
    """It goes into no artifact, and the next build makes it anew, to the same bytes."""
    digest = build.build(service.config).digest
    before = (service.root / "build/artifact.zip").read_bytes()
    (kept,) = Path(os.environ["PIPELINE_CACHE"], "bundles").glob(f"*{suffix}")
    kept.write_bytes(harm(kept.read_bytes()))
    service.replace("src/service/handler.py", '"first"', '"second"')
    with pytest.raises(BuildError, match=f"{kept.name} was altered after it was made; it is removed"):
        build.build(service.config)
    assert not kept.exists()
    assert (service.root / "build/artifact.zip").read_bytes() == before
    service.replace("src/service/handler.py", '"second"', '"first"')
    assert build.build(service.config).digest == digest


def test_wheel_that_was_altered_goes_into_no_bundle(service: Tiny) -> None:
    """A bundle that is made anew is made of what the lock names, or not at all."""
    build.build(service.config)
    cache = Path(os.environ["PIPELINE_CACHE"])
    (wheel,) = cache.glob("wheels/*/click-*.whl")
    wheel.write_bytes(flipped(wheel.read_bytes()))
    for kept in cache.glob("bundles/*"):
        kept.unlink()
    output = service.invoke("build", code=1)
    assert f"{wheel.name} was altered after it was fetched; it is removed" in output
    assert not list(cache.glob("bundles/*.zip"))


def test_kept_layer_that_was_altered_is_named_and_removed(service: Tiny) -> None:
    """What an image's dependencies were compressed to is checked too, and so is what they are compressed from."""
    made = bundle.make(
        service.config, service.root / "requirements/serve.txt", envs.find_python(PYTHON), 34, frozenset()
    )
    layer = layers.dependencies(made, "var/task").path
    whole = layer.read_bytes()
    assert layers.dependencies(made, "var/task").path == layer
    layer.write_bytes(flipped(whole))
    with pytest.raises(BuildError, match=f"{layer.name} was altered after it was made; it is removed"):
        layers.dependencies(made, "var/task")
    assert layers.dependencies(made, "var/task").path.read_bytes() == whole
    layer.unlink()
    made.archive.write_bytes(flipped(made.archive.read_bytes()))
    with pytest.raises(BuildError, match=f"{made.archive.name} was altered"):
        layers.dependencies(made, "var/task")
