"""The cluster's keys and certificates, made once by ``openssl`` and kept beside its state.

https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DAYS = "3650"
# By user: the name that RBAC knows it by, and its groups.
# https://kubernetes.io/docs/reference/access-authn-authz/rbac/#core-component-roles
USERS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": ("system:node:{node}", "system:nodes"),
}


def ensure(folder: Path, node: str, addresses: list[str]) -> None:
    """Make, unless they exist: ``ca``, ``api``, ``kubelet`` and ``api-client``, each ``.key`` and ``.crt``;
    ``accounts.key``, which signs the tokens of service accounts; a token for each of ``USERS``, and ``tokens.csv``.
    """
    if (folder / "tokens.csv").exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _key(folder, "ca")
    _openssl(
        folder, "req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=kubernetes", "-days", DAYS, "-out", "ca.crt"
    )
    names = ",".join(["DNS:localhost", "DNS:kubernetes.default.svc", *(f"IP:{address}" for address in addresses)])
    _certificate(folder, "api", "/CN=kube-apiserver", f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    _certificate(folder, "kubelet", f"/CN={node}", f"subjectAltName={names},DNS:{node}\nextendedKeyUsage=serverAuth\n")
    _certificate(folder, "api-client", "/O=system:masters/CN=kube-apiserver", "extendedKeyUsage=clientAuth\n")
    _key(folder, "accounts")
    rows = []
    for user, (name, group) in USERS.items():
        token = secrets.token_urlsafe(32)
        (folder / f"{user}.token").write_text(token)
        rows.append(f'{token},{name.format(node=node)},{user},"{group}"\n')
    (folder / "tokens.csv").write_text("".join(rows))  # last: it marks that all are complete


def kubeconfig(folder: Path, user: str, server: str) -> Mapping[str, object]:
    """The document by which a server of the cluster reaches the API as ``user``."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server, "certificate-authority": str(folder / "ca.crt")}}],
        "users": [{"name": user, "user": {"token": (folder / f"{user}.token").read_text()}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": user}}],
        "current-context": "here",
    }


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{name}.key")


def _certificate(folder: Path, name: str, subject: str, extensions: str) -> None:
    _key(folder, name)
    (folder / f"{name}.ext").write_text(extensions)
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    out = ("-days", DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signer, *out)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
