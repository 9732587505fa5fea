"""A function that is a container image runs it: its own entrypoint, from its own layers.

What Lambda does: https://docs.aws.amazon.com/lambda/latest/dg/images-create.html. The image must be in ECR; the function
holds it by digest, and never changes between image and ZIP. ministack takes any URI, reports no digest, and runs images
with Docker's SDK, which is not here. This runs them with docker or podman, which also keeps the memory limit and the
read-only root; where neither answers, root runs them in a folder of its own (chroot).
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import os
import queue
import secrets
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import functions
from functions import INIT_SECONDS, Fault
from ministack.core import lambda_runtime
from ministack.services import ecr
from ministack.services import lambda_svc as lambda_
from runtimeapi import RuntimeAPI

NOBODY = 65534  # Lambda runs an image as a user of its own, whatever the image says
QUIET_SECONDS = 0.02  # what a function has printed before its answer is here by then


class Image:
    """An image in the registry: what its manifest and its configuration say."""

    def __init__(self, uri: str) -> None:
        name, _, reference = uri.partition("/")[2].rpartition("@" if "@" in uri else ":")
        self.name = name
        found = ecr._resolve_manifest(name, reference) if name in ecr._repositories else (None, None, None)
        if found[0] is None:
            raise Fault("InvalidImage", f"Source image {uri} does not exist. Provide a valid source image.")
        self.digest: str = found[0]
        self.manifest = json.loads(found[1])
        self.config_digest: str = self.manifest["config"]["digest"]
        self.settings = json.loads(self.blob(self.config_digest))

    def blob(self, digest: str) -> bytes:
        content = ecr._layer_blobs.get(self.name, {}).get(digest)
        if content is None:
            raise Fault("InvalidImage", f"{self.name} lacks {digest}")
        return bytes(content)

    @property
    def size(self) -> int:
        return sum(layer["size"] for layer in self.manifest["layers"])

    @property
    def command(self) -> list[str]:
        config = self.settings["config"]
        return [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]

    @property
    def variables(self) -> dict[str, str]:
        return dict(text.split("=", 1) for text in self.settings["config"].get("Env") or [])

    def archive(self) -> bytes:
        """As ``docker load`` takes it."""
        out = io.BytesIO()
        names = [layer["digest"].partition(":")[2] + ".tar" for layer in self.manifest["layers"]]
        config = self.config_digest.partition(":")[2] + ".json"
        with tarfile.open(fileobj=out, mode="w") as archive:
            members = {config: self.blob(self.config_digest)}
            members |= {n: self.blob(d["digest"]) for n, d in zip(names, self.manifest["layers"], strict=True)}
            members["manifest.json"] = json.dumps([{"Config": config, "RepoTags": None, "Layers": names}]).encode()
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()


class Container(functions.Process):
    """One execution environment of one version of a function that is an image."""

    roots: Path

    def _start(self) -> None:
        self._logged: queue.SimpleQueue[str] = queue.SimpleQueue()
        image = Image(self.config["ImageUri"])
        self._api = RuntimeAPI()
        self._name = f"lambda-{secrets.token_hex(8)}"
        given = self._environment(Path(image.settings["config"].get("WorkingDir") or "/var/task"))
        given |= {"AWS_EXECUTION_ENV": "AWS_Lambda_Image", "AWS_LAMBDA_RUNTIME_API": self._api.address}
        environment = {**given, **image.variables, **self.config.get("Environment", {}).get("Variables", {})}
        environment["AWS_LAMBDA_RUNTIME_API"] = self._api.address
        program = engine()
        words, outer = self._engine(program, image, environment) if program else self._chroot(image, environment)
        self._proc = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=outer,
        )
        threading.Thread(target=self._watch, args=(self._proc, self._api), daemon=True).start()
        first = self._api.started(INIT_SECONDS)
        if first is None or "error" in first:
            error = (first or {}).get("error") or {}
            kind, message = (
                error.get("errorType", "Runtime.ExitError"),
                error.get("errorMessage", "Runtime did not start"),
            )
            raise Fault(kind, message)

    def _engine(self, program: str, image: Image, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        number = image.config_digest.partition(":")[2]
        if _client(program, "image", "inspect", number).returncode != 0:
            loaded = _client(program, "load", input=image.archive())
            if loaded.returncode != 0:
                raise Fault("Runtime.InvalidImage", loaded.stderr.decode("utf-8", "replace").strip())
        words = [program, "run", "--rm", "--name", self._name, "--network", "host", "--read-only"]
        size = self.config.get("EphemeralStorage", {}).get("Size", 512)
        words += ["--tmpfs", f"/tmp:rw,size={size}m"]  # noqa: S108 # nosec B108 - the container's own
        words += ["--memory", f"{self.config.get('MemorySize', 128)}m", "--user", f"{NOBODY}:{NOBODY}"]
        # By name only: the client takes the values from its own environment, so that none is on a command line.
        words += [word for name in environment if name != "PATH" for word in ("--env", name)]
        return [*words, number], {**environment, **_outside()}

    def _chroot(self, image: Image, environment: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        if os.geteuid() != 0:
            message = "neither docker nor podman answers, and only root runs an image without them"
            raise Fault("Runtime.NoEngine", message)
        root, config = unpacked(image, self.roots), image.settings["config"]
        words = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            f"--root={root}",
            f"--wd={config.get('WorkingDir') or '/'}",
        ]
        return [*words, f"--setgid={NOBODY}", f"--setuid={NOBODY}", "--", *image.command], environment

    def _ask(self, message: dict[str, Any], timeout: int) -> dict[str, Any]:
        answer = self._api.ask({"event": message["event"], **message["context"]}, timeout)
        if answer is None:
            raise Fault("Sandbox.Timedout", f"Task timed out after {timeout}.00 seconds")
        if "exited" in answer:
            raise Fault("Runtime.ExitError", f"Runtime exited with error: exit status {answer['exited']}")
        return answer

    def _watch(self, process: Any, api: RuntimeAPI) -> None:
        """Keep what is printed; when the runtime ends, nobody waits for its answer any longer."""
        for line in process.stdout:
            self._logged.put(line)
        code = process.wait()
        error = {"errorType": "Runtime.ExitError", "errorMessage": f"Runtime exited with error: exit status {code}"}
        api._started.put({"error": error})
        api._results.put({"exited": code})

    def _log(self) -> str:
        lines: list[str] = []
        with contextlib.suppress(queue.Empty):
            while True:
                lines.append(self._logged.get(timeout=QUIET_SECONDS))
        return "".join(lines).rstrip("\n")

    def _stop(self) -> None:
        super()._stop()
        self._discard_tmpdir()

    def _discard_tmpdir(self) -> None:
        """The container outlives its client's death, and the API its container's."""
        if api := getattr(self, "_api", None):
            api.close()
            if program := engine():
                _client(program, "kill", self._name)
            del self._api


@functools.cache
def engine() -> str:
    """docker or podman, whichever answers; nothing when neither does."""
    for program in ("docker", "podman"):
        words = ("version", "--format", "{{.Server.Version}}") if program == "docker" else ("info",)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            if _client(program, *words, timeout=10).returncode == 0:
                return program
    return ""


def _client(program: str, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *words], env=_outside(), capture_output=True, check=False, **options)


def _outside() -> dict[str, str]:
    """The environment of the engine's client: that of whoever started this server, as far as it was passed on."""
    host = os.environ.get("EMBEDDED_DOCKER_HOST")
    return {**{n: os.environ[n] for n in ("PATH", "HOME")}, **({"DOCKER_HOST": host} if host else {})}


