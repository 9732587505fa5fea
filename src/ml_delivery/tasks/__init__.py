"""What ``invoke`` runs: options, order, printing and exit codes; the work itself is in the modules next to this package.

pipelines       several stages as one pipeline, and answers to a file of requests
account, artifacts, cloud, experiments, jobs, models, monitor, package, releases, reports, service, upgrade  the tasks, by subject
findings        the sentences of `doctor`'s findings
reporting       notifications of how a build, deploy or rollback ended
base            what every task has in common: errors end as one message and an exit code
typed           explains what invoke could not parse
console         what is printed

Nothing but the standard library, invoke and the error tree is imported before a task runs, so that listing them is
instant.
"""

import atexit
import gc

from invoke import Collection

from ml_delivery.tasks import (
    account,
    artifacts,
    cloud,
    console,
    experiments,
    jobs,
    models,
    monitor,
    package,
    pipelines,
    releases,
    reports,
    service,
    typed,
    upgrade,
)

__all__ = ["namespace"]

typed.explain()
console.end_at_a_closed_pipe()

# Most of what a command loads lives as long as it does: searching that for cycles, again and again while it is loaded and once
# more at the end, is a third of the processor time of a deploy.
gc.set_threshold(10_000)
atexit.register(gc.freeze)

namespace = Collection(
    jobs.prepare,
    jobs.tune,
    models.train,
    models.evaluate,
    models.promote,
    jobs.register,
    pipelines.pipeline,
    pipelines.batch,
    artifacts.build,
    artifacts.push,
    releases.plan,
    releases.deploy,
    releases.ship,
    releases.rollback,
    releases.retire,
    releases.unlock,
    experiments.ab,
    account.bootstrap,
    account.doctor,
    package.eject,
    upgrade.upgrade,
    monitor.monitor,
    monitor.report,
    service.call,
    service.serve,
    service.shell,
    reports.status,
    reports.releases,
    reports.logs,
    reports.verify,
    reports.config,
    Collection("cloud", cloud.up, cloud.down, cloud.cloud_status, cloud.reset, cloud.parity),
)
