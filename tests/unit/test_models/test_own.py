"""Services of an operator's own: what can be asked for, and that nothing else can."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnProbe, OwnService, OwnVolume, check_needs, describe_own
from geusemaker.models.stack import ServiceConfig, StackConfig
from tests.unit.samples import config

REDIS = ImageReference.parse("redis:7.4")


def own(**values: Any) -> OwnService:
    return OwnService.model_validate(values)


def with_services(**services: OwnService) -> StackConfig:
    document = config().to_json()
    for name, service in services.items():
        document["services"][name] = ServiceConfig(image=REDIS, own=service).model_dump(mode="json")
    return StackConfig.model_validate(document)


def test_short_forms_are_read_and_only_what_was_said_is_stored() -> None:
    service = own(command="redis-server --save '60 1'", ports=[8080, "3000:80"], volumes=["data:/data/"])
    assert service.command == ("redis-server", "--save", "60 1")
    assert service.published == [(8080, 8080), (3000, 80)]
    assert service.volumes == (OwnVolume(folder="data", path="/data"),)
    stored = service.model_dump(mode="json")
    assert stored.keys() == {"command", "ports", "volumes"}
    assert OwnService.model_validate(stored) == service
    assert own().model_dump(mode="json") == {}


def test_a_service_of_the_catalogue_is_stored_as_before() -> None:
    assert "own" not in ServiceConfig(image=REDIS).model_dump(mode="json")


@pytest.mark.parametrize(
    "volume",
    [
        "/etc:/data",
        "../n8n:/data",
        "a/../../n8n:/data",
        "..:/data",
        ".:/data",
        "a/b:/data",
        ":/data",
        "data",
        "data:",
        "data:data",
        "data:/",
        "data:/a/../..",
        "data://x",
        "data:/proc",
        "data:/sys/fs",
        "data:/dev/shm",
        "data:/data:ro",
        "data:/$HOME",
        "data:/${GEUSEMAKER_INSTANCE_ROOT}",
        "data:/a b",
        "data:/var/run/../../proc",
        {"folder": "${X}", "path": "/data"},
        {"folder": "x\n", "path": "/d"},
    ],
)
def test_no_folder_but_one_below_its_own_can_be_mounted(volume: Any) -> None:
    with pytest.raises(ValidationError):
        own(volumes=[volume])


@pytest.mark.parametrize(
    "asked",
    [
        {"privileged": True},
        {"network_mode": "host"},
        {"devices": ["/dev/kvm"]},
        {"cap_add": ["ALL"]},
        {"pid": "host"},
        {"ports": ["0.0.0.0:80:80"]},
        {"ports": [80]},
        {"ports": ["22:22"]},
        {"ports": [70000]},
        {"ports": ["8080/udp"]},
        {"ports": [True]},
        {"ports": [8080, "8080:81"]},
        {"volumes": ["a:/x", "a:/y"]},
        {"volumes": ["a:/x", "b:/x"]},
        {"probe": {"kind": "http"}},
        {"probe": {"kind": "tcp", "port": 81}, "ports": [8080]},
        {"probe": {"kind": "command"}},
        {"probe": {"kind": "tcp", "command": "true"}, "ports": [8080]},
        {"probe": {"kind": "http", "path": "a b"}, "ports": [8080]},
        {"command": "a 'b"},
        {"memory_share": 0},
    ],
)
def test_what_there_is_no_field_for_or_makes_no_sense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        own(**asked)


@pytest.mark.parametrize(
    ("service", "probe"),
    [
        (own(), {"kind": "running", "port": 0}),
        (own(ports=[8080]), {"kind": "running", "port": 8080}),
        (
            own(ports=["3000:80", 9000], probe=OwnProbe(kind="http", port=80)),
            {"kind": "http", "path": "/", "port": 3000},
        ),
        (own(ports=["3000:80", 9000], probe=OwnProbe(kind="tcp", port=9000)), {"kind": "tcp", "port": 9000}),
        (own(probe={"kind": "command", "command": "a b"}), {"kind": "command", "command": ["a", "b"], "port": 0}),
    ],
)
def test_it_is_asked_where_it_is_published(service: OwnService, probe: dict[str, Any]) -> None:
    assert describe_own(service, "redis", REDIS).probe({}) == probe


def test_what_it_is_is_told_without_secrets() -> None:
    service = own(
        command="redis-server --requirepass hunter2",
        ports=[6380],
        volumes=[OwnVolume(folder="d", path="/d", storage="volume")],
        probe={"kind": "http", "port": 6380},
        uid=999,
        needs=["n8n"],
        stop_seconds=5,
    )
    assert service.told == {
        "command": "(secret)",
        "ports": "6380:6380",
        "volumes": "d:/d on the data volume",
        "uid": "999",
        "probe": "http / at port 6380",
        "memory_share": "1",
        "needs": "n8n",
        "stop_seconds": "5",
    }


def test_needs_are_there_and_without_circles() -> None:
    check_needs({"a": ("b", "c"), "b": ("c",), "c": ()})
    with pytest.raises(ValueError, match="a needs x"):
        check_needs({"a": ("x",)})
    with pytest.raises(ValueError, match="a and b need each other"):
        check_needs({"a": ("b",), "b": ("a",), "c": ()})
    with pytest.raises(ValidationError, match="in a circle"):
        with_services(a=own(needs=["a"]))
    assert with_services(a=own(needs=["n8n"])).needs("a") == ("n8n",)


def test_two_services_do_not_publish_one_port() -> None:
    with pytest.raises(ValidationError, match="a and b both publish port 7000"):
        with_services(a=own(ports=[7000]), b=own(ports=["7000:80"]))


def test_a_name_that_nothing_is_said_of_is_no_service() -> None:
    document = config().to_json()
    document["services"]["redis"] = {"image": "redis:7.4"}
    with pytest.raises(ValidationError, match="nothing says what it is"):
        StackConfig.model_validate(document)
