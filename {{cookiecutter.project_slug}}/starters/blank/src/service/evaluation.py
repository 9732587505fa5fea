"""``invoke evaluate``: compare the candidate with the model that serves, on examples that it was not trained on."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from ml_service import models
from service import model
from service.training import CANDIDATE, split

__all__ = ["judge", "main"]


def judge(data: Path) -> dict[str, float]:
    """The error of the candidate, and of the champion (the model that serves) if there is one of this kind.

    Raises:
        SystemExit: nothing was trained, or the data can't be used; the message says why.
    """
    if not CANDIDATE.exists():
        raise SystemExit("✗ nothing has been trained yet\n  next: invoke train")
    _, judged = split(data)
    errors = {"candidate": model.error(model.decode(CANDIDATE.read_bytes()), judged)}
    with suppress(models.ModelFault):  # there is none yet, or it is of another kind
        errors["champion"] = model.error(model.decode(models.load(Path())[0].content), judged)
    return errors


def main(words: list[str] | None = None) -> None:
    """Print the table, and write it to ``build/report.md``."""
    parser = argparse.ArgumentParser(description="Evaluate the model.")
    parser.add_argument("--data", type=Path, required=True, help="the examples")
    errors = judge(parser.parse_args(words).data)
    report = "| | error |\n|---|---|\n" + "".join(f"| {name} | {value:.4f} |\n" for name, value in errors.items())
    CANDIDATE.with_name("report.md").write_text(report, encoding="utf-8")
    print(report, end="")


if __name__ == "__main__":
    main()
