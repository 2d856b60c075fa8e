"""Options that several verbs share, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from geusemaker.models import fields

_CONFIG = "What to run"
_SETTINGS = "Settings, remembered with the version"
_HOW = "This operation"


def _field(declared: fields.Told, panel: str) -> Any:
    """The option of a config's field, as the field is declared."""
    option = declared.option
    assert option is not None
    return typer.Option(
        option.flags, metavar=option.metavar, help=option.help, show_default=False, rich_help_panel=panel
    )


Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The deployment; may be left out when there is just one.")
]
ThisName = Annotated[str, typer.Argument(metavar="NAME", help="The deployment.")]
ThisVersion = Annotated[int, typer.Argument(metavar="N", help="The version's number, as the history shows it.")]
Output = Annotated[
    Literal["text", "json"],
    typer.Option("--output", "-o", help="json: exactly one document on stdout, everything else on stderr."),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", "--force", help="Skip the question, and nothing else.", rich_help_panel=_HOW)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and stop there.", rich_help_panel=_HOW)
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.", rich_help_panel=_HOW)
]
NoAutoRollback = Annotated[
    bool,
    typer.Option(
        "--no-auto-rollback", help="Should this operation fail, leave things as they are.", rich_help_panel=_HOW
    ),
]
NoCheckpoint = Annotated[
    bool,
    typer.Option(
        "--no-checkpoint", help="No copy of the data before other software is put on it.", rich_help_panel=_HOW
    ),
]
AllowReplace = Annotated[
    bool,
    typer.Option("--allow-replace", help="Allow another instance in place of this one.", rich_help_panel=_HOW),
]
AllowDataDowngrade = Annotated[
    bool,
    typer.Option(
        "--allow-data-downgrade",
        help="Go on although older software may not read what newer software wrote.",
        rich_help_panel=_HOW,
    ),
]

InstanceType = Annotated[str | None, _field(fields.INSTANCE_TYPE, _CONFIG)]
Image = Annotated[list[str] | None, _field(fields.IMAGE, _CONFIG)]
Env = Annotated[list[str] | None, _field(fields.ENVIRONMENT, _CONFIG)]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="SERVICE", help="Leave this service out; repeatable.", rich_help_panel=_CONFIG),
]
OnlyServices = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="SERVICE",
        help="Run just these services; repeatable. Default: all five.",
        rich_help_panel=_CONFIG,
    ),
]
MoreServices = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="SERVICE", help="Enable this service; repeatable.", rich_help_panel=_CONFIG),
]
Ami = Annotated[str | None, _field(fields.AMI, _CONFIG)]
RootVolume = Annotated[int | None, _field(fields.ROOT_VOLUME, _CONFIG)]

DataVolume = Annotated[
    int | None,
    typer.Option(
        "--data-volume",
        metavar="GIB",
        help="Size of the volume for Qdrant's data: 20 if it is not given at the first deploy; later it only grows.",
        show_default=False,
        rich_help_panel=_CONFIG,
    ),
]

SettleSeconds = Annotated[
    int | None,
    typer.Option(
        "--settle-seconds",
        metavar="SECONDS",
        help="How long all services have to stay ready before a change is done, 0 to 300; 15 (local cloud: 10) if it "
        "is not given. It stays with the deployment, not with a version.",
        show_default=False,
        rich_help_panel=_SETTINGS,
    ),
]

AutoRollbackSetting = Annotated[bool | None, _field(fields.AUTO_ROLLBACK, _SETTINGS)]
Deadline = Annotated[int | None, _field(fields.DEADLINE, _SETTINGS)]
Retention = Annotated[int | None, _field(fields.RETENTION, _SETTINGS)]
HealthDeadline = Annotated[int | None, _field(fields.HEALTH_DEADLINE, _SETTINGS)]
