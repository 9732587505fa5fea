"""``invoke evaluate``: judge the candidate on trips that it has not seen, beside the mean of those that it has."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from service import data, model
from service.training import CANDIDATE

__all__ = ["judge", "main"]


def judge(path: Path) -> tuple[bytes, float, float]:
    """The candidate's content, its mean error in minutes, and that of the mean.

    Raises:
        SystemExit: nothing was trained, or the data can't be used; says why.
    """
    if not CANDIDATE.exists():
        raise SystemExit("✗ nothing has been trained yet\n  next: invoke train")
    content = CANDIDATE.read_bytes()
    made = model.decode(content)
    learned, judged = data.split(data.read(path))
    mean = statistics.fmean(minutes for _, minutes in learned)
    mine = statistics.fmean(abs(made.predict(kilometres) - minutes) for kilometres, minutes in judged)
    return content, mine, statistics.fmean(abs(mean - minutes) for _, minutes in judged)


def main(words: list[str] | None = None) -> int:
    """Print the table, and write it to ``build/report.md``; exit code 0."""
    parser = argparse.ArgumentParser(description="Judge the model.")
    parser.add_argument("--data", type=Path, required=True, help="a CSV file")
    _, mine, baseline = judge(parser.parse_args(words).data)
    report = f"| | mean error, minutes |\n|---|---|\n| candidate | {mine:.2f} |\n| mean | {baseline:.2f} |\n"
    CANDIDATE.with_name("report.md").write_text(report, encoding="utf-8")
    print(report, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
