"""The role of train.yml: each of its rights is needed by a training, a tuning, a stop, or the image that they find."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import emulated
import pytest
from jobs import ENTRY, Training
from made_images import Registry
from roles import Right, lacking, rights_of
from test_jobs_tune import SETTINGS, TRIAL
from test_rights_sagemaker import acting, policy

from ml_delivery.account import stacks
from ml_delivery.account.change_sets import ensure
from ml_delivery.cloud import Cloud
from ml_delivery.errors import Interrupted, ModelError, PipelineError
from ml_delivery.jobs import images, train, tune
from ml_delivery.release import delivery

UNKNOWN = f"data/{'0' * 64}/data.parquet"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Training:
    """A service with jobs and the role that starts them; an image is in the repository of its stack, too."""
    made = Training(tmp_path_factory.mktemp("rights") / "service", shared, "rights-jobs")
    made.tiny.write("src/service/trial.py", TRIAL)
    settings = SETTINGS.replace("trials = 6", "trials = 2").replace("parallel = 3", "parallel = 2")
    made.tiny.write("pipeline.toml", (made.tiny.root / "pipeline.toml").read_text() + settings)
    made.tiny.commit()
    config = made.tiny.config
    environment = config.environment("main")
    admin = Cloud.open(config, environment, "embedded")
    for stack in (stacks.github(config), stacks.service(config, environment), stacks.delivering(config, environment)):
        ensure(stack, admin)
    Registry(made.running, "rights-jobs-production-jobs").push(images._tag(made.tiny.open()), ENTRY)
    return made


def opened(service: Training) -> delivery.Delivery:
    return service.tiny.open(prepare=False)


def trains(service: Training) -> None:
    train.train(opened(service), train.plan(opened(service), {}, 1), lambda line: None)


def tunes(service: Training) -> None:
    tune.tune(opened(service), tune.plan(opened(service), {}, ("a",)), lambda line: None)


def misses(service: Training) -> None:
    """What is not there is reported as missing."""
    with pytest.raises(ModelError, match="there is no dataset"):
        train.plan(opened(service), {"data": UNKNOWN}, 1)


def finds(service: Training) -> None:
    """The image that the stack's repository has under its tag; without the engine that would build one."""
    context = opened(service)
    config = replace(context.config, jobs=replace(context.config.jobs, image=""))
    assert "rights-jobs-production-jobs@sha256:" in images.find(replace(context, config=config))


def stopped(start: Callable[[Callable[[str], None]], object]) -> None:
    """A job that is cancelled at its first line is stopped."""

    def cancel(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as refusal:
        start(cancel)
    if "not authorized" in str(refusal.value):
        raise refusal.value


def stops(service: Training) -> None:
    stopped(lambda line: train.train(opened(service), train.plan(opened(service), {"do": "wait"}, 1), line))


def stops_trials(service: Training) -> None:
    stopped(lambda line: tune.tune(opened(service), tune.plan(opened(service), {}, ("a",)), line))


def uploads(service: Training) -> None:
    """A dataset that a training names is put where the job finds it."""
    digest = hashlib.sha256(b"rows").hexdigest()
    for name, text in (("data.parquet", "rows"), ("manifest.json", "{}")):
        service.tiny.write(f"data/{digest}/{name}", text)
    train.plan(opened(service), {"data": f"data/{digest}/data.parquet"}, 1)
    emulated.client(service.running, "s3").delete_object(
        Bucket=opened(service).foundation.bucket, Key=f"data/{digest}/data.parquet"
    )


def need(right: Right) -> Callable[[Training], None]:
    """What needs an action, or a resource, of a statement."""
    if right.value.startswith("sagemaker:Stop"):
        return stops_trials if "Tuning" in right.value else stops
    by_sid = {"RunTunings": tunes, "ListBucket": misses, "SignInToRegistryOfJobs": finds}
    by_value = {"ecr:BatchCheckLayerAvailability": finds, "data/*": uploads, "rights-jobs-production-jobs": finds}
    return by_sid.get(right.sid) or by_value.get(right.value.partition("/")[2] or right.value, trains)


def refusal(step: Callable[[], None]) -> str:
    """Why a step failed; empty if it did not."""
    try:
        step()
    except (PipelineError, AssertionError) as error:
        return str(error)
    return ""


def put(iam: Any, document: dict[str, Any]) -> None:
    """As an administrator, whoever acts."""
    iam.put_role_policy(
        RoleName="rights-jobs-production-train", PolicyName="stage", PolicyDocument=json.dumps(document)
    )


def test_role_needs_each_of_its_rights(service: Training) -> None:
    """A training, a tuning, their ends and the image that is found pass with its rights, and stop without any of them."""
    document = policy(service.tiny, "train")
    iam = emulated.client(service.running, "iam")
    unused = []
    with acting(service.tiny, "train"):
        for use in (trains, tunes, misses, finds, uploads, stops, stops_trials):
            use(service)
        for right in rights_of("train", document):
            put(iam, lacking(document, right))
            if refused := refusal(partial(need(right), service)):
                assert re.search("not authorized|denied", refused, re.I), (right, refused)
                assert right.kind == "Resource" or right.value in refused, (right, refused)
            else:
                unused.append(str(right))
        put(iam, document)
    assert not unused
