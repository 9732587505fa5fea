"""An image that was built without a container engine, beside docker's of the same commit: pulled and compared."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import podded
import pytest
from base_registry import BaseRegistry
from test_image import docker
from tiny import BASE, TEMPLATE, Tiny

from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing
from ml_delivery.containers import engines
from ml_delivery.containers.registry import Registry

TARGETS = {"lambda-image": "Dockerfile.lambda", "eks": "Dockerfile"}
SETTINGS = ("User", "Env", "Cmd", "Entrypoint", "WorkingDir", "ExposedPorts")


@pytest.fixture(scope="module")
def registry(engine: engines.Engine) -> Iterator[BaseRegistry]:
    """A registry with the engine's own base image, which the engine knows by the registry's name too."""
    assert engine
    made = BaseRegistry()
    for tag in TARGETS:
        made.put_saved(tag, BASE)
        docker("tag", BASE, f"{made.host}/base:{tag}")
    yield made
    for tag in TARGETS:
        docker("rmi", f"{made.host}/base:{tag}")
    made.close()


def files(image: str) -> dict[str, tuple[str, int, int, str]]:
    """What a container of the image sees: the type, mode, owner and content of each file."""
    container = docker("create", image)
    exported = subprocess.run(["docker", "export", container], check=True, capture_output=True).stdout
    docker("rm", container)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        for entry in archive:
            content = archive.extractfile(entry).read() if entry.isfile() else entry.linkname.encode()  # type: ignore[union-attr]
            known = (entry.type.decode(), entry.mode, entry.uid, hashlib.sha256(content).hexdigest())
            found[entry.name.rstrip("/")] = known
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_docker_pulls_what_it_would_have_built(
    boxed: Tiny, registry: BaseRegistry, target: str, tmp_path: Path
) -> None:
    """Of one commit and one Dockerfile, both have the same files, owners, modes and settings; and docker runs ours."""
    boxed.write("Dockerfile.lambda", (TEMPLATE / TARGETS[target]).read_text().replace("/srv/service", "/var/task"))
    if target == "eks":  # with a dependency, whose files are compressed in its wheel
        boxed.write("requirements/serve.txt", podded.locked())
        boxed.replace("pyproject.toml", "dependencies = []", 'dependencies = ["gunicorn"]')
    base = f"{registry.host}/base:{target}"
    boxed.write("pipeline.toml", f'{(boxed.root / "pipeline.toml").read_text()}\n[build]\nbase = "{base}"\n')
    boxed.commit("Base")
    registry.harm = lambda method, path: (503, {}, b"")
    by_docker = build.build(boxed.config)
    assert by_docker.engine == "docker"
    registry.harm = lambda method, path: None
    ours = build.build(boxed.config)
    assert (ours.engine, ours.base_layers) == ("", by_docker.base_layers)
    pushed = pushing.push(boxed.open(), ours).artifact
    assert pushed.digest == ours.digest
    pulled = pull(Registry(boxed.open()), ours.version, tmp_path)
    assert f"@{ours.digest}" in json.loads(docker("image", "inspect", pulled))[0]["RepoDigests"][0]
    configs: list[dict[str, Any]] = [
        json.loads(docker("image", "inspect", name))[0]["Config"] for name in (by_docker.image, pulled)
    ]
    for name in SETTINGS:
        assert (configs[0].get(name) or None) == (configs[1].get(name) or None), name
    assert configs[0]["Labels"] == configs[1]["Labels"]
    assert files(by_docker.image) == files(pulled)
    said = docker(
        "run", "--rm", "--entrypoint", "python3", pulled, "-c", "import os, service; print(os.getuid(), os.getcwd())"
    )
    assert said == "65534 /var/task"
    docker("rmi", "--force", pulled)


def pull(registry: Registry, tag: str, folder: Path) -> str:
    """Pull the image from the emulator's registry; its name, with the tag, without which a prune would remove it."""
    (folder / "config.json").write_text(
        json.dumps({"auths": {registry.address.partition("/")[0]: {"auth": registry._token}}})
    )
    name = f"{registry.address}:{tag}"
    docker("--config", str(folder), "pull", "--quiet", name)
    return name
