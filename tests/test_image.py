"""The target lambda-image, with a real engine and a real registry: built, pushed, deployed, refused, rolled back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tarfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tiny import BASE, TEMPLATE, Tiny

from ml_delivery import emulator
from ml_delivery.artifact import build, provenance
from ml_delivery.containers import engines
from ml_delivery.containers.registry import Registry
from ml_delivery.errors import BuildError, Refused
from ml_delivery.records import Removed
from ml_delivery.release import deploy
from ml_delivery.release.plan import make as make_plan

OURS = ["dependencies", "model", "source"]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def digests(service: Tiny) -> dict[str, str]:
    """Build, and what the layers are that the build added."""
    return {layer.name: layer.digest for layer in build.build(service.config).layers}


def test_from_build_to_rollback(boxed: Tiny) -> None:
    """Every stage works as for a ZIP: pushed once, verified by digest, a broken image refused, code and settings rolled back."""
    said = boxed.invoke("build")
    assert all(f", {name}, " in said for name in OURS)
    assert boxed.invoke("push").startswith("pushed sha256:")
    assert boxed.invoke("push").startswith("already pushed: sha256:")
    assert "release 1 is verified: deployed version 1 serves production on embedded" in boxed.invoke("deploy")
    assert json.loads(boxed.invoke("call", "/version"))["note"] == "first"
    assert "asked for /version" in boxed.invoke("logs")
    assert boxed.invoke("plan") == "production: nothing to do\n"

    boxed.fault("raises")
    boxed.invoke("build")
    boxed.invoke("push")
    refused = boxed.invoke("deploy", code=1)
    assert "ValueError: no such luck" in refused
    assert "release 1 serves as before" in refused

    boxed.replace("pipeline.toml", 'LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"')
    boxed.repair("third")
    assert boxed.deploy().release.number == 3
    assert json.loads(boxed.invoke("call", "/variables"))["LOG_LEVEL"] == "DEBUG"
    assert boxed.rollback().release.number == 1
    assert json.loads(boxed.invoke("call", "/version"))["note"] == "first"
    assert json.loads(boxed.invoke("call", "/variables"))["LOG_LEVEL"] == "INFO"
    assert boxed.live() == 1


@pytest.mark.parametrize("fault", ["never answers", "lacks a dependency", "is another release"])
def test_broken_image_is_refused(boxed: Tiny, fault: str) -> None:
    """Whatever way an image is broken, it never gets traffic, and the refusal says why."""
    boxed.deploy()
    says = boxed.fault(fault)
    with pytest.raises(Refused) as refusal:
        boxed.deploy()
    assert says in str(refusal.value)
    assert boxed.live() == 1


def test_what_is_deployed_is_the_digest_that_was_pushed(boxed: Tiny) -> None:
    """Function, ledger, registry and SSM name one digest, and the function holds it by digest, not by tag."""
    outcome = boxed.deploy()
    opened = boxed.open()
    artifact = outcome.release.artifact  # type: ignore[union-attr]
    function = opened.cloud.client("lambda").get_function(FunctionName=f"{boxed.name}-production", Qualifier="live")
    assert function["Code"]["ImageUri"] == artifact.location
    assert artifact.location == f"{opened.foundation.outputs['Repository']}@{artifact.digest}"
    assert function["Configuration"]["CodeSha256"] == artifact.digest[7:]
    named = Registry(opened).find(boxed.git("rev-parse", "HEAD"))
    assert named is not None
    assert named.digest == artifact.digest
    printed = boxed.invoke("verify", "--rebuild")
    assert f"✓ its bytes in {artifact.location}" in printed
    assert f"✓ a rebuild of {artifact.commit}" in printed
    parameter = opened.cloud.client("ssm").get_parameter(Name=f"/{boxed.name}/production/image")
    assert parameter["Parameter"]["Value"] == artifact.location
    lost = [{"imageTag": artifact.version}]
    opened.cloud.client("ecr").batch_delete_image(repositoryName=f"{boxed.name}-production", imageIds=lost)
    assert f"its bytes in {artifact.location}: nothing is not sha256:" in boxed.invoke("verify", code=1)


def test_image_that_the_registry_lost_is_not_deployed(boxed: Tiny) -> None:
    """The record of a push is not believed when the registry has nothing, and pushing again mends that."""
    boxed.push()
    opened = boxed.open()
    tag = boxed.git("rev-parse", "HEAD")
    name = f"{boxed.name}-production"
    opened.cloud.client("ecr").batch_delete_image(repositoryName=name, imageIds=[{"imageTag": tag}])
    with pytest.raises(Refused, match=f"is missing, what was pushed for {tag} is sha256:"):
        deploy.deploy(boxed.open(), report=lambda step: None)
    boxed.deploy()
    assert boxed.live() == 2


def test_images_go_when_nothing_needs_them(boxed: Tiny) -> None:
    """An image that is old and not of a kept release leaves the registry; young ones, and those that are kept, stay."""
    boxed.push()
    first = boxed.git("rev-parse", "HEAD")
    boxed.repair("second")
    boxed.push()
    second = boxed.git("rev-parse", "HEAD")
    opened = boxed.open()
    registry = Registry(opened)
    assert opened.deployer.discard({first}, time.time() - 3600) == []
    assert opened.deployer.discard({first}, time.time() + 3600) == [Removed("image", second)]
    assert registry.find(first) is not None
    assert registry.find(second) is None


# -- what is in it


def test_two_builds_of_one_commit_have_the_same_layers(boxed: Tiny, tmp_path: Path) -> None:
    """Another clone, umask and time, with nothing cached in the engine: the digests of all that we add are the same."""
    first = digests(boxed)
    tag = f"{boxed.name}:{boxed.git('rev-parse', 'HEAD')}"
    docker("rmi", "--force", tag)
    # Its own only: an image that another test has pulled by its digest is one without a tag too, until that test removes it.
    docker("image", "prune", "--force", "--filter", f"label=org.opencontainers.image.title={boxed.name}")
    time.sleep(1.1)  # a time in a layer would be of another second
    clone = tmp_path / "another" / "clone"
    subprocess.run(["git", "clone", "--quiet", boxed.root, clone], check=True, umask=0o077)
    cache = tmp_path / "cache"
    env = {
        **boxed.environment,
        "PIPELINE_CACHE": str(cache),
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
    }
    words = boxed.command("build", "--json")
    done = subprocess.run(words, cwd=clone, env=env, check=True, capture_output=True, text=True, umask=0o077)
    assert {layer["name"]: layer["digest"] for layer in json.loads(done.stdout)["layers"]} == first


def test_recipe_is_the_commits(boxed: Tiny) -> None:
    """A ``Dockerfile.lambda`` that was changed unnoticed by git is not built."""
    first = digests(boxed)
    boxed.git("update-index", "--assume-unchanged", "Dockerfile.lambda")
    boxed.write("Dockerfile.lambda", "FROM nothing-that-exists\n")
    assert digests(boxed) == first


def test_provenance_is_of_the_registrys_digest_and_names_the_base(boxed: Tiny) -> None:
    """The statement's subject is the pushed image; the base is known by its layers, and by its name if the engine confirms it."""
    pushed = boxed.push().artifact

    def base() -> dict[str, Any]:
        (document,) = (json.loads(body) for _, body in provenance._stored(boxed.open(), boxed.git("rev-parse", "HEAD")))
        assert document["subject"][0]["name"].endswith(f"@sha256:{document['subject'][0]['digest']['sha256']}")
        parts = document["predicate"]["buildDefinition"]["resolvedDependencies"]
        return next(part for part in parts if part["name"] == "base image")

    layers = json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", BASE))
    assert base() == {"name": "base image", "uri": f"docker://{BASE}", "annotations": {"layers": layers}}
    assert provenance.check(boxed.open(), pushed).digest == pushed.digest == boxed.deploy().release.artifact.digest
    assert "✓ its provenance, by a local build" in boxed.invoke("verify")
    (boxed.root / "Dockerfile.lambda").unlink()
    text = (TEMPLATE / "Dockerfile.lambda").read_text()
    boxed.write("Dockerfile.lambda", text.replace("FROM ${BASE}\n", "FROM ${BASE}\nCOPY model.tar /another\n"))
    boxed.commit("Another base")
    boxed.push()
    found = base()
    assert "uri" not in found
    assert found["annotations"]["layers"][:-1] == layers


