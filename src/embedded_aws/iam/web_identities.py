"""A web identity needs a valid token that its issuer has signed for this audience.

What AWS checks, and how it refuses:
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
ministack checks the trust policy only: not the signature (even ``alg: none`` passes), nor the times, nor that the account
has a provider for issuer and audience, nor the role's maximum session duration. AWS fetches the issuer's keys; here they are
in ``issuers/<host>.json`` (a JWKS) in the emulator's folder, and without that file every token is refused.
A trust policy may require more of GitHub's claims than ``aud`` and ``sub``, which are all that ministack passes on:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any

# The DER prefix of a SHA-256 digest in a PKCS #1 v1.5 signature: https://www.rfc-editor.org/rfc/rfc8017#section-9.2
PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")


GITHUB = "token.actions.githubusercontent.com"
# GitHub's claims that are condition keys.
CLAIMS = (
    "actor",
    "actor_id",
    "enterprise_id",
    "environment",
    "job_workflow_ref",
    "ref",
    "repository",
    "repository_id",
    "workflow",
)


class Refusal(Exception):
    """An error of STS: its code, its message, and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def patch(issuers: Path) -> None:
    """Check the token before the trust policy: as on AWS, errors of the token come first."""
    from ministack.services import iam, sts

    trusted, principal = sts._web_identity_trust_denied, sts._web_identity_principal

    def denied(role_arn: str, params: dict[str, Any], use_json: bool) -> Any:
        account, role = role_arn.split(":")[4], iam._roles.get(role_arn.rsplit("/", 1)[-1])
        providers = {arn: known for arn, known in iam._oidc_providers.items() if f"::{account}:" in arn}
        try:
            check(sts._p(params, "WebIdentityToken"), providers, issuers)
            check_duration(int(sts._p(params, "DurationSeconds") or 3600), role)
        except Refusal as refusal:
            if use_json:
                return sts.error_response_json(refusal.code, str(refusal), refusal.status)
            return sts._error(refusal.status, refusal.code, str(refusal), ns="sts")
        return trusted(role_arn, params, use_json)

    def named(token: str, *words: Any) -> tuple[str, dict[str, Any]]:
        arn, keys = principal(token, *words)
        claims = _parts(token)[1]
        if claims.get("iss") == f"https://{GITHUB}":
            keys |= {f"{GITHUB}:{name}": str(claims[name]) for name in CLAIMS if name in claims}
        return arn, keys

    sts._web_identity_trust_denied, sts._web_identity_principal = denied, named


def check(token: str, providers: dict[str, Any], issuers: Path) -> None:
    """Check ``token`` for an account with these ``providers``.

    Raises:
        Refusal: the token is not valid there.
    """
    header, claims, signed, signature = _parts(token)
    issuer = str(claims.get("iss", ""))
    host = issuer.removeprefix("https://")
    known = next((p for p in providers.values() if p["Url"].rstrip("/") == issuer), None)
    if known is None:
        raise Refusal("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}")
    audiences = claims.get("aud")
    audiences = [audiences] if isinstance(audiences, str) else audiences
    if not isinstance(audiences, list) or not set(audiences) & set(known["ClientIDList"]):
        raise Refusal("InvalidIdentityToken", "Incorrect token audience")
    _verify(header, signed, signature, issuers / f"{host}.json")
    now = time.time()
    for name in ("exp", "iat"):
        if isinstance(claims.get(name), bool) or not isinstance(claims.get(name), int | float):
            raise Refusal("InvalidIdentityToken", f"Missing a required claim: {name}")
    if claims["exp"] <= now:
        raise Refusal(
            "ExpiredTokenException",
            f"Token expired: current date/time {now:.0f} must be before the expiration date/time {claims['exp']:.0f}",
        )
    if max(claims["iat"], claims.get("nbf", 0)) > now + 300:  # seconds that clocks may differ by
        raise Refusal("InvalidIdentityToken", "The ID Token is not yet valid")


def check_duration(seconds: int, role: dict[str, Any] | None) -> None:
    """Check that the role allows a session of ``seconds``.

    Raises:
        Refusal: it does not.
    """
    if role is not None and seconds > int(role.get("MaxSessionDuration", 3600)):
        raise Refusal(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    try:
        first, second, third = token.split(".")
        header, claims = json.loads(_decode(first)), json.loads(_decode(second))
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError
        return header, claims, f"{first}.{second}".encode(), _decode(third)
    except ValueError:
        raise Refusal("InvalidIdentityToken", "The ID Token provided is not a valid JWT.") from None


def _verify(header: dict[str, Any], signed: bytes, signature: bytes, keys: Path) -> None:
    """RS256, the one algorithm that GitHub signs with: https://www.rfc-editor.org/rfc/rfc7518#section-3.3"""
    if header.get("alg") != "RS256":
        raise Refusal("InvalidIdentityToken", f"The algorithm {header.get('alg')!r} is not the issuer's")
    try:
        listed = json.loads(keys.read_text())["keys"]
    except (OSError, ValueError, KeyError):
        message = "Couldn't retrieve verification key from your identity provider, please reference the documentation"
        raise Refusal("InvalidIdentityToken", message) from None
    key = next((k for k in listed if k.get("kid") == header.get("kid") and k.get("kty") == "RSA"), None)
    if key is None:
        raise Refusal("InvalidIdentityToken", "No key of the issuer has the token's key id")
    modulus, exponent = (int.from_bytes(_decode(key[name])) for name in ("n", "e"))
    size = (modulus.bit_length() + 7) // 8
    digest = PREFIX + hashlib.sha256(signed).digest()
    expected = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    given = int.from_bytes(signature)
    if len(signature) != size or given >= modulus or pow(given, exponent, modulus).to_bytes(size) != expected:
        raise Refusal("InvalidIdentityToken", "The token's signature is not its issuer's")


def _decode(text: str) -> bytes:
    """base64url without padding; any other character is an error."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
