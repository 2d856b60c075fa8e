"""What is known about a deployment now: the views of ``inspect``, ``status``, ``info``, ``list`` and ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.backup import told_last, told_plan
from geusemaker.cli.output.plan import TARGET_NAMES, render_checks
from geusemaker.cli.output.progress import state_style
from geusemaker.cli.output.text import Line, columns, count, line, moment, quoted, short_digest, verbatim

if TYPE_CHECKING:
    from geusemaker.local_cloud.client import LocalCloudStatus
    from geusemaker.models.doctor import DoctorReport
    from geusemaker.models.inspection import DeploymentInfo, DeploymentSummary, DomainState, Inspection, Interruption

_ENGINE_SOURCES = {
    "environment": "named by GEUSEMAKER_PULUMI",
    "path": "on PATH",
    "cache": "set up by geusemaker earlier",
    "installer": "installed by Pulumi's installer",
    "built": "built from Pulumi's Go modules",
}


def render_status(inspection: Inspection) -> list[Line]:
    """How the deployment is now: status, what to do next, services."""
    return [
        *_title(inspection),
        *_trouble(inspection),
        *_services(inspection),
        *_backups(inspection),
        *_image(inspection),
    ]


def render_inspection(inspection: Inspection) -> list[Line]:
    """Status, where things are, the active config and the services; history is a view of its own."""
    lines = [*_title(inspection), *_trouble(inspection), line()]
    rows: list[Sequence[tuple[str, str]]] = []
    if inspection.region:
        rows.append([("region", "bold"), (inspection.region, "")])
    if inspection.labels:
        rows.append([("labels", "bold"), (told_labels(inspection.labels), "")])
    if inspection.instance is not None:
        instance = inspection.instance
        text = "  ".join((instance.id, instance.type, instance.state, instance.address)).rstrip()
        rows.append([("instance", "bold"), (text, "")])
    if inspection.efs is not None:
        mounted = "mounted" if inspection.efs.mounted else "NOT mounted"
        rows.append([("data", "bold"), (f"{inspection.efs.id}  {mounted}", "" if inspection.efs.mounted else "red")])
    if inspection.data_volume is not None:
        volume = inspection.data_volume
        text = f"{volume.id}  {volume.size_gib} GiB, Qdrant's  {'mounted' if volume.mounted else 'NOT mounted'}"
        rows.append([("", "bold"), (text, "" if volume.mounted else "red")])
    active = next((v for v in inspection.versions if v.number == inspection.active_version), None)
    if active is not None:
        settings = active.config.rollback
        rows.append(
            [
                ("version", "bold"),
                (
                    f"v{active.number}  {active.provenance.kind} by {active.provenance.actor}, "
                    f"{moment(active.provenance.created_at)}",
                    "",
                ),
            ]
        )
        back = "on" if settings.auto_rollback_on_failure else "off"
        rows.append(
            [
                ("settings", "bold"),
                (
                    f"automatic rollback {back}, deadline {settings.deadline_minutes} min, "
                    f"{count(settings.retention, 'version')} kept ready",
                    "",
                ),
            ]
        )
    lines += [*columns(rows), *_services(inspection), *_backups(inspection), *_image(inspection)]
    kept = f"{count(len(inspection.versions), 'version')}, {count(len(inspection.rollbacks), 'rollback')}"
    lines += [line(), line(f"history: {kept} (`geusemaker history {inspection.deployment}`)", "dim")]
    return lines


def render_info(info: DeploymentInfo) -> list[Line]:
    """How to reach the deployment."""
    lines: list[Line] = [[(info.deployment, "bold"), (f"  [{TARGET_NAMES[info.target]}]", "cyan")], line()]
    lines += columns(
        [
            [("region", "bold"), (info.region, "")],
            [("address", "bold"), (info.address or "(none)", "")],
            [("ssh", "bold"), (info.ssh_command or "(none)", "")],
            [("workspace", "bold"), (info.workspace, "")],
            [("backend", "bold"), (info.backend, "")],
        ],
        whole=True,
    )
    if info.services:
        lines += [line(), line("services, as seen from the instance", "bold")]
        where = [(name, address or "(no port)") for name, address in info.services.items()]
        lines += columns([[(name, ""), (address, "")] for name, address in where], 2, whole=True)
        lines.append(line(f"next: `geusemaker tunnel {info.deployment}` leads ports of this machine to them"))
    if info.domains:
        lines += [line(), line("open to the internet", "bold")]
        lines += columns([[(name, ""), (url, "")] for name, url in info.domains.items()], 2, whole=True)
    if info.dns:
        lines += [line(), line("DNS records that this takes", "bold")]
        lines += [verbatim(f"  {record}") for record in info.dns]
    if info.credentials:
        lines += [line(), line("generated secrets, and the command that shows each on a terminal", "bold")]
        lines += columns([[(name, ""), (how, "")] for name, how in info.credentials.items()], 2, whole=True)
    return lines


def render_list(deployments: Sequence[DeploymentSummary]) -> list[Line]:
    """One row a deployment."""
    if not deployments:
        return [line("no deployments here yet"), line("next: geusemaker deploy NAME")]
    titles = ["NAME", "TARGET", "VERSION", "INSTANCE TYPE", "STATUS", "UPDATED"]
    labelled = any(item.labels for item in deployments)
    rows: list[Sequence[tuple[str, str]]] = [[(title, "bold") for title in (*titles, *["LABELS"] * labelled)]]
    for item in deployments:
        rows.append(
            [
                (item.name, ""),
                (TARGET_NAMES.get(item.target, item.target), ""),
                (f"v{item.active_version}" if item.active_version else "-", ""),
                (item.instance_type or "-", ""),
                (item.status, _status_style(item.status)),
                (moment(item.updated_at), ""),
                *([(told_labels(item.labels) or "-", "")] if labelled else []),
            ]
        )
    return columns(rows)


def told_labels(labels: Mapping[str, str]) -> str:
    """``customer=acme, tier=gold``."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def render_doctor(report: DoctorReport) -> list[Line]:
    """What was found on this machine, what is missing and how to get it."""
    lines: list[Line] = []
    if report.engine is not None:
        source = _ENGINE_SOURCES[report.engine.source]
        lines.append(line(f"engine: Pulumi {report.engine.version}, {source}: {quoted(report.engine.path)}"))
    else:
        lines.append(line("engine: no usable Pulumi engine", "bold red"))
    lines += render_checks(report.checks)
    lines += [[("problem: ", "bold red"), (problem, "")] for problem in report.problems]
    lines.append(line("all is well", "green") if report.ok else line("not ready: see above", "bold red"))
    return lines


