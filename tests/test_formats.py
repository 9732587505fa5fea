"""Records of every format: a ledger that copied delivery code wrote is read and continued; newer ones are refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import Tiny

from ml_delivery import __version__, formats, objects
from ml_delivery.errors import CloudError
from ml_delivery.records import Arm, Artifact, Content, Experiment, Look, Measured, Reading, Release, Rule, Took
from ml_delivery.release import words
from ml_delivery.release.head import Head, Holder, Kept, Previous, Work

DATA = Path(__file__).parent / "data/ledger-format-1"
EVENTS = sorted((DATA / "releases").rglob("0*.json"))
(ARTIFACT,) = DATA.glob("artifacts/*/artifact.json")
HEAD = DATA / "releases/production/head.json"
READ: dict[str, tuple[Path, Callable[[str, bytes], Any]]] = {
    "head": (HEAD, Head.decode),
    "event": (EVENTS[4], lambda place, body: formats.release(place, formats.read(place, body))),
    "artifact": (ARTIFACT, lambda place, body: formats.artifact(place, formats.read(place, body))),
    "manifest": (DATA / "manifest.json", lambda place, body: formats.manifest(place, formats.read(place, body))),
}


def test_head_of_format_1_is_read() -> None:
    """Who held the lock, what was under way, where a rollback can go, and what was not yet an object of its own."""
    head = Head.decode("head.json", HEAD.read_bytes())
    written = json.loads(HEAD.read_text())
    assert (head.revision, head.token, head.newest, head.live) == (written["revision"], written["token"], 6, 5)
    assert head.holder is not None
    assert (head.holder.host, head.holder.reason) == ("build-host", "deploy")
    assert head.work is not None
    assert head.work.previous is not None
    assert (head.work.verb, head.work.step, head.work.release.number) == ("deploy", "stage", 6)
    assert (head.work.previous.deployed, head.work.previous.release) == ("5", 5)
    assert head.work.release.artifact.location == written["work"]["release"]["artifact"]["key"]
    assert [(one.number, one.deployed, one.state) for one in head.kept] == [(5, "5", "verified"), (1, "1", "verified")]
    assert list(head.outbox) == [key for key in written["outbox"] if "/00000006/" in key]
    idle = Head.decode("head.json", (DATA / "head-idle.json").read_bytes())
    assert (idle.holder, idle.work, idle.live, idle.swept) == (None, None, 5, True)


def test_manifest_without_its_interpreter_is_read() -> None:
    """What compiled the bytecode was not always recorded: it is then unknown."""
    path, read = READ["manifest"]
    assert read(path.name, path.read_bytes()).interpreter == ""


def test_every_event_of_format_1_is_read() -> None:
    """Each release, as it was staged and as it ended: the target's own name for it, its artifact, its numbers."""
    read = [READ["event"][1](path.name, path.read_bytes()) for path in EVENTS]
    assert [(one.number, one.state) for one in read] == [
        (1, "staged"),
        (1, "verified"),
        (2, "staged"),
        (2, "verified"),
        (2, "rolled-back"),
        (3, "staged"),
        (3, "failed"),
        (4, "staged"),
        (4, "failed"),
        (5, "staged"),
        (5, "verified"),
    ]
    for one, path in zip(read, EVENTS, strict=True):
        written = json.loads(path.read_text())
        assert one.deployed == written["version"], path
        assert one.artifact.digest == written["artifact"]["digest"], path
        assert (one.settings, one.variables) == (written["settings"], written["variables"]), path
        assert [look.requests for look in one.watched] == [look["requests"] for look in written["watched"]], path
    stopped = next(one for one in read if one.number == 3 and one.state == "failed")
    assert "requests fail" in stopped.watched[-1].breach
    assert "requests fail" in stopped.cause


def test_artifact_and_manifest_of_format_1_are_read() -> None:
    """What was pushed is found where it lies; what was built is known but for its target, which format 1 did not name."""
    artifact = READ["artifact"][1]("artifact.json", ARTIFACT.read_bytes())
    assert artifact.location.endswith(f"{artifact.digest.removeprefix('sha256:')}.zip")
    manifest = READ["manifest"][1]("manifest.json", (DATA / "manifest.json").read_bytes())
    assert (manifest.target, manifest.digest) == ("", artifact.digest)
    assert manifest.contents[-1] == Content("models", 2, 148, 125)


