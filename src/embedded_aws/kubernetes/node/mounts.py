"""The mounts of the cluster's own namespace: what its servers write to fixed places goes below its folder.

They vanish with the namespace, whatever ended it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
HOME = Path("/run/kubernetes")  # short: a UNIX socket's path has at most 107 characters


def make(home: Path) -> None:
    """Mount the cluster's folder at ``HOME``, and overlays where the kubelet writes to fixed places."""
    controllers = cgroup_hierarchies()
    _mount("--make-rprivate", "/")
    _mount("--make-rshared", "/")  # among its own mounts: containers see volumes that are mounted later
    for name in ("lib", "log"):
        upper, work = home / "var" / name, home / "var" / f"{name}-work"
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(exist_ok=True)
        _mount(
            "-t", "overlay", "overlay", "-o", f"lowerdir=/var/{name},upperdir={upper},workdir={work}", f"/var/{name}"
        )
    home_handle = os.open(home, os.O_PATH)  # /run may hold it
    _mount("-t", "tmpfs", "tmpfs", "/run")
    HOME.mkdir()
    subprocess.run(["mount", "--bind", f"/proc/self/fd/{home_handle}", str(HOME)], check=True, pass_fds=(home_handle,))
    os.close(home_handle)
    if controllers:
        _mount("-t", "tmpfs", "tmpfs", str(CGROUPS))
        for controller in controllers:
            (CGROUPS / controller).mkdir()
            option = controller if controller != "systemd" else "name=systemd"
            _mount("-t", "cgroup", "cgroup", "-o", option, str(CGROUPS / controller))
    else:
        _mount("-t", "cgroup2", "cgroup2", str(CGROUPS))


def cgroup_hierarchies() -> list[str]:
    """The folders of cgroups' first version; empty where the second is in use alone."""
    if (CGROUPS / "cgroup.controllers").exists():
        return []
    return sorted(p.name for p in CGROUPS.iterdir() if (p / "tasks").exists() and not p.is_symlink())


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
