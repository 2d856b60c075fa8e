"""A deployment's history as one page to look at: SVG and HTML, no script, and no request to anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from geusemaker.cli.output.changes import config_changes, predecessor, set_secrets
from geusemaker.cli.output.page import STYLE
from geusemaker.cli.output.plan import TARGET_NAMES
from geusemaker.cli.output.text import count, duration, moment
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from datetime import datetime

    from geusemaker.models.checkpoint import Checkpoint
    from geusemaker.models.inspection import Inspection
    from geusemaker.models.version import RollbackRecord, Version

_STEP: Final = 84
"""Pixels from one version to the next."""
_RADIUS: Final = 11
_LOWEST_ARC: Final = 34


class Beside(NamedTuple):
    """What is known beside the history. None: it was not looked at."""

    checkpoints: Sequence[Checkpoint] | None
    evidence: Mapping[str, Sequence[str]]
    """Operation → the last lines that the failing services had logged."""


def render_page(inspection: Inspection, beside: Beside, now: datetime) -> str:
    """The page, as HTML. Every text that came from outside is escaped."""
    versions = sorted(inspection.versions, key=lambda version: version.number)
    records = {record.operation_id: record for record in inspection.rollbacks if record.operation_id}
    active = f"v{inspection.active_version} is active" if inspection.active_version else "no version is active"
    zone = now.astimezone().tzname() or "UTC"
    unseen = "" if beside.checkpoints is not None else " Checkpoints were not looked at: the instance does not answer."
    said = f"{count(len(versions), 'version')}, {active}, on {TARGET_NAMES[inspection.target]}"
    rows = "".join(_row(versions, index, records, beside) for index in reversed(range(len(versions))))
    name = escape(inspection.deployment)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is loaded from anywhere, and nothing runs: a browser holds the page to that.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>History of {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{name}</h1><p>{escape(said)}</p>"
        f"<p class=dim>As of {moment(now)} {escape(zone)}; all times are in this zone.{unseen}</p></header>\n"
        f'<nav aria-label="Versions">{render_timeline(versions, records)}</nav>\n'
        f"{_legend()}\n<main>\n{rows}{_restores(inspection)}</main>\n</body>\n</html>\n"
    )


def render_timeline(versions: Sequence[Version], records: Mapping[str, RollbackRecord], style: str = "") -> str:
    """SVG: versions from left to right, with an arc from each rollback to the version that it brought back.

    Args:
        versions: in order.
        records: operation → what the journal says of it.
        style: a ``<style>`` of its own, for where it stands alone.
    """
    place = {version.number: _STEP // 2 + index * _STEP for index, version in enumerate(versions)}
    arcs = [arc for version in versions for arc in _arcs(version, place, records)]
    above = max((height for height, _ in arcs), default=0) * 3 // 4 + 24
    width, height = max(len(versions), 1) * _STEP, above + 78
    line = (
        f'<line class="axis" x1="{_STEP // 2}" x2="{width - _STEP // 2}" y1="{above}" y2="{above}"/>'
        if versions
        else ""
    )
    nodes = "".join(_node(version, place[version.number], above) for version in versions)
    drawn = "".join(f'<g transform="translate(0 {above})">{arc}</g>' for _, arc in arcs)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"{style}<title>Versions, oldest first; an arc leads from a rollback to what it brought back</title>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>{line}{drawn}{nodes}</svg>'
    )


def _arcs(
    version: Version, place: Mapping[int, int], records: Mapping[str, RollbackRecord]
) -> Iterator[tuple[int, str]]:
    """One to the version that came back, or to each that services came back from."""
    origin = version.provenance
    record = records.get(origin.operation_id)
    kind = "by-hand" if origin.trigger == "manual" else "by-itself"
    reason = record.error_message if record is not None and record.error_message else origin.reason
    parts = parts_told(origin.services_from)
    for source in dict.fromkeys([origin.source_version, *origin.services_from.values()]):
        if source is None or source not in place:
            continue
        start, end = place[version.number], place[source]
        height = min(_LOWEST_ARC + abs(start - end) // 5, 150)
        said = f"v{version.number}: {parts}" if parts else f"v{version.number} has the config of v{source}"
        said += f": {reason}" if reason else ""
        path = f"M{start} {-_RADIUS - 2} C{start} {-height} {end} {-height} {end} {-_RADIUS - 4}"
        title = f"<title>{escape(said)}</title>"
        yield height, f'<path class="arc {kind}" marker-end="url(#tip)" d="{path}">{title}</path>'


def _node(version: Version, x: int, y: int) -> str:
    origin = version.provenance
    said = f"v{version.number}: {_state(version)}, {origin.kind} by {origin.actor}, {moment(origin.created_at)}"
    return (
        f'<a href="#v{version.number}" aria-label="{escape(said, quote=True)}"><title>{escape(said)}</title>'
        f'<g transform="translate({x} {y})" class="{_look(version)}">{_shape(version)}'
        f'<text class="number" y="34">v{version.number}</text>'
        f'<text class="kind" y="50">{escape(origin.kind)}</text>'
        f'<text class="kind" y="64">{escape(moment(origin.created_at)[5:])}</text></g></a>'
    )


def _shape(version: Version) -> str:
    """Told apart by form as well as by colour."""
    look, r = _look(version), _RADIUS
    if look == "failed":
        return f'<circle r="{r}"/><path class="mark" d="M-4-4 4 4M4-4-4 4"/>'
    if look == "unknown":
        return f'<path class="body" d="M0 {-r - 2} {r + 2} {r}H{-r - 2}z"/>'
    ring = f'<circle class="ring" r="{r + 5}"/>' if version.status == "active" else ""
    return f'{ring}<circle r="{r}"/><path class="mark" d="M-5 0-1 4 5-4"/>'


def _look(version: Version) -> str:
    if version.status in ("interrupted", "pending"):
        return "unknown"
    return "healthy" if version.healthy else "failed"


def _state(version: Version) -> str:
    marks = [word for word in ("bad", "pinned", "archived") if getattr(version, word)]
    return ", ".join([version.status, "healthy" if version.healthy else "not healthy", *marks])


def _row(versions: Sequence[Version], index: int, records: Mapping[str, RollbackRecord], beside: Beside) -> str:
    """One version's own part of the page."""
    version = versions[index]
    origin = version.provenance
    record = records.get(origin.operation_id)
    changes = config_changes(predecessor(versions, index), version.config)
    facts = [
        ("What", ", ".join([*changes, *set_secrets(version)]) or "nothing changed"),
        ("Who", origin.actor),
        ("When", moment(origin.created_at)),
        ("Took", duration(version.duration_seconds)),
        ("Away", ", ".join(f"{name} {duration(away)}" for name, away in sorted((version.away_seconds or {}).items()))),
        ("Set off by", "" if origin.trigger == "manual" else origin.trigger),
        ("Why", origin.reason),
        ("What went wrong", (record.error_message or "") if record is not None else ""),
        ("Taken back", ", ".join(record.rolled_back_changes) if record is not None else ""),
        ("Note", version.note),
        ("Services", ", ".join(f"{name} {service.image.tagged}" for name, service in version.config.services.items())),
        ("Way back", _way_back(version)),
        ("Data copied before it was left", _copies(version, beside)),
    ]
    listed = "".join(f"<dt>{title}</dt><dd>{escape(text)}</dd>" for title, text in facts if text and text != "-")
    parts = parts_told(origin.services_from)
    kind = f"{origin.kind} of v{origin.source_version}" if origin.source_version else origin.kind
    kind += f" ({parts})" if parts else ""
    logged = beside.evidence.get(origin.operation_id, ())
    evidence = (
        f"<h3>Last lines before it was taken back</h3><pre>{escape(chr(10).join(logged))}</pre>" if logged else ""
    )
    return (
        f'<article id="v{version.number}" class="{_look(version)}" tabindex="-1">'
        f"<h2>v{version.number} <small>{escape(kind)}, {escape(_state(version))}</small></h2>"
        f"<dl>{listed}</dl>{evidence}</article>\n"
    )


