"""The gate between a trained model and the service: ``python -m service.promotion``, which ``invoke promote`` runs.

The best challenger becomes primary, and the next its backup, when it beats the baselines and is no worse than the
champion on the same held-out data. ``model.lock`` then names both; a deploy takes exactly those.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from service import artifact, data, registry, report
from service.evaluation import Evaluation, Judged, challengers, evaluate, load

__all__ = ["Gate", "failures", "main", "promote"]


@dataclass(frozen=True)
class Gate:
    """The conditions for promotion, as shares: 0.1 is 10 %.

    Attributes:
        gain: how much lower than the best baseline's its RMSE must be.
        regret: the largest mean revenue regret, when the truth is known.
        slack: how much worse than the champion the model may be, in RMSE and in regret.
    """

    gain: float
    regret: float
    slack: float


def failures(judged: Judged, evaluation: Evaluation, gate: Gate) -> list[str]:
    """The reasons why ``judged`` does not pass; empty when it passes."""
    mine, found = judged.metrics, []
    best = min(evaluation.baselines, key=lambda baseline: baseline.metrics.rmse)
    if mine.rmse > (limit := best.metrics.rmse * (1 - gate.gain)):
        found.append(
            f"RMSE {mine.rmse:.2f} is above {limit:.2f}, {gate.gain:.0%} below the best baseline's ({best.name})"
        )
    if mine.regret is not None:
        least = min(b.metrics.regret for b in evaluation.baselines if b.metrics.regret is not None)
        if mine.regret > gate.regret:
            found.append(f"revenue regret {mine.regret:.1%} is above {gate.regret:.1%}")
        if mine.regret > least:
            found.append(f"revenue regret {mine.regret:.1%} is above the best baseline's, {least:.1%}")
    return found


def worse(judged: Judged, champion: Judged, gate: Gate) -> list[str]:
    """The metrics in which ``judged`` is worse than the champion; empty when there are none."""
    mine, its, found = judged.metrics, champion.metrics, []
    if mine.rmse > its.rmse * (1 + gate.slack):
        found.append(f"RMSE {mine.rmse:.2f} is worse than the champion's {its.rmse:.2f}")
    if mine.regret is not None and its.regret is not None and mine.regret > its.regret + gate.slack:
        found.append(f"revenue regret {mine.regret:.2%} is worse than the champion's {its.regret:.2%}")
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
        metrics = {k: round(v, 4) for k, v in asdict(judged.metrics).items() if v is not None}
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
        "held_out": [str(rows.days.min()), str(rows.days.max())],
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
    parser.add_argument("--gain", type=float, default=10, help="percent that the RMSE must be below the baselines'")
    parser.add_argument("--regret", type=float, default=5, help="percent of the best revenue that prices may lose")
    parser.add_argument("--slack", type=float, default=0, help="percent that it may be worse than the champion")
    options = parser.parse_args(words)
    root, gate = options.root, Gate(options.gain / 100, options.regret / 100, options.slack / 100)
    try:
        found, run = load(root)
        evaluation = evaluate(found, challengers(root, run))
        refusals = {judged.digest: failures(judged, evaluation, gate) for judged in evaluation.challengers}
        passed = [judged for judged in evaluation.challengers if not refusals[judged.digest]]
        best = (passed or evaluation.challengers)[0]
        reasons = refusals[best.digest]
        if champion := evaluation.champion:
            reasons = reasons + worse(best, champion, gate)
        print(report.news(root, evaluation), flush=True)
        if reasons:
            print(f"✗ refused: {best.name} {best.digest[:19]}: {'; '.join(reasons)}", file=sys.stderr)
            return 1
        promote(root, evaluation, run, passed[:2])
    except (registry.Missing, data.BadData, artifact.ModelFault) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    for role, judged in zip(("primary", "backup"), passed, strict=False):
        print(f"{role}: {judged.name} {judged.digest}")
    if len(passed) == 1:
        print("! no backup: no other model passes the gate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
