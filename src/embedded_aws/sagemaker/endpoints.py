"""Endpoints: created, updated, their traffic shifted, deleted.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpoint.html: an update starts a new fleet beside the old
one and replaces it when it is healthy; otherwise the endpoint is InService on its old configuration, with a FailureReason.
An endpoint that is being changed refuses further changes.
"""

from __future__ import annotations

import contextvars
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedded_aws.sagemaker import configs, store, tags
from embedded_aws.sagemaker.fleets import Fleet, described
from embedded_aws.sagemaker.instances import Unhealthy
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

IN_SERVICE, CREATING, UPDATING, DELETING, FAILED = "InService", "Creating", "Updating", "Deleting", "Failed"
END_SECONDS = 3.0  # that containers have to finish when the emulator ends
home = Path()  # of the emulator's temporary files; set when it starts
_fleets: dict[str, Fleet] = {}  # by the endpoint's ARN


def fleet(record: Record) -> Fleet | None:
    """The fleet that serves an endpoint now."""
    return _fleets.get(record["EndpointArn"])


def create(request: Record) -> Record:
    """Create one."""
    name, arn = request["EndpointName"], store.arn("endpoint", request["EndpointName"])
    if name in store.table("endpoints"):
        raise Refusal(f'Cannot create already existing endpoint "{arn}".')
    records = described(configs.get(request["EndpointConfigName"]))
    now = store.now()
    record = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": request["EndpointConfigName"],
        "EndpointStatus": CREATING,
        "CreationTime": now,
        "LastModifiedTime": now,
        "_next": records,
    }
    store.table("endpoints")[name] = record
    tags.put(arn, request.get("Tags", []))
    _background(_create, record)
    return {"EndpointArn": arn}


def _create(record: Record) -> None:
    made = Fleet(record["EndpointName"], record["_next"], home)
    try:
        made.start()
    except Unhealthy as error:
        _change(record, EndpointStatus=FAILED, FailureReason=str(error))
        return
    _fleets[record["EndpointArn"]] = made
    _serving(record, made, record["EndpointConfigName"], [])


def update(request: Record) -> Record:
    """Replace the fleet by that of another configuration."""
    with store.lock:
        record = changeable(request["EndpointName"])
        records = described(configs.get(request["EndpointConfigName"]))
        excluded = {p["VariantPropertyType"] for p in request.get("ExcludeRetainedVariantProperties", [])}
        retained = {"DesiredWeight", "DesiredInstanceCount"} - excluded
        current = record["ProductionVariants"] if request.get("RetainAllVariantProperties") else []
        for variant in current:
            for new in records:
                if new["VariantName"] == variant["VariantName"]:
                    if "DesiredInstanceCount" in retained:
                        new["InitialInstanceCount"] = variant["DesiredInstanceCount"]
                    if "DesiredWeight" in retained:
                        new["InitialVariantWeight"] = variant["DesiredWeight"]
        pending = {
            "EndpointConfigName": request["EndpointConfigName"],
            "StartTime": store.now(),
            "ProductionVariants": [{"VariantName": new["VariantName"]} for new in records],
        }
        record.pop("FailureReason", None)
        _change(record, EndpointStatus=UPDATING, PendingDeploymentSummary=pending, _next=records)
    _background(_update, record)
    return {"EndpointArn": record["EndpointArn"]}


def _update(record: Record) -> None:
    name: str = record["PendingDeploymentSummary"]["EndpointConfigName"]
    made = Fleet(record["EndpointName"], record["_next"], home)
    try:
        made.start()
    except Unhealthy as error:
        _change(record, EndpointStatus=IN_SERVICE, FailureReason=str(error))
        return
    previous = _fleets.get(record["EndpointArn"])
    _fleets[record["EndpointArn"]] = made
    _serving(record, made, name, [])
    if previous:
        previous.stop()


def reweigh(request: Record) -> Record:
    """Change weights and numbers of instances, for the variants that the request names."""
    with store.lock:
        record = changeable(request["EndpointName"])
        known = {variant["VariantName"]: variant for variant in record["ProductionVariants"]}
        for wanted in request["DesiredWeightsAndCapacities"]:
            if wanted["VariantName"] not in known:
                arn = record["EndpointArn"]
                raise Refusal(f'Could not find production variant "{wanted["VariantName"]}" of the endpoint "{arn}".')
            if wanted.get("DesiredWeight", 0) < 0 or wanted.get("DesiredInstanceCount", 1) < 1:
                raise Refusal(f"Weight or instance count is out of range: {wanted}")
        for wanted in request["DesiredWeightsAndCapacities"]:
            known[wanted["VariantName"]].update({k: v for k, v in wanted.items() if k != "VariantName"})
        record.pop("FailureReason", None)
        _change(record, EndpointStatus=UPDATING)
    _background(_reweigh, record)
    return {"EndpointArn": record["EndpointArn"]}


def _reweigh(record: Record) -> None:
    serving = _fleets[record["EndpointArn"]]
    variants = record["ProductionVariants"]
    try:
        for variant in variants:
            serving.variants[variant["VariantName"]].resize(variant["DesiredInstanceCount"])
    except Unhealthy as error:
        restored = [{**v, "DesiredWeight": v["CurrentWeight"]} for v in variants]
        restored = [{**v, "DesiredInstanceCount": v["CurrentInstanceCount"]} for v in restored]
        _change(record, EndpointStatus=IN_SERVICE, ProductionVariants=restored, FailureReason=str(error))
        return
    _serving(record, serving, record["EndpointConfigName"], variants)


