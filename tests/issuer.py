"""A local issuer of tokens shaped like GitHub's, with a key of its own that the embedded AWS is told of."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from pathlib import Path
from typing import Any

URL = "https://token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"


class Issuer:
    """Signs with RSA and SHA-256, as GitHub does; everything in a token can be another."""

    def __init__(self, key_id: str = "tests") -> None:
        self.key_id = key_id
        self.n, self.e, self._d = _key()

    @property
    def keys(self) -> dict[str, Any]:
        """What an issuer publishes: a JWKS."""
        n, e = (_encode(number.to_bytes((number.bit_length() + 7) // 8)) for number in (self.n, self.e))
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.key_id, "n": n, "e": e}]}

    def publish(self, home: Path, host: str = URL.removeprefix("https://")) -> None:
        """Make the embedded AWS in ``home`` believe this issuer."""
        (home / "issuers").mkdir(exist_ok=True)
        (home / "issuers" / f"{host}.json").write_text(json.dumps(self.keys))

    def token(self, subject: str, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token for ``subject``; a claim that is None is left out."""
        now = int(time.time())
        content = {"iss": URL, "aud": AUDIENCE, "sub": subject, "iat": now, "nbf": now - 60, "exp": now + 300, **claims}
        content = {name: value for name, value in content.items() if value is not None}
        first = {"alg": "RS256", "typ": "JWT", "kid": self.key_id, **(header or {})}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (first, content))
        return f"{signed}.{_encode(self.sign(signed.encode()))}"

    def sign(self, content: bytes, end: bytes = b"\xff") -> bytes:
        """https://www.rfc-editor.org/rfc/rfc8017#section-8.2.1; another ``end`` of the padding than its own makes it wrong."""
        size = (self.n.bit_length() + 7) // 8
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(content).digest()
        padded = b"\x00\x01" + b"\xff" * (size - len(digest) - 4) + end + b"\x00" + digest
        return pow(int.from_bytes(padded), self._d, self.n).to_bytes(size)


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _key(bits: int = 1024) -> tuple[int, int, int]:
    """Modulus, public and private exponent; short, because it guards nothing and Python makes it."""
    e = 65537
    while True:
        p, q = _prime(bits // 2), _prime(bits // 2)
        if p != q and (p - 1) % e and (q - 1) % e:
            return p * q, e, pow(e, -1, (p - 1) * (q - 1))


def _prime(bits: int) -> int:
    """Prime by 24 rounds of Miller and Rabin: https://csrc.nist.gov/pubs/fips/186-5/final"""
    while True:
        n = secrets.randbits(bits) | (0b11 << (bits - 2)) | 1
        r = ((n - 1) & -(n - 1)).bit_length() - 1
        if all(n % small for small in (3, 5, 7, 11, 13, 17, 19, 23)) and all(_passes(n, r) for _ in range(24)):
            return n


def _passes(n: int, r: int) -> bool:
    x = pow(secrets.randbelow(n - 3) + 2, (n - 1) >> r, n)
    for _ in range(r):
        if x in (1, n - 1):
            return True
        x = pow(x, 2, n)
        if x == n - 1:
            return True
    return False