def _way_back(version: Version) -> str:
    """As it turned out; why, where it is the one that was foreseen."""
    foreseen = version.provenance.way_back
    if version.way_back is None or foreseen is None:
        return version.way_back or ""
    if version.way_back == foreseen.kind and foreseen.because:
        return f"to v{foreseen.to_version}: {version.way_back} ({'; '.join(foreseen.because)})"
    return f"to v{foreseen.to_version}: {version.way_back}"


def _copies(version: Version, beside: Beside) -> str:
    return ", ".join(found.checkpoint for found in beside.checkpoints or () if found.version == version.number)


def _restores(inspection: Inspection) -> str:
    if not inspection.restores:
        return ""
    titles = ("When", "Who", "Checkpoint", "Into", "Result", "Why")
    rows = [
        (
            moment(found.timestamp),
            found.actor,
            found.checkpoint or "-",
            f"v{found.version}",
            "done" if found.success else "failed",
            found.error_message or found.reason,
        )
        for found in inspection.restores
    ]
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<section><h2>Restores of data</h2>{table}</section>"


def _legend() -> str:
    entries = (
        ("healthy", "healthy"),
        ("healthy active", "active"),
        ("failed", "not healthy"),
        ("unknown", "interrupted"),
    )
    items = "".join(f'<li class="{look}"><i></i>{said}</li>' for look, said in entries)
    return (
        f'<ul class=legend aria-hidden="true">{items}<li class=by-hand><b></b>rolled back by a person</li>'
        "<li class=by-itself><b></b>went back by itself</li></ul>"
    )