def _serving(record: Record, made: Fleet, config: str, desired: list[Record]) -> None:
    """Record that a fleet serves; with the weights and numbers that were asked for, else those it was made with."""
    asked = {v["VariantName"]: v for v in desired}
    variants, kept = [], []
    for new in made.records:
        wanted = asked.get(new["VariantName"], {})
        weight = wanted.get("DesiredWeight", new["InitialVariantWeight"])
        count = wanted.get("DesiredInstanceCount", new["InitialInstanceCount"])
        image = {"SpecifiedImage": new["container"]["Image"], "ResolvedImage": made.variants[new["VariantName"]].image}
        variants.append(
            {
                "VariantName": new["VariantName"],
                "DeployedImages": [{**image, "ResolutionTime": store.now()}],
                "CurrentWeight": weight,
                "DesiredWeight": weight,
                "CurrentInstanceCount": count,
                "DesiredInstanceCount": count,
            }
        )
        kept.append({**new, "InitialVariantWeight": weight, "InitialInstanceCount": count})
    made.records = kept
    _change(record, EndpointStatus=IN_SERVICE, EndpointConfigName=config, ProductionVariants=variants, _fleet=kept)


def _change(record: Record, **members: Any) -> None:
    with store.lock:
        if members["EndpointStatus"] != UPDATING:
            record.pop("PendingDeploymentSummary", None)
        record.update(members, LastModifiedTime=store.now())


def delete(request: Record) -> Record:
    """Delete it."""
    with store.lock:
        record = changeable(request["EndpointName"], (IN_SERVICE, FAILED))
        _change(record, EndpointStatus=DELETING)
    _background(_delete, record)
    return {}


def _delete(record: Record) -> None:
    if serving := _fleets.pop(record["EndpointArn"], None):
        serving.stop()
    store.table("endpoints").pop(record["EndpointName"], None)
    tags.drop(record["EndpointArn"])


def get(name: str) -> Record:
    """The record of an endpoint.

    Raises:
        Refusal: there is none.
    """
    found: Record | None = store.table("endpoints").get(name)
    if found is None:
        raise Refusal(f'Could not find endpoint "{store.arn("endpoint", name)}".')
    return found


def changeable(name: str, states: tuple[str, ...] = (IN_SERVICE,)) -> Record:
    """An endpoint that isn't being changed.

    Raises:
        Refusal: there is none, or it is being changed.
    """
    record = get(name)
    if record["EndpointStatus"] not in states:
        busy = record["EndpointStatus"] in (CREATING, UPDATING, DELETING)
        what = "in-progress" if busy else record["EndpointStatus"].lower()
        raise Refusal(f'Cannot update {what} endpoint "{record["EndpointArn"]}".')
    return record


def describe(request: Record) -> Record:
    """Answer with the record."""
    return get(request["EndpointName"])


def find(request: Record) -> Record:
    """List them."""
    records = store.table("endpoints").values()
    return store.listed("ListEndpoints", "Endpoints", records, request, name="EndpointName", status="EndpointStatus")


def resume() -> None:
    """Start again what served when the emulator ended, and continue what was being changed."""
    for account, region, record in store.everywhere("endpoints"):
        with store.request_scope(account, region):
            if record.get("_fleet") and record["EndpointStatus"] != DELETING:
                serving = _fleets[record["EndpointArn"]] = Fleet(record["EndpointName"], record["_fleet"], home)
                _background(_restart, record, serving)
            act = {CREATING: _create, UPDATING: _continue, DELETING: _delete}.get(record["EndpointStatus"])
            if act:
                _background(act, record)


def _restart(record: Record, serving: Fleet) -> None:
    try:
        serving.start()
    except Unhealthy as error:
        _fleets.pop(record["EndpointArn"], None)
        _change(record, EndpointStatus=FAILED, FailureReason=str(error))


def _continue(record: Record) -> None:
    if serving := fleet(record):
        serving.ready.wait()
    (_update if "PendingDeploymentSummary" in record else _reweigh)(record)


def stop_all() -> None:
    """End every container, as the emulator ends; wait for that, since one that runs as its image's user outlives this process."""
    running = [one for made in list(_fleets.values()) for v in made.variants.values() for one in v.instances]
    threads = [threading.Thread(target=instance.kill, daemon=True) for instance in running]
    for thread in threads:
        thread.start()
    end = time.monotonic() + END_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _background(act: Callable[..., None], record: Record, *arguments: Any) -> None:
    def guarded() -> None:
        try:
            act(record, *arguments)
        except Exception as error:  # an error of this server, which must not leave the endpoint in progress
            traceback.print_exc()
            _change(record, EndpointStatus=FAILED, FailureReason=f"InternalServerError: {error!r}")

    threading.Thread(target=contextvars.copy_context().run, args=(guarded,), daemon=True).start()


OPERATIONS = {
    "CreateEndpoint": create,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": reweigh,
    "DescribeEndpoint": describe,
    "DeleteEndpoint": delete,
    "ListEndpoints": find,
}
