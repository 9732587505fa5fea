"""AWS's CLI and SageMaker's Python SDK as clients of the emulator: ``nox -s toolkit``, in an environment of their own.

Each creates, describes and calls by what it has for that; what they expect of an answer, no test here has written down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import sagemaker_jobs
import sagemaker_serving
from emulated import project

from ml_delivery import emulator

# https://sagemaker.readthedocs.io/en/v2/: an estimator trains and a model is deployed, called and deleted.
SDK = """
import json, sys
import sagemaker
from sagemaker.estimator import Estimator
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer
from sagemaker.deserializers import JSONDeserializer

given = json.loads(sys.argv[1])
session = sagemaker.Session(default_bucket=given["bucket"])
estimator = Estimator(
    given["trains"], given["trainer"], 2, "ml.m5.large", output_path=f"s3://{given['bucket']}/out",
    hyperparameters={"loss": "0.5"}, sagemaker_session=session, disable_profiler=True,
    metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
)
estimator.fit({"data": f"s3://{given['bucket']}/in/"}, job_name="by-the-sdk", logs="All")
model = Model(given["serves"], role=given["server"], env={"NAME": "sdk"}, name="by-the-sdk", sagemaker_session=session)
model.deploy(1, "ml.t2.medium", endpoint_name="by-the-sdk")
asked = Predictor("by-the-sdk", session, JSONSerializer(), JSONDeserializer())
answer = asked.predict({"x": 1})
asked.delete_endpoint(delete_endpoint_config=True)
model.delete_model()
print("\\n" + json.dumps({"model": estimator.model_data, "answer": answer["name"]}))
"""


def aws(programs: Path, variables: dict[str, str], *words: str) -> Any:
    """What a command of AWS's CLI prints, read as JSON where it is."""
    command = [str(programs / "aws"), *words]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def cli(programs: Path, variables: dict[str, str], place: sagemaker_serving.Place, scratch: Path) -> None:
    """A model, a configuration and an endpoint; what is waited for, called, and listed."""
    container = json.dumps({"Image": place.image, "Environment": {"NAME": "cli"}})
    variant = {"VariantName": "r1", "ModelName": "cli", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}

    def sagemaker(*words: str) -> Any:
        return aws(programs, variables, "sagemaker", *words)

    made = sagemaker(
        *("create-model", "--model-name", "cli", "--execution-role-arn", place.role), "--primary-container", container
    )
    assert made["ModelArn"].endswith(":model/cli")
    config = ("--endpoint-config-name", "cli")
    sagemaker("create-endpoint-config", *config, "--production-variants", json.dumps([variant]))
    sagemaker("create-endpoint", "--endpoint-name", "cli", *config)
    sagemaker("wait", "endpoint-in-service", "--endpoint-name", "cli")
    found = sagemaker("describe-endpoint", "--endpoint-name", "cli")
    assert (found["EndpointStatus"], found["ProductionVariants"][0]["CurrentInstanceCount"]) == ("InService", 1)
    out = scratch / "answer.json"
    words = ("invoke-endpoint", "--endpoint-name", "cli", "--body", "aGVsbG8=", str(out))
    assert aws(programs, variables, "sagemaker-runtime", *words)["InvokedProductionVariant"] == "r1"
    assert json.loads(out.read_text())["name"] == "cli"
    assert [one["EndpointName"] for one in sagemaker("list-endpoints")["Endpoints"]] == ["cli"]
    sagemaker("delete-endpoint", "--endpoint-name", "cli")
    sagemaker("wait", "endpoint-deleted", "--endpoint-name", "cli")


def main() -> int:
    """Both clients; ``sys.argv[1]`` is the folder with their programs."""
    programs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        root = project(Path(folder, "root"), Path(folder, "pipeline"))
        running = emulator.up(root)
        try:
            serving, jobs = sagemaker_serving.Place(running), sagemaker_jobs.Place(running)
            variables = {
                **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))},
                "AWS_ENDPOINT_URL": running.endpoint,
                "AWS_ACCESS_KEY_ID": running.access_key,
                "AWS_SECRET_ACCESS_KEY": running.secret_key,
                "AWS_DEFAULT_REGION": "eu-west-1",
                "HOME": folder,  # no settings of the user's own
            }
            cli(programs, variables, serving, Path(folder))
            print("AWS's CLI made, waited for, called and deleted an endpoint")
            given = {"bucket": jobs.bucket, "trains": jobs.image, "trainer": jobs.role}
            given |= {"serves": serving.image, "server": serving.role}
            words = [str(programs / "python"), "-W", "ignore", "-c", SDK, json.dumps(given)]
            done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            found = json.loads(done.stdout.splitlines()[-1])
            assert found["answer"] == "sdk", found
            assert found["model"].endswith("out/by-the-sdk/output/model.tar.gz"), found
            print("SageMaker's SDK trained on two hosts, followed the log, deployed a model, called and deleted it")
        finally:
            emulator.down(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
