"""S3: names of buckets, keys, metadata, tags, parts and policies that it refuses.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html and …/UsingMetadata.html
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
ministack accepts all of these.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

KEY, METADATA, KEYS, PART, POLICY = 1024, 2048, 1000, 5 * 2**20, 20 * 1024
TAG_KEY, TAG_VALUE = 128, 256
RESERVED = re.compile(r"(xn--|sthree-|amzn-s3-demo-).*|.*(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)")
PART_NUMBER = re.compile(r"<PartNumber>\s*(\d+)\s*</PartNumber>")


def patch() -> None:
    """Check each request, however it reaches S3."""
    from ministack.services import s3

    handle = s3.handle_request

    async def checked(method: str, path: str, headers: Any, body: bytes, query: Any, *rest: Any, **more: Any) -> Any:
        if refusal := _refusal(s3, method, path, headers, body, query):
            code, message = refusal
            return s3._error(code, message, 400, path)
        return await handle(method, path, headers, body, query, *rest, **more)

    s3.handle_request = checked


def _refusal(s3: Any, method: str, path: str, headers: Any, body: bytes, query: Any) -> tuple[str, str] | None:
    bucket, key = s3._parse_bucket_key(unquote(path), headers)
    if method == "PUT" and not key and not query and RESERVED.fullmatch(bucket):
        return "InvalidBucketName", "The specified bucket is not valid."
    if len(key.encode("utf-8", "surrogatepass")) > KEY:
        return "KeyTooLongError", "Your key is too long"
    own = {name[len("x-amz-meta-") :]: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    if sum(len(name.encode()) + len(value.encode()) for name, value in own.items()) > METADATA:
        return "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size"
    if method == "POST" and "delete" in query and body.count(b"<Object>") > KEYS:
        return (
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    if method == "PUT" and "policy" in query and len(body) > POLICY:
        return "PolicyTooLarge", "Policy exceeds the maximum allowed document size."
    if method == "PUT" and "tagging" in query:
        return _tags(body)
    if method == "POST" and "uploadId" in query:
        return _parts(s3, query, body)
    return None


def _tags(body: bytes) -> tuple[str, str] | None:
    for name, most in (("Key", TAG_KEY), ("Value", TAG_VALUE)):
        found = re.findall(rf"<{name}>(.*?)</{name}>", body.decode("utf-8", "replace"), re.S)
        if any(len(text) > most for text in found):
            return "InvalidTag", f"The Tag{name} you have provided is too long"
    return None


def _parts(s3: Any, query: Any, body: bytes) -> tuple[str, str] | None:
    """The error for a part that is too small, of those that an upload is completed with."""
    given = query["uploadId"]
    upload = s3._multipart_uploads.get(given[0] if isinstance(given, list) else given) or {}
    parts = upload.get("parts", {})
    numbers = sorted(map(int, PART_NUMBER.findall(body.decode("utf-8", "replace"))))
    sizes = [len(parts[number].get("body", b"")) for number in numbers[:-1] if number in parts]
    if any(size < PART for size in sizes):
        return "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"
    return None
