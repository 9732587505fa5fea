"""The cluster's API over HTTPS, as the signed-in AWS identity: https://kubernetes.io/docs/reference/using-api/api-concepts/.

The standard library's client suffices for the few requests here; the cluster's own takes seconds to import.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from ml_delivery import masking
from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_delivery.cloud import Cloud

__all__ = ["MANAGER", "Client", "Rejected", "Tree", "lowered", "open_client", "token"]

# A JSON document: an object of the cluster, or a part of one.
Tree = dict[str, Any]
# Owns the fields that this pipeline sets: https://kubernetes.io/docs/reference/using-api/server-side-apply/
MANAGER = "ml-delivery"
# EKS accepts a token for 15 minutes, and its URL's signature for 60 s at least.
TOKEN_SECONDS = 600
# For how long an API server that doesn't answer is asked again; one that restarts takes a while.
PATIENCE = 45.0
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Reply:
    """A response, undecoded."""

    status: int
    body: bytes

    @property
    def document(self) -> Tree:
        """Its JSON object; empty for anything else."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Rejected(CloudError):
    """The API server refused a request.

    Attributes:
        status: HTTP's.
        reason: the server's code for it, such as ``Conflict``.
    """

    def __init__(self, status: int, reason: str, message: str, next: str = "") -> None:
        self.status, self.reason = status, reason
        super().__init__(message, next)


