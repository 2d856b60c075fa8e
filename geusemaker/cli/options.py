"""Options that several verbs share, declared once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

_CONFIG = "What to run"
_SETTINGS = "Settings, remembered with the version"
_HOW = "This operation"

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

InstanceType = Annotated[
    str | None,
    typer.Option("--instance-type", metavar="TYPE", help="EC2 instance type, as t3.large.", rich_help_panel=_CONFIG),
]
Image = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="SERVICE=REF", help="Image of a service; repeatable.", rich_help_panel=_CONFIG),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="SERVICE.KEY=VALUE",
        help="Environment variable of a service; an empty value removes it; repeatable. Not for secrets.",
        rich_help_panel=_CONFIG,
    ),
]
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
Ami = Annotated[
    str | None,
    typer.Option(
        "--ami",
        metavar="ID",
        help="The instance's machine image; `newest`: today's Debian 13. A deploy pins the newest by itself; "
        "on an update another one needs --allow-replace.",
        rich_help_panel=_CONFIG,
    ),
]
RootVolume = Annotated[
    int | None,
    typer.Option("--root-volume", metavar="GIB", help="Size of the instance's own disk.", rich_help_panel=_CONFIG),
]

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

AutoRollbackSetting = Annotated[
    bool | None,
    typer.Option(
        "--auto-rollback-on-failure/--no-auto-rollback-on-failure",
        help="Whether a change that fails goes back by itself.",
        show_default=False,
        rich_help_panel=_SETTINGS,
    ),
]
Deadline = Annotated[
    int | None,
    typer.Option(
        "--deadline", metavar="MIN", help="Minutes a change may take, 5 to 60; default 15.", rich_help_panel=_SETTINGS
    ),
]
Retention = Annotated[
    int | None,
    typer.Option(
        "--retention",
        metavar="N",
        help="Versions kept ready to go back to, 1 to 50; default 5.",
        rich_help_panel=_SETTINGS,
    ),
]
HealthDeadline = Annotated[
    int | None,
    typer.Option(
        "--health-deadline",
        metavar="SECONDS",
        help="How long a service may take to become healthy; default 180.",
        rich_help_panel=_SETTINGS,
    ),
]
