"""``make demo TARGET=sagemaker``: a bake is prepared, trained on two hosts, tuned, judged, deployed, compared and retired."""

from __future__ import annotations

from pathlib import Path

from test_demo import demo, invoke, processes_in

from ml_delivery.containers import engines


def test_ml_story_goes_through(tmp_path: Path, engine: engines.Engine) -> None:
    """Each stage ends as it should, the refusal reaches the team, and no process is left."""
    del engine
    into = tmp_path / "price-demo"
    process = demo(into, target="sagemaker")
    output = process.communicate(timeout=900)[0]
    assert process.returncode == 0, output
    for said in (
        "data/tuned.json",
        "host 1: svr\n",
        "Slack got:\n  | ✗ promotion of price-demo in production failed\n",
        "PendingManualApproval → Approved",
        "release 1 is verified: deployed version r1 serves production on embedded",
        "release 2 is verified: deployed version r2 serves production on embedded",
        "verdict: release 2 has more revenue per request than release 1",
        "release 2 is retired; to bring it back: invoke deploy --branch main",
        f"The service is in {into}",
    ):
        assert said in output, said
    assert processes_in(into) == []
    invoke(into, "cloud.down")
