"""Compiles modules on the interpreter that will run them; as a script: ``python -I -S bytecode.py < request``.

On a read-only file system, every cold start without ``.pyc`` files would compile every module again. These are unchecked
hash-based ``.pyc`` files (PEP 552): they contain no time, so they have the same bytes in each build.
"""

from __future__ import annotations

import _imp
import sys

# PEP 552's only writer; the rest is in importlib.util too, whose import would take longer than a service's compilation.
from importlib._bootstrap_external import (  # type: ignore[attr-defined]
    MAGIC_NUMBER,
    _code_to_hash_pyc,
    cache_from_source,
)

TYPE_CHECKING = False  # each import is a part of every build's time
if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable


def answers(modules: Iterable[tuple[str, str, str]]) -> list[tuple[str, bytes]]:
    """Bytecode of each of ``modules``, (path, archive or "", member or file): (path of the .pyc, its bytes).

    A module in an archive that does not compile, such as a template, is left out.

    Raises:
        SyntaxError: a file does not compile; the message has its name and the line.
    """
    opened: dict[str, zipfile.ZipFile] = {}
    found = []
    for path, archive, name in modules:
        if archive:
            if archive not in opened:
                import zipfile

                opened[archive] = zipfile.ZipFile(archive)
            source = opened[archive].read(name)
        else:
            with open(name, "rb") as file:
                source = file.read()
        try:
            code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError) as error:
            if archive:
                continue
            raise SyntaxError(f"{path}, line {getattr(error, 'lineno', '?')}: {error}") from error
        digest = _imp.source_hash(int.from_bytes(MAGIC_NUMBER, "little"), source)
        content = bytes(_code_to_hash_pyc(code, digest, checked=False))
        found.append((cache_from_source(path), content))
    for each in opened.values():
        each.close()
    return found


if __name__ == "__main__":
    words = iter(sys.stdin.buffer.read().decode().split("\0")[:-1])  # three of each module, each ended by NUL
    try:
        answered = answers(zip(words, words, words, strict=True))
    except SyntaxError as error:
        sys.exit(str(error))
    for written, code in answered:
        sys.stdout.buffer.write(b"%s\0%d\0%s" % (written.encode(), len(code), code))
