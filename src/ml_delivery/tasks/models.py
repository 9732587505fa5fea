"""The model's tasks: train, evaluate, promote."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, read_config


@action(
    help={
        "data": "transactions, .csv or .parquet, a path or s3://; default: generated ones",
        "seed": "for data and models; default: 7",
        "trials": "settings to try of each kind; default: model.trials",
        "seconds": "when tuning is cut; default: model.seconds",
        "branch": f"for s3:// only: {BRANCH}",
        "cloud": f"for s3:// only: {CLOUD}",
    }
)
def train(
    _: Any, data: str = "", seed: int = 7, trials: int = 0, seconds: int = 0, branch: str = "", cloud: str = ""
) -> None:
    """Tune and train a model of each kind; interrupted, the next one goes on."""
    from ml_delivery import training
    from ml_delivery.errors import ConfigError

    if trials < 0 or seconds < 0:
        raise ConfigError("--trials, --seconds", ["less than nothing; write a number, or leave it out"])
    config = read_config()
    variables = {}
    if data.startswith("s3://"):
        from ml_delivery.cloud import Cloud
        from ml_delivery.release.delivery import checked_out

        environment = config.environment(branch or checked_out(config))
        variables = Cloud.open(config, environment, cloud).variables()
    training.train(config, data=data, seed=seed, trials=trials, seconds=seconds, variables=variables)


@action(help={"json": JSON})
def evaluate(_: Any, json: bool = False) -> None:
    """Judge what was trained last, and write build/report.html and .md."""
    from ml_delivery import training

    training.evaluate(read_config(), json=json)


@action()
def promote(_: Any) -> None:
    """Name the best of what was trained last in model.lock, if it passes the gate."""
    from ml_delivery import training

    training.promote(read_config())
