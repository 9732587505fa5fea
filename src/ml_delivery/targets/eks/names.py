"""The names of what the cluster holds for one environment, and the paths by which its API has them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTENT", "ENVIRONMENT", "GATEWAY", "METRICS_PORT", "PORT", "RELEASE", "ROUTE", "SERVICE_ACCOUNT", "Paths"]

PORT, METRICS_PORT = 8080, 9090
SERVICE_ACCOUNT = "service"
GATEWAY = "service"
ROUTE = "live"  # the HTTPRoute of the environment; where there is no Gateway API, its Service
# Labels and annotations of this package.
RELEASE, CONTENT, ENVIRONMENT = "ml-delivery/release", "ml-delivery/content", "ml-delivery/environment"


@dataclass(frozen=True)
class Paths:
    """Paths of the API, in one namespace; an empty ``name`` means the list."""

    namespace: str

    def core(self, kind: str, name: str = "") -> str:
        return _join("/api/v1/namespaces", self.namespace, kind, name)

    def deployments(self, name: str = "") -> str:
        return _join("/apis/apps/v1/namespaces", self.namespace, "deployments", name)

    def routes(self, name: str = "") -> str:
        return _join("/apis/gateway.networking.k8s.io/v1/namespaces", self.namespace, "httproutes", name)

    def group(self, group: str, kind: str, name: str = "") -> str:
        return _join(f"/apis/{group}/namespaces", self.namespace, kind, name)

    def pods(self, release: str) -> str:
        """The pods of a deployed version."""
        return f"{self.core('pods')}?labelSelector=app.kubernetes.io%2Finstance%3D{release}"


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
