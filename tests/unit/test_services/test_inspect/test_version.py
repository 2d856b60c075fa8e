"""One version: what is known of it, and what a return to it would do."""

from __future__ import annotations

import pytest

from geusemaker.errors import HostError, RefusedError
from geusemaker.models.version_report import VersionReport
from geusemaker.services.inspect.version import VersionService
from tests.unit.fakes import World


def report(world: World, number: int) -> VersionReport:
    return VersionService(world.collaborators()).report(number)


def test_the_active_version_has_no_way_back_to_it(deployed: World) -> None:
    found = report(deployed, 1)
    assert (found.active, found.back, found.command, found.default_target) == (True, None, "", False)
    assert found.health_status["n8n"] and found.operation_seconds is not None
    assert ("instance_type", "t3.large") in [(told.path, told.new) for told in found.config_told]


def test_an_earlier_version_says_what_a_return_would_do(deployed: World) -> None:
    deployed.n8n("1.101.0")
    found = report(deployed, 1)
    assert found.command == "geusemaker rollback prod v1" and found.default_target and found.objections == []
    assert found.back is not None and (found.back.old, found.back.new, found.back.services) == ("v2", "v1", ["n8n"])
    assert deployed.rollback(to_version=1).success


def test_what_failed_says_why_and_what_the_return_would_need(deployed: World) -> None:
    failed = deployed.n8n("1.101.0-crash")
    found = report(deployed, 2)
    assert found.error_message is not None and (found.error_message, found.evidence) == (
        failed.error_message, failed.evidence
    )  # fmt: skip
    assert found.command == "geusemaker rollback prod v2 --allow-unhealthy"
    assert "never became healthy" in found.objections


def test_the_same_system_is_nothing_to_return_to(deployed: World) -> None:
    deployed.update(retention=7)
    found = report(deployed, 1)
    assert found.back is not None and found.back.same and (found.command, found.objections) == ("", [])


def test_a_version_of_another_machine_is_told_from_the_copy_on_the_instance(deployed: World) -> None:
    deployed.records.records.clear()
    assert report(deployed, 1).health_status["n8n"]
    deployed.host_failures["journal"] = HostError("it hangs.", code="unreachable")
    found = report(deployed, 1)
    assert found.health_status == {} and "was not asked: it hangs." in found.notes[0]


def test_a_version_that_there_is_not(deployed: World) -> None:
    with pytest.raises(RefusedError, match="no version 9; there are: v1"):
        report(deployed, 9)
