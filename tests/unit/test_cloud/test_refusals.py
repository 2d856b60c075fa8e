"""AWS's usual refusals, from where they are told: boto3's errors and the lines of the engine's providers."""

from __future__ import annotations

import pytest

from geusemaker.cloud.refusals import _SAME, _TABLE, find_refusal, refusal_of, told

LINES = [
    (
        "updating EC2 Instance (i-1): starting EC2 Instance: operation error EC2: StartInstances, https response error "
        "StatusCode: 500, RequestID: 1-2, api error InsufficientInstanceCapacity: We currently do not have sufficient "
        "t3.xlarge capacity in the Availability Zone you requested.",
        "InsufficientInstanceCapacity",
    ),
    (
        "creating EC2 Instance: operation error EC2: RunInstances, https response error StatusCode: 400, api error "
        "VcpuLimitExceeded: You have requested more vCPU capacity than your current vCPU limit of 0 allows",
        "VcpuLimitExceeded",
    ),
    ("An error occurred (UnauthorizedOperation) when calling the RunInstances operation: You are not", "AccessDenied"),
    ("api error InvalidAMIID.NotFound: The image id '[ami-1]' does not exist", "InvalidAMIID.NotFound"),
    ("error: api error ExpiredToken: The security token included in the request is expired", "ExpiredToken"),
    ("VolumeModificationRateExceeded: wait 6 hours", "VolumeModificationRateExceeded"),
]


@pytest.mark.parametrize(("line", "code"), LINES)
def test_a_code_is_found_where_providers_tell_it(line: str, code: str) -> None:
    found = find_refusal(["updating failed", line])
    assert found is not None and found.code == code
    sentence = told(found, [line])
    assert f"({code})" in sentence and sentence.endswith(".") and sentence.count(". ") == 0 and found.next_step


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Unsupported characters in the name",
        "n8n exited: AccessDenied by the proxy",
        'Process exited with status 1: running "python3"',
        "NotInsufficientInstanceCapacity: no code of AWS",
    ],
)
def test_words_that_are_no_codes_are_left_alone(line: str) -> None:
    assert find_refusal([line]) is None


def test_a_missing_permission_is_named() -> None:
    line = "User: arn:aws:iam::1:user/a is not authorized to perform: elasticfilesystem:CreateFileSystem on resource"
    found = refusal_of("AccessDeniedException")
    assert found is not None
    assert told(found, [line]) == "The credentials may not do this: elasticfilesystem:CreateFileSystem (AccessDenied)."
    assert told(found, ["call RunInstances"]) == "The credentials may not do this: RunInstances (AccessDenied)."
    assert told(found, []) == "The credentials may not do this (AccessDenied)."


def test_the_table_is_made_of_sentences() -> None:
    assert set(_SAME.values()) <= set(_TABLE) and not set(_SAME) & set(_TABLE)
    for sentence, next_step in _TABLE.values():
        assert sentence[0].isupper() and not sentence.endswith(".")
        assert next_step.lstrip("`")[0].isalpha() and not next_step.endswith(".")
    assert refusal_of("SomethingElse") is None