def test_a_changed_line_changes_the_last_layer_only(boxed: Tiny) -> None:
    """Dependencies and model are layers below the source, which alone is new."""
    first = digests(boxed)
    boxed.repair("one line")
    second = digests(boxed)
    assert [name for name in OURS if first[name] != second[name]] == ["source"]
    boxed.model(b"another")
    boxed.commit()
    third = digests(boxed)
    assert [name for name in OURS if second[name] != third[name]] == ["model", "source"]


def test_image_holds_what_the_zip_holds_and_nothing_else(boxed: Tiny) -> None:
    """Above the base there is Lambda's root and nothing beside it, owned by root, readable by all; and nobody runs it."""
    manifest = build.build(boxed.config)
    saved = subprocess.run(["docker", "save", manifest.image], check=True, capture_output=True).stdout
    path = boxed.root / "build/saved.tar"
    path.write_bytes(saved)
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(path) as image:
        (listed,) = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type]
        for name in listed["Layers"][-3:]:
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                found |= {entry.name: entry for entry in layer}
        settings = json.load(image.extractfile(listed["Config"]))["config"]  # type: ignore[arg-type]
    names = {name.removeprefix("var/task/") for name, entry in found.items() if entry.isfile()}
    boxed.replace("pipeline.toml", 'target = "lambda-image"', 'target = "lambda-zip"')
    build.build(boxed.config)
    with zipfile.ZipFile(boxed.root / "build/artifact.zip") as zipped:
        assert set(zipped.namelist()) == names
    assert all(name == "var" or name.startswith("var/task") for name in found)
    assert {(e.uid, e.mode & 0o777) for e in found.values() if e.isfile()} == {(0, 0o644)}
    assert settings["User"] == "65534:65534"
    assert settings["Cmd"] == ["service.handler.handler"]
    assert not [variable for variable in settings["Env"] if "SECRET" in variable or "TOKEN" in variable]


