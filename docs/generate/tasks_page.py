"""The tasks: what ``invoke --list`` and ``invoke --help`` print."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import namespace

__all__ = ["page"]

HEAD = """\
# Tasks

`invoke --list` shows these in a service, and `invoke TASK --help` the options of one. Each uses the emulator unless it gets
`--cloud aws`, or the environment variable `PIPELINE_CLOUD` says so. Exit code 0 is success; 1 is a refusal or a fault, with its
cause and the next command; 130 is Ctrl-C, after what served before was restored.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    parts += [_task(name, one) for name, one in namespace.tasks.items()]
    for group, collection in namespace.collections.items():
        parts += [_task(f"{group}.{name}", one) for name, one in collection.tasks.items()]
    return "\n".join(parts)


def _task(name: str, task: Any) -> str:
    lines = [f"## invoke {name.replace('_', '-')}", "", (task.__doc__ or "").strip(), ""]
    for argument in task.get_arguments():
        flag = argument.name.replace("_", "-")
        shown = flag.upper() if argument.positional else f"--{flag}"
        value = "" if argument.kind is bool or argument.positional else f" {argument.kind.__name__.upper()}"
        lines.append(f"- `{shown}{value}`: {argument.help or 'no further words'}")
    return "\n".join(lines) + "\n"
