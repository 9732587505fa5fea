"""How much memory a process and its children hold, as Linux counts it; elsewhere it is not known.

Counted is what they wrote, not the files that they map, which can be dropped at any time.
https://man7.org/linux/man-pages/man5/proc_pid_status.5.html, https://docs.kernel.org/filesystems/proc.html (smaps_rollup)
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def used(pid: int) -> int:
    """Bytes that the process has held at most; with children, what all of them hold now. 0 where that is not known."""
    family = [pid, *_descendants(pid)]
    if len(family) == 1:
        found = _fields(Path(f"/proc/{pid}/status"))
        return max(0, found.get("VmHWM", 0) - found.get("RssFile", 0))
    rolled = [_fields(Path(f"/proc/{one}/smaps_rollup")) for one in family]
    return sum(found.get("Pss_Anon", 0) + found.get("Pss_Shmem", 0) for found in rolled)


def _fields(path: Path) -> dict[str, int]:
    """Bytes, by name."""
    with contextlib.suppress(OSError):
        found = re.findall(r"^(\w+):\s+(\d+) kB$", path.read_text(), re.M)
        return {name: int(size) * 1024 for name, size in found}
    return {}


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *_descendants(child)]
    return found
