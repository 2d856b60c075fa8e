"""Which software may run on which data: every rule, in both directions, and what cannot be told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.catalog import SERVICES
from geusemaker.catalog.rules import DataFacts
from geusemaker.models.checkpoint import Checkpoint
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceConfig, ServiceName, StackConfig
from geusemaker.services.compatibility import compatibility_checks


def image(text: str) -> ImageReference:
    return ImageReference.parse(text)


def judge(
    wanted: str,
    *,
    allow_downgrade: bool = False,
    lenient: bool = False,
    copied: tuple[ServiceName, ...] = (),
    **known: Any,
) -> CheckResult | None:
    """The one result for a config with just this image (and PostgreSQL where n8n needs it)."""
    name = {"postgres": "postgresql", "qdrant": "qdrant", "n8nio": "n8n", "ollama": "ollama"}[
        wanted.partition("/")[0].partition(":")[0]
    ]
    services: dict[Any, ServiceConfig] = {name: ServiceConfig(image=image(wanted))}
    if name == "n8n":
        services["postgresql"] = ServiceConfig(image=image("postgres:16.9"))
    served = {key: image(text) for key, text in known.pop("served", {}).items()}
    config = StackConfig(services=services)
    facts = DataFacts(served=served, **known)
    checks = compatibility_checks(config, facts, allow_downgrade=allow_downgrade, lenient=lenient, copied=copied)
    return checks[0] if checks else None


def checkpoint(name: str, qdrant: str, **more: Any) -> Checkpoint:
    """A checkpoint with a snapshot that this Qdrant made."""
    held = [{"service": "qdrant", "name": "docs", "points": 1}]
    values: dict[str, Any] = {"checkpoint": name, "version": 1, "operation": name.partition("/")[2], "kind": "update"}
    values |= {"taken_at": "2025-01-21T02:03:00Z", "versions": {"qdrant": qdrant}, "holds": held}
    return Checkpoint.model_validate(values | more)


def status(*args: Any, **more: Any) -> str | None:
    check = judge(*args, **more)
    return check.status if check is not None else None


class TestFiles:
    @pytest.mark.parametrize(
        ("image", "service", "on_disk", "refused"),
        [
            ("postgres:16-alpine3.20", "postgresql", 999, True),
            ("postgres:16.9", "postgresql", 70, True),
            ("postgres:16.9", "postgresql", 999, False),
            ("postgres:16.9-alpine", "postgresql", 70, False),
            ("postgres:16.9-alpine", "postgresql", None, False),
            ("qdrant/qdrant:v1.14.1-unprivileged", "qdrant", 0, True),
            ("qdrant/qdrant:v1.14.1-unprivileged", "qdrant", 1000, False),
            ("qdrant/qdrant:v1.14.1", "qdrant", 1000, False),  # root reads everything
        ],
    )
    def test_data_of_another_user_than_the_image_s_is_refused(
        self, image: str, service: ServiceName, on_disk: int | None, refused: bool
    ) -> None:
        wanted = ImageReference.parse(image)
        services: dict[Any, ServiceConfig] = {service: ServiceConfig(image=wanted)}
        other = StackConfig(services=services)
        owners: dict[str, tuple[int, str]] = {} if on_disk is None else {service: (on_disk, f"/mnt/efs/{service}")}
        for lenient in (False, True):
            checks = compatibility_checks(other, DataFacts(owners=owners), lenient=lenient)
            found = [check for check in checks if check.name == f"{service} files"]
            assert [check.status for check in found] == (["warn" if lenient else "fail"] if refused else [])
            if found:
                data = SERVICES[service].data
                assert data is not None
                assert f"/mnt/efs/{service} belongs to user {on_disk}" in found[0].detail
                assert f"chown -R {data.owner(wanted)}:" in found[0].detail


class TestPostgresql:
    @pytest.mark.parametrize("wanted", ["postgres:15.3", "postgres:17.5"])
    @pytest.mark.parametrize("options", [{}, {"allow_downgrade": True}, {"lenient": True}])
    def test_another_major_is_never_possible(self, wanted: str, options: dict[str, Any]) -> None:
        check = judge(wanted, versions={"postgresql": "16"}, **options)
        assert check is not None and check.status == "fail" and "PostgreSQL 16" in check.detail

    def test_the_disk_counts_more_than_the_record(self) -> None:
        assert status("postgres:17.5", versions={"postgresql": "17"}, served={"postgresql": "postgres:16.9"}) == "pass"

    def test_without_a_look_at_the_disk_the_record_counts(self) -> None:
        assert status("postgres:17.5", served={"postgresql": "postgres:16.9"}) == "fail"
        assert status("postgres:16.8", served={"postgresql": "postgres:16.9"}) == "pass"
        assert status("postgres:16.10", served={"postgresql": "postgres:16.9"}) == "warn"  # another Debian

    def test_no_data_no_rule(self) -> None:
        assert judge("postgres:17.5") is None
        assert judge("postgres:17.5", served={"postgresql": "postgres:latest"}) is None

    def test_a_tag_without_a_version_is_a_warning(self) -> None:
        assert status("postgres:latest", versions={"postgresql": "16"}) == "warn"

    def test_another_c_library_is_a_warning(self) -> None:
        check = judge("postgres:16.9-alpine", versions={"postgresql": "16"}, served={"postgresql": "postgres:16.9"})
        assert check is not None and check.status == "warn" and "REINDEX" in check.detail


class TestQdrant:
    @pytest.mark.parametrize(
        ("served", "wanted", "expected", "allowed", "unasked"),
        [
            ("v1.14.1", "v1.14.1", None, None, None),
            ("v1.14.0", "v1.14.1", "pass", "pass", "pass"),
            ("v1.14.1", "v1.14.0", "warn", "warn", "warn"),
            ("v1.14.1", "v1.15.0", "warn", "warn", "pass"),
            ("v1.14.1", "v1.16.0", "fail", "fail", "warn"),
            ("v1.15.0", "v1.14.1", "fail", "warn", "warn"),
            ("v2.0.0", "v1.14.1", "fail", "warn", "warn"),
            ("v1.14.1", "v2.0.0", "warn", "warn", "warn"),
            ("latest", "v1.14.1", "warn", "warn", "warn"),
            ("v1.14.1", "latest", "warn", "warn", "warn"),
        ],
    )
    def test_steps(
        self, served: str, wanted: str, expected: str | None, allowed: str | None, unasked: str | None
    ) -> None:
        known = {"served": {"qdrant": f"qdrant/qdrant:{served}"}}
        assert status(f"qdrant/qdrant:{wanted}", **known) == expected
        assert status(f"qdrant/qdrant:{wanted}", allow_downgrade=True, **known) == allowed
        assert status(f"qdrant/qdrant:{wanted}", lenient=True, **known) == unasked

    def test_the_next_minor_says_what_leads_back(self) -> None:
        served = {"qdrant": "qdrant/qdrant:v1.14.1"}
        copied = judge("qdrant/qdrant:v1.15.0", served=served, copied=("qdrant",))
        assert copied is not None and "only the snapshots that are taken first lead back to 1.14" in copied.detail
        for without in ((), ("postgresql",)):
            check = judge("qdrant/qdrant:v1.15.0", served=served, copied=without)
            assert check is not None and "no snapshot is taken to lead back to 1.14" in check.detail

    def test_going_back_names_the_newest_checkpoint_of_that_minor(self) -> None:
        checkpoints = [
            checkpoint("v1/op-1", "1.14.0"),
            checkpoint("v2/op-2", "1.14.1"),
            checkpoint("v3/op-3", "1.14.1", holds=()),
            checkpoint("v4/op-4", "1.15.0"),
        ]
        known: dict[str, Any] = {"served": {"qdrant": "qdrant/qdrant:v1.15.0"}, "deployment": "prod"}
        for allowed in (False, True):
            check = judge("qdrant/qdrant:v1.14.1", allow_downgrade=allowed, checkpoints=checkpoints, **known)
            assert check is not None and check.status == ("warn" if allowed else "fail")
            assert "--allow-data-downgrade, then run `geusemaker restore prod --checkpoint v2/op-2" in check.detail
        for none in ([], checkpoints[2:]):
            check = judge("qdrant/qdrant:v1.14.1", checkpoints=none, **known)
            assert check is not None and "No checkpoint has snapshots of 1.14" in check.detail

    def test_the_step_to_take_first_is_named(self) -> None:
        check = judge("qdrant/qdrant:v1.17.0", served={"qdrant": "qdrant/qdrant:v1.14.1"})
        assert check is not None and "the newest 1.15 first" in check.detail

    def test_no_data_no_rule(self) -> None:
        assert judge("qdrant/qdrant:v1.10.0") is None

    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 9), st.integers(0, 9), st.booleans())
    def test_only_the_next_minor_is_let_through_and_nobody_is_asked_in_vain(
        self, old: int, new: int, old_patch: int, new_patch: int, lenient: bool
    ) -> None:
        found = status(
            f"qdrant/qdrant:v1.{new}.{new_patch}",
            served={"qdrant": f"qdrant/qdrant:v1.{old}.{old_patch}"},
            lenient=lenient,
        )
        if lenient:
            assert found != "fail"
        elif not 0 <= new - old <= 1:
            assert found == "fail"
        else:
            assert found == "warn" if new > old else found in ("pass", "warn", None)


class TestN8n:
    SERVED: dict[str, Any] = {"served": {"n8n": "n8nio/n8n:1.101.0"}}  # noqa: RUF012

    def test_forward_is_what_migrations_are_for(self) -> None:
        assert status("n8nio/n8n:1.102.0", **self.SERVED) == "pass"

    def test_back_without_migrations_since_passes(self) -> None:
        then = frozenset({"A", "B"})
        assert status("n8nio/n8n:1.100.0", migrations=then, migrations_then=then, **self.SERVED) == "pass"
        assert status("n8nio/n8n:1.100.0", migrations=frozenset({"A"}), migrations_then=then, **self.SERVED) == "pass"

    def test_back_over_migrations_is_refused_unless_allowed(self) -> None:
        known = {"migrations": frozenset("ABCDE"), "migrations_then": frozenset("A"), **self.SERVED}
        check = judge("n8nio/n8n:1.100.0", **known)
        assert check is not None and check.status == "fail"
        assert "4 migrations" in check.detail and "(B, C, D …)" in check.detail
        assert "no checkpoint holds the data as it was before" in check.detail
        assert "--allow-data-downgrade" in check.detail
        assert status("n8nio/n8n:1.100.0", allow_downgrade=True, **known) == "warn"
        assert status("n8nio/n8n:1.100.0", lenient=True, **known) == "warn"

    def test_the_way_that_works_is_named(self) -> None:
        known = {"migrations": frozenset("AB"), "migrations_then": frozenset("A"), **self.SERVED}
        check = judge("n8nio/n8n:1.100.0", restore="geusemaker restore prod --checkpoint v1/op-1", **known)
        assert check is not None
        assert "--allow-data-downgrade, then run `geusemaker restore prod --checkpoint v1/op-1`" in check.detail

    def test_what_is_known_to_work_needs_no_flag(self) -> None:
        known = {"migrations": frozenset("AB"), "migrations_then": frozenset("A"), **self.SERVED}
        assert status("n8nio/n8n:1.100.0", known_to_work=True, **known) == "warn"

    def test_one_migration_is_named_alone(self) -> None:
        check = judge("n8nio/n8n:1.100.0", migrations=frozenset("AB"), migrations_then=frozenset("A"), **self.SERVED)
        assert check is not None and "one migration that" in check.detail and "(B)" in check.detail

    @pytest.mark.parametrize(
        "known", [{}, {"migrations": frozenset("A")}, {"migrations": None, "migrations_then": frozenset("A")}]
    )
    def test_back_without_a_record_is_a_warning(self, known: dict[str, Any]) -> None:
        assert status("n8nio/n8n:1.100.0", **known, **self.SERVED) == "warn"
        assert status("n8nio/n8n:latest", **known, **self.SERVED) == "warn"

    def test_what_ran_last_comes_back_whatever_a_failed_one_did(self) -> None:
        assert judge("n8nio/n8n:1.101.0", **self.SERVED) is None
        same: dict[str, Any] = {"migrations": frozenset("A"), "migrations_then": frozenset("A")}
        assert judge("n8nio/n8n:1.101.0", **same, **self.SERVED) is None
        check = judge("n8nio/n8n:1.101.0", migrations=frozenset("AB"), migrations_then=frozenset("A"), **self.SERVED)
        assert check is not None and check.status == "warn" and "--allow" not in check.detail

    def test_no_data_no_rule(self) -> None:
        assert judge("n8nio/n8n:1.100.0") is None


def test_services_without_a_rule_are_not_judged() -> None:
    assert judge("ollama/ollama:0.1.0", served={"ollama": "ollama/ollama:0.9.6"}) is None
