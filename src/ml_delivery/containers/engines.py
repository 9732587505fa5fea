"""The container engine of this machine: docker, podman or buildah, whichever answers first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_delivery.errors import BuildError, CloudError, SetupError

__all__ = ["Engine", "Image", "find"]

# An installed client does not mean a running engine: these commands need the engine itself.
PROBES = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
    "buildah": ("info",),
}
PROBE_SECONDS = 20
FULL = "no space left on device"


@dataclass(frozen=True)
class Image:
    """An image that an engine has: its id, the digests of its unpacked layers, its architecture, and its user.

    ``digest`` is that of its manifest in the registry that it came from; empty where the engine does not know it.
    """

    id: str
    layers: tuple[str, ...]
    architecture: str
    user: str
    digest: str = ""


@dataclass(frozen=True)
class Engine:
    """A container engine; ``environment`` holds the variables that its client is run with."""

    name: str
    environment: dict[str, str]

    def answers(self) -> str:
        """Empty if it answers, else the reason that it reports."""
        try:
            done = self._run(*PROBES[self.name], seconds=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            return f"no answer within {PROBE_SECONDS} s"
        return "" if done.returncode == 0 else _last(done.stderr) or "no reason given"

    def build(self, file: Path, context: Path, tag: str, arguments: dict[str, str], labels: dict[str, str]) -> Image:
        """Build ``file`` with the files of ``context`` and name the image ``tag``.

        Raises:
            BuildError: the base image could not be pulled, or the build failed; the message has the engine's reason.
            SetupError: the engine stopped answering, or its disk is full.
        """
        words = ["build", "--file", str(file), "--tag", tag, "--platform", arguments["PLATFORM"]]
        words += [
            w for name, value in arguments.items() if name != "PLATFORM" for w in ("--build-arg", f"{name}={value}")
        ]
        words += [w for name, value in labels.items() for w in ("--label", f"{name}={value}")]
        if self.name != "docker":  # docker's builder reads SOURCE_DATE_EPOCH from the environment, if it supports it
            words += ["--layers", "--timestamp", self.environment["SOURCE_DATE_EPOCH"]]
        done = self._run(*words, str(context))
        if done.returncode != 0:
            raise self._fault("build the image", done)
        return self.inspect(tag)

    def inspect(self, tag: str) -> Image:
        """The image that the engine has under ``tag``.

        Raises:
            BuildError: there is none.
            SetupError: it stopped answering.
        """
        words = ["inspect", "--type", "image", tag] if self.name == "buildah" else ["image", "inspect", tag]
        done = self._run(*words)
        if done.returncode != 0:
            if why := self.answers():
                raise SetupError(
                    f"{self.name} has stopped answering: {why}", next=f"start {self.name}, then run this again"
                )
            raise BuildError(f"{self.name} does not have the image {tag}", next="invoke build")
        found: Any = json.loads(done.stdout)
        if self.name == "buildah":
            config = found["OCIv1"]
            layers, user = config["rootfs"]["diff_ids"], config["config"].get("User", "")
            identity = f"sha256:{found['FromImageID'].removeprefix('sha256:')}"
            return Image(identity, tuple(layers), config["architecture"], user, found.get("FromImageDigest", ""))
        found = found[0]
        identity, user = f"sha256:{found['Id'].removeprefix('sha256:')}", found["Config"].get("User", "")
        named = next(iter(found.get("RepoDigests") or []), "").rpartition("@")[2]
        return Image(identity, tuple(found["RootFS"]["Layers"]), found["Architecture"], user, named)

    def push(self, tag: str, address: str, user: str, password: str, *, tls: bool) -> None:
        """Push the image ``tag`` to ``address``, as ``user``; the password is neither on a command line nor on disk.

        Raises:
            CloudError: the registry refused it, or dropped a layer; the message has the engine's reason.
            SetupError: the engine stopped answering.
        """
        with self._signed_in(address.partition("/")[0], user, password) as engine:
            if self.name == "docker":
                engine._check("name the image", "tag", tag, address)
                try:
                    engine._check("push the image", "push", "--quiet", address, kind=CloudError)
                finally:
                    engine._run("rmi", address)  # removes only this name; the image keeps its own
            else:
                verify = f"--tls-verify={'true' if tls else 'false'}"
                engine._check("push the image", "push", verify, "--quiet", tag, f"docker://{address}", kind=CloudError)

    @contextmanager
    def _signed_in(self, host: str, user: str, password: str) -> Iterator[Engine]:
        """This engine with a credential helper that passes the password to its client, in the client's memory only.

        https://github.com/docker/docker-credential-helpers; podman and buildah support the same protocol.
        """
        with tempfile.TemporaryDirectory() as folder:
            helper = Path(folder, "docker-credential-pipeline")
            helper.write_text('#!/bin/sh\n[ "$1" = get ] && printf "%s" "$PIPELINE_REGISTRY"\n')
            helper.chmod(0o700)
            settings = Path(folder, "config.json")
            settings.write_text(json.dumps({"credHelpers": {host: "pipeline"}}))
            answer = json.dumps({"ServerURL": host, "Username": user, "Secret": password})
            more = {"DOCKER_CONFIG": folder, "REGISTRY_AUTH_FILE": str(settings), "PIPELINE_REGISTRY": answer}
            path = f"{folder}{os.pathsep}{self.environment['PATH']}"
            yield Engine(self.name, {**self.environment, **more, "PATH": path})

    def _check(self, what: str, *words: str, kind: type[BuildError | CloudError] = BuildError) -> None:
        done = self._run(*words)
        if done.returncode != 0:
            raise self._fault(what, done, kind)

    def _fault(
        self, what: str, done: subprocess.CompletedProcess[str], kind: type[BuildError | CloudError] = BuildError
    ) -> BuildError | CloudError | SetupError:
        said = _last(done.stderr) or _last(done.stdout) or f"exit code {done.returncode}"
        if FULL in done.stderr + done.stdout:
            remedy = f"{self.name} system prune, then run this again"
            return SetupError(f"{self.name} could not {what}: its disk is full", next=remedy)
        if why := self.answers():
            remedy = f"start {self.name}, then run this again"
            return SetupError(f"{self.name} stopped answering and could not {what}: {why}", next=remedy)
        whole = "the previous build is unchanged" if kind is BuildError else "the image is not recorded yet"
        remedy = f"fix what the reason names, then run this again; {whole}"
        return kind(f"{self.name} could not {what}: {said}", next=remedy)

    def _run(self, *words: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.name, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=seconds
        )


def find(epoch: int = 0) -> Engine:
    """The first engine that answers; its images get the time ``epoch``, in seconds since 1970.

    Raises:
        SetupError: none does; the message has each engine's reason, and how to get one.
    """
    tried = []
    for name in PROBES:
        if not shutil.which(name):
            tried.append(f"{name}: not installed")
            continue
        engine = Engine(name, _environment(name, epoch))
        if not (why := engine.answers()):
            return engine
        tried.append(f"{name}: {why}")
    raise SetupError(
        "\n  ".join(["no container engine answers", *tried]),
        next="start docker or podman, or install one (apt-get install buildah needs no service); "
        "or build elsewhere: invoke build --on codebuild",
    )


def _environment(name: str, epoch: int) -> dict[str, str]:
    """The client's variables, with the engine's address, which is otherwise in the client's own settings."""
    # An attestation would make the image an index of two manifests, which not every target accepts.
    more = {"SOURCE_DATE_EPOCH": str(epoch), "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    if name == "docker" and "DOCKER_HOST" not in os.environ:
        words = [name, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            more["DOCKER_HOST"] = done.stdout.strip()
    return {**os.environ, **more}


def _last(text: str) -> str:
    """The last line of a program's output, which is the reason for its failure."""
    lines = [line for line in text.strip().splitlines() if line.strip() and "DEPRECATED" not in line]
    return lines[-1].strip() if lines else ""
