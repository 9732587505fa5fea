"""Actions on this service: ``invoke --list`` shows them. Add your own below: ``namespace.add_task(…)``."""

from ml_delivery.tasks import namespace

__all__ = ["namespace"]