def render_local(status: LocalCloudStatus) -> list[Line]:
    """The local cloud: whether it runs, where it answers, what it holds."""
    if not status.running:
        lines = [line("local cloud: not running", "bold")]
    else:
        lines = [line(f"local cloud: running (pid {status.pid})", "bold"), line(f"  AWS API  {status.aws_endpoint}")]
        if status.registry:
            lines.append(line(f"  images   {status.registry}"))
    for item in status.instances:
        where = f"{item.address or '-'}:{item.ssh_port or '-'}"
        lines.append(line(f"  instance {item.id}  {item.kind}  {item.state}  ssh {where}"))
    for folder in status.file_systems:
        lines.append(verbatim(f"  data     {folder.id}  {folder.path}"))
    return lines


def _status_style(status: str) -> str:
    return {"healthy": "green", "unhealthy": "bold red", "failed": "bold red", "unreachable": "bold red"}.get(
        status, "yellow"
    )


def told_active(inspection: Inspection) -> str:
    """``, v4 is active``, where one is."""
    return f", v{inspection.active_version} is active" if inspection.active_version else ""


def _title(inspection: Inspection) -> list[Line]:
    return [
        [
            (f"{inspection.deployment}: ", "bold"),
            (inspection.status or "unknown", _status_style(inspection.status)),
            (told_active(inspection), "bold"),
            (f"  [{TARGET_NAMES[inspection.target]}]", "cyan"),
        ]
    ]