@pytest.mark.parametrize("name", READ)
def test_what_was_read_is_written_in_todays_format(name: str) -> None:
    """Stamped with format and package, and the same record when it is read again."""
    path, read = READ[name]
    record = read(path.name, path.read_bytes())
    body = record.encode() if isinstance(record, Head) else formats.dump(record)
    assert json.loads(body) | {"format": formats.FORMAT, "package": __version__} == json.loads(body)
    assert read(path.name, body) == record


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("written", [formats.FORMAT + 1, "2", None])
def test_newer_record_is_refused(name: str, written: object) -> None:
    """A record of a format that this package does not know is not guessed at: it says which package wrote it."""
    path, read = READ[name]
    body = json.dumps({**json.loads(path.read_text()), "format": written, "package": "9.1"}).encode()
    with pytest.raises(CloudError, match=rf"was written by ml-delivery 9.1, in format {written}; this is") as refused:
        read(path.name, body)
    assert refused.value.next == "invoke upgrade"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(
            (name, damage)
            for name in READ
            for damage in ("cut", "a list", "not text", "a field less", "deep", "deeper")
        ),
        *((name, "a field of another kind") for name in READ if name != "artifact"),  # whose fields are plain values
    ],
)
def test_damaged_record_is_refused(name: str, damage: str) -> None:
    """One message that names the object; where it is read from the bucket, how to restore it is added."""
    path, read = READ[name]
    body = path.read_bytes()
    required = {"head": "kept", "event": "artifact", "artifact": "digest", "manifest": "contents"}[name]
    document = json.loads(body)
    damaged = {
        "cut": body[:-20],
        "a list": b"[]",
        "not text": b"\xff\xfe\x00",
        "a field less": json.dumps({key: value for key, value in document.items() if key != required}).encode(),
        "deep": json.dumps(
            {**document, "more": json.loads("[" * 200 + "]" * 200)}
        ).encode(),  # more than can be written
        "deeper": b'{"more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",  # more than can be read
        "a field of another kind": json.dumps({**document, required: 1}).encode(),
    }[damage]
    with pytest.raises(CloudError, match=f"{path.name} can't be read"):
        read(path.name, damaged)


def test_ledger_of_format_1_is_continued(tiny: Tiny) -> None:
    """From the bucket: history, the lock of a dead deploy taken over, its event published, the head written in today's format."""
    opened = tiny.open()
    bucket, ledger = opened.foundation.bucket, opened.ledger
    for path in [*EVENTS, HEAD, ARTIFACT]:
        head = json.loads(path.read_text())
        if path == HEAD:
            head["holder"]["expires"] = 0.0  # long ago
        objects.create(opened.cloud, bucket, path.relative_to(DATA).as_posix(), json.dumps(head).encode())
    assert [(one.number, one.state) for one in ledger.latest(9, [])] == [
        (5, "verified"),
        (4, "failed"),
        (3, "failed"),
        (2, "rolled-back"),
        (1, "verified"),
    ]
    with ledger.locked("the next", "look") as lease:
        assert lease.head.work is not None
        lease.write()
        found = ledger.find(6)
    assert found is not None
    assert (found.state, found.number) == ("staged", 6)
    body, _ = objects.get(opened.cloud, bucket, "releases/production/head.json") or (b"", "")
    assert json.loads(body)["format"] == formats.FORMAT
    assert ledger.head().kept == Head.decode("", HEAD.read_bytes()).kept
    opened.cloud.client("s3").delete_object(Bucket=bucket, Key="releases/production/head.json")
    rebuilt = ledger.head()
    assert [one.number for one in rebuilt.kept] == [5, 1]
    assert rebuilt.newest == 6


def test_newer_ledger_is_refused_in_words(tiny: Tiny) -> None:
    """An older package that meets a newer ledger says so, and what to type; it writes nothing."""
    opened = tiny.open()
    body = json.dumps({**json.loads(HEAD.read_text()), "format": formats.FORMAT + 1, "package": "9.1"}).encode()
    objects.put(opened.cloud, opened.foundation.bucket, "releases/production/head.json", body)
    for command in ("releases", "status"):
        printed = tiny.invoke(command, code=1)
        assert (
            f"releases/production/head.json was written by ml-delivery 9.1, in format {formats.FORMAT + 1}" in printed
        )
        assert "next: invoke upgrade" in printed
    found = objects.get(opened.cloud, opened.foundation.bucket, "releases/production/head.json")
    assert found is not None
    assert found[0] == body


# Every field of format 5. To add, remove or rename one is a new format: raise FORMAT, and read this one too.
FIELDS = {
    Head: "revision token holder newest live kept owned work swept experiment outbox",
    Holder: "who reason host pid at expires boot space began",
    Kept: "number deployed source at state",
    Previous: "deployed release",
    Work: "verb release previous plan dropped step weight since due detached",
    Release: "number state artifact settings variables who at deployed cause steps watched plan",
    Took: "name seconds weight",
    Artifact: "version commit dirty digest content model python architecture location size tag",
    Look: "weight requests errors p95 throttles alarms command breach failures",
    Experiment: "number state rule control challenger who at since ended winner cause reading",
    Rule: "metric unit count hypothesis alpha effect split requests days",
    Arm: "release deployed",
    Reading: "at verdict control challenger low high evidence crossed share earlier unusable over",
    Measured: "release units reported total mean deviation",
}


