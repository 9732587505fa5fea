"""Plans: what is approved is what is carried out; what a release costs; and the ledger as a page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import browsed
import pytest
from tiny import Tiny

from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing
from ml_delivery.errors import ConfigError, Refused
from ml_delivery.records import Artifact, Release, Took
from ml_delivery.release import deploy, history, plan
from ml_delivery.targets.lambda_function import costs


def test_approved_plan_is_carried_out(tiny: Tiny, tmp_path: Path) -> None:
    """By its digest or by its file, the plan that was shown is the one that is done."""
    tiny.push()
    shown = json.loads(tiny.invoke("plan", "--json", code=2))
    assert tiny.invoke("deploy", "--plan", shown["digest"]).endswith(" s)\n")
    tiny.repair("second")
    tiny.push()
    (tmp_path / "plan.json").write_text(tiny.invoke("plan", "--json", code=2))
    assert "release 2 is verified" in tiny.invoke("deploy", "--plan", str(tmp_path / "plan.json"))


def test_plan_that_changed_since_its_approval_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A change of what is to be, or of what is, stops the deploy before it begins; it says what changed."""
    tiny.deploy()
    tiny.repair("second")
    tiny.push()
    (tmp_path / "plan.json").write_text(tiny.invoke("plan", "--json", code=2))
    digest = plan.make(tiny.open()).digest
    tiny.replace("pipeline.toml", "memory = 256", "memory = 512")
    tiny.commit()
    tiny.push()
    output = tiny.invoke("deploy", "--plan", str(tmp_path / "plan.json"), code=1)
    assert "this is not the plan that was approved" in output
    assert "settings.memory was 256, is 512" in output
    assert re.search(r"artifact.commit was '\w+', is '\w+'", output)
    with pytest.raises(Refused, match="now it is: setting memory: 256 → 512"):
        deploy.deploy(tiny.open(), lambda _: None, approved=digest)
    assert tiny.live() == 1
    with pytest.raises(ConfigError, match="neither a digest"):
        deploy.deploy(tiny.open(), lambda _: None, approved="no-such-file")


def test_plan_shows_and_approves_the_artifacts_digest(tiny: Tiny, tmp_path: Path) -> None:
    """An artifact that was exchanged for another build's is another plan, though its commit and its content are the same."""
    pushed = tiny.push().artifact
    printed = tiny.invoke("plan", code=2)
    assert f"  artifact {pushed.digest}, built from {pushed.version}\n" in printed
    digest = re.search(r"deploy --plan (\S+)", printed)
    assert digest
    (tmp_path / "plan.json").write_text(tiny.invoke("plan", "--json", code=2))
    # As an administrator can, who deletes the record, and pushes other bytes.
    opened, archive = tiny.open(), tiny.root / "build/artifact.zip"
    record = f"artifacts/{pushed.version}/artifact.json"
    opened.cloud.client("s3").delete_object(Bucket=opened.foundation.bucket, Key=record)
    archive.write_bytes(archive.read_bytes() + b"x")
    other = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    pushing.push(opened, replace(build.last(tiny.root), digest=other))
    for approved in (digest[1], str(tmp_path / "plan.json")):
        output = tiny.invoke("deploy", "--plan", approved, code=1)
        assert "this is not the plan that was approved" in output
        assert other in output
    assert f"artifact.digest was '{pushed.digest}', is '{other}'" in output
    assert tiny.live() == 0


