"""A cluster that a kubeconfig names, with IAM's tokens checked in front of it.

Its API server was not started here, and can't be given a webhook. So a process answers at EKS's endpoint: it has each request's
token checked at the same webhook, then passes the request on as the kubeconfig's user, who impersonates whom the token belongs to:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from embedded_aws.kubernetes.api import Api
from embedded_aws.kubernetes.gateway import proxy
from embedded_aws.kubernetes.node import certificates

KIND = ("kind: Config", '"kind": "Config"')
OWN = ("authorization", "impersonate-user", "impersonate-group", "impersonate-uid", "host", "connection")


class Unusable(Exception):
    """The kubeconfig can't be used; the message says why."""


def named_by(source: Path) -> bool:
    """Whether this file is a kubeconfig."""
    with source.open("rb") as opened:
        text = opened.read(1 << 20).decode("latin-1")
    return any(kind in text for kind in KIND)


def read(source: Path, home: Path) -> Api:
    """The cluster of the file's current context, as its user; certificates in the file are written below ``home``.

    Raises:
        Unusable: its user has neither a token nor a certificate, or the file lacks something.
    """
    import yaml

    try:
        document = yaml.safe_load(source.read_text())
        context = _entry(document, "contexts", document["current-context"])["context"]
        cluster = _entry(document, "clusters", context["cluster"])["cluster"]
        user = _entry(document, "users", context["user"])["user"]
        authority = _text(source, cluster, "certificate-authority")
        keys = [_text(source, user, name) for name in ("client-certificate", "client-key")]
        token = user.get("token", "")
        if not token and not all(keys):
            raise Unusable(f"{source}: the user {context['user']} has neither a token nor a client certificate")
    except (KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        raise Unusable(f"{source}: not a complete kubeconfig: {error!r}") from error
    certificate = home / "client.pem"
    if all(keys):
        certificate.touch(0o600)
        certificate.write_text("\n".join(keys))
    return Api(cluster["server"].rstrip("/"), authority, token, str(certificate) if all(keys) else "")


def main() -> None:
    """Answer at the endpoint until standard input is closed, or SIGTERM; the only argument is the cluster's folder."""
    home = Path(sys.argv[1])
    asyncio.run(serve(home, json.loads((home / "options.json").read_text())))


async def serve(home: Path, options: dict[str, Any]) -> None:
    """Answer at ``port`` of ``options`` for the cluster of the kubeconfig ``source``, and print when that is ready."""
    upstream = read(Path(options["source"]), home)
    keys = home / "files" / "keys"
    certificates.ensure(keys, "front", ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "api.crt", keys / "api.key")
    there = urlsplit(upstream.endpoint)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, ValueError):
            if (head := await proxy.read_head(reader)) is None:
                return
            line, headers = head
            token = {name.lower(): value for name, value in headers}.get("authorization", "").removeprefix("Bearer ")
            user = await asyncio.to_thread(_review, options["webhook"], token)
            if user is None:
                return await _refuse(writer)
            there_reader, there_writer = await asyncio.open_connection(
                there.hostname, there.port or 443, ssl=upstream.context(), limit=proxy.HEAD_BYTES
            )
            with contextlib.closing(there_writer):
                upgrading = any(name.lower() == "upgrade" for name, _ in headers)
                as_user = [("Impersonate-User", user["username"])]
                as_user += [("Impersonate-Group", group) for group in user.get("groups", [])]
                own = [
                    ("Host", there.netloc),
                    ("Connection", "Upgrade" if upgrading else "close"),
                    *upstream.headers().items(),
                ]
                kept = [(name, value) for name, value in headers if name.lower() not in OWN]
                there_writer.write(proxy.head_of(line, [*kept, *own, *as_user]))
                sending = asyncio.create_task(proxy.copy(reader, there_writer, None))
                try:
                    await proxy.copy(there_reader, writer, None)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)

    server = await asyncio.start_server(answer, "127.0.0.1", options["port"], ssl=context, limit=proxy.HEAD_BYTES)
    print(json.dumps({"ready": {"authority": base64.b64encode((keys / "ca.crt").read_bytes()).decode()}}), flush=True)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)  # closed, as the kernel does when the emulator ends
    await stop.wait()
    server.close()


def _review(webhook: str, token: str) -> dict[str, Any] | None:
    """Whom ``token`` belongs to; None if it is not valid: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication"""
    address = urlsplit(webhook)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    try:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        connection.request("POST", address.path, json.dumps(review), {"Content-Type": "application/json"})
        status = json.loads(connection.getresponse().read()).get("status", {})
    finally:
        connection.close()
    found: dict[str, Any] | None = status.get("user") if status.get("authenticated") else None
    return found


async def _refuse(writer: asyncio.StreamWriter) -> None:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "Unauthorized"}
    body = json.dumps({**status, "reason": "Unauthorized", "code": 401}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    writer.write(proxy.head_of("HTTP/1.1 401 Unauthorized", headers) + body)
    await writer.drain()


def _entry(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    return next(entry for entry in document[kind] if entry["name"] == name)


def _text(source: Path, holder: dict[str, Any], name: str) -> str:
    """What ``name`` holds, in the file itself or in one that it names; empty if there is none."""
    if data := holder.get(f"{name}-data"):
        return base64.b64decode(data).decode()
    return (source.parent / holder[name]).read_text() if holder.get(name) else ""
