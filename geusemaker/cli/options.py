"""Options that several verbs share, declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from geusemaker.models import fields

_CONFIG = "What to run"
_SETTINGS = "Settings, remembered with the version"
_IN_AWS = "What AWS has of it, remembered with the deployment"
_OPEN = "What the internet reaches, remembered with the deployment"
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
Output = Annotated[
    Literal["text", "json"],
    typer.Option("--output", "-o", help="json: exactly one document on stdout, everything else on stderr."),
]
Report = Annotated[
    Literal["text", "json", "markdown"],
    typer.Option(
        "--output",
        "-o",
        help="json: exactly one document on stdout; markdown: the same for a pull request or a job's summary; "
        "everything else on stderr.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", "--force", help="Skip the question, and nothing else.", rich_help_panel=_HOW)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and stop there.", rich_help_panel=_HOW)
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="List the checks that passed, too.", rich_help_panel=_HOW)
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
WaitLock = Annotated[
    str | None,
    typer.Option(
        "--wait-lock",
        metavar="TIME",
        help="Wait so long at most (10m, 1h) while another operation holds the deployment; else it is refused at once.",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        "--notify",
        metavar="FROM",
        help="Tell this address, too, what comes of it: @FILE, env:VARIABLE or - (standard input); repeatable.",
        rich_help_panel=_HOW,
    ),
]
Hook = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        metavar="COMMAND",
        help="Run this, too, with the record as JSON on its standard input; repeatable.",
        rich_help_panel=_HOW,
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
NoAdvisories = Annotated[
    bool,
    typer.Option(
        "--no-advisories",
        help="Do not ask osv.dev which published holes an older image brings back.",
        rich_help_panel=_HOW,
    ),
]
NoWayBack = Annotated[
    bool,
    typer.Option(
        "--no-way-back",
        help="Go on with a change that cannot be taken back; --yes alone does not.",
        rich_help_panel=_HOW,
    ),
]
Rehearse = Annotated[
    bool,
    typer.Option(
        "--rehearse",
        help="Try n8n's and PostgreSQL's images on a copy of the data first; go no further where they do not work.",
        rich_help_panel=_HOW,
    ),
]
Bake = Annotated[
    str | None,
    typer.Option(
        "--bake",
        metavar="DURATION",
        help="Look on for so long (30s, 10m, 2h) once it is healthy; what does worse than before goes back by itself.",
        show_default=False,
        rich_help_panel=_HOW,
    ),
]
Tests = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="COMMAND",
        help="Your shell's test of the new version, again and again during --bake, else once; repeatable. When it "
        "fails, the version goes back.",
        rich_help_panel=_HOW,
    ),
]
TestUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--test-url",
        metavar="ADDRESS",
        help="As --test: https://…, or SERVICE/PATH through a tunnel, has to answer below 400; repeatable.",
        rich_help_panel=_HOW,
    ),
]

StackFile = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="The whole desired state, as `export` prints it; what it does not have goes away. - is standard input.",
        show_default=False,
        rich_help_panel=_CONFIG,
    ),
]
Prune = Annotated[
    bool,
    typer.Option(
        "--prune",
        help="With a file and --yes: take out services that it does not have. Their data stays.",
        rich_help_panel=_HOW,
    ),
]
Again = Annotated[
    bool,
    typer.Option(
        "--again",
        help="With a file: also where it is the config of a version that failed, is marked bad or was rolled back.",
        rich_help_panel=_HOW,
    ),
]

InstanceType = Annotated[str | None, _field(fields.INSTANCE_TYPE, _CONFIG)]
Purchase = Annotated[fields.Purchase | None, _field(fields.PURCHASE, _CONFIG)]
Image = Annotated[list[str] | None, _field(fields.IMAGE, _CONFIG)]
Env = Annotated[list[str] | None, _field(fields.ENVIRONMENT, _CONFIG)]
SecretEnv = Annotated[list[str] | None, _field(fields.SECRET_ENVIRONMENT, _CONFIG)]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="SERVICE", help="Leave this service out; repeatable.", rich_help_panel=_CONFIG),
]
OnlyServices = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="SERVICE",
        help="Run just these services; repeatable. Default: all of them.",
        rich_help_panel=_CONFIG,
    ),
]
MoreServices = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="SERVICE", help="Enable this service; repeatable.", rich_help_panel=_CONFIG),
]
Rendering = Annotated[
    Literal["newest"] | None,
    typer.Option(
        "--rendering",
        help="Make the compose file in today's way, which a new deployment has from the start: walls between the "
        "services, and a key for Qdrant. All services restart.",
        show_default=False,
        rich_help_panel=_CONFIG,
    ),
]
Ami = Annotated[str | None, _field(fields.AMI, _CONFIG)]
SshUser = Annotated[str | None, _field(fields.IMAGE_LOGIN, _CONFIG)]
RootVolume = Annotated[int | None, _field(fields.ROOT_VOLUME, _CONFIG)]

DataVolume = Annotated[int | None, _field(fields.DATA_VOLUME, _CONFIG)]

SshCidr = Annotated[list[str] | None, _field(fields.SSH_CIDRS, _OPEN)]
Connect = Annotated[Literal["ssh", "ssm"] | None, _field(fields.CONNECT, _OPEN)]
Domain = Annotated[
    list[str] | None,
    typer.Option(
        "--domain",
        metavar="HOST|SERVICE=HOST",
        help="Open n8n (or another service that lets in only whom it knows) to the whole internet under this host "
        "name, by HTTPS; repeatable; empty takes it away. It stays with the deployment, not with a version.",
        show_default=False,
        rich_help_panel=_OPEN,
    ),
]
NoDomain = Annotated[
    bool, typer.Option("--no-domain", help="Take all domains away, and close the ports.", rich_help_panel=_OPEN)
]
ExposeKnownHole = Annotated[
    bool,
    typer.Option(
        "--expose-known-hole",
        help="Leave the domain open although the release behind it is known to let anybody in.",
        rich_help_panel=_HOW,
    ),
]

ModelsOn = Annotated[str | None, _field(fields.MODELS_ON, _CONFIG)]

SettleSeconds = Annotated[int | None, _field(fields.SETTLE_SECONDS, _SETTINGS)]

Tag = Annotated[list[str] | None, _field(fields.TAGS, _IN_AWS)]
Label = Annotated[list[str] | None, _field(fields.LABELS, _SETTINGS)]
PermissionsBoundary = Annotated[str | None, _field(fields.PERMISSIONS_BOUNDARY, _IN_AWS)]

AutoRollbackSetting = Annotated[bool | None, _field(fields.AUTO_ROLLBACK, _SETTINGS)]
Deadline = Annotated[int | None, _field(fields.DEADLINE, _SETTINGS)]
Retention = Annotated[int | None, _field(fields.RETENTION, _SETTINGS)]
OnInterruption = Annotated[fields.OnInterruption | None, _field(fields.ON_INTERRUPTION, _SETTINGS)]
BakeSetting = Annotated[int | None, _field(fields.BAKE, _SETTINGS)]
HealthDeadline = Annotated[int | None, _field(fields.HEALTH_DEADLINE, _SETTINGS)]
