"""A tiny service whose target is a cluster: a WSGI application behind gunicorn, easy to break in one way."""

from __future__ import annotations

from tiny import PYTHON, TEMPLATE, Tiny

SLIM = f"public.ecr.aws/docker/library/python:{PYTHON}-slim"
APP = """\
import json, os, pathlib, sys, time

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())


def create_app():
    print("starting", flush=True)
    return answer


def answer(environ, start_response):
    path, status = environ["PATH_INFO"], "200 OK"
    body = {"release": int(os.environ["RELEASE_NUMBER"]), "note": "first", **RELEASE}
    if path == "/variables":
        body = dict(os.environ)
    if path == "/broken":
        status = "500 Internal Server Error"
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""
CREATED = '    print("starting", flush=True)\n'
# How a service breaks: the text to replace in APP, what to put there, and what the refusal says.
FAULTS = {
    "exits": (CREATED, CREATED + "    raise ValueError('no such luck')\n", "ValueError: no such luck"),
    "is never ready": (
        "= environ",
        '= environ["PATH_INFO"], "503 Not Yet" #',
        "function.start); it last answered /readyz with 503",
    ),
    "needs memory": (CREATED, CREATED + "    bytearray(10**9)\n", "used more than function.memory"),
    "is another release": ("**RELEASE", '**RELEASE, "content": "sha256:0"', "is another release: /version has content"),
}
SETTINGS = """\
cpu = 200
memory = 96
replicas = 1
start = 15
drain = 0
"""
GUNICORN = ("gunicorn", "packaging")


def locked() -> str:
    """gunicorn and what it needs, from the starter's own lockfile of its checks."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in (TEMPLATE / "starters/pricing/requirements/check.txt").read_text().splitlines():
        if not line.startswith((" ", "#")):
            name = line.partition("==")[0]
        if name in GUNICORN and "# via" not in line and not line.strip().startswith("#"):
            found.setdefault(name, []).append(line)
    assert set(found) == set(GUNICORN)
    return "\n".join(line for lines in found.values() for line in lines) + "\n"


def pod(service: Tiny, cluster: str) -> None:
    """Make the target of ``service`` a cluster, and commit."""
    served(service, "eks", APP, "serving.py", "Dockerfile", f'cluster = "{cluster}"\n{SETTINGS}')
    service.commit("Pod")


def served(service: Tiny, target: str, app: str, module: str, dockerfile: str, settings: str) -> None:
    """Make the service an application behind gunicorn, with the template's module and Dockerfile of the target."""
    (service.root / "src/service/handler.py").unlink()
    service.write("src/service/app.py", app)
    for file in (f"src/ml_service/{module}", "src/ml_service/telemetry.py", "src/ml_service/__init__.py", dockerfile):
        service.write(file, (TEMPLATE / file).read_text(encoding="utf-8"))
    service.write("requirements/serve.txt", locked())
    service.replace("pyproject.toml", "dependencies = []", 'dependencies = ["gunicorn"]')
    service.replace("pipeline.toml", 'target = "lambda-zip"', f'target = "{target}"')
    service.replace("pipeline.toml", "memory = 256\ntimeout = 3\n", settings)


def fault(service: Tiny, name: str, faults: dict[str, tuple[str, str, str]] = FAULTS) -> str:
    """Break the service in one way and commit; what the refusal will say."""
    old, new, says = faults[name]
    service.replace("src/service/app.py", old, new)
    service.commit(f"Break: {name}")
    return says


def repair(service: Tiny, note: str, app: str = APP) -> None:
    """Put the good application back, with something changed, and commit."""
    service.write("src/service/app.py", app.replace('"first"', f'"{note}"'))
    service.commit(f"Repair: {note}")
