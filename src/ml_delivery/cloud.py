"""The selected cloud: the embedded one's endpoint and credentials, or AWS's default credentials."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ml_delivery import __version__, masking
from ml_delivery.errors import CloudError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["EXPIRED", "Cloud", "chosen", "code_of"]

CLOUDS = ("embedded", "aws")
QUOTA = ("LimitExceededException", "ResourceLimitExceeded", "ServiceQuotaExceededException")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")


def chosen(name: str) -> str:
    """The name of the selected cloud: ``name``, else ``PIPELINE_CLOUD``, else ``embedded``.

    Raises:
        ConfigError: there is no such cloud.
    """
    name = name or os.environ.get("PIPELINE_CLOUD", "") or "embedded"
    if name not in CLOUDS:
        raise ConfigError("--cloud", [f"{name!r} is not a cloud; write one of {', '.join(CLOUDS)}"])
    return name


def _session(region: str, *, embedded: bool) -> Any:
    """A session of botocore, the core of boto3, which itself takes another quarter of a second and is not needed.

    What this machine configures for AWS, in files and variables, does not reach the embedded one: neither can a profile that
    does not exist stop it, nor a FIPS endpoint. Keys in variables do: those of a role inside it.
    """
    from botocore.session import Session

    if not embedded:
        session = Session()
    else:
        own = {name: (None, None, default, cast) for name, (_, _, default, cast) in Session.SESSION_VARIABLES.items()}
        own |= dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
        session = Session(session_vars=own)
    session.set_config_variable("region", region)
    session.register("before-parse", _refuse_foreign)
    return session


def _refuse_foreign(operation_model: Any, response_dict: dict[str, Any], **_: object) -> None:
    """Refuse what AWS did not answer, which botocore would take for an empty result.

    It is a web page of a proxy or a hotel, or the success of some other server, which has no request id.

    Raises:
        CloudError: it is such an answer. A 5xx is left to botocore, which retries it: AWS's load balancers send some as pages.
    """
    headers, status = response_dict["headers"], response_dict["status_code"]
    page = headers.get("Content-Type", "").startswith("text/html")
    if (page and status < 500) or status < 300:
        if any(name in headers for name in ("x-amzn-requestid", "x-amz-request-id")):  # a page in S3 is an answer
            return
        what = "is a web page" if page else "has no request id"
        raise CloudError(
            f"{operation_model.name}: the answer {what} (HTTP {status}), so it is not from AWS",
            next="check the network and its proxy (HTTPS_PROXY, NO_PROXY), then run this again",
        )


def code_of(error: BaseException) -> str:
    """AWS's error code; empty for an error that did not come from AWS."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


