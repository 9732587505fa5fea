"""Compiles modules on the interpreter that will run them. Run as a script: ``python -I bytecode.py < request > answer``.

Lambda's file system is read-only, so without ``.pyc`` files every cold start compiles every module anew. These are of
PEP 552's unchecked-hash kind: they hold no time, and so are the same bytes at each build.

The request is JSON: a list of ``[path, archive or "", member or file]``. The answer is a marshalled list of
``(path of the .pyc, its bytes)``. A module of a dependency that does not compile, as a template may, is left out; one of
the service's own is an error.
"""

import importlib.util
import json
import marshal
import sys
import zipfile
from importlib._bootstrap_external import _code_to_hash_pyc


def main():
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
        answer.append((importlib.util.cache_from_source(path), bytes(_code_to_hash_pyc(code, digest, checked=False))))
    marshal.dump(answer, sys.stdout.buffer)


main()