_unpacking = threading.Lock()


def unpacked(image: Image, roots: Path) -> Path:
    """The folder with the files of an image, one per digest.

    https://github.com/opencontainers/image-spec/blob/main/layer.md
    """
    root = roots / image.digest.partition(":")[2]
    with _unpacking:
        if not root.exists():
            temporary = root.with_suffix(".new")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for layer in image.manifest["layers"]:
                content = image.blob(layer["digest"])
                content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    for entry in archive:
                        folder, _, name = entry.name.rpartition("/")
                        if name == ".wh..wh..opq":
                            for inner in (temporary / folder).iterdir():
                                _remove(inner)
                        elif name.startswith(".wh."):
                            _remove(temporary / folder / name.removeprefix(".wh."))
                        else:
                            archive.extract(entry, temporary, filter="tar")
            temporary.rename(root)
    return root


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mend(tmp: Path) -> None:
    """Take images from ECR by digest, and run them in ``Container``s."""
    Container.roots = tmp / "images"
    create, update = lambda_._create_function, lambda_._update_code
    run, classes = lambda_._execute_function_docker, lambda_runtime._worker_class_for

    def refusal(message: str) -> Any:
        return lambda_.error_response_json("InvalidParameterValueException", message, 400)

    def taken(change: Callable[[], Any], name: str, uri: str) -> Any:
        """Have ``change`` take the image by digest, and report it as Lambda does."""
        try:
            image = Image(uri)
        except Fault as fault:
            return refusal(str(fault))
        answer = change()
        if answer[0] >= 300:
            return answer
        own = {"CodeSha256": image.digest.partition(":")[2], "CodeSize": image.size}
        pinned = f"{uri.rpartition('@' if '@' in uri else ':')[0]}@{image.digest}"
        lambda_._functions[name]["config"] |= {**own, "ImageUri": pinned}
        return answer[0], answer[1], json.dumps(json.loads(answer[2]) | own).encode()

    def created(data: dict[str, Any]) -> Any:
        uri = (data.get("Code") or {}).get("ImageUri")
        if not uri:
            return create(data)
        if data.get("Runtime") or data.get("Handler"):
            return refusal(
                "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image"
            )
        return taken(lambda: create(data), data.get("FunctionName", ""), uri)

    def updated(name: str, data: dict[str, Any]) -> Any:
        function = lambda_._functions.get(name)
        kind = function["config"].get("PackageType", "Zip") if function else ""
        if function and (kind == "Image") != ("ImageUri" in data):
            words = "Please provide ImageUri" if kind == "Image" else "Please do not provide ImageUri"
            return refusal(f"{words} when updating a function with packageType {kind}.")
        if not function or "ImageUri" not in data:
            return update(name, data)
        return taken(lambda: update(name, data), name, data["ImageUri"])

    def execute(function: dict[str, Any], event: Any, request_id: str) -> Any:
        if (function.get("config") or function).get("PackageType") != "Image":
            return run(function, event, request_id)
        # The pool wants to see code; the image has it.
        return lambda_._execute_function_warm({**function, "code_zip": b"image"}, event, request_id)

    lambda_._create_function, lambda_._update_code = created, updated
    lambda_._execute_function_docker = execute
    lambda_runtime._worker_class_for = lambda config: (
        Container if config.get("PackageType") == "Image" else classes(config)
    )
