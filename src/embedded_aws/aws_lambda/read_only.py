"""In a function's process: writing is possible in /tmp only, by Linux's Landlock, which every user may apply to itself.

Lambda's file system is read-only but for /tmp: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
What is written elsewhere fails with EACCES here, and with EROFS there. https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import sys

CREATE, ADD, RESTRICT = 444, 445, 446  # system calls, the same on every architecture
VERSION, PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 1, 38
FILE = 1 << 1  # write to a file
# Remove a folder or a file; make a device, folder, file, socket, pipe, block device, link.
FOLDER = FILE | sum(1 << bit for bit in range(4, 13))
PLACES = {"/tmp": FOLDER, "/dev/null": FILE}  # noqa: S108 # nosec B108 - Lambda's own


def restrict() -> bool:
    """Restrict this process and its children; returns whether the system could."""
    if sys.platform != "linux":
        return False
    import ctypes

    libc = ctypes.CDLL(None)
    if libc.syscall(CREATE, None, 0, VERSION) < 1:
        return False
    handled = ctypes.c_uint64(FOLDER)
    rules = libc.syscall(CREATE, ctypes.byref(handled), 8, 0)
    for place, rights in PLACES.items():
        opened = os.open(place, os.O_PATH)
        words = rights.to_bytes(8, "little") + opened.to_bytes(4, "little")
        libc.syscall(ADD, rules, PATH_BENEATH, words, 0)
        os.close(opened)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done: bool = libc.syscall(RESTRICT, rules, 0) == 0
    os.close(rules)
    return done
