"""The gate between a trained model and the service: ``python -m service.promotion``, which ``invoke promote`` runs.

The best challenger becomes primary, and the next its backup, when it beats the baselines in several measures, also without
the ten days that count most, is calibrated, decides soberly, and is no worse than the champion on the same held-out data.
``model.lock`` then names both; a deploy takes exactly those.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from service import artifact, reading, registry, report
from service.evaluation import Evaluation, Judged, challengers, evaluate, load

__all__ = ["Gate", "failures", "main", "promote"]

LARGEST = 10  # days that must not decide
COVER = (0.85, 0.95)


@dataclass(frozen=True)
class Gate:
    """The conditions for promotion, as shares: 0.1 is 10 %.

    Attributes:
        gain: how much lower than the best baseline's its deviance must be. Its MAE must be lower, too: of days that are
            mostly without a sale, zero has an MAE that is hard to beat by much.
        bias: how far its total may be from what was sold.
        boundary: the largest share of recommendations at the end of what was seen.
        regret: the largest mean revenue regret, when the truth is known.
        slack: how much worse than the champion the model may be, in MAE, deviance and regret.
        answer: the longest median processor time of an answer, in milliseconds; megabytes: the largest file.
    """

    gain: float
    bias: float
    boundary: float
    regret: float
    slack: float
    answer: float = 2.0
    megabytes: float = 50.0


def failures(judged: Judged, evaluation: Evaluation, gate: Gate) -> list[str]:
    """The reasons why ``judged`` does not pass; empty when it passes. No reason hangs on the ten largest days."""
    largest = np.zeros(len(evaluation.rows.units), bool)
    largest[np.argsort(evaluation.rows.units)[-LARGEST:]] = True
    trimmed = replace(evaluation, models=[judged]).without(largest)
    (same,) = trimmed.models
    return [
        *_errors(judged, evaluation, gate),
        *_errors(same, trimmed, gate, " without the ten largest days"),
        *_bias(judged.metrics.total, same.metrics.total, gate),
        *_soundness(judged, gate),
    ]


def _bias(total: float, without: float, gate: Gate) -> list[str]:
    """Without its largest days a total is too high for any forecast that is right, and one great day makes it too low; so only
    what is off to the same side in both counts.
    """
    if abs(total - 1) <= gate.bias or abs(without - 1) <= gate.bias or (total > 1) != (without > 1):
        return []
    where = f"{total:.0%} of what was sold, {without:.0%} without the ten largest days"
    return [f"expected sales are {where}; {gate.bias:.0%} off is the limit"]


def _errors(judged: Judged, evaluation: Evaluation, gate: Gate, where: str = "") -> list[str]:
    mine, found = judged.metrics, []
    for name, gain in (("mae", 0.0), ("deviance", gate.gain)):
        least, best = min((getattr(baseline.metrics, name), baseline.name) for baseline in evaluation.baselines)
        if (value := getattr(mine, name)) > (limit := least * (1 - gain)):
            found.append(
                f"{name} {value:.3f} is above {limit:.3f}{where}, {gain:.0%} below the best baseline's ({best})"
            )
    return found


def _soundness(judged: Judged, gate: Gate) -> list[str]:
    decided, found = judged.decisions, []
    assert decided is not None
    if not COVER[0] <= judged.metrics.cover <= COVER[1]:
        found.append(f"the 90 % interval holds {judged.metrics.cover:.0%} of the days")
    if decided.boundary > gate.boundary:
        found.append(f"{decided.boundary:.0%} of the recommendations are at the end of the prices that were seen")
    if not decided.bounded:
        found.append("its answers are not bounded where features are far from what was seen")
    if decided.answer > gate.answer:
        found.append(f"an answer takes {decided.answer:.1f} ms, {gate.answer:g} is the limit")
    if decided.megabytes > gate.megabytes:
        found.append(f"it has {decided.megabytes:.0f} MB, {gate.megabytes:g} is the limit")
    if decided.regret is not None and decided.regret > gate.regret:
        found.append(f"revenue regret {decided.regret:.1%} is above {gate.regret:.1%}")
    return found


def worse(judged: Judged, champion: Judged, gate: Gate) -> list[str]:
    """The metrics in which ``judged`` is worse than the champion; empty when there are none."""
    found = []
    for name in ("mae", "deviance"):
        mine, its = getattr(judged.metrics, name), getattr(champion.metrics, name)
        if mine > its * (1 + gate.slack):
            found.append(f"{name} {mine:.3f} is worse than the champion's {its:.3f}")
    assert judged.decisions is not None
    assert champion.decisions is not None
    lost, least = judged.decisions.regret, champion.decisions.regret
    if lost is not None and least is not None and lost > least + gate.slack:
        found.append(f"revenue regret {lost:.2%} is worse than the champion's {least:.2%}")
    return found


def promote(root: Path, evaluation: Evaluation, run: registry.Run, chosen: list[Judged]) -> None:
    """Write ``chosen``, the primary and the backup if there is one, to ``models/`` and ``model.lock``."""
    folder = root / "models"
    folder.mkdir(exist_ok=True)
    lines = ["# Names the models that serve, by digest. Written by `invoke promote`; commit it with models/."]
    kept = {}
    for role, judged in zip(("primary", "backup"), chosen, strict=False):
        content, known = registry.read(root, judged.digest)
        file = f"models/{judged.digest.removeprefix('sha256:')[:12]}.onnx"
        kept[Path(file).name] = content
        assert judged.decisions is not None
        decided = {k: v for k, v in asdict(judged.decisions).items() if k not in ("answer", "bounded", "megabytes")}
        metrics = {k: round(v, 4) for k, v in {**asdict(judged.metrics), **decided}.items() if v is not None}
        lines += [
            "",
            f"[{role}]",
            f'kind = "{judged.name}"',
            f'digest = "{judged.digest}"',
            f'file = "{file}"',
            f"metrics = {{ {', '.join(f'{k} = {v}' for k, v in metrics.items())} }}",
            f"parameters = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in known['parameters'].items())} }}",
        ]
    rows = evaluation.rows
    source = {
        "source": evaluation.found.name,
        "digest": evaluation.found.digest,
        "seed": run.seed,
        "held_out": [str(rows.day.min()), str(rows.day.max())],
    }
    lines += ["", "[data]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in source.items())]
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    temporary = root / f"{artifact.LOCK}.new"
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(root / artifact.LOCK)
    for old in folder.glob("*.onnx"):
        if old.name not in kept:
            old.unlink()


def main(words: list[str] | None = None) -> int:
    """Evaluate and promote; exit code 1, with the table and the reasons, when the gate refuses."""
    parser = argparse.ArgumentParser(description="Promote the best trained model, if it passes the gate.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--gain", type=float, default=2, help="percent that the deviance must be below the baselines'")
    parser.add_argument("--bias", type=float, default=10, help="percent that expected sales may be off in total")
    parser.add_argument(
        "--boundary", type=float, default=10, help="percent of recommendations at the end of what was seen"
    )
    parser.add_argument("--regret", type=float, default=5, help="percent of the best revenue that prices may lose")
    parser.add_argument("--slack", type=float, default=0, help="percent that it may be worse than the champion")
    options = parser.parse_args(words)
    root = options.root
    gate = Gate(*(getattr(options, n) / 100 for n in ("gain", "bias", "boundary", "regret", "slack")))
    try:
        found, run = load(root)
        evaluation = evaluate(found, challengers(root, run), root)
        refusals = {judged.digest: failures(judged, evaluation, gate) for judged in evaluation.challengers}
        passed = [judged for judged in evaluation.challengers if not refusals[judged.digest]]
        best = (passed or evaluation.challengers)[0]
        reasons = refusals[best.digest]
        if champion := evaluation.champion:
            reasons = reasons + worse(best, champion, gate)
        # What is printed here is what the data team gets of a refusal: the whole table.
        print(report.table(evaluation) if reasons else report.news(root, evaluation), flush=True)
        if reasons:
            print(f"✗ refused: {best.name} {best.digest[:19]}: {'; '.join(reasons)}", file=sys.stderr)
            return 1
        promote(root, evaluation, run, passed[:2])
    except (registry.Missing, reading.BadData, artifact.ModelFault) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    for role, judged in zip(("primary", "backup"), passed, strict=False):
        print(f"{role}: {judged.name} {judged.digest}")
    if len(passed) == 1:
        print("! no backup: no other model passes the gate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
