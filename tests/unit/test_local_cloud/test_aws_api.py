from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.aws_api import identify, render_refusal
from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError


def _environ(service: str, method: str = "POST", path: str = "/", **more: str) -> dict[str, Any]:
    scope = (
        f"AWS4-HMAC-SHA256 Credential=key/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
    return {"HTTP_AUTHORIZATION": scope, "REQUEST_METHOD": method, "PATH_INFO": path, **more}


@pytest.mark.parametrize(
    ("environ", "body", "service", "action", "parameters"),
    [
        (
            _environ("ec2"),
            b"Action=RunInstances&Version=2016-11-15&InstanceType=t3.micro&KeyName=",
            "ec2",
            "RunInstances",
            {"Action": "RunInstances", "Version": "2016-11-15", "InstanceType": "t3.micro", "KeyName": ""},
        ),
        (_environ("iam", QUERY_STRING="Action=GetRole"), b"", "iam", "GetRole", {"Action": "GetRole"}),
        (_environ("ssm", HTTP_X_AMZ_TARGET="AmazonSSM.PutParameter"), b"", "ssm", "PutParameter", {}),
        (
            _environ("elasticfilesystem", "POST", "/2015-02-01/file-systems"),
            b"",
            "elasticfilesystem",
            "CreateFileSystem",
            {},
        ),
        (
            _environ("elasticfilesystem", "DELETE", "/2015-02-01/file-systems/fs-1"),
            b"",
            "elasticfilesystem",
            "DeleteFileSystem",
            {"FileSystemId": "fs-1"},
        ),
        (
            _environ("elasticfilesystem", "GET", "/2015-02-01/mount-targets"),
            b"",
            "elasticfilesystem",
            "DescribeMountTargets",
            {},
        ),
        (_environ("elasticfilesystem", "GET", "/2015-02-01/unheard/of"), b"", "elasticfilesystem", "Get", {}),
        (_environ("s3", "PUT", "/bucket/key"), b"", "s3", "Put", {}),
        ({"REQUEST_METHOD": "GET", "PATH_INFO": "/bucket/key"}, b"", "s3", "Get", {}),
    ],
)
def test_which_call_a_request_is(
    environ: dict[str, Any], body: bytes, service: str, action: str, parameters: dict[str, str]
) -> None:
    call = identify(environ, body)
    assert (call.service, call.action, call.parameters) == (service, action, parameters)
    assert call.region == ("eu-west-1" if "HTTP_AUTHORIZATION" in environ else "us-east-1")


@given(st.dictionaries(st.text("abcAB.1", min_size=1), st.text(), max_size=6))
def test_form_parameters_come_through_unchanged(parameters: dict[str, str]) -> None:
    call = identify(_environ("ec2"), urlencode(parameters).encode())
    assert call.parameters == parameters


@given(st.binary())
def test_no_body_breaks_it(body: bytes) -> None:
    assert identify(_environ("ec2"), body).service == "ec2"


@pytest.mark.parametrize("service", ["ec2", "iam", "s3", "elasticfilesystem", "ssm"])
@pytest.mark.parametrize("message", ["plain", "<&> 'quoted' \"twice\""])
def test_an_error_is_in_the_services_own_form(service: str, message: str) -> None:
    headers, body = render_refusal(AwsCall(service, "Do", "us-east-1"), AwsRefusalError("Some.Code", message))
    assert dict(headers)["x-amzn-ErrorType"] == "Some.Code"
    if service in ("ec2", "iam", "s3"):
        document = ElementTree.fromstring(body)
        assert [each.text for each in document.iter("Code")] == ["Some.Code"]
        assert [each.text for each in document.iter("Message")] == [message]
    else:
        document_values = json.loads(body).values()
        assert message in document_values
        assert "Some.Code" in document_values
