"""Records as text, for errors and for tasks: the only place where these records become text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Live, Look
    from ml_delivery.release.head import Head, Holder, Previous, Work
    from ml_delivery.release.results import Change, Link, Plan, Rollout

__all__ = [
    "change",
    "experiment",
    "failed",
    "holder",
    "link",
    "look",
    "previous",
    "rollout",
    "serving",
    "split",
    "state",
    "step",
    "verb",
    "work",
]

# What ``Work.verb`` names, and with which word it refers to its release.
VERBS = {"compare": ("start of an A/B", "with"), "decide": ("end of an A/B", "with")}


def holder(one: Holder) -> str:
    """The holder of a lock."""
    since = time.strftime("%H:%M:%S", time.localtime(one.at))
    return f"{one.who} on {one.host} (pid {one.pid}, {one.reason}) since {since}"


def previous(one: Previous) -> str:
    """What served before."""
    return f"release {one.release}" if one.release else f"deployed version {one.deployed}"


def verb(one: Work) -> str:
    """What kind of work it is."""
    return VERBS.get(one.verb, (one.verb, ""))[0]


def step(name: str, weight: int | None) -> str:
    """A step's name, with its share of the traffic unless that is all of it."""
    return name if weight in (None, 100) else f"{name} {weight} %"


def experiment(one: Experiment) -> str:
    """An A/B: its number, its releases, and how far it is."""
    shares = f"{100 - one.rule.split} % to {one.rule.split} %"
    releases = f"release {one.control.release} (control) and release {one.challenger.release} (challenger)"
    return f"A/B {one.number} of {releases}, {shares}, is {one.state}"


def work(one: Work) -> str:
    """What is under way."""
    what, joined = VERBS.get(one.verb, (one.verb, "of"))
    how = f"{what} {joined} release {one.release.number}, at {one.step or 'its start'}"
    return f"{how}, {one.weight} % of the traffic" if one.weight else how


def failed(seen: Look) -> str:
    """How many requests failed, and what was counted."""
    raised = f"{seen.errors} raised an exception or timed out"
    if seen.failures is None:
        return f"{raised} of {seen.requests} requests; status 5xx is not counted, since no metric Failures names the version"
    return f"{seen.failures} of {seen.requests} requests answered 5xx, {raised}"


def link(one: Link) -> str:
    """Which link of the chain it is, and what it is about."""
    match one.kind:
        case "live":
            return f"the live deployed version {one.subject} is release {one.release}"
        case "pushed":
            return f"release {one.release} is what was pushed for {one.subject}"
        case "provenance":
            return f"its provenance, by {one.subject or 'a local build'}"
        case "bill of materials":
            return "its bill of materials"
        case "bytes":
            return f"its bytes in {one.subject}"
        case "content":
            return "what answers /version"
        case "digest":
            return "the digest that /version names"
        case "rebuild":
            return f"a rebuild of {one.subject}"


def look(seen: Look) -> str:
    """What was measured."""
    if not seen.requests:
        return "0 requests, so nothing was measured"
    return f"{failed(seen)}; p95 {seen.p95:.0f} ms"


def rollout(one: Rollout) -> str:
    """How traffic shifts, and where that differs from ``pipeline.toml``."""
    shares = ", ".join(f"{weight} %" for weight in one.weights)
    text = f"{shares} for {one.pause} s{' each' if len(one.weights) > 1 else ''}, read every {one.period} s, then 100 %"
    longer = [
        f"deploy.{name} is {asked} s, in which metrics don't arrive"
        for name, asked, used in (("pause", one.asked_pause, one.pause), ("period", one.asked_period, one.period))
        if asked < used
    ]
    return f"{text} ({'; '.join(longer)})" if longer else text


def change(one: Change, plan: Plan) -> str:
    """One difference between what is live and what is planned."""
    if one.what == "traffic" and plan.live:
        return f"traffic {one.name} (release {one.old} was deployed): {split(plan.live)} → the new release"
    if one.what == "infrastructure":
        return f"infrastructure {one.name}: as applied → as the package and pipeline.toml define it"
    return f"{one.what} {one.name}: {one.old or 'none'} → {one.new or 'none'}"


def serving(release: int, deployed: str) -> str:
    """What serves, as just read from the target."""
    if not deployed:
        return "nothing serves"
    return f"release {release} serves" if release else f"deployed version {deployed} serves"


def state(live: Live | None, head: Head, where: str) -> list[str]:
    """What serves, how traffic is split, what is under way and who holds the lock: a line for each."""
    found = []
    known = {one.deployed: one.number for one in head.kept}
    if head.work:
        known[head.work.release.deployed] = head.work.release.number
    if live is None:
        why = f"release {head.retired} is retired" if head.retired else "nothing is live"
        found.append(f"{why}; next: invoke deploy {where}")
    else:
        serves = f"release {live.release} serves as deployed version {live.deployed}"
        if not live.release:
            serves = f"deployed version {live.deployed} serves, which was not deployed by this pipeline"
        found.append(f"{serves}, digest {live.digest}")
        for deployed, percent in live.traffic.weights.items():
            number = f" (release {known[deployed]})" if deployed in known else ""
            found.append(f"deployed version {deployed}{number} has {percent} % of the traffic")
        if head.retired:
            found.append(
                f"release {head.retired} is to be retired, which was interrupted; continue with invoke retire {where}"
            )
    if head.work:
        how = "paused; continue with" if head.work.detached else "under way; if it was interrupted, continue with"
        found.append(f"a {work(head.work)} is {how} invoke deploy --resume {where}")
    if head.experiment and head.experiment.open:
        found.append(f"{experiment(head.experiment)}; invoke ab --status {where}")
    if head.holder:
        found.append(f"locked by {holder(head.holder)}")
    return found


def split(live: Live) -> str:
    """How traffic is split."""
    others = [f"deployed version {deployed} {percent} %" for deployed, percent in live.traffic.weights.items()]
    return ", ".join([f"deployed version {live.deployed} (release {live.release or 'unknown'})", *others])
