"""Actions on a service: ``invoke --list`` shows them, ``invoke --help TASK`` explains one; they lie in ``pipeline/tasks``."""

from invoke import Collection

from pipeline.tasks import account, artifacts, cloud, models, monitor, releases, reports

namespace = Collection(
    models.train,
    models.evaluate,
    models.promote,
    artifacts.build,
    artifacts.push,
    releases.plan,
    releases.deploy,
    releases.rollback,
    releases.unlock,
    account.bootstrap,
    account.doctor,
    monitor.monitor,
    monitor.report,
    reports.call,
    reports.status,
    reports.releases,
    reports.logs,
    reports.verify,
    reports.config,
    Collection("cloud", cloud.up, cloud.down, cloud.cloud_status, cloud.reset),
)
