"""Compiles modules with the interpreter that will run them; also a script: ``python -I bytecode.py < request``.

On a read-only file system, every cold start without ``.pyc`` files would compile every module again. These are unchecked
hash-based ``.pyc`` files (PEP 552): they contain no time, so they have the same bytes in each build.
"""

import base64
import importlib.util
import json
import sys
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]  # PEP 552's only writer


def answers(modules: list[tuple[str, str, str]]) -> list[list[str]]:
    """The bytecode of each of ``modules``, [path, archive or "", member or file]: [path of the .pyc, its bytes in base64].

    A module in an archive that does not compile, such as a template, is left out.

    Raises:
        SyntaxError: a file does not compile; the message has its name and the line.
    """
    opened: dict[str, zipfile.ZipFile] = {}
    found = []
    for path, archive, name in modules:
        if archive:
            if archive not in opened:
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
        digest = importlib.util.source_hash(source)
        content = bytes(_code_to_hash_pyc(code, digest, checked=False))
        found.append([importlib.util.cache_from_source(path), base64.b64encode(content).decode()])
    for each in opened.values():
        each.close()
    return found


if __name__ == "__main__":
    try:
        json.dump(answers(json.load(sys.stdin)), sys.stdout)
    except SyntaxError as error:
        sys.exit(str(error))
