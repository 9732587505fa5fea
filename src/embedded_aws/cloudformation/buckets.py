"""A stack's bucket has the lifecycle rules of its template.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-s3-bucket-lifecycleconfiguration.html
ministack's CloudFormation ignores ``LifecycleConfiguration``; its S3 can store such rules.
"""

from __future__ import annotations

from html import escape
from typing import Any

PROPERTY = "LifecycleConfiguration"
# CloudFormation's short forms, and what S3 calls them.
SHORT = {
    "ExpirationInDays": ("Expiration", "Days"),
    "NoncurrentVersionExpirationInDays": ("NoncurrentVersionExpiration", "NoncurrentDays"),
}


def patch() -> None:
    """Add the property to those that ministack's CloudFormation passes on to its S3."""
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners

    known = provisioners._S3_BUCKET_CONFIGURATIONS
    lifecycle = (PROPERTY, _document, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle)
    provisioners._S3_BUCKET_CONFIGURATIONS = (*known, lifecycle)


def _document(configuration: dict[str, Any]) -> bytes:
    rules = "".join(f"<Rule>{_rule(rule)}</Rule>" for rule in configuration.get("Rules", []))
    return f'<{PROPERTY} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rules}</{PROPERTY}>'.encode()


def _rule(rule: dict[str, Any]) -> str:
    words = {"ID" if name == "Id" else name: value for name, value in rule.items()}
    prefix = words.pop("Prefix", "")
    for name, (section, key) in SHORT.items():
        if name in words:
            words[section] = {key: words.pop(name)}
    return _xml({"Filter": {"Prefix": prefix}, **words})


def _xml(value: Any) -> str:
    if not isinstance(value, dict):
        return escape(str(value).lower() if isinstance(value, bool) else str(value), quote=False)
    return "".join(f"<{name}>{_xml(inner)}</{name}>" for name, inner in value.items())
