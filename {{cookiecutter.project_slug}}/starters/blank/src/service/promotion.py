"""``invoke promote``: the gate. A candidate that passes is written to ``models/`` and named in ``model.lock``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ml_service import models
from service.evaluation import judge

__all__ = ["main"]


def main(words: list[str] | None = None) -> int:
    """Promote; exit code 1, with the reason, when the candidate is refused and ``model.lock`` stays as it was."""
    parser = argparse.ArgumentParser(description="Promote the trained model, if it passes.")
    parser.add_argument("--data", type=Path, required=True, help="a CSV file")
    parser.add_argument("--max_error", type=float, required=True, help="minutes that it may be wrong by, on average")
    options = parser.parse_args(words)
    content, mine, baseline = judge(options.data)
    limit = min(options.max_error, baseline)
    if mine > limit:
        print(f"✗ refused: the mean error is {mine:.2f} minutes, at most {limit:.2f} may pass", file=sys.stderr)
        return 1
    print(f"promoted {models.write(Path(), 'primary', content, '.json')}, mean error {mine:.2f} minutes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
