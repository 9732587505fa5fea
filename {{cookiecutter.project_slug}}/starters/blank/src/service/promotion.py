"""``invoke promote``: the gate. A candidate that passes is written to ``models/`` and named in ``model.lock``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ml_service import models
from service.evaluation import judge
from service.model import SUFFIX
from service.training import CANDIDATE

__all__ = ["main"]


def main(words: list[str] | None = None) -> None:
    """Promote the candidate.

    Raises:
        SystemExit: it is refused, with the reason; ``model.lock`` stays as it was.
    """
    parser = argparse.ArgumentParser(description="Promote the trained model, if it passes.")
    parser.add_argument("--data", type=Path, required=True, help="the examples")
    parser.add_argument("--max-error", type=float, required=True, help="the largest error that may pass")
    options = parser.parse_args(words)
    errors = judge(options.data)
    limit = min(options.max_error, errors.get("champion", options.max_error))
    if errors["candidate"] > limit:
        raise SystemExit(f"✗ refused: the error is {errors['candidate']:.4f}, at most {limit:.4f} may pass")
    print(f"promoted {models.write(Path(), 'primary', CANDIDATE.read_bytes(), SUFFIX)}")


if __name__ == "__main__":
    main()
