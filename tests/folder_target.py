"""A target of a user's own: releases are folders, each call is a process. It knows nothing of AWS but the artifact's bucket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from ml_delivery import objects
from ml_delivery.artifact import store
from ml_delivery.config import Config
from ml_delivery.errors import Moved
from ml_delivery.keys import Function, key
from ml_delivery.packing.ingredients import Ingredients
from ml_delivery.packing.shares import shares
from ml_delivery.records import (
    Answer,
    Artifact,
    Context,
    Line,
    Live,
    Manifest,
    Numbers,
    Packed,
    Pushed,
    Release,
    Settings,
    Traffic,
)
from ml_delivery.target import Deployer, Target

CALL = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from service.handler import handler
print(json.dumps(handler({"rawPath": sys.argv[2]}, None)))
"""


@dataclass(frozen=True)
class FolderSettings(Function):
    """One key of its own."""

    greeting: str = key('a word: "hello"', default="hello", pattern=r"[a-z]+")


class FolderTarget(Target):
    """Where this service runs."""

    function = FolderSettings

    def pack(self, config: Config, made: Ingredients, scratch: Path) -> Packed:
        import hashlib

        path = scratch / "artifact.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in [*made.model, *made.source]:
                archive.writestr(zipfile.ZipInfo(name), data)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        contents = shares((config.service.name, len(data), 0) for _, data in made.source)
        return Packed(f"sha256:{digest}", path.stat().st_size, contents, files=((path, path.name),))

    def push(self, context: Context, manifest: Manifest) -> Pushed:
        archive = context.config.root / "build/artifact.zip"
        return store.push(context.cloud, context.foundation.bucket, archive, manifest)

    def open(self, context: Context) -> Deployer:
        return FolderDeployer(context)


class FolderDeployer(Deployer):
    """The folder of one environment; ``state.json`` in it says what is deployed and who gets the traffic."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._home = context.config.root / "deployed" / context.environment.name

    def live(self) -> Live | None:
        traffic = self.traffic()
        if traffic is None:
            return None
        one = self._state()["deployed"][traffic.deployed]
        return Live(traffic.deployed, one["release"], one["digest"], one["settings"], one["variables"], traffic)

    def settings(self) -> Settings:
        own = self._context.environment.function
        assert isinstance(own, FolderSettings)
        return {"greeting": own.greeting}

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        name, state = f"v{release.number}", self._state()
        found = objects.get(self._context.cloud, self._context.foundation.bucket, release.artifact.location)
        assert found is not None
        with zipfile.ZipFile(BytesIO(found[0])) as archive:
            archive.extractall(self._home / name)
        state["deployed"][name] = {
            "release": release.number,
            "digest": release.artifact.digest,
            "settings": release.settings,
            "variables": release.environment,
        }
        self._write(state)
        return name

    def stored(self, artifact: Artifact) -> str:
        import hashlib

        found = objects.get(self._context.cloud, self._context.foundation.bucket, artifact.location)
        return "sha256:" + hashlib.sha256(found[0] if found else b"").hexdigest()

    def call(
        self,
        path: str,
        deployed: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        began, traffic = time.perf_counter(), self.traffic()
        name = deployed or (traffic.deployed if traffic else "")
        one = self._state()["deployed"].get(name)
        if one is None:
            return Answer(0, "", f"{name} is not deployed", 0.0, gone=True)
        words = [sys.executable, "-c", CALL, str(self._home / name), path]
        done = subprocess.run(
            words, env={**os.environ, **one["variables"]}, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            return Answer(0, "", done.stderr.strip().splitlines()[-1], seconds)
        answer = json.loads(done.stdout.splitlines()[-1])
        return Answer(answer["statusCode"], answer["body"], "", seconds)

    def numbers(self, deployed: str, since: float) -> Numbers:
        return Numbers(0, 0, 0.0, 0)

    def traffic(self) -> Traffic | None:
        split = self._state()["traffic"]
        return Traffic(**split) if split else None

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        state = self._state()
        if (state["traffic"] or {}).get("revision") != (seen.revision if seen else None):
            raise Moved("the traffic was changed meanwhile")
        state["traffic"] = wanted and {
            "deployed": wanted.deployed,
            "weights": wanted.weights,
            "revision": str(time.time_ns()),
        }
        self._write(state)

    def deployed(self) -> dict[str, int]:
        return {name: one["release"] for name, one in self._state()["deployed"].items()}

    def remove(self, deployed: str) -> None:
        state = self._state()
        shutil.rmtree(self._home / deployed)
        del state["deployed"][deployed]
        self._write(state)

    def logs(self, since: float) -> Iterator[Line]:
        return iter(())

    def _state(self) -> dict[str, Any]:
        path = self._home / "state.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"deployed": {}, "traffic": None}
        return found

    def _write(self, state: dict[str, Any]) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / "state.json").write_text(json.dumps(state))