class Cloud:
    """Clients for one account and region.

    Attributes:
        name: ``embedded`` or ``aws``.
        account: 12 digits.
        region: for example ``eu-west-1``.
        notice: what the user should know, for example that the embedded AWS has lost state; usually empty.
    """

    def __init__(
        self, name: str, region: str, account: str, session: Any, endpoint: str = "", notice: str = ""
    ) -> None:
        self.name = name
        self.region = region
        self.account = account
        self.notice = notice
        self._session = session
        self._endpoint = endpoint
        self._clients: dict[tuple[str, int], Any] = {}

    @classmethod
    def open(cls, config: Config, environment: Environment, name: str) -> Cloud:
        """The cloud of ``environment``; the embedded one is started if it is not running.

        Raises:
            ConfigError: there is no such cloud, or the environment has no account.
            CloudError: there are no credentials, or they belong to another account.
            SetupError: the embedded AWS does not start.
        """
        name, region = chosen(name), config.service.region
        if name == "embedded" and (endpoint := os.environ.get("PIPELINE_ENDPOINT", "")):
            cloud = cls(
                name, region, "", _session(region, embedded=True), endpoint
            )  # this runs inside it, with its own role
            with cloud.faults():
                cloud.account = cloud.client("sts").get_caller_identity()["Account"]
            return cloud
        if name == "embedded":
            from ml_delivery import emulator

            running = emulator.up(config.root)
            session = _session(region, embedded=True)
            session.set_credentials(running.access_key, running.secret_key)
            masking.learn(running.secret_key)
            return cls(name, region, running.account, session, running.endpoint, running.notice)
        if not environment.account:
            place = f"environments.{environment.name}.account"
            raise ConfigError("pipeline.toml", [f"{place}: empty; write the quoted 12 digits of its AWS account"])
        cloud = cls(name, region, environment.account, _session(region, embedded=False))
        with cloud.faults():
            account = cloud.client("sts").get_caller_identity()["Account"]
        keys = cloud.variables()
        masking.learn(*(keys.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")))
        if account != environment.account:
            raise CloudError(
                f"the credentials belong to account {account}, but {environment.name} is in {environment.account}",
                next=f"sign in to {environment.account}, or correct environments.{environment.name}.account",
            )
        return cloud

    def client(self, service: str, *, read_timeout: int = 60) -> Any:
        """A botocore client for ``service``, cached; ``read_timeout`` is in seconds."""
        if (service, read_timeout) not in self._clients:
            from botocore.config import Config as Options

            # Fewer retries for the embedded cloud, which either runs or does not.
            options = Options(
                connect_timeout=5,
                read_timeout=read_timeout,
                retries={"mode": "standard", "total_max_attempts": 2 if self._endpoint else 4},
                s3={"addressing_style": "path", "us_east_1_regional_endpoint": "regional"} if self._endpoint else {},
                proxies={} if self._endpoint else None,  # none on the way to loopback, whatever the variables say
                user_agent_extra=f"ml-delivery/{__version__}",
            )
            self._clients[service, read_timeout] = self._session.create_client(
                service, endpoint_url=self._endpoint or None, config=options
            )
        return self._clients[service, read_timeout]

    @property
    def endpoint(self) -> str:
        """Where the embedded cloud answers on loopback; empty for AWS."""
        return self._endpoint if self.name == "embedded" else ""

    def registry(self, uri: str) -> tuple[str, bool]:
        """The host and path that serve an ECR repository's URI, and whether they use TLS."""
        if not self._endpoint:
            return uri, True
        scheme, _, host = self._endpoint.partition("://")
        return f"{host}/{uri.partition('/')[2]}", scheme == "https"

    def variables(self) -> dict[str, str]:
        """The environment variables with which another program uses the same cloud.

        Raises:
            CloudError: there are no credentials.
        """
        found = self._session.get_credentials()
        if found is None:
            raise CloudError("AWS: there are no credentials", next="sign in to AWS, then aws sts get-caller-identity")
        keys = found.get_frozen_credentials()
        named = {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
            "AWS_SESSION_TOKEN": keys.token or "",
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self._endpoint,
        }
        return {name: value for name, value in named.items() if value}

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Convert botocore's errors to ``CloudError``, with the operation, AWS's message and the next command."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            yield
        except ClientError as error:
            code, operation = code_of(error), error.operation_name
            message = error.response.get("Error", {}).get("Message", "no message")
            raise CloudError(f"{operation}: {code}: {message}", next=self._remedy(code)) from error
        except (BotoCoreError, ResponseParserError) as error:
            if self.name == "embedded":
                raise CloudError(
                    f"the embedded AWS stopped answering: {error}", next="invoke cloud.up, then run this again"
                ) from error
            raise CloudError(
                f"AWS: {error}", next="check the network and the credentials (aws sts get-caller-identity)"
            ) from error

    def _remedy(self, code: str) -> str:
        if code in EXPIRED:
            return "invoke cloud.reset" if self.name == "embedded" else "sign in to AWS again"
        if "AccessDenied" in code:
            return "grant your role this permission, or use another role"
        if code in QUOTA:
            return "request a higher quota (AWS Service Quotas), or use less of it, then run this again"
        return ""
