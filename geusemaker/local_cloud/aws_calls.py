"""Which call a request to the AWS API is, and how a refusal is written in its service's own protocol."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError

__all__ = ["identify", "render_refusal"]

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_DEFAULT_REGION: Final = "us-east-1"
_QUERY_SERVICES: Final = ("ec2", "iam", "sts", "autoscaling", "elasticloadbalancing", "cloudformation", "sns", "rds")
# https://docs.aws.amazon.com/efs/latest/ug/API_Operations.html
_EFS_ACTIONS: Final = (
    ("POST", r"/file-systems/?", "CreateFileSystem"),
    ("GET", r"/file-systems/?", "DescribeFileSystems"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/?", "UpdateFileSystem"),
    ("DELETE", r"/file-systems/(?P<FileSystemId>[^/]+)/?", "DeleteFileSystem"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/backup-policy/?", "PutBackupPolicy"),
    ("GET", r"/file-systems/(?P<FileSystemId>[^/]+)/backup-policy/?", "DescribeBackupPolicy"),
    ("PUT", r"/file-systems/(?P<FileSystemId>[^/]+)/lifecycle-configuration/?", "PutLifecycleConfiguration"),
    ("GET", r"/file-systems/(?P<FileSystemId>[^/]+)/lifecycle-configuration/?", "DescribeLifecycleConfiguration"),
    ("GET", r"/mount-targets/(?P<MountTargetId>[^/]+)/security-groups/?", "DescribeMountTargetSecurityGroups"),
    ("GET", r"/resource-tags/(?P<ResourceId>[^/]+)/?", "ListTagsForResource"),
    ("POST", r"/mount-targets/?", "CreateMountTarget"),
    ("GET", r"/mount-targets/?", "DescribeMountTargets"),
    ("DELETE", r"/mount-targets/(?P<MountTargetId>[^/]+)/?", "DeleteMountTarget"),
    ("PUT", r"/mount-targets/(?P<MountTargetId>[^/]+)/security-groups/?", "ModifyMountTargetSecurityGroups"),
    ("POST", r"/resource-tags/(?P<ResourceId>[^/]+)/?", "TagResource"),
    ("DELETE", r"/resource-tags/(?P<ResourceId>[^/]+)/?", "UntagResource"),
)


def identify(environ: Mapping[str, Any], body: bytes) -> AwsCall:
    """Which call a request is, by the service in its signature and that service's protocol. Pure."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    service, region = (match["service"], match["region"]) if match else ("s3", _DEFAULT_REGION)
    method, path = environ.get("REQUEST_METHOD", "GET"), environ.get("PATH_INFO", "/")
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return AwsCall(service, target.rpartition(".")[2], region)
    if service in _QUERY_SERVICES:
        text = body.decode(errors="replace") or environ.get("QUERY_STRING", "")
        parameters = dict(parse_qsl(text, keep_blank_values=True))
        return AwsCall(service, parameters.get("Action", "Unknown"), region, parameters)
    if service == "elasticfilesystem":
        rest = re.sub(r"^/2015-02-01", "", path)
        for wanted, pattern, action in _EFS_ACTIONS:
            found = re.fullmatch(pattern, rest)
            if method == wanted and found:
                return AwsCall(service, action, region, found.groupdict())
    # REST services: the method tells whether it changes anything.
    return AwsCall(service, method.title(), region)


def render_refusal(call: AwsCall, refusal: AwsRefusalError) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of an error, in the service's own protocol. Pure but for the request id."""
    request_id = str(uuid.uuid4())
    code, message = refusal.code, refusal.message
    if call.service == "ec2":
        content_type = "text/xml;charset=UTF-8"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    elif call.service in _QUERY_SERVICES:
        content_type = "text/xml"
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    elif call.service == "s3":
        content_type = "application/xml"
        body = (
            f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
            f"<RequestId>{request_id}</RequestId></Error>"
        )
    elif call.service == "elasticfilesystem":
        content_type = "application/json"
        body = json.dumps({"ErrorCode": code, "Message": message})
    else:
        content_type = "application/x-amz-json-1.1"
        body = json.dumps({"__type": code, "message": message})
    headers = [("Content-Type", content_type), ("x-amzn-RequestId", request_id), ("x-amzn-ErrorType", code)]
    return headers, body.encode()
