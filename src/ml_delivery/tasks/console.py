"""What tasks print: lines for people, one JSON document for programs; without secrets, and without commands to a runner."""

from __future__ import annotations

import errno
import json
import os
import secrets
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, TextIO

from ml_delivery.errors import SetupError
from ml_delivery.masking import inert, masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from ml_delivery.artifact.codebuild import Phase
    from ml_delivery.records import Cost, Idle
    from ml_delivery.release.delivery import Delivery
    from ml_delivery.release.front import Front
    from ml_delivery.release.results import Outcome, Result, Step

__all__ = [
    "agrees",
    "aside",
    "body",
    "clear",
    "cost",
    "counted",
    "document",
    "end_at_a_closed_pipe",
    "ended",
    "foreign",
    "front",
    "megabytes",
    "outcome",
    "output",
    "phase",
    "quiet",
    "say",
    "step",
    "summary",
    "table",
    "warn",
]


def say(line: str) -> None:
    """Print a line of the result and flush it, so that the progress of a long task is visible."""
    _write(clean(line))


def _write(text: str, stream: TextIO | None = None) -> None:
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        # The reader has exited, as `| head` does, or the terminal was closed; the task continues.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end_at_a_closed_pipe() -> None:
    """Let ``invoke --list | head`` end in silence: invoke prints such lists itself, and shows a traceback for a closed pipe."""
    show = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python still flushes what is left
        else:
            show(kind, error, trace)

    sys.excepthook = hook


def warn(line: str) -> None:
    """Print a line that is not part of the result, to stderr."""
    _write(f"! {clean(line)}", sys.stderr)


def clean(text: str) -> str:
    """``text`` as it may be printed: secrets masked, control characters and commands to GitHub's runner removed."""
    return inert(masked(text))


def clear() -> None:
    """Clear the terminal."""
    _write("\033[H\033[J")


@contextmanager
def foreign() -> Iterator[Callable[[str], None]]:
    """Print lines that another program wrote, such as a log. Meanwhile GitHub's runner takes no commands.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#stopping-and-starting-workflow-commands
    """
    if not os.environ.get("GITHUB_ACTIONS"):
        yield say
        return
    token = secrets.token_hex(16)  # whoever writes the lines can't know it
    _write(f"::stop-commands::{token}")
    try:
        yield say
    finally:
        _write(f"::{token}::")


def aside(line: str) -> None:
    """Print a line for whoever reads along, to stderr, where that is a terminal: a program gets the result alone."""
    if sys.stderr.isatty():
        print(clean(line), file=sys.stderr, flush=True)


def body(text: str) -> None:
    """Print a response of the service; if it is JSON, it stays the same document."""
    try:
        json.loads(text)
    except ValueError:
        return say(text)
    _write(masked(text).replace("##[", "#\\u0023["))


def step(done: Step) -> None:
    """Print a step of a deploy or rollback that is done, or that failed."""
    from ml_delivery.release import words

    name, what = words.step(done.name, done.weight), _words(done.result) if done.result else "stopped here"
    say(f"  {name:<14} {done.seconds:6.2f} s  {what}")


def _words(result: Result) -> str:
    """What a step did."""
    from ml_delivery.release import results, words

    match result:
        case results.Planned(changes=changes, wanted=0):
            return counted(changes, "change")
        case results.Planned(live=live, wanted=wanted):
            return f"release {live} → {wanted}"
        case results.Staged(release=release, deployed=deployed):
            return f"release {release} is deployed version {deployed}"
        case results.Probed(asked=asked):
            return ", ".join(
                f"{'' if one.method == 'GET' else f'{one.method} '}{one.path} {one.status} in {one.seconds * 1000:.0f} ms"
                for one in asked
            )
        case results.Shifted(old=old, new=new, weight=100) if old == new:
            return f"deployed version {new} has all traffic again"
        case results.Shifted(old=old, new=new, weight=100):
            return f"live: deployed version {old or 'none'} → {new}"
        case results.Shifted(old=old, new=new):
            return f"deployed version {new} next to {old}"
        case results.Watched(look=look, paused=paused):
            return words.look(look) + (f"; paused, due in {paused:.0f} s" if paused else "")
        case results.Restored():
            serves = words.serving(result.release, result.deployed)
            if result.unread:
                serves = f"what serves could not be read: {result.unread}"
            elif not result.whole:
                serves += ", which is not what served before"
            return serves + (f", release {result.abandoned} was abandoned" if result.abandoned else "")
        case results.Pruned(removed=removed, postponed=postponed):
            # A deployed version has a name of its target; the others are named by commits.
            gone = [f"{one.kind} {one.name if one.kind == 'version' else one.name[:12]}" for one in removed]
            return ", ".join(
                [*gone, *([f"the rest is postponed to the next deploy: {postponed}"] if postponed else [])]
            )


def phase(done: Phase) -> None:
    """Print a phase of a build on CodeBuild that has ended."""
    say(f"  {done.name:<16} {done.seconds:6.1f} s  {done.status}{': ' if done.reason else ''}{done.reason}")


