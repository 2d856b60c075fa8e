"""Property values as the engine sends them, to and from plain Python values.

Signatures and sentinels: pulumi/sdk/go/common/resource/plugin/rpc.go and sdk/go/common/resource/sig/sig.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import struct_pb2

_SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT_VALUE: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        _UNKNOWN_STRING,
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class Unknown:
    """The type of :data:`UNKNOWN`, a value that is only known once the change was made."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __deepcopy__(self, memo: dict[int, Any]) -> Unknown:
        return self


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """Marks a value as secret towards the engine; values from the engine never carry it."""

    value: Any


def decode(properties: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dictionary. Secrets and outputs are unwrapped, nulls left out, whole numbers become int."""
    return {key: value for key, value in ((k, _decode(v)) for k, v in properties.fields.items()) if value is not None}


def encode(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """A dictionary as a Struct; ``None`` values are left out."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        if value is not None:
            struct.fields[key].CopyFrom(_encode(value))
    return struct


def contains_unknown(value: Any) -> bool:
    """Whether a value is unknown or holds an unknown somewhere inside."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, Mapping):
        return any(contains_unknown(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(contains_unknown(item) for item in value)
    return False


def _decode(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _decode_object(decode(value.struct_value))
    return None


def _decode_object(fields: dict[str, Any]) -> Any:
    signature = fields.get(_SIGNATURE_KEY)
    if signature == _SECRET:
        return fields.get("value")
    if signature == _OUTPUT_VALUE:
        return fields.get("value", UNKNOWN)
    return fields


def _encode(value: Any) -> struct_pb2.Value:
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, Unknown):
        return struct_pb2.Value(string_value=_UNKNOWN_STRING)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, (int, float)):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, Secret):
        return struct_pb2.Value(struct_value=encode({_SIGNATURE_KEY: _SECRET, "value": value.value}))
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=encode(value))
    if isinstance(value, (list, tuple)):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_encode(item) for item in value]))
    raise TypeError(f"cannot send a {type(value).__name__} to the engine")
