"""What a user mistypes: one message, with the nearest name, and never a traceback."""

from __future__ import annotations

import pytest
from tiny import Tiny

from ml_delivery.tasks import namespace


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("logs -m abc", "✗ --minutes: 'abc' is not a whole number"),
        ("logs -mabc", "✗ --minutes: 'abc' is not a whole number"),
        ("rollback --to abc", "✗ --to: 1 problem\n  'abc' is neither a release's number nor a version such as v1.4.2"),
        ("rollback --to=1.5", "✗ --to: 1 problem\n  '1.5' is neither a release's number nor a version"),
        ("rollback --to -1", "✗ --to: 1 problem\n  '-1' is neither a release's number nor a version"),
        ("plan --requests-per-second many", "✗ --requests-per-second: 'many' is not a number"),
        ("plan --requests-per-second nan", "✗ --requests-per-second: 'nan' is not a number from 0 on"),
        ("plan --requests-per-second inf", "✗ --requests-per-second: 'inf' is not a number from 0 on"),
        ("deplyo", "✗ there is no task 'deplyo'; did you mean deploy?\n  next: invoke --list"),
        ("cloud.statsu", "✗ there is no task 'cloud.statsu'; did you mean cloud.status?"),
        ("rollback 3", "✗ there is no task '3'\n  next: invoke --list"),
        (
            "deploy --brnach main",
            "✗ deploy has no option '--brnach'; did you mean --branch?\n  next: invoke deploy --help",
        ),
        ("deploy --brnach=main", "✗ deploy has no option '--brnach'; did you mean --branch?"),
        ("releases --html", "✗ --html needs a value\n  next: invoke releases --help"),
        ("unlock --reason", "✗ --reason needs a value\n  next: invoke unlock --help"),
        ("logs -m", "✗ --minutes needs a value\n  next: invoke logs --help"),
        ("call", "✗ call needs path\n  next: invoke call --help"),
        ("plan -x", "✗ plan has no option '-x'\n  next: invoke plan --help"),
    ],
)
def test_mistyped_words_are_explained(tiny: Tiny, words: str, message: str) -> None:
    """A word that invoke can't parse ends with exit code 1 and the nearest that exists."""
    assert tiny.invoke(*words.split(), code=1).startswith(message)


def test_every_number_is_checked(tiny: Tiny) -> None:
    """Each numeric option of each task refuses what is no number."""
    checked = 0
    for context in namespace.to_contexts():
        for argument in dict.fromkeys(context.args.values()):
            if argument.kind in (int, float):
                path = ["/version"] if context.positional_args else []
                printed = tiny.invoke(context.name, *path, f"--{argument.names[0]}", "x", code=1)
                assert printed.startswith(f"✗ --{argument.names[0]}: 'x' is not a "), printed
                checked += 1
    assert checked >= 8