def _trouble(inspection: Inspection) -> list[Line]:
    lines: list[Line] = []
    if inspection.interruption is not None:
        lines.append(line(told_interruption(inspection.interruption), "yellow"))
    if inspection.summary:
        lines.append(line(inspection.summary))
    lines += [[("problem: ", "bold red"), (problem, "")] for problem in inspection.problems]
    return [*lines, *render_notes(inspection)]


def render_notes(inspection: Inspection) -> list[Line]:
    """What was left out because it cannot be read."""
    return [[("note: ", "bold yellow"), (note, "")] for note in inspection.notes]


def told_interruption(found: Interruption) -> str:
    """The operation that runs, or was killed, in a sentence."""
    started = f", started {moment(found.started_at)}" if found.started_at else ""
    owner = f" on {found.host}" if found.host else ""
    owner += f" (pid {found.pid})" if found.pid else ""
    what = "is running" if found.running else "was interrupted"
    step = f" ({found.step})" if found.step else ""
    article = "an" if found.kind[0] in "aeiou" else "a"
    return f"{article} {found.kind} to v{found.number} by {found.actor}{owner} {what}{step}{started}"


def service_rows(inspection: Inspection) -> list[list[tuple[str, str]]]:
    """Name, health, state, image, address and what its probe says: text and style of each."""
    rows = []
    for name, service in inspection.services.items():
        health = ("healthy", "green") if service.healthy else ("not healthy", "bold red")
        if name in inspection.stopped and not service.healthy:
            health = ("stopped", "yellow")
        rows.append(
            [
                (name, ""),
                health,
                (service.state or "-", state_style(service.state)),
                (short_digest(service.image or "(no container)"), ""),
                (service.address or "-", ""),
                (service.detail, "dim"),
            ]
        )
    return rows


def _services(inspection: Inspection) -> list[Line]:
    if not inspection.services:
        return []
    lines = [line(), *columns(service_rows(inspection), indent=2)]
    if inspection.domains:
        lines += [line(), *columns(domain_rows(inspection), indent=2)]
    return lines


def told_backups(inspection: Inspection) -> str:
    """The last backup, and what is planned; empty where there is neither."""
    found = inspection.backups
    parts = [told_last(found), told_plan(found) if found.every_seconds else ""] if found is not None else []
    return "; ".join(filter(None, parts))


def _backups(inspection: Inspection) -> list[Line]:
    text, found = told_backups(inspection), inspection.backups
    return [line(), line(text, "yellow" if found is not None and found.too_old else "dim")] if text else []


def told_image(inspection: Inspection) -> str:
    """How old the instance's image is, where that means anything: on the local cloud it does not."""
    found = inspection.patching
    if found is None or found.image_age_days is None or inspection.target != "aws":
        return ""
    return f"image {found.image} of {found.image_date}, {count(found.image_age_days, 'day')} old"


def _image(inspection: Inspection) -> list[Line]:
    text = told_image(inspection)
    return [line(), line(text, "dim")] if text else []


def domain_rows(inspection: Inspection) -> list[list[tuple[str, str]]]:
    """URL, how it answers, its certificate and the service: text and style of each."""
    return [_domain(one) for one in inspection.domains.values()]


def _domain(found: DomainState) -> list[tuple[str, str]]:
    until = f"certificate until {found.certificate_until[:10]}" if found.certificate_until else "no certificate"
    answers = f"answers {found.status}" if found.status is not None else "does not answer"
    style = "green" if found.certificate_until and found.status is not None and found.status < 500 else "yellow"
    return [
        (found.url, ""),
        (answers, style),
        (until, "" if found.certificate_until else "yellow"),
        (found.service, "dim"),
    ]
