"""The tasks of this service; ``invoke --list`` shows them. Add your own below, with ``namespace.add_task(…)``."""

from ml_delivery.tasks import namespace

__all__ = ["namespace"]
