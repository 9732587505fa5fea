"""Web identities on the embedded AWS: which tokens are accepted, and why all others are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config as Options
from botocore.exceptions import ClientError
from botocore.session import Session
from emulated import client
from issuer import AUDIENCE, URL, Issuer

from ml_delivery import emulator

SUBJECT = "repo:an-owner/a-repository:ref:refs/heads/main"
HOST = URL.removeprefix("https://")
ISSUER = Issuer()
FORGER = Issuer()  # another key under the same name


def home(running: emulator.Running) -> Path:
    """The embedded AWS's own folder, found by its process."""
    return Path(f"/proc/{running.pid}/cwd").resolve()


@pytest.fixture(scope="module")
def role(running: emulator.Running) -> str:
    """A role that trusts one subject of an issuer that the account knows."""
    iam = client(running, "iam")
    ISSUER.publish(home(running))
    provider = iam.create_open_id_connect_provider(Url=URL, ClientIDList=[AUDIENCE])["OpenIDConnectProviderArn"]
    iam.create_open_id_connect_provider(Url="https://keyless.localhost", ClientIDList=[AUDIENCE])
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{HOST}:aud": AUDIENCE, f"{HOST}:sub": SUBJECT}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn: str = iam.create_role(RoleName="web", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    return arn


def assume(running: emulator.Running, role: str, token: str, seconds: int = 900) -> dict[str, Any]:
    sts = Session().create_client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=running.endpoint,
        config=Options(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )
    answer: dict[str, Any] = sts.assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="tests", WebIdentityToken=token, DurationSeconds=seconds
    )
    return answer