def test_bytes_that_differ_from_the_record_are_not_staged(tiny: Tiny) -> None:
    """The approved plan's artifact is compared with what is stored before the target gets it; so is that of a first release."""
    tiny.deploy()
    tiny.repair("second")
    pushed = tiny.push().artifact
    approved = plan.make(tiny.open()).digest
    body = (tiny.root / "build/artifact.zip").read_bytes()
    tiny.exchange(pushed.location, body + b"x")
    with pytest.raises(
        Refused, match=f"{pushed.location} is sha256:.*, what was pushed for {pushed.version} is {pushed.digest}"
    ):
        deploy.deploy(tiny.open(), lambda _: None, approved=approved)
    function = tiny.open().cloud.client("lambda").get_function_configuration(FunctionName=f"{tiny.name}-production")
    assert function["CodeSha256"] != base64.b64encode(hashlib.sha256(body + b"x").digest()).decode()
    assert (tiny.live(), tiny.open().ledger.read(2).state) == (1, "failed")
    tiny.open().cloud.client("s3").delete_object(Bucket=tiny.open().foundation.bucket, Key=pushed.location)
    with pytest.raises(Refused, match=f"{pushed.location} is missing"):
        deploy.deploy(tiny.open(), lambda _: None)
    tiny.exchange(pushed.location, body)
    assert deploy.deploy(tiny.open(), lambda _: None).live == 4


def test_plan_is_carried_out_once(tiny: Tiny) -> None:
    """A job that is run again after it deployed succeeds and changes nothing, while what it deployed is live; then it stops."""
    tiny.push()
    first = json.loads(tiny.invoke("plan", "--json", code=2))["digest"]
    tiny.invoke("deploy", "--plan", first)
    again = ("deploy", "--plan", first, "--branch", "main")
    assert tiny.invoke(*again).splitlines()[1:] == [
        "nothing to do: release 1 has already deployed this plan and is live in production"
    ]
    assert json.loads(tiny.invoke(*again, "--json"))["repeated"] is True
    name = f"{tiny.name}-production"
    tiny.open().cloud.client("lambda").update_alias(FunctionName=name, Name="live", Description="the same version")
    assert "has already deployed this plan" in tiny.invoke(*again)
    tiny.repair("second")
    tiny.push()
    second = plan.make(tiny.open()).digest
    tiny.invoke("deploy", "--plan", second)
    refused = tiny.invoke(*again, code=1)
    assert "this plan was carried out before, as release 1, which is no longer live; release 2 is" in refused
    assert "invoke rollback --to 1 --branch main" in refused
    tiny.rollback()
    assert "as release 2, which is no longer live; release 1 is" in tiny.invoke("deploy", "--plan", second, code=1)
    tiny.replace("pipeline.toml", "memory = 256", "memory = 512")
    tiny.git("commit", "--quiet", "--all", "--message", "More memory")
    tiny.push()
    assert "as release 1, which" not in tiny.invoke(*again, code=1)  # it is live, and something else is wanted now
    assert len(tiny.open().ledger.latest(9, [])) == 2


@pytest.mark.parametrize("given", ["", " ", "sha256:", "sha256:abc", "sha256:" + "g" * 64, "no-such-file"])
def test_plan_that_is_none_is_refused(tiny: Tiny, given: str) -> None:
    """An approval that is empty or malformed, as an output that was never set is, releases nothing and runs no hook."""
    tiny.write(
        "pipeline.toml", (tiny.root / "pipeline.toml").read_text() + '\n[hooks]\npre_deploy = ["touch", "ran"]\n'
    )
    tiny.commit()
    tiny.push()
    assert "--plan: " in tiny.invoke("deploy", "--plan", given, code=1)
    with pytest.raises(ConfigError, match="--plan: "):
        deploy.deploy(tiny.open(), lambda _: None, approved=given)
    assert tiny.live() == 0
    assert not (tiny.root / "ran").exists()


def test_plan_that_is_malformed_in_its_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """A file approves by the whole digest that it holds; and what is resumed was approved when it was begun."""
    tiny.push()
    shown = json.loads(tiny.invoke("plan", "--json", code=2))
    (tmp_path / "plan.json").write_text(json.dumps({**shown, "digest": ""}))
    assert "'' is not a digest" in tiny.invoke("deploy", "--plan", str(tmp_path / "plan.json"), code=1)
    assert "by its own plan" in tiny.invoke("deploy", "--resume", "--plan", shown["digest"], code=1)
    assert tiny.live() == 0