def test_release_of_format_2_is_read() -> None:
    """What was watched before failures were recorded has none."""
    document = json.loads(EVENTS[4].read_text())
    names = FIELDS[Look].split()[:-1]
    known = {**dict.fromkeys(FIELDS[Release].split(), 1), "artifact": document["artifact"], "state": "verified"}
    known |= {"watched": [{**dict.fromkeys(names, 0), "alarms": []}], "steps": []}
    (look,) = formats.release("x", formats.read("x", json.dumps({**known, "format": 2}).encode())).watched
    assert (look.requests, look.failures) == (0, None)


def test_artifact_of_format_3_is_read() -> None:
    """Before semantic versions were recorded, an artifact had none."""
    known = dict.fromkeys(FIELDS[Artifact].split()[:-1], "x")
    assert formats.artifact("x", formats.read("x", json.dumps({**known, "format": 3}).encode())).tag == ""


def test_steps_of_format_4_are_read_in_their_order() -> None:
    """They were stored by name, with the share of the traffic in it; now a step has its share, and its place is its order."""
    order = [
        "plan",
        "stage",
        "probe version",
        "shift 5 %",
        "watch 5 %",
        "shift 50 %",
        "watch 50 %",
        "shift",
        "probe live",
        "of a later package",
    ]
    written = {**json.loads(EVENTS[4].read_text()), "seconds": dict.fromkeys(sorted(order), 1.0)}
    steps = formats.release("x", written).steps
    assert [words.step(one.name, one.weight) for one in steps] == order
    assert [one.weight for one in steps] == [None, None, None, 5, 5, 50, 50, 100, None, None]
    head = json.loads(HEAD.read_text())
    head["work"]["step"] = "shift 10 %"
    work = Head.decode("x", json.dumps(head).encode()).work
    assert work
    assert work.step == "shift"


def test_head_of_format_4_is_read() -> None:
    """Before there were A/Bs, an environment had none; with one, it is written and read again."""
    document = {name: value for name, value in json.loads(Head(live=3).encode()).items() if name != "experiment"}
    head = Head.decode("x", json.dumps({**document, "format": 4}).encode())
    assert (head.live, head.experiment) == (3, None)
    measured = Measured(1, 2, 1, 3.0, 1.5, 1.5)
    reading = Reading(1.0, "undecided", measured, measured, -1.0, 1.0, 0.1, 0, 0.5, 0, 0, False)
    rule = Rule("revenue", "request", "requests", "two-sided", 0.05, 5.0, 50, 1000, 1)
    experiment = Experiment(1, "running", rule, Arm(1, "1"), Arm(2, "2"), "me", 1.0, 2.0, reading=reading)
    compared = dataclasses.replace(head, experiment=experiment)
    assert Head.decode("x", compared.encode()) == compared
    damaged = {**json.loads(compared.encode()), "experiment": {"number": 1}}
    with pytest.raises(CloudError, match="can't be read"):
        Head.decode("x", json.dumps(damaged).encode())


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_format_has_exactly_its_fields(kind: type) -> None:
    """A record that gains or loses a field is of another format, which an older package must be able to refuse."""
    assert formats.FORMAT == 5
    assert [field.name for field in dataclasses.fields(kind)] == FIELDS[kind].split()


@pytest.mark.parametrize("place", ["", "holder", "work"])
def test_unknown_field_is_a_newer_packages(place: str) -> None:
    """A head with a field that this package does not know is refused in words: rewriting it would lose that field."""
    head = Head(holder=Holder("me", "deploy", "here", 1, 0.0, 0.0))
    document = json.loads(head.encode())
    if place == "work":
        artifact = dict.fromkeys(FIELDS[Artifact].split(), "x")
        release = {**dict.fromkeys(FIELDS[Release].split(), 1), "artifact": artifact, "watched": [], "steps": []}
        document["work"] = {**dict.fromkeys(FIELDS[Work].split()), "release": release, "dropped": [], "newer": 1}
    else:
        (document[place] if place else document)["newer"] = 1
    with pytest.raises(CloudError, match=r"has the field 'newer', which ml-delivery .* does not know") as refusal:
        Head.decode("releases/production/head.json", json.dumps(document).encode())
    assert refusal.value.next == "invoke upgrade"


def test_secret_in_a_cause_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever wrote the cause, the record keeps no value that is known to be secret."""
    monkeypatch.setenv("DATABASE_PASSWORD", "canary-of-a-password")
    release = formats.release("x", json.loads(EVENTS[4].read_text()))
    told = formats.plain(dataclasses.replace(release, cause="refused: wrong password canary-of-a-password"))
    assert told["cause"] == "refused: wrong password ***"
