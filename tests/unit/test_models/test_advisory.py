"""Published holes: how versions are ordered, which releases a range holds, and what is said of what was found."""

from __future__ import annotations

from datetime import date

import pytest
import semver
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.models.advisory import Advisory, EventKind, KnownHoles, ReturningHoles, Span, holes, order

numbers = st.integers(0, 30)
parts = st.one_of(st.integers(0, 12).map(str), st.sampled_from(["alpha", "beta", "rc", "rc1", "x-y"]))
releases = st.builds("{}.{}.{}".format, numbers, numbers, numbers)
versions = st.one_of(
    releases, st.builds(lambda release, pre: f"{release}-{'.'.join(pre)}", releases, st.lists(parts, min_size=1))
)


def sign(one: object, other: object) -> int:
    return int(one > other) - int(one < other)  # type: ignore[operator]


@given(versions.filter(lambda text: "x-y" not in text), versions.filter(lambda text: "x-y" not in text))
def test_versions_are_ordered_as_semver_does(one: str, other: str) -> None:
    expected = semver.Version.parse(one).compare(other)
    assert sign(order(one), order(other)) == expected
    assert sign(order(f"v{one}"), order(f"{other}+build.7")) == expected


@given(versions, versions, versions)
def test_the_order_is_total(one: str, other: str, third: str) -> None:
    assert sign(order(one), order(other)) == -sign(order(other), order(one))
    first, second, last = sorted([one, other, third], key=order)
    assert order(first) <= order(second) <= order(last)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("16.9.0", "16.10.0"),
        ("0.8.0rc1", "0.8.0"),
        ("0.8.0", "0.8.0.post1"),
        ("0.8.0.post1", "0.8.1"),
        ("1.2", "1.2.1"),
        ("latest", "0.0.0-0"),
    ],
)
def test_other_forms_of_versions(older: str, newer: str) -> None:
    assert order(older) < order(newer)
    assert order("1.2") == order("1.2.0") == order("v1.2.0")


@st.composite
def histories(draw: st.DrawFn) -> tuple[Span, list[tuple[int, int | None, bool]]]:
    """A range of several lines, with its events in any order, and the lines: from, to, and whether to is affected."""
    points = sorted(draw(st.sets(st.integers(0, 40), min_size=2, max_size=8)))
    lines: list[tuple[int, int | None, bool]] = []
    events: list[tuple[EventKind, str]] = []
    for first, last in zip(points[::2], [*points[1::2], None], strict=False):
        if last is None and draw(st.booleans()):
            break
        including = last is not None and draw(st.booleans())
        lines.append((first, last, including))
        events.append(("introduced", "0" if first == 0 else f"1.{first}.0"))
        if last is not None:
            events.append(("last_affected" if including else "fixed", f"1.{last}.0"))
    return Span(events=tuple(draw(st.permutations(events)))), lines


@given(histories(), st.integers(0, 45), st.sampled_from(["", "-rc.1"]))
def test_a_range_holds_what_lies_between_its_events(
    history: tuple[Span, list[tuple[int, int | None, bool]]], minor: int, suffix: str
) -> None:
    span, lines = history
    here = minor - 0.5 if suffix else float(minor)
    expected = any(
        (first == 0 or first <= here) and (last is None or here < last or (including and here == last))
        for first, last, including in lines
    )
    assert span.holds(f"1.{minor}.0{suffix}") is expected


@given(histories(), st.integers(0, 45))
def test_what_mends_a_hole_does_not_have_it(
    history: tuple[Span, list[tuple[int, int | None, bool]]], minor: int
) -> None:
    span, _ = history
    advisory = Advisory(id="GHSA-1", severity="high", spans=(span,))
    if fixed := advisory.fixed_after(f"1.{minor}.0"):
        assert advisory.affects(f"1.{minor}.0") and order(fixed) > order(f"1.{minor}.0")
        later = [at for kind, at in span.events if kind == "introduced" and at == fixed]
        assert later or not advisory.affects(fixed)


def test_a_range_may_have_a_limit() -> None:
    limited = Span(events=(("introduced", "0"), ("limit", "2.0.0")))
    assert limited.holds("1.9.9") and not limited.holds("2.0.0")
    assert Span(events=(("introduced", "0"), ("limit", "*"))).holds("9.0.0")
    assert not Span(events=(("introduced", "1.0.0"),)).holds("0.9.0")