def quiet(_: Any) -> None:
    """Print nothing: a JSON document follows, which contains it."""


def outcome(done: Outcome, delivery: Delivery) -> None:
    """Print the result of a deploy or rollback."""
    assert done.release is not None
    where = f"{done.environment} on {delivery.cloud.name}"
    if done.weight < 100 and not done.due:
        typed = f"invoke ab --status --branch {delivery.environment.branch}{delivery.where}"
        return say(
            f"release {done.release.number} has {done.weight} % of the traffic of {where}, in an A/B; next: {typed}"
        )
    if done.weight < 100:
        due = time.strftime("%H:%M:%S", time.localtime(done.due))
        branch = delivery.environment.branch
        say(
            f"release {done.release.number} has {done.weight} % of the traffic of {where}, paused until {due}; "
            f"next: invoke deploy --resume --branch {branch}{delivery.where}"
        )
        return
    serves = f"deployed version {done.release.deployed} serves {where}"
    say(f"release {done.release.number} is verified: {serves} ({done.seconds:.2f} s)")


def front(found: Front, delivery: Delivery) -> None:
    """Print the address of what is live, if it is to have one."""
    if found.address:
        say(f"address: {found.address}{' (requests must be signed)' if found.access == 'iam' else ''}")
    if not found.current:
        what = "it is not as [http] says" if found.address else "there is no address yet"
        say(f"{what}; next: invoke bootstrap --branch {delivery.environment.branch}{delivery.where}")


def cost(estimated: Cost) -> str:
    """A cost, with the assumptions behind it."""
    source = "as in the last day" if estimated.measured else "assumed: there were no requests in the last day"
    return (
        f"about {estimated.dollars:.2f} USD a month at {estimated.requests_per_second:g} requests a second "
        f"of {estimated.milliseconds:.0f} ms ({source}), an estimate by list prices"
    )


def ended(idle: Idle) -> str:
    """The cost that ends once what is idle is removed."""
    if idle.dollars is None:
        return "what its instances cost is not known here"
    return f"this ends a cost of about {idle.dollars:.2f} USD a month, an estimate by list prices"


def table(rows: list[dict[str, str]]) -> None:
    """Print rows under the names of their columns; a missing value is left empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in rows)) for name in names}
    for row in [{name: name for name in names}, *rows] if rows else [{}]:
        say("  ".join(row.get(name, "").ljust(widths[name]) for name in names).rstrip() or "nothing was found")


def document(content: Any) -> None:
    """Print a record, or anything that JSON can express, as one document."""
    text = json.dumps(_without_secrets(json.loads(json.dumps(_plain(content), default=_plain))), indent=2)
    _write(text.replace("##[", "#\\u0023["))  # the same document, but no command to GitHub's runner


def summary(text: str) -> None:
    """Add text to the summary page of a GitHub Actions run, as a block of code: nothing in it is Markdown or HTML.

    Does nothing elsewhere. A page that can't be written is only said: what it tells about has been done.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#adding-a-job-summary
    """
    try:
        _append("GITHUB_STEP_SUMMARY", "\n" + "\n".join(f"    {line}" for line in clean(text).splitlines()) + "\n\n")
    except SetupError as error:
        warn(error.message)


def output(**values: str) -> None:
    """Set outputs for later steps of a GitHub workflow; does nothing elsewhere. A value becomes a single line.

    Raises:
        SetupError: the file can't be written, without which later steps would run on nothing.
    """
    _append("GITHUB_OUTPUT", "".join(f"{name}={' '.join(value.split())}\n" for name, value in values.items()))


def _append(variable: str, text: str) -> None:
    """Add text to the file that a variable of GitHub's runner names, if it is set."""
    if path := os.environ.get(variable):
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            again = f"outside a workflow: unset {variable}; then run this again"
            raise SetupError(f"{variable} can't be written: {error}", next=again) from error


def megabytes(size: int) -> str:
    """A size in bytes as text, in megabytes."""
    return f"{size / 1e6:.1f} MB"


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 file", "3,058 files"."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def agrees(question: str) -> bool:
    """Whether the user says yes; without a terminal the answer is no."""
    return sys.stdin.isatty() and answer(f"{question} [y/N] ").lower() == "y"


def answer(question: str) -> str:
    """What the user types; empty at the end of the input."""
    try:
        return input(question).strip()
    except EOFError:
        return ""


def _without_secrets(content: Any) -> Any:
    """A JSON document with the secrets in its strings masked, so that it stays one."""
    if isinstance(content, dict):
        return {name: _without_secrets(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_secrets(value) for value in content]
    return masked(content) if isinstance(content, str) else content


def _plain(content: Any) -> Any:
    if is_dataclass(content) and not isinstance(content, type):
        return asdict(content)
    return content if isinstance(content, (dict, list, tuple, str, int, float, bool, type(None))) else str(content)
