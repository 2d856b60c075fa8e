"""Property values to and from the engine's form."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.providers.wire import UNKNOWN, Secret, contains_unknown, decode, encode

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"

scalars = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.text(), st.just(UNKNOWN))
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4))
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_what_is_encoded_is_decoded_to_the_same(properties: dict[str, Any]) -> None:
    assert decode(encode(properties)) == properties


def test_every_kind_of_unknown_is_recognised() -> None:
    sent = json_format.ParseDict(
        {
            "bool": "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
            "list": ["6a19a0b0-7e62-4c92-b797-7f8e31da9cc2"],
            "nested": {"number": "3eeb2bf0-c639-47a8-9e75-3b44932eb421"},
        },
        struct_pb2.Struct(),
    )
    assert decode(sent) == {"bool": UNKNOWN, "list": [UNKNOWN], "nested": {"number": UNKNOWN}}


def test_secrets_are_marked_on_the_way_out_and_unwrapped_on_the_way_in() -> None:
    sent = encode({"password": Secret({"value": "hush"})})
    assert json_format.MessageToDict(sent) == {"password": {SIGNATURE: SECRET, "value": {"value": "hush"}}}
    assert decode(sent) == {"password": {"value": "hush"}}


def test_nulls_are_left_out_and_whole_numbers_are_integers() -> None:
    sent = json_format.ParseDict({"none": None, "port": 22.0, "share": 0.5}, struct_pb2.Struct())
    found = decode(sent)
    assert found == {"port": 22, "share": 0.5}
    assert type(found["port"]) is int


def test_an_unknown_is_found_inside() -> None:
    assert contains_unknown({"a": [{"b": UNKNOWN}]})
    assert not contains_unknown({"a": [{"b": "c"}]})
