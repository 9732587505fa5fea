"""What this machine can run Kubernetes with: a cluster that is there, Kubernetes' own servers beside Debian's packages, or k3s."""

from __future__ import annotations

import hashlib
import lzma
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from embedded_aws.engine import engine, forget
from embedded_aws.kubernetes import existing, k3s
from embedded_aws.kubernetes.node.servers import CNI_BINARIES

CONTAINER = "docker://"
PROGRAMS = {  # by program: Debian's package
    "etcd": "etcd-server",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "unshare": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "openssl": "openssl",
}


class NoKubernetes(Exception):
    """This machine can't run a cluster; the message says what it lacks."""


@dataclass(frozen=True)
class Way:
    """How a cluster is had: ``process`` of ``embedded_aws`` is run, and ``value`` is its option ``option``."""

    process: str
    option: str
    value: str


def choose(source: str, kept: Path) -> Way:
    """How a cluster is had here. What ``source`` names is taken, or nothing:

    1. a kubeconfig, whose cluster is there;
    2. Kubernetes' own servers, as ``hyperkube`` takes them;
    3. ``docker://IMAGE``, an image of k3s.

    Where it names nothing, k3s is run by the container engine that answers.

    Raises:
        NoKubernetes: what it names can't be used here, or there is no way; the message then has all three.
    """
    forget()
    if source.startswith(CONTAINER):
        if not engine():
            raise NoKubernetes(f"{source} needs a container engine, and neither docker nor podman answers")
        return Way("container", "image", source.removeprefix(CONTAINER))
    if source and Path(source).is_file() and existing.named_by(Path(source)):
        try:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            existing.read(Path(source), kept)
        except (existing.Unusable, OSError) as error:
            raise NoKubernetes(str(error)) from error
        return Way("front", "source", source)
    if source:
        return Way("cluster", "hyperkube", str(hyperkube(source, kept)))
    if engine():
        return Way("container", "image", k3s.IMAGE)
    raise NoKubernetes(
        "no kubeconfig of a cluster and no program that holds Kubernetes' servers is configured, "
        "and neither docker nor podman answers, which would run k3s"
    )


def hyperkube(source: str, kept: Path) -> Path:
    """The program that holds Kubernetes' servers: ``source``, or what it unpacks to, below ``kept``.

    Args:
        source: a path to the program, or to it packed by xz; the packed one's SHA-256 is listed in ``SHA256SUMS`` beside it.
        kept: a folder for the unpacked program.

    Raises:
        NoKubernetes: the machine or the file is not suitable.
    """
    _check_machine()
    if not source:
        raise NoKubernetes("no program that holds Kubernetes' servers is configured")
    path = Path(source)
    if not path.is_file():
        raise NoKubernetes(f"there is no file {path}")
    if path.suffix != ".xz":
        return path
    packed = path.read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    if f"{digest}  {path.name}" not in _sums(path.with_name("SHA256SUMS")):
        raise NoKubernetes(f"the SHA-256 of {path} is {digest}, which {path.with_name('SHA256SUMS')} does not list")
    program = kept / f"hyperkube-{digest[:16]}"
    if not program.exists():
        kept.mkdir(parents=True, exist_ok=True)
        temporary = program.with_suffix(".new")
        temporary.write_bytes(lzma.decompress(packed))
        temporary.chmod(0o755)
        temporary.replace(program)
    return program


def _sums(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError as error:
        raise NoKubernetes(f"{file} can't be read, so the program is not known: {error}") from error


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NoKubernetes(f"a cluster needs Linux on x86-64, and this is {sys.platform} on {platform.machine()}")
    if os.geteuid() != 0:
        raise NoKubernetes("a cluster needs root, as it makes namespaces and control groups")
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if not Path(CNI_BINARIES, "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        raise NoKubernetes(f"a cluster needs Debian's packages {', '.join(sorted(missing))}")
