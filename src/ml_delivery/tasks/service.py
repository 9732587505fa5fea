"""The tasks that use the service itself: call what is live; serve the working tree, and a shell in it."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, open_environment, read_config

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment


@action(
    help={
        "path": "the path to request, with its query: /version",
        "method": "default: POST with a body, else GET",
        "body": "a file, - for standard input, or JSON",
        "header": "'Name: value'; can be repeated",
        "release": "the number of a release to ask, which need not be live",
        "branch": BRANCH,
        "cloud": CLOUD,
        "json": JSON,
    },
    positional=["path"],
    iterable=["header"],
)
def call(
    _: Any,
    path: str,
    method: str = "",
    body: str = "",
    header: list[str] | None = None,
    release: int = 0,
    branch: str = "",
    cloud: str = "",
    json: bool = False,
) -> None:
    """Send a request to what is live and print the answer; exit 1 for a status of 400 or above, or an exception."""
    from ml_delivery.release import calling, foreign

    wanted = calling.message(path, method, body, header or [])
    delivery = open_environment(branch, cloud)
    answer = calling.call(delivery, wanted, release)
    foreign.learn(delivery)
    if json:
        console.document(answer)
    else:
        phrase = f" {HTTPStatus(answer.status).phrase}" if answer.status in set(HTTPStatus) else ""
        console.aside(f"HTTP {answer.status}{phrase}, {answer.seconds * 1000:.0f} ms")
        console.body(answer.body)
    if not answer.ok:
        fault = console.clean(answer.fault)[: foreign.LIMIT]
        raise Exit(f"✗ {fault or f'status {answer.status}'}", 1)


@action(
    help={
        "port": "on loopback; default: 8000; 0: any that is free",
        "branch": f"the environment whose variables it gets, with access to AWS: {BRANCH}",
        "cloud": f"give it access to AWS: {CLOUD}",
    }
)
def serve(_: Any, port: int = 8000, branch: str = "", cloud: str = "") -> None:
    """Serve the working tree on loopback, with its promoted models, anew after each change; until Ctrl-C."""
    from ml_delivery import local

    def report(what: local.Served) -> None:
        match what.what:
            case "started":
                console.say(f"{what.name} serves the working tree, as its target would; Ctrl-C ends it")
            case "changed":
                console.say(f"{what.name} was changed; starting anew")
            case "ended":
                console.warn(f"the service ended with {what.name}; starting anew")
            case "wrong":
                console.warn(f"{what.name}\n  waiting for a change")

    try:
        local.serve(lambda: _selected(branch, cloud), port, report)
    except KeyboardInterrupt:
        console.say("ended")


@action(
    help={
        "command": "run this Python code instead of asking for some",
        "branch": f"the environment whose variables it gets, with access to AWS: {BRANCH}",
        "cloud": f"give it access to AWS: {CLOUD}",
    }
)
def shell(_: Any, command: str = "", branch: str = "", cloud: str = "") -> None:
    """Open the service's Python, with its packages, promoted models and variables; ml_service.models.load() has the models."""
    from ml_delivery import local

    config, environment, variables = _selected(branch, cloud)
    made = local.program(config, environment, variables)
    os.chdir(config.root)
    words = ["-c", command] if command else []
    os.execve(made.python, [str(made.python), *words], made.variables)  # noqa: S606 # its terminal and exit code are ours


def _selected(branch: str, cloud: str) -> tuple[Config, Environment, dict[str, str]]:
    """The configuration as it is now, the environment, and with ``branch`` or ``cloud`` the variables that give access to AWS."""
    from ml_delivery.release.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    if not branch and not cloud:
        return config, environment, {}
    from ml_delivery.cloud import Cloud

    return config, environment, Cloud.open(config, environment, cloud).variables()
