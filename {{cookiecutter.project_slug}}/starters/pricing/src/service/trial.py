"""One trial of a tuning: ``python -m service.trial``, which ``invoke tune`` runs; the score is the one that training tunes by."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from threadpoolctl import threadpool_limits

from service import cleaning, dataset, models, reading, training

__all__ = ["main", "spaces"]


def spaces() -> dict[str, dict[str, dict[str, Any]]]:
    """What may be tried of each kind, as JSON has it: choices, or low, high, and whether whole or by orders of magnitude."""
    return {kind: {name: _range(each) for name, each in made.space.items()} for kind, made in models.KINDS.items()}


def _range(found: BaseDistribution) -> dict[str, Any]:
    if isinstance(found, CategoricalDistribution):
        return {"choices": list(found.choices)}
    if isinstance(found, IntDistribution) and found.step > 1:
        return {"choices": list(range(found.low, found.high + 1, found.step))}
    assert isinstance(found, IntDistribution | FloatDistribution)
    return {"low": found.low, "high": found.high, "whole": isinstance(found, IntDistribution), "log": found.log}


def main(words: list[str] | None = None) -> int:
    """Print the spaces, or the score of values; exit code 1, with the reason, when the data or a value can't be used."""
    parser = argparse.ArgumentParser(description="Evaluate one setting of a kind of model.", allow_abbrev=False)
    parser.add_argument("--spaces", action="store_true", help="print what may be tried, as JSON")
    parser.add_argument("--kind", choices=sorted(models.KINDS), help="the kind of model")
    parser.add_argument("--data", default="", help="as for training")
    parser.add_argument("--seed", type=int, default=7, help="of generated data and of the model")
    options, values = parser.parse_known_args(words)
    if options.spaces:
        print(json.dumps(spaces()))
        return 0
    if not options.kind:
        print("✗ --kind is missing", file=sys.stderr)
        return 1
    kind = models.KINDS[options.kind]
    try:
        given = {name.removeprefix("--"): text for name, text in zip(values[::2], values[1::2], strict=True)}
        parameters = {**kind.first, **{name: _value(kind, name, text) for name, text in given.items()}}
        found = dataset.load(options.data, options.seed, cleaning.NOT_PRODUCTS)
        with threadpool_limits(1):
            score = training.objective(found, kind, options.seed)(parameters)
    except (reading.BadData, ValueError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print(f"score={score:.6f}", flush=True)
    return 0


def _value(kind: models.Kind, name: str, text: str) -> Any:
    """The value of a parameter, from its text.

    Raises:
        ValueError: there is no such parameter, or it can't have this value.
    """
    if (space := kind.space.get(name)) is None:
        raise ValueError(f"there is no --{name}; it tunes {', '.join(kind.space)}")
    if isinstance(space, CategoricalDistribution):
        if text not in (known := {str(choice): choice for choice in space.choices}):
            raise ValueError(f"--{name} is one of {', '.join(known)}, and not {text!r}")
        return known[text]
    return int(float(text)) if isinstance(space, IntDistribution) else float(text)


if __name__ == "__main__":
    sys.exit(main())