def token(cloud: Cloud, cluster: str) -> str:
    """A token for ``cluster``: a signed request to STS that names the cluster, without its ``https://``, as EKS defines it.

    https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    keys = cloud.variables()
    signer = SigV4QueryAuth(
        Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys.get("AWS_SESSION_TOKEN")),
        "sts",
        cloud.region,
        expires=60,
    )
    asked = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"})
    # The URL is for EKS alone, which sends it to STS; the emulator's cluster takes the same one.
    request = AWSRequest("GET", f"https://sts.{cloud.region}.amazonaws.com/?{asked}", headers={"x-k8s-aws-id": cluster})
    signer.add_auth(request)
    made = "k8s-aws-v1." + base64.urlsafe_b64encode(request.url.encode()).decode().rstrip("=")
    masking.learn(made)
    return made


def open_client(cloud: Cloud, cluster: str, where: str) -> Client:
    """The client of an EKS cluster.

    Raises:
        CloudError: there is no such cluster, or it is not active.
    """
    with cloud.faults():
        try:
            found = cloud.client("eks").describe_cluster(name=cluster)["cluster"]
        except Exception as error:
            if code_of(error) != "ResourceNotFoundException":
                raise
            raise CloudError(
                f"there is no EKS cluster {cluster} in {cloud.region}",
                next=f"correct function.cluster in pipeline.toml, or create the cluster; then invoke bootstrap {where}",
            ) from error
    if found["status"] not in ("ACTIVE", "UPDATING"):
        raise CloudError(
            f"the EKS cluster {cluster} is {found['status']}", next="wait until it is ACTIVE, then run this again"
        )
    authority = base64.b64decode(found["certificateAuthority"]["data"]).decode()
    return Client(cloud, cluster, found["endpoint"], authority, where)


class Client:
    """Requests to one cluster, over one connection.

    Attributes:
        where: the options by which a command reaches the environment, such as ``--branch main --cloud aws``.
        forwards: whether pods were found to be reached by port forwarding only.
    """

    def __init__(self, cloud: Cloud, cluster: str, endpoint: str, authority: str, where: str) -> None:
        self.where, self.forwards = where, False
        self._cloud, self._cluster, self._endpoint = cloud, cluster, urlsplit(endpoint)
        self._tls = ssl.create_default_context(cadata=authority)
        self._connection: http.client.HTTPSConnection | None = None
        self._token, self._until = "", 0.0

    # -- objects

    def get(self, path: str) -> Tree | None:
        """The object or list at ``path``; None if it does not exist.

        Raises:
            CloudError: the cluster refused or does not answer.
        """
        reply = self.send("GET", path)
        return None if reply.status == 404 else self.checked("GET", path, reply)

    def items(self, path: str) -> list[Tree]:
        """The objects of the list at ``path``; none if there is no such kind or namespace. Errors as ``get``."""
        found = self.get(path)
        return list(found["items"] or []) if found else []

    def apply(self, path: str, content: Tree) -> Tree:
        """Make the object at ``path`` hold ``content``, field by field, by server-side apply; other fields stay.

        Raises:
            Rejected: with reason ``Conflict`` if a field is managed by something else, which the message names.
            CloudError: as ``get``.
        """
        return self.write("PATCH", f"{path}?fieldManager={MANAGER}", content, APPLY)

    def patch(self, path: str, operations: list[Tree]) -> Tree:
        """Change an object by a JSON patch, all of it or nothing; a ``test`` that fails is a ``Rejected`` with status 422."""
        return self.write("PATCH", f"{path}?fieldManager={MANAGER}", operations, "application/json-patch+json")

    def scale(self, path: str, replicas: int) -> None:
        """Set the number of replicas of a Deployment."""
        self.write("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")

    def delete(self, path: str, uid: str = "") -> None:
        """Delete an object with what it owns, if it is still the one with this ``uid``; it may not exist."""
        options: Tree = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        reply = self.send("DELETE", path, json.dumps(options).encode())
        if reply.status not in (404, 409):
            self.checked("DELETE", path, reply)

    def write(self, method: str, path: str, content: object, kind: str = "application/json") -> Tree:
        """Send ``content``, and return the object that it led to.

        Raises:
            Rejected: the cluster refused it.
        """
        return self.checked(method, path, self.send(method, path, json.dumps(content).encode(), kind))

    # -- requests

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        seconds: float = 30.0,
        patience: float = PATIENCE,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The response to one request, whatever its status; repeated while the API server doesn't answer or is overloaded.

        A request that changes something is conditional or idempotent here, so it may be repeated as well.

        Raises:
            CloudError: it did not answer for ``patience`` seconds.
        """
        end, pause = time.monotonic() + patience, 0.1
        wanted = {"accept": "*/*", "content-type": kind} | lowered(headers)
        while True:
            try:
                reply = self._once(method, path, body, wanted, seconds)
                if reply.status not in (429, 500, 504) or not _overloaded(reply) or time.monotonic() > end:
                    return reply
            except (OSError, http.client.HTTPException) as error:
                self._connection = None
                if isinstance(error, ssl.SSLCertVerificationError) or time.monotonic() > end:
                    raise self._silent(error) from error
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def upgrade(
        self, path: str, protocol: str, seconds: float
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        """A WebSocket at ``path``, on a connection of its own, which the caller closes; and the response that opened it.

        Raises:
            CloudError: the cluster refused it, or does not answer.
        """
        connection = self._connect(seconds)
        try:
            headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            headers |= {
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                "Sec-WebSocket-Protocol": protocol,
            }
            own = {"Authorization": f"Bearer {self._fresh()}", "User-Agent": MANAGER}
            connection.request("GET", self._endpoint.path.rstrip("/") + path, headers={**headers, **own})
            answer = connection.getresponse()
            if answer.status != 101:
                self.checked("GET", path, Reply(max(answer.status, 400), answer.read()))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._silent(error) from error
        except CloudError:
            connection.close()
            raise
        return connection, answer

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        host, port = self._endpoint.hostname or "", self._endpoint.port or 443
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls)

    def _silent(self, error: Exception) -> CloudError:
        return CloudError(
            f"the API server of {self._cluster} at {self._endpoint.netloc} does not answer: {error}",
            next=f"check the network and the cluster's endpoint access, then invoke status {self.where}",
        )

    def _once(self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Reply:
        if self._connection is None:
            self._connection = self._connect(seconds)
        self._connection.timeout = seconds
        if self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
        own = {
            "authorization": f"Bearer {self._fresh()}",
            "user-agent": MANAGER,
        }  # the proxy passes on all but the first
        self._connection.request(method, self._endpoint.path.rstrip("/") + path, body, headers | own)
        answer = self._connection.getresponse()
        return Reply(answer.status, answer.read())

    def _fresh(self) -> str:
        if time.monotonic() > self._until:
            self._token, self._until = token(self._cloud, self._cluster), time.monotonic() + TOKEN_SECONDS
        return self._token

    def checked(self, method: str, path: str, reply: Reply) -> Tree:
        """The object in a response.

        Raises:
            Rejected: it is a refusal.
        """
        found = reply.document
        if reply.status < 400:
            return found
        reason = str(found.get("reason", ""))
        message = str(found.get("message", "")) or reply.body.decode("utf-8", "replace")[:300]
        plain, bootstrap = path.partition("?")[0], f"invoke bootstrap {self.where}"
        if reply.status == 403 and message.endswith("is forbidden: "):  # of an apply that would create the object
            message += f'cannot create resource "{found.get("details", {}).get("kind", "")}"'
        if reply.status == 401:
            message = f"the EKS cluster {self._cluster} accepts no access entry for the signed-in identity"
        elif reply.status == 403 and "cannot" in message:
            bootstrap = f"{bootstrap}, which updates the role's rights in the cluster"
        elif reply.status == 403 and message.endswith("because it is being terminated"):  # of the namespace
            bootstrap = f"kubectl get namespaces, until it is gone; then {bootstrap}"
        elif reply.status == 404 and found.get("details", {}).get("kind") == "namespaces":
            message = f"{message} in the EKS cluster {self._cluster}"
        else:
            bootstrap = ""
        raise Rejected(reply.status, reason, f"{method} {plain}: {message}", next=bootstrap)


def lowered(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers by their names in lower case, so that none is sent twice: gunicorn answers 400 to that."""
    return {name.lower(): value for name, value in (headers or {}).items()}


def _overloaded(reply: Reply) -> bool:
    """Whether the API server itself asks to be asked again; a service behind its proxy may answer the same status."""
    return reply.document.get("kind") == "Status" and bool(reply.document.get("details", {}).get("retryAfterSeconds"))
