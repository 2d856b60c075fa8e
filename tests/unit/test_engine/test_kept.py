"""What a destroy leaves beside what is protected."""

from __future__ import annotations

from typing import Any

from geusemaker.engine.kept import kept_resources

PROVIDER = "urn:p::pulumi:providers:aws::default"


def resource(name: str, *needs: str, **more: Any) -> dict[str, Any]:
    return {"urn": name, "dependencies": list(needs), "provider": f"{PROVIDER}::id", **more}


def test_what_the_protected_needs_stays_and_nothing_else() -> None:
    resources = [
        {"urn": "stack"},
        {"urn": PROVIDER, "id": "id"},
        resource("instance group", parent="stack"),
        resource("storage group", "instance group"),
        resource("file system", protect=True),
        resource("mount target", "file system", protect=True, propertyDependencies={"groups": ["storage group"]}),
        resource("instance", "instance group"),
        resource("attachment", "instance", "volume"),
        resource("volume", protect=True),
        resource("note", deletedWith="file system", propertyDependencies={"text": None}),
    ]
    assert kept_resources(resources) == {
        "stack",
        PROVIDER,
        "instance group",
        "storage group",
        "file system",
        "mount target",
        "volume",
    }


def test_without_protection_nothing_stays() -> None:
    assert kept_resources([resource("a"), resource("b", "a")]) == set()


def test_what_a_state_only_names_is_not_there() -> None:
    assert kept_resources([resource("a", "gone", protect=True)]) == {"a"}