def test_over_the_budget_names_layers_and_packages(boxed: Tiny) -> None:
    """More than build.budget is refused before anything is built, with what weighs most; the former build stays."""
    former = build.build(boxed.config)
    boxed.replace("pipeline.toml", "[environments.production]", "[build]\nbudget = 1\n\n[environments.production]")
    boxed.write("src/service/ballast.txt", "x" * 2_000_000)
    boxed.commit()
    with pytest.raises(BuildError) as refusal:
        build.build(boxed.config)
    assert "the artifact has 2 MB unpacked, build.budget is 1 MB: dependencies 0 MB, model 0 MB, source 2 MB" in str(
        refusal.value
    )
    assert f"the largest packages are {boxed.name} 2 MB" in str(refusal.value)
    assert str(refusal.value).endswith(
        "\n  next: remove a dependency, or exclude files with build.exclude in pipeline.toml; or raise build.budget, where the "
        "service needs it"
    )
    assert build.last(boxed.root) == former


# -- where it runs


def test_image_answers_under_awss_own_emulator(boxed: Tiny) -> None:
    """The image that was built runs under AWS's Runtime Interface Emulator, read-only and as nobody, and answers."""
    manifest = build.build(boxed.config)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["run", "--detach", "--rm", "--read-only", "--tmpfs", "/tmp", "--publish", f"127.0.0.1:{port}:8080"]
    container = docker(*words, "--env", "RELEASE_NUMBER=7", manifest.image)
    try:
        url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        body = json.dumps({"rawPath": "/version"}).encode()
        answer: dict[str, object] = {}
        for _ in range(100):
            try:
                with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as response:
                    answer = json.load(response)
                break
            except OSError:
                time.sleep(0.1)
        assert answer["statusCode"] == 200
        said = json.loads(str(answer["body"]))
        assert (said["release"], said["content"]) == (7, manifest.content)
    finally:
        docker("kill", container)


@pytest.fixture
def without_engine(tiny_alone: Tiny, engine: engines.Engine) -> Tiny:
    """A boxed service on an embedded AWS that was started where no engine answers."""
    if os.geteuid() != 0:
        pytest.skip("only root can run an image without an engine")
    tiny_alone.box()
    host = os.environ["DOCKER_HOST"]
    os.environ["DOCKER_HOST"] = "unix:///nowhere.sock"
    try:
        emulator.up(tiny_alone.root)
    finally:
        os.environ["DOCKER_HOST"] = host
    return tiny_alone


def test_image_runs_without_an_engine_too(without_engine: Tiny) -> None:
    """Where no engine answers, root runs the image's own entrypoint from its layers, and all else is the same.

    Ended and started again, the embedded AWS still has the image.
    """
    service = without_engine
    service.deploy()
    assert json.loads(service.open().deployer.call("/version").body)["release"] == 1
    assert json.loads(service.open().deployer.call("/variables").body)["LOG_LEVEL"] == "INFO"
    service.fault("raises")
    with pytest.raises(Refused, match="no such luck"):
        service.deploy()
    emulator.down(service.root)
    assert json.loads(service.open().deployer.call("/version").body)["release"] == 1
    assert service.live() == 1


def test_plan_names_what_changes(boxed: Tiny) -> None:
    """A first plan is of the image's version, model and settings; its package is one of them."""
    boxed.push()
    names = {(change.what, change.name, change.new) for change in make_plan(boxed.open()).changes}
    assert ("setting", "package", "Image") in names
    assert not [name for _, name, _ in names if name in ("runtime", "handler")]
