"""``geusemaker deploy``: the first version of a deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from geusemaker.cli import options, telling
from geusemaker.cli.config_options import ConfigOptions, with_config_options
from geusemaker.cli.session import session

_WHERE = "Where, remembered with the deployment"

EXAMPLES = (
    "geusemaker deploy demo",
    "geusemaker deploy prod --target aws --region eu-central-1 --ssh-cidr 203.0.113.7/32 --instance-type t3.xlarge",
)


@with_config_options
def deploy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the deployment is to be called.")],
    target: Annotated[
        Literal["local", "aws"] | None,
        typer.Option(
            "--target", help="local: the local cloud, no AWS account needed (the default).", rich_help_panel=_WHERE
        ),
    ] = None,
    local_runtime: Annotated[
        Literal["process", "docker"] | None,
        typer.Option(
            "--local-runtime",
            help="What instances of the local cloud are: process (the default), or docker: containers that run real "
            "images, where a Docker daemon answers.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    region: Annotated[str | None, typer.Option("--region", help="AWS region.", rich_help_panel=_WHERE)] = None,
    vpc: Annotated[
        str | None, typer.Option("--vpc", metavar="ID", help="Default: the default VPC.", rich_help_panel=_WHERE)
    ] = None,
    subnet: Annotated[
        str | None, typer.Option("--subnet", metavar="ID", help="Default: one of the VPC's.", rich_help_panel=_WHERE)
    ] = None,
    address: Annotated[
        Literal["public", "private"] | None,
        typer.Option(
            "--address",
            help="public: an Elastic IP (the default); private: the instance's own, reached by a VPN.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    adopt_data: Annotated[
        str | None,
        typer.Option(
            "--adopt-data",
            metavar="fs-ID",
            help="Take up the data of a deployment of this name whose workspace is lost.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    n8n_key_file: Annotated[
        Path | None,
        typer.Option(
            "--n8n-key-file",
            metavar="FILE",
            help="n8n's encryption key, where the adopted data does not have it; - reads it from standard input, or "
            "asks.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    new_n8n_key: Annotated[
        bool,
        typer.Option(
            "--new-n8n-key",
            help="Where nobody has n8n's key: make another. The credentials kept in n8n will be unreadable.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    *,
    service: options.OnlyServices = None,
    config: ConfigOptions,
    no_auto_rollback: options.NoAutoRollback = False,
    reason: options.Reason = "",
    wait_lock: options.WaitLock = None,
    notify: options.Notify = None,
    hook: options.Hook = None,
    dry_run: options.DryRun = False,
    verbose: options.Verbose = False,
    yes: options.Yes = False,
    output: options.Report = "text",
) -> None:
    """Set up a deployment: the instance, its storage and the services on it."""
    with session("deploy", output, name=name, yes=yes, verbose=verbose) as current:
        from geusemaker.cli import requests
        from geusemaker.models.request import DeployRequest

        request = DeployRequest(
            **config.asked(yes=yes),
            target=target,
            local_runtime=local_runtime,
            region=region,
            vpc_id=vpc,
            subnet_id=subnet,
            address=address,
            adopt_data=adopt_data,
            n8n_key=requests.read_secret(n8n_key_file) if n8n_key_file is not None else None,
            new_n8n_key=new_n8n_key,
            services=requests.parse_services(service or ()),
            auto_rollback=False if no_auto_rollback else None,
            reason=reason,
            dry_run=dry_run,
        )
        deployment = current.open_deployment(name, dry_run=dry_run, wait_lock=wait_lock)
        telling.apply(deployment, notify, hook)
        current.finish(deployment.deploy(request, confirm=current.confirm, on_event=current.on_event))
