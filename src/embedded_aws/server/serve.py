"""Starts ministack with all patches: on loopback only, with IAM enforced, with its state kept."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def main() -> None:
    """Serve until SIGTERM. The environment variable ``EMBEDDED_HOME`` names the emulator's folder; ``EMBEDDED_KUBERNETES`` is
    what clusters are started with.
    """
    home, kubernetes = Path(os.environ.pop("EMBEDDED_HOME")), os.environ.pop("EMBEDDED_KUBERNETES", "")
    configure(home)
    patch(home, kubernetes)

    from ministack import app

    from embedded_aws.sagemaker import api as sagemaker
    from embedded_aws.server import administrator, admission, durable, saving

    ready = administrator.prepare(home)
    durable.patch()
    sagemaker.patch(app, home / "tmp", ready)
    saving.patch(app, home, ready)
    admission.patch(app)
    app.main()


def configure(home: Path) -> None:
    """Set what ministack reads from its environment, which it does when it is imported."""
    os.environ.update(
        BIND_HOST="127.0.0.1",
        AUTH="true",
        IOT_MTLS_ENABLED="0",  # it would listen on 0.0.0.0:8883
        SFTP_ENABLED="0",
        PERSIST_STATE="1",
        STATE_DIR=str(home / "state"),
        S3_PERSIST="1",
        S3_DATA_DIR=str(home / "s3"),
        LOG_LEVEL="WARNING",
        # The account's root key, which only this process knows; ministack would accept the well-known key "test" as root.
        AWS_ACCESS_KEY_ID=f"AKIA{secrets.token_hex(8).upper()}",
        AWS_SECRET_ACCESS_KEY=secrets.token_urlsafe(30),
    )


def patch(home: Path, kubernetes: str) -> None:
    """Apply the patches; where two replace the same function, the later one calls the earlier one."""
    from ministack import app

    from embedded_aws import ecr, http_apis
    from embedded_aws.aws_lambda import aliases, call_metrics, functions, images, limits, reports, updates, urls
    from embedded_aws.cloudformation import alarms as stack_alarms
    from embedded_aws.cloudformation import buckets, change_sets, resource_types
    from embedded_aws.cloudformation import kubernetes as stack_kubernetes
    from embedded_aws.cloudwatch import alarms, embedded_metrics, get_metric_data, log_events, logs_insights
    from embedded_aws.codebuild import api as codebuild
    from embedded_aws.iam import conditions, rights, signatures, web_identities
    from embedded_aws.kubernetes import eks
    from embedded_aws.limits import objects, requests, resources
    from embedded_aws.load_balancers import calls, network
    from embedded_aws.load_balancers import resources as balancers
    from embedded_aws.server import late_loading

    signatures.patch()
    web_identities.patch(home / "issuers")
    rights.patch()
    conditions.patch()
    requests.patch(app)
    objects.patch()
    limits.patch()
    reports.patch()
    updates.patch()
    aliases.patch()
    urls.patch(app)
    late_loading.patch(
        app,
        "cloudformation",
        buckets.patch,
        stack_alarms.patch,
        change_sets.patch,
        resource_types.patch,
        stack_kubernetes.patch,
        balancers.patch,
        resources.patch,
    )
    late_loading.patch(app, "alb", calls.patch_calls, network.patch)
    calls.patch(app)
    late_loading.patch(app, "apigateway", http_apis.patch)
    late_loading.patch(app, "eks", lambda: eks.patch(home, kubernetes))
    functions.patch(home / "tmp")
    ecr.patch(home)
    images.patch(home / "tmp")
    codebuild.patch(home)
    call_metrics.patch()
    embedded_metrics.patch()
    get_metric_data.patch()
    log_events.patch()
    alarms.patch()
    logs_insights.patch()
