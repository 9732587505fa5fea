"""ECR's registry checks rights, and refuses incomplete images.

AWS: every request to the registry needs the password from ``GetAuthorizationToken``, and has the rights of the identity that
got it (https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html); a manifest whose layers are missing is
refused; deleting one of an image's tags keeps the image and its other tags
(https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html). ministack's registry has no access
control, accepts any manifest, deletes the image with any of its tags, and then still serves it by its digest. It also stores
layers in its saved state, which is rewritten after every change; here each layer is a file of its own, written once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

RIGHTS = {
    ("blob_uploads", "POST"): "InitiateLayerUpload",
    ("blob_upload_session", "PATCH"): "UploadLayerPart",
    ("blob_upload_session", "PUT"): "CompleteLayerUpload",
    ("blob", "HEAD"): "BatchCheckLayerAvailability",
    ("blob", "GET"): "GetDownloadUrlForLayer",
    ("manifest", "HEAD"): "BatchGetImage",
    ("manifest", "GET"): "BatchGetImage",
    ("manifest", "PUT"): "PutImage",
}

_tokens: dict[str, str] = {}  # by token: the access key that requested it


def patch(home: Path) -> None:
    """Check the token, the rights and the layers of a request, and store layers as files."""
    from ministack.core import iam_evaluator
    from ministack.core.router import extract_access_key_id
    from ministack.services import ecr

    handle, answer = ecr.handle_request, ecr.handle_registry_request
    put, get_state, restore = ecr._v2_put_manifest, ecr.get_state, ecr._restore_state
    resolve = ecr._resolve_manifest
    delete = ecr._batch_delete_image
    kept = home / "registry"

    async def request(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        status, fields, document = await handle(method, path, headers, body, query)
        if headers.get("x-amz-target", "").endswith(".GetAuthorizationToken") and status == 200:
            token = base64.b64encode(f"AWS:{secrets.token_hex(32)}".encode()).decode()
            _tokens[token] = extract_access_key_id(headers, query)
            found = json.loads(document)
            found["authorizationData"][0]["authorizationToken"] = token
            document = json.dumps(found).encode()
        return status, fields, document

    async def registry(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        given = {name.lower(): value for name, value in headers.items()}.get("authorization", "")
        key = _tokens.get(given.removeprefix("Basic "), "")
        if not key:
            status, fields, document = ecr._registry_error(401, "UNAUTHORIZED", "authentication required", {})
            return status, {**fields, "WWW-Authenticate": 'Basic realm="ecr"'}, document
        verb, name, _ = ecr._parse_v2_path(path) or ("", "", "")
        if right := RIGHTS.get((verb, method.upper())):
            ecr._select_registry_request_scope(name, headers, query)
            where = ecr._repo_arn(name)
            if iam_evaluator.enforce(key, f"ecr:{right}", "ecr", ecr.get_region(), resource_arn=where):
                message = f"not authorized to perform: ecr:{right} on resource: {where}"
                return ecr._registry_error(403, "DENIED", message, {})
        return await answer(method, path, headers, body, query)

    def put_complete(name: str, reference: str, headers: Any, body: bytes) -> Any:
        try:
            named = json.loads(body)
            blobs = [named["config"]["digest"], *(layer["digest"] for layer in named["layers"])]
        except (ValueError, KeyError, TypeError):
            return put(name, reference, headers, body)  # an index, or malformed
        if missing := [digest for digest in blobs if digest not in ecr._layer_blobs.get(name, {})]:
            return ecr._registry_error(400, "MANIFEST_BLOB_UNKNOWN", f"layers not found: {', '.join(missing)}", {})
        return put(name, reference, headers, body)

    def delete_tags_first(data: dict[str, Any]) -> Any:
        """Remove tags from images that have others; ministack deletes the rest."""
        untagged, rest = [], []
        for wanted in data.get("imageIds", []):
            found = ecr._find_image(data.get("repositoryName", ""), wanted)
            if found and "imageDigest" not in wanted and len(found["imageTags"]) > 1:
                found["imageTags"].remove(wanted["imageTag"])
                found["imageId"] = {"imageDigest": found["imageDigest"], "imageTag": found["imageTags"][0]}
                untagged.append({"imageDigest": found["imageDigest"], **wanted})
            else:
                rest.append(wanted)
        status, fields, document = delete({**data, "imageIds": rest})
        answer = json.loads(document)
        if status == 200:
            answer["imageIds"] += untagged
        return status, fields, json.dumps(answer).encode()

    def resolve_existing(name: str, reference: str) -> Any:
        there = any(reference == image["imageDigest"] for image in ecr._images.get(name, []))
        return resolve(name, reference) if there or not reference.startswith("sha256:") else (None, None, None)

    def state() -> dict[str, Any]:
        found: dict[str, Any] = get_state()
        for _, blobs in found["layer_blobs"].all_items():
            for digest, content in blobs.items():
                file = kept / digest.replace(":", "-")
                if not file.exists():
                    kept.mkdir(exist_ok=True)
                    temporary = file.with_suffix(".new")
                    temporary.write_bytes(content)
                    temporary.replace(file)
                blobs[digest] = None
        return found

    def restored(data: dict[str, Any]) -> None:
        restore(data)
        for _, blobs in ecr._layer_blobs.all_items():
            for digest in list(blobs):
                file = kept / digest.replace(":", "-")
                content = file.read_bytes() if file.exists() else b""
                if f"sha256:{hashlib.sha256(content).hexdigest()}" == digest:
                    blobs[digest] = content
                else:
                    del blobs[digest]  # a missing layer is reported, a corrupted one would be served

    for attribute, operation in {
        "handle_request": request,
        "handle_registry_request": registry,
        "_v2_put_manifest": put_complete,
        "_batch_delete_image": delete_tags_first,
        "_resolve_manifest": resolve_existing,
        "get_state": state,
        "_restore_state": restored,
    }.items():
        setattr(ecr, attribute, operation)