def test_plan_that_was_edited_in_its_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """What an approver reads in a file is what its digest is of: a file with the true digest and other content approves nothing."""
    tiny.push()
    shown = json.loads(tiny.invoke("plan", "--json", code=2))
    file = tmp_path / "plan.json"
    for change in (
        {"artifact": {**shown["artifact"], "digest": f"sha256:{'1' * 64}"}},
        {"changes": shown["changes"][1:]},
        {"settings": {**shown["settings"], "memory": 128}},
        {"digest": f"sha256:{'1' * 64}"},
    ):
        file.write_text(json.dumps({**shown, **change}))
        with pytest.raises(ConfigError, match="was changed after invoke plan --json wrote it"):
            plan.digest_of(str(file))
    file.write_text(json.dumps({**shown, "live": {"traffic": []}}))
    with pytest.raises(ConfigError, match="is neither a digest"):
        plan.digest_of(str(file))
    file.write_text(json.dumps(shown))
    assert plan.digest_of(str(file)) == shown["digest"]


def test_traffic_moved_by_hand_is_a_change(tiny: Tiny) -> None:
    """An alias that is not where the ledger says is drift: the plan shows it, and a deploy puts it right."""
    tiny.deploy()
    tiny.repair("second")
    tiny.deploy()
    name = f"{tiny.name}-production"
    tiny.open().cloud.client("lambda").update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    assert "traffic live (release 2 was deployed): deployed version 1 (release 1) → the new release" in tiny.invoke(
        "plan", code=2
    )
    assert tiny.deploy().release.number == 3


def test_cost_follows_rate_memory_and_time(tiny: Tiny) -> None:
    """A million requests a month of 100 ms with 1 GB cost 0.20 + 1.67 dollars; what is live tells its own time."""
    cost = costs.estimate(1e6 / costs.SECONDS_PER_MONTH, 1024, "x86_64", 100.0)
    assert cost.dollars == pytest.approx(0.20 + 1.66667, abs=0.001)
    assert costs.estimate(1, 1024, "arm64", 100).dollars < costs.estimate(1, 1024, "x86_64", 100).dollars
    tiny.deploy()
    assert "requests a second of" in tiny.invoke("plan", "--requests-per-second", "5")
    assert json.loads(tiny.invoke("plan", "--requests-per-second", "5", "--json"))["cost"]["measured"]


def test_history_has_the_steps_in_their_order_of_time() -> None:
    """The page shows what came first, first, with its share of the traffic."""
    order = [("plan", None), ("probe version", None), ("shift", 5), ("watch", 5), ("shift", 100), ("probe live", None)]
    artifact = Artifact("v", "c", False, "sha256:0", "", "", "3.12", "x86_64", "a.zip", 1)
    steps = tuple(Took(name, 1.0, weight) for name, weight in order)
    release = Release(1, "verified", artifact, {}, {}, "me", 0.0, steps=steps)
    shown = ["plan", "probe version", "shift 5 %", "watch 5 %", "shift", "probe live"]
    page = history.page("t", [release])
    assert re.findall(r"<title>(.*?): 1.00 s</title>", page) == shown
    legend = re.findall(r'<i class="(\w+)"></i>([^<]+)<', page)
    assert [name for _, names in legend for name in names.split(", ")] == [
        "plan",
        "probe version",
        "probe live",
        "shift",
        "watch",
    ]
    assert {colour for colour, _ in legend} == set(re.findall(r'<rect class="(\w+)"', page))


def test_history_is_one_page_that_needs_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    """The page shows every release with its state, cause and times, and loads nothing."""
    tiny.deploy()
    says = tiny.fault("answers 500")
    with pytest.raises(Refused):
        tiny.deploy()
    file = tmp_path / "history.html"
    assert tiny.invoke("releases", "--html", str(file)) == f"wrote {file}\n"
    text = file.read_text()
    seen: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: seen.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(text)
    tags = [tag for tag, _ in seen]
    assert (tags.count("tr"), tags.count("svg")) == (3, 2)
    assert tags.count("rect") >= 6
    assert not {"script", "link", "img"} & set(tags)
    assert not [attrs for _, attrs in seen if "src" in attrs or "href" in attrs]
    assert says in text
    assert "<td><b>1 live</b></td>" in text
    assert text.count(" live</b>") == 1
    browsed.check(file, tmp_path)
