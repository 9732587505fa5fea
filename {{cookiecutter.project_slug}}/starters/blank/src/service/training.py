"""``invoke train``: learn from the trips, and keep the model in ``build/candidate.json``; nothing is promoted here."""

from __future__ import annotations

import argparse
from pathlib import Path

from service import data, model

__all__ = ["CANDIDATE", "main"]

CANDIDATE = Path("build/candidate.json")


def main(words: list[str] | None = None) -> int:
    """Train; exit code 0."""
    parser = argparse.ArgumentParser(description="Train the model.")
    parser.add_argument("--data", type=Path, required=True, help="a CSV file")
    learned, _ = data.split(data.read(parser.parse_args(words).data))
    made = model.fit(learned)
    CANDIDATE.parent.mkdir(exist_ok=True)
    CANDIDATE.write_bytes(model.encode(made))
    print(f"trained on {len(learned)} trips: {made.start:.1f} minutes and {made.pace:.2f} for each kilometre")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
