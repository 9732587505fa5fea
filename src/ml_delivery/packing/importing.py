"""Imports modules of a read-only folder and nothing else; as a script: ``python -I -S importing.py FOLDER LIBRARIES < modules``.

For each module that is read, a line of JSON is written: [module, fault, missing]. ``fault`` is empty when it was imported, and
``missing`` is the module or the file that was not found, if that was the fault. What the folder's modes forbid is
forbidden to root too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def obey_permissions() -> None:
    """Give up root's privilege to write to every folder, which a service does not have.

    https://man7.org/linux/man-pages/man7/capabilities.7.html
    """
    if os.geteuid() != 0:
        return
    import ctypes

    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, sets)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        for number in (0, 1):  # effective, permitted
            sets[number] &= ~(1 << capability)
    libc.capset(header, sets)


def main() -> None:
    """Import each module; what they print goes to standard error."""
    folder, libraries = sys.argv[1:]
    sys.argv = [""]
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    modules = sys.stdin.read().split()
    obey_permissions()
    sys.path.insert(0, folder)
    sys.path.append(libraries)  # after the package's own, as the runtime's are
    for module in modules:
        fault = missing = ""
        try:
            importlib.import_module(module)
        except BaseException as error:  # a module may raise SystemExit
            fault = f"{type(error).__name__}: {error}"
            missing = str(getattr(error, "name", "") or getattr(error, "filename", "") or "")
        answers.write(json.dumps([module, fault, missing]) + "\n")
    answers.flush()
    os._exit(0)  # threads that were started may never end


if __name__ == "__main__":
    main()
