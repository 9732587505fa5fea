"""The keys of ``pipeline.toml`` about the address: ``[http]``."""

from __future__ import annotations

from dataclasses import dataclass

from ml_delivery.declaring import key

__all__ = ["Http"]


@dataclass(frozen=True)
class Http:
    """The address at which what is live answers, who may call it there, and which web pages may."""

    front: str = key(
        '"none", or what the target offers: "function-url", "http-api", "load-balancer"',
        default="none",
        pattern=r"[a-z]+(-[a-z]+)*",
    )
    access: str = key('"iam" or "open"', default="iam", choices=("iam", "open"))
    callers: tuple[str, ...] = key(
        'a list of quoted 12-digit accounts, or ARNs of roles and users: ["123456789012"]',
        default=(),
        pattern=r"\d{12}|arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/-]+",
    )
    origins: tuple[str, ...] = key(
        'a list of origins, or "*": ["https://app.example.com"]',
        default=(),
        pattern=r"\*|https?://[^\s/?#*]+",
    )
    domain: str = key('a domain: "api.example.com"', default="", pattern=r"([a-z0-9-]{1,63}\.)+[a-z]{2,63}|")
    certificate: str = key(
        "the ARN of the domain's certificate in ACM, in the service's region",
        default="",
        pattern=r"arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[\w-]+|",
    )
    zone: str = key(
        "the id of the hosted zone of Route 53 that gets the domain's record", default="", pattern=r"Z[A-Z0-9]{1,31}|"
    )
    vpc: str = key("the id of a load balancer's VPC", default="", pattern=r"vpc-([0-9a-f]{8}|[0-9a-f]{17})|")
    subnets: tuple[str, ...] = key(
        "a list of ids of the VPC's subnets, each in another zone",
        default=(),
        pattern=r"subnet-([0-9a-f]{8}|[0-9a-f]{17})",
    )
    scheme: str = key('"internal" or "internet-facing"', default="internal", choices=("internal", "internet-facing"))

    def named(self, *but: str) -> list[str]:
        """The keys of a name or a network that are set, without those in ``but``."""
        own = {"domain": "", "certificate": "", "zone": "", "vpc": "", "subnets": (), "scheme": "internal"}
        return [name for name, default in own.items() if name not in but and getattr(self, name) != default]

    def problems(self, fronts: tuple[str, ...], target: str) -> list[str]:
        """What is wrong with it for ``target``, which offers ``fronts``."""
        found = []
        if self.front not in fronts:
            found.append(f"http.front: {target} has no {self.front!r}; write one of {', '.join(fronts)}")
        if self.front == "none":
            found += [f"http.{name}: there is no front that could have one; write http.front" for name in self.named()]
        if self.access == "open" and self.callers:
            found.append('http.callers: access is "open", so everyone may call it; remove the callers or write "iam"')
        return found