def test_good_token_is_a_session(running: emulator.Running, role: str) -> None:
    """A token of the known issuer, for the right subject, gives credentials of the role."""
    keys = assume(running, role, ISSUER.token(SUBJECT))["Credentials"]
    sts = Session().create_client(
        "sts",
        region_name="eu-west-1",
        endpoint_url=running.endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    assert sts.get_caller_identity()["Arn"].endswith(":assumed-role/web/tests")


def altered(token: str, **claims: Any) -> str:
    """The token with other claims under the old signature."""
    header, content, signature = token.split(".")
    old = json.loads(base64.urlsafe_b64decode(content + "=="))
    new = base64.urlsafe_b64encode(json.dumps({**old, **claims}).encode()).rstrip(b"=").decode()
    return f"{header}.{new}.{signature}"


def confused() -> str:
    """Signed with HMAC, the published key taken for the secret."""
    token = ISSUER.token(SUBJECT, {"alg": "HS256"}).rpartition(".")[0]
    mac = hmac.new(json.dumps(ISSUER.keys).encode(), token.encode(), hashlib.sha256).digest()
    return f"{token}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def padded() -> str:
    """Signed with the issuer's key, but not as PKCS #1 pads: https://www.rfc-editor.org/rfc/rfc8017#section-9.2"""
    token = ISSUER.token(SUBJECT).rpartition(".")[0]
    return f"{token}.{base64.urlsafe_b64encode(ISSUER.sign(token.encode(), end=b'?')).rstrip(b'=').decode()}"


NOW = int(time.time())
BAD: dict[str, tuple[Callable[[], str], str, str]] = {
    "one word": (lambda: "one-word", "InvalidIdentityToken", "not a valid JWT"),
    "two parts": (lambda: ISSUER.token(SUBJECT).rpartition(".")[0], "InvalidIdentityToken", "not a valid JWT"),
    "not base64": (lambda: "?.?.?", "InvalidIdentityToken", "not a valid JWT"),
    "not JSON": (lambda: "YQ.YQ.YQ", "InvalidIdentityToken", "not a valid JWT"),
    "not signed": (lambda: ISSUER.token(SUBJECT, {"alg": "none"}), "InvalidIdentityToken", "algorithm 'none'"),
    "signature cut off": (
        lambda: ISSUER.token(SUBJECT).rpartition(".")[0] + ".",
        "InvalidIdentityToken",
        "signature is not its issuer's",
    ),
    "key taken for a secret": (confused, "InvalidIdentityToken", "algorithm 'HS256'"),
    "padded in another way": (padded, "InvalidIdentityToken", "signature is not its issuer's"),
    "forged": (lambda: FORGER.token(SUBJECT), "InvalidIdentityToken", "signature is not its issuer's"),
    "subject altered": (
        lambda: altered(ISSUER.token("repo:x/y:ref:refs/heads/main"), sub=SUBJECT),
        "InvalidIdentityToken",
        "signature is not its issuer's",
    ),
    "unknown key": (lambda: ISSUER.token(SUBJECT, {"kid": "other"}), "InvalidIdentityToken", "key id"),
    "expired": (lambda: ISSUER.token(SUBJECT, exp=NOW - 1), "ExpiredTokenException", "Token expired"),
    "for ever": (lambda: ISSUER.token(SUBJECT, exp=None), "InvalidIdentityToken", "required claim: exp"),
    "expires at a word": (lambda: ISSUER.token(SUBJECT, exp="never"), "InvalidIdentityToken", "required claim: exp"),
    "never issued": (lambda: ISSUER.token(SUBJECT, iat=None), "InvalidIdentityToken", "required claim: iat"),
    "of tomorrow": (lambda: ISSUER.token(SUBJECT, nbf=NOW + 86400), "InvalidIdentityToken", "not yet valid"),
    "another audience": (lambda: ISSUER.token(SUBJECT, aud="x"), "InvalidIdentityToken", "Incorrect token audience"),
    "no audience": (lambda: ISSUER.token(SUBJECT, aud=None), "InvalidIdentityToken", "Incorrect token audience"),
    "another issuer": (
        lambda: ISSUER.token(SUBJECT, iss="https://evil.localhost"),
        "InvalidIdentityToken",
        "No OpenIDConnect provider found in your account for https://evil.localhost",
    ),
    "issuer without TLS": (
        lambda: ISSUER.token(SUBJECT, iss=f"http://{HOST}"),
        "InvalidIdentityToken",
        "No OpenIDConnect provider found",
    ),
    "issuer without keys": (
        lambda: ISSUER.token(SUBJECT, iss="https://keyless.localhost"),
        "InvalidIdentityToken",
        "Couldn't retrieve verification key",
    ),
    "no issuer": (lambda: ISSUER.token(SUBJECT, iss=None), "InvalidIdentityToken", "No OpenIDConnect provider found"),
    "another branch": (
        lambda: ISSUER.token("repo:an-owner/a-repository:ref:refs/heads/feature"),
        "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    ),
    "no subject": (lambda: ISSUER.token(None), "AccessDenied", "Not authorized"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_bad_token_is_refused(running: emulator.Running, role: str, name: str) -> None:
    """Each is refused with AWS's code and a message that names the cause."""
    make, code, says = BAD[name]
    with pytest.raises(ClientError) as fault:
        assume(running, role, make())
    assert fault.value.response["Error"]["Code"] == code
    assert says in fault.value.response["Error"]["Message"]


def test_claims_of_github_are_condition_keys(running: emulator.Running, role: str) -> None:
    """Those that AWS documents, of GitHub's tokens; a claim that is absent, differs or is no condition key refuses."""
    iam = client(running, "iam")
    wanted = {
        "job_workflow_ref": "o/r/.github/workflows/x.yml@refs/heads/main",
        "repository_id": "345",
        "ref": "refs/heads/main",
    }

    def made(name: str, required: dict[str, str]) -> str:
        conditions = {f"{HOST}:aud": AUDIENCE, **{f"{HOST}:{claim}": value for claim, value in required.items()}}
        statement = {
            "Effect": "Allow",
            "Principal": {"Federated": role.replace("role/web", f"oidc-provider/{HOST}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": conditions},
        }
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"])

    bound = made("bound", wanted)
    assume(running, bound, ISSUER.token(SUBJECT, **wanted))
    for claim in wanted:
        for other in (None, "other", wanted[claim] + "2", wanted[claim].upper() + "X"):
            with pytest.raises(ClientError, match="AccessDenied"):
                assume(running, bound, ISSUER.token(SUBJECT, **{**wanted, claim: other}))
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(running, made("unknown-key", {"workflow_ref": "x"}), ISSUER.token(SUBJECT, workflow_ref="x"))


def test_session_is_as_long_as_the_role_allows(running: emulator.Running, role: str) -> None:
    """A longer session than the role's own limit is refused."""
    with pytest.raises(ClientError, match="exceeds the MaxSessionDuration set for this role"):
        assume(running, role, ISSUER.token(SUBJECT), 3601)


def test_missing_role_is_refused(running: emulator.Running, role: str) -> None:
    """A good token is of no use for an unknown role."""
    with pytest.raises(ClientError, match="AccessDenied"):
        assume(running, role.replace("/web", "/none"), ISSUER.token(SUBJECT))
