"""``invoke train``: fit the model to the first four fifths of the data, and write it as the candidate; promotes nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from service import model

__all__ = ["CANDIDATE", "main", "split"]

CANDIDATE = Path("build/candidate")


def split(path: Path) -> tuple[list[model.Example], list[model.Example]]:
    """The examples to train on, and those to evaluate on: the last fifth.

    Raises:
        SystemExit: the data can't be used; the message says why.
    """
    try:
        examples = model.read(path)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise SystemExit(f"✗ {path} can't be used: {type(fault).__name__}: {fault}") from fault
    if len(examples) < 10:
        raise SystemExit(f"✗ {path} has {len(examples)} examples; at least 10 are needed")
    border = len(examples) * 4 // 5
    return examples[:border], examples[border:]


def main(words: list[str] | None = None) -> None:
    """Train."""
    parser = argparse.ArgumentParser(description="Train the model.")
    parser.add_argument("--data", type=Path, required=True, help="the examples")
    learned, _ = split(parser.parse_args(words).data)
    CANDIDATE.parent.mkdir(exist_ok=True)
    CANDIDATE.write_bytes(model.encode(model.fit(learned)))
    print(f"trained on {len(learned)} examples")


if __name__ == "__main__":
    main()
