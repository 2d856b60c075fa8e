"""Checked inputs of commands."""

from __future__ import annotations

from geusemaker.local_cloud.providers.command.provider import check
from geusemaker.local_cloud.providers.wire import UNKNOWN, Secret


def test_a_connection_gets_defaults_and_is_secret() -> None:
    inputs, failures = check({"connection": {"host": UNKNOWN, "user": "admin"}, "create": "true"})
    assert failures == []
    assert inputs["connection"] == Secret(
        {"host": UNKNOWN, "user": "admin", "port": 22, "dialErrorLimit": 10, "perDialTimeout": 15}
    )


def test_an_unknown_connection_stays_unknown_and_secret() -> None:
    inputs, failures = check({"connection": UNKNOWN})
    assert (inputs, failures) == ({"connection": Secret(UNKNOWN)}, [])


def test_what_is_missing_is_named() -> None:
    assert [failure.property for failure in check({})[1]] == ["connection"]
    assert [failure.property for failure in check({"connection": {}})[1]] == ["connection.host"]
    assert [failure.property for failure in check({"connection": UNKNOWN, "logging": "all"})[1]] == ["logging"]
