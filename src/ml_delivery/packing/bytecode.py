"""Compiles modules on the interpreter that will run them; as a script: ``python -I -S bytecode.py < request``.

Where a service's file system is read-only, every cold start without ``.pyc`` files compiles every module again. These are of
PEP 552's unchecked-hash kind: they hold no time, and so are the same bytes at each build.
"""

import base64
import importlib.util
import json
import sys
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc  # type: ignore[attr-defined]  # PEP 552's only writer


def answers(modules: list[tuple[str, str, str]]) -> list[list[str]]:
    """Bytecode of each of ``modules``, [path, archive or "", member or file]: [path of the .pyc, its bytes in base64].

    A module of an archive that does not compile, as a template may not, is left out.

    Raises:
        SyntaxError: a file does not compile; the message names it and the line.
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