def advisory(
    id_: str, fixed: str = "1.121.0", introduced: str = "0", severity: str = "critical", *aliases: str
) -> Advisory:
    span = Span(events=(("introduced", introduced), ("fixed", fixed)))
    return Advisory.model_validate(
        {"id": id_, "severity": severity, "spans": [span], "aliases": aliases, "summary": id_}
    )


def test_releases_named_one_by_one() -> None:
    found = Advisory(id="CVE-1", severity="high", versions=("v1.8.0", "1.8.1"))
    assert found.affects("v1.8.1") and found.affects("1.8.0") and not found.affects("v1.8.2")
    assert found.fixed_after("v1.8.0") == ""


def test_several_lines_are_each_mended_by_their_own_release() -> None:
    events: tuple[tuple[EventKind, str], ...] = (
        ("introduced", "0"), ("fixed", "1.123.83"), ("introduced", "2.0.0"), ("fixed", "2.42.1"),
    )  # fmt: skip
    found = Advisory(id="GHSA-1", severity="critical", spans=(Span(events=events),))
    assert (found.fixed_after("1.100.1"), found.fixed_after("2.3.0")) == ("1.123.83", "2.42.1")
    assert (found.affects("1.123.83"), found.affects("2.0.0"), found.fixed_after("2.42.1")) == (False, True, "")


def test_a_hole_of_several_publishers_is_one_and_what_runs_now_has_is_left_out() -> None:
    published = [
        advisory("PYSEC-2026-33", "0.8.1", "0", "high", "CVE-2026-26216"),
        advisory("GHSA-b", "0.8.0", "0", "critical", "CVE-2026-26216"),
        advisory("CVE-2026-9", "0.9.0", "0.7.0", "high"),
        advisory("GHSA-both", "0.9.5"),
    ]
    found = holes("0.7.0", published, but="0.9.4")
    assert [(hole.id, hole.severity, hole.fixed) for hole in found] == [
        ("GHSA-b", "critical", "0.8.1"),
        ("CVE-2026-9", "high", "0.9.0"),
    ]
    assert found[0].aliases == ("CVE-2026-26216", "PYSEC-2026-33")
    assert len(holes("0.7.0", published)) == 3, "nothing runs now"


@given(st.permutations(range(6)))
def test_records_of_one_hole_are_found_in_any_order(turn: list[int]) -> None:
    chain = [advisory(f"X-{at}", "1.0.0", "0", "high", f"CVE-{at}", f"CVE-{at + 1}") for at in range(5)]
    apart = advisory("X-9", "1.0.0", "0", "high", "CVE-99")
    assert len(holes("0.1.0", [[*chain, apart][at] for at in turn])) == 2


def returning(*fixed: str, severity: str = "critical") -> KnownHoles:
    found = holes("1.100.1", [advisory(f"GHSA-{at}", each, "0", severity) for at, each in enumerate(fixed)])
    return KnownHoles(returning=(ReturningHoles(service="n8n", image="n8nio/n8n:1.100.1", holes=found),))


def test_what_is_told() -> None:
    assert returning("1.121.0", "1.121.3").told == (
        "going back to n8n 1.100.1 brings back 2 critical holes, fixed in 1.121.3 (GHSA-0, GHSA-1)"
    )
    assert returning("1.121.0").told.endswith("brings back one critical hole, fixed in 1.121.0 (GHSA-0)")
    assert returning(*["1.121.0"] * 5, severity="high").told.endswith(
        "5 high holes, fixed in 1.121.0 (GHSA-0, GHSA-1, GHSA-2 and 2 more)"
    )
    dated = returning("1.121.0").model_copy(update={"day": date(2026, 11, 20)})
    assert dated.told.endswith("(GHSA-0) (as of 2026-11-20)")
    assert KnownHoles(unknown="nobody answers", day=date(2026, 11, 20)).told == ""


def test_a_release_that_mends_it_is_not_told_where_one_hole_has_none() -> None:
    mended, open_ = advisory("GHSA-1"), Advisory(id="GHSA-2", severity="high", versions=("1.100.1",))
    found = ReturningHoles(service="n8n", image="n8nio/n8n:1.100.1", holes=holes("1.100.1", [open_, mended]))
    assert found.told == "going back to n8n 1.100.1 brings back one critical and one high hole (GHSA-1, GHSA-2)"
