"""``image.lock``: a base image by its digest, whatever its tag names later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from base_registry import BaseRegistry, based, without_engines
from made_images import layer
from tiny import Tiny

from ml_delivery.artifact import build
from ml_delivery.containers import locked
from ml_delivery.errors import BuildError, SetupError


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BaseRegistry]:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    monkeypatch.setenv("PATH", str(without_engines(tmp_path)), prepend=os.pathsep)
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    made = BaseRegistry(token=True)
    made.put("small", [layer({"/etc/base": b"here"})], "amd64", "arm64")
    yield made
    made.close()


@pytest.fixture
def service(tiny: Tiny, registry: BaseRegistry) -> Tiny:
    """A service whose image has a base in the registry, named by its tag."""
    tiny.box()
    based(tiny, f"{registry.host}/base:small")
    return tiny


def test_tag_that_moves_changes_no_build(service: Tiny, registry: BaseRegistry) -> None:
    """A tag alone is warned about; with its digest recorded and committed, builds are made on it until it is updated."""
    name = f"{registry.host}/base:small"
    says = f"the base image {name} is looked up by its tag; invoke build --update-base records its digest in image.lock"
    assert says in service.invoke("build")
    first = registry.tags["small"]
    assert f"image.lock names {name}@{first}; commit it" in service.invoke("build", "--update-base")
    assert (service.root / "image.lock").read_text().endswith(f"\n{name}@{first}\n")
    service.commit("Lock the base")
    registry.put("small", [layer({"/etc/base": b"moved"})], "amd64", "arm64")
    assert registry.tags["small"] != first
    registry.asked.clear()
    assert build.build(service.config).base == f"{name}@{first}"
    assert not [path for _, path in registry.asked if path.endswith("/small")]
    assert says not in service.invoke("build")
    service.invoke("build", "--update-base")
    service.commit("Update the base")
    assert build.build(service.config).base == f"{name}@{registry.tags['small']}"


def test_lock_that_does_not_fit_stops_the_build(service: Tiny, registry: BaseRegistry) -> None:
    """Another base than the one that is locked, a line that is no digest, and a digest that is gone are named."""
    service.invoke("build", "--update-base")
    service.commit("Lock")
    based(service, f"{registry.host}/base:other")
    with pytest.raises(BuildError, match=r"image\.lock does not name the base image .*/base:other") as refusal:
        build.build(service.config)
    assert refusal.value.next == "invoke build --update-base, and commit image.lock"
    for text, says in (
        ("python:3.12@sha256:12", "line 1, is not NAME@sha256:DIGEST"),
        ("@sha256:12", "line 1, is not"),
    ):
        service.write("image.lock", f"{text}\n")
        service.commit("Broken")
        with pytest.raises(BuildError, match=says):
            build.build(service.config)
    service.write("image.lock", f"{registry.host}/base:other@sha256:{'0' * 64}\n")
    service.commit("Gone")
    with pytest.raises(SetupError, match=f"the base image {registry.host}/base@sha256:0.* does not exist") as missing:
        build.build(service.config)
    assert missing.value.next.startswith("invoke build --update-base, if the digest in image.lock is gone; or correct ")


def test_what_names_a_digest_needs_no_lock(service: Tiny, registry: BaseRegistry, tmp_path: Path) -> None:
    """A digest in build.base is built on, and there is nothing to record; a ZIP has no base; other lines stay."""
    name = f"{registry.host}/base:small@{registry.tags['small']}"
    based(service, name)
    assert "looked up by its tag" not in service.invoke("build")
    assert "has its digest in build.base" in service.invoke("build", "--update-base", code=1)
    assert not (service.root / "image.lock").exists()
    service.replace("pipeline.toml", 'target = "lambda-image"', 'target = "lambda-zip"')
    assert "the target lambda-zip has no base image" in service.invoke("build", "--update-base", code=1)
    one, two = f"a:1@sha256:{'1' * 64}", f"b:1@sha256:{'2' * 64}"
    assert [locked.record(tmp_path, base) for base in (two, one, one)] == [True, True, False]
    assert locked.bases((tmp_path / "image.lock").read_text()) == {"a:1": one[4:], "b:1": two[4:]}
