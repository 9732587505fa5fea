"""The story of ``make demo TARGET=sagemaker``: an ML pipeline's first hour, each command run for real on the embedded AWS.

Data are prepared, trained on by two hosts, tuned; the gate refuses and the team is notified; models are promoted, deployed
behind an endpoint, compared with the next ones on simulated users, and retired.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from botocore.session import Session

from ml_delivery.containers import engines
from ml_delivery.errors import BuildError, PipelineError
from ml_delivery.jobs import images

if TYPE_CHECKING:
    from demo.service import Demo

__all__ = ["SETTINGS", "missing", "prepared", "story"]

# Of pipeline.toml: jobs are switched on, and everything is small.
SETTINGS = (
    ('instance = ""           ', 'instance = "ml.m5.large"'),
    ("dollars_per_hour = 0.0  ", "dollars_per_hour = 0.115"),
    ("\ntrials = 12", "\ntrials = 1 "),
    ("\ntrials = 16 ", "\ntrials = 4  "),
    ('branch = "main"\naccount = ""', 'branch = "main"\naccount = "123456789012"'),
)
# Run by the service's own Python: the emulator of another copy of the package would replace the one that runs.
REACHED = """
import json, pathlib
from ml_delivery import emulator
found = emulator.up(pathlib.Path().absolute())
names = {"AWS_ENDPOINT_URL": found.endpoint, "AWS_ACCESS_KEY_ID": found.access_key, "AWS_SECRET_ACCESS_KEY": found.secret_key}
print(json.dumps(names))
"""
USERS, BUYERS, LIFT = 800, 0.7, 1.5  # of the simulated stream; LIFT: how much more the users of release 2 spend


def prepared(dataset: str) -> tuple[tuple[str, str], ...]:
    """The changes of pipeline.toml with which training and tuning read ``dataset``."""
    return (
        ('# data = "s3://bucket/retail.csv"', f'data = "{dataset}"'),
        ('# data = "data/DIGEST/data.parquet"', f'data = "{dataset}"'),
    )


def missing() -> str:
    """What this machine lacks for the story, and what to do about it; empty if nothing. Base images are pulled."""
    remedy = "start docker or podman; on Debian as root: tests/engine.sh make demo TARGET=sagemaker"
    try:
        engine = engines.find()
    except PipelineError as error:
        return f"TARGET=sagemaker builds and runs containers: {'; '.join(error.message.split(chr(10) + '  '))}\n  next: {remedy}"
    if engine.name == "buildah" and os.geteuid() != 0:
        return f"TARGET=sagemaker runs containers, which buildah does as root only\n  next: {remedy}"
    whole = images.BASE.format("{}.{}".format(*sys.version_info))
    for base in (f"{whole}-slim", whole):
        try:
            engine.inspect(base)
        except BuildError:
            print(f"{engine.name} pulls {base}", flush=True)
            words = [engine.name, "pull", "--quiet", base]
            done = subprocess.run(words, env=engine.environment, capture_output=True, text=True, check=False)
            if done.returncode:
                why = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")
                return (
                    f"TARGET=sagemaker needs the image {base}, which {engine.name} can't pull: {why}\n  next: {remedy}"
                )
    return ""


def story(demo: Demo) -> None:
    """All of it, in order."""
    demo.title("Switch jobs on, with little of everything; on AWS they cost money, so they are off by default")
    demo.edit("pipeline.toml", *SETTINGS)
    demo.commit("Jobs on SageMaker")
    demo.title("Set it up: its tools, hashed and locked; then roles, registries and the team's topic in its account")
    demo.run("set up", "make", "setup")
    demo.run("bootstrap", "invoke", "bootstrap", last=12)
    _train(demo)
    _judge(demo)
    demo.title("Deliver them: an endpoint is created, checked, and serves")
    demo.deliver("release 1")
    demo.title("Call it")
    demo.call()
    demo.title("Train the next models, here, from the tuned values; whatever the machine, the digests are the same")
    demo.run("train again", "invoke", "train", "--option", "tuned=data/tuned.json")
    # Tuned by four trials, they may also be a little worse.
    demo.run("promote again", "invoke", "promote", "--branch", "main", "--option", "slack=5", last=5)
    demo.commit("Tuned models")
    demo.run("register again", "invoke", "register")
    demo.deliver("release 2")
    demo.live(2)
    _compare(demo)
    demo.title("Retire the endpoint, which costs money whether it is called or not")
    demo.run("retire", "invoke", "retire", "--yes")
    demo.run("", "invoke", "releases")
    demo.run("", "invoke", "status")


def _train(demo: Demo) -> None:
    demo.title("Prepare the data: the notebook makes a dataset, named by its digest; training and tuning read it")
    demo.run("prepare", "invoke", "prepare")
    (dataset,) = demo.service.glob("data/*/data.parquet")
    demo.edit("pipeline.toml", *prepared(str(dataset.relative_to(demo.service))))
    demo.commit("Prepare the data")
    demo.title("Train on two hosts, which share the kinds of models; first, what it costs at most")
    words = ("invoke", "train", "--on", "sagemaker", "--instances", "2")
    demo.run("", *words, "--cost")
    demo.run("train on two hosts", *words)
    demo.title("Tune each kind of model: a trial is a job")
    demo.run("tune", "invoke", "tune", "--on", "sagemaker")


def _judge(demo: Demo) -> None:
    demo.title(
        "Ask the gate for too much, on --cloud aws (here, AWS_ENDPOINT_URL is the emulator): the team is notified"
    )
    with _slack() as (url, got):
        demo.run(
            "refuse",
            *("invoke", "promote", "--option", "gain=60", "--branch", "main", "--cloud", "aws"),
            fails=True,
            shown={"SLACK_WEBHOOK_URL": url},
            last=3,
            variables=_reached(demo),
        )
    print("Slack got:")
    for line in "\n".join(got).splitlines():
        print(f"  | {line}")
    demo.expect("\n".join(got), "✗ refused: ")
    demo.title(
        "Promote the best models, by the gate's own limits; the model registry follows the commit that names them"
    )
    demo.run("promote", "invoke", "promote", "--branch", "main", last=5)
    demo.commit("Train the first models")
    demo.run("register", "invoke", "register")


def _compare(demo: Demo) -> None:
    demo.title("Compare both releases on users, by a rule that is recorded before (A/B)")
    demo.run("start an A/B", "invoke", "ab", "--start", "--metric", "revenue", "--requests", "1000")
    print(
        f"{USERS} simulated users ask for a price; those of release 2 spend {LIFT - 1:.0%} more, which the A/B must find out"
    )
    answered = _users(demo)
    counted = ", ".join(f"release {release} answered {count}" for release, count in sorted(answered.items()))
    print(f"  {counted}", flush=True)
    demo.expect(demo.run("read the A/B", "invoke", "ab", "--status"), "release 2 has more")
    demo.run("stop the A/B", "invoke", "ab", "--stop", "--winner", "2")
    demo.live(2)


def _users(demo: Demo) -> Counter[int]:
    """Call the endpoint as users do, and report what each of them spent; how many answers came from which release."""
    reached = _reached(demo)
    runtime: Any = Session().create_client(
        "sagemaker-runtime",
        region_name="eu-west-1",
        endpoint_url=reached["AWS_ENDPOINT_URL"],
        aws_access_key_id=reached["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=reached["AWS_SECRET_ACCESS_KEY"],
    )
    endpoint, chance = f"{demo.service.name}-production", random.Random(7)

    def invoke(asked: str, body: object) -> Any:
        return runtime.invoke_endpoint(EndpointName=endpoint, CustomAttributes=asked, Body=json.dumps(body).encode())

    answered: Counter[int] = Counter()
    outcomes = []
    for user in range(USERS):
        answer = invoke(f"GET /v1/predict-price/{demo.stockcode}?bins=2", {})
        release = int(answer["InvokedProductionVariant"].removeprefix("r"))
        answered[release] += 1
        if chance.random() < BUYERS:
            price = json.loads(answer["Body"].read())["recommended"]["price"]
            revenue = price * chance.lognormvariate(0, 0.3) * (LIFT if release == 2 else 1)
            outcomes.append({"request": f"user-{user}", "release": release, "revenue": round(revenue, 2)})
    for begin in range(0, len(outcomes), 100):
        invoke("POST /v1/outcomes", outcomes[begin : begin + 100])
    return answered


def _reached(demo: Demo) -> dict[str, str]:
    """The variables with which any client of AWS reaches the service's emulator."""
    words = [str(demo.service / ".venv/bin/python"), "-c", REACHED]
    done = subprocess.run(words, cwd=demo.service, env=demo.environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@contextmanager
def _slack() -> Iterator[tuple[str, list[str]]]:
    """A receiver of Slack's webhook on loopback: its address, and the texts that it got."""
    got: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", got
        finally:
            server.shutdown()
