"""Compiles modules on the interpreter that will run them. Run as a script: ``python -I bytecode.py < request > answer``.

Lambda's file system is read-only, so without ``.pyc`` files every cold start compiles every module anew. These are of
PEP 552's unchecked-hash kind: they hold no time, and so are the same bytes at each build.

The request is JSON: a list of ``[path, archive or "", member or file]``. The answer is JSON: a list of
``[path of the .pyc, its bytes in base64]``. A module of a dependency that does not compile, as a template may, is left out; one of
the service's own is an error.
"""

import base64
import importlib.util
import json
import sys
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc


def main():
    """Answer the request on standard input."""
    opened, answer = {}, []
    for path, archive, name in json.load(sys.stdin):
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
            sys.exit(f"{path}, line {getattr(error, 'lineno', '?')}: {error}")
        digest = importlib.util.source_hash(source)
        content = bytes(_code_to_hash_pyc(code, digest, checked=False))
        answer.append([importlib.util.cache_from_source(path), base64.b64encode(content).decode()])
    json.dump(answer, sys.stdout)


main()
